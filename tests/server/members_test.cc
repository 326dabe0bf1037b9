// Members that are added, removed, re-admitted; leadership that is handed over.
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using Kind = raft::ConfigChange::Kind;
using tree::Code;

ClusterOptions Members(std::size_t members) {
  ClusterOptions options;
  options.members = members;
  return options;
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

Called<MemberReply> Ask(Cluster& cluster, raft::MemberId member, MemberCommand command,
                        std::int64_t timeout_ms = 5000) {
  auto called = std::make_shared<Called<MemberReply>>();
  cluster.server(member).ChangeMembers("tester", std::move(command), timeout_ms,
                                       [called](ReplyHead head, Answer<MemberReply> answer) {
                                         called->answered = true;
                                         called->head = std::move(head);
                                         called->answer = std::move(answer);
                                       });
  cluster.Until([called] { return called->answered; });
  return *called;
}

Called<MemberReply> Change(Cluster& cluster, raft::MemberId member, Kind kind, raft::MemberId id,
                           std::string address = {}) {
  return Ask(cluster, member, raft::ConfigChange{kind, id, std::move(address)});
}

// Also while it has something to apply, and is not ready for a moment.
raft::MemberId LeaderOf(Cluster& cluster) {
  EXPECT_TRUE(cluster.Until([&] { return cluster.leader() != 0; }));
  return cluster.leader();
}

std::string AddressOf(raft::MemberId id) { return "peer-" + std::to_string(id) + ":1"; }

std::optional<MemberStatus> Look(Cluster& cluster, raft::MemberId at, raft::MemberId id) {
  for (const MemberStatus& member : cluster.server(at).status().members) {
    if (member.id == id) {
      return member;
    }
  }
  return std::nullopt;
}

bool Votes(Cluster& cluster, raft::MemberId at, raft::MemberId id) {
  const auto member = Look(cluster, at, id);
  return member && member->kind == raft::MemberKind::kVoter && member->configured_incarnation != 0;
}

// Starts a new member and adds it by way of `at`.
void Grow(Cluster& cluster, raft::MemberId at, raft::MemberId id) {
  cluster.Prepare(id);
  ASSERT_FALSE(cluster.Start(id).has_value());
  const auto added = Change(cluster, at, Kind::kAddLearner, id, AddressOf(id));
  ASSERT_TRUE(added.ok()) << added.message();
  EXPECT_TRUE(added.answer->changed);
  ASSERT_TRUE(cluster.Until([&] { return Votes(cluster, at, id); })) << "member " << id;
}

TEST(MembersTest, OneMemberBecomesThreeAndFiveAndOutlivesTheFirst) {
  Cluster cluster(Members(1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(60'000));
  ASSERT_TRUE(client.Create("/a").ok());
  for (raft::MemberId id = 2; id <= 5; ++id) {
    ASSERT_NO_FATAL_FAILURE(Grow(cluster, 1, id));
    ASSERT_TRUE(client.Set("/a", std::to_string(id)).ok());
  }
  ASSERT_TRUE(cluster.AwaitConverged());
  EXPECT_EQ(cluster.server(5).status().role, MemberRole::kFollower);
  cluster.Kill(1);
  const raft::MemberId next = cluster.AwaitLeader();
  ASSERT_NE(next, 0U);
  client.MoveTo(next);
  const auto read = client.Get("/a");
  ASSERT_TRUE(read.ok()) << read.message();
  EXPECT_EQ(read.answer->value->data(), "5");
  EXPECT_TRUE(client.Set("/a", "x").ok());
  // The first one finds the others by the log alone: its flags know of no one.
  ASSERT_FALSE(cluster.Start(1).has_value());
  EXPECT_TRUE(cluster.AwaitConverged());
}

TEST(MembersTest, MembersComeBySnapshotWhereTheLogDoesNotReachBack) {
  ClusterOptions options = Members(1);
  options.tune = [](Options& member) {
    member.checkpoint_log_entries = 10;
    member.log_tail_entries = 0;
  };
  Cluster cluster(std::move(options));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open(600'000));
  ASSERT_TRUE(client.Create("/a").ok());
  for (raft::MemberId id = 2; id <= 3; ++id) {
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(client.Set("/a", std::to_string(i)).ok());
    }
    ASSERT_TRUE(cluster.Until([&] { return cluster.server(1).status().log_first_index > 30; }));
    ASSERT_NO_FATAL_FAILURE(Grow(cluster, 1, id));
    EXPECT_GE(cluster.server(id).status().counters.snapshots_installed, 1U);
  }
  ASSERT_TRUE(cluster.AwaitConverged());
  // One loses its disk and comes back the same way.
  cluster.Kill(2);
  cluster.WipeDisk(2);
  ASSERT_TRUE(client.Set("/a", "last").ok());
  ASSERT_FALSE(cluster.Start(2).has_value());
  ASSERT_TRUE(Change(cluster, LeaderOf(cluster), Kind::kReadmit, 2).ok());
  ASSERT_TRUE(cluster.Until([&] { return Votes(cluster, LeaderOf(cluster), 2); }));
  ASSERT_TRUE(cluster.AwaitConverged());
  EXPECT_GE(cluster.server(2).status().counters.snapshots_installed, 1U);
  // And all of them know each other after a restart from a checkpoint.
  for (raft::MemberId id = 1; id <= 3; ++id) {
    cluster.Kill(id, false);
  }
  cluster.StartAll();
  ASSERT_TRUE(cluster.AwaitConverged());
  EXPECT_EQ(cluster.server(2).status().members.size(), 3U);
}

TEST(MembersTest, AMemberThatIsToJoinWaitsAndStartsNoCluster) {
  Cluster cluster(Members(3));
  for (const raft::MemberId id : {4U, 5U, 6U, 7U}) {
    cluster.Prepare(id);
    ASSERT_FALSE(cluster.Start(id).has_value());
  }
  cluster.RunMs(5000);
  for (const raft::MemberId id : {4U, 5U, 6U, 7U}) {
    const Status status = cluster.server(id).status();
    EXPECT_EQ(status.role, MemberRole::kLearner);
    EXPECT_EQ(status.term, 0U);
    EXPECT_FALSE(status.ready);
    EXPECT_TRUE(Contains(status.unready_reason, "waiting to be added: conclave member add"))
        << status.unready_reason;
  }
  for (const raft::MemberId id : {1U, 2U, 3U}) {
    ASSERT_FALSE(cluster.Start(id).has_value());
  }
  ASSERT_TRUE(cluster.Until([&] { return cluster.leader() != 0; }));
  cluster.RunMs(2000);
  EXPECT_LE(cluster.leader(), 3U);
  EXPECT_EQ(cluster.server(4).status().applied_index, 0U) << "nobody has added it";
}

TEST(MembersTest, AnyMemberTakesAChangeAndARepeatedOneChangesNothing) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId follower = cluster.Follower();
  ASSERT_NO_FATAL_FAILURE(Grow(cluster, follower, 4));
  const auto index = cluster.server(follower).status().configuration_index;
  const auto again = Change(cluster, follower, Kind::kAddLearner, 4, AddressOf(4));
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_FALSE(again.answer->changed);
  EXPECT_EQ(again.answer->configuration_index, index);
  EXPECT_FALSE(Change(cluster, 4, Kind::kPromote, 4).answer->changed);
  EXPECT_FALSE(Change(cluster, 4, Kind::kRemove, 9).answer->changed);
  EXPECT_FALSE(Change(cluster, 4, Kind::kReadmit, 4).answer->changed) << "it is in order";
  EXPECT_FALSE(Change(cluster, 4, Kind::kUpdateAddress, 4, AddressOf(4)).answer->changed);
  EXPECT_EQ(cluster.server(follower).status().configuration_index, index);
  const auto moved = Change(cluster, 4, Kind::kUpdateAddress, 4, "elsewhere:1");
  ASSERT_TRUE(moved.ok()) << moved.message();
  EXPECT_TRUE(moved.answer->changed);
  EXPECT_EQ(Look(cluster, LeaderOf(cluster), 4)->peer_address, "elsewhere:1");
  const auto other = Change(cluster, follower, Kind::kAddLearner, 4, AddressOf(4));
  EXPECT_EQ(other.code(), Code::kRefused);
  EXPECT_TRUE(Contains(other.message(), "conclave member replace 4")) << other.message();
}

TEST(MembersTest, TwoChangesAtOnceAreMadeOneAfterTheOther) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  int answered = 0;
  for (const raft::MemberId id : {4U, 5U, 6U}) {
    cluster.server(cluster.Follower(id % 2))
        .ChangeMembers("tester", raft::ConfigChange{Kind::kAddLearner, id, AddressOf(id)}, 5000,
                       [&](const ReplyHead&, const Answer<MemberReply>& answer) {
                         EXPECT_TRUE(answer) << answer.error().error.message;
                         ++answered;
                       });
  }
  ASSERT_TRUE(cluster.Until([&] { return answered == 3; }));
  EXPECT_EQ(cluster.server(LeaderOf(cluster)).status().members.size(), 6U);
  const auto learner = Look(cluster, LeaderOf(cluster), 5);
  EXPECT_EQ(learner->kind, raft::MemberKind::kLearner);
  EXPECT_TRUE(Contains(learner->problem, "--join")) << learner->problem;
}

TEST(MembersTest, ALeaderThatIsRemovedHandsOverAndTheRemovedOneIdlesAndSaysSo) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId old = cluster.AwaitLeader();
  ASSERT_NE(old, 0U);
  const auto removed = Change(cluster, old, Kind::kRemove, old);
  ASSERT_TRUE(removed.ok()) << removed.message();
  const raft::MemberId next = LeaderOf(cluster);
  ASSERT_NE(next, 0U);
  EXPECT_NE(next, old);
  EXPECT_EQ(cluster.server(next).status().members.size(), 2U);
  ASSERT_TRUE(cluster.Until([&] { return !cluster.server(old).ready(); }));
  const std::uint64_t term = cluster.server(next).status().term;
  cluster.RunMs(10'000);
  EXPECT_TRUE(Contains(cluster.server(old).status().unready_reason, "has been removed"))
      << cluster.server(old).status().unready_reason;
  EXPECT_EQ(cluster.server(next).status().term, term) << "it does not disturb";
  EXPECT_EQ(cluster.leader(), next);
  Client late(&cluster, next, 6);
  ASSERT_TRUE(late.Open());
  EXPECT_TRUE(late.Create("/a").ok());
  Client there(&cluster, old, 5);
  EXPECT_EQ(there.TryOpen(1000).code(), Code::kUnavailable);
  cluster.StopInOrder(old);
}

TEST(MembersTest, AMemberThatWasRemovedWhileItWasAwayIsToldSo) {
  Cluster cluster(Members(4));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId gone = cluster.Follower();
  Client client(&cluster, LeaderOf(cluster));
  ASSERT_TRUE(client.Open());
  cluster.Kill(gone, false);
  const auto removed = Change(cluster, LeaderOf(cluster), Kind::kRemove, gone);
  ASSERT_TRUE(removed.ok()) << removed.message();
  ASSERT_TRUE(client.Create("/a").ok());
  const std::uint64_t term = cluster.server(LeaderOf(cluster)).status().term;
  ASSERT_FALSE(cluster.Start(gone).has_value());
  ASSERT_TRUE(cluster.Until([&] {
    return Contains(cluster.server(gone).status().unready_reason, "has been removed");
  })) << cluster.server(gone).status().unready_reason;
  EXPECT_TRUE(Contains(cluster.server(gone).status().members.at(gone - 1).problem, "removed"));
  cluster.RunMs(10'000);
  EXPECT_EQ(cluster.server(LeaderOf(cluster)).status().term, term);
  // The same id may come back, and then everything is well.
  ASSERT_TRUE(Change(cluster, LeaderOf(cluster), Kind::kAddLearner, gone, AddressOf(gone)).ok());
  EXPECT_TRUE(cluster.Until([&] { return Votes(cluster, LeaderOf(cluster), gone); }));
  EXPECT_TRUE(cluster.AwaitConverged());
}

TEST(MembersTest, AnEmptiedMemberIsNamedWithTheRemedyAndComesBackByIt) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId emptied = cluster.Follower();
  const raft::MemberId leader = LeaderOf(cluster);
  Client client(&cluster, leader);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  cluster.Kill(emptied);
  cluster.WipeDisk(emptied);
  ASSERT_FALSE(cluster.Start(emptied).has_value());
  const std::string remedy = "conclave member replace " + std::to_string(emptied);
  ASSERT_TRUE(cluster.Until([&] {
    return Contains(Look(cluster, leader, emptied)->problem, remedy) &&
           Contains(Look(cluster, emptied, emptied)->problem, remedy);
  }));
  const auto readmitted = Change(cluster, emptied, Kind::kReadmit, emptied);
  EXPECT_EQ(readmitted.code(), Code::kUnavailable) << "it has no link to the leader";
  ASSERT_TRUE(Change(cluster, leader, Kind::kReadmit, emptied).ok());
  ASSERT_TRUE(cluster.Until([&] { return Votes(cluster, leader, emptied); }));
  ASSERT_TRUE(cluster.AwaitConverged());
  EXPECT_EQ(Look(cluster, leader, emptied)->problem, "");
  // It counts again: the other follower may go.
  cluster.Kill(6 - emptied - leader);
  EXPECT_TRUE(client.Set("/a", "1").ok());
}

TEST(MembersTest, AMemberIsReplacedBeforeItsNewDiskIsThere) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId lost = cluster.Follower();
  const raft::MemberId leader = LeaderOf(cluster);
  cluster.Kill(lost);
  cluster.WipeDisk(lost);
  ASSERT_TRUE(Change(cluster, leader, Kind::kReadmit, lost).ok());
  EXPECT_FALSE(Change(cluster, leader, Kind::kReadmit, lost).answer->changed);
  EXPECT_EQ(Look(cluster, leader, lost)->kind, raft::MemberKind::kLearner);
  ASSERT_FALSE(cluster.Start(lost).has_value());
  EXPECT_TRUE(cluster.Until([&] { return Votes(cluster, leader, lost); }));
  EXPECT_TRUE(cluster.AwaitConverged());
}

TEST(MembersTest, AChangeThatWouldStopTheClusterIsRefusedWithTheReason) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId leader = LeaderOf(cluster);
  const raft::MemberId down = cluster.Follower(0);
  const raft::MemberId up = cluster.Follower(1);
  cluster.Kill(down);
  cluster.RunMs(1000);
  const auto refused = Change(cluster, up, Kind::kRemove, up);
  EXPECT_EQ(refused.code(), Code::kRefused) << refused.message();
  EXPECT_TRUE(Contains(refused.message(), "not heard from: " + std::to_string(down)))
      << refused.message();
  EXPECT_EQ(cluster.server(leader).status().members.size(), 3U);
  EXPECT_EQ(Change(cluster, up, Kind::kPromote, 9).code(), Code::kInvalidArgument);
  // To remove the one that is gone is safe.
  EXPECT_TRUE(Change(cluster, up, Kind::kRemove, down).ok());
  EXPECT_EQ(cluster.server(leader).status().members.size(), 2U);
  Cluster single(Members(1));
  single.StartAll();
  ASSERT_EQ(single.AwaitLeader(), 1U);
  EXPECT_EQ(Change(single, 1, Kind::kRemove, 1).code(), Code::kRefused);
}

