// Disks that fill up: what is refused, what goes on, and that both end by themselves.
#include <string>

#include <gtest/gtest.h>

#include "coord/server/room.h"
#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::Code;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kPlentyBytes = std::uint64_t{1} << 40;
constexpr std::uint64_t kShortBytes = 1023 * kMiB;  // below --free_space_min_bytes
constexpr std::uint64_t kFullBytes = 63 * kMiB;     // below --free_space_reserve_bytes
constexpr std::uint64_t kStarvingBytes = 31 * kMiB;

ClusterOptions Members(std::size_t members) {
  ClusterOptions options;
  options.members = members;
  return options;
}

// Until the member has looked at its disk and the others have been told.
void Leave(Cluster& cluster, raft::MemberId member, std::uint64_t bytes) {
  cluster.SetFreeSpace(member, bytes);
  cluster.RunMs(400);
}

TEST(RoomTest, TheWorseOfDiskAndLogCountsAndIsNamed) {
  Options options;
  const std::uint64_t log_max = options.log_bytes_max;
  const std::uint64_t log_end = log_max + options.log_reserve_bytes;
  EXPECT_EQ(JudgeRoom(options, 1024 * kMiB, log_max - 1).room, Room::kPlenty);
  EXPECT_EQ(JudgeRoom(options, 1024 * kMiB, log_max - 1).reason, "");
  const auto expect = [&](std::uint64_t free_bytes, std::uint64_t log_bytes, Room room,
                          std::string_view flag) {
    const RoomOfMember judged = JudgeRoom(options, free_bytes, log_bytes);
    EXPECT_EQ(judged.room, room) << free_bytes << ' ' << log_bytes;
    EXPECT_NE(judged.reason.find(flag), std::string::npos) << judged.reason;
  };
  expect(1024 * kMiB - 1, 0, Room::kShort, "--free_space_min_bytes=1073741824");
  expect(64 * kMiB, 0, Room::kShort, "--free_space_min_bytes");
  expect(64 * kMiB - 1, 0, Room::kFull, "--free_space_reserve_bytes=67108864");
  expect(64 * kMiB - 1, log_end, Room::kFull, "--free_space_reserve_bytes");
  expect(kPlentyBytes, log_max, Room::kShort, "--log_bytes_max");
  expect(kPlentyBytes, log_end, Room::kFull, "--log_reserve_bytes");
  expect(kShortBytes, log_end, Room::kFull, "--log_reserve_bytes");
}

TEST(RoomTest, AMajorityHasTheRoomOfItsWorstMember) {
  constexpr Room kP = Room::kPlenty;
  constexpr Room kS = Room::kShort;
  constexpr Room kF = Room::kFull;
  EXPECT_EQ(RoomOfMajority({kF}), kF);
  EXPECT_EQ(RoomOfMajority({kP, kF}), kF);
  EXPECT_EQ(RoomOfMajority({kF, kP, kP}), kP);
  EXPECT_EQ(RoomOfMajority({kF, kP, kS}), kS);
  EXPECT_EQ(RoomOfMajority({kF, kP, kF}), kF);
  EXPECT_EQ(RoomOfMajority({kF, kP, kF, kP}), kF);
  EXPECT_EQ(RoomOfMajority({kF, kP, kF, kP, kS}), kS);
}

