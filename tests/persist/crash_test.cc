// Every crash state of a workload: after each change of the disk, for each policy and several
// seeds, the disk that a crash would leave is opened again and must hold exactly what was
// acknowledged, or that and the one batch that was on its way.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "persist/log_store.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {
namespace {

// Thousands of torn tails are cut here, each with a line of its own otherwise.
const bool kQuiet = [] {
  FLAGS_minloglevel = google::GLOG_FATAL;
  return true;
}();

struct Progress {
  ModelLog acknowledged;
  ModelLog on_its_way;               // acknowledged and the batch being written
  std::optional<Identity> identity;  // once Open has returned
};

struct Tally {
  std::uint64_t states = 0;
  std::uint64_t torn_tails = 0;
  std::uint64_t with_unacknowledged = 0;
};

// Opens what a crash now would leave and compares.
void CheckOne(const FaultEnv& env, CrashPolicy policy, std::uint64_t seed, const Progress& progress,
              Tally* tally) {
  ++tally->states;
  const std::unique_ptr<FaultEnv> disk = env.CrashImage(policy, seed);
  SeededRandom random(seed + 1000);
  auto opened = LogStore::Open(SmallOptions(disk.get(), &random));
  ASSERT_TRUE(opened) << opened.error().message;
  tally->torn_tails += (*opened)->repair().file.empty() ? 0 : 1;
  if (progress.identity) {
    ASSERT_EQ((*opened)->identity(), *progress.identity) << "another incarnation after a crash";
  }
  const bool longer = (*opened)->last_index() != progress.acknowledged.last_index();
  const std::string as_acknowledged = DifferenceByRead(**opened, progress.acknowledged);
  const ModelLog& model =
      as_acknowledged.empty() && !longer && Difference(opened->get(), progress.acknowledged).empty()
          ? progress.acknowledged
          : progress.on_its_way;
  if (&model == &progress.on_its_way) {
    ++tally->with_unacknowledged;
    opened->reset();
    auto again = LogStore::Open(SmallOptions(disk.get(), &random));
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_EQ(Difference(again->get(), model), "")
        << "neither the acknowledged state (" << as_acknowledged << ") nor the next one";
    *opened = std::move(*again);
  }
  // A store that came back must also go on.
  ModelLog after = model;
  const LogBatch batch = after.Append("after the crash");
  after.Apply(batch);
  ASSERT_TRUE((*opened)->Write(batch));
  ASSERT_EQ(DifferenceByRead(**opened, after), "");
}

struct Scenario {
  std::uint64_t seed;
  std::size_t data_bytes_max;
  int batches;
  int reopen_every;
  std::uint64_t seeds_per_state;
};

void Enumerate(const Scenario& scenario, Tally* tally) {
  FaultEnv env;
  SeededRandom random(scenario.seed);
  LogWorkload workload(scenario.seed, scenario.data_bytes_max);
  Progress progress;
  std::uint64_t change = 0;
  env.OnChange([&] {
    ++change;
    if (::testing::Test::HasFatalFailure()) {
      return;
    }
    CheckOne(env, CrashPolicy::kDropAll, 0, progress, tally);
    CheckOne(env, CrashPolicy::kKeepAll, 0, progress, tally);
    for (std::uint64_t seed = 0; seed < scenario.seeds_per_state; ++seed) {
      CheckOne(env, CrashPolicy::kPrefix, change * 100 + seed, progress, tally);
      CheckOne(env, CrashPolicy::kSubset, change * 100 + seed, progress, tally);
    }
  });
  std::unique_ptr<LogStore> store;
  for (int i = 0; i < scenario.batches && !::testing::Test::HasFatalFailure(); ++i) {
    if (i % scenario.reopen_every == 0) {
      store.reset();
      auto opened = LogStore::Open(SmallOptions(&env, &random));
      ASSERT_TRUE(opened) << opened.error().message;
      store = std::move(*opened);
      progress.identity = store->identity();
    }
    const LogBatch batch = workload.Next(progress.acknowledged);
    progress.on_its_way.Apply(batch);
    ASSERT_TRUE(store->Write(batch)) << i;
    progress.acknowledged = progress.on_its_way;
  }
  env.OnChange(nullptr);
}

// A count is part of the claim: fewer states than this and the enumeration has lost its reach.
TEST(Crash, EveryPrefixOfSmallBatchesWithTruncations) {
  Tally tally;
  ASSERT_NO_FATAL_FAILURE(Enumerate({1, 300, 90, 23, 3}, &tally));
  EXPECT_GT(tally.states, 1500U);
  EXPECT_GT(tally.torn_tails, 100U);
  EXPECT_GT(tally.with_unacknowledged, 50U);
  RecordProperty("crash_states", std::to_string(tally.states));
}

// Values of several blocks, so that records have many fragments and the files rotate and compact.
TEST(Crash, EveryPrefixOfLargeBatchesWithRotations) {
  Tally tally;
  ASSERT_NO_FATAL_FAILURE(Enumerate({2, 20000, 45, 19, 3}, &tally));
  EXPECT_GT(tally.states, 1000U);
  EXPECT_GT(tally.torn_tails, 50U);
  RecordProperty("crash_states", std::to_string(tally.states));
}

// A crash during recovery from a crash, several times over: nothing acknowledged may go.
TEST(Crash, AgainAndAgainDuringRecovery) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    FaultEnv env;
    SeededRandom random(seed);
    LogWorkload workload(seed, 3000);
    ModelLog model;
    {
      auto store = LogStore::Open(SmallOptions(&env, &random));
      ASSERT_TRUE(store);
      for (int i = 0; i < 12; ++i) {
        const LogBatch batch = workload.Next(model);
        ASSERT_TRUE((*store)->Write(batch));
        model.Apply(batch);
      }
      env.Crash(CrashPolicy::kSubset, seed);
    }
    for (std::uint64_t round = 0; round < 6; ++round) {
      // The process dies at some change of its recovery: everything after it fails.
      env.Inject({Operation::kCreate, 1 + (seed + round) % 4, FaultError::kIo, "", true, 0});
      {
        const auto interrupted = LogStore::Open(SmallOptions(&env, &random));
        EXPECT_TRUE(interrupted || interrupted.error().kind == ErrorKind::kIo);
        env.Crash(CrashPolicy::kSubset, seed * 10 + round);
      }
    }
    auto store = LogStore::Open(SmallOptions(&env, &random));
    ASSERT_TRUE(store) << store.error().message;
    ASSERT_EQ(Difference(store->get(), model), "") << "seed " << seed;
  }
}

