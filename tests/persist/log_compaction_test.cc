// The front of the log: what compaction removes and keeps, where a reset begins, the configurations
// at the start, and the checks that log and snapshot belong together.
#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "persist/log_store.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"
#include "tests/persist/snapshot_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::HasSubstr;

raft::Configuration Members(std::uint64_t count) {
  raft::Configuration configuration;
  for (std::uint64_t id = 1; id <= count; ++id) {
    raft::Member member;
    member.id = id;
    member.incarnation = id * 10;
    configuration.members.push_back(member);
  }
  return configuration;
}

class Compaction : public ::testing::Test {
 protected:
  Compaction() { Reopen(); }

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

  // Batches of `count` entries, one Write each.
  void Append(int batches, int count, std::optional<raft::Configuration> first = std::nullopt) {
    for (int i = 0; i < batches; ++i) {
      LogBatch batch;
      batch.hardState = model_.hard;
      batch.hardState->currentTerm = 1;
      std::uint64_t chain = model_.last_chain();
      for (int n = 0; n < count; ++n) {
        raft::Entry entry =
            MakeEntry(chain, 1, model_.last_index() + 1 + static_cast<raft::Index>(n),
                      "entry " + std::to_string(n));
        if (first) {
          entry.kind = raft::EntryKind::kConfig;
          entry.data = std::make_shared<const std::string>(first->Encode());
          entry.chain = raft::ChainHash(chain, entry);
          first.reset();
        }
        chain = entry.chain;
        batch.append.push_back(entry);
      }
      ASSERT_NO_FATAL_FAILURE(Write(batch));
    }
  }

  LogBatch Install(std::uint64_t generation, raft::Index index, bool log_kept = true) {
    LogBatch batch;
    batch.SetInstall(generation, MetaAt(model_, index), log_kept);
    return batch;
  }

  void Compact(raft::Index through) {
    LogBatch batch;
    batch.compactThrough = through;
    ASSERT_NO_FATAL_FAILURE(Write(batch));
  }

  // As Restored says.
  std::vector<raft::Index> ConfigurationsAfterRestart() {
    Reopen();
    std::vector<raft::Index> indices;
    for (const auto& configuration : store_->TakeRestored().configurations) {
      indices.push_back(configuration.index);
    }
    return indices;
  }

  FaultEnv env_;
  SeededRandom random_{1};
  ModelLog model_;
  std::unique_ptr<LogStore> store_;
};

TEST_F(Compaction, RemovesWholeBatchesAndKeepsTheOneThatIsCoveredInPart) {
  ASSERT_NO_FATAL_FAILURE(Append(6, 5));  // 1-5, 6-10, ... 26-30
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 20)));
  const std::uint64_t bytes = store_->log_bytes();
  for (raft::Index through = 1; through <= 20; ++through) {
    ASSERT_NO_FATAL_FAILURE(Compact(through));
    EXPECT_EQ(store_->start(), model_.IdAt(through / 5 * 5));
    EXPECT_EQ(store_->log_bytes(), bytes / 6 * (6 - through / 5));
    ASSERT_EQ(DifferenceByRead(*store_, model_), "") << through;
    Reopen();
    ASSERT_EQ(Difference(store_.get(), model_), "") << "reopened after " << through;
    Reopen();
  }
  EXPECT_EQ(*store_->TermAt(20), 1U) << "of the start itself";
  ASSERT_NO_FATAL_FAILURE(Append(2, 3));
  ASSERT_EQ(DifferenceByRead(*store_, model_), "") << "it goes on";
}

TEST_F(Compaction, IsInTheSyncOfTheWrite) {
  ASSERT_NO_FATAL_FAILURE(Append(6, 5));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 20)));
  LogBatch batch = model_.Append("more");
  batch.compactThrough = 20;
  const std::uint64_t before = env_.syncs();
  ASSERT_NO_FATAL_FAILURE(Write(batch));
  EXPECT_EQ(env_.syncs(), before + 1);
  EXPECT_EQ(store_->first_index(), 21U);
}

