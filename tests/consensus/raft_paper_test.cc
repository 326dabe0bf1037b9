// One test per rule of Raft, named by the section of Ongaro's dissertation that states it.

#include <string>

#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {
namespace {

class Paper : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(invented_ || !cluster_.violation()) << *cluster_.violation();
  }

  /// Members 1 to count; 1 leads term 1 and everyone has its first entry.
  void Lead(MemberId count, const std::function<void(Options&)>& tweak = nullptr) {
    cluster_.AddMany(count, tweak);
    for (MemberId id = 2; id <= count; ++id) {
      cluster_.PeerUp(1, id);
    }
    cluster_.Campaign(1);
    cluster_.Settle();
    cluster_.Run(5);
    ASSERT_EQ(cluster_.Leader(), 1U);
    ASSERT_EQ(At(count).commitIndex, 1U);
  }

  Status At(MemberId id) { return cluster_.raft(id).status(); }

  /// The newest message of type M from one to the other, which stays under way.
  template <typename M>
  std::optional<M> Last(MemberId from, MemberId to) {
    for (auto packet = cluster_.packets().rbegin(); packet != cluster_.packets().rend(); ++packet) {
      if (packet->from == from && packet->to == to) {
        if (const auto* message = std::get_if<M>(&packet->message)) {
          return *message;
        }
      }
    }
    return std::nullopt;
  }

  void DropAll() {
    cluster_.Drop([](const Packet&) { return true; });
  }

  /// A vote that `id` would give to a candidate that has the same log, but for leader contact.
  RequestVote Request(MemberId id, Term term, bool pre_vote = false) {
    const Status status = At(id);
    return {term, status.last.index, status.last.term, pre_vote, false, 1003, 1000 + id};
  }

  /// A leader's message, with an entry, chained after what `id` has.
  AppendEntries Append(MemberId id, Term term, Term entry_term, Index index) {
    const auto& entries = cluster_.node(id).disk.entries;
    AppendEntries append{term, index - 1, entries.at(index - 2).term, {}, 0, 0};
    Entry entry{entry_term, index, EntryKind::kCommand, 0,
                std::make_shared<const std::string>("e")};
    entry.chain = ChainHash(entries.at(index - 2).chain, entry);
    append.entries.push_back(entry);
    return append;
  }

  Cluster cluster_{7};
  /// The test has put messages into the mouth of members that never wrote what they say.
  bool invented_ = false;
};

TEST_F(Paper, Section3_3_AHigherTermMakesALeaderAFollower) {
  Lead(3);
  cluster_.Inject(2, 1, AppendEntriesReply{5, false, {}, 1, {}, 0, 1002});
  EXPECT_EQ(At(1).role, RoleName::kFollower);
  EXPECT_EQ(At(1).hardState.currentTerm, 5U);
}

TEST_F(Paper, Section3_3_AnAppendOfAnEarlierTermIsRefusedAndTeachesTheTerm) {
  Lead(3);
  cluster_.PeerDown(2, 1);
  cluster_.Inject(3, 2, AppendEntries{4, 1, 1, {}, 0, 0});
  DropAll();
  cluster_.Inject(1, 2, AppendEntries{1, 1, 1, {}, 1, 9});
  const auto reply = Last<AppendEntriesReply>(2, 1);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->success);
  EXPECT_EQ(reply->term, 4U);
  EXPECT_EQ(reply->readRound, 0U) << "a refused leader is not confirmed";
}

TEST_F(Paper, Section3_4_TimeoutsAreRandomisedWithinTheirRange) {
  std::set<int> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Cluster cluster(seed);
    cluster.AddMany(3);
    int ticks = 0;
    while (cluster.raft(1).role() == RoleName::kFollower) {
      cluster.Tick(1);
      ++ticks;
    }
    EXPECT_GE(ticks, 30);
    EXPECT_LE(ticks, 60);
    seen.insert(ticks);
  }
  EXPECT_GE(seen.size(), 15U);
}

