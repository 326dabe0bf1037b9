// A leader whose log begins behind a checkpoint, and the members that need what is no longer in it
// (dissertation chapter 5).

#include <algorithm>
#include <optional>
#include <string>

#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SnapshotLeader : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_FALSE(cluster_.violation()) << *cluster_.violation();
    if (!HasFailure() && converges_) {
      const auto wrong = cluster_.Converge();
      EXPECT_FALSE(wrong) << *wrong;
    }
  }

  /// Members 1 to 3, 1 leads. 3 has the first `known` entries and is cut off; the leader has
  /// `behind` more, and a log that begins after all but the last `tail` of them.
  void FallBehind(Index known, int behind, Index tail) {
    cluster_.AddMany(3);
    cluster_.PeerUp(1, 2);
    cluster_.PeerUp(1, 3);
    cluster_.Campaign(1);
    cluster_.Settle();
    cluster_.Run(5);
    for (Index i = 1; i < known; ++i) {
      Propose();
    }
    cluster_.Settle();
    ASSERT_EQ(At(3).last.index, known);
    cluster_.Partition({3});
    for (int i = 0; i < behind; ++i) {
      Propose();
      cluster_.Settle();
    }
    ASSERT_TRUE(cluster_.Checkpoint(1, tail));
    ASSERT_EQ(cluster_.Leader(), 1U);
    cluster_.Heal();
  }

  void Propose() { ASSERT_TRUE(cluster_.Propose(1, "e" + std::to_string(++proposed_))); }

  Status At(MemberId id) { return cluster_.raft(id).status(); }

  PeerStatus Peer(MemberId id) {
    for (const PeerStatus& peer : At(1).peers) {
      if (peer.id == id) {
        return peer;
      }
    }
    return {};
  }

  /// Ticks the leader to its next heartbeat and delivers everything but snapshots.
  void Heartbeat() {
    for (std::uint32_t i = 0; i < cluster_.node(1).options.heartbeat_ticks; ++i) {
      cluster_.Tick(1);
    }
    while (cluster_.DeliverOne()) {
    }
  }

  /// Until the leader has asked for a snapshot for member 3.
  void UntilAsked() {
    for (int i = 0; i < 10 && cluster_.transfers().empty(); ++i) {
      Heartbeat();
    }
    ASSERT_EQ(cluster_.transfers().size(), 1U);
    ASSERT_EQ(cluster_.transfers()[0].to, 3U);
    ASSERT_TRUE(Peer(3).snapshotting);
  }

  std::uint64_t asked() { return At(1).counters.snapshots_asked; }

  Cluster cluster_{11};
  int proposed_ = 0;
  bool converges_ = true;
};

TEST_F(SnapshotLeader, AMemberThatIsTooFarBehindGetsASnapshotAndThenEntries) {
  FallBehind(3, 10, 2);
  EXPECT_EQ(At(1).firstIndex, 12U);
  UntilAsked();
  cluster_.DeliverTransferAt(0, false);
  EXPECT_EQ(At(3).commitIndex, 13U);
  EXPECT_EQ(cluster_.node(3).installs, 1U);
  EXPECT_TRUE(Peer(3).snapshotting);
  ASSERT_EQ(cluster_.transfers().size(), 1U);
  cluster_.DeliverTransferAt(0, false);  // The answer.
  EXPECT_FALSE(Peer(3).snapshotting);
  EXPECT_EQ(Peer(3).nextIndex, 14U);
  Propose();
  cluster_.Settle();
  EXPECT_EQ(At(3).last, At(1).last);
  EXPECT_TRUE(Peer(3).replicating);
  EXPECT_EQ(asked(), 1U);
}

TEST_F(SnapshotLeader, AnInitialMemberThatComesLateGetsASnapshot) {
  cluster_.AddMany(3);
  cluster_.Crash(3);
  cluster_.Campaign(1);
  cluster_.Settle();
  cluster_.Run(5);
  for (int i = 0; i < 10; ++i) {
    Propose();
    cluster_.Settle();
  }
  ASSERT_TRUE(cluster_.Checkpoint(1, 0));
  cluster_.Restart(3);
  cluster_.Run(40);
  EXPECT_EQ(cluster_.node(3).installs, 1U);
  EXPECT_EQ(At(3).last, At(1).last);
  EXPECT_TRUE(Peer(3).counted) << "registered on the way";
}

