#pragma once

// One member under test, whose disk, leader and driver are played by the test.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {

inline constexpr ClusterId kCluster{7};

inline Member Of(MemberId id, Incarnation incarnation, MemberKind kind) {
  Member member;
  member.id = id;
  member.incarnation = incarnation;
  member.kind = kind;
  return member;
}

inline Configuration Members(Incarnation second = 1002, MemberKind kind = MemberKind::kVoter) {
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

}  // namespace conclave::raft::testing
