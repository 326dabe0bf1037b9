// The log store on a disk that works: what is written is read, one sync each, in any order of
// calls.
#include "persist/log_store.h"

#include <memory>
#include <string>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {
namespace {

class LogStoreTest : public ::testing::Test {
 protected:
  LogStoreTest() { Reopen(); }

  void Reopen() {
    store_.reset();
    auto opened = LogStore::Open(SmallOptions(&env_, &random_));
    CHECK(opened) << opened.error().message;
    store_ = std::move(*opened);
  }

  void Write(const LogBatch& batch) {
    const auto written = store_->Write(batch);
    ASSERT_TRUE(written) << written.error().message;
    model_.Apply(batch);
  }

  LogBatch Entries(int count, raft::Index truncate_from = 0) {
    ModelLog after = model_;
    LogBatch batch;
    batch.truncateFrom = truncate_from;
    after.Apply(batch);
    batch.hardState = model_.hard;
    ++batch.hardState->currentTerm;
    after.hard = *batch.hardState;
    for (int i = 0; i < count; ++i) {
      LogBatch one = after.Append("value " + std::to_string(after.last_index() + 1));
      after.Apply(one);
      batch.append.push_back(one.append.front());
    }
    return batch;
  }

  FaultEnv env_;
  SeededRandom random_{1};
  ModelLog model_;
  std::unique_ptr<LogStore> store_;
};

TEST_F(LogStoreTest, AnEmptyLogRestoresAsOne) {
  const raft::Restored restored = store_->TakeRestored();
  EXPECT_EQ(restored.hardState, raft::HardState{});
  EXPECT_EQ(restored.last, raft::EntryId{});
  EXPECT_TRUE(restored.tail.empty());
  EXPECT_TRUE(restored.configurations.empty());
  EXPECT_EQ(store_->first_index(), 1U);
  EXPECT_EQ(store_->last_index(), 0U);
  EXPECT_EQ(store_->log_bytes(), 0U);
  EXPECT_TRUE(store_->is_new());
}

TEST_F(LogStoreTest, OneWriteIsOneSync) {
  ASSERT_NO_FATAL_FAILURE(Write(Entries(3)));
  const std::uint64_t before = env_.syncs();
  ASSERT_NO_FATAL_FAILURE(Write(Entries(5, 2)));  // Truncation, entries and hard state together.
  EXPECT_EQ(env_.syncs(), before + 1);
  ASSERT_TRUE(store_->Write({}));
  EXPECT_EQ(env_.syncs(), before + 1) << "nothing to write";
}

TEST_F(LogStoreTest, TruncationAtEveryPointOfSeveralBatches) {
  for (raft::Index from = 1; from <= 13; ++from) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(0, model_.entries.empty() ? 0 : 1)));
    ASSERT_NO_FATAL_FAILURE(Write(Entries(4)));
    ASSERT_NO_FATAL_FAILURE(Write(Entries(1)));
    ASSERT_NO_FATAL_FAILURE(Write(Entries(7)));
    ASSERT_NO_FATAL_FAILURE(Write(Entries(2, from)));
    ASSERT_EQ(DifferenceByRead(*store_, model_), "") << from;
    ASSERT_EQ(*store_->TermAt(model_.last_index()), model_.entries.back().term);
    ASSERT_NO_FATAL_FAILURE(Reopen());
    ASSERT_EQ(Difference(store_.get(), model_), "") << from;
    ASSERT_NO_FATAL_FAILURE(Write(Entries(0, from)));  // And a truncation that appends nothing.
    ASSERT_NO_FATAL_FAILURE(Reopen());
    ASSERT_EQ(Difference(store_.get(), model_), "") << from;
  }
}

TEST_F(LogStoreTest, ReadsAnyRangeWithinItsBound) {
  for (const int count : {1, 5, 40, 2}) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(count)));
  }
  const raft::Index last = model_.last_index();
  for (raft::Index first = 1; first <= last; first += 3) {
    for (raft::Index to = first; to <= last; to += 5) {
      const auto all = store_->Read(first, to, 1 << 20);
      ASSERT_TRUE(all) << all.error();
      ASSERT_EQ(all->size(), to - first + 1);
      ASSERT_EQ(all->front().index, first);
    }
  }
  const auto one = store_->Read(2, last, 0);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->size(), 1U) << "at least one, whatever the bound";
  const std::size_t two_bytes =
      raft::EntryBytes(model_.entries[1]) + raft::EntryBytes(model_.entries[2]);
  EXPECT_EQ(store_->Read(2, last, two_bytes)->size(), 2U);
  EXPECT_EQ(store_->Read(2, last, two_bytes - 1)->size(), 1U);
  for (raft::Index index = 1; index <= last; ++index) {
    EXPECT_EQ(*store_->TermAt(index), model_.entries[index - 1].term);
  }
  EXPECT_EQ(*store_->TermAt(0), 0U);
}

TEST_F(LogStoreTest, LogBytesAreThoseOfTheEntriesAndSurviveRestarts) {
  ASSERT_NO_FATAL_FAILURE(Write(Entries(10)));
  const std::uint64_t ten = store_->log_bytes();
  EXPECT_GT(ten, 10U * raft::kEntryHeaderBytes);
  ASSERT_NO_FATAL_FAILURE(Write(Entries(30)));
  ASSERT_NO_FATAL_FAILURE(Write(Entries(0, 11)));
  EXPECT_EQ(store_->log_bytes(), ten);
  ASSERT_NO_FATAL_FAILURE(Write(Entries(0, 5)));
  const std::uint64_t four = store_->log_bytes();
  EXPECT_LT(four, ten);
  ASSERT_NO_FATAL_FAILURE(Reopen());
  EXPECT_EQ(store_->log_bytes(), four);
  ASSERT_NO_FATAL_FAILURE(Write(Entries(0, 1)));
  EXPECT_EQ(store_->log_bytes(), 0U);
}