TEST_F(SnapshotLeader, TheEntryBeforeTheLogIsKnownSoATailIsEnough) {
  FallBehind(3, 10, 10);
  EXPECT_EQ(At(1).firstIndex, 4U) << "3 has all that is not in the log, and no more";
  cluster_.Run(20);
  EXPECT_EQ(At(3).last, At(1).last);
  EXPECT_EQ(asked(), 0U);
}

TEST_F(SnapshotLeader, CompactionPastAPipelineProbesAndAsks) {
  cluster_.AddMany(3, [](Options& options) {
    options.inflight_messages_max = 2;
    options.append_entries_max = 1;
  });
  cluster_.PeerUp(1, 2);
  cluster_.PeerUp(1, 3);
  cluster_.Campaign(1);
  cluster_.Settle();
  cluster_.Run(5);
  for (int i = 0; i < 8; ++i) {
    Propose();
    while (cluster_.DeliverOne([](const Packet& p) { return p.from != 3 && p.to != 3; })) {
    }
  }
  EXPECT_TRUE(Peer(3).replicating);
  EXPECT_EQ(Peer(3).nextIndex, 4U) << "two are under way, the others wait";
  ASSERT_TRUE(cluster_.Checkpoint(1, 1));
  ASSERT_EQ(At(1).firstIndex, 9U);
  Heartbeat();
  UntilAsked();
  cluster_.Settle();
  EXPECT_EQ(At(3).last, At(1).last);
}

TEST_F(SnapshotLeader, AMemberWhoseLogPartsBeforeTheStartGetsASnapshot) {
  FallBehind(3, 2, 0);
  cluster_.Partition({3});
  cluster_.Restart(1);
  cluster_.PeerDown(2, 1);
  cluster_.Campaign(1);
  cluster_.Settle();
  ASSERT_EQ(At(1).role, RoleName::kLeader);
  const Term term = At(1).hardState.currentTerm;
  Propose();
  cluster_.Settle();
  ASSERT_TRUE(cluster_.Checkpoint(1, 0));
  const EntryId start = At(1).last;
  ASSERT_EQ(start.term, term);
  Propose();
  cluster_.Settle();
  // Member 3 has entries there, and beyond, but of an earlier term: longer is not further.
  const Index rejected = std::max(Peer(3).nextIndex - 1, start.index);
  cluster_.raft(1).PeerUp(3, 1003, true);
  (void)cluster_.raft(1).TakeReady();
  cluster_.Inject(3, 1, AppendEntriesReply{term, false, {}, rejected, {1, start.index}, 0, 1003});
  EXPECT_TRUE(Peer(3).snapshotting) << "no probe would find where the logs part";
  converges_ = false;
}

TEST_F(SnapshotLeader, AMemberIsAskedForOnceWhileATransferRuns) {
  FallBehind(3, 10, 2);
  UntilAsked();
  for (int i = 0; i < 20; ++i) {
    Heartbeat();
    Propose();
    EXPECT_EQ(cluster_.raft(1).role(), RoleName::kLeader);
  }
  EXPECT_EQ(asked(), 1U);
  EXPECT_EQ(At(3).leader, 1U) << "heartbeats keep flowing";
  EXPECT_TRUE(Peer(3).recently_active) << "and are answered";
}

TEST_F(SnapshotLeader, ASnapshottingMemberConfirmsReadsAndItsLeader) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.Partition({2});
  ASSERT_TRUE(cluster_.Read(1));
  for (int i = 0; i < 20; ++i) {
    Heartbeat();
  }
  EXPECT_THAT(cluster_.node(1).reads, ::testing::SizeIs(1)) << "1 and 3 are a quorum";
  EXPECT_EQ(At(1).role, RoleName::kLeader);
  EXPECT_TRUE(Peer(3).snapshotting);
  const Index commit = At(1).commitIndex;
  Propose();
  Heartbeat();
  EXPECT_EQ(At(1).commitIndex, commit) << "but of entries there is nothing that it could confirm";
}

