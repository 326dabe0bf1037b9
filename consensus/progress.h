#pragma once

// What a leader knows about one peer.

#include <cstddef>
#include <cstdint>
#include <deque>

#include "consensus/types.h"

namespace conclave::raft {

/// AppendEntries sent and not acknowledged, oldest first. Bounds what a follower that is slow, or
/// gone without a word, can hold of the leader's bandwidth and memory.
class Inflight {
 public:
  void Add(Index last, std::size_t bytes) {
    sent_.push_back({last, bytes});
    bytes_ += bytes;
  }

  /// Everything up to `index` has arrived.
  void FreeThrough(Index index) {
    while (!sent_.empty() && sent_.front().last <= index) {
      bytes_ -= sent_.front().bytes;
      sent_.pop_front();
    }
  }

  void Clear() {
    sent_.clear();
    bytes_ = 0;
  }

  bool Full(std::size_t messages_max, std::size_t bytes_max) const {
    return sent_.size() >= messages_max || (bytes_ >= bytes_max && !sent_.empty());
  }

  std::size_t messages() const { return sent_.size(); }

 private:
  struct Sent {
    Index last;
    std::size_t bytes;
  };

  std::deque<Sent> sent_;
  std::size_t bytes_ = 0;
};

/// How well a peer keeps up, in rounds (section 4.2.1): each round replicates what the leader's log
/// holds when the round begins. While one takes less than an election timeout the peer keeps up.
struct CatchUp {
  Index target = 0;  ///< Where this round ends; 0 before the first answer.
  std::uint32_t ticks = 0;
  bool caught_up = false;

  /// The peer is known to have everything up to `matched`; the log ends at `last`.
  void Matched(Index matched, Index last, std::uint32_t ticks_max) {
    if (target != 0 && matched < target) {
      return;
    }
    if (target != 0) {
      caught_up = ticks < ticks_max;
    }
    target = last;
    ticks = 0;
  }

  void Tick(std::uint32_t ticks_max) {
    ticks += ticks < ticks_max ? 1 : 0;
    caught_up = caught_up && ticks < ticks_max;
  }
};

/// A peer as its leader sees it (nextIndex and matchIndex of figure 3.1, and flow control).
/// Invariant: matchIndex < nextIndex <= lastIndex + 1.
struct Progress {
  MemberId id = 0;
  /// Highest entry known to be equal here and there, and durable there. Never falls in a term, but
  /// with a change of incarnation.
  Index matchIndex = 0;
  /// The next entry to send. With `replicating` it runs ahead of what is acknowledged.
  Index nextIndex = 1;

  /// False: the place where the logs part is still looked for, one message at a time. True: the
  /// last answer matched; messages are pipelined.
  bool replicating = false;
  /// While not replicating: a probe is under way, the next one leaves after its answer, or after
  /// that of a heartbeat if it was lost.
  bool probe_sent = false;
  Inflight inflight;  ///< Empty unless replicating.

  /// It has shown that it lacks the entry before the log's first one: only a snapshot helps, and
  /// until it has one it gets heartbeats and no entries. Never together with `replicating`.
  bool snapshotting = false;
  /// While snapshotting: the driver was asked and has not reported ...
  bool snapshot_asked = false;
  /// ... or has reported a failure, and is asked again with the next heartbeat.
  bool snapshot_waits = false;

  /// The highest commit index that a message told it.
  Index commit_sent = 0;
  /// The highest read round it has answered in this term (section 6.4).
  std::uint64_t read_round_acknowledged = 0;
  /// It answered since check-quorum looked last (section 6.2).
  bool recently_active = false;
  /// Its connection is not known to be closed. Entries are not sent into nowhere.
  bool reachable = true;
  /// Of the answers on which matchIndex rests; 0 before the first.
  Incarnation incarnation = 0;

  /// Of the disk that it lost, while it is re-admitted: late answers of that one are void, unless a
  /// new hello says that it is still the same.
  Incarnation void_incarnation = 0;

  /// Since its last answer; saturates at kSilentForEver, where it begins.
  std::uint32_t silent_ticks = kSilentForEver;
  static constexpr std::uint32_t kSilentForEver = 1U << 30;
  CatchUp catch_up;

  void BecomeProbing(Index next) {
    replicating = snapshotting = snapshot_asked = snapshot_waits = false;
    probe_sent = false;
    inflight.Clear();
    nextIndex = next;
  }

  void BecomeReplicating() {
    BecomeProbing(nextIndex);
    replicating = true;
  }

  /// `next` is the log's first entry.
  void BecomeSnapshotting(Index next) {
    BecomeProbing(next);
    snapshotting = true;
  }
};

}  // namespace conclave::raft