TEST_F(LogStoreTest, TheRestoredTailIsBoundedAndTheRestIsRead) {
  for (int i = 0; i < 200; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(1 + i % 3)));
  }
  ASSERT_NO_FATAL_FAILURE(Reopen());
  const raft::Restored restored = store_->TakeRestored();
  std::size_t bytes = 0;
  for (const raft::Entry& entry : restored.tail) {
    bytes += raft::EntryBytes(entry);
  }
  EXPECT_LE(bytes, 2 * std::size_t{2 << 10} + 200);
  EXPECT_GE(bytes, std::size_t{2 << 10} - 200);
  EXPECT_EQ(restored.tail.back().index, model_.last_index());
  EXPECT_EQ(DifferenceByRead(*store_, model_), "");
}

TEST_F(LogStoreTest, ConfigurationsOfTheWholeLogAreRestored) {
  raft::Configuration configuration;
  configuration.clusterId[0] = 1;
  configuration.members = {{1, 11, raft::MemberKind::kVoter, "one:1"},
                           {2, 0, raft::MemberKind::kVoter, "two:2"}};
  LogBatch batch;
  batch.hardState = raft::HardState{};
  batch.hardState->currentTerm = 1;
  raft::Entry entry;
  entry.term = 1;
  entry.index = 1;
  entry.kind = raft::EntryKind::kConfig;
  entry.data = std::make_shared<const std::string>(configuration.Encode());
  entry.chain = raft::ChainHash(0, entry);
  batch.append.push_back(entry);
  ASSERT_NO_FATAL_FAILURE(Write(batch));
  for (int i = 0; i < 100; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(2)));
  }
  ASSERT_NO_FATAL_FAILURE(Reopen());
  const raft::Restored restored = store_->TakeRestored();
  ASSERT_EQ(restored.configurations.size(), 1U);
  EXPECT_EQ(restored.configurations[0].index, 1U);
  EXPECT_EQ(restored.configurations[0].configuration, configuration);
}

TEST_F(LogStoreTest, ALargeBatchIsSplitIntoKeysAndStaysOneWrite) {
  LogBatch batch = Entries(0);
  std::uint64_t chain = 0;
  for (raft::Index i = 1; i <= 40; ++i) {
    batch.append.push_back(MakeEntry(chain, 1, i, std::string(30000, static_cast<char>('a' + i))));
    chain = batch.append.back().chain;
  }
  const std::uint64_t before = env_.syncs();
  ASSERT_NO_FATAL_FAILURE(Write(batch));
  EXPECT_LE(env_.syncs(), before + 12) << "one for the write, the rest for the flush it causes";
  EXPECT_EQ(DifferenceByRead(*store_, model_), "");
  ASSERT_NO_FATAL_FAILURE(Write(Entries(1, 20)));
  ASSERT_NO_FATAL_FAILURE(Reopen());
  EXPECT_EQ(Difference(store_.get(), model_), "");
}

TEST_F(LogStoreTest, ALongRunWithRestartsAgainstTheModel) {
  LogWorkload workload(21, 2000);
  for (int i = 0; i < 600; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(workload.Next(model_)));
    if (i % 97 == 0) {
      ASSERT_NO_FATAL_FAILURE(Reopen());
      ASSERT_EQ(Difference(store_.get(), model_), "") << i;
    }
  }
  int tables = 0;
  for (const std::string& name : env_.Files()) {
    tables += name.ends_with(".ldb") ? 1 : 0;
  }
  EXPECT_GT(tables, 0) << "the run was too short to reach the tables";
}

TEST_F(LogStoreTest, TheSameRunWritesTheSameBytes) {
  const auto run = [] {
    FaultEnv env;
    SeededRandom random(4);
    LogWorkload workload(4, 3000);
    ModelLog model;
    auto store = LogStore::Open(SmallOptions(&env, &random));
    CHECK(store);
    for (int i = 0; i < 150; ++i) {
      const LogBatch batch = workload.Next(model);
      CHECK((*store)->Write(batch));
      model.Apply(batch);
    }
    store->reset();
    return env.Hash();
  };
  EXPECT_EQ(run(), run());
}

using LogStoreDeathTest = LogStoreTest;

TEST_F(LogStoreDeathTest, WhatTheCoreMustNeverAskIsRefusedLoudly) {
  ASSERT_NO_FATAL_FAILURE(Write(Entries(3)));
  LogBatch gap;
  gap.append.push_back(MakeEntry(model_.last_chain(), 1, 5, "gap"));
  EXPECT_DEATH((void)store_->Write(gap), "Check failed");
  LogBatch chain;
  chain.append.push_back(MakeEntry(model_.last_chain() + 1, 1, 4, "wrong chain"));
  EXPECT_DEATH((void)store_->Write(chain), "Check failed");
  LogBatch term;
  term.hardState = raft::HardState{};
  EXPECT_DEATH((void)store_->Write(term), "Check failed");
  LogBatch beyond;
  beyond.truncateFrom = 5;
  EXPECT_DEATH((void)store_->Write(beyond), "Check failed");
}

}  // namespace
}  // namespace conclave::persist::testing
