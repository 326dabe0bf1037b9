// Merged batches have the effect of the batches one after the other.
#include "persist/log_batch.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/persist/log_workload.h"

namespace conclave::persist {
namespace {

std::string Text(const testing::ModelLog& model) {
  std::string text = std::to_string(model.hard.currentTerm) + ":";
  for (const raft::Entry& entry : model.entries) {
    text += " " + std::to_string(entry.term) + "/" + std::to_string(entry.index) + "/" +
            std::to_string(entry.chain);
  }
  return text;
}

TEST(LogBatch, MergeOfAnyRunEqualsTheRun) {
  std::uint64_t truncating_merges = 0;
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    testing::LogWorkload workload(seed, 4);
    testing::ModelLog one_by_one;
    testing::ModelLog merged;
    for (int group = 0; group < 8; ++group) {
      LogBatch sum;
      for (std::uint64_t i = 0; i <= seed % 5; ++i) {
        LogBatch next = workload.Next(one_by_one);
        one_by_one.Apply(next);
        truncating_merges += i > 0 && next.truncateFrom != 0 ? 1 : 0;
        sum.Merge(std::move(next));
      }
      for (std::size_t i = 1; i < sum.append.size(); ++i) {
        ASSERT_EQ(sum.append[i].index, sum.append[i - 1].index + 1) << "seed " << seed;
      }
      merged.Apply(sum);
      ASSERT_EQ(Text(merged), Text(one_by_one)) << "seed " << seed << " group " << group;
    }
  }
  EXPECT_GT(truncating_merges, 500U);
}

TEST(LogBatch, TruncationInsideTheBatchNeverReachesTheDisk) {
  testing::ModelLog model;
  LogBatch batch;
  std::uint64_t chain = 0;
  for (raft::Index i = 1; i <= 5; ++i) {
    batch.append.push_back(testing::MakeEntry(chain, 1, i, "x"));
    chain = batch.append.back().chain;
  }
  LogBatch next;
  next.truncateFrom = 4;
  batch.Merge(next);
  EXPECT_EQ(batch.truncateFrom, 0U);
  ASSERT_EQ(batch.append.size(), 3U);
  next.truncateFrom = 1;
  batch.Merge(next);
  EXPECT_EQ(batch.truncateFrom, 1U);
  EXPECT_TRUE(batch.append.empty());
}

TEST(LogBatchDeathTest, AGapIsAProgrammingError) {
  LogBatch batch;
  batch.append.push_back(testing::MakeEntry(0, 1, 1, "x"));
  LogBatch next;
  next.append.push_back(testing::MakeEntry(0, 1, 3, "x"));
  EXPECT_DEATH(batch.Merge(next), "Check failed");
}

}  // namespace
}  // namespace conclave::persist
