// A member that is given a snapshot (dissertation chapter 5), with what is under way between its
// memory and its disk at that moment.

#include "tests/consensus/snapshot_member.h"

namespace conclave::raft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// --- Refusals ---

TEST_F(Receiver, ASnapshotThatEndsAtOrBeforeTheCommitIndexIsStale) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(8), 6);
  EXPECT_EQ(Refused(log.Meta(5)), InstallError::kStale);
  EXPECT_EQ(Refused(log.Meta(6)), InstallError::kStale);
  EXPECT_TRUE(Install(log.Meta(7)));
  EXPECT_EQ(Refused(log.Meta(7)), InstallError::kStale) << "the second time";
}

TEST_F(Receiver, ACandidateAndALeaderInstallNothing) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(8), 6);
  while (raft_->role() == RoleName::kFollower) {
    raft_->Tick();
  }
  EXPECT_EQ(Refused(log.Meta(10)), InstallError::kNotFollower);
  raft_->Step(1, RequestVoteReply{3, true, true, 1001, true});
  ASSERT_EQ(raft_->role(), RoleName::kCandidate);
  EXPECT_EQ(Refused(log.Meta(10)), InstallError::kNotFollower);
  Run();
  raft_->Step(1, RequestVoteReply{3, true, false, 1001, true});
  ASSERT_EQ(raft_->role(), RoleName::kLeader);
  EXPECT_EQ(Refused(Branch(log).Add(3, 5).Meta(15)), InstallError::kNotFollower);
  // One of a later term says that this leader is deposed.
  const SnapshotMeta later = Branch(log).Add(5).Meta(11);
  ASSERT_TRUE(Install(later));
  EXPECT_EQ(raft_->role(), RoleName::kFollower);
  EXPECT_EQ(raft_->currentTerm(), 5U);
  const Ready ready = Take();
  EXPECT_EQ(ready.hardState->currentTerm, 5U) << "the term is durable with the snapshot";
  ASSERT_TRUE(ready.install);
}

TEST_F(Receiver, ASnapshotOfAnotherClusterIsRefused) {
  Start(Branch().Add(1, 3), 2);
  Configuration other = Members();
  other.clusterId = {8};
  EXPECT_EQ(Refused(Branch(other).Add(1, 9).Meta(8)), InstallError::kOtherCluster);
}

TEST_F(Receiver, ASnapshotThatContradictsWhatIsKnownIsRefused) {
  Branch log = Branch().Add(1, 3);
  log.AddConfiguration(1, Members(1002, MemberKind::kLearner)).Add(1, 5);
  Start(log.Until(8), 6);
  SnapshotMeta older = log.Meta(10);
  older.configuration = log.Meta(4).configuration;
  EXPECT_EQ(Refused(older), InstallError::kMalformed) << "a newer configuration is committed";
  SnapshotMeta other = log.Meta(7);
  other.chain += 1;
  EXPECT_EQ(Refused(other), InstallError::kMalformed) << "one entry, two contents";
  other = log.Meta(7);
  other.configuration.index = 6;
  EXPECT_EQ(Refused(other), InstallError::kMalformed) << "the log has the entry and says otherwise";
  other = log.Meta(10);
  other.configuration.index = 0;
  EXPECT_EQ(Refused(other), InstallError::kMalformed);
  other.configuration.index = 11;
  EXPECT_EQ(Refused(other), InstallError::kMalformed);
  other = log.Meta(10);
  other.configuration.configuration.members.clear();
  EXPECT_EQ(Refused(other), InstallError::kMalformed);
  other = log.Meta(10);
  other.last.term = 0;
  EXPECT_EQ(Refused(other), InstallError::kMalformed);
  other = log.Meta(10);
  other.last.index = std::uint64_t{1} << 62;
  EXPECT_EQ(Refused(other), InstallError::kMalformed);
  other = log.Meta(10);
  other.last.term = std::uint64_t{1} << 62;
  EXPECT_EQ(Refused(other), InstallError::kMalformed);
}

// --- The log ---

