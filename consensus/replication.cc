// Log replication: dissertation sections 3.5 (AppendEntries, conflict hints), 3.6.2 (commit rule),
// 10.2.1 (the leader writes in parallel with its followers), 10.2.2 (batching and pipelining).

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

// --- Leader ---

void Raft::Core::AppendToOwnLog(EntryKind kind, SharedBytes data) {
  const Entry& entry = log_.Append(hard_.currentTerm, kind, std::move(data));
  auto& leader = std::get<Leader>(role_);
  leader.uncommitted_bytes += EntryBytes(entry);
  leader.send_pending = true;
  if (kind == EntryKind::kConfig) {
    AdoptConfiguration(entry);  // Section 4.1: in force as soon as it is in the log.
  }
}

AppendEntries Raft::Core::MakeAppend(const Progress& peer) const {
  const Index prev = std::max(peer.nextIndex - 1, log_.start().index);
  const Member* member = config().configuration.Find(peer.id);  // Null for one departing.
  return {hard_.currentTerm,
          prev,
          log_.TermAt(prev).value_or(0),
          {},
          commitIndex_,
          read_round_,
          member != nullptr ? member->incarnation : peer.incarnation};
}

void Raft::Core::SendEmptyAppend(Progress& peer) {
  peer.commit_sent = commitIndex_;
  Send(peer.id, MakeAppend(peer));
}

void Raft::Core::SendEntries(Progress& peer, Index through) {
  if (AwaitsSnapshot(peer)) {
    return;
  }
  while (peer.reachable && peer.nextIndex <= through) {
    const bool may_send = peer.replicating ? !peer.inflight.Full(options_.inflight_messages_max,
                                                                 options_.inflight_bytes_max)
                                           : !peer.probe_sent;
    if (!may_send) {
      return;
    }
    AppendEntries append = MakeAppend(peer);
    log_.Copy(peer.nextIndex, through, options_.append_bytes_max, options_.append_entries_max,
              append.entries);
    if (log_.failure()) {
      return;  // Nothing read from a broken log leaves this member.
    }
    const Index last = append.entries.back().index;
    if (peer.replicating) {
      std::size_t bytes = 0;
      for (const Entry& entry : append.entries) {
        bytes += EntryBytes(entry);
      }
      peer.inflight.Add(last, bytes);
      peer.nextIndex = last + 1;
    } else {
      peer.probe_sent = true;
    }
    peer.commit_sent = commitIndex_;
    Send(peer.id, std::move(append));
  }
}

void Raft::Core::SendTo(const Leader& leader, Progress& peer, Index through) {
  peer.snapshot_waits = peer.snapshot_waits && !leader.heartbeat_pending;
  SendEntries(peer, through);
  const bool commit_news = peer.replicating && peer.reachable && peer.commit_sent < commitIndex_;
  if (leader.heartbeat_pending || commit_news) {
    SendEmptyAppend(peer);
  }
}

void Raft::Core::SendAppends(Leader& leader) {
  const bool reads_waiting = !leader.queued.local.empty() || !leader.queued.remote.empty();
  if (reads_waiting && (commitIndex_ >= leader.term_start || CONCLAVE_MUTANT(12))) {
    BeginReadRound(leader);
  } else if (leader.heartbeat_pending) {
    ++read_round_;  // Fresh, so that a lost round is retried under another number.
  }
  if (leader.send_pending || leader.heartbeat_pending) {
    for (Progress& peer : leader.peers) {
      SendTo(leader, peer, log_.lastIndex());
    }
    for (Departing& gone : leader.departing) {
      if (!gone.peer.snapshotting) {  // It need not know that much any more.
        SendTo(leader, gone.peer, gone.removal);
      }
    }
  }
  leader.send_pending = leader.heartbeat_pending = false;
}

