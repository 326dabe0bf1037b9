// One line per refusal, but not a line per packet of someone who means harm.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "thrift/wire/counters.h"

namespace conclave::wire {

/// Lets ten lines a second through for each kind of refusal and says how many it has held back.
///
/// Thread: one.
class RefusalLog {
 public:
  explicit RefusalLog(std::string port_name) : port_name_(std::move(port_name)) {}

  void Write(std::int64_t now_ns, Refusal refusal, std::string_view from, std::string_view detail);

 private:
  struct Window {
    std::int64_t began_ns = 0;
    std::uint32_t lines = 0;
    std::uint64_t held_back = 0;
  };

  const std::string port_name_;
  std::array<Window, kRefusals> windows_{};
};

}  // namespace conclave::wire
