// Snapshots and log compaction: dissertation chapter 5. The state of the state machine is the
// driver's; here is what it means for the log, the configurations and the peers.

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

const char* ToString(InstallError error) {
  switch (error) {
    case InstallError::kStale:
      return "stale";
    case InstallError::kNotFollower:
      return "not a follower";
    case InstallError::kIncarnation:
      return "this member's disk is not the one the cluster knows";
    case InstallError::kOtherCluster:
      return "of another cluster";
    case InstallError::kMalformed:
      return "malformed";
    case InstallError::kUnreadable:
      return "the log cannot be read";
  }
  return "unknown";
}

const IndexedConfiguration& Raft::Core::ConfigAt(Index index) const {
  const auto after = std::upper_bound(
      configs_.begin(), configs_.end(), index,
      [](Index wanted, const IndexedConfiguration& config) { return wanted < config.index; });
  return after == configs_.begin() ? configs_.front() : *std::prev(after);
}

void Raft::Core::ForgetConfigurations() {
  while (configs_.size() > 1 && configs_[1].index <= lastApplied_) {
    configs_.erase(configs_.begin());
  }
}

std::optional<SnapshotMeta> Raft::Core::MetaAt(Index index) const {
  CHECK(log_.start().index <= index && index <= commitIndex_);
  const auto term = log_.TermAt(index);
  const auto chain = log_.ChainAt(index);
  const IndexedConfiguration& configuration = ConfigAt(index);
  if (!term || !chain || configuration.index == 0 || configuration.index > index) {
    return std::nullopt;
  }
  return SnapshotMeta{{*term, index}, *chain, configuration};
}

// --- Compaction ---

void Raft::Core::Compact(Index through) {
  if (through <= log_.start().index) {
    return;  // An installed snapshot has overtaken it.
  }
  CHECK(through <= lastApplied_ && through <= durableIndex_)
      << "compacts through " << through << ", applied " << lastApplied_ << ", durable "
      << durableIndex_;
  const auto term = log_.TermAt(through);
  const auto chain = log_.ChainAt(through);
  if (!term || !chain) {
    return;  // Unreadable; said in failure.
  }
  log_.Compact({*term, through}, *chain);
}

// --- Leader ---

bool Raft::Core::AwaitsSnapshot(Progress& peer) {
  if (!peer.snapshotting) {
    // That nextIndex is no longer in the log does not mean that the peer is not: nextIndex is a
    // guess until it is confirmed. A probe at the log's start decides.
    if (peer.nextIndex <= log_.start().index) {
      peer.BecomeProbing(log_.start().index + 1);
    }
    return false;
  }
  if (peer.reachable && !peer.snapshot_asked && !peer.snapshot_waits) {
    peer.snapshot_asked = true;
    send_snapshot_.push_back(peer.id);
    ++counters_.snapshots_asked;
  }
  return true;
}

void Raft::Core::SnapshotSent(MemberId peer, EntryId last) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    return;
  }
  for (Progress& progress : leader->peers) {
    if (progress.id != peer || !progress.snapshotting) {
      continue;
    }
    if (last.index < log_.start().index || !log_.Matches(last)) {
      SnapshotFailed(peer);  // The log has been compacted beyond it meanwhile.
      return;
    }
    // No more than a better guess: what the peer has, it says itself, with its incarnation.
    progress.BecomeProbing(std::max(last.index, progress.matchIndex) + 1);
    leader->send_pending = true;
  }
}

void Raft::Core::SnapshotFailed(MemberId peer) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    return;
  }
  for (Progress& progress : leader->peers) {
    if (progress.id == peer && progress.snapshotting) {
      progress.snapshot_asked = false;
      progress.snapshot_waits = true;
    }
  }
}

// --- Receiver ---