TEST_F(Paper, Section3_4_OneVoteATermFirstComeFirstServedAlsoAfterARestart) {
  Lead(3);
  cluster_.PeerDown(2, 1);
  DropAll();
  cluster_.Inject(3, 2, Request(2, 9));
  ASSERT_TRUE(Last<RequestVoteReply>(2, 3)->voteGranted);
  cluster_.Restart(2);
  DropAll();
  RequestVote other = Request(2, 9);
  other.incarnation = 1001;
  cluster_.Inject(1, 2, other);
  EXPECT_FALSE(Last<RequestVoteReply>(2, 1)->voteGranted);
  cluster_.Inject(3, 2, Request(2, 9));
  EXPECT_TRUE(Last<RequestVoteReply>(2, 3)->voteGranted) << "asking again is answered again";
}

TEST_F(Paper, Section3_4_ARepeatedVoteCountsOnce) {
  Lead(5);
  cluster_.Crash(1);
  cluster_.PeerDown(2, 1);
  cluster_.Campaign(2);
  DropAll();
  const Term term = At(2).hardState.currentTerm + 1;
  cluster_.Inject(3, 2, RequestVoteReply{term, true, true, 1003, true});
  cluster_.Inject(3, 2, RequestVoteReply{term, true, true, 1003, true});
  EXPECT_EQ(At(2).role, RoleName::kPreCandidate);
  cluster_.Inject(4, 2, RequestVoteReply{term, true, true, 1004, true});
  ASSERT_EQ(At(2).role, RoleName::kCandidate);
  cluster_.Inject(3, 2, RequestVoteReply{term, true, false, 1003, true});
  cluster_.Inject(3, 2, RequestVoteReply{term, true, false, 1003, true});
  EXPECT_EQ(At(2).role, RoleName::kCandidate);
  cluster_.Inject(4, 2, RequestVoteReply{term, true, false, 1004, true});
  EXPECT_EQ(At(2).role, RoleName::kLeader);
}

TEST_F(Paper, Section3_5_AnAppendThatDoesNotFollowIsRejectedWithAHint) {
  Lead(3);
  cluster_.Inject(1, 2, AppendEntries{1, 7, 1, {}, 0, 0});
  const auto reply = Last<AppendEntriesReply>(2, 1);
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->success);
  EXPECT_EQ(reply->rejectedIndex, 7U);
  EXPECT_EQ(reply->hint, (EntryId{1, 1}));
}

TEST_F(Paper, Section3_5_HintsFindALongDivergenceInFewRoundTrips) {
  Lead(3);
  cluster_.Partition({1});
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(cluster_.Propose(1, "lost"));
  }
  DropAll();
  cluster_.Crash(1);
  cluster_.PeerDown(2, 1);
  cluster_.PeerDown(3, 1);
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() != 0; }));
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(cluster_.Propose(cluster_.Leader(), "kept"));
  }
  cluster_.Settle();
  cluster_.Heal();
  cluster_.Restart(1);
  cluster_.Run(20);
  EXPECT_EQ(At(1).last, At(cluster_.Leader()).last);
  EXPECT_LE(At(1).counters.appends_rejected, 4U);
  EXPECT_EQ(At(1).counters.conflicts_truncated, 1U);
}

TEST_F(Paper, Section3_5_EntriesThatMatchAreNotTruncated) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  const auto append = Last<AppendEntries>(1, 2);
  ASSERT_TRUE(cluster_.Propose(1, "b"));
  cluster_.Cut(2, 1);
  cluster_.DeliverOne([](const Packet& packet) { return packet.to == 2; });
  cluster_.DeliverOne([](const Packet& packet) { return packet.to == 2; });
  ASSERT_EQ(At(2).last.index, 3U);
  cluster_.Inject(1, 2, *append);  // Overtaken: it ends before what is here.
  EXPECT_EQ(At(2).last.index, 3U);
  EXPECT_EQ(At(2).counters.conflicts_truncated, 0U);
}

