// Handing over leadership (dissertation section 3.10), also for a stalled disk; and that leadership
// is not handed about when links are broken for long.

#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/consensus/member_fixture.h"

namespace conclave::raft::testing {
namespace {

class Handover : public Members {
 protected:
  TransferError Error(MemberId at, MemberId to) {
    const auto result = cluster_.HandOver(at, to);
    return result ? TransferError{} : result.error();
  }
};

TEST_F(Handover, TheTargetCampaignsAtOnceWithoutAskingFirst) {
  Lead(3);
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  EXPECT_EQ(At(1).transferring_to, 2U);
  EXPECT_TRUE(Last<TimeoutNow>(1, 2));
  cluster_.Settle();
  EXPECT_EQ(cluster_.Leader(), 2U);
  EXPECT_EQ(At(2).hardState.currentTerm, 2U);
  EXPECT_EQ(At(2).counters.prevotes_started, 0U);
  EXPECT_EQ(At(2).counters.campaigns_told, 1U);
  EXPECT_EQ(At(1).role, RoleName::kFollower);
  EXPECT_EQ(At(1).leader, 2U);
  EXPECT_EQ(At(1).transferring_to, 0U);
}

TEST_F(Handover, TheTargetGetsTheWholeLogFirstAndProposalsWait) {
  Lead(3);
  cluster_.Cut(1, 2);
  ASSERT_TRUE(cluster_.Propose(1, "2 lacks it"));
  cluster_.Settle();
  cluster_.Heal();
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  EXPECT_FALSE(Last<TimeoutNow>(1, 2));
  const auto refused = cluster_.Propose(1, "x");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), ProposeError::kTransferring);
  const auto change = cluster_.Change(1, Kind::kAddLearner, 4);
  ASSERT_FALSE(change);
  EXPECT_EQ(change.error(), ConfigChangeError::kTransferring);
  ASSERT_TRUE(cluster_.Read(1));
  cluster_.Run(6);
  EXPECT_EQ(cluster_.Leader(), 2U);
  EXPECT_EQ(At(2).last.index, 3U);
  EXPECT_EQ(cluster_.node(1).reads.size() + cluster_.node(1).reads_failed.size(), 1U);
}

TEST_F(Handover, ReadsGoOnWhileTheTargetCatchesUp) {
  Lead(3);
  cluster_.Cut(1, 2);
  ASSERT_TRUE(cluster_.Propose(1, "2 lacks it"));
  cluster_.Settle();
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  ASSERT_TRUE(cluster_.Read(1));
  cluster_.Settle();
  ASSERT_EQ(cluster_.node(1).reads.size(), 1U);
  EXPECT_EQ(cluster_.node(1).reads[0].readIndex, 2U);
}

TEST_F(Handover, AReadOfTheOldLeaderFailsOnceTheNewOneIsElected) {
  Lead(3);
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  ASSERT_TRUE(Deliver<TimeoutNow>(1, 2));
  ASSERT_TRUE(Deliver<RequestVote>(2, 3));
  ASSERT_TRUE(Deliver<RequestVoteReply>(3, 2));
  ASSERT_EQ(At(2).role, RoleName::kLeader);
  ASSERT_EQ(At(1).role, RoleName::kLeader) << "it does not know yet";
  ASSERT_TRUE(cluster_.Read(1));
  cluster_.Settle();
  EXPECT_TRUE(cluster_.node(1).reads.empty());
  EXPECT_EQ(cluster_.node(1).reads_failed.size(), 1U);
}

TEST_F(Handover, ItIsGivenUpWhenNobodyTakesOver) {
  Lead(3);
  cluster_.Cut(1, 2);
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  cluster_.Run(29);
  EXPECT_EQ(cluster_.Propose(1, "x").error(), ProposeError::kTransferring);
  cluster_.Run(1);
  EXPECT_EQ(At(1).transferring_to, 0U);
  EXPECT_EQ(At(1).counters.transfers_abandoned, 1U);
  EXPECT_TRUE(cluster_.Propose(1, "x"));
  EXPECT_EQ(cluster_.Leader(), 1U);
}