void Raft::Core::Receive(MemberId from, const AppendEntriesReply& message) {
  if (message.term > hard_.currentTerm) {
    BecomeFollower(message.term, 0);
    return;
  }
  auto* leader = std::get_if<Leader>(&role_);
  if (message.term < hard_.currentTerm || leader == nullptr) {
    ++counters_.stale_term;
    return;
  }
  Progress* peer = FindPeer(*leader, from);
  if (peer == nullptr || message.incarnation == 0) {
    ++counters_.malformed;
    return;
  }
  const Member* member = config().configuration.Find(from);
  const Incarnation named = member != nullptr ? member->incarnation : peer->incarnation;
  if ((named != 0 && named != message.incarnation) ||
      message.incarnation == peer->void_incarnation) {
    ++counters_.from_wrong_incarnation;
    return;
  }
  if (peer->incarnation != message.incarnation) {
    if (peer->incarnation != 0) {  // Wiped before it was registered: it begins anew.
      peer->matchIndex = 0;
      peer->BecomeProbing(1);
    }
    peer->incarnation = message.incarnation;
    met_[from] = message.incarnation;
  }
  peer->recently_active = true;
  peer->silent_ticks = 0;
  peer->reachable = true;
  if (message.readRound > read_round_) {
    ++counters_.malformed;
    return;
  }
  // Also a rejection confirms who leads: it was given in this term.
  if (message.readRound > peer->read_round_acknowledged) {
    peer->read_round_acknowledged = message.readRound;
    ConfirmReads(*leader);
  }
  if (message.success) {
    Acknowledged(*leader, *peer, message);
  } else {
    Rejected(*leader, *peer, message);
  }
  MaybeRegisterIncarnations();
}

void Raft::Core::Acknowledged(Leader& leader, Progress& peer, const AppendEntriesReply& message) {
  const Index matched = message.matched.index;
  // Below the start nothing can be compared, and nothing there is waited for: it is committed.
  if (matched > peer.matchIndex && matched >= log_.start().index) {
    // An index alone could be that of an entry since overwritten; the term tells.
    const bool fits = log_.Matches(message.matched) || CONCLAVE_MUTANT(11);
    if (matched > log_.lastIndex() || !fits) {
      ++counters_.stale_acknowledgements;
      return;
    }
    peer.matchIndex = matched;
  }
  if (peer.snapshotting && peer.matchIndex < log_.start().index) {
    return;
  }
  peer.inflight.FreeThrough(peer.matchIndex);
  peer.nextIndex = std::max(peer.nextIndex, peer.matchIndex + 1);
  if (!peer.replicating) {
    peer.BecomeReplicating();
  }
  leader.send_pending = true;
  peer.catch_up.Matched(peer.matchIndex, log_.lastIndex(), options_.election_ticks_min);
  MaybeSendTimeoutNow(leader);
  MaybeCommit();
}

void Raft::Core::Rejected(Leader& leader, Progress& peer, const AppendEntriesReply& message) {
  const Index rejected = message.rejectedIndex;
  const bool current = peer.replicating ? rejected > peer.matchIndex && rejected < peer.nextIndex
                                        : rejected == peer.nextIndex - 1;
  if (!current || rejected <= peer.matchIndex || peer.snapshotting) {
    return;  // An answer to a question of before.
  }
  // Both sides skip whole terms: the follower named its last entry that may match, and here is the
  // last one that may match that (section 3.5).
  const EntryId fit =
      log_.LastAtOrBelow(std::min(message.hint.index, rejected - 1), message.hint.term,
                         std::max(peer.matchIndex, log_.start().index));
  // Terms never fall along a log: a hint before the start in either respect says that the peer's
  // log and this one part before the start.
  const EntryId start = log_.start();
  if (peer.matchIndex < start.index &&
      (message.hint.index < start.index || message.hint.term < start.term)) {
    peer.BecomeSnapshotting(start.index + 1);
  } else {
    peer.BecomeProbing(fit.index + 1);
  }
  leader.send_pending = true;
}

void Raft::Core::MaybeCommit() {
  auto& leader = std::get<Leader>(role_);
  std::vector<std::uint64_t>& matched = scratch_;
  matched.clear();
  if (CountsSelf()) {
    // Section 10.2.1: its own copy counts when it is durable.
    matched.push_back(CONCLAVE_MUTANT(9) ? log_.lastIndex() : durableIndex_);
  }
  for (const Progress& peer : leader.peers) {
    if (PeerCounts(peer)) {
      matched.push_back(peer.matchIndex);
    }
  }
  const Index index = QuorumValue(matched);
  // Section 3.6.2: only an entry of the own term is committed by counting; those before it with it.
  const bool own_term = log_.TermAt(index) == hard_.currentTerm || CONCLAVE_MUTANT(1);
  if (index > commitIndex_ && own_term) {
    AdvanceCommit(index);
  }
}

