// Durations, counted so that any quantile is known to within one in 128.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace conclave::bench {

/// Log-linear: 128 buckets for each power of two. Values in nanoseconds.
class Histogram {
 public:
  Histogram();

  void Add(std::uint64_t value);

  [[nodiscard]] std::uint64_t count() const { return count_; }

  [[nodiscard]] std::uint64_t max() const { return max_; }

  [[nodiscard]] double mean() const;

  /// The middle of the bucket that holds the value of rank `quantile` x count. 0 if nothing was
  /// added. REQUIRES: 0 <= quantile <= 1.
  [[nodiscard]] double Quantile(double quantile) const;

  static std::size_t BucketOf(std::uint64_t value);
  static double MiddleOf(std::size_t bucket);

 private:
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace conclave::bench
