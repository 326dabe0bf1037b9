// Linearizable reads without a log entry: dissertation section 6.4.

#include <algorithm>
#include <utility>

#include "consensus/core.h"

namespace conclave::raft {

tl::expected<ReadId, ReadError> Raft::Core::ReadIndex() {
  if (auto* leader = std::get_if<Leader>(&role_)) {
    if (leader->reads_pending >= options_.reads_pending_max) {
      return tl::unexpected(ReadError::kTooMuchPending);
    }
    ++leader->reads_pending;
    leader->queued.local.push_back(++last_read_id_);
    return last_read_id_;
  }
  auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr || follower->leader == 0) {
    return tl::unexpected(ReadError::kNoLeader);
  }
  std::size_t pending = follower->reads.queued.size();
  for (const ForwardedReads::Batch& batch : follower->reads.asked) {
    pending += batch.reads.size();
  }
  if (pending >= options_.reads_pending_max) {
    return tl::unexpected(ReadError::kTooMuchPending);
  }
  follower->reads.queued.push_back(++last_read_id_);
  return last_read_id_;
}

// --- Leader ---

/// All reads that wait share one round. Its number is drawn after they came, so an answer to it
/// proves that no other leader had been elected when they came.
void Raft::Core::BeginReadRound(Leader& leader) {
  ++counters_.read_rounds;
  ReadRound round = std::exchange(leader.queued, {});
  round.round = CONCLAVE_MUTANT(13) ? read_round_ : ++read_round_;
  round.readIndex = commitIndex_;
  leader.rounds.push_back(std::move(round));
  leader.heartbeat_pending = true;
  ConfirmReads(leader);  // A single member is its own quorum.
}

void Raft::Core::ConfirmReads(Leader& leader) {
  if (leader.rounds.empty()) {
    return;
  }
  std::vector<std::uint64_t>& acknowledged = scratch_;
  acknowledged.clear();
  if (CountsSelf()) {
    acknowledged.push_back(read_round_);
  }
  for (const Progress& peer : leader.peers) {
    if (Counts(peer.id, peer.incarnation)) {
      acknowledged.push_back(peer.read_round_acknowledged);
    }
  }
  const std::uint64_t confirmed = QuorumValue(acknowledged);
  while (!leader.rounds.empty() && leader.rounds.front().round <= confirmed) {
    ReadRound& round = leader.rounds.front();
    for (const ReadId id : round.local) {
      reads_.push_back({id, round.readIndex});
    }
    for (const RemoteRead& read : round.remote) {
      Send(read.from, ReadIndexReply{hard_.currentTerm, read.request_id, true, round.readIndex});
    }
    leader.reads_pending -= round.local.size() + round.remote.size();
    leader.rounds.pop_front();
  }
}

void Raft::Core::FailReads(Leader& leader) {
  leader.rounds.push_back(std::exchange(leader.queued, {}));
  for (ReadRound& round : leader.rounds) {
    for (const ReadId id : round.local) {
      if (CONCLAVE_MUTANT(14)) {
        reads_.push_back({id, commitIndex_});
        continue;
      }
      reads_failed_.push_back(id);
    }
    for (const RemoteRead& read : round.remote) {
      Send(read.from, ReadIndexReply{hard_.currentTerm, read.request_id, false, 0});
    }
    counters_.reads_failed += round.local.size() + round.remote.size();
  }
  leader.rounds.clear();
  leader.reads_pending = 0;
}

void Raft::Core::Receive(MemberId from, const ReadIndexRequest& message) {
  auto* leader = std::get_if<Leader>(&role_);
  // A request of another term is refused rather than served: the asker's idea of the leader is not
  // the present one, and it learns the term from an AppendEntries.
  if (leader == nullptr || message.term != hard_.currentTerm ||
      leader->reads_pending >= options_.reads_pending_max) {
    Send(from, ReadIndexReply{hard_.currentTerm, message.requestId, false, 0});
    return;
  }
  ++leader->reads_pending;
  leader->queued.remote.push_back({from, message.requestId});
}

// --- Follower ---

void Raft::Core::ForwardReads(Follower& follower) {
  ForwardedReads& reads = follower.reads;
  if (reads.queued.empty()) {
    return;
  }
  ++read_request_id_;
  if (reads.asked.empty()) {
    reads.ticks_to_retry = options_.heartbeat_ticks;
  }
  reads.asked.push_back({read_request_id_, 0, std::exchange(reads.queued, {})});
  Send(follower.leader, ReadIndexRequest{hard_.currentTerm, read_request_id_});
}

void Raft::Core::TickForwardedReads(Follower& follower) {
  ForwardedReads& reads = follower.reads;
  for (ForwardedReads::Batch& batch : reads.asked) {
    ++batch.age_ticks;
  }
  while (!reads.asked.empty() && reads.asked.front().age_ticks > options_.election_ticks_max) {
    for (const ReadId id : reads.asked.front().reads) {
      reads_failed_.push_back(id);
      ++counters_.reads_failed;
    }
    reads.asked.pop_front();
  }
  if (reads.asked.empty() || --reads.ticks_to_retry > 0) {
    return;
  }
  reads.ticks_to_retry = options_.heartbeat_ticks;
  // The question may be lost. It is asked again under a fresh id, which answers the old ones too.
  Send(follower.leader, ReadIndexRequest{hard_.currentTerm, ++read_request_id_});
}

void Raft::Core::FailReads(ForwardedReads& reads) {
  for (const ForwardedReads::Batch& batch : reads.asked) {
    reads_failed_.insert(reads_failed_.end(), batch.reads.begin(), batch.reads.end());
    counters_.reads_failed += batch.reads.size();
  }
  reads_failed_.insert(reads_failed_.end(), reads.queued.begin(), reads.queued.end());
  counters_.reads_failed += reads.queued.size();
  reads = {};
}

void Raft::Core::Receive(MemberId from, const ReadIndexReply& message) {
  auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr || follower->leader != from || message.term != hard_.currentTerm) {
    ++counters_.stale_term;
    return;
  }
  ForwardedReads& reads = follower->reads;
  if (message.requestId > read_request_id_ || message.readIndex >= kNumberMax) {
    ++counters_.malformed;
    return;
  }
  // An answer to a request serves every read that was waiting when the request was made.
  while (!reads.asked.empty() && reads.asked.front().first_request_id <= message.requestId) {
    for (const ReadId id : reads.asked.front().reads) {
      if (message.success) {
        reads_.push_back({id, message.readIndex});
      } else {
        reads_failed_.push_back(id);
        ++counters_.reads_failed;
      }
    }
    reads.asked.pop_front();
  }
}

}  // namespace conclave::raft
