// A directory of a lost cluster becomes that of a new one, or stays as it is.
#include "persist/recovery.h"

#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"
#include "tests/persist/snapshot_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::HasSubstr;

constexpr raft::ClusterId kNewCluster{9, 9, 9};

class RecoveryTest : public ::testing::Test {
 protected:
  struct Member {
    std::unique_ptr<LogStore> log;
    std::unique_ptr<SnapshotGenerations> generations;
  };

  Member Open(FaultEnv* env) {
    Member member;
    auto log = LogStore::Open(SmallOptions(env, &random_));
    EXPECT_TRUE(log) << log.error().message;
    if (!log) {
      return member;
    }
    member.log = std::move(*log);
    auto generations =
        SnapshotGenerations::Open(SmallSnapshotOptions(env), member.log->generation());
    EXPECT_TRUE(generations) << generations.error().message;
    member.generations = generations ? std::move(*generations) : nullptr;
    return member;
  }

  // Forty entries, a snapshot at twenty.
  void Fill() {
    Member member = Open(&env_);
    for (int i = 0; i < 40; ++i) {
      const LogBatch batch = model_.Append(std::to_string(i));
      ASSERT_TRUE(member.log->Write(batch));
      model_.Apply(batch);
      state_.Apply(batch.append.front());
      if (i == 19) {
        auto built = member.generations->Checkpoint(MetaAt(model_, 20), "20",
                                                    SourceOf(std::exchange(state_.changed, {})));
        ASSERT_TRUE(built);
        LogBatch flip;
        flip.SetInstall((*built)->generation(), MetaAt(model_, 20), true);
        ASSERT_TRUE(member.log->Write(flip));
        model_.Apply(flip);
        member.generations->Switch(*built);
      }
    }
  }

  tl::expected<RecoveryPlan, Error> Run(Member* member) {
    auto plan = PlanRecovery(*member->log, model_.hard, kNewCluster, "host:1");
    if (!plan) {
      return plan;
    }
    return Recover(member->log.get(), member->generations.get(), *plan, "digest",
                   SourceOf(state_.rows))
        .map([&] { return *plan; });
  }

  // A directory that has been recovered by `plan`.
  void ExpectRecovered(const Member& member, const RecoveryPlan& plan) {
    const auto snapshot = member.generations->current();
    ASSERT_NE(snapshot, nullptr);
    EXPECT_EQ(snapshot->info().meta, plan.meta);
    const auto rows = LoadRows(*snapshot);
    ASSERT_TRUE(rows) << rows.error().message;
    EXPECT_EQ(*rows, state_.rows);
    const auto restored = member.log->TakeRestored(snapshot->info().meta);
    ASSERT_TRUE(restored) << restored.error().message;
    EXPECT_EQ(restored->hardState, plan.hardState);
    EXPECT_EQ(restored->start, plan.meta.last);
    EXPECT_EQ(restored->last, plan.meta.last);
    EXPECT_EQ(restored->lastApplied, plan.meta.last.index);
    ASSERT_EQ(restored->configurations.size(), 1U);
    EXPECT_EQ(restored->configurations.front(), plan.meta.configuration);
  }

  FaultEnv env_;
  SeededRandom random_{3};
  ModelLog model_;
  ModelState state_;
};

TEST_F(RecoveryTest, TheDirectoryIsThatOfANewClusterOfOne) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  Member member = Open(&env_);
  const Identity identity = member.log->identity();
  const auto plan = Run(&member);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->meta.last.index, raft::Index{1} << 40U);
  EXPECT_EQ(plan->meta.last.term, model_.hard.currentTerm + 1);
  EXPECT_EQ(plan->hardState.votedFor, 0U);
  EXPECT_TRUE(plan->hardState.clusterStarted);
  EXPECT_EQ(plan->hardState.clusterId, kNewCluster);
  const raft::Configuration& configuration = plan->meta.configuration.configuration;
  EXPECT_EQ(configuration.clusterId, kNewCluster);
  ASSERT_EQ(configuration.members.size(), 1U);
  EXPECT_TRUE(configuration.Names(identity.member, identity.incarnation));
  EXPECT_EQ(configuration.members.front().peer_address, "host:1");

  member = {};
  member = Open(&env_);
  ASSERT_NO_FATAL_FAILURE(ExpectRecovered(member, *plan));
  // And the log goes on behind it.
  LogBatch batch;
  batch.append.push_back(
      MakeEntry(plan->meta.chain, plan->meta.last.term, plan->meta.last.index + 1, "first"));
  ASSERT_TRUE(member.log->Write(batch));
}

TEST_F(RecoveryTest, ASecondOneBeginsAtTheNextMultiple) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  Member member = Open(&env_);
  ASSERT_TRUE(Run(&member));
  const auto again = Run(&member);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->meta.last.index, raft::Index{2} << 40U);
}

TEST_F(RecoveryTest, ANewDirectoryTakesABackup) {
  const LogBatch batch = model_.Append("only in the backup");
  state_.Apply(batch.append.front());
  Member member = Open(&env_);
  const auto plan = Run(&member);
  ASSERT_TRUE(plan) << plan.error().message;
  member = {};
  ASSERT_NO_FATAL_FAILURE(ExpectRecovered(Open(&env_), *plan));
}

TEST_F(RecoveryTest, WithoutRoomForZxidsItIsRefused) {
  Member member = Open(&env_);
  LogBatch batch;
  raft::SnapshotMeta meta;
  meta.last = {1, kRecoveryIndexMax - 10};
  batch.SetInstall(1, meta, false);
  batch.hardState = raft::HardState{};
  batch.hardState->currentTerm = 1;
  ASSERT_TRUE(member.log->Write(batch));
  const auto plan = PlanRecovery(*member.log, *batch.hardState, kNewCluster, "");
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr("2^53"));
}

// Interrupted anywhere, the directory is the old one or the new one, whole.
TEST_F(RecoveryTest, ACrashLeavesTheOldDirectoryOrTheNewOne) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  Member member = Open(&env_);
  const auto plan = PlanRecovery(*member.log, model_.hard, kNewCluster, "host:1");
  ASSERT_TRUE(plan);
  std::uint64_t seed = 0;
  std::uint64_t old_ones = 0;
  std::uint64_t new_ones = 0;
  env_.OnChange([&] {
    for (const CrashPolicy policy : {CrashPolicy::kDropAll, CrashPolicy::kKeepAll,
                                     CrashPolicy::kPrefix, CrashPolicy::kSubset}) {
      const auto disk = env_.CrashImage(policy, ++seed);
      Member after = Open(disk.get());
      ASSERT_NE(after.generations, nullptr);
      if (after.log->start() == plan->meta.last) {
        ++new_ones;
        ASSERT_NO_FATAL_FAILURE(ExpectRecovered(after, *plan));
      } else {
        ++old_ones;
        ASSERT_EQ(Difference(after.log.get(), model_), "");
        ASSERT_EQ(after.generations->current()->info().meta, MetaAt(model_, 20));
      }
    }
  });
  ASSERT_TRUE(
      Recover(member.log.get(), member.generations.get(), *plan, "digest", SourceOf(state_.rows)));
  env_.OnChange(nullptr);
  EXPECT_GT(old_ones, 50U);
  EXPECT_GT(new_ones, 20U);
}

}  // namespace
}  // namespace conclave::persist::testing