TEST_F(Compaction, OfVeryManyBatchesIsSpreadOverWrites) {
  ASSERT_NO_FATAL_FAILURE(Append(4200, 1));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 4150)));
  ASSERT_NO_FATAL_FAILURE(Compact(4150));
  EXPECT_EQ(store_->start().index, 4096U);
  ASSERT_NO_FATAL_FAILURE(Append(1, 1));
  EXPECT_EQ(store_->start().index, 4150U);
  ASSERT_EQ(DifferenceByRead(*store_, model_), "");
}

TEST_F(Compaction, EverythingMayGo) {
  ASSERT_NO_FATAL_FAILURE(Append(3, 4));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 12)));
  ASSERT_NO_FATAL_FAILURE(Compact(12));
  EXPECT_EQ(store_->log_bytes(), 0U);
  EXPECT_EQ(store_->first_index(), 13U);
  EXPECT_EQ(store_->last_index(), 12U);
  Reopen();
  ASSERT_EQ(Difference(store_.get(), model_), "");
  ASSERT_NO_FATAL_FAILURE(Append(1, 2));
  Reopen();
  ASSERT_EQ(Difference(store_.get(), model_), "");
}

TEST_F(Compaction, WhatIsGoneIsAnErrorToRead) {
  ASSERT_NO_FATAL_FAILURE(Append(3, 4));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 8)));
  ASSERT_NO_FATAL_FAILURE(Compact(8));
  const auto read = store_->Read(8, 9, 1000);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error(), HasSubstr("compacted"));
  EXPECT_FALSE(store_->TermAt(7));
}

TEST_F(Compaction, TheConfigurationAtTheStartIsRestored) {
  ASSERT_NO_FATAL_FAILURE(Append(1, 3, Members(1)));  // 1
  ASSERT_NO_FATAL_FAILURE(Append(1, 3, Members(2)));  // 4
  ASSERT_NO_FATAL_FAILURE(Append(1, 3));
  ASSERT_NO_FATAL_FAILURE(Append(1, 3, Members(3)));  // 10
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 12)));
  EXPECT_THAT(ConfigurationsAfterRestart(), ::testing::ElementsAre(1, 4, 10));
  ASSERT_NO_FATAL_FAILURE(Compact(3));
  EXPECT_THAT(ConfigurationsAfterRestart(), ::testing::ElementsAre(1, 4, 10));
  ASSERT_NO_FATAL_FAILURE(Compact(9));
  EXPECT_THAT(ConfigurationsAfterRestart(), ::testing::ElementsAre(4, 10));
  ASSERT_NO_FATAL_FAILURE(Compact(12));
  EXPECT_THAT(ConfigurationsAfterRestart(), ::testing::ElementsAre(10));
  Reopen();
  const auto restored = store_->TakeRestored();
  EXPECT_EQ(restored.configurations.front().configuration, Members(3));
}

TEST_F(Compaction, ATruncationTakesConfigurationsBack) {
  ASSERT_NO_FATAL_FAILURE(Append(1, 3, Members(1)));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 3)));
  ASSERT_NO_FATAL_FAILURE(Append(1, 3, Members(2)));
  LogBatch batch;
  batch.truncateFrom = 4;
  ASSERT_NO_FATAL_FAILURE(Write(batch));
  ASSERT_NO_FATAL_FAILURE(Append(1, 3));
  ASSERT_NO_FATAL_FAILURE(Compact(3));
  Reopen();
  const auto restored = store_->TakeRestored();
  ASSERT_EQ(restored.configurations.size(), 1U);
  EXPECT_EQ(restored.configurations.front().configuration, Members(1));
}

