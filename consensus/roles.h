#pragma once

// The roles: each struct holds what that role has and nothing else, so that a stale vote count or a
// stale matchIndex cannot exist. Changing the role is assigning the variant.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "consensus/progress.h"
#include "consensus/types.h"

namespace conclave::raft {

/// Counts down to a campaign (section 3.4).
struct ElectionTimer {
  std::uint32_t ticks_left = 0;
  /// What ticks_left starts from again when the leader is heard.
  std::uint32_t timeout = 0;
};

/// Reads that a follower has asked its leader to confirm. A request id answers for every read asked
/// before that request was made, so a retry under a fresh id needs no bookkeeping.
struct ForwardedReads {
  struct Batch {
    std::uint64_t first_request_id = 0;
    std::uint32_t age_ticks = 0;
    std::vector<ReadId> reads;
  };

  std::vector<ReadId> queued;  ///< For the request that the next TakeReady makes.
  std::deque<Batch> asked;     ///< Ascending by first_request_id.
  std::uint32_t ticks_to_retry = 0;
};

struct Follower {
  /// The leader of currentTerm, once it has been heard; 0 before, and after its connection closed.
  MemberId leader = 0;
  ElectionTimer timer;
  std::uint32_t ticks_since_contact = 0;
  ForwardedReads reads;
};

struct Vote {
  bool granted = false;
  Incarnation incarnation = 0;
};

/// Asks whether an election could be won, without touching its term (section 9.6).
struct PreCandidate {
  ElectionTimer timer;
  /// By member, so that a repeated answer counts once.
  std::map<MemberId, Vote> votes;
};

struct Candidate {
  ElectionTimer timer;
  std::map<MemberId, Vote> votes;
};

/// A leader on its way out (section 3.10).
struct Transfer {
  MemberId to = 0;
  std::uint32_t ticks = 0;
  bool sent = false;  ///< TimeoutNow has left, and is repeated with the heartbeats.
};

/// A read of another member that the leader confirms.
struct RemoteRead {
  MemberId from = 0;
  std::uint64_t request_id = 0;
};

/// Reads that share one confirmation of leadership.
struct ReadRound {
  std::uint64_t round = 0;
  /// The commit index when the round began.
  Index readIndex = 0;
  std::vector<ReadId> local;
  std::vector<RemoteRead> remote;
};

/// A member that is in the configuration no longer.
struct Departing {
  Progress peer;
  Index removal = 0;             ///< The entry that removes it, the last it gets.
  std::uint32_t ticks_left = 0;  ///< Once that is committed.
};

struct Leader {
  /// Every other member, ascending by id.
  std::vector<Progress> peers;
  /// The entry that opened the term. Until it is committed the leader does not know the commit
  /// index of its predecessors, so no read is confirmed and no configuration changed
  /// (section 6.4, 4.1).
  Index term_start = 0;
  std::uint32_t heartbeat_elapsed = 0;
  std::uint32_t quorum_elapsed = 0;
  /// Bytes of the entries above commitIndex, from counted_from on: what was below the window when
  /// the term began is not read just to be counted.
  std::size_t uncommitted_bytes = 0;
  Index counted_from = 0;
  /// Some peer may have to be sent something: TakeReady looks.
  bool send_pending = false;
  /// Everyone is to get a message now, with or without entries.
  bool heartbeat_pending = false;

  ReadRound queued;              ///< Gathers reads for the next round; its number is not yet drawn.
  std::deque<ReadRound> rounds;  ///< Begun and not confirmed, ascending.
  std::size_t reads_pending = 0;

  std::optional<Transfer> transfer;
  /// Ticks until this leader may hand over for its disk (again).
  std::uint32_t handover_pause = 0;
  /// Members removed in this term that are yet to hear of it: they get the log for a bounded
  /// time longer, and so learn of it. They count in nothing.
  std::vector<Departing> departing;
};

using Role = std::variant<Follower, PreCandidate, Candidate, Leader>;

}  // namespace conclave::raft
