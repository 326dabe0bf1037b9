// The seam that the whole project stands on: three production servers in one thread.
#include "tests/server/cluster.h"

#include <gtest/gtest.h>

#include "tests/server/client.h"

namespace conclave::server::testing {
namespace {

using tree::Code;
using tree::EventType;
using tree::WatchMode;

// Elects, writes, watches, is killed (also with unsynced state forgotten) and restarted.
std::uint64_t RunStory(std::uint64_t seed) {
  ClusterOptions options;
  options.seed = seed;
  options.network.break_millionths = 200;
  Cluster cluster(std::move(options));
  cluster.StartAll();
  const raft::MemberId first = cluster.AwaitLeader();
  EXPECT_NE(first, 0U);

  Client writer(&cluster, first, 11);
  Client watcher(&cluster, cluster.Follower(), 12);
  EXPECT_TRUE(writer.Open());
  EXPECT_TRUE(watcher.Open());
  EXPECT_TRUE(writer.Create("/config", "0").ok());
  EXPECT_TRUE(watcher.AddWatch(1, "/config", WatchMode::kPersistentRecursive, true).ok());
  watcher.StartPolling();
  for (int i = 1; i <= 5; ++i) {
    EXPECT_TRUE(writer.Set("/config", std::to_string(i)).ok());
  }

  cluster.Kill(first, true);
  writer.MoveTo(cluster.Follower(0));
  EXPECT_TRUE(writer.Set("/config", "6").ok());
  EXPECT_FALSE(cluster.Start(first).has_value());
  EXPECT_TRUE(writer.Create("/config/child", "x").ok());
  cluster.Kill(cluster.AwaitLeader(), false);
  for (raft::MemberId id = 1; id <= cluster.size(); ++id) {
    if (!cluster.running(id)) {
      EXPECT_FALSE(cluster.Start(id).has_value());
    }
  }
  EXPECT_NE(cluster.AwaitLeader(), 0U);
  EXPECT_TRUE(cluster.AwaitConverged());
  for (raft::MemberId id = 1; id <= cluster.size(); ++id) {
    writer.MoveTo(id);
    const auto got = writer.Get("/config");
    EXPECT_TRUE(got.ok()) << got.message();
    if (got.ok()) {
      EXPECT_EQ(got.answer->value->data(), "6");
    }
  }
  cluster.RunMs(200);
  EXPECT_GE(watcher.seen().size(), 5U);
  cluster.trace().Add(cluster.loop().events_run());
  return cluster.trace().value();
}

TEST(ClusterTest, ElectsWritesWatchesDiesAndComesBackTheSameWayTwice) {
  const std::uint64_t once = RunStory(42);
  const std::uint64_t again = RunStory(42);
  EXPECT_EQ(once, again) << "one seed gave two runs";
  EXPECT_NE(once, RunStory(43)) << "the trace hash sees nothing";
}

TEST(ClusterTest, OneMemberIsACluster) {
  ClusterOptions options;
  options.members = 1;
  Cluster cluster(std::move(options));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "1").ok());
  const auto got = client.Get("/a");
  ASSERT_TRUE(got.ok()) << got.message();
  EXPECT_EQ(got.answer->value->data(), "1");
  cluster.Kill(1, true);
  ASSERT_FALSE(cluster.Start(1).has_value());
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  const auto after = client.Get("/a");
  ASSERT_TRUE(after.ok()) << after.message();
  EXPECT_EQ(after.answer->value->data(), "1");
}

}  // namespace
}  // namespace conclave::server::testing