TEST_F(Handover, ItIsGivenUpWhenTheTargetsConnectionCloses) {
  Lead(3);
  cluster_.Cut(1, 2);
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  cluster_.PeerDown(1, 2);
  EXPECT_EQ(At(1).transferring_to, 0U);
  EXPECT_TRUE(cluster_.Propose(1, "x"));
}

TEST_F(Handover, ALostMessageIsRepeated) {
  Lead(3);
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  DropAll();
  cluster_.Run(6);
  EXPECT_EQ(cluster_.Leader(), 2U);
}

TEST_F(Handover, Refusals) {
  Lead(3);
  cluster_.Add(4, {});
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddObserver, 4));
  cluster_.Run(10);
  EXPECT_EQ(Error(2, 3), TransferError::kNotLeader);
  EXPECT_EQ(Error(1, 1), TransferError::kAlreadyLeader);
  EXPECT_EQ(Error(1, 9), TransferError::kUnknownMember);
  EXPECT_EQ(Error(1, 4), TransferError::kNotVoter);
  cluster_.Crash(2);
  cluster_.Run(31);
  EXPECT_EQ(Error(1, 2), TransferError::kUnreachable);
  ASSERT_TRUE(cluster_.HandOver(1, 3));
  EXPECT_EQ(Error(1, 3), TransferError::kTransferring);
}

TEST_F(Handover, AloneThereIsNobodyToHandOverTo) {
  Lead(1);
  EXPECT_EQ(Error(1, 0), TransferError::kNoCandidate);
  EXPECT_TRUE(cluster_.Propose(1, "x"));
}

TEST_F(Handover, WithoutATargetTheOneThatHasComeFurthestIsChosen) {
  Lead(3);
  cluster_.Cut(1, 2);
  ASSERT_TRUE(cluster_.Propose(1, "2 lacks it"));
  cluster_.Settle();
  ASSERT_TRUE(cluster_.HandOver(1, 0));
  EXPECT_EQ(At(1).transferring_to, 3U);
}

TEST_F(Handover, OnlyTheFlagPassesTheContactWithALeader) {
  Lead(3);
  RequestVote request = Request(2, 3, 9);
  EXPECT_FALSE(Grants(2, 3, request));
  EXPECT_EQ(At(3).hardState.currentTerm, 1U);
  request.preVote = request.leadershipTransfer = true;
  EXPECT_FALSE(Grants(2, 3, request)) << "no such message";
  EXPECT_EQ(At(3).counters.malformed, 1U);
  request.preVote = false;
  EXPECT_TRUE(Grants(2, 3, request));
  request = Request(2, 1, 9);
  request.leadershipTransfer = true;
  EXPECT_TRUE(Grants(2, 1, request)) << "the leader steps down and votes too";
  invented_ = true;
}

TEST_F(Handover, TheFlagDoesNotPassTheLogCheck) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "x"));
  cluster_.Settle();
  RequestVote request = Request(2, 3, 9);
  request.lastLogIndex = 1;
  request.leadershipTransfer = true;
  EXPECT_FALSE(Grants(2, 3, request));
  invented_ = true;
}

TEST_F(Handover, ATimeoutNowOfAnotherTermOrMemberIsIgnored) {
  Lead(3);
  cluster_.Inject(3, 2, TimeoutNow{1});
  cluster_.Inject(1, 2, TimeoutNow{0});
  cluster_.Inject(1, 2, TimeoutNow{2});
  EXPECT_EQ(At(2).role, RoleName::kFollower);
  EXPECT_EQ(At(2).counters.campaigns_told, 0U);
  EXPECT_EQ(At(2).counters.stale_term, 3U);
}