TEST(MembersTest, WithoutALeaderAChangeIsNotExecutedAndSaysSo) {
  Cluster cluster(Members(3));
  ASSERT_FALSE(cluster.Start(1).has_value());
  const auto refused =
      Ask(cluster, 1, raft::ConfigChange{Kind::kAddLearner, 4, AddressOf(4)}, 1000);
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_TRUE(Contains(refused.message(), "not executed")) << refused.message();
}

TEST(MembersTest, AChangeWhoseLeaderIsCutOffIsUnknownAndAskingAgainClearsItUp) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId old = cluster.AwaitLeader();
  cluster.network().Isolate(old);
  const auto unknown =
      Ask(cluster, old, raft::ConfigChange{Kind::kAddLearner, 4, AddressOf(4)}, 200);
  EXPECT_EQ(unknown.code(), Code::kUnknownOutcome) << unknown.message();
  ASSERT_TRUE(cluster.Until([&] { return cluster.leader() != 0 && cluster.leader() != old; }));
  cluster.network().HealAll();
  const auto again = Change(cluster, old, Kind::kAddLearner, 4, AddressOf(4));
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(cluster.server(LeaderOf(cluster)).status().members.size(), 4U);
}

TEST(MembersTest, LeadershipGoesWhereItIsSent) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId old = cluster.AwaitLeader();
  const raft::MemberId to = cluster.Follower(1);
  const raft::MemberId other = cluster.Follower(0);
  const auto moved = Ask(cluster, other, LeaderTransfer{.to = to});
  ASSERT_TRUE(moved.ok()) << moved.message();
  EXPECT_EQ(moved.answer->leader, to);
  EXPECT_TRUE(moved.answer->changed);
  ASSERT_TRUE(cluster.Until([&] { return cluster.leader() == to; }));
  EXPECT_FALSE(Ask(cluster, old, LeaderTransfer{.to = to}).answer->changed);
  const auto anywhere = Ask(cluster, old, LeaderTransfer{});
  ASSERT_TRUE(anywhere.ok()) << anywhere.message();
  EXPECT_NE(anywhere.answer->leader, to);
  EXPECT_EQ(Ask(cluster, old, LeaderTransfer{.to = 9}).code(), Code::kInvalidArgument);
  const raft::MemberId leader = cluster.AwaitLeader();
  const raft::MemberId down = cluster.Follower();
  cluster.Kill(down);
  cluster.RunMs(1000);
  const auto refused = Ask(cluster, leader, LeaderTransfer{.to = down});
  EXPECT_EQ(refused.code(), Code::kRefused) << refused.message();
}

