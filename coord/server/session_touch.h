// Heartbeats at the member that received them, on their way to the leader and back (rule 4). What a
// client may rely on is not that some member heard it, but that a leader did which was still one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <absl/container/btree_map.h>

namespace conclave::server {

// Thread: core executor only. Owns no clock.
class SessionTouch {
 public:
  struct Batch {
    std::uint64_t id = 0;
    std::vector<std::int64_t> sessions;  // in order of their ids
  };

  // A client of `session` was heard here now.
  void Touched(std::int64_t session, std::int64_t now_ns);

  // Takes everything heard since the last batch; nullopt if that is nothing.
  std::optional<Batch> TakeBatch();

  // The leader had the batch, and proved afterwards that it was the leader. Of the sessions in
  // `over`, which rise, it confirms nothing: they have ended, or are about to.
  void Confirmed(std::uint64_t batch, const std::vector<std::int64_t>& over = {});

  // The leader changed or the link to it broke: batches without an answer are heard anew.
  void Requeue();

  // When the heartbeat was received here that was confirmed last; nullopt if none was.
  [[nodiscard]] std::optional<std::int64_t> ConfirmedAt(std::int64_t session) const;

  // The session is over.
  void Forget(std::int64_t session);
  // Forgets those that are not alive.
  void Keep(const std::function<bool(std::int64_t session)>& alive);

 private:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min();

  struct Session {
    std::int64_t touched_ns = 0;
    std::int64_t confirmed_ns = kNever;
    bool fresh = false;  // touched since the last batch; then it is in fresh_
  };

  struct Sent {
    std::uint64_t id = 0;
    std::vector<std::pair<std::int64_t, std::int64_t>> touches;  // session, touched_ns
  };

  std::uint64_t next_batch_ = 1;
  absl::btree_map<std::int64_t, Session> sessions_;
  // In the order of the touches; may hold, besides, sessions that are over.
  std::vector<std::int64_t> fresh_;
  std::deque<Sent> sent_;  // not yet confirmed, by id
};

}  // namespace conclave::server