void Raft::Core::AdvanceCommit(Index index) {
  CHECK(index > commitIndex_ && index <= log_.lastIndex());
  auto* leader = std::get_if<Leader>(&role_);
  if (leader != nullptr) {
    for (Index i = std::max(commitIndex_ + 1, leader->counted_from); i <= index; ++i) {
      leader->uncommitted_bytes -= EntryBytes(log_.At(i));
    }
    leader->send_pending = true;
  }
  commitIndex_ = index;
  LearnClusterStarted();
  LearnClusterId();
  if (leader != nullptr) {
    MaybeResign();
    MaybeRegisterIncarnations();
  }
}

// --- Follower ---

bool Raft::Core::WellFormed(const AppendEntries& message) const {
  if (message.prevLogIndex >= kNumberMax || message.prevLogTerm > message.term ||
      (message.prevLogIndex == 0) != (message.prevLogTerm == 0) || message.term == 0) {
    return false;
  }
  EntryId previous{message.prevLogTerm, message.prevLogIndex};
  for (const Entry& entry : message.entries) {
    const bool kind_fits = entry.kind == EntryKind::kNoop ? entry.data == nullptr
                                                          : (entry.kind == EntryKind::kConfig ||
                                                             entry.kind == EntryKind::kCommand) &&
                                                                entry.data != nullptr;
    if (entry.index != previous.index + 1 || entry.term < previous.term || entry.term == 0 ||
        entry.term > message.term || !kind_fits) {
      return false;
    }
    previous = entry.id();
  }
  return true;
}

/// The cluster knows this member with another disk. Storing its log would lead to acknowledging it;
/// the operator has to re-admit this member.
void Raft::Core::RefuseIncarnation() {
  incarnation_refused_ = true;
  ++counters_.from_wrong_incarnation;
  LearnClusterStarted();
}

/// Looks at the configurations in a message before anything of it is believed.
bool Raft::Core::AcceptsConfigurations(const AppendEntries& message) {
  if (message.followerIncarnation != 0 && message.followerIncarnation != options_.incarnation) {
    RefuseIncarnation();
    return false;
  }
  for (const Entry& entry : message.entries) {
    if (entry.kind != EntryKind::kConfig || entry.index <= commitIndex_) {
      continue;
    }
    const auto configuration = Configuration::Decode(*entry.data);
    if (!configuration) {
      ++counters_.malformed;
      return false;
    }
    if (hard_.clusterId != ClusterId{} && hard_.clusterId != configuration->clusterId) {
      ++counters_.other_cluster;
      return false;
    }
    // That one of them names this member with another disk does not matter: the leader's newest
    // configuration, which followerIncarnation is of, decides.
  }
  incarnation_refused_ = incarnation_refused_ && message.followerIncarnation == 0;
  return true;
}

void Raft::Core::Receive(MemberId from, AppendEntries& message) {
  if (!WellFormed(message)) {
    ++counters_.malformed;
    return;
  }
  if (message.term < hard_.currentTerm) {
    // A leader that was cut off learns the term from this and steps down.
    ++counters_.stale_term;
    Send(from,
         AppendEntriesReply{
             hard_.currentTerm, false, {}, message.prevLogIndex, {}, 0, options_.incarnation});
    return;
  }
  const MemberId known = leader();
  if (message.term == hard_.currentTerm && known != 0 && known != from) {
    ++counters_.malformed;  // Two leaders of one term: an impostor, or a broken peer.
    return;
  }
  if (!AcceptsConfigurations(message)) {
    return;
  }
  BecomeFollower(message.term, from);
  HeardLeader(std::get<Follower>(role_));
  StoreEntries(from, message);
}

bool Raft::Core::ChainsFit(const AppendEntries& message, Index first_new) const {
  std::uint64_t chain = log_.ChainAt(first_new - 1).value_or(0);
  for (std::size_t i = first_new - message.prevLogIndex - 1; i < message.entries.size(); ++i) {
    const Entry& entry = message.entries[i];
    if (entry.chain != ChainHash(chain, entry)) {
      return false;
    }
    chain = entry.chain;
  }
  return true;
}