TEST_F(SnapshotLeader, AFailedTransferIsAskedForAgainWithTheNextHeartbeat) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.LoseTransferAt(0);
  EXPECT_EQ(asked(), 1U);
  Propose();
  while (cluster_.DeliverOne()) {
  }
  EXPECT_EQ(asked(), 1U) << "not at once";
  Heartbeat();
  EXPECT_EQ(asked(), 2U);
}

TEST_F(SnapshotLeader, AClosedConnectionEndsTheTransferAndANewOneAsksAgain) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.PeerDown(1, 3);
  EXPECT_FALSE(Peer(3).snapshotting);
  cluster_.LoseTransferAt(0);
  EXPECT_EQ(asked(), 1U);
  cluster_.PeerUp(1, 3);
  while (cluster_.DeliverOne()) {
  }
  EXPECT_EQ(asked(), 2U);
}

TEST_F(SnapshotLeader, AMemberOfWhichNothingIsKnownIsProbedBeforeItIsSentASnapshot) {
  FallBehind(10, 3, 0);
  cluster_.Settle();
  cluster_.Run(20);
  const std::uint64_t before = asked();
  // What the leader knew of it is gone with the connection and the term; its log is not.
  cluster_.Crash(1);
  cluster_.Restart(1);
  cluster_.Campaign(1);
  cluster_.Settle();
  cluster_.Run(100);
  const MemberId leader = cluster_.Leader();
  ASSERT_NE(leader, 0U);
  cluster_.PeerDown(leader, 3);
  cluster_.PeerUp(leader, 3);
  cluster_.Run(20);
  EXPECT_LE(before, 1U);
  EXPECT_EQ(At(leader).counters.snapshots_asked, 0U);
}

TEST_F(SnapshotLeader, AMemberThatGetsThereOtherwiseNeedsNoSnapshot) {
  FallBehind(3, 10, 2);
  UntilAsked();
  // Another way: the log's start as it is on the disk of 2, which has compacted nothing.
  const Disk& whole = cluster_.node(2).disk;
  AppendEntries append{1, 3, 1, {}, 13, 0, 1003};
  append.entries.assign(whole.entries.begin() + 3, whole.entries.end());
  cluster_.Inject(1, 3, append);
  while (cluster_.DeliverOne()) {
  }
  EXPECT_FALSE(Peer(3).snapshotting);
  EXPECT_TRUE(Peer(3).replicating);
  EXPECT_EQ(Peer(3).matchIndex, 13U);
  cluster_.DeliverTransferAt(0, false);  // The snapshot arrives all the same.
  EXPECT_EQ(At(3).counters.snapshots_refused, 1U);
  cluster_.DeliverTransferAt(0, false);
  EXPECT_TRUE(Peer(3).replicating) << "an answer that nobody waits for changes nothing";
  EXPECT_EQ(asked(), 1U);
}

TEST_F(SnapshotLeader, AnAcknowledgementBelowTheStartEndsNoTransfer) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.Inject(3, 1, AppendEntriesReply{1, true, {1, 5}, 0, {}, 0, 1003});
  EXPECT_TRUE(Peer(3).snapshotting);
  cluster_.Inject(3, 1, AppendEntriesReply{1, true, {}, 0, {}, 0, 1003});
  EXPECT_TRUE(Peer(3).snapshotting);
  EXPECT_EQ(At(1).counters.stale_acknowledgements, 0U) << "nor is it an error";
  EXPECT_EQ(asked(), 1U);
}