TEST_F(Receiver, AnEmptyMemberStartsBehindTheSnapshot) {
  const Branch log = Branch().Add(2, 9);
  StartFromDisk();
  ASSERT_TRUE(Install(log.Meta(8)));
  EXPECT_EQ(status().durableIndex, 0U) << "not before it is written";
  const Ready ready = Take();
  ASSERT_TRUE(ready.install);
  EXPECT_EQ(ready.install->meta, log.Meta(8));
  EXPECT_FALSE(ready.install->log_kept);
  EXPECT_TRUE(ready.needs_persist());
  EXPECT_TRUE(ready.hardState->clusterStarted) << "an empty member learns that there is a cluster";
  EXPECT_EQ(ready.hardState->clusterId, kCluster);
  EXPECT_EQ(ready.hardState->currentTerm, 2U);
  EXPECT_THAT(ready.append, IsEmpty());
  EXPECT_THAT(ready.committed, IsEmpty()) << "the snapshot stands for them";
  Durable(ready);
  EXPECT_EQ(status().durableIndex, 8U);
  EXPECT_EQ(status().commitIndex, 8U);
  EXPECT_EQ(status().firstIndex, 9U);
  EXPECT_EQ(status().last, (EntryId{2, 8}));
  EXPECT_EQ(status().configuration, log.Meta(8).configuration);
  raft_->Applied(8);
  raft_->Step(1, log.Append(2, 8, 10, 10));
  EXPECT_THAT(Indices(Take().committed), ElementsAre(9, 10));
}

TEST_F(Receiver, AMatchingSuffixIsKept) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 4);
  Run();
  ASSERT_FALSE(raft_->HasReady());
  ASSERT_TRUE(Install(log.Meta(8)));
  ASSERT_TRUE(raft_->HasReady()) << "though neither the hard state nor the log has news";
  EXPECT_EQ(status().last, (EntryId{2, 10}));
  EXPECT_EQ(status().firstIndex, 9U);
  EXPECT_EQ(status().durableIndex, 10U) << "what was durable stays so";
  const Ready ready = Take();
  ASSERT_TRUE(ready.install);
  EXPECT_TRUE(ready.install->log_kept);
  EXPECT_THAT(ready.append, IsEmpty());
  Durable(ready);
  EXPECT_EQ(disk_.last_index(), 10U);
  EXPECT_EQ(disk_.start.index, 8U);
}

TEST_F(Receiver, AConflictingLogIsEmptied) {
  const Branch common = Branch().Add(2, 3);
  const Branch log = Branch(common).Add(4, 6);
  Start(Branch(common).Add(3, 8), 4);  // 5 to 12 are of a leader of term 3 that was deposed.
  ASSERT_TRUE(Install(log.Meta(8)));
  EXPECT_EQ(status().last, (EntryId{4, 8}));
  EXPECT_EQ(status().durableIndex, 4U) << "of what is committed, that is what the disk has";
  const Ready ready = Take();
  EXPECT_FALSE(ready.install->log_kept);
  EXPECT_EQ(ready.truncateFrom, 0U);
  EXPECT_EQ(ready.hardState->currentTerm, 4U);
  Durable(ready);
  EXPECT_EQ(status().durableIndex, 8U);
  EXPECT_EQ(disk_.last_index(), 8U);
}

TEST_F(Receiver, AShorterLogIsEmptied) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(6), 4);
  ASSERT_TRUE(Install(log.Meta(8)));
  Run();
  EXPECT_TRUE(disk_.entries.empty());
  EXPECT_EQ(disk_.start, (EntryId{2, 8}));
}

TEST_F(Receiver, AKeptSuffixThatIsNotOnItsWayToTheDiskIsWrittenBehind) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(4), 4);
  raft_->Step(1, log.Append(2, 4, 10, 4));  // In memory; no Ready has it yet.
  ASSERT_TRUE(Install(log.Meta(8)));
  EXPECT_EQ(status().last, (EntryId{2, 10}));
  const Ready ready = Take();
  EXPECT_FALSE(ready.install->log_kept) << "nothing above 8 is on the disk";
  EXPECT_THAT(Indices(ready.append), ElementsAre(9, 10));
  EXPECT_EQ(Replies(ready.sendAfterPersist).at(0).matched, (EntryId{2, 10}));
  Durable(ready);
  EXPECT_EQ(status().durableIndex, 10U);
}

