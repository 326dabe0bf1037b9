// Changes of the membership, rule by rule: dissertation chapter 4 and what incarnations add to it.

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "consensus/progress.h"
#include "tests/consensus/member_fixture.h"

namespace conclave::raft::testing {
namespace {

TEST_F(Membership, ALearnerGetsTheLogIsRegisteredAndBecomesAVoterByItself) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "before"));
  Join(4);
  const auto change = cluster_.Change(1, Kind::kAddLearner, 4);
  ASSERT_TRUE(change);
  EXPECT_EQ(At(1).configuration.index, change->index) << "in force when appended";
  EXPECT_EQ(KindOf(1, 4), MemberKind::kLearner);
  EXPECT_EQ(ConfigOf(1).Find(4)->incarnation, 0U);
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 4) == MemberKind::kVoter; }, 60));
  cluster_.Run(6);
  EXPECT_EQ(ConfigOf(4), ConfigOf(1));
  EXPECT_EQ(ConfigOf(4).Find(4)->incarnation, 1004U);
  EXPECT_EQ(ConfigOf(4).Find(4)->peer_address, Address(4));
  EXPECT_EQ(ConfigOf(4).quorum(), 3U);
  EXPECT_TRUE(PeerAt(1, 4).counted);
  EXPECT_EQ(At(1).counters.learners_promoted, 1U);
  EXPECT_EQ(cluster_.Converge(), std::nullopt);
}

TEST_F(Membership, ALearnerCountsInNoQuorum) {
  LeadWithLearner(3, 4);
  cluster_.Partition({1, 4});
  const Index before = At(1).commitIndex;
  ASSERT_TRUE(cluster_.Propose(1, "x"));
  ASSERT_TRUE(cluster_.Read(1));
  cluster_.Settle();
  EXPECT_EQ(At(4).last, At(1).last);
  EXPECT_EQ(At(1).commitIndex, before);
  EXPECT_TRUE(cluster_.node(1).reads.empty()) << "it cannot confirm who leads";
  cluster_.Run(61);
  EXPECT_NE(At(1).role, RoleName::kLeader) << "nor is it somebody heard from";
}

TEST_F(Membership, ALearnerNeitherCampaignsNorIsAskedNorVotes) {
  LeadWithLearner(3, 4);
  for (MemberId id = 1; id <= 3; ++id) {
    cluster_.Crash(id);
  }
  cluster_.PeerDown(4, 1);
  for (int i = 0; i < 300; ++i) {
    cluster_.Tick(4);
  }
  EXPECT_EQ(At(4).role, RoleName::kFollower);
  EXPECT_EQ(At(4).counters.prevotes_started, 0U);
  RequestVote request = Request(2, 4, 9);
  request.voterIncarnation = 0;  // As of one that does not count on it.
  EXPECT_FALSE(Grants(2, 4, request));
  cluster_.Restart(2);
  DropAll();
  cluster_.Campaign(2);
  EXPECT_TRUE(Last<RequestVote>(2, 3));
  EXPECT_FALSE(Last<RequestVote>(2, 4));
}

TEST_F(Membership, AVoterMadeSoByAnEntryCountsOnceItHasIt) {
  LeadWithLearner(3, 4);
  cluster_.Cut(1, 3);
  ASSERT_TRUE(cluster_.Propose(1, "before"));
  const EntryId before = At(1).last;
  ASSERT_TRUE(cluster_.Change(1, Kind::kPromote, 4));
  cluster_.node(2).manual_disk = true;
  DropAll();
  // With the leader and 2 it would be three of four.
  cluster_.Inject(2, 1, AppendEntriesReply{1, true, before, 0, {}, 0, 1002});
  cluster_.Inject(4, 1, AppendEntriesReply{1, true, before, 0, {}, 0, 1004});
  EXPECT_LT(At(1).commitIndex, before.index);
  cluster_.Inject(4, 1, AppendEntriesReply{1, true, At(1).last, 0, {}, 0, 1004});
  EXPECT_EQ(At(1).commitIndex, before.index);
  invented_ = true;
}