TEST_F(SnapshotLeader, ARejectionFromBeforeTheSnapshotAsksForNoOther) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.Settle();
  Heartbeat();
  ASSERT_EQ(Peer(3).matchIndex, 13U);
  Propose();
  Propose();
  ASSERT_EQ(Peer(3).nextIndex, 16U);
  cluster_.Inject(3, 1, AppendEntriesReply{1, false, {}, 14, {1, 3}, 0, 1003});
  EXPECT_FALSE(Peer(3).snapshotting) << "it has acknowledged what a snapshot could give it";
  EXPECT_EQ(Peer(3).nextIndex, 14U);
}

TEST_F(SnapshotLeader, WhatTheDriverSaysOfATransferIsNotBelieved) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.raft(1).SnapshotSent(3, At(1).last);  // It is not there, and was another one's.
  EXPECT_FALSE(Peer(3).snapshotting);
  EXPECT_LT(Peer(3).matchIndex, 4U) << "only the member itself says what it has";
  EXPECT_EQ(Peer(3).nextIndex, 14U);
  cluster_.LoseTransferAt(0);
  UntilAsked();  // The probe was rejected.
  EXPECT_LT(Peer(3).matchIndex, 4U);
  EXPECT_EQ(asked(), 2U);
}

TEST_F(SnapshotLeader, ASnapshotThatTheLogHasOvertakenIsFollowedByAnother) {
  FallBehind(3, 10, 2);
  UntilAsked();
  for (int i = 0; i < 10; ++i) {
    Propose();
    while (cluster_.DeliverOne()) {
    }
  }
  ASSERT_TRUE(cluster_.Checkpoint(1, 2));
  ASSERT_EQ(At(1).firstIndex, 22U);
  cluster_.DeliverTransferAt(0, false);
  EXPECT_EQ(At(3).commitIndex, 13U);
  cluster_.DeliverTransferAt(0, false);
  EXPECT_TRUE(Peer(3).snapshotting);
  Heartbeat();
  ASSERT_EQ(cluster_.transfers().size(), 1U);
  EXPECT_EQ(cluster_.transfers()[0].snapshot.meta.last.index, 23U);
  EXPECT_EQ(asked(), 2U);
}

TEST_F(SnapshotLeader, NonsenseAboutATransferIsAFailure) {
  FallBehind(3, 10, 2);
  UntilAsked();
  cluster_.raft(1).SnapshotSent(3, {9, 12});
  EXPECT_TRUE(Peer(3).snapshotting) << "no such entry";
  cluster_.raft(1).SnapshotSent(3, {1, 1000});
  EXPECT_TRUE(Peer(3).snapshotting) << "beyond the log";
  cluster_.raft(1).SnapshotSent(7, {1, 12});
  cluster_.raft(1).SnapshotFailed(7);
  cluster_.raft(2).SnapshotSent(3, {1, 12});
  cluster_.raft(2).SnapshotFailed(3);
  cluster_.raft(1).SnapshotSent(2, {1, 12});
  cluster_.raft(1).SnapshotFailed(2);
  EXPECT_TRUE(Peer(2).replicating);
  Heartbeat();
  EXPECT_EQ(asked(), 2U);
}

TEST_F(SnapshotLeader, ADeposedLeaderAsksForNothing) {
  FallBehind(3, 10, 2);
  cluster_.Partition({1, 3});
  Heartbeat();
  cluster_.LoseTransferAt(0);
  for (std::uint32_t i = 0; i < cluster_.node(1).options.heartbeat_ticks; ++i) {
    cluster_.raft(1).Tick();
  }
  // The term ends between the heartbeat that would ask and the Ready that would say so.
  cluster_.raft(1).Step(2, AppendEntriesReply{9, false, {}, 0, {}, 0, 1002});
  EXPECT_THAT(cluster_.raft(1).TakeReady().sendSnapshot, IsEmpty());
  converges_ = false;
}

