#include "client/command/histogram.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace conclave::command {
namespace {

using std::chrono::nanoseconds;

TEST(Histogram, IsEmptyAtFirst) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.Quantile(0.5), nanoseconds(0));
  EXPECT_EQ(histogram.mean(), nanoseconds(0));
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (int i = 1; i <= 100; ++i) {
    histogram.Record(nanoseconds(i));
  }
  EXPECT_EQ(histogram.Quantile(0.01), nanoseconds(1));
  EXPECT_EQ(histogram.Quantile(0.5), nanoseconds(50));
  EXPECT_EQ(histogram.Quantile(0.99), nanoseconds(99));
  EXPECT_EQ(histogram.Quantile(1), nanoseconds(100));
  EXPECT_EQ(histogram.mean(), nanoseconds(50));
  EXPECT_EQ(histogram.max(), nanoseconds(100));
}

TEST(Histogram, NeverSaysMoreThanTheMaximum) {
  Histogram histogram;
  histogram.Record(nanoseconds(1'000'000'001));
  EXPECT_EQ(histogram.Quantile(0.5), nanoseconds(1'000'000'001));
  EXPECT_EQ(histogram.Quantile(1), nanoseconds(1'000'000'001));
}

TEST(Histogram, TakesTheLargestAndTheImpossible) {
  Histogram histogram;
  histogram.Record(nanoseconds::max());
  histogram.Record(nanoseconds(-5));
  EXPECT_EQ(histogram.Quantile(0.5), nanoseconds(0));
  EXPECT_EQ(histogram.Quantile(1), nanoseconds::max());
}

// Against a sorted list, over nine powers of ten.
TEST(Histogram, IsWithinOnePercentOfTheTruth) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> power(0, 9);
  Histogram first;
  Histogram second;
  std::vector<std::int64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    const auto value = static_cast<std::int64_t>(std::pow(10, power(random)));
    values.push_back(value);
    (i % 2 == 0 ? first : second).Record(nanoseconds(value));
  }
  first.Add(second);
  std::sort(values.begin(), values.end());
  ASSERT_EQ(first.count(), values.size());
  for (const double fraction : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank =
        static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(values.size())));
    const auto truth = static_cast<double>(values[rank - 1]);
    const auto said = static_cast<double>(first.Quantile(fraction).count());
    EXPECT_GE(said, truth) << fraction;
    EXPECT_LE(said, truth * 1.01) << fraction;
  }
}

}  // namespace
}  // namespace conclave::command