TEST_F(Paper, Section3_5_CommitFollowsOnlyAsFarAsTheLogIsVerified) {
  Lead(3);
  for (const char* data : {"verified", "not verified"}) {
    ASSERT_TRUE(cluster_.Propose(1, data));
    cluster_.DeliverOne([](const Packet& packet) { return packet.to == 2; });
  }
  ASSERT_EQ(At(2).last.index, 3U);
  ASSERT_EQ(At(2).commitIndex, 1U);
  // A new leader's heartbeat that vouches for entry 2 only: what follows here may not be its.
  cluster_.PeerDown(2, 1);
  invented_ = true;
  cluster_.Inject(3, 2, AppendEntries{2, 2, 1, {}, 3, 0});
  EXPECT_EQ(At(2).commitIndex, 2U);
}

TEST_F(Paper, Section3_6_1_NoVoteForALogThatIsBehind) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  cluster_.Settle();
  cluster_.PeerDown(2, 1);
  DropAll();
  for (const bool pre_vote : {true, false}) {
    RequestVote shorter = Request(2, 50, pre_vote);
    shorter.lastLogIndex = 1;
    cluster_.Inject(3, 2, shorter);
    EXPECT_FALSE(Last<RequestVoteReply>(2, 3)->voteGranted) << pre_vote;
    DropAll();
  }
  RequestVote later_term = Request(2, 51);
  later_term.lastLogIndex = 1;
  later_term.lastLogTerm = 2;  // Shorter, but of a later term: more up to date.
  cluster_.Inject(3, 2, later_term);
  EXPECT_TRUE(Last<RequestVoteReply>(2, 3)->voteGranted);
}

TEST_F(Paper, Section3_6_2_OnlyAnEntryOfTheOwnTermIsCommittedByCounting) {
  Lead(3);
  ASSERT_TRUE(cluster_.Propose(1, "old"));
  cluster_.DeliverOne([](const Packet& packet) { return packet.to == 2; });
  DropAll();
  cluster_.Crash(1);
  cluster_.PeerDown(2, 1);
  cluster_.PeerDown(3, 1);
  cluster_.Campaign(2);
  while (cluster_.raft(2).role() != RoleName::kLeader && cluster_.DeliverOne()) {
  }
  ASSERT_EQ(cluster_.Leader(), 2U);
  const Term term = At(2).hardState.currentTerm;
  DropAll();
  cluster_.Inject(3, 2, AppendEntriesReply{term, true, {1, 2}, 0, {}, 0, 1003});
  EXPECT_EQ(At(2).commitIndex, 1U) << "entry 2 of term 1 is on a majority, and not committed";
  cluster_.Inject(3, 2, AppendEntriesReply{term, true, {term, 3}, 0, {}, 0, 1003});
  EXPECT_EQ(At(2).commitIndex, 3U) << "with the own term's entry the earlier one is";
  invented_ = true;
}

TEST_F(Paper, Section3_8_NothingIsAcknowledgedBeforeItIsDurable) {
  Lead(3);
  cluster_.node(2).manual_disk = true;
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  const auto deliver = [&] {
    return cluster_.DeliverOne([](const Packet& packet) { return packet.to == 2; });
  };
  ASSERT_TRUE(deliver());
  EXPECT_FALSE(Last<AppendEntriesReply>(2, 1));
  for (int i = 0; i < 5; ++i) {
    cluster_.Tick(1);
  }
  ASSERT_TRUE(deliver()) << "the heartbeat";
  ASSERT_TRUE(Last<AppendEntriesReply>(2, 1)) << "is answered at once";
  EXPECT_EQ(Last<AppendEntriesReply>(2, 1)->matched, (EntryId{1, 1})) << "with what is durable";
  cluster_.Flush(2);
  EXPECT_EQ(Last<AppendEntriesReply>(2, 1)->matched, (EntryId{1, 2}));
}

