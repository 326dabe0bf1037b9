#include "coord/server/session_lanes.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace conclave::server {

SessionLanes::Ticket SessionLanes::Enter(std::int64_t session, Kind kind,
                                         std::function<void(Ticket)> start) {
  const Ticket ticket = next_++;
  std::deque<Item>& lane = lanes_[session];
  const bool open = lane.empty() || (kind == Kind::kWrite && lane.back().kind == Kind::kWrite &&
                                     !lane.back().start);
  lane.push_back({.ticket = ticket, .kind = kind, .start = {}});
  ++size_;
  if (open) {
    start(ticket);
  } else {
    lane.back().start = std::move(start);
  }
  return ticket;
}

void SessionLanes::Leave(std::int64_t session, Ticket ticket) {
  auto lane = lanes_.find(session);
  if (lane == lanes_.end()) {
    return;
  }
  auto item = std::find_if(lane->second.begin(), lane->second.end(),
                           [ticket](const Item& at) { return at.ticket == ticket; });
  if (item == lane->second.end()) {
    return;
  }
  lane->second.erase(item);
  --size_;
  if (lane->second.empty()) {
    lanes_.erase(lane);
  } else {
    StartEligible(session);
  }
}

void SessionLanes::StartEligible(std::int64_t session) {
  // A start may enter, leave and so change the lane; look anew after each.
  while (true) {
    auto lane = lanes_.find(session);
    if (lane == lanes_.end()) {
      return;
    }
    std::deque<Item>& items = lane->second;
    auto next = items.begin();
    while (next != items.end() && next->kind == Kind::kWrite && !next->start) {
      ++next;
    }
    const bool may_start =
        next != items.end() && next->start && (next->kind == Kind::kWrite || next == items.begin());
    if (!may_start) {
      return;
    }
    const Ticket ticket = next->ticket;
    std::exchange(next->start, nullptr)(ticket);
  }
}

}  // namespace conclave::server
