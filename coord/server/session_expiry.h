// When the leader gives a silent session up. The leader alone turns silence into a proposed close,
// on the monotonic clock; what it must never do is to expire a session whose client could not have
// been heard for the leader's own fault (C6 of the invariants: never early).
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <absl/container/btree_map.h>

namespace conclave::server {

// Thread: core executor only. Owns no clock: every call is given the time.
// Invariants:
//   1. A session is reported by Due() only if this leader held office, ran without a stall and had
//      a quorum for the whole of the session's timeout, and heard nothing of it in that time.
//   2. Sessions are reported in order of their bucket, then of their id: no order from a hash.
class SessionExpiry {
 public:
  struct Options {
    std::int64_t bucket_ns;  // expiry is looked for this often; precision of a session's end
    std::int64_t stall_ns;   // a gap between two calls of Due longer than this counts as a stall
    std::int64_t quorum_ns;  // a leader without a completed quorum round for this long is cut off
    std::int64_t retry_ns;   // a session that was reported and is still there is reported again
  };

  explicit SessionExpiry(Options options) : options_(options) {}

  // Takes office: every session {id, timeout} gets its full timeout from now.
  void Lead(std::int64_t now_ns,
            const std::vector<std::pair<std::int64_t, std::int64_t>>& sessions);
  // Leaves office and forgets everything.
  void Follow();

  // The rest has no effect while not in office.

  void Opened(std::int64_t session, std::int64_t timeout_ns, std::int64_t now_ns);
  void Closed(std::int64_t session);
  // A heartbeat reached this leader now.
  void Touched(std::int64_t session, std::int64_t now_ns);
  // The end of a session that Due() reported has been proposed: the log decides, nobody else.
  void Ending(std::int64_t session);
  // Whether a heartbeat of the session may be confirmed: it is known here and its end has not been
  // proposed. To confirm one that comes after the proposal would be to promise a life that is over.
  [[nodiscard]] bool Alive(std::int64_t session) const;
  // A quorum round that was begun at `begun_ns` has completed.
  void QuorumHeld(std::int64_t begun_ns, std::int64_t now_ns);

  // Sessions whose close is to be proposed now; at most `most` of them, the others at the next
  // call. Call it about every bucket, also when nothing is expected: the gaps between calls are how
  // a stall is noticed. `can_write` is false while the disk or the log's bound refuses entries:
  // nobody is expired then, and all get a full timeout afterwards.
  std::vector<std::int64_t> Due(std::int64_t now_ns, bool can_write, std::size_t most);

  [[nodiscard]] bool leading() const { return leading_; }

 private:
  struct Session {
    std::int64_t timeout_ns = 0;
    std::int64_t heard_ns = 0;
    std::int64_t bucket = 0;  // where it stands in buckets_
    bool ending = false;      // its end is in this leader's log
  };

  void Place(std::int64_t session, Session& state, std::int64_t at_ns);
  void GiveAllFullTimeout(std::int64_t now_ns);

  const Options options_;
  bool leading_ = false;
  bool impaired_ = false;            // cut off or unable to write since the last full timeouts
  bool unread_ = false;              // nobody was reported for a pause before the last look
  std::int64_t last_due_ns_ = 0;     // when Due was last called
  std::int64_t quorum_held_ns_ = 0;  // begin of the last completed quorum round
  absl::btree_map<std::int64_t, Session> sessions_;
  // Bucket number -> sessions to look at then. A touch does not move a session: it is looked at in
  // its old bucket and moved on, so a heartbeat costs one lookup.
  std::map<std::int64_t, std::vector<std::int64_t>> buckets_;
};

}  // namespace conclave::server
