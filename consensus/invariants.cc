#include "consensus/invariants.h"

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

// --- One member ---

void Raft::Core::CheckSelf() {
  const EntryId last = log_.last();
  CHECK_GE(hard_.currentTerm, last_look_.currentTerm) << "the term fell";
  CHECK_GE(commitIndex_, last_look_.commitIndex) << "the commit index fell";
  CHECK_GE(lastApplied_, last_look_.lastApplied);
  CHECK_LE(lastApplied_, handedToApply_);
  CHECK_LE(handedToApply_, commitIndex_);
  CHECK_LE(commitIndex_, last.index) << "committed beyond the log";
  CHECK_LE(durableIndex_, handedToDisk_) << "durable, but never handed to the disk";
  CHECK_LE(handedToDisk_, last.index);
  CHECK(log_.base_index() <= durableIndex_ || log_.base_index() == log_.start().index)
      << "evicted before it was durable";
  CHECK(log_.start().index <= durableIndex_ || install_ || install_in_flight_ != 0)
      << "begins after what is not durable";
  CHECK_LE(log_.start().index, handedToApply_);
  CHECK_LE(last.term, hard_.currentTerm);
  CHECK(!configs_.empty());
  CHECK(configs_.front().index <= log_.start().index || configs_.front().index <= lastApplied_);
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader != nullptr) {
    // Leader Append-Only (figure 3.2): its log neither shrinks nor changes.
    CHECK(!last_look_.led || last_look_.currentTerm != hard_.currentTerm ||
          last.index >= last_look_.last.index);
    CHECK_LE(leader->term_start, last.index);
    CHECK_EQ(hard_.votedFor, options_.id);
    CHECK_LT(leader->uncommitted_bytes, std::size_t{1} << 60) << "counted below zero";
    for (const Progress& peer : leader->peers) {
      CHECK_LT(peer.matchIndex, peer.nextIndex) << "peer " << peer.id;
      CHECK_LE(peer.nextIndex, last.index + 1) << "peer " << peer.id;
      CHECK(!peer.snapshotting || (!peer.replicating && peer.inflight.messages() == 0));
    }
  }
  last_look_ = {hard_.currentTerm, commitIndex_, lastApplied_, leader != nullptr, last};
}

// --- All members ---

void ClusterInvariants::Fail(MemberId id, const std::string& what) {
  if (!violation_) {
    violation_ = "member " + std::to_string(id) + ": " + what;
  }
}

void ClusterInvariants::Started(MemberId id, Index applied) {
  last_[id] = {};
  last_[id].handed = applied;
}

void ClusterInvariants::Wiped(MemberId id) {
  last_[id] = {};
  on_disk_.erase(id);
  disks_.erase(id);
  std::erase_if(votes_, [&](const auto& vote) { return vote.first.first == id; });
}

void ClusterInvariants::CheckLeader(MemberId id, const Raft& raft, const Status& status,
                                    Last& last) {
  const Term term = status.hardState.currentTerm;
  const auto [known, is_new] = leaders_.emplace(term, id);
  if (known->second != id) {
    Fail(id, "R1: leads term " + std::to_string(term) + " beside member " +
                 std::to_string(known->second));
  }
  // One elected late, of a term before, need not have what was committed in a later one.
  Index before = 0;
  for (auto at = committed_by_.begin(); is_new && at != committed_by_.lower_bound(term); ++at) {
    before = std::max(before, at->second);
  }
  if (before > 0) {
    const auto chain = raft.ChainAt(before);
    if (status.last.index < before || (chain && *chain != committed_.at(before))) {
      Fail(id, "R4: elected without the committed entry " + std::to_string(before));
    }
  }
  if (last.led_term == term) {
    const auto chain = raft.ChainAt(last.led_last.index);
    if (status.last.index < last.led_last.index || (chain && *chain != last.led_chain)) {
      Fail(id, "R2: a leader's log changed at " + std::to_string(last.led_last.index));
    }
  }
  if (status.configuration.index <= status.commitIndex &&
      !status.configuration.configuration.IsVoter(id)) {
    Fail(id, "R9: leads without a vote");
  }
  last.led_term = term;
  last.led_last = status.last;
  last.led_chain = raft.ChainAt(status.last.index).value_or(0);
}

