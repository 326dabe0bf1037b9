// The load generator behind `conclave bench`.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "client/command/context.h"
#include "client/command/histogram.h"

namespace conclave::command {

enum class LoadOp { kSet, kGet, kMixed, kWatch };

struct LoadOptions {
  LoadOp op = LoadOp::kSet;
  std::string path = "/bench";   // works below a znode of its own below this
  std::size_t connections = 1;   // sessions, a connection each; of watchers for kWatch
  std::size_t outstanding = 64;  // calls that wait for an answer at any time, over all connections
  std::size_t value_bytes = 100;
  std::size_t keys = 1'000;
  unsigned reads_percent = 90;  // of kMixed
  ReadMode mode = ReadMode::kLinearizable;
  std::chrono::milliseconds warmup{1'000};
  std::chrono::milliseconds duration{10'000};
  std::uint64_t count = 0;  // if set: so many calls instead of `duration`
  bool keep = false;        // leave the znodes
};

struct LoadResult {
  Histogram gets;
  Histogram sets;
  Histogram events;  // from the call of the set to the callback of the watch
  // Calls that failed, by the name of the code. A watch that missed an event has "MissedEvent".
  std::map<std::string, std::uint64_t> errors;
  std::string first_error;
  double seconds = 0;
  double cpu_seconds = 0;  // of this process, all threads
  bool interrupted = false;

  // What the throughput counts.
  [[nodiscard]] std::uint64_t operations() const {
    return events.count() > 0 ? events.count() : gets.count() + sets.count();
  }
};

// Closed loop: each outstanding call is followed by another as soon as it is answered. A call
// counts if it was issued after the warm-up; all of them are waited for. Calls that fail are
// counted as errors and not in the histograms.
//
// Returns 0, or the exit status after having said what is wrong. A signal ends it early.
int RunLoad(const Context& context, const LoadOptions& options, LoadResult& result);

}  // namespace conclave::command