TEST_F(Receiver, APendingTruncationGoesWithTheLogItCuts) {
  const Branch common = Branch().Add(2, 3);
  const Branch log = Branch(common).Add(4, 6);
  Start(Branch(common).Add(3, 8), 4);
  raft_->Step(1, log.Append(4, 4, 6, 4));  // Truncates from 5; not taken yet.
  ASSERT_TRUE(Install(log.Meta(8)));
  const Ready ready = Take();
  EXPECT_FALSE(ready.install->log_kept);
  EXPECT_EQ(ready.truncateFrom, 0U);
  Durable(ready);
  EXPECT_EQ(disk_.last_index(), 8U);
}

TEST_F(Receiver, ATruncationAboveTheSnapshotFollowsIt) {
  const Branch common = Branch().Add(2, 7);  // Up to 8.
  const Branch log = Branch(common).Add(4, 3);
  Start(Branch(common).Add(3, 4), 4);
  raft_->Step(1, log.Append(4, 8, 10, 4));  // Truncates from 9; not taken yet.
  ASSERT_TRUE(Install(log.Meta(7)));
  const Ready ready = Take();
  EXPECT_TRUE(ready.install->log_kept);
  EXPECT_EQ(ready.truncateFrom, 9U);
  EXPECT_THAT(Indices(ready.append), ElementsAre(9, 10));
  Durable(ready);
  EXPECT_EQ(disk_.last_index(), 10U);
  EXPECT_EQ(disk_.entries.back().term, 4U);
}

TEST_F(Receiver, OfTwoInstallationsInOneReadyTheLaterOneCounts) {
  const Branch log = Branch().Add(2, 19);
  Start(log.Until(4), 4);
  ASSERT_TRUE(Install(log.Meta(8)));
  raft_->Step(1, log.Append(2, 8, 12, 8));
  ASSERT_TRUE(Install(log.Meta(10)));
  const Ready ready = Take();
  EXPECT_EQ(ready.install->meta.last.index, 10U);
  EXPECT_FALSE(ready.install->log_kept) << "11 and 12 were never written";
  EXPECT_THAT(Indices(ready.append), ElementsAre(11, 12));
  Durable(ready);
}

TEST_F(Receiver, AnInstallationWhileAnotherIsOnItsWayToTheDisk) {
  const Branch log = Branch().Add(2, 19);
  Start(log.Until(4), 4);
  ASSERT_TRUE(Install(log.Meta(8)));
  const Ready first = Take();
  ASSERT_TRUE(Install(log.Meta(12)));
  const Ready second = Take();
  Durable(first);
  EXPECT_EQ(status().durableIndex, 8U);
  raft_->Applied(8);
  EXPECT_FALSE(raft_->HasReady());
  Durable(second);
  EXPECT_EQ(status().durableIndex, 12U);
  raft_->Applied(12);
  EXPECT_EQ(disk_.start.index, 12U);
}

// --- Durability and acknowledgements ---

TEST_F(Receiver, NothingIsAcknowledgedBeforeTheSnapshotIsDurable) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(4), 4);
  ASSERT_TRUE(Install(log.Meta(8)));
  const Ready install = Take();
  raft_->Step(1, log.Append(2, 8, 8, 8));  // A heartbeat.
  const auto now = Replies(Take().sendNow);
  ASSERT_EQ(now.size(), 1U) << "it is answered at once";
  EXPECT_TRUE(now[0].success);
  EXPECT_EQ(now[0].matched, EntryId{}) << "and says nothing of the snapshot";
  raft_->Step(1, log.Append(2, 8, 10, 10));
  const Ready entries = Take();
  EXPECT_THAT(Replies(entries.sendNow), IsEmpty());
  EXPECT_EQ(Replies(entries.sendAfterPersist).at(0).matched, (EntryId{2, 10}));
  Durable(install);
  raft_->Step(1, log.Append(2, 8, 8, 8));
  EXPECT_EQ(Replies(Take().sendNow).at(0).matched, (EntryId{2, 8}));
  Durable(entries);
}