TEST_F(Paper, Section3_8_AVoteLeavesWhenItIsDurable) {
  Lead(3);
  cluster_.PeerDown(2, 1);
  cluster_.node(2).manual_disk = true;
  DropAll();
  cluster_.Inject(3, 2, Request(2, 9));
  EXPECT_FALSE(Last<RequestVoteReply>(2, 3));
  cluster_.Flush(2);
  ASSERT_TRUE(Last<RequestVoteReply>(2, 3));
  EXPECT_TRUE(Last<RequestVoteReply>(2, 3)->voteGranted);
}

TEST_F(Paper, Section4_2_3_NoVoteWhileALeaderIsHeardAndTheTermStays) {
  Lead(3);
  DropAll();
  for (const bool pre_vote : {true, false}) {
    cluster_.Inject(3, 2, Request(2, 9, pre_vote));
    EXPECT_FALSE(Last<RequestVoteReply>(2, 3)->voteGranted);
    EXPECT_EQ(At(2).hardState.currentTerm, 1U);
    cluster_.Inject(3, 1, Request(1, 9, pre_vote));
    EXPECT_EQ(At(1).role, RoleName::kLeader);
  }
}

TEST_F(Paper, Section6_2_ALeaderWithoutAQuorumStepsDown) {
  Lead(3);
  cluster_.Partition({1});
  for (int i = 0; i < 60; ++i) {
    cluster_.Tick(1);
  }
  EXPECT_EQ(At(1).role, RoleName::kFollower);
  EXPECT_EQ(At(1).hardState.currentTerm, 1U);
  EXPECT_EQ(At(1).counters.steps_down_for_quorum, 1U);
}

TEST_F(Paper, Section6_4_ReadsWaitForTheFirstCommitOfTheTerm) {
  Lead(3);
  cluster_.Crash(1);
  cluster_.PeerDown(2, 1);
  cluster_.PeerDown(3, 1);
  DropAll();
  cluster_.Campaign(2);
  while (cluster_.raft(2).role() != RoleName::kLeader && cluster_.DeliverOne()) {
  }
  ASSERT_EQ(cluster_.Leader(), 2U);
  ASSERT_TRUE(cluster_.Read(2));
  // Its leadership is confirmed by an answer, but its commit index may be behind.
  DropAll();
  cluster_.Inject(3, 2,
                  AppendEntriesReply{At(2).hardState.currentTerm, true, {1, 1}, 0, {}, 0, 1003});
  for (int i = 0; i < 5; ++i) {
    cluster_.Tick(2);
  }
  cluster_.Drop([](const Packet& packet) {
    const auto* append = std::get_if<AppendEntries>(&packet.message);
    return append != nullptr && !append->entries.empty();
  });
  cluster_.DeliverOne([](const Packet& packet) { return packet.to == 3; });
  cluster_.DeliverOne([](const Packet& packet) { return packet.from == 3; });
  EXPECT_TRUE(cluster_.node(2).reads.empty());
  cluster_.Run(10);
  ASSERT_EQ(cluster_.node(2).reads.size(), 1U);
  EXPECT_EQ(cluster_.node(2).reads[0].readIndex, 2U);
}

TEST_F(Paper, Section6_4_AnAnswerToAnEarlierRoundConfirmsNoLaterRead) {
  Lead(3);
  ASSERT_TRUE(cluster_.Read(1));
  const auto round = Last<AppendEntries>(1, 2)->readRound;
  DropAll();
  cluster_.Inject(2, 1, AppendEntriesReply{1, true, {1, 1}, 0, {}, round, 1002});
  EXPECT_EQ(cluster_.node(1).reads.size(), 1U);
  ASSERT_TRUE(cluster_.Read(1));
  cluster_.Inject(2, 1, AppendEntriesReply{1, true, {1, 1}, 0, {}, round, 1002});
  EXPECT_EQ(cluster_.node(1).reads.size(), 1U);
  EXPECT_GT(Last<AppendEntries>(1, 2)->readRound, round);
}

