#include "client/command/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace conclave::command {

// Values below 128 have a bucket each. Above, the highest bit chooses a power of two and the seven
// bits behind it a bucket in it.
std::size_t Histogram::BucketOf(std::uint64_t value) {
  if (value < kPerPower) {
    return static_cast<std::size_t>(value);
  }
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kBits;
  return kPerPower * shift + static_cast<std::size_t>(value >> shift);
}

std::uint64_t Histogram::UpperEndOf(std::size_t bucket) {
  if (bucket < kPerPower) {
    return bucket;
  }
  const std::size_t shift = bucket / kPerPower - 1;
  const std::uint64_t lower = static_cast<std::uint64_t>(bucket - kPerPower * shift) << shift;
  return lower + ((std::uint64_t{1} << shift) - 1);
}

void Histogram::Record(std::chrono::nanoseconds duration) {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count()));
  ++buckets_[BucketOf(value)];
  ++count_;
  sum_ += value;
  max_ = std::max(max_, value);
}

void Histogram::Add(const Histogram& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) {
    buckets_[i] += other.buckets_[i];
  }
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

std::chrono::nanoseconds Histogram::mean() const {
  return std::chrono::nanoseconds(count_ == 0 ? 0 : sum_ / count_);
}

std::chrono::nanoseconds Histogram::Quantile(double fraction) const {
  const auto rank = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets && count_ > 0; ++i) {
    seen += buckets_[i];
    if (seen >= std::max<std::uint64_t>(rank, 1)) {
      return std::chrono::nanoseconds(std::min(UpperEndOf(i), max_));
    }
  }
  return std::chrono::nanoseconds(0);
}

}  // namespace conclave::command