TEST_F(Membership, AMemberThatIsBeingAddedIsNotTakenForARemovedOne) {
  Lead(3, [](Options& options) { options.append_entries_max = 1; });
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(cluster_.Propose(1, "x"));
  }
  cluster_.Settle();
  Join(4);
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 4));
  while (At(4).commitIndex < 3) {
    ASSERT_TRUE(cluster_.DeliverOne());
  }
  EXPECT_EQ(ConfigOf(4).Find(4), nullptr) << "it has not come that far";
  EXPECT_FALSE(At(4).removed);
  cluster_.Run(100);
  EXPECT_EQ(KindOf(4, 4), MemberKind::kVoter);
}

TEST_F(Membership, AnObserverStaysOneUntilTheOperatorSaysOtherwise) {
  Lead(3);
  Join(4);
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddObserver, 4));
  cluster_.Run(200);
  EXPECT_EQ(KindOf(1, 4), MemberKind::kObserver);
  EXPECT_EQ(At(4).last, At(1).last);
  ASSERT_TRUE(cluster_.Change(1, Kind::kPromote, 4));
  cluster_.Run(6);
  EXPECT_EQ(KindOf(4, 4), MemberKind::kVoter);
}

TEST_F(Membership, PromotionByItselfCanBeSwitchedOff) {
  LeadWithLearner(3, 4);
  cluster_.Run(200);
  EXPECT_EQ(KindOf(1, 4), MemberKind::kLearner);
  EXPECT_TRUE(cluster_.Change(1, Kind::kPromote, 4));
}

TEST_F(Membership, ALearnerThatLagsIsNotPromoted) {
  LeadWithLearner(3, 4);
  cluster_.Cut(1, 4);
  ASSERT_TRUE(cluster_.Propose(1, "x"));
  cluster_.Run(10);
  cluster_.Run(30);
  EXPECT_FALSE(PeerAt(1, 4).caught_up);
  EXPECT_FALSE(PeerAt(1, 4).active);
  EXPECT_EQ(Error(1, Kind::kPromote, 4), ConfigChangeError::kNotCaughtUp);
  cluster_.Heal();
  ASSERT_TRUE(cluster_.RunUntil([&] { return PeerAt(1, 4).caught_up; }, 30));
  EXPECT_TRUE(cluster_.Change(1, Kind::kPromote, 4));
}

TEST_F(Membership, CatchingUpIsMeasuredInRounds) {
  CatchUp rounds;
  rounds.Matched(0, 100, 30);  // The first answer opens the first round.
  EXPECT_EQ(rounds.target, 100U);
  for (int i = 0; i < 40; ++i) {
    rounds.Tick(30);
  }
  rounds.Matched(99, 500, 30);
  EXPECT_EQ(rounds.target, 100U);
  rounds.Matched(100, 500, 30);  // The first round took too long.
  EXPECT_FALSE(rounds.caught_up);
  EXPECT_EQ(rounds.target, 500U);
  for (int i = 0; i < 29; ++i) {
    rounds.Tick(30);
  }
  rounds.Matched(500, 501, 30);
  EXPECT_TRUE(rounds.caught_up);
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(rounds.caught_up);
    rounds.Tick(30);
  }
  EXPECT_FALSE(rounds.caught_up) << "a round that does not end";
}

TEST_F(Membership, NoChangeBeforeTheTermHasStarted) {
  Lead(3);
  cluster_.Partition({1});
  cluster_.PeerDown(2, 1);
  cluster_.PeerDown(3, 1);
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() > 1; }, 20));
  const MemberId leader = cluster_.Leader();
  cluster_.Restart(1);
  cluster_.Heal();
  cluster_.Crash(leader);
  cluster_.PeerDown(5 - leader, leader);
  cluster_.Campaign(5 - leader);
  while (At(5 - leader).role != RoleName::kLeader && cluster_.DeliverOne()) {
  }
  ASSERT_EQ(At(5 - leader).role, RoleName::kLeader);
  EXPECT_EQ(Error(5 - leader, Kind::kAddLearner, 4), ConfigChangeError::kTermNotStarted);
  cluster_.Settle();
  EXPECT_TRUE(cluster_.Change(5 - leader, Kind::kAddLearner, 4));
}