TEST_F(Paper, Section6_4_ReadsFailWithTheLeadership) {
  Lead(3);
  ASSERT_TRUE(cluster_.Read(1));
  DropAll();
  cluster_.Inject(2, 1, AppendEntriesReply{5, false, {}, 0, {}, 0, 1002});
  EXPECT_TRUE(cluster_.node(1).reads.empty());
  EXPECT_EQ(cluster_.node(1).reads_failed.size(), 1U);
}

TEST_F(Paper, Section6_4_AFollowersRequestIdsAreFreshAfterARestart) {
  Lead(3);
  ASSERT_TRUE(cluster_.Read(2));
  const auto before = Last<ReadIndexRequest>(2, 1);
  ASSERT_TRUE(before);
  cluster_.Restart(2);
  DropAll();
  cluster_.Run(6);
  ASSERT_TRUE(cluster_.Read(2));
  const auto after = Last<ReadIndexRequest>(2, 1);
  ASSERT_TRUE(after);
  EXPECT_NE(before->requestId, after->requestId);
  cluster_.Inject(1, 2, ReadIndexReply{1, before->requestId, true, 0});
  for (const ReadReady& read : cluster_.node(2).reads) {
    EXPECT_NE(read.readIndex, 0U) << "answered by the reply to a question of its former life";
  }
}

TEST_F(Paper, Section6_4_AFollowersReadSurvivesALostRequest) {
  Lead(3);
  ASSERT_TRUE(cluster_.Read(2));
  DropAll();
  cluster_.Run(10);
  EXPECT_EQ(cluster_.node(2).reads.size(), 1U);
}

TEST_F(Paper, Section9_6_APreVoteChangesNoTerm) {
  Lead(3);
  cluster_.Partition({3});
  cluster_.Run(300);
  EXPECT_EQ(At(3).hardState.currentTerm, 1U);
  EXPECT_GE(At(3).counters.prevotes_started, 3U);
  EXPECT_EQ(At(3).counters.elections_started, 0U);
}

TEST_F(Paper, Section10_2_1_TheLeaderCountsItselfWhenDurableAndNotBefore) {
  Lead(3);
  cluster_.node(1).manual_disk = true;
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  EXPECT_TRUE(Last<AppendEntries>(1, 2)) << "it replicates while its disk writes";
  cluster_.Drop([](const Packet& packet) { return packet.to == 3; });
  cluster_.Settle();
  EXPECT_EQ(At(1).commitIndex, 1U);
  cluster_.Flush(1);
  EXPECT_EQ(At(1).commitIndex, 2U);
}

TEST_F(Paper, Section10_2_1_ItMayCommitThroughOthersBeforeItsOwnDisk) {
  Lead(3);
  cluster_.node(1).manual_disk = true;
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  cluster_.Settle();
  EXPECT_EQ(At(1).commitIndex, 2U);
  EXPECT_EQ(At(1).durableIndex, 1U);
}

TEST_F(Paper, AnAcknowledgementOfAnOverwrittenEntryIsRefused) {
  Lead(3);
  cluster_.Inject(2, 1, AppendEntriesReply{5, false, {}, 0, {}, 0, 1002});
  cluster_.PeerDown(2, 1);
  cluster_.PeerDown(3, 1);
  cluster_.Campaign(1);
  cluster_.Settle();
  ASSERT_EQ(cluster_.Leader(), 1U);
  cluster_.Partition({1});
  ASSERT_TRUE(cluster_.Propose(1, "now"));
  const Status status = At(1);
  cluster_.Inject(2, 1,
                  AppendEntriesReply{
                      status.hardState.currentTerm, true, {1, status.last.index}, 0, {}, 0, 1002});
  EXPECT_EQ(At(1).commitIndex, status.commitIndex);
  EXPECT_EQ(At(1).counters.stale_acknowledgements, 1U);
}

