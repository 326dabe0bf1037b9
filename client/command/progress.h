// How far a long command is, on standard error: a line that is replaced on a terminal, a line every
// few seconds elsewhere.
#pragma once

#include <chrono>
#include <string>

namespace conclave::command {

class Progress {
 public:
  Progress();
  // Clears the line on a terminal.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Whether a line is due: cheap, so that the text is only made when it will be shown.
  [[nodiscard]] bool Due() const;
  void Show(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  bool terminal_;
  bool shown_ = false;
  Clock::time_point next_;
};

// "512 bytes", "12.3 MiB".
[[nodiscard]] std::string BytesText(std::uint64_t bytes);

}  // namespace conclave::command
