#include "coord/server/session_lanes.h"

#include <algorithm>
#include <utility>

namespace conclave::server {

bool SessionLanes::EnterOpen(std::int64_t session, Kind kind) {
  Lane& lane = lanes_[session];
  ++size_;
  const bool open = (lane.waiting == nullptr || lane.waiting->empty()) && Fits(lane, kind);
  if (open) {
    ++lane.running;
    lane.kind = kind;
  }
  return open;
}

void SessionLanes::Wait(std::int64_t session, Kind kind, Ticket ticket,
                        absl::AnyInvocable<void()> start) {
  Lane& lane = lanes_[session];
  if (lane.waiting == nullptr) {
    lane.waiting = std::make_unique<std::deque<Waiting>>();
  }
  lane.waiting->push_back({.ticket = ticket, .kind = kind, .start = std::move(start)});
}

void SessionLanes::Leave(std::int64_t session, Ticket ticket) {
  auto at = lanes_.find(session);
  if (at == lanes_.end()) {
    return;
  }
  Lane& lane = at->second;
  --size_;
  if (lane.waiting != nullptr && !lane.waiting->empty() && ticket >= lane.waiting->front().ticket) {
    const auto item = std::lower_bound(
        lane.waiting->begin(), lane.waiting->end(), ticket,
        [](const Waiting& waiting, Ticket wanted) { return waiting.ticket < wanted; });
    item->start = nullptr;
  } else {
    --lane.running;
  }
  StartEligible(session);
}

void SessionLanes::StartEligible(std::int64_t session) {
  // A start may enter and leave, in this lane and in others: looked at anew after each.
  while (true) {
    auto at = lanes_.find(session);
    Lane& lane = at->second;
    if (lane.starting) {
      return;  // whoever starts goes on
    }
    while (lane.waiting != nullptr && !lane.waiting->empty() && !lane.waiting->front().start) {
      lane.waiting->pop_front();
    }
    if (lane.waiting == nullptr || lane.waiting->empty()) {
      if (lane.running == 0) {
        lanes_.erase(at);
      }
      return;
    }
    Waiting& next = lane.waiting->front();
    if (!Fits(lane, next.kind)) {
      return;
    }
    ++lane.running;
    lane.kind = next.kind;
    lane.starting = true;
    auto start = std::move(next.start);
    lane.waiting->pop_front();
    start();
    lanes_.find(session)->second.starting = false;
  }
}

}  // namespace conclave::server