TEST_F(Handover, ALearnerIsNotToldToCampaign) {
  Lead(3, [](Options& options) { options.promote_learners = false; });
  cluster_.Add(4, {});
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 4));
  cluster_.Run(20);
  ASSERT_EQ(At(4).last, At(1).last);
  cluster_.Inject(1, 4, TimeoutNow{1});
  EXPECT_EQ(At(4).role, RoleName::kFollower);
}

// --- A leader whose disk is stuck ---

class SlowDisk : public Members {
 protected:
  /// A leader that has been one for a while.
  void LeadForLong(MemberId count) {
    Lead(count);
    cluster_.Run(40);
  }

  void Stall(MemberId id) {
    cluster_.node(id).manual_disk = true;
    (void)cluster_.Propose(id, "stuck");
    cluster_.Settle();
  }
};

TEST_F(SlowDisk, ItsLeaderHandsOverBeforeItWouldStepDown) {
  LeadForLong(3);
  Stall(1);
  EXPECT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() > 1; }, 16));
  EXPECT_EQ(At(1).counters.handovers_disk, 1U);
  EXPECT_EQ(At(1).hardState.currentTerm, 2U);
}

TEST_F(SlowDisk, WritesGoOnAndLeadershipDoesNotComeBackWhileItLasts) {
  LeadForLong(3);
  Stall(1);
  int gap = 0;
  int gap_max = 0;
  Index commit = At(1).commitIndex;
  for (int tick = 0; tick < 500; ++tick) {
    cluster_.Run(1);
    const MemberId leader = cluster_.Leader();
    if (leader != 0) {
      (void)cluster_.Propose(leader, "x");
    }
    const Index now = leader != 0 ? At(leader).commitIndex : 0;
    gap = now > commit ? 0 : gap + 1;
    commit = std::max(commit, now);
    gap_max = std::max(gap_max, gap);
  }
  EXPECT_LE(gap_max, 20) << "of 100, which are a second";
  EXPECT_GT(cluster_.Leader(), 1U);
  EXPECT_EQ(cluster_.raft(cluster_.Leader()).currentTerm(), 2U) << "one change of leader";
  EXPECT_EQ(cluster_.Converge(), std::nullopt);
}

TEST_F(SlowDisk, ANewLeaderWaitsBeforeItHandsOn) {
  Lead(3);
  ASSERT_TRUE(cluster_.HandOver(1, 2));
  cluster_.Settle();
  ASSERT_EQ(cluster_.Leader(), 2U);
  Stall(2);
  cluster_.Run(29);
  EXPECT_EQ(At(2).counters.handovers_disk, 0U);
  cluster_.Run(2);
  EXPECT_EQ(At(2).counters.handovers_disk, 1U);
}

TEST_F(SlowDisk, AnAttemptThatFailedIsNotRepeatedAtOnce) {
  LeadForLong(3);
  Stall(1);
  cluster_.Cut(1, 2);
  cluster_.Cut(1, 3);
  cluster_.Run(15);
  ASSERT_EQ(At(1).counters.handovers_disk, 1U);
  cluster_.PeerDown(1, At(1).transferring_to);
  cluster_.Run(10);
  EXPECT_EQ(At(1).counters.handovers_disk, 1U);
  EXPECT_TRUE(cluster_.Propose(1, "clients go on meanwhile"));
}

TEST_F(SlowDisk, AHiccupChangesNothing) {
  LeadForLong(3);
  for (int i = 0; i < 20; ++i) {
    Stall(1);
    cluster_.Run(14);
    cluster_.Flush(1);
  }
  EXPECT_EQ(cluster_.Leader(), 1U);
  EXPECT_EQ(At(1).counters.transfers_started, 0U);
}

TEST_F(SlowDisk, NobodyTakesOverWhoseDiskIsStuckToo) {
  LeadForLong(3);
  cluster_.node(2).manual_disk = cluster_.node(3).manual_disk = true;
  Stall(1);
  cluster_.Run(50);
  EXPECT_EQ(At(1).counters.handovers_disk, 0U);
  EXPECT_EQ(cluster_.Leader(), 1U);
}

