// A member that restarts from a checkpoint, compacts its log, or cannot read it.

#include "tests/consensus/snapshot_member.h"

namespace conclave::raft::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// --- Restart ---

TEST_F(Receiver, ARestartGoesOnBehindTheCheckpoint) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 6, 4);
  EXPECT_EQ(status().firstIndex, 5U);
  EXPECT_EQ(status().commitIndex, 6U);
  EXPECT_EQ(status().lastApplied, 6U);
  EXPECT_EQ(status().durableIndex, 10U);
  EXPECT_EQ(status().configuration.index, 1U);
  EXPECT_EQ(raft_->ChainAt(4), log.At(4).chain) << "of the start the chain is known";
  EXPECT_EQ(raft_->ChainAt(3), std::nullopt);
  raft_->Step(1, log.Append(2, 10, 10, 9));
  EXPECT_THAT(Indices(Take().committed), ElementsAre(7, 8, 9)) << "what the checkpoint has not";
}

TEST_F(Receiver, ARestartWithAnEmptyLogKnowsItsStart) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 10, 10);
  EXPECT_EQ(status().last, (EntryId{2, 10}));
  EXPECT_FALSE(Take().failure);
  raft_->Step(1, Branch(log).Add(3).Append(3, 10, 11, 10));
  Run();
  EXPECT_EQ(status().last, (EntryId{3, 11})) << "prev is the start, and matches";
}

TEST_F(Receiver, ARestartLearnsTheClusterFromTheCheckpoint) {
  disk_.hardState = {2, 0, false, {}};
  const Branch log = Branch().Add(2, 3);
  disk_.entries = log.entries();
  disk_.snapshot = Snapshot{log.Meta(4), 0};
  disk_.Compact(4);
  StartFromDisk();
  EXPECT_TRUE(status().hardState.clusterStarted);
  EXPECT_EQ(status().hardState.clusterId, kCluster);
}

TEST_F(Receiver, WhatDoesNotFitTogetherIsNotRestored) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 6, 4);
  const auto restore = [&](const std::function<void(Restored&)>& spoil) {
    Restored restored = disk_.Restore(SIZE_MAX);
    spoil(restored);
    const Raft raft(options(), std::move(restored), disk_, random_);
  };
  EXPECT_DEATH(restore([](Restored& r) { r.configurations.clear(); }), "configuration");
  EXPECT_DEATH(restore([](Restored& r) { r.configurations[0].index = 5; }), "start is missing");
  EXPECT_DEATH(restore([](Restored& r) {
                 r.configurations.push_back({11, r.configurations[0].configuration});
               }),
               "not in the log");
  EXPECT_DEATH(restore([](Restored& r) { r.commitIndex = 11; }), "restored indices");
  EXPECT_DEATH(restore([](Restored& r) { r.lastApplied = 3; }), "restored indices");
  EXPECT_DEATH(restore([](Restored& r) { r.tail.erase(r.tail.begin() + 1); }), "dense");
}

// --- Compaction ---

TEST_F(Receiver, CompactionMovesTheStart) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 8);
  raft_->Compact(5);
  disk_.Compact(5);
  EXPECT_EQ(status().firstIndex, 6U);
  EXPECT_EQ(raft_->ChainAt(5), log.At(5).chain);
  EXPECT_EQ(raft_->ChainAt(4), std::nullopt);
  raft_->Compact(5);
  raft_->Compact(2);
  EXPECT_EQ(status().firstIndex, 6U) << "never back";
  raft_->Compact(8);
  disk_.Compact(8);
  EXPECT_EQ(status().firstIndex, 9U);
  EXPECT_EQ(status().last, (EntryId{2, 10}));
}

TEST_F(Receiver, CompactionReadsWhatMemoryNoLongerHas) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 8);
  StartFromDisk(1);
  raft_->Compact(5);
  disk_.Compact(5);
  EXPECT_EQ(raft_->ChainAt(5), log.At(5).chain);
  EXPECT_EQ(raft_->ChainAt(9), log.At(9).chain);
}

TEST_F(Receiver, OnlyWhatIsAppliedAndDurableIsCompacted) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(6), 4);
  EXPECT_DEATH(raft_->Compact(5), "applied 4");
  raft_->Step(1, log.Append(2, 6, 10, 10));
  const Ready first = Take();
  raft_->Applied(first.committed.back().index);
  EXPECT_EQ(status().lastApplied, 10U);
  EXPECT_DEATH(raft_->Compact(7), "durable 6");
  raft_->Compact(6);
  EXPECT_EQ(status().firstIndex, 7U);
}