// A second crash hits the check that cuts a torn tail off: the file is torn or cut, never less.
TEST(Crash, WhileATornTailIsCutOff) {
  std::uint64_t cuts = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    FaultEnv env;
    SeededRandom random(seed);
    ModelLog model;
    auto store = LogStore::Open(SmallOptions(&env, &random));
    ASSERT_TRUE(store);
    for (int i = 0; i < 4; ++i) {
      const LogBatch batch = model.Append(std::string(700, 'a'));
      ASSERT_TRUE((*store)->Write(batch));
      model.Apply(batch);
    }
    // The record reaches the cache, the sync fails, the machine goes down.
    env.Inject({Operation::kSync, 1, FaultError::kIo, ".log", false, 0});
    std::unique_ptr<FaultEnv> torn;
    env.OnChange([&] {
      if (torn == nullptr) {
        torn = env.CrashImage(CrashPolicy::kSubset, seed);
      }
    });
    LogBatch last = model.Append(std::string(3000, 'b'));
    ASSERT_FALSE((*store)->Write(last));
    ASSERT_NE(torn, nullptr);
    const std::uint64_t before = cuts;
    torn->OnChange([&] {
      for (std::uint64_t again = 0; again < 3; ++again) {
        const auto image = torn->CrashImage(CrashPolicy::kSubset, seed * 100 + again);
        auto reopened = LogStore::Open(SmallOptions(image.get(), &random));
        ASSERT_TRUE(reopened) << reopened.error().message;
        ModelLog longer = model;
        longer.Apply(last);
        const bool arrived = (*reopened)->last_index() == longer.last_index();
        ASSERT_EQ(Difference(reopened->get(), arrived ? longer : model), "");
        cuts += (*reopened)->repair().file.empty() ? 0 : 1;
      }
    });
    const auto reopened = LogStore::Open(SmallOptions(torn.get(), &random));
    ASSERT_TRUE(reopened);
    ASSERT_FALSE(HasFatalFailure()) << "seed " << seed << ", cuts " << cuts - before;
    torn->OnChange(nullptr);
  }
  EXPECT_GT(cuts, 20U);
}

// Killing the process alone (the kernel goes on) loses nothing and leaves nothing to repair.
TEST(Crash, KilledProcessKeepsEverythingAcknowledged) {
  FaultEnv env;
  SeededRandom random(5);
  LogWorkload workload(5, 900);
  ModelLog model;
  for (int life = 0; life < 12; ++life) {
    auto store = LogStore::Open(SmallOptions(&env, &random));
    ASSERT_TRUE(store) << store.error().message;
    ASSERT_EQ((*store)->repair().file, "");
    ASSERT_EQ(Difference(store->get(), model), "") << "life " << life;
    for (int i = 0; i < 30; ++i) {
      const LogBatch batch = workload.Next(model);
      ASSERT_TRUE((*store)->Write(batch));
      model.Apply(batch);
    }
    env.Crash(CrashPolicy::kKeepAll, 0);
  }
}

}  // namespace
}  // namespace conclave::persist::testing
