// Handing over leadership: dissertation section 3.10; for a stalled disk without being asked.

#include <algorithm>

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

const char* ToString(TransferError error) {
  switch (error) {
    case TransferError::kNotLeader:
      return "this member does not lead";
    case TransferError::kTransferring:
      return "leadership is being handed over already";
    case TransferError::kAlreadyLeader:
      return "the member leads already";
    case TransferError::kUnknownMember:
      return "no member has this id";
    case TransferError::kNotVoter:
      return "the member has no vote";
    case TransferError::kUnreachable:
      return "the member is not heard from";
    case TransferError::kNoCandidate:
      return "no other voter is heard from";
  }
  return "unknown";
}

// --- Leader ---

/// The voter that has come furthest, of those heard from that have at least `at_least`; null if
/// there is none.
const Progress* Raft::Core::Successor(const Leader& leader, Index at_least) const {
  const Progress* best = nullptr;
  for (const Progress& peer : leader.peers) {
    if (!PeerCounts(peer) || !Active(peer) || !peer.reachable || peer.matchIndex < at_least) {
      continue;
    }
    if (best == nullptr || peer.matchIndex > best->matchIndex ||
        (peer.matchIndex == best->matchIndex && peer.silent_ticks < best->silent_ticks)) {
      best = &peer;
    }
  }
  return best;
}

tl::expected<void, TransferError> Raft::Core::TransferLeadership(MemberId to) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    return tl::unexpected(TransferError::kNotLeader);
  }
  if (leader->transfer) {
    return tl::unexpected(TransferError::kTransferring);
  }
  if (to == options_.id) {
    return tl::unexpected(TransferError::kAlreadyLeader);
  }
  if (to == 0) {
    const Progress* best = Successor(*leader, 0);
    if (best == nullptr) {
      return tl::unexpected(TransferError::kNoCandidate);
    }
    StartTransfer(*leader, best->id);
    return {};
  }
  const auto peer = std::find_if(leader->peers.begin(), leader->peers.end(),
                                 [&](const Progress& known) { return known.id == to; });
  if (peer == leader->peers.end()) {
    return tl::unexpected(TransferError::kUnknownMember);
  }
  if (!config().configuration.IsVoter(to) || (peer->incarnation != 0 && !PeerCounts(*peer))) {
    return tl::unexpected(TransferError::kNotVoter);
  }
  if (!Active(*peer) || !peer->reachable) {
    return tl::unexpected(TransferError::kUnreachable);
  }
  StartTransfer(*leader, to);
  return {};
}

void Raft::Core::StartTransfer(Leader& leader, MemberId to) {
  ++counters_.transfers_started;
  leader.transfer = Transfer{to};
  MaybeSendTimeoutNow(leader);
}

/// Once the log has stopped growing and the successor has all of it.
void Raft::Core::MaybeSendTimeoutNow(Leader& leader) {
  if (!leader.transfer || leader.transfer->sent) {
    return;
  }
  for (const Progress& peer : leader.peers) {
    if (peer.id == leader.transfer->to && peer.matchIndex == log_.lastIndex()) {
      leader.transfer->sent = true;
      Send(peer.id, TimeoutNow{hard_.currentTerm});
    }
  }
}

void Raft::Core::AbandonTransfer(Leader& leader) {
  ++counters_.transfers_abandoned;
  leader.transfer.reset();
  leader.handover_pause = options_.election_ticks_min;
}

void Raft::Core::TickTransfer(Leader& leader) {
  leader.handover_pause -= leader.handover_pause > 0 ? 1 : 0;
  if (!leader.transfer) {
    MaybeHandOverForDisk(leader);
    return;
  }
  // Nobody has taken over within an election timeout: it will not happen, and clients wait.
  if (++leader.transfer->ticks >= options_.election_ticks_min) {
    AbandonTransfer(leader);
  } else if (leader.transfer->ticks % options_.heartbeat_ticks == 0) {
    leader.transfer->sent = false;  // It may have been lost.
    MaybeSendTimeoutNow(leader);
  }
}

std::uint32_t Raft::Core::DiskStallTicks() const {
  return options_.disk_stall_ticks != 0
             ? options_.disk_stall_ticks
             : std::max<std::uint32_t>(options_.election_ticks_min / 2, 1);
}

/// The followers' disks have what this one is stuck with: one of them does better as a leader. If
/// they are stuck as well, or too few without this member, handing over would help nobody.
void Raft::Core::MaybeHandOverForDisk(Leader& leader) {
  if (disk_wait_ticks_ < DiskStallTicks() || leader.handover_pause > 0) {
    return;
  }
  const Index stuck = in_flight_.front().last;
  std::size_t fit = 0;
  for (const Progress& peer : leader.peers) {
    fit += PeerCounts(peer) && Active(peer) && peer.matchIndex >= stuck ? 1 : 0;
  }
  const Progress* next = Successor(leader, stuck);
  if (fit < config().configuration.quorum() || next == nullptr) {
    return;
  }
  ++counters_.handovers_disk;
  StartTransfer(leader, next->id);
}

// --- The successor ---

void Raft::Core::Receive(MemberId from, const TimeoutNow& message) {
  const auto* follower = std::get_if<Follower>(&role_);
  if (message.term != hard_.currentTerm || follower == nullptr || follower->leader != from) {
    ++counters_.stale_term;
    return;
  }
  // Its own disk must be able to take the vote, or leadership would be handed about in a circle.
  if (log_empty() || !MayCampaign() || disk_wait_ticks_ >= DiskStallTicks() ||
      hard_.currentTerm + 1 >= kNumberMax) {
    return;
  }
  ++counters_.campaigns_told;
  LeaveRole();
  BecomeCandidate(true);
}

}  // namespace conclave::raft