TEST_F(Receiver, AnAppendFromBeforeTheStartIsAcknowledged) {
  const Branch log = Branch().Add(2, 9);
  Start(log.Until(8), 8, 8);
  raft_->Step(1, log.Append(2, 3, 6, 6));
  EXPECT_EQ(Replies(Take().sendNow).at(0).matched, (EntryId{2, 8})) << "committed: in every leader";
  raft_->Step(1, log.Append(2, 3, 10, 8));
  const Ready ready = Take();
  EXPECT_THAT(Indices(ready.append), ElementsAre(9, 10)) << "an overlap is cut";
  Durable(ready);
}

TEST_F(Receiver, ACheckpointIsDescribedWithTheConfigurationOfItsIndex) {
  Branch log = Branch().Add(1, 3);
  log.AddConfiguration(1, Members(1002, MemberKind::kLearner)).Add(1, 3);
  Start(log);
  raft_->Step(1, log.Append(1, 8, 8, 7));
  ASSERT_EQ(Take().committed.size(), 7U);
  raft_->Applied(3);
  EXPECT_EQ(raft_->MetaAt(4), log.Meta(4));
  EXPECT_EQ(raft_->MetaAt(5), log.Meta(5));
  EXPECT_EQ(raft_->MetaAt(7), log.Meta(7));
  raft_->Applied(6);
  EXPECT_EQ(raft_->MetaAt(4), std::nullopt) << "the configuration of then is forgotten";
  EXPECT_EQ(raft_->MetaAt(6), log.Meta(6));
  EXPECT_DEATH((void)raft_->MetaAt(8), "Check failed");
}

// --- A log that cannot be read ---

TEST_F(Receiver, AnUnreadableLogStopsTheMember) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 4);
  StartFromDisk(1);
  disk_.unreadable_with = "bad block";
  raft_->Step(1, log.Append(2, 10, 10, 10));
  ASSERT_TRUE(raft_->HasReady());
  const Ready ready = Take();
  EXPECT_THAT(ready.committed, IsEmpty()) << "entry 5 is on the disk alone";
  EXPECT_EQ(ready.failure, "bad block");
  EXPECT_FALSE(raft_->HasReady()) << "said once";
  raft_->Tick();
  EXPECT_EQ(Take().failure, "bad block") << "but in every Ready that is taken";
}

TEST_F(Receiver, AnEntryMissingFromTheLogIsAFailure) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 4);
  StartFromDisk(1);
  disk_.entries.erase(disk_.entries.begin() + 4, disk_.entries.end());
  raft_->Step(1, log.Append(2, 10, 10, 10));
  const Ready ready = Take();
  EXPECT_THAT(ready.committed, IsEmpty());
  EXPECT_TRUE(ready.failure);
}

TEST_F(Receiver, AnUnreadableLogIsNotTruncated) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 4);
  StartFromDisk(1);
  disk_.unreadable_with = "bad block";
  raft_->Step(3, log.Until(6).Add(3, 2).Append(3, 6, 8, 4));
  EXPECT_EQ(status().last, (EntryId{2, 10})) << "nothing is changed";
  const Ready ready = Take();
  EXPECT_EQ(ready.truncateFrom, 0U);
  EXPECT_THAT(Replies(ready.sendNow), IsEmpty());
  EXPECT_THAT(Replies(ready.sendAfterPersist), IsEmpty());
  EXPECT_EQ(ready.failure, "bad block");
}

TEST_F(Receiver, AnUnreadableLogIsNeitherCompactedNorReplaced) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 8);
  StartFromDisk(1);
  disk_.unreadable_with = "bad block";
  raft_->Compact(5);
  EXPECT_EQ(status().firstIndex, 1U);
  EXPECT_EQ(raft_->MetaAt(6), std::nullopt);
  EXPECT_EQ(Refused(log.Meta(9)), InstallError::kUnreadable);
  EXPECT_EQ(Take().failure, "bad block");
}

TEST_F(Receiver, AnUnreadableLogIsSaidAtTheStart) {
  const Branch log = Branch().Add(2, 9);
  Start(log, 8);
  Restored restored = disk_.Restore(1);
  disk_.unreadable_with = "bad block";
  raft_ = std::make_unique<Raft>(options(), std::move(restored), disk_, random_);
  ASSERT_TRUE(raft_->HasReady());
  EXPECT_EQ(Take().failure, "bad block");
}

}  // namespace
}  // namespace conclave::raft::testing