TEST(MembersTest, ALeaderThatStopsHandsOverFirst) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId old = cluster.AwaitLeader();
  Client client(&cluster, cluster.Follower());
  ASSERT_TRUE(client.Open());
  const std::int64_t begun_ns = cluster.loop().now_ns();
  bool stopped = false;
  cluster.server(old).Stop([&] { stopped = true; });
  const auto written = client.Create("/a");
  ASSERT_TRUE(written.ok()) << written.message();
  // A few round trips and syncs; an election would have waited for 300 ms of silence.
  EXPECT_LT(cluster.loop().now_ns() - begun_ns, 100 * kMs);
  EXPECT_NE(cluster.leader(), old);
  EXPECT_TRUE(cluster.Until([&] { return stopped; }));
}

TEST(MembersTest, ALeaderWithoutAnySpaceHandsOverToOneThatHasSome) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId old = cluster.AwaitLeader();
  const raft::MemberId shortage = cluster.Follower(0);
  const raft::MemberId plenty = cluster.Follower(1);
  Client client(&cluster, plenty);
  ASSERT_TRUE(client.Open());
  cluster.SetFreeSpace(shortage, std::uint64_t{100} << 20);
  cluster.RunMs(1500);
  cluster.SetFreeSpace(old, std::uint64_t{40} << 20);
  ASSERT_TRUE(cluster.Until([&] { return cluster.leader() == plenty; }, 3000));
  EXPECT_TRUE(client.Create("/a").ok());
  // All alike: nobody does better.
  for (raft::MemberId id = 1; id <= 3; ++id) {
    cluster.SetFreeSpace(id, std::uint64_t{40} << 20);
  }
  cluster.RunMs(5000);
  EXPECT_EQ(cluster.leader(), plenty);
  EXPECT_EQ(client.Create("/b").code(), Code::kNoSpace);
}

