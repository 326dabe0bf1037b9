#include "tests/sim/journal.h"

#include <cstdio>

namespace conclave::sim {
namespace {

constexpr std::size_t kTailLines = 160;

}  // namespace

std::string Journal::Timed(const std::string& line) const {
  const std::int64_t us = loop_ == nullptr ? 0 : loop_->now_ns() / 1000;
  return fmt::format("{:>6}.{:06} {}", us / 1'000'000, us % 1'000'000, line);
}

void Journal::Show(const std::string& line) const {
  if (print_) {
    fmt::print(stderr, "{}\n", Timed(line));
  }
}

void Journal::Add(std::string line) {
  hash_.Add(line);
  line = Timed(line);
  if (print_) {
    fmt::print(stderr, "{}\n", line);
  }
  lines_.push_back(std::move(line));
  if (lines_.size() > kTailLines) {
    lines_.pop_front();
  }
}

void Journal::FailWith(std::string what) {
  Add("VIOLATION " + what);
  if (violation_.empty()) {
    violation_ = std::move(what);
  }
}

std::string Journal::Tail() const {
  std::string text;
  for (const std::string& line : lines_) {
    text += line;
    text += '\n';
  }
  return text;
}

}  // namespace conclave::sim
