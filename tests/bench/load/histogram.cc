#include "tests/bench/load/histogram.h"

#include <algorithm>
#include <bit>

namespace conclave::bench {
namespace {

constexpr unsigned kBits = 7;
constexpr std::uint64_t kPerPower = std::uint64_t{1} << kBits;
constexpr std::size_t kBuckets = (64 - kBits + 1) * kPerPower;

}  // namespace

Histogram::Histogram() : buckets_(kBuckets, 0) {}

std::size_t Histogram::BucketOf(std::uint64_t value) {
  if (value < kPerPower) {
    return static_cast<std::size_t>(value);
  }
  const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kBits;
  return static_cast<std::size_t>((shift + 1) * kPerPower + ((value >> shift) & (kPerPower - 1)));
}

double Histogram::MiddleOf(std::size_t bucket) {
  if (bucket < kPerPower) {
    return static_cast<double>(bucket);
  }
  const std::size_t shift = bucket / kPerPower - 1;
  const std::uint64_t low = (kPerPower + bucket % kPerPower) << shift;
  return static_cast<double>(low) + static_cast<double>(std::uint64_t{1} << shift) / 2;
}

void Histogram::Add(std::uint64_t value) {
  ++buckets_[BucketOf(value)];
  ++count_;
  sum_ += static_cast<double>(value);
  max_ = std::max(max_, value);
}

double Histogram::mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

double Histogram::Quantile(double quantile) const {
  if (count_ == 0) {
    return 0;
  }
  const auto rank = std::min<std::uint64_t>(
      count_ - 1, static_cast<std::uint64_t>(quantile * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen > rank) {
      return MiddleOf(bucket);
    }
  }
  return static_cast<double>(max_);
}

}  // namespace conclave::bench