// A checkpoint may begin and count a generation while a snapshot is still being received.
TEST_F(Compaction, TheGenerationThatCountsMayHaveBeenBegunBeforeTheOneBeforeIt) {
  ASSERT_NO_FATAL_FAILURE(Append(6, 5));
  ASSERT_NO_FATAL_FAILURE(Write(Install(3, 10)));
  ASSERT_NO_FATAL_FAILURE(Write(Install(2, 20)));
  EXPECT_EQ(store_->generation(), 2U);
  Reopen();
  EXPECT_EQ(store_->generation(), 2U);
}

TEST_F(Compaction, AnInstallThatEmptiesTheLogBeginsAfterTheSnapshot) {
  ASSERT_NO_FATAL_FAILURE(Append(5, 5, Members(1)));
  raft::SnapshotMeta meta;
  meta.last = {3, 1000};
  meta.chain = 77;
  meta.configuration = {900, Members(5)};
  LogBatch batch;
  batch.SetInstall(1, meta, /*log_kept=*/false);
  batch.hardState = model_.hard;
  batch.hardState->currentTerm = 4;
  // In the same write, what came behind it.
  batch.append.push_back(MakeEntry(77, 4, 1001, "behind"));
  ASSERT_NO_FATAL_FAILURE(Write(batch));
  EXPECT_EQ(store_->start(), meta.last);
  Reopen();
  const auto restored = store_->TakeRestored(meta);
  ASSERT_TRUE(restored) << restored.error().message;
  ASSERT_EQ(Difference(*store_, *restored, model_), "");
  EXPECT_EQ(restored->start, meta.last);
  EXPECT_EQ(restored->start_chain, 77U);
  EXPECT_EQ(restored->lastApplied, 1000U);
  EXPECT_EQ(restored->commitIndex, 1000U);
  ASSERT_EQ(restored->configurations.size(), 1U);
  EXPECT_EQ(restored->configurations.front(), meta.configuration);
}

TEST_F(Compaction, ACheckpointIsWhereTheCoreGoesOn) {
  ASSERT_NO_FATAL_FAILURE(Append(5, 5));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 20)));
  ASSERT_NO_FATAL_FAILURE(Compact(10));
  Reopen();
  const auto restored = store_->TakeRestored(MetaAt(model_, 22));
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(restored->start.index, 10U);
  EXPECT_EQ(restored->lastApplied, 22U);
  EXPECT_EQ(restored->commitIndex, 22U);
}

TEST_F(Compaction, ASnapshotThatDoesNotBelongToTheLogIsDamage) {
  ASSERT_NO_FATAL_FAILURE(Append(1, 5, Members(1)));
  ASSERT_NO_FATAL_FAILURE(Append(4, 5));
  ASSERT_NO_FATAL_FAILURE(Write(Install(1, 20)));
  ASSERT_NO_FATAL_FAILURE(Compact(10));
  const auto refusal = [&](raft::SnapshotMeta meta) {
    Reopen();
    const auto restored = store_->TakeRestored(meta);
    EXPECT_FALSE(restored);
    if (restored) {
      return std::string();
    }
    EXPECT_EQ(restored.error().kind, ErrorKind::kDamaged);
    EXPECT_THAT(restored.error().message, HasSubstr("re-admit"));
    return restored.error().message;
  };
  raft::SnapshotMeta sound = MetaAt(model_, 20);
  sound.configuration = {1, Members(1)};
  EXPECT_TRUE(store_->TakeRestored(sound));
  EXPECT_THAT(refusal(MetaAt(model_, 9)), HasSubstr("it has entries 11 to 25")) << "a gap";
  raft::SnapshotMeta meta = sound;
  meta.last = {1, 26};
  EXPECT_THAT(refusal(meta), HasSubstr("ends at entry 26")) << "beyond what was durable";
  meta = sound;
  meta.last.term = 2;
  EXPECT_THAT(refusal(meta), HasSubstr("another entry here"));
  meta = sound;
  ++meta.chain;
  refusal(meta);
  meta = MetaAt(model_, 10);
  meta.configuration = {1, Members(1)};
  ++meta.chain;
  refusal(meta);  // At the start itself.
  meta = sound;
  meta.configuration = {1, Members(2)};
  EXPECT_THAT(refusal(meta), HasSubstr("another configuration"));
}