TEST_F(SlowDisk, WithoutAQuorumOfOthersHandingOverIsPointless) {
  LeadForLong(3);
  cluster_.Crash(3);
  Stall(1);
  cluster_.Run(50);
  EXPECT_EQ(At(1).counters.handovers_disk, 0U);
  EXPECT_EQ(cluster_.Leader(), 1U);
}

TEST_F(SlowDisk, OfTwoMembersNoneHandsOver) {
  LeadForLong(2);
  Stall(1);
  cluster_.Run(50);
  EXPECT_EQ(At(1).counters.handovers_disk, 0U);
}

TEST_F(SlowDisk, AloneItWaits) {
  LeadForLong(1);
  Stall(1);
  cluster_.Run(300);
  EXPECT_EQ(cluster_.Leader(), 1U);
  cluster_.node(1).manual_disk = false;
  cluster_.Flush(1);
  EXPECT_EQ(At(1).commitIndex, At(1).last.index);
}

TEST_F(SlowDisk, WhoIsToldToCampaignWithAStuckDiskDoesNot) {
  LeadForLong(3);
  cluster_.node(2).manual_disk = true;
  ASSERT_TRUE(cluster_.Propose(1, "x"));
  cluster_.Run(16);
  cluster_.Inject(1, 2, TimeoutNow{1});
  EXPECT_EQ(At(2).role, RoleName::kFollower);
  cluster_.Flush(2);
  cluster_.Inject(1, 2, TimeoutNow{1});
  EXPECT_EQ(At(2).role, RoleName::kCandidate);
}

TEST_F(SlowDisk, TheThresholdIsAnOption) {
  Lead(3, [](Options& options) { options.disk_stall_ticks = 40; });
  cluster_.Run(40);
  Stall(1);
  cluster_.Run(39);
  EXPECT_EQ(At(1).counters.handovers_disk, 0U);
  cluster_.Run(1);
  EXPECT_EQ(At(1).counters.handovers_disk, 1U);
  Options options = cluster_.node(1).options;
  options.disk_stall_ticks = options.election_ticks_max + 1;
  EXPECT_TRUE(options.Validate());
}

// --- L4: whatever links are broken, if they stay so, leadership settles ---

TEST(BrokenLinks, EveryReachabilityOfThreeMembersSettles) {
  const std::pair<MemberId, MemberId> links[] = {{1, 2}, {2, 1}, {1, 3}, {3, 1}, {2, 3}, {3, 2}};
  for (unsigned cut = 0; cut < 64; ++cut) {
    Cluster cluster(cut + 1);
    cluster.AddMany(3);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != 0; }));
    cluster.Run(10);
    for (unsigned i = 0; i < 6; ++i) {
      if ((cut >> i & 1U) != 0) {
        cluster.Cut(links[i].first, links[i].second);
      }
    }
    const auto elections = [&] {
      std::uint64_t won = 0;
      for (MemberId id = 1; id <= 3; ++id) {
        won += cluster.raft(id).status().counters.elections_won;
      }
      return won;
    };
    const auto both_ways = [&](MemberId a, MemberId b) {
      return cluster.Reaches(a, b) && cluster.Reaches(b, a);
    };
    const std::uint64_t before = elections();
    cluster.Run(400);
    const std::uint64_t settled = elections();
    cluster.Run(600);
    EXPECT_LE(settled - before, 2U) << "matrix " << cut;
    EXPECT_EQ(elections(), settled) << "matrix " << cut;
    const bool quorum = both_ways(1, 2) || both_ways(1, 3) || both_ways(2, 3);
    EXPECT_EQ(cluster.Leader() != 0, quorum) << "matrix " << cut;
    EXPECT_EQ(cluster.violation(), std::nullopt);
  }
}

}  // namespace
}  // namespace conclave::raft::testing