TEST(MembersTest, ALeaderWhoseSyncsTakeFiveSecondsKeepsNobodyWaitingForASecond) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  const raft::MemberId old = cluster.AwaitLeader();
  Client client(&cluster, cluster.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  cluster.SetSyncDelay(old, 5000 * kMs);
  std::int64_t last_ns = cluster.loop().now_ns();
  std::int64_t gap_ns = 0;
  const std::int64_t end_ns = last_ns + 10'000 * kMs;
  while (cluster.loop().now_ns() < end_ns) {
    ASSERT_TRUE(client.Set("/a", "x").ok());
    gap_ns = std::max(gap_ns, cluster.loop().now_ns() - last_ns);
    last_ns = cluster.loop().now_ns();
  }
  EXPECT_LT(gap_ns, 1000 * kMs);
  EXPECT_NE(cluster.leader(), old);
}

TEST(MembersTest, TheLogIsRightAboutTheMembersWhateverTheFlagsSay) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  ASSERT_TRUE(cluster.AwaitConverged());
  const raft::MemberId odd = cluster.Follower();
  cluster.Kill(odd, false);
  // One that was never there, one at another address, one missing.
  cluster.options(odd).members = {{odd, AddressOf(odd)}, {7, AddressOf(7)}, {8, AddressOf(8)}};
  ASSERT_FALSE(cluster.Start(odd).has_value());
  ASSERT_TRUE(cluster.AwaitConverged());
  std::vector<std::uint64_t> ids;
  for (const MemberStatus& member : cluster.server(odd).status().members) {
    ids.push_back(member.id);
  }
  EXPECT_EQ(ids, (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST(MembersTest, AMemberListIsAsFreshAsALinearizableRead) {
  Cluster cluster(Members(3));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId follower = cluster.Follower();
  ASSERT_TRUE(Change(cluster, LeaderOf(cluster), Kind::kAddObserver, 4, AddressOf(4)).ok());
  std::optional<Status> list;
  cluster.server(follower).ListMembers([&](const ReplyHead&, const Answer<Status>& answer) {
    ASSERT_TRUE(answer);
    list = *answer;
  });
  ASSERT_TRUE(cluster.Until([&] { return list.has_value(); }));
  ASSERT_EQ(list->members.size(), 4U);
  EXPECT_EQ(list->members[3].kind, raft::MemberKind::kObserver);
}

}  // namespace
}  // namespace conclave::server::testing