void Raft::Core::StoreEntries(MemberId from, AppendEntries& message) {
  const Index prev = message.prevLogIndex;
  const Index last = prev + message.entries.size();
  if (prev >= commitIndex_ && !log_.Matches({message.prevLogTerm, prev})) {
    Reject(from, message);
    return;
  }
  if (last <= commitIndex_) {
    Acknowledge(from, commitIndex_, message);  // Committed entries are in every later leader's log.
    return;
  }
  // Up to commitIndex the logs agree; from there on skip what is here already. Truncating although
  // the entries match would take back acknowledgements when messages are repeated or overtaken.
  Index first_new = std::max(prev, commitIndex_) + 1;
  if (prev < commitIndex_) {
    const Entry& at_commit = message.entries[commitIndex_ - prev - 1];
    if (at_commit.chain != log_.ChainAt(commitIndex_)) {
      ++counters_.malformed;  // No leader contradicts what is committed.
      return;
    }
  }
  while (first_new <= std::min(last, log_.lastIndex())) {
    const Entry& theirs = message.entries[first_new - prev - 1];
    if (!log_.Matches(theirs.id()) || CONCLAVE_MUTANT(5)) {
      break;
    }
    if (theirs.chain != log_.ChainAt(first_new)) {
      ++counters_.malformed;  // One entry, two contents (Log Matching).
      return;
    }
    ++first_new;
  }
  if (log_.failure()) {
    return;
  }
  if (first_new <= last) {
    if (!ChainsFit(message, first_new)) {
      ++counters_.malformed;
      return;
    }
    if (first_new <= log_.lastIndex() && !TruncateFrom(first_new)) {
      return;
    }
    for (Index index = first_new; index <= last; ++index) {
      const Entry& entry = log_.Append(std::move(message.entries[index - prev - 1]));
      if (entry.kind == EntryKind::kConfig) {
        AdoptConfiguration(entry);
      }
    }
  }
  // Not beyond `last`: what follows here may be another leader's (section 3.5, figure 3.1).
  const Index verified = CONCLAVE_MUTANT(4) ? log_.lastIndex() : last;
  if (const Index commit = std::min(message.leaderCommit, verified); commit > commitIndex_) {
    AdvanceCommit(commit);
  }
  Acknowledge(from, last, message);
}

void Raft::Core::Reject(MemberId from, const AppendEntries& message) {
  ++counters_.appends_rejected;
  const EntryId hint = log_.LastAtOrBelow(message.prevLogIndex, message.prevLogTerm, commitIndex_);
  if (log_.failure()) {
    return;  // What it cannot read, a member says nothing about.
  }
  Send(from, AppendEntriesReply{hard_.currentTerm,
                                false,
                                {},
                                message.prevLogIndex,
                                hint,
                                message.readRound,
                                options_.incarnation});
}

/// Tells that the logs are equal up to `verified`, as far as that is durable.
void Raft::Core::Acknowledge(MemberId from, Index verified, const AppendEntries& message) {
  const bool wait = verified > durableIndex_ && !message.entries.empty() && !CONCLAVE_MUTANT(8);
  Index matched = wait || CONCLAVE_MUTANT(8) ? verified : std::min(verified, durableIndex_);
  if (matched < log_.start().index) {
    matched = 0;  // An installed snapshot is not durable yet.
  }
  AppendEntriesReply reply{hard_.currentTerm,
                           true,
                           {log_.TermAt(matched).value_or(0), matched},
                           0,
                           {},
                           message.readRound,
                           options_.incarnation};
  if (!wait) {
    // A heartbeat is answered at once, or a slow disk would look like a lost leader contact; it
    // speaks only of what is durable.
    Send(from, reply);
    return;
  }
  // One answer for all the messages of a wake-up: the last one says it all.
  if (!send_after_persist_.empty() && send_after_persist_.back().to == from) {
    auto* earlier = std::get_if<AppendEntriesReply>(&send_after_persist_.back().message);
    if (earlier != nullptr && earlier->success && earlier->matched.index <= matched) {
      *earlier = reply;
      return;
    }
  }
  SendAfterPersist(from, reply);
}

/// False if the log cannot be read; then nothing happened.
bool Raft::Core::TruncateFrom(Index first) {
  CHECK_GT(first, commitIndex_) << "a committed entry would be overwritten";
  if (!log_.TruncateFrom(first)) {
    return false;
  }
  ++counters_.conflicts_truncated;
  while (configs_.back().index >= first && !CONCLAVE_MUTANT(19)) {
    configs_.pop_back();
    config_news_ = true;
  }
  if (first <= handedToDisk_) {
    truncate_pending_ = truncate_pending_ == 0 ? first : std::min(truncate_pending_, first);
    handedToDisk_ = first - 1;
  }
  // What is durable, or will be, of the entries cut off says nothing about those that replace them.
  if (!CONCLAVE_MUTANT(10)) {
    durableIndex_ = std::min(durableIndex_, first - 1);
  }
  for (InFlight& write : in_flight_) {
    write.last = std::min(write.last, first - 1);
  }
  return true;
}

}  // namespace conclave::raft