TEST_F(Membership, OneChangeAtATime) {
  Lead(3);
  DropAll();
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 4));
  EXPECT_EQ(Error(1, Kind::kAddLearner, 5), ConfigChangeError::kChangeInProgress);
  EXPECT_EQ(Error(1, Kind::kRemove, 4), ConfigChangeError::kChangeInProgress);
  cluster_.Settle();
  EXPECT_TRUE(cluster_.Change(1, Kind::kRemove, 4));
}

TEST_F(Membership, ARegistrationIsAChangeToo) {
  LeadWithLearner(3, 4);
  Join(5, NoPromotion);
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 5));
  EXPECT_EQ(Error(1, Kind::kPromote, 4), ConfigChangeError::kChangeInProgress);
  cluster_.PeerUp(1, 5);
  EXPECT_EQ(ConfigOf(1).Find(5)->incarnation, 0U) << "not on top of an uncommitted change";
  cluster_.Settle();
  EXPECT_EQ(ConfigOf(1).Find(5)->incarnation, 1005U);
}

TEST_F(Membership, OnlyTheLeaderTakesChanges) {
  Lead(3);
  EXPECT_EQ(Error(2, Kind::kAddLearner, 4), ConfigChangeError::kNotLeader);
  EXPECT_EQ(At(2).counters.config_changes_refused, 1U);
}

TEST_F(Membership, TheLastVoterStays) {
  Lead(1);
  EXPECT_EQ(Error(1, Kind::kRemove, 1), ConfigChangeError::kLastVoter);
  EXPECT_EQ(Error(1, Kind::kReadmit, 1), ConfigChangeError::kLastVoter);
  Join(2);
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 2));
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 2) == MemberKind::kVoter; }, 60));
  cluster_.Run(6);
  EXPECT_TRUE(cluster_.Change(1, Kind::kRemove, 2)) << "one of two may go";
  cluster_.Run(6);
  EXPECT_EQ(ConfigOf(1).voter_count(), 1U);
  EXPECT_TRUE(cluster_.Propose(1, "alone"));
  EXPECT_EQ(At(1).commitIndex, At(1).last.index);
}

TEST_F(Membership, AChangeThatWouldLoseTheQuorumIsUnsafe) {
  Lead(3);
  cluster_.Crash(3);
  cluster_.Run(40);
  ASSERT_EQ(At(1).role, RoleName::kLeader);
  EXPECT_EQ(Error(1, Kind::kRemove, 2), ConfigChangeError::kUnsafe);
  EXPECT_EQ(Error(1, Kind::kReadmit, 2), ConfigChangeError::kUnsafe);
  EXPECT_EQ(Error(1, Kind::kRemove, 1), ConfigChangeError::kUnsafe);
  EXPECT_EQ(At(1).transferring_to, 0U);
  EXPECT_TRUE(cluster_.Change(1, Kind::kRemove, 3)) << "the dead one may go";
  cluster_.Settle();
  EXPECT_EQ(At(1).commitIndex, At(1).last.index);
}

TEST_F(Membership, ARemovedMemberLearnsOfItAndIsQuiet) {
  Lead(3);
  ASSERT_TRUE(cluster_.Change(1, Kind::kRemove, 3));
  EXPECT_FALSE(At(3).removed);
  cluster_.Run(10);
  EXPECT_TRUE(At(3).removed);
  EXPECT_FALSE(At(1).removed);
  EXPECT_EQ(At(3).commitIndex, At(1).commitIndex);
  const Index told = At(3).last.index;
  ASSERT_TRUE(cluster_.Propose(1, "not for 3"));
  cluster_.Run(10);
  EXPECT_EQ(At(3).last.index, told);
  cluster_.Run(120);
  for (int i = 0; i < 20; ++i) {
    cluster_.Tick(1);
  }
  EXPECT_TRUE(Last<AppendEntries>(1, 2));
  EXPECT_FALSE(Last<AppendEntries>(1, 3)) << "not for ever";
  cluster_.Run(300);
  EXPECT_EQ(At(3).last.index, told);
  EXPECT_EQ(At(3).counters.prevotes_started, 0U);
  cluster_.Restart(3);
  cluster_.Run(100);
  EXPECT_NE(At(3).role, RoleName::kLeader);
  EXPECT_EQ(cluster_.Leader(), 1U);
}

