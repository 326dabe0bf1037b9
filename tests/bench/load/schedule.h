// When the calls of an open loop are due, whatever has become of those before them.
#pragma once

#include <cstdint>

namespace conclave::bench {

/// A fixed rate from a fixed moment: call i is due at begin + i / rate. Nothing is forgotten when
/// the caller comes late, so that a server that stalls is charged with every call that it delays.
class Schedule {
 public:
  /// REQUIRES: per_second > 0.
  Schedule(std::uint64_t begin_ns, double per_second)
      : begin_ns_(begin_ns), interval_ns_(1e9 / per_second) {}

  /// Calls that have become due by `now_ns` and were not taken yet.
  [[nodiscard]] std::uint64_t Due(std::uint64_t now_ns) const {
    if (now_ns < begin_ns_) {
      return 0;
    }
    const auto all =
        static_cast<std::uint64_t>(static_cast<double>(now_ns - begin_ns_) / interval_ns_) + 1;
    return all > taken_ ? all - taken_ : 0;
  }

  /// Takes the next one; the moment at which it was due, from which its latency counts.
  std::uint64_t Take() {
    return begin_ns_ + static_cast<std::uint64_t>(static_cast<double>(taken_++) * interval_ns_);
  }

  [[nodiscard]] std::uint64_t taken() const { return taken_; }

 private:
  const std::uint64_t begin_ns_;
  const double interval_ns_;
  std::uint64_t taken_ = 0;
};

}  // namespace conclave::bench
