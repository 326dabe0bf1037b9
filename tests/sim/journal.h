// What a run leaves behind: a readable trace of its last events, a hash over all of them, the first
// violation, and how often each thing that a campaign must exercise has happened.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "tests/server/sim_loop.h"
#include "tests/server/sim_network.h"

namespace conclave::sim {

using server::testing::kMs;
using server::testing::SimLoop;
using server::testing::SimRandom;
using server::testing::TraceHash;

// Thread: one.
class Journal {
 public:
  // `print`: each line at once to standard error, besides keeping the tail.
  explicit Journal(bool print) : print_(print) {}

  void SetLoop(const SimLoop* loop) { loop_ = loop; }

  template <typename... Args>
  void Note(fmt::format_string<Args...> format, Args&&... args) {
    Add(fmt::format(format, std::forward<Args>(args)...));
  }

  // Whether lines are printed as they come.
  bool prints() const { return print_; }

  // For who reads a printed trace: neither in the hash nor in the tail.
  void Show(const std::string& line) const;

  // The first one counts; the run ends soon after.
  template <typename... Args>
  void Fail(fmt::format_string<Args...> format, Args&&... args) {
    FailWith(fmt::format(format, std::forward<Args>(args)...));
  }

  void Count(const std::string& what, std::uint64_t by = 1) { counts_[what] += by; }

  bool failed() const { return !violation_.empty(); }

  const std::string& violation() const { return violation_; }

  const std::map<std::string, std::uint64_t>& counts() const { return counts_; }

  TraceHash& hash() { return hash_; }

  // The last lines, oldest first.
  std::string Tail() const;

 private:
  void Add(std::string line);
  std::string Timed(const std::string& line) const;
  void FailWith(std::string what);

  const bool print_;
  const SimLoop* loop_ = nullptr;
  std::deque<std::string> lines_;
  std::string violation_;
  std::map<std::string, std::uint64_t> counts_;
  TraceHash hash_;
};

}  // namespace conclave::sim
