// Checkpoints, the log that shrinks behind them, and the restart from them.
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "coord/server/log_tail.h"
#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::Code;
using tree::CreateMode;

// A checkpoint every few entries, and nothing kept behind it.
void Eager(Options& options) {
  options.checkpoint_log_entries = 5;
  options.log_tail_entries = 0;
  options.freeze_slice_rows = 2;
}

ClusterOptions Tuned(std::function<void(Options&)> tune, std::size_t members = 3) {
  ClusterOptions options;
  options.members = members;
  options.tune = std::move(tune);
  return options;
}

// What a client can see of a tree with these znodes.
std::map<std::string, std::string> Look(Cluster& cluster, raft::MemberId member,
                                        const std::string& parent) {
  Client reader(&cluster, member);
  std::map<std::string, std::string> seen;
  const auto children = reader.Children(parent);
  EXPECT_TRUE(children.ok()) << children.message();
  for (const std::string& name : children.answer->names) {
    const auto value = reader.Get(parent + "/" + name);
    EXPECT_TRUE(value.ok()) << value.message();
    seen[name] = std::string(value.answer->value->data());
  }
  return seen;
}

TEST(CheckpointTest, TheLogShrinksBehindCheckpointsAndARestartLosesNothing) {
  Cluster cluster(Tuned(Eager));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  ASSERT_TRUE(client.Create("/c").ok());
  std::map<std::string, std::string> wanted;
  for (int i = 0; i < 60; ++i) {
    const std::string name = "n" + std::to_string(i % 20);
    const std::string path = "/c/" + name;
    const std::string value = std::to_string(i);
    ASSERT_TRUE((i < 20 ? client.Create(path, value) : client.Set(path, value)).ok()) << i;
    wanted[name] = value;
  }
  ASSERT_TRUE(cluster.AwaitConverged());
  ASSERT_TRUE(cluster.Until([&] {
    const Status status = cluster.server(2).status();
    return status.applied_index - status.checkpoint.index < 5 && !status.checkpoint.running;
  }));
  const Status before = cluster.server(2).status();
  EXPECT_GT(before.counters.checkpoints, 5U);
  EXPECT_GT(before.log_first_index, 40U) << "the log has not been compacted";
  for (raft::MemberId member = 1; member <= 3; ++member) {
    cluster.Kill(member);
  }
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  ASSERT_TRUE(cluster.AwaitConverged());
  const Status after = cluster.server(2).status();
  EXPECT_GE(after.checkpoint.index, before.checkpoint.index);
  EXPECT_LT(after.counters.entries_applied, 12U) << "the whole log was replayed";
  for (raft::MemberId member = 1; member <= 3; ++member) {
    EXPECT_EQ(Look(cluster, member, "/c"), wanted) << member;
  }
  EXPECT_TRUE(client.Set("/c/n1", "after").ok()) << "the session has survived";
}