TEST_F(Membership, ARemovedMemberThatHeardNothingDisturbsNobody) {
  Lead(4);
  cluster_.Partition({4});
  cluster_.Run(40);
  ASSERT_TRUE(cluster_.Change(1, Kind::kRemove, 4));
  cluster_.Run(10);
  cluster_.PeerDown(1, 4);
  cluster_.Heal();
  const Term term = At(1).hardState.currentTerm;
  cluster_.Run(600);
  EXPECT_EQ(cluster_.Leader(), 1U);
  EXPECT_EQ(At(1).hardState.currentTerm, term);
  EXPECT_FALSE(At(4).removed) << "it cannot know";
  EXPECT_GT(At(4).counters.prevotes_started, 5U);
  EXPECT_GT(At(2).counters.from_unknown_member, 5U);
  // Nor when there is no leader: its log is behind.
  cluster_.Crash(1);
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() != 0; }, 200));
  EXPECT_NE(cluster_.Leader(), 4U);
  EXPECT_EQ(At(4).counters.elections_started, 0U);
}

TEST_F(Membership, ALeaderIsRemovedByItsSuccessor) {
  Lead(3);
  EXPECT_EQ(Error(1, Kind::kRemove, 1), ConfigChangeError::kTransferring);
  EXPECT_NE(At(1).transferring_to, 0U);
  cluster_.Settle();
  const MemberId next = cluster_.Leader();
  ASSERT_GT(next, 1U);
  EXPECT_NE(ConfigOf(next).Find(1), nullptr) << "handing over comes first";
  ASSERT_TRUE(cluster_.Change(next, Kind::kRemove, 1));
  cluster_.Run(10);
  EXPECT_EQ(cluster_.Leader(), next);
  EXPECT_TRUE(At(1).removed);
  EXPECT_EQ(At(next).counters.steps_down_for_quorum, 0U);
}

TEST_F(Membership, ReadmittingTheLeaderHandsOverFirst) {
  Lead(3);
  EXPECT_EQ(Error(1, Kind::kReadmit, 1), ConfigChangeError::kTransferring);
  cluster_.Settle();
  EXPECT_GT(cluster_.Leader(), 1U);
}

// Figure 4.6: until the change is committed, the member that it takes the vote of may be the only
// one that can commit it. It leads without counting itself, and leaves when it is done.
TEST_F(Membership, Section4_2_2_AMemberLeadsUntilItsRemovalIsCommitted) {
  Lead(2);
  cluster_.node(1).manual_disk = true;
  ASSERT_TRUE(cluster_.Change(1, Kind::kRemove, 2));
  while (Deliver<AppendEntries>(1, 2)) {
  }
  ASSERT_EQ(At(2).configuration.index, 2U) << "it has the entry";
  DropAll();
  cluster_.Crash(1);  // And loses it: its disk was slow.
  cluster_.node(1).manual_disk = false;
  cluster_.Restart(1);
  ASSERT_EQ(At(1).last.index, 1U);
  cluster_.PeerDown(2, 1);
  cluster_.Campaign(2);
  EXPECT_EQ(At(2).role, RoleName::kPreCandidate) << "its own vote does not count";
  cluster_.Settle();
  EXPECT_EQ(At(2).counters.elections_won, 1U);
  EXPECT_EQ(At(2).counters.resigned_removed, 1U);
  EXPECT_TRUE(At(2).removed);
  EXPECT_EQ(cluster_.Leader(), 1U) << "told to go on at once";
  EXPECT_EQ(ConfigOf(1).members.size(), 1U);
  cluster_.Run(200);
  EXPECT_EQ(At(2).counters.elections_won, 1U);
}