TEST_F(Paper, ADurableIndexFallsWithATruncation) {
  Lead(3);
  cluster_.node(2).manual_disk = true;
  cluster_.Inject(1, 2, Append(2, 1, 1, 2));  // Entry 2 of term 1 goes to the disk ...
  cluster_.PeerDown(2, 1);
  AppendEntries other = Append(2, 3, 3, 2);  // ... and is overwritten before it is there.
  cluster_.Inject(3, 2, other);
  DropAll();
  cluster_.Flush(2, 1);
  EXPECT_EQ(At(2).durableIndex, 1U);
  cluster_.Inject(3, 2, AppendEntries{3, 2, 3, {}, 0, 0});
  EXPECT_FALSE(Last<AppendEntriesReply>(2, 3));
  cluster_.Flush(2);
  EXPECT_EQ(At(2).durableIndex, 2U);
}

TEST_F(Paper, WhatATruncationCutsOffIsDurableNoMore) {
  Lead(3);
  cluster_.node(2).manual_disk = true;
  cluster_.Inject(1, 2, Append(2, 1, 1, 2));
  cluster_.Flush(2);
  ASSERT_EQ(At(2).durableIndex, 2U);
  cluster_.PeerDown(2, 1);
  cluster_.Inject(3, 2, Append(2, 3, 3, 2));
  EXPECT_EQ(At(2).durableIndex, 1U) << "another entry 2 is on its way to the disk";
  DropAll();
  cluster_.Inject(3, 2, AppendEntries{3, 2, 3, {}, 0, 0});
  if (const auto reply = Last<AppendEntriesReply>(2, 3)) {
    EXPECT_EQ(reply->matched.index, 1U);
  }
  cluster_.Flush(2);
  EXPECT_EQ(At(2).durableIndex, 2U);
}

TEST_F(Paper, ProposalsAreRefusedWhileTooMuchIsUncommitted) {
  Lead(3, [](Options& options) { options.uncommitted_bytes_max = 1000; });
  cluster_.Partition({1});
  int taken = 0;
  while (cluster_.Propose(1, std::string(100, 'x'))) {
    ++taken;
  }
  EXPECT_GE(taken, 6);
  EXPECT_LE(taken, 10);
  cluster_.Heal();
  cluster_.Run(10);
  EXPECT_TRUE(cluster_.Propose(1, "again"));
}

TEST_F(Paper, InFlightMessagesAreBounded) {
  Lead(3, [](Options& options) {
    options.inflight_messages_max = 4;
    options.append_entries_max = 1;
  });
  DropAll();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(cluster_.Propose(1, "x"));
  }
  std::size_t to_two = 0;
  for (const Packet& packet : cluster_.packets()) {
    to_two += packet.to == 2 ? 1 : 0;
  }
  EXPECT_EQ(to_two, 4U);
  cluster_.Settle();
  EXPECT_EQ(At(2).last.index, 51U);
}

TEST_F(Paper, EntriesOfAnotherClusterAreRefused) {
  Lead(3);
  Configuration foreign = At(2).configuration.configuration;
  foreign.clusterId[0] ^= 1;
  AppendEntries append = Append(2, 1, 1, 2);
  append.entries[0].kind = EntryKind::kConfig;
  append.entries[0].data = std::make_shared<const std::string>(foreign.Encode());
  append.entries[0].chain = ChainHash(cluster_.node(2).disk.entries[0].chain, append.entries[0]);
  cluster_.Inject(1, 2, append);
  EXPECT_EQ(At(2).last.index, 1U);
  EXPECT_EQ(At(2).counters.other_cluster, 1U);
}