TEST(DiskTest, BelowTheFirstBoundWhatGrowsIsRefusedAndBelowTheSecondAllWrites) {
  Cluster cluster(Members(1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open());
  for (const char* path : {"/a", "/b", "/c", "/d"}) {
    ASSERT_TRUE(client.Create(path).ok());
  }
  Leave(cluster, 1, kShortBytes);
  const std::uint64_t before = cluster.server(1).status().last_index;
  EXPECT_EQ(client.Set("/a", "1").code(), Code::kNoSpace);
  EXPECT_EQ(client.Create("/e").code(), Code::kNoSpace);
  EXPECT_EQ(
      client.Write(tree::Multi{{tree::Delete{.path = "/a"}, tree::Create{.path = "/e"}}}).code(),
      Code::kNoSpace);
  EXPECT_EQ(cluster.server(1).status().last_index, before) << "refused before the log is touched";
  EXPECT_NE(cluster.server(1).status().alarm.find("--free_space_min_bytes"), std::string::npos);
  EXPECT_TRUE(cluster.server(1).ready()) << "it serves";
  EXPECT_TRUE(client.Get("/a").ok());
  EXPECT_TRUE(client.Ping().ok());
  Client another(&cluster, 1, 5);
  ASSERT_TRUE(another.Open()) << "who wants to make room needs a session for it";
  EXPECT_EQ(another.Delete("/a").code(), Code::kOk) << "what makes room goes on";
  EXPECT_EQ(another.Write(tree::Multi{{tree::Check{"/c", 0}, tree::Delete{.path = "/b"}}}).code(),
            Code::kOk);
  EXPECT_EQ(another.Close().code(), Code::kOk);

  Leave(cluster, 1, kFullBytes);
  EXPECT_EQ(client.Delete("/c").code(), Code::kNoSpace);
  Client late(&cluster, 1, 6);
  EXPECT_EQ(late.TryOpen(1000).code(), Code::kNoSpace);
  EXPECT_TRUE(client.Get("/c").ok());

  Leave(cluster, 1, kPlentyBytes);
  EXPECT_EQ(client.Create("/e").code(), Code::kOk)
      << "the refused writes were not executed, so their number is still free";
  EXPECT_EQ(cluster.server(1).status().alarm, "");
}

TEST(DiskTest, SilentSessionsAreKeptWhileNothingCanBeWritten) {
  Cluster cluster(Members(1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(1000));
  Leave(cluster, 1, kFullBytes);
  cluster.RunMs(5000);
  EXPECT_EQ(cluster.server(1).status().sessions, 1U);
  Leave(cluster, 1, kPlentyBytes);
  cluster.RunMs(500);
  EXPECT_EQ(cluster.server(1).status().sessions, 1U) << "it gets its full timeout again";
  EXPECT_TRUE(cluster.Until([&] { return cluster.server(1).status().sessions == 0; }, 3000));
}

TEST(DiskTest, ALeaderThatIsShortRefusesWhatGrowsWhereverItComesIn) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  ASSERT_NE(leader, 0U);
  Client client(&cluster, cluster.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  Leave(cluster, leader, kShortBytes);
  EXPECT_EQ(client.Set("/a", "1").code(), Code::kNoSpace);
  EXPECT_EQ(client.Delete("/a").code(), Code::kOk);
  Leave(cluster, leader, kPlentyBytes);
  EXPECT_EQ(client.Create("/a").code(), Code::kOk);
}

TEST(DiskTest, AFollowerWithoutRoomStoresNothingWhileTheOthersGoOn) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId leader = cluster.leader();
  const raft::MemberId starving = cluster.Follower();
  Client client(&cluster, leader);
  ASSERT_TRUE(client.Open());
  Client there(&cluster, starving, 5);
  ASSERT_TRUE(there.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  ASSERT_TRUE(cluster.AwaitConverged());
  Leave(cluster, starving, kStarvingBytes);
  const std::uint64_t before = cluster.server(starving).status().last_index;
  ASSERT_TRUE(client.Set("/a", "1").ok());
  EXPECT_EQ(there.Get("/a").code(), Code::kUnavailable) << "it does not know what it misses";
  EXPECT_EQ(there.Set("/a", "2").code(), Code::kUnavailable) << "another member takes it";
  cluster.RunMs(3000);
  EXPECT_EQ(cluster.server(starving).status().last_index, before);
  EXPECT_EQ(cluster.leader(), leader) << "it hears heartbeats and does not campaign";
  EXPECT_FALSE(cluster.server(starving).ready());
  EXPECT_NE(cluster.server(starving).status().unready_reason.find("--free_space_reserve_bytes"),
            std::string::npos);
  Leave(cluster, starving, kPlentyBytes);
  ASSERT_TRUE(cluster.AwaitConverged());
  EXPECT_EQ(there.Get("/a").code(), Code::kOk);
}

TEST(DiskTest, WithoutRoomAtAMajorityAllWritesAreRefusedAndReadsGoOn) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  ASSERT_NE(leader, 0U);
  Client client(&cluster, leader);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  Client there(&cluster, cluster.Follower(), 5);
  ASSERT_TRUE(there.Open());
  for (raft::MemberId member = 1; member <= 3; ++member) {
    if (member != leader) {
      cluster.SetFreeSpace(member, kStarvingBytes);
    }
  }
  cluster.RunMs(400);
  EXPECT_EQ(client.Set("/a", "1").code(), Code::kNoSpace);
  EXPECT_EQ(there.Delete("/a").code(), Code::kNoSpace);
  EXPECT_TRUE(client.Get("/a").ok());
  EXPECT_TRUE(there.Get("/a").ok());
  EXPECT_EQ(cluster.leader(), leader);
  for (raft::MemberId member = 1; member <= 3; ++member) {
    cluster.SetFreeSpace(member, kPlentyBytes);
  }
  cluster.RunMs(400);
  EXPECT_EQ(client.Set("/a", "1").code(), Code::kOk);
}

}  // namespace
}  // namespace conclave::server::testing