TEST_F(Membership, AMemberThatIsAboutToLoseItsVoteDoesNotCountItself) {
  Lead(4);
  // 4 alone hears of its own removal, and that the others are gone.
  cluster_.Partition({1, 4});
  ASSERT_TRUE(cluster_.Change(1, Kind::kRemove, 4));
  cluster_.Settle();
  ASSERT_EQ(ConfigOf(4).Find(4), nullptr);
  EXPECT_FALSE(At(4).removed) << "not committed";
  cluster_.Crash(1);
  cluster_.Heal();
  cluster_.Cut(4, 3);
  cluster_.PeerDown(4, 1);
  cluster_.PeerDown(2, 1);
  cluster_.Campaign(4);
  cluster_.Settle();
  // Of {1, 2, 3} it has the vote of 2 alone; with its own it would have two of three.
  EXPECT_EQ(At(4).role, RoleName::kPreCandidate);
}

TEST_F(Membership, AConfigurationIsRolledBackWithItsEntry) {
  Lead(3);
  cluster_.Partition({1});
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 9));
  ASSERT_NE(ConfigOf(1).Find(9), nullptr);
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() > 1; }, 200));
  ASSERT_TRUE(cluster_.Change(cluster_.Leader(), Kind::kUpdateAddress, 3));
  cluster_.Heal();
  cluster_.Run(20);
  EXPECT_EQ(ConfigOf(1).Find(9), nullptr);
  EXPECT_EQ(At(1).configuration, At(cluster_.Leader()).configuration);
  EXPECT_EQ(cluster_.node(1).told, At(1).configuration);
}

TEST_F(Membership, AnUncommittedChangeIsRolledBackAfterARestartToo) {
  Lead(3);
  cluster_.Partition({1});
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 9));
  cluster_.Restart(1);
  ASSERT_NE(ConfigOf(1).Find(9), nullptr) << "in its log, so in force";
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() > 1; }, 200));
  cluster_.Heal();
  cluster_.Run(20);
  EXPECT_EQ(ConfigOf(1).Find(9), nullptr);
}

TEST_F(Membership, ANewLeaderObeysTheUncommittedConfigurationInItsLog) {
  LeadWithLearner(3, 4);
  cluster_.Cut(1, 4);
  cluster_.Cut(1, 3);
  ASSERT_TRUE(cluster_.Change(1, Kind::kPromote, 4));
  cluster_.Settle();
  ASSERT_EQ(ConfigOf(2).quorum(), 3U) << "2 has the entry";
  ASSERT_EQ(ConfigOf(3).quorum(), 2U);
  cluster_.Crash(1);
  cluster_.Heal();
  cluster_.Partition({4});
  cluster_.Run(300);
  EXPECT_EQ(cluster_.Leader(), 0U) << "two of four are no quorum";
  cluster_.Heal();
  // 4 does not know that it has a vote; 2 counts on it.
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() == 2; }, 200));
  cluster_.Run(10);
  EXPECT_EQ(KindOf(4, 4), MemberKind::kVoter);
  EXPECT_EQ(At(2).commitIndex, At(2).last.index);
}

TEST_F(Membership, AVoterThatLagsVotesForAMemberItDoesNotKnow) {
  Lead(3);
  cluster_.Partition({3});
  Join(4);
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 4));
  cluster_.Partition({3});
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 4) == MemberKind::kVoter; }, 100));
  cluster_.Run(6);
  cluster_.Cut(1, 2);
  ASSERT_TRUE(cluster_.Propose(1, "on 1 and 4"));
  cluster_.Settle();
  cluster_.Crash(1);
  cluster_.Heal();
  ASSERT_EQ(ConfigOf(3).Find(4), nullptr);
  // The log of 4 is the longest, and 2 and 4 need a third vote.
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() == 4; }, 300));
  cluster_.Run(6);
  EXPECT_EQ(ConfigOf(3), ConfigOf(4));
}