void ClusterInvariants::Observe(MemberId id, const Raft& raft) {
  const Status status = raft.status();
  Last& last = last_[id];
  if (status.hardState.currentTerm < last.term) {
    Fail(id, "R6: the term fell to " + std::to_string(status.hardState.currentTerm));
  }
  if (status.commitIndex < last.commitIndex) {
    Fail(id, "R6: the commit index fell to " + std::to_string(status.commitIndex));
  }
  last.term = status.hardState.currentTerm;
  last.commitIndex = status.commitIndex;
  commit_max_ = std::max(commit_max_, status.commitIndex);
  const auto after = configurations_.upper_bound(status.commitIndex);
  if (after != configurations_.begin() && std::prev(after)->first > status.configuration.index) {
    Fail(id, "R10: the configuration of " + std::to_string(status.configuration.index) +
                 " is in force behind that of " + std::to_string(std::prev(after)->first));
  }
  if (status.role == RoleName::kLeader) {
    CheckLeader(id, raft, status, last);
  }
}

/// An entry is looked at once others can know of it: on a disk or in a message. Before, a member
/// that crashes may make another one of the same name.
void ClusterInvariants::ObserveEntry(MemberId id, const Entry& entry) {
  const auto [known, is_new] = chains_.emplace(entry.id(), entry.chain);
  if (known->second != entry.chain) {
    Fail(id, "R3: another entry " + std::to_string(entry.index) + " of term " +
                 std::to_string(entry.term));
  }
}

void ClusterInvariants::ObserveSnapshot(MemberId id, const SnapshotMeta& meta) {
  const auto at = committed_.find(meta.last.index);
  if (at == committed_.end() || at->second != meta.chain) {
    Fail(id, "R10: a snapshot at " + std::to_string(meta.last.index) +
                 ", where no such entry is committed");
  }
  const auto after = configurations_.upper_bound(meta.last.index);
  if (after == configurations_.begin() || std::prev(after)->first != meta.configuration.index ||
      !(std::prev(after)->second == meta.configuration.configuration)) {
    Fail(id, "R10: a snapshot at " + std::to_string(meta.last.index) +
                 " with the configuration of " + std::to_string(meta.configuration.index));
  }
}

void ClusterInvariants::ObserveReady(MemberId id, const Ready& ready) {
  Last& last = last_[id];
  if (ready.install) {
    ObserveSnapshot(id, ready.install->meta);
    if (ready.install->meta.last.index <= last.handed) {
      Fail(id, "R5: installs " + std::to_string(ready.install->meta.last.index) + " behind " +
                   std::to_string(last.handed));
    }
    last.handed = ready.install->meta.last.index;
  }
  if (ready.truncateFrom != 0 && ready.truncateFrom <= last.handed) {
    Fail(id, "R5: truncates its committed entry " + std::to_string(ready.truncateFrom));
  }
  for (const Entry& entry : ready.committed) {
    if (entry.index != last.handed + 1) {
      Fail(id, "R5: hands out " + std::to_string(entry.index) + " after " +
                   std::to_string(last.handed));
    }
    last.handed = entry.index;
    const auto [known, is_new] = committed_.emplace(entry.index, entry.chain);
    if (is_new) {
      const Term term = ready.hardState ? ready.hardState->currentTerm : last.term;
      Index& highest = committed_by_[std::max({term, last.term, disks_[id].currentTerm})];
      highest = std::max(highest, entry.index);
    }
    if (known->second != entry.chain) {
      Fail(id, "R5: commits another entry at " + std::to_string(entry.index));
    }
    if (is_new && entry.kind == EntryKind::kConfig) {
      configurations_[entry.index] = Configuration::Decode(*entry.data).value_or(Configuration{});
    }
  }
}

namespace {

/// How many members have a vote in one and not in the other. One that was replaced under its id
/// counts as two.
std::size_t VotesChanged(const Configuration& before, const Configuration& after) {
  std::size_t changed = 0;
  for (const Member& member : before.members) {
    const bool voter = member.kind == MemberKind::kVoter;
    changed += voter && !after.IsVoter(member.id) ? 1 : 0;
    changed += voter && after.IsVoter(member.id) && member.incarnation != 0 &&
                       !after.Names(member.id, member.incarnation)
                   ? 2
                   : 0;
  }
  for (const Member& member : after.members) {
    changed += member.kind == MemberKind::kVoter && !before.IsVoter(member.id) ? 1 : 0;
  }
  return changed;
}

}  // namespace