TEST_F(Paper, AConfigurationIsRolledBackWithItsEntry) {
  Lead(3);
  Configuration next = At(2).configuration.configuration;
  next.members.push_back({4, 77, MemberKind::kVoter, Address(4)});
  AppendEntries append = Append(2, 1, 1, 2);
  append.entries[0].kind = EntryKind::kConfig;
  append.entries[0].data = std::make_shared<const std::string>(next.Encode());
  append.entries[0].chain = ChainHash(cluster_.node(2).disk.entries[0].chain, append.entries[0]);
  cluster_.Inject(1, 2, append);
  ASSERT_EQ(At(2).configuration.configuration.members.size(), 4U) << "in force when appended";
  cluster_.PeerDown(2, 1);
  AppendEntries other = Append(2, 3, 3, 2);
  cluster_.Inject(3, 2, other);
  EXPECT_EQ(At(2).configuration.configuration.members.size(), 3U);
  EXPECT_EQ(At(2).configuration.index, 1U);
}

TEST_F(Paper, AWipedMemberNeitherVotesNorIsCounted) {
  Lead(3);
  cluster_.Wipe(2);
  cluster_.Restart(2);
  cluster_.Cut(1, 3);
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  cluster_.Settle();
  EXPECT_EQ(At(1).commitIndex, 1U);
  cluster_.Inject(2, 1, AppendEntriesReply{1, true, {1, 2}, 0, {}, 0, 2002});
  EXPECT_EQ(At(1).commitIndex, 1U);
  EXPECT_GE(At(1).counters.from_wrong_incarnation, 1U);
  EXPECT_TRUE(At(2).incarnation_refused);
  EXPECT_EQ(At(2).last.index, 0U);
  DropAll();
  RequestVote request{9, 1, 1, false, false, 1003, 1002};
  cluster_.Inject(3, 2, request);
  EXPECT_FALSE(Last<RequestVoteReply>(2, 3)->voteGranted);
}

TEST_F(Paper, AnEmptyMemberThatKnowsOfAClusterStartsNoOther) {
  cluster_.AddMany(3);
  cluster_.Inject(2, 1, RequestVoteReply{0, false, true, 1002, true});
  for (int i = 0; i < 200; ++i) {
    cluster_.Tick(1);
  }
  EXPECT_EQ(At(1).role, RoleName::kFollower);
  DropAll();
  cluster_.Inject(2, 1, RequestVote{1, 0, 0, false, true, 1002, 0});
  EXPECT_FALSE(Last<RequestVoteReply>(1, 2)->voteGranted);
  EXPECT_TRUE(Last<RequestVoteReply>(1, 2)->clusterStarted);
}

TEST_F(Paper, ASecondRegistrationWaitsForTheFirstToCommit) {
  cluster_.AddMany(5);
  cluster_.Partition({4, 5});
  cluster_.Campaign(1);
  cluster_.Settle();
  cluster_.Run(5);
  ASSERT_EQ(cluster_.Leader(), 1U);
  cluster_.Partition({1});
  const Index before = At(1).configuration.index;
  cluster_.PeerUp(1, 4);
  const Index first = At(1).configuration.index;
  EXPECT_GT(first, before);
  cluster_.PeerUp(1, 5);
  EXPECT_EQ(At(1).configuration.index, first) << "one uncommitted configuration at a time";
  EXPECT_EQ(cluster_.Converge(), std::nullopt);
  for (const Member& member : At(1).configuration.configuration.members) {
    EXPECT_NE(member.incarnation, 0U);
  }
}

TEST_F(Paper, ALeaderWhoseDiskIsStuckStepsDown) {
  Lead(3);
  cluster_.node(1).manual_disk = true;
  ASSERT_TRUE(cluster_.Propose(1, "a"));
  cluster_.Run(200);
  EXPECT_NE(cluster_.Leader(), 1U);
  EXPECT_NE(cluster_.Leader(), 0U);
}

TEST_F(Paper, FailOverTakesTicksAndNotATimeout) {
  Lead(3);
  cluster_.Crash(1);
  cluster_.PeerDown(2, 1);
  cluster_.PeerDown(3, 1);
  EXPECT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() != 0; }, 20));
}

}  // namespace
}  // namespace conclave::raft::testing