TEST_F(Compaction, AnInstallThatEndsInAnotherEntryIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Append(5, 5));
  LogBatch batch = Install(1, 20);
  ++batch.install->meta.chain;
  const auto written = store_->Write(batch);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kDamaged);
  EXPECT_THAT(written.error().message, HasSubstr("another entry here"));
  Reopen();
  ASSERT_EQ(Difference(store_.get(), model_), "") << "nothing of it was written";
  // The same for an entry that comes in the same write.
  LogBatch more = model_.Append("more");
  more.install = LogBatch::Install{1, {more.append.front().id(), 1, {}}};
  EXPECT_FALSE(store_->Write(more));
  Reopen();
  more.install->meta.chain = more.append.front().chain;
  ASSERT_NO_FATAL_FAILURE(Write(more));
}

using CompactionDeathTest = Compaction;

TEST_F(CompactionDeathTest, WhatWouldLoseEntriesIsAnInvariantOfTheCaller) {
  ASSERT_NO_FATAL_FAILURE(Append(5, 5));
  LogBatch compact;
  compact.compactThrough = 10;
  EXPECT_DEATH((void)store_->Write(compact), "no snapshot");
  ASSERT_NO_FATAL_FAILURE(Write(Install(2, 20)));
  EXPECT_DEATH((void)store_->Write(Install(2, 20)), "generation") << "the same again";
  LogBatch beyond = Install(3, 20);
  beyond.install->meta.last.index = 26;
  EXPECT_DEATH((void)store_->Write(beyond), "last.index");
  ASSERT_NO_FATAL_FAILURE(Compact(10));
  EXPECT_DEATH((void)store_->Write(Install(3, 9)), "start.index") << "back behind the start";
  EXPECT_DEATH((void)store_->Write(Install(3, 10, /*log_kept=*/false)), "start.index");
}

// --- Group commit ---

// One write of two batches merged leaves what two writes leave.
TEST(LogBatchInstall, MergedOrOneByOneIsTheSame) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    FaultEnv env;
    SeededRandom ids(seed);
    auto opened = LogStore::Open(SmallOptions(&env, &ids));
    ASSERT_TRUE(opened);
    const std::unique_ptr<LogStore> store = std::move(*opened);
    LogWorkload workload(seed, 20);
    ModelLog model;
    LogBatch merged;
    for (int i = 0; i < 12; ++i) {
      LogBatch next = workload.Next(model);
      ModelLog after = model;
      after.Apply(next);
      const raft::Index last = after.last_index();
      switch (random() % 6) {
        case 0:  // From elsewhere, beyond the end.
          next.SetInstall(after.generation + 1, {{after.hard.currentTerm, last + 5}, random(), {}},
                          false);
          next.truncateFrom = 0;
          next.append.clear();
          break;
        case 1:  // Of this log.
          next.SetInstall(after.generation + 1, MetaAt(after, last), true);
          break;
        case 2:
          if (after.generation != 0) {
            next.compactThrough = std::max(after.start.index, after.committed);
          }
          break;
        default:
          break;
      }
      model.Apply(next);
      model.committed = std::max(
          model.committed,
          model.last_index() -
              random() % 2 * (model.last_index() - std::max(model.committed, model.start.index)));
      merged.Merge(std::move(next));
      if (random() % 3 == 0) {
        const auto written = store->Write(merged);
        ASSERT_TRUE(written);
        merged = {};
        ASSERT_EQ(DifferenceByRead(*store, model), "") << "seed " << seed << " step " << i;
      }
    }
  }
}

}  // namespace
}  // namespace conclave::persist::testing
