// The order of one session's requests at this member: first in, first to take effect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include <absl/container/flat_hash_map.h>
#include <absl/functional/any_invocable.h>

namespace conclave::server {

// One lane per session. Writes of a lane travel together; a read waits until every write before it
// is answered, a write until every read before it is. So a session sees its own writes, and a read
// never shows a write that the session sent after it.
//
// Thread: core executor only. Requests without a session need no lane.
class SessionLanes {
 public:
  using Ticket = std::uint64_t;
  enum class Kind : std::uint8_t { kRead, kWrite };

  SessionLanes() = default;
  SessionLanes(const SessionLanes&) = delete;
  SessionLanes& operator=(const SessionLanes&) = delete;
  ~SessionLanes() = default;

  // Names the next request that enters.
  Ticket TakeTicket() { return next_++; }

  // Puts a request at the end of its session's lane. `start` is called once it may take effect:
  // perhaps inside this call, perhaps inside a later Leave. REQUIRES: the ticket was taken after
  // those of all requests in the lane.
  template <typename Start>
  void Enter(std::int64_t session, Kind kind, Ticket ticket, Start start) {
    if (EnterOpen(session, kind)) {
      start();
    } else {
      Wait(session, kind, ticket, std::move(start));
    }
  }

  // The request has been answered, whether it was started or not. Once for each request.
  void Leave(std::int64_t session, Ticket ticket);

  // Nothing of the session is under way or waits.
  [[nodiscard]] bool Idle(std::int64_t session) const { return !lanes_.contains(session); }

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Waiting {
    Ticket ticket = 0;
    Kind kind = Kind::kRead;
    absl::AnyInvocable<void()> start;  // empty: it has left
  };

  struct Lane {
    Kind kind = Kind::kRead;  // of those that run
    std::size_t running = 0;  // writes, or one read
    bool starting = false;    // StartEligible is at work further up the stack
    // Behind those that run, by ticket. Most lanes never have any.
    std::unique_ptr<std::deque<Waiting>> waiting;
  };

  [[nodiscard]] static bool Fits(const Lane& lane, Kind kind) {
    return lane.running == 0 || (kind == Kind::kWrite && lane.kind == Kind::kWrite);
  }

  bool EnterOpen(std::int64_t session, Kind kind);
  void Wait(std::int64_t session, Kind kind, Ticket ticket, absl::AnyInvocable<void()> start);
  void StartEligible(std::int64_t session);

  Ticket next_ = 1;
  std::size_t size_ = 0;
  absl::flat_hash_map<std::int64_t, Lane> lanes_;  // never walked through
};

}  // namespace conclave::server
