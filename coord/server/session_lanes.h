// The order of one session's requests at this member: first in, first to take effect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>

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

  // Puts a request at the end of its session's lane. `start` is called once it may take effect:
  // perhaps inside this call, perhaps inside a later Leave.
  Ticket Enter(std::int64_t session, Kind kind, std::function<void(Ticket)> start);

  // The request has been answered, whether it was started or not.
  void Leave(std::int64_t session, Ticket ticket);

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Item {
    Ticket ticket = 0;
    Kind kind = Kind::kRead;
    std::function<void(Ticket)> start;  // empty once called
  };

  struct Lane {
    std::deque<Item> items;
    std::size_t waiting = 0;  // items not started: mostly none, and then nothing is looked for
  };

  void StartEligible(std::int64_t session);

  Ticket next_ = 1;
  std::size_t size_ = 0;
  std::map<std::int64_t, Lane> lanes_;
};

}  // namespace conclave::server