TEST_F(SnapshotLeader, AMemberWithAnotherDiskStartsOver) {
  // Members 4 and 5 were not met when the cluster started, so their incarnations are open.
  cluster_.AddMany(5);
  cluster_.Crash(4);
  cluster_.Crash(5);
  cluster_.Campaign(1);
  cluster_.Settle();
  cluster_.Run(5);
  for (int i = 0; i < 10; ++i) {
    Propose();
    cluster_.Settle();
  }
  ASSERT_TRUE(cluster_.Checkpoint(1, 0));
  ASSERT_EQ(At(1).firstIndex, 12U);
  const auto says = [&](MemberId id, Incarnation incarnation, bool success, EntryId matched) {
    cluster_.Inject(id, 1, AppendEntriesReply{1, success, matched, 11, {}, 0, incarnation});
  };
  // While the registration of 4 is not committed, 5 answers with one disk and then with another.
  says(4, 1004, false, {});
  ASSERT_EQ(At(1).configuration.index, 12U);
  says(5, 5005, true, {1, 11});
  EXPECT_EQ(Peer(5).matchIndex, 11U);
  EXPECT_EQ(Peer(5).nextIndex, 13U);
  says(5, 6005, true, {});
  EXPECT_EQ(Peer(5).matchIndex, 0U) << "what the other one had, this one may not have";
  says(5, 6005, false, {});
  EXPECT_TRUE(Peer(5).snapshotting) << "nor is its log where that one's was";
  cluster_.raft(1).SnapshotSent(5, {1, 11});
  EXPECT_EQ(Peer(5).matchIndex, 0U);
  converges_ = false;
}

TEST_F(SnapshotLeader, ANewLeaderWithAnEmptyLogLeads) {
  FallBehind(3, 10, 0);
  ASSERT_TRUE(cluster_.Checkpoint(2, 0));
  for (MemberId id : {1, 2}) {
    cluster_.Restart(id);
    ASSERT_TRUE(cluster_.node(id).disk.entries.empty());
  }
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() != 0; }));
  cluster_.Run(100);
  EXPECT_EQ(At(3).last, At(cluster_.Leader()).last);
  EXPECT_EQ(cluster_.node(3).installs, 1U);
}

TEST_F(SnapshotLeader, AMemberThatHasJustInstalledCanLead) {
  FallBehind(3, 10, 0);
  UntilAsked();
  cluster_.node(3).manual_disk = true;
  cluster_.DeliverTransferAt(0, false);
  ASSERT_TRUE(cluster_.node(3).installing);
  cluster_.Crash(1);
  cluster_.PeerDown(3, 1);
  cluster_.PeerDown(2, 1);
  for (int i = 0; i < 20; ++i) {
    cluster_.Tick(3);
    while (cluster_.DeliverOne()) {
    }
  }
  EXPECT_NE(At(3).role, RoleName::kLeader) << "its own vote waits for the snapshot";
  cluster_.node(3).manual_disk = false;
  cluster_.Flush(3);
  ASSERT_TRUE(cluster_.RunUntil([&] { return cluster_.Leader() != 0; }));
}

TEST_F(SnapshotLeader, AnUnreadableLogSendsNothing) {
  cluster_.AddMany(3, [](Options& options) { options.window_bytes_max = 0; });
  cluster_.PeerUp(1, 2);
  cluster_.PeerUp(1, 3);
  cluster_.Campaign(1);
  cluster_.Settle();
  cluster_.Run(5);
  cluster_.Partition({3});
  for (int i = 0; i < 5; ++i) {
    Propose();
    cluster_.Settle();
  }
  cluster_.Drop([](const Packet&) { return true; });
  cluster_.Heal();
  cluster_.node(1).disk.unreadable_with = "bad block";
  Raft& leader = cluster_.raft(1);
  leader.PeerDown(3);
  leader.PeerUp(3, 1003, true);
  ASSERT_TRUE(leader.HasReady());
  const Ready ready = leader.TakeReady();
  EXPECT_EQ(ready.failure, "bad block");
  for (const Envelope& envelope : ready.sendNow) {
    const auto* append = std::get_if<AppendEntries>(&envelope.message);
    EXPECT_TRUE(append == nullptr || append->entries.empty());
  }
  EXPECT_FALSE(leader.HasReady()) << "said once";
  converges_ = false;
}

}  // namespace
}  // namespace conclave::raft::testing