TEST(CheckpointTest, ARetryAfterTheRestartGetsTheStoredAnswer) {
  Cluster cluster(Tuned(Eager, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  ASSERT_TRUE(client.Create("/q").ok());
  const tree::Create create{
      .path = "/q/n-", .data = "x", .mode = CreateMode::kPersistentSequential};
  const auto first = client.Write(create);
  ASSERT_TRUE(first.ok());
  Client other(&cluster, 1, 9);
  ASSERT_TRUE(other.Open(60'000));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(other.Set("/q", std::to_string(i)).ok());
  }
  ASSERT_TRUE(cluster.Until([&] {
    return cluster.server(1).status().checkpoint.index >
           static_cast<std::uint64_t>(first.answer->zxid);
  }));
  cluster.Kill(1);
  ASSERT_FALSE(cluster.Start(1).has_value());
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  const auto again = client.Repeat(create);
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(again.answer->path, first.answer->path);
  EXPECT_EQ(again.answer->zxid, first.answer->zxid);
  EXPECT_EQ(client.Children("/q").answer->names.size(), 1U) << "it was executed twice";
}

TEST(CheckpointTest, SessionsThatOnlyTheCheckpointKnowsExpireAndAreCounted) {
  Cluster cluster(Tuned(Eager, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client dead(&cluster, 1, 3);
  ASSERT_TRUE(dead.Open(3'000));
  ASSERT_TRUE(dead.Create("/e", "x", CreateMode::kEphemeral).ok());
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client.Create("/n" + std::to_string(i)).ok());
  }
  cluster.RunMs(100);
  cluster.Kill(1);
  ASSERT_FALSE(cluster.Start(1).has_value());
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  EXPECT_GT(cluster.server(1).status().log_first_index, 10U);
  EXPECT_TRUE(client.Exists("/e").answer->exists);
  ASSERT_TRUE(cluster.Until([&] { return !client.Exists("/e").answer->exists; }, 10'000))
      << "a session that was loaded never expires";
  EXPECT_EQ(cluster.server(1).status().sessions, 1U);
}

// A session's timeout decides when a member that is cut off sends its polls away (rule 4): it must
// be known of sessions that were loaded too.
TEST(CheckpointTest, AMemberThatWasRestartedKnowsTheShortestTimeout) {
  Cluster cluster(Tuned(Eager));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  const raft::MemberId follower = cluster.Follower();
  Client client(&cluster, follower);
  ASSERT_TRUE(client.Open(9'000));
  ASSERT_TRUE(client.Create("/a").ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client.Set("/a", std::to_string(i)).ok());
  }
  ASSERT_TRUE(cluster.AwaitConverged());
  cluster.Kill(follower);
  ASSERT_FALSE(cluster.Start(follower).has_value());
  ASSERT_TRUE(cluster.AwaitConverged());
  ASSERT_EQ(cluster.AwaitLeader(), leader);
  client.StartPolling(60'000);
  cluster.RunMs(500);
  ASSERT_EQ(cluster.server(follower).status().polls_parked, 1U);
  cluster.network().Isolate(follower);
  EXPECT_TRUE(
      cluster.Until([&] { return cluster.server(follower).status().polls_parked == 0; }, 4'000))
      << "it keeps a poll although it has not heard a leader for a third of the timeout";
}

TEST(CheckpointTest, AFreezeGoesInSlicesWhileWritesAreAnswered) {
  Cluster cluster(Tuned([](Options& options) { options.freeze_slice_rows = 4; }, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(client.Create("/n" + std::to_string(i), "before").ok());
  }
  bool taken = false;
  const std::uint64_t at = cluster.server(1).status().applied_index;
  cluster.server(1).Checkpoint([&taken] { taken = true; });
  // These change what the freeze has not come to yet.
  int answered = 0;
  for (int i = 0; i < 200; ++i) {
    client.SendWrite(tree::SetData{.path = "/n" + std::to_string(i), .data = "after"},
                     [&answered](const ReplyHead&, const Answer<WriteReply>& answer) {
                       answered += answer ? 1 : 0;
                     });
  }
  ASSERT_TRUE(cluster.Until([&] { return taken && answered == 200; }));
  EXPECT_EQ(cluster.server(1).status().checkpoint.index, at);
  EXPECT_GE(cluster.server(1).status().counters.freeze_slices, 200U / 4) << "it held up the core";
  // The checkpoint is of the state before, and the log has the rest: both are needed.
  cluster.Kill(1);
  ASSERT_FALSE(cluster.Start(1).has_value());
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  EXPECT_EQ(cluster.server(1).status().checkpoint.index, at);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(client.Get("/n" + std::to_string(i)).answer->value->data(), "after") << i;
  }
}

// Rule 12: a leader may commit on its followers' disks before its own.
TEST(CheckpointTest, ACheckpointNeverGoesPastTheOwnDurableLog) {
  ClusterOptions options = Tuned(Eager);
  Cluster cluster(std::move(options));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  Client client(&cluster, cluster.Follower());
  ASSERT_TRUE(client.Open(60'000));
  ASSERT_TRUE(client.Create("/a").ok());
  ASSERT_TRUE(cluster.AwaitConverged());
  const std::uint64_t durable = cluster.server(leader).status().applied_index;
  // The leader's log thread stands still; the others make a majority.
  cluster.StallLog(leader, 250 * kMs);
  int answered = 0;
  for (int i = 0; i < 30; ++i) {
    client.SendWrite(tree::SetData{.path = "/a", .data = std::to_string(i)},
                     [&answered](const ReplyHead&, const Answer<WriteReply>& answer) {
                       answered += answer ? 1 : 0;
                     });
  }
  ASSERT_TRUE(cluster.Until([&] { return answered == 30; }, 200));
  ASSERT_GT(cluster.server(leader).status().applied_index, durable + 20);
  EXPECT_LE(cluster.server(leader).status().checkpoint.index, durable);
  EXPECT_TRUE(cluster.Until([&] {
    return cluster.server(leader).status().checkpoint.index > durable + 20;
  })) << "it never comes";
}

TEST(CheckpointTest, EveryChangeTooLargeForABatchMakesAGeneration) {
  Cluster cluster(Tuned(
      [](Options& options) {
        Eager(options);
        options.checkpoint_batch_bytes = 2000;
      },
      1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(client.Create("/n" + std::to_string(i), std::string(900, 'x')).ok());
  }
  cluster.RunMs(500);
  EXPECT_GT(cluster.server(1).status().checkpoint.generation, 3U);
  cluster.Kill(1);
  ASSERT_FALSE(cluster.Start(1).has_value());
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  EXPECT_EQ(client.Children("/").answer->names.size(), 41U);  // and /zookeeper
  std::size_t generations = 0;
  for (const std::string& file : cluster.env(1).Files()) {
    generations += file.starts_with("/data/snapshot-") && file.ends_with("/CURRENT") ? 1 : 0;
  }
  EXPECT_EQ(generations, 1U) << "old generations are left";
}

// Crashes at any operation of the disk, under writes, with checkpoints all the time.
TEST(CheckpointTest, ACrashBetweenAnyTwoOperationsOfTheDiskLosesNothing) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    SimRandom chance(seed);
    ClusterOptions options = Tuned(
        [seed](Options& tuned) {
          Eager(tuned);
          tuned.checkpoint_batch_bytes = seed % 2 == 0 ? 500 : 1 << 20;
        },
        1);
    options.seed = seed;
    Cluster cluster(std::move(options));
    cluster.StartAll();
    ASSERT_EQ(cluster.AwaitLeader(), 1U);
    Client client(&cluster, 1);
    ASSERT_TRUE(client.Open(600'000));
    ASSERT_TRUE(client.Create("/c").ok());
    std::map<std::string, std::string> wanted;
    for (int round = 0; round < 6; ++round) {
      for (int i = 0; i < 12; ++i) {
        const std::string name = "r" + std::to_string(round) + "-" + std::to_string(i);
        ASSERT_TRUE(client.Create("/c/" + name, "v").ok());
        wanted[name] = "v";
      }
      std::uint64_t left = chance.Uniform(1, 40);
      bool crashed = false;
      cluster.env(1).OnChange([&] { crashed = crashed || --left == 0; });
      // Nothing new is asked: what is written now is the checkpoint's.
      cluster.Until([&] { return crashed; }, 300);
      cluster.env(1).OnChange({});
      cluster.Kill(1, chance.Uniform(0, 1) == 0);
      const auto error = cluster.Start(1);
      ASSERT_FALSE(error.has_value()) << *error;
      ASSERT_EQ(cluster.AwaitLeader(), 1U);
      ASSERT_EQ(Look(cluster, 1, "/c"), wanted) << "round " << round;
    }
  }
}

TEST(CheckpointTest, AFailedSyncOfACheckpointIsFatal) {
  Cluster cluster(Tuned([](Options&) {}, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  ASSERT_TRUE(client.Create("/a").ok());
  cluster.RunMs(100);
  persist::testing::FaultEnv::Fault fault;
  fault.operation = persist::testing::Operation::kSync;
  fault.sticky = true;
  cluster.env(1).Inject(fault);
  cluster.server(1).Checkpoint([] { ADD_FAILURE() << "it was reported as durable"; });
  EXPECT_TRUE(cluster.Until([&] { return !cluster.fatal(1).empty(); }));
  cluster.env(1).ClearFaults();
  cluster.Kill(1);
  ASSERT_FALSE(cluster.Start(1).has_value());
  EXPECT_EQ(cluster.AwaitLeader(), 1U);
  EXPECT_TRUE(client.Get("/a").ok());
}

// Running out of room in the middle would be fatal, and would be again at every start.
TEST(CheckpointTest, NoneIsBegunThatTheDiskHasNoRoomFor) {
  Cluster cluster(Tuned(
      [](Options& options) {
        Eager(options);
        options.free_space_min_bytes = 0;
        options.free_space_reserve_bytes = 0;
      },
      1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  cluster.SetFreeSpace(1, 10'000);
  cluster.RunMs(300);  // the next look at the disk
  ASSERT_TRUE(client.Create("/a", std::string(20'000, 'x')).ok());
  const std::uint64_t before = cluster.server(1).status().checkpoint.index;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(client.Set("/a", std::string(20'000, 'y')).ok());
  }
  cluster.RunMs(300);
  EXPECT_EQ(cluster.server(1).status().checkpoint.index, before);
  cluster.SetFreeSpace(1, std::uint64_t{1} << 30);
  EXPECT_TRUE(cluster.Until(
      [&] { return cluster.server(1).status().checkpoint.index > before + 20; }, 2'000));
}

TEST(CheckpointTest, ADamagedCheckpointIsRefusedAtStartWithTheRemedy) {
  Cluster cluster(Tuned(Eager));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  ASSERT_TRUE(client.Create("/a", std::string(500, 'x')).ok());
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(client.Set("/a", std::to_string(i) + std::string(500, 'y')).ok());
  }
  ASSERT_TRUE(cluster.AwaitConverged());
  cluster.RunMs(200);
  cluster.Kill(2);
  std::size_t flipped = 0;
  for (const std::string& file : cluster.env(2).Files()) {
    const bool of_rows = file.ends_with(".ldb") || file.ends_with(".log");
    if (file.starts_with("/data/snapshot-") && of_rows) {
      const std::string content = cluster.env(2).Content(file);
      for (std::size_t at = content.size() / 4; at < content.size(); at += 64) {
        cluster.env(2).FlipBit(file, 8 * at);
        ++flipped;
      }
    }
  }
  ASSERT_GT(flipped, 0U);
  const auto error = cluster.Start(2);
  ASSERT_TRUE(error.has_value()) << "it serves from a damaged checkpoint";
  EXPECT_NE(error->find("--join and re-admit it"), std::string::npos) << *error;
  EXPECT_NE(error->find("/data"), std::string::npos) << *error;
}

TEST(CheckpointTest, TheScrubGoesRoundWhileTheStateChangesAndRaisesNoFalseAlarm) {
  Cluster cluster(Tuned([](Options& options) { options.scrub_pass_ms = 2'000; }, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.Create("/n" + std::to_string(i), "x").ok());
  }
  ASSERT_TRUE(cluster.Until([&] { return cluster.server(1).status().counters.scrubs >= 2; }));
  EXPECT_TRUE(cluster.server(1).status().ready);
  EXPECT_TRUE(client.Set("/n0", "y").ok());
}

TEST(LogTailTest, KeepsNoMoreThanEitherBound) {
  LogTail tail(0, 0, 0);
  for (raft::Index index = 1; index <= 10'000; ++index) {
    tail.Add(index, 100);
  }
  EXPECT_EQ(tail.Keep(9'000, 500, std::uint64_t{1} << 30), 8'500U);
  const raft::Index by_bytes = tail.Keep(9'000, 1'000'000, 100'000);
  EXPECT_NEAR(static_cast<double>(by_bytes), 8'000, 2);
  EXPECT_EQ(tail.Keep(9'000, 0, 0), 9'000U);
  EXPECT_EQ(tail.Keep(9'000, 1'000'000, 1'000'000'000), 0U);
  EXPECT_NEAR(static_cast<double>(tail.BytesBehind(9'000)), 100'000, 200);
  tail.Compacted(8'000);
  EXPECT_EQ(tail.start(), 8'000U);
  EXPECT_NEAR(static_cast<double>(tail.BytesBehind(9'000)), 100'000, 200);
}

TEST(LogTailTest, WhatWasInTheLogAtTheStartIsSpreadEvenly) {
  LogTail tail(1'000, 3'000, 200'000);
  tail.Add(2'500, 100);  // replayed: known already
  EXPECT_NEAR(static_cast<double>(tail.BytesBehind(2'000)), 100'000, 200);
  tail.Add(3'001, 50'000);
  EXPECT_NEAR(static_cast<double>(tail.BytesBehind(2'000)), 150'000, 200);
  tail.Reset(5'000);
  EXPECT_EQ(tail.start(), 5'000U);
  EXPECT_EQ(tail.BytesBehind(5'000), 0U);
}

}  // namespace
}  // namespace conclave::server::testing
