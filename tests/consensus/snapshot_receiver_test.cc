// One member that restarts from a checkpoint, compacts, or is given a snapshot (dissertation
// chapter 5), with its disk and its leader played by the test.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {
namespace {

constexpr ClusterId kCluster{7};

Member Of(MemberId id, Incarnation incarnation, MemberKind kind) {
  Member member;
  member.id = id;
  member.incarnation = incarnation;
  member.kind = kind;
  return member;
}

Configuration Members(Incarnation second = 1002, MemberKind kind = MemberKind::kVoter) {
  Configuration configuration;
  configuration.clusterId = kCluster;
  configuration.members = {Of(1, 1001, MemberKind::kVoter), Of(2, second, kind),
                           Of(3, 1003, MemberKind::kVoter)};
  return configuration;
}

/// A log as a leader has it: entry 1 is the configuration, then commands.
class Branch {
 public:
  explicit Branch(Configuration first = Members()) { AddConfiguration(1, std::move(first)); }

  Branch& Add(Term term, int count = 1) {
    for (int i = 0; i < count; ++i) {
      Push({term, last().index + 1, EntryKind::kCommand, 0,
            std::make_shared<const std::string>("e" + std::to_string(last().index + 1))});
    }
    return *this;
  }

  Branch& AddConfiguration(Term term, Configuration configuration) {
    Push({term, last().index + 1, EntryKind::kConfig, 0,
          std::make_shared<const std::string>(configuration.Encode())});
    configurations_.push_back({last().index, std::move(configuration)});
    return *this;
  }

  /// The same up to `index`, and nothing after it.
  Branch Until(Index index) const {
    Branch result = *this;
    result.entries_.resize(index);
    std::erase_if(result.configurations_,
                  [&](const IndexedConfiguration& known) { return known.index > index; });
    return result;
  }

  EntryId last() const { return entries_.empty() ? EntryId{} : entries_.back().id(); }

  const std::vector<Entry>& entries() const { return entries_; }

  const Entry& At(Index index) const { return entries_.at(index - 1); }

  SnapshotMeta Meta(Index index) const {
    SnapshotMeta meta{At(index).id(), At(index).chain, {}};
    for (const IndexedConfiguration& known : configurations_) {
      if (known.index <= index) {
        meta.configuration = known;
      }
    }
    return meta;
  }

  AppendEntries Append(Term term, Index prev, Index last, Index commit) const {
    AppendEntries append{term, prev, prev == 0 ? 0 : At(prev).term, {}, commit, 5, 1002};
    append.entries.assign(entries_.begin() + static_cast<std::ptrdiff_t>(prev),
                          entries_.begin() + static_cast<std::ptrdiff_t>(last));
    return append;
  }

 private:
  void Push(Entry entry) {
    entry.chain = ChainHash(entries_.empty() ? 0 : entries_.back().chain, entry);
    entries_.push_back(std::move(entry));
  }

  std::vector<Entry> entries_;
  std::vector<IndexedConfiguration> configurations_;
};

/// Member 2; member 1 leads.
class Receiver : public ::testing::Test {
 protected:
  /// A disk with this log, of which everything up to `commit` is in a checkpoint.
  void Start(const Branch& log, Index commit = 0, Index start = 0) {
    disk_.hardState = {log.last().term, 0, true, kCluster};
    disk_.entries = log.entries();
    if (commit > 0) {
      disk_.snapshot = Snapshot{log.Meta(commit), 0};
    }
    disk_.Compact(start);
    StartFromDisk();
  }

  void StartFromDisk(std::size_t tail_max = SIZE_MAX) {
    raft_ = std::make_unique<Raft>(options(), disk_.Restore(tail_max), disk_, random_);
  }

  static Options options() {
    Options options;
    options.id = 2;
    options.incarnation = 1002;
    options.initial_members = {{1, {}}, {2, {}}, {3, {}}};
    return options;
  }

  Ready Take() { return raft_->TakeReady(); }

  void Durable(const Ready& ready) {
    disk_.Write(ready);
    ASSERT_FALSE(disk_.damage) << *disk_.damage;
    raft_->Persisted(ready.id);
  }

  /// Everything that is due is done at once.
  void Run() {
    while (raft_->HasReady()) {
      const Ready ready = Take();
      Durable(ready);
      if (ready.install) {
        raft_->Applied(ready.install->meta.last.index);
      }
      if (!ready.committed.empty()) {
        raft_->Applied(ready.committed.back().index);
      }
    }
  }

  tl::expected<void, InstallError> Install(const SnapshotMeta& meta) {
    disk_.received.push_back({meta, 0});
    return raft_->InstallSnapshot(meta);
  }

  InstallError Refused(const SnapshotMeta& meta) {
    const Status before = raft_->status();
    const auto result = Install(meta);
    EXPECT_FALSE(result);
    EXPECT_EQ(raft_->status().commitIndex, before.commitIndex);
    EXPECT_EQ(raft_->status().last, before.last);
    EXPECT_EQ(raft_->status().hardState, before.hardState);
    EXPECT_EQ(raft_->status().counters.snapshots_refused, before.counters.snapshots_refused + 1);
    return result ? InstallError{} : result.error();
  }

  static std::vector<AppendEntriesReply> Replies(const std::vector<Envelope>& envelopes) {
    std::vector<AppendEntriesReply> replies;
    for (const Envelope& envelope : envelopes) {
      if (const auto* reply = std::get_if<AppendEntriesReply>(&envelope.message)) {
        replies.push_back(*reply);
      }
    }
    return replies;
  }

  static std::vector<Index> Indices(const std::vector<Entry>& entries) {
    std::vector<Index> indices;
    for (const Entry& entry : entries) {
      indices.push_back(entry.index);
    }
    return indices;
  }

  Status status() const { return raft_->status(); }

  SeededRandom random_{3};
  Disk disk_;
  std::unique_ptr<Raft> raft_;
};

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
  EXPECT_EQ(raft_->MetaAt(4), log.Meta(4));
  EXPECT_EQ(raft_->MetaAt(5), log.Meta(5));
  EXPECT_EQ(raft_->MetaAt(7), log.Meta(7));
  raft_->Applied(6);
  EXPECT_EQ(raft_->MetaAt(4), std::nullopt) << "the configuration of then is forgotten";
  EXPECT_EQ(raft_->MetaAt(6), log.Meta(6));
  EXPECT_DEATH((void)raft_->MetaAt(8), "Check failed");
}

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
  ASSERT_TRUE(Install(log.Meta(8)));
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
