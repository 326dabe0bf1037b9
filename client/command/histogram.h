// How long things took: percentiles to within one percent, in constant memory.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace conclave::command {

// Each power of two of nanoseconds is divided into 128 buckets of the same width.
//
// Thread: one; merge with Add.
class Histogram {
 public:
  void Record(std::chrono::nanoseconds duration);
  void Add(const Histogram& other);

  [[nodiscard]] std::uint64_t count() const { return count_; }

  [[nodiscard]] std::chrono::nanoseconds max() const { return std::chrono::nanoseconds(max_); }

  [[nodiscard]] std::chrono::nanoseconds mean() const;
  // The smallest duration that `fraction` of the recorded ones do not exceed, at most 0.8 % too
  // large; 0 if nothing was recorded.
  [[nodiscard]] std::chrono::nanoseconds Quantile(double fraction) const;

 private:
  static constexpr unsigned kBits = 7;
  static constexpr std::size_t kPerPower = std::size_t{1} << kBits;
  static constexpr std::size_t kBuckets = kPerPower * (64 - kBits + 1);

  static std::size_t BucketOf(std::uint64_t value);
  static std::uint64_t UpperEndOf(std::size_t bucket);

  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace conclave::command
