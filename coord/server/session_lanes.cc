#include "coord/server/session_lanes.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace conclave::server {

SessionLanes::Ticket SessionLanes::Enter(std::int64_t session, Kind kind,
                                         std::function<void(Ticket)> start) {
  const Ticket ticket = next_++;
  Lane& lane = lanes_[session];
  const bool open = lane.items.empty() || (kind == Kind::kWrite && lane.waiting == 0 &&
                                           lane.items.back().kind == Kind::kWrite);
  lane.items.push_back({.ticket = ticket, .kind = kind, .start = {}});
  ++size_;
  if (open) {
    start(ticket);
  } else {
    ++lane.waiting;
    lane.items.back().start = std::move(start);
  }
  return ticket;
}

void SessionLanes::Leave(std::int64_t session, Ticket ticket) {
  auto lane = lanes_.find(session);
  if (lane == lanes_.end()) {
    return;
  }
  std::deque<Item>& items = lane->second.items;
  auto item = std::find_if(items.begin(), items.end(),
                           [ticket](const Item& at) { return at.ticket == ticket; });
  if (item == items.end()) {
    return;
  }
  if (item->start) {
    --lane->second.waiting;
  }
  items.erase(item);
  --size_;
  if (items.empty()) {
    lanes_.erase(lane);
  } else if (lane->second.waiting > 0) {
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
    std::deque<Item>& items = lane->second.items;
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
    --lane->second.waiting;
    std::exchange(next->start, nullptr)(ticket);
  }
}

}  // namespace conclave::server
