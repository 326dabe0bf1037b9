// One seed from beginning to end.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace conclave::sim {

struct RunOptions {
  std::uint64_t seed = 1;
  std::int64_t seconds = 20;  // of faults; the healed phase comes on top
  bool print = false;         // the trace, as it happens
};

struct RunResult {
  std::string violation;  // empty: none
  std::string knobs;
  std::string tail;  // the last lines of the trace
  std::uint64_t hash = 0;
  double simulated_seconds = 0;
  std::map<std::string, std::uint64_t> counts;
};

// What to print if the process dies within a run: seed, knobs, and the tail of the trace.
std::string DescribeRunUnderWay();

RunResult RunSeed(const RunOptions& options);

}  // namespace conclave::sim