TEST_F(Receiver, EarlierWritesSayNothingOfTheEntriesBehindTheSnapshot) {
  const Branch common = Branch().Add(2, 3);
  const Branch log = Branch(common).Add(4, 20);
  const Branch other = Branch(common).Add(3, 11);  // Up to 15.
  Start(common, 4);
  raft_->Step(3, other.Append(3, 4, 15, 4));
  const Ready old_entries = Take();  // 5 to 15 of term 3, on their way to the disk.
  ASSERT_TRUE(Install(log.Meta(8)));
  const Ready install = Take();
  raft_->Step(1, log.Append(4, 8, 15, 8));
  const Ready new_entries = Take();
  Durable(old_entries);
  EXPECT_EQ(status().durableIndex, 4U) << "what is durable of term 3 is not what follows 8 now";
  raft_->Step(1, log.Append(4, 15, 15, 8));
  const Ready heartbeat = Take();  // Its answer waits, as term 4 is not durable either.
  EXPECT_EQ(Replies(heartbeat.sendAfterPersist).at(0).matched, EntryId{});
  Durable(install);
  EXPECT_EQ(status().durableIndex, 8U);
  Durable(new_entries);
  EXPECT_EQ(status().durableIndex, 15U);
}

TEST_F(Receiver, AcknowledgementsOfEntriesThatAreDroppedAreNotSent) {
  const Branch common = Branch().Add(2, 3);
  const Branch log = Branch(common).Add(4, 6);
  Start(common, 4);
  disk_.hardState.currentTerm = 4;
  StartFromDisk();
  // An entry of term 3 that a leader of term 4 passes on and never commits; then a snapshot that
  // says otherwise, as only a leader of a later term can make one.
  Branch other = Branch(common).Add(3, 2);
  raft_->Step(1, other.Append(4, 4, 6, 4));
  ASSERT_TRUE(Install(log.Meta(8)));
  const Ready ready = Take();
  EXPECT_THAT(Replies(ready.sendNow), IsEmpty());
  EXPECT_THAT(Replies(ready.sendAfterPersist), IsEmpty()) << "6@3 will never be on this disk";
}

TEST_F(Receiver, ATruncationAfterTheInstallationEndsAtItsStart) {
  const Branch log = Branch().Add(2, 7);
  StartFromDisk();
  ASSERT_TRUE(Install(log.Meta(8)));
  raft_->Step(1, Branch(log).Add(2, 3).Append(2, 8, 11, 8));
  Run();
  ASSERT_EQ(status().last, (EntryId{2, 11}));
  raft_->Step(3, Branch(log).Add(5, 1).Append(5, 8, 9, 8));
  EXPECT_EQ(status().last, (EntryId{5, 9}));
  EXPECT_EQ(status().durableIndex, 8U);
  Run();
  EXPECT_EQ(disk_.last_index(), 9U);
}

TEST_F(Receiver, ARejectionHintsAtNothingBeforeTheStart) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(8), 8, 8);
  raft_->Step(1, AppendEntries{4, 20, 4, {}, 8, 1, 1002});
  const auto reply = Replies(Take().sendNow);
  EXPECT_THAT(reply, IsEmpty()) << "the term is not durable yet";
  raft_->Persisted(1);
  Run();
  raft_->Step(1, AppendEntries{4, 20, 4, {}, 8, 1, 1002});
  EXPECT_EQ(Replies(Take().sendNow).at(0).hint, (EntryId{2, 8}));
}

// --- Applying ---

TEST_F(Receiver, NothingIsHandedOutUntilTheSnapshotIsInTheStateMachine) {
  const Branch log = Branch().Add(2, 19);
  Start(log.Until(6), 2);
  raft_->Step(1, log.Append(2, 6, 6, 6));
  const Ready before = Take();
  EXPECT_THAT(Indices(before.committed), ElementsAre(3, 4, 5, 6)) << "and none of them is applied";
  ASSERT_TRUE(Install(log.Meta(8)));
  Durable(Take());
  raft_->Step(1, log.Append(2, 8, 12, 12));
  Ready ready = Take();
  EXPECT_THAT(ready.committed, IsEmpty());
  Durable(ready);
  raft_->Applied(5);  // The driver may finish what it has, or drop it.
  EXPECT_FALSE(raft_->HasReady());
  raft_->Applied(8);
  ASSERT_TRUE(raft_->HasReady());
  EXPECT_THAT(Indices(Take().committed), ElementsAre(9, 10, 11, 12));
}

// --- Configurations ---