std::optional<InstallError> Raft::Core::RefusesSnapshot(const SnapshotMeta& meta) {
  const Configuration& configuration = meta.configuration.configuration;
  if (meta.last.index >= kNumberMax || meta.last.term >= kNumberMax || meta.last.term == 0 ||
      meta.configuration.index == 0 || meta.configuration.index > meta.last.index ||
      configuration.voter_count() == 0) {
    return InstallError::kMalformed;
  }
  if (meta.last.index <= commitIndex_) {
    return InstallError::kStale;
  }
  if (hard_.clusterId != ClusterId{} && hard_.clusterId != configuration.clusterId) {
    return InstallError::kOtherCluster;
  }
  const auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr && meta.last.term <= hard_.currentTerm) {
    return InstallError::kNotFollower;
  }
  // A snapshot may be older than this member's re-admission and still name its lost disk; then only
  // a leader that has been heard, and so names this one, vouches for it.
  const Member* self = configuration.Find(options_.id);
  const bool vouched = follower != nullptr && follower->leader != 0;
  if (incarnation_refused_ || (!vouched && self != nullptr && self->incarnation != 0 &&
                               self->incarnation != options_.incarnation)) {
    return InstallError::kIncarnation;
  }
  // What is committed here and what is committed there cannot differ.
  bool contradicts = ConfigAt(commitIndex_).index > meta.configuration.index;
  if (log_.Matches(meta.last)) {
    contradicts = contradicts || log_.ChainAt(meta.last.index) != meta.chain ||
                  !(ConfigAt(meta.last.index) == meta.configuration);
  }
  if (log_.failure()) {
    return InstallError::kUnreadable;
  }
  return contradicts ? std::optional(InstallError::kMalformed) : std::nullopt;
}

tl::expected<void, InstallError> Raft::Core::InstallSnapshot(const SnapshotMeta& meta) {
  if (const auto error = RefusesSnapshot(meta)) {
    ++counters_.snapshots_refused;
    return tl::unexpected(*error);
  }
  ++counters_.snapshots_installed;
  if (meta.last.term > hard_.currentTerm) {
    BecomeFollower(meta.last.term, 0);
  }
  const bool contained = log_.Matches(meta.last);
  // What is not on its way to the disk yet leaves in the same Ready, behind the installation.
  const bool kept = contained && handedToDisk_ >= meta.last.index;
  if (contained) {
    log_.Compact(meta.last, meta.chain);
    std::erase_if(configs_, [&](const IndexedConfiguration& config) {
      return config.index <= meta.last.index || CONCLAVE_MUTANT(20);
    });
    configs_.insert(configs_.begin(), meta.configuration);
  } else {
    // No entry above can be of use: it does not continue what is committed.
    log_.Reset(meta.last, meta.chain);
    configs_.assign(1, meta.configuration);
    durableIndex_ = std::min(durableIndex_, commitIndex_);
    for (InFlight& write : in_flight_) {
      write.last = std::min(write.last, commitIndex_);
    }
    std::erase_if(send_after_persist_, [](const Envelope& envelope) {
      return std::holds_alternative<AppendEntriesReply>(envelope.message);
    });
  }
  if (!kept) {
    truncate_pending_ = 0;
    handedToDisk_ = meta.last.index;
  }
  NoteConfiguration(meta.configuration.configuration);
  install_ = Install{meta, kept};
  commitIndex_ = handedToApply_ = meta.last.index;
  LearnClusterStarted();
  LearnClusterId();
  return {};
}

// --- Raft ---

std::optional<SnapshotMeta> Raft::MetaAt(Index index) const { return core_->MetaAt(index); }

void Raft::Compact(Index through) {
  core_->Compact(through);
  core_->CheckSelf();
}

tl::expected<void, InstallError> Raft::InstallSnapshot(const SnapshotMeta& meta) {
  auto result = core_->InstallSnapshot(meta);
  core_->CheckSelf();
  return result;
}

void Raft::SnapshotSent(MemberId peer, EntryId last) {
  core_->SnapshotSent(peer, last);
  core_->CheckSelf();
}

void Raft::SnapshotFailed(MemberId peer) {
  core_->SnapshotFailed(peer);
  core_->CheckSelf();
}

}  // namespace conclave::raft
