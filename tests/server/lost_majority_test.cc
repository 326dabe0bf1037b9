// A cluster whose majority is lost goes on from one survivor, and the old members are not let in.
#include "coord/server/lost_majority.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::Code;

constexpr std::int64_t kStep = std::int64_t{1} << 40;

LostMajorityOptions OptionsOf(Cluster& cluster, raft::MemberId member, SimRandom* random) {
  LostMajorityOptions options;
  options.id = member;
  options.cluster_name = cluster.options(member).cluster_name;
  options.data_dir = cluster.options(member).data_dir;
  options.peer_address = "peer-" + std::to_string(member) + ":1";
  options.env = &cluster.env(member);
  options.disk = &cluster.env(member);
  options.storage_background = persist::StorageEnv::Background::kQueued;
  options.random = random;
  return options;
}

// A cluster that has lost all but a survivor. With and without a checkpoint before.
class LostMajorityTest : public ::testing::TestWithParam<bool> {
 protected:
  LostMajorityTest() : cluster_(Tuned()) {
    cluster_.StartAll();
    EXPECT_NE(cluster_.AwaitLeader(), 0U);
    survivor_ = cluster_.Follower();
    other_ = survivor_ == 1 ? 2 : 1;
    Fill();
    for (raft::MemberId member = 1; member <= 3; ++member) {
      cluster_.Kill(member, false);
    }
  }

  static ClusterOptions Tuned() {
    ClusterOptions options;
    options.tune = [](Options& member) {
      if (GetParam()) {
        member.checkpoint_dirty_rows = 4;
      }
    };
    return options;
  }

  void Fill() {
    Client client(&cluster_, survivor_);
    ASSERT_TRUE(client.Open(2000));
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(client.Create("/n" + std::to_string(i), std::to_string(i)).ok());
    }
    ASSERT_TRUE(client.Delete("/n7").ok());
    ASSERT_TRUE(client.Create("/e", "", tree::CreateMode::kEphemeral).ok());
    ASSERT_TRUE(cluster_.AwaitConverged());
    cluster_.RunMs(500);
    ASSERT_TRUE(client.Set("/n3", "last").ok());
    before_ = cluster_.server(survivor_).status();
    EXPECT_EQ(before_.checkpoint.index != 0, GetParam());
  }

  tl::expected<LostMajorityReport, std::string> Recover(bool carry_out) {
    SimRandom random(99);
    return RecoverLostMajority(OptionsOf(cluster_, survivor_, &random), carry_out);
  }

  void RecoverAndStart() {
    const auto done = Recover(true);
    ASSERT_TRUE(done) << done.error();
    cluster_.checker().AllowDivergence();
    ASSERT_FALSE(cluster_.Start(survivor_).has_value());
    ASSERT_TRUE(cluster_.Until([&] { return cluster_.server(survivor_).ready(); }));
  }

  Cluster cluster_;
  raft::MemberId survivor_ = 0;
  raft::MemberId other_ = 0;
  Status before_;  // of the survivor
};

TEST_P(LostMajorityTest, ALookSaysWhatThereIsAndChangesNothing) {
  const auto looked = Recover(false);
  ASSERT_TRUE(looked) << looked.error();
  EXPECT_GE(looked->last.index, before_.last_index);
  EXPECT_EQ(looked->members.members.size(), 3U);
  EXPECT_EQ(looked->znodes, before_.znodes);
  EXPECT_EQ(looked->sessions, 1U);
  EXPECT_EQ(looked->new_index, static_cast<raft::Index>(kStep));
  EXPECT_NE(looked->new_cluster, looked->old_cluster);
  // The member can still go back to the others.
  cluster_.StartAll();
  EXPECT_TRUE(cluster_.AwaitConverged());
  EXPECT_EQ(cluster_.server(survivor_).status().cluster_id, before_.cluster_id);
}

TEST_P(LostMajorityTest, TheSurvivorGoesOnAsAnotherClusterWithAllThatItHad) {
  ASSERT_NO_FATAL_FAILURE(RecoverAndStart());
  const Status status = cluster_.server(survivor_).status();
  EXPECT_EQ(status.role, MemberRole::kLeader);
  EXPECT_NE(status.cluster_id, before_.cluster_id);
  ASSERT_EQ(status.members.size(), 1U);
  EXPECT_GE(status.applied_index, static_cast<std::uint64_t>(kStep));
  Client reader(&cluster_, survivor_, 8);
  ASSERT_TRUE(reader.Open());
  EXPECT_EQ(reader.Get("/n3").answer->value->data(), "last");
  EXPECT_EQ(reader.Get("/n7").code(), Code::kNoNode);
  EXPECT_EQ(reader.Get("/n19").answer->value->data(), "19");
  const auto written = reader.Create("/new");
  ASSERT_TRUE(written.ok()) << written.message();
  EXPECT_GT(written.head.zxid, kStep) << "no zxid comes twice";
  // The session of before runs out, and its ephemeral with it.
  EXPECT_TRUE(reader.Exists("/e").answer->exists);
  EXPECT_TRUE(cluster_.Until(
      [&] { return cluster_.server(survivor_).status().counters.sessions_expired == 1; }, 10'000));
  EXPECT_FALSE(reader.Exists("/e").answer->exists);
  // And it is a directory like any other.
  cluster_.Kill(survivor_);
  ASSERT_FALSE(cluster_.Start(survivor_).has_value());
  ASSERT_TRUE(cluster_.Until([&] { return cluster_.server(survivor_).ready(); }));
}

TEST_P(LostMajorityTest, OldMembersAreRefused) {
  ASSERT_NO_FATAL_FAILURE(RecoverAndStart());
  for (raft::MemberId member = 1; member <= 3; ++member) {
    if (member != survivor_) {
      ASSERT_FALSE(cluster_.Start(member).has_value());
    }
  }
  ASSERT_TRUE(cluster_.Until([&] {
    for (const MemberStatus& member : cluster_.server(other_).status().members) {
      if (member.id == survivor_) {
        return member.refused.find("different clusters") != std::string::npos;
      }
    }
    return false;
  }));
  cluster_.RunMs(3000);
  EXPECT_EQ(cluster_.server(survivor_).status().role, MemberRole::kLeader);
  Client client(&cluster_, survivor_, 8);
  ASSERT_TRUE(client.Open());
  EXPECT_TRUE(client.Create("/new").ok());
  EXPECT_EQ(cluster_.server(other_).status().cluster_id, before_.cluster_id);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, LostMajorityTest, ::testing::Values(false, true));

TEST(LostMajorityOfNothing, IsRefused) {
  persist::testing::FaultEnv env;
  SimRandom random(1);
  LostMajorityOptions options;
  options.id = 1;
  options.cluster_name = "conclave";
  options.data_dir = "/data";
  options.env = &env;
  options.disk = &env;
  options.storage_background = persist::StorageEnv::Background::kQueued;
  options.random = &random;
  const auto none = RecoverLostMajority(options, true);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().find("/data"), std::string::npos) << none.error();
  std::vector<std::string> files;
  EXPECT_FALSE(env.GetChildren("/data", &files).ok() && !files.empty());
}

}  // namespace
}  // namespace conclave::server::testing