void ClusterInvariants::ObserveConfigurations(MemberId id, const Ready& ready) {
  std::map<Index, Named>& log = on_disk_[id];
  if (ready.install) {
    const SnapshotMeta& meta = ready.install->meta;
    log.erase(log.begin(), ready.install->log_kept ? log.upper_bound(meta.last.index) : log.end());
    log[meta.configuration.index] = {0, meta.configuration.configuration};
  }
  if (ready.truncateFrom != 0) {
    log.erase(log.lower_bound(ready.truncateFrom), log.end());
  }
  for (const Entry& entry : ready.append) {
    if (entry.kind != EntryKind::kConfig) {
      continue;
    }
    const auto decoded = Configuration::Decode(*entry.data);
    if (!decoded) {
      Fail(id, "R9: stores a configuration that cannot be read");
      continue;
    }
    if (!log.empty()) {
      const auto& [index, before] = *log.rbegin();
      const auto committed = committed_.find(index);
      const bool other =
          before.chain != 0 && committed != committed_.end() && committed->second != before.chain;
      if (index > commit_max_ || other) {
        Fail(id, "R9: a configuration at " + std::to_string(entry.index) +
                     " on top of an uncommitted one at " + std::to_string(index));
      }
      if (VotesChanged(before.configuration, *decoded) > 1) {
        Fail(id, "R9: the configuration at " + std::to_string(entry.index) +
                     " changes more than one vote");
      }
    }
    log[entry.index] = {entry.chain, *decoded};
  }
}

void ClusterInvariants::ObserveWrite(MemberId id, const Ready& ready, const HardState& hardState) {
  for (const Entry& entry : ready.append) {
    ObserveEntry(id, entry);
  }
  ObserveConfigurations(id, ready);
  HardState& before = disks_[id];
  if (hardState.currentTerm < before.currentTerm) {
    Fail(id, "R6: the term on disk fell to " + std::to_string(hardState.currentTerm));
  }
  if (before.clusterStarted && !hardState.clusterStarted) {
    Fail(id, "R6: forgot that the cluster has started");
  }
  if (hardState.votedFor != 0) {
    const auto [vote, is_new] =
        votes_.emplace(std::pair(id, hardState.currentTerm), hardState.votedFor);
    if (vote->second != hardState.votedFor) {
      Fail(id, "R6: votes twice in term " + std::to_string(hardState.currentTerm));
    }
  }
  before = hardState;
}

void ClusterInvariants::ObserveSend(MemberId id, const Envelope& envelope,
                                    const DurableView& disk) {
  const HardState& hard = disk.hardState;
  const auto term_durable = [&](Term term) {
    if (hard.currentTerm < term) {
      Fail(id, "R7: speaks of term " + std::to_string(term) + " before it is durable");
    }
  };
  if (const auto* request = std::get_if<RequestVote>(&envelope.message)) {
    if (!request->preVote) {
      term_durable(request->term);
      if (hard.currentTerm == request->term && hard.votedFor != id) {
        Fail(id, "R7: campaigns before its own vote is durable");
      }
    }
  } else if (const auto* vote = std::get_if<RequestVoteReply>(&envelope.message)) {
    if (!vote->preVote || !vote->voteGranted) {
      term_durable(vote->term);
    }
    if (!vote->preVote && vote->voteGranted && hard.currentTerm == vote->term &&
        hard.votedFor != envelope.to) {
      Fail(id, "R7: votes before the vote is durable");
    }
  } else if (const auto* append = std::get_if<AppendEntries>(&envelope.message)) {
    term_durable(append->term);
    for (const Entry& entry : append->entries) {
      ObserveEntry(id, entry);
    }
  } else if (const auto* reply = std::get_if<AppendEntriesReply>(&envelope.message)) {
    term_durable(reply->term);
    if (reply->success && reply->matched.index > 0) {
      const bool covered = reply->matched.index < disk.start.index || reply->matched == disk.start;
      const auto entry = covered ? std::nullopt : disk.entry(reply->matched.index);
      if (!covered && (!entry || entry->term != reply->matched.term)) {
        Fail(id,
             "R7: acknowledges " + std::to_string(reply->matched.index) + " before it is durable");
      }
    }
  }
}

void ClusterInvariants::ObserveCommit(
    const Raft& leader, const std::function<std::optional<DurableView>(MemberId)>& disk_of) {
  const Status status = leader.status();
  const Index index = status.commitIndex;
  const auto chain = leader.ChainAt(index);
  if (status.role != RoleName::kLeader || index == 0 || !chain) {
    return;
  }
  const Configuration& configuration = status.configuration.configuration;
  std::size_t copies = 0;
  for (const Member& member : configuration.members) {
    const auto disk = member.kind == MemberKind::kVoter ? disk_of(member.id) : std::nullopt;
    if (!disk) {
      continue;
    }
    const auto entry = disk->entry(index);
    const bool covered =
        index < disk->start.index || (index == disk->start.index && disk->start_chain == *chain);
    copies += covered || (entry && entry->chain == *chain) ? 1 : 0;
  }
  if (copies < configuration.quorum()) {
    Fail(status.id, "R8: commits " + std::to_string(index) + " on " + std::to_string(copies) +
                        " durable copies");
  }
}

}  // namespace conclave::raft