TEST_F(Membership, AStrangersCampaignIsIgnoredWhileALeaderIsHeard) {
  Lead(3);
  cluster_.Inject(7, 2, Request(1, 2, 9));
  cluster_.Inject(7, 2, Request(1, 2, 9, true));
  EXPECT_EQ(At(2).hardState.currentTerm, 1U);
  EXPECT_EQ(At(2).counters.from_unknown_member, 2U);
  EXPECT_FALSE(Last<RequestVoteReply>(2, 7));
  DropAll();
}

TEST_F(Membership, AStrangersAnswersAreIgnored) {
  Lead(3);
  cluster_.Inject(7, 1, AppendEntriesReply{9, false, {}, 1, {}, 0, 1007});
  cluster_.Inject(7, 1, RequestVoteReply{9, false, false, 1007, true});
  cluster_.Inject(7, 1, ReadIndexRequest{1, 5});
  cluster_.Inject(7, 2, TimeoutNow{1});
  EXPECT_EQ(At(1).hardState.currentTerm, 1U);
  EXPECT_EQ(At(1).counters.from_unknown_member, 3U);
  EXPECT_EQ(At(2).counters.from_unknown_member, 1U);
  EXPECT_EQ(At(2).role, RoleName::kFollower);
}

TEST_F(Membership, AMemberThatIsNotAddedStartsNothing) {
  Join(1);
  for (int i = 0; i < 300; ++i) {
    cluster_.Tick(1);
  }
  EXPECT_EQ(At(1).counters.prevotes_started, 0U);
  EXPECT_FALSE(At(1).removed);
}

// --- Members that lost their disk ---

TEST_F(Membership, AWipedVoterIsReadmittedAsALearnerAndComesBack) {
  Lead(3);
  cluster_.Wipe(2);
  cluster_.Restart(2);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(cluster_.Propose(1, "x"));
  }
  cluster_.Run(10);
  ASSERT_TRUE(At(2).incarnation_refused);
  ASSERT_TRUE(cluster_.Change(1, Kind::kReadmit, 2));
  EXPECT_EQ(ConfigOf(1).voter_count(), 2U);
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 2) == MemberKind::kVoter; }, 100));
  cluster_.Run(6);
  EXPECT_EQ(ConfigOf(1).Find(2)->incarnation, 2002U);
  EXPECT_FALSE(At(2).incarnation_refused);
  cluster_.Crash(3);
  ASSERT_TRUE(cluster_.Propose(1, "with 2"));
  cluster_.Settle();
  EXPECT_EQ(At(1).commitIndex, At(1).last.index) << "its acknowledgement counts again";
  cluster_.Restart(2);
  cluster_.Run(6);
  EXPECT_FALSE(At(2).incarnation_refused);
  EXPECT_EQ(cluster_.Converge(), std::nullopt);
}

TEST_F(Membership, AWipedVoterComesBackThroughASnapshot) {
  Lead(3);
  for (auto& [id, node] : cluster_.nodes()) {
    node.checkpoint_every = 3;
  }
  cluster_.Wipe(2);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(cluster_.Propose(1, "x"));
    cluster_.Settle();
  }
  cluster_.Restart(2);
  cluster_.Run(10);
  ASSERT_TRUE(cluster_.Change(1, Kind::kReadmit, 2));
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 2) == MemberKind::kVoter; }, 100));
  EXPECT_GE(cluster_.node(2).installs, 1U);
  EXPECT_EQ(cluster_.Converge(), std::nullopt);
}

