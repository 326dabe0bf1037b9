#include "client/command/progress.h"

#include <array>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace conclave::command {
namespace {

constexpr std::chrono::milliseconds kTerminalPeriod{100};
constexpr std::chrono::seconds kLinePeriod{3};

}  // namespace

Progress::Progress()
    : terminal_(isatty(STDERR_FILENO) == 1),
      next_(Clock::now() + (terminal_ ? kTerminalPeriod : kLinePeriod)) {}

Progress::~Progress() {
  if (terminal_ && shown_) {
    fmt::print(stderr, "\r\033[K");
  }
}

bool Progress::Due() const { return Clock::now() >= next_; }

void Progress::Show(const std::string& text) {
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", text);
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
  shown_ = true;
  next_ = Clock::now() + (terminal_ ? kTerminalPeriod : kLinePeriod);
}

std::string BytesText(std::uint64_t bytes) {
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) {
    return fmt::format("{} bytes", bytes);
  }
  double amount = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (amount >= 1024 && unit + 1 < kUnits.size()) {
    amount /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

}  // namespace conclave::command