TEST_F(Receiver, ANewerConfigurationInTheKeptSuffixStaysInForce) {
  Branch log = Branch().Add(1, 5);
  log.Add(1, 1).AddConfiguration(1, Members(1002, MemberKind::kLearner)).Add(1);  // At 8.
  Start(log, 3);
  ASSERT_EQ(status().configuration.index, 8U);
  ASSERT_TRUE(Install(log.Meta(6)));
  EXPECT_EQ(status().configuration.index, 8U);
  EXPECT_EQ(status().configuration.configuration.members[1].kind, MemberKind::kLearner);
  Run();
  // It is rolled back to the snapshot's when its entry is truncated, and no further.
  Branch other = log.Until(7).Add(3, 3);
  raft_->Step(3, other.Append(3, 7, 10, 7));
  EXPECT_EQ(status().configuration.index, 1U);
  EXPECT_EQ(status().configuration.configuration, Members());
  Run();
  StartFromDisk();
  EXPECT_EQ(status().configuration.index, 1U);
}

TEST_F(Receiver, TheSnapshotsConfigurationReplacesThatOfADroppedLog) {
  const Branch common = Branch().Add(1, 2);
  Branch mine = Branch(common).AddConfiguration(1, Members(1002, MemberKind::kLearner)).Add(1, 6);
  Branch log = Branch(common).Add(2, 3);
  Configuration bigger = Members();
  bigger.members.push_back(Of(4, 1004, MemberKind::kLearner));
  log.AddConfiguration(2, bigger).Add(2, 3);
  Start(mine, 3);
  ASSERT_EQ(status().configuration.index, 4U);
  ASSERT_TRUE(Install(log.Meta(9)));
  EXPECT_EQ(status().configuration, log.Meta(9).configuration);
  Run();
  StartFromDisk();
  EXPECT_EQ(status().configuration, log.Meta(9).configuration);
}

// --- Incarnations (rule 11) ---

TEST_F(Receiver, AMemberWhoseDiskIsNotTheKnownOneInstallsNothing) {
  const Branch log = Branch(Members(2002)).Add(2, 9);  // It is known as 2002, and is 1002.
  StartFromDisk();
  EXPECT_EQ(Refused(log.Meta(8)), InstallError::kIncarnation) << "the snapshot says so";
  AppendEntries append = log.Append(2, 10, 10, 10);
  append.followerIncarnation = 2002;
  raft_->Step(1, append);
  ASSERT_TRUE(status().incarnation_refused);
  EXPECT_EQ(Refused(Branch().Add(2, 9).Meta(8)), InstallError::kIncarnation) << "its leader does";
  EXPECT_THAT(Replies(Take().sendNow), IsEmpty());
}

TEST_F(Receiver, ALearnerIsServedThoughTheSnapshotNamesTheDiskItLost) {
  // Known as 2002 when the snapshot was taken; re-admitted since, as a learner with this disk.
  Branch log = Branch(Members(2002)).Add(2, 9);
  StartFromDisk();
  raft_->Step(1, log.Append(2, 10, 10, 10));  // The leader names this incarnation in it.
  EXPECT_FALSE(status().incarnation_refused);
  Run();
  ASSERT_TRUE(Install(log.Meta(8)));
  Run();
  log.AddConfiguration(2, Members(2002)).AddConfiguration(2, Members(1002, MemberKind::kLearner));
  raft_->Step(1, log.Append(2, 8, 11, 11));
  Ready ready = Take();
  EXPECT_EQ(Replies(ready.sendAfterPersist).at(0).matched, (EntryId{2, 11})) << "acknowledged";
  Durable(ready);
  for (int i = 0; i < 500; ++i) {
    raft_->Tick();
    Run();
  }
  EXPECT_EQ(status().counters.prevotes_started, 0U) << "not while it is known with another disk";
  // A restart finds the other incarnation in its log, until the leader is heard.
  StartFromDisk();
  EXPECT_TRUE(status().incarnation_refused);
  raft_->Step(1, log.Append(2, 11, 12, 12));
  EXPECT_FALSE(status().incarnation_refused);
  Run();
  EXPECT_EQ(status().commitIndex, 12U);
  EXPECT_EQ(status().configuration.index, 12U);
}

}  // namespace
}  // namespace conclave::raft::testing