TEST_F(Membership, LateAnswersOfALostDiskAreVoid) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "x"));
  ASSERT_TRUE(Deliver<AppendEntries>(1, 2));
  const auto late = Last<AppendEntriesReply>(2, 1);
  ASSERT_TRUE(late);
  cluster_.Settle();
  cluster_.Wipe(2);
  ASSERT_TRUE(cluster_.Change(1, Kind::kReadmit, 2));
  cluster_.Settle();
  cluster_.Inject(2, 1, *late);
  EXPECT_EQ(ConfigOf(1).Find(2)->incarnation, 0U) << "the lost disk is not registered again";
  EXPECT_EQ(PeerAt(1, 2).matchIndex, 0U);
  cluster_.Restart(2);
  cluster_.PeerUp(1, 2);
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 2) == MemberKind::kVoter; }, 100));
  EXPECT_EQ(ConfigOf(1).Find(2)->incarnation, 2002U);
}

TEST_F(Membership, ReadmittingTwiceDoesNotBringTheLostDiskBack) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "x"));
  ASSERT_TRUE(Deliver<AppendEntries>(1, 2));
  const auto late = Last<AppendEntriesReply>(2, 1);
  cluster_.Settle();
  cluster_.Wipe(2);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(cluster_.Change(1, Kind::kReadmit, 2));
    cluster_.Settle();
  }
  cluster_.Inject(2, 1, *late);
  EXPECT_EQ(ConfigOf(1).Find(2)->incarnation, 0U);
}

TEST_F(Membership, AMemberRemovedAndAddedAgainIsMetAnew) {
  Lead(3);
  ASSERT_TRUE(cluster_.Change(1, Kind::kRemove, 3));
  cluster_.Settle();
  cluster_.Wipe(3);
  ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, 3));
  cluster_.Settle();
  EXPECT_EQ(ConfigOf(1).Find(3)->incarnation, 0U) << "the hello of before is of another disk";
  cluster_.Restart(3);
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 3) == MemberKind::kVoter; }, 100));
  EXPECT_EQ(ConfigOf(1).Find(3)->incarnation, 2003U);
}

TEST_F(Membership, AMemberReadmittedByMistakeIsRegisteredAgainAtItsNextHello) {
  Lead(3);
  ASSERT_TRUE(cluster_.Change(1, Kind::kReadmit, 2));
  cluster_.Run(20);
  EXPECT_EQ(ConfigOf(1).Find(2)->incarnation, 0U);
  EXPECT_EQ(At(2).counters.prevotes_started, 0U);
  cluster_.PeerDown(1, 2);
  cluster_.PeerUp(1, 2);
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 2) == MemberKind::kVoter; }, 100));
  EXPECT_EQ(ConfigOf(1).Find(2)->incarnation, 1002U);
}

TEST_F(Membership, AnEmptyReadmittedMemberDoesNotVoteBeforeItIsNamed) {
  Lead(3);
  cluster_.Wipe(2);
  cluster_.Restart(2);
  DropAll();
  RequestVote request = Request(3, 3, 9);
  request.voterIncarnation = 1002;
  EXPECT_FALSE(Grants(3, 2, request)) << "counts on the disk that was lost";
  request.voterIncarnation = 0;
  EXPECT_FALSE(Grants(3, 2, request)) << "does not count on anybody";
  request.voterIncarnation = 2002;
  EXPECT_TRUE(Grants(3, 2, request)) << "a log names this very disk";
  invented_ = true;
}

TEST_F(Membership, AVoterThatKnowsTheLostDiskVotesForTheNewOne) {
  Lead(5);
  cluster_.Partition({5});
  cluster_.Wipe(2);
  cluster_.Restart(2);
  cluster_.Run(10);
  ASSERT_TRUE(cluster_.Change(1, Kind::kReadmit, 2));
  ASSERT_TRUE(cluster_.RunUntil([&] { return KindOf(1, 2) == MemberKind::kVoter; }, 100));
  cluster_.Run(6);
  cluster_.Cut(1, 3);
  ASSERT_TRUE(cluster_.Propose(1, "on 1, 2 and 4"));
  cluster_.Settle();
  cluster_.Crash(1);
  cluster_.Crash(4);
  cluster_.Heal();
  ASSERT_EQ(ConfigOf(5).Find(2)->incarnation, 1002U);
  EXPECT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() == 2; }, 300));
}

}  // namespace
}  // namespace conclave::raft::testing
