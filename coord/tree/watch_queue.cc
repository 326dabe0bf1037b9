// The hub's queues: filling them, giving way when there is no room, reading on from the window.
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "coord/tree/watch_hub.h"
#include "coord/tree/watch_session.h"

namespace conclave::tree {

namespace {

// What every session may queue although the budget over all is used up.
constexpr std::size_t kQueueAlways = 16;
// A drained queue larger than this gives its memory back.
constexpr std::size_t kQueueKept = 64;

// The latest position before `at`; no change need be there.
Cursor Before(Cursor at) { return {at.zxid, at.ordinal - 1}; }

}  // namespace

bool WatchHub::HasRoom(const SessionWatches& session) const {
  const std::size_t queued = session.queued();
  if (queued >= options_.session_events_max) {
    return false;
  }
  const std::size_t capacity = session.queue.capacity();
  return queued < capacity || capacity < kQueueAlways ||
         queue_bytes_ + capacity * sizeof(Cursor) <= options_.queue_bytes_max;
}

bool WatchHub::Queue(SessionWatches& session, Cursor at) {
  if (session.queued() != 0 && session.queue.back() == at) {
    return true;
  }
  if (!HasRoom(session)) {
    return false;
  }
  if (session.queue.size() == session.queue.capacity()) {
    const std::size_t queued = session.queued();
    // In place where at least half is free, else copying would cost more than it gains.
    const std::size_t capacity = session.queue.capacity();
    const bool grow =
        capacity < options_.session_events_max && (queued * 2 > capacity || capacity == 0);
    const bool may_grow = capacity < kQueueAlways ||
                          queue_bytes_ + capacity * sizeof(Cursor) <= options_.queue_bytes_max;
    SetQueueCapacity(session, grow && may_grow ? std::max(kQueueAlways, capacity * 2) : capacity);
  }
  session.queue.push_back(at);
  queued_ += 1;
  return true;
}

// Moves what is queued to the front of a piece of memory of `capacity`.
void WatchHub::SetQueueCapacity(SessionWatches& session, std::size_t capacity) {
  queue_bytes_ -= session.queue.capacity() * sizeof(Cursor);
  if (capacity == session.queue.capacity()) {
    session.queue.erase(session.queue.begin(), session.live());
  } else {
    std::vector<Cursor> moved;
    moved.reserve(capacity);
    moved.assign(session.live(), session.queue.cend());
    session.queue = std::move(moved);
  }
  session.head = 0;
  queue_bytes_ += session.queue.capacity() * sizeof(Cursor);
}

void WatchHub::StopQueueing(SessionWatches& session, Cursor at) {
  overflows_ += 1;
  if (CONCLAVE_MUTANT(42)) {
    return;
  }
  session.horizon = Before(at);
  if (session.queued() < options_.session_events_max) {
    // The budget over all is used up. Whoever has much of it and wants more gives all of it back,
    // so that it goes to those who keep up; the window still has what was queued.
    session.horizon = Before(*session.live());
    queued_ -= session.queued();
    session.queue.clear();
    session.head = 0;
    SetQueueCapacity(session, 0);
  }
}

// Makes the session read from the window what comes after `since`.
void WatchHub::Rewind(SessionWatches& session, Cursor since) {
  const bool nothing_after = window_.FirstAfter(since) == window_.size();
  if (nothing_after || (session.horizon && *session.horizon <= since)) {
    return;
  }
  while (session.queued() != 0 && session.queue.back() > since) {
    session.queue.pop_back();
    queued_ -= 1;
  }
  session.horizon = since;
}

// Finds out whether the window has forgotten something that the session has yet to be told.
void WatchHub::NoteLoss(SessionWatches& session, Cursor after) {
  const Cursor begin = window_.begin();
  if (session.persistent == 0) {
    queued_ -= session.queued();
    session.queue.clear();
    session.head = 0;
    session.horizon.reset();
    return;
  }
  const auto next = std::upper_bound(session.live(), session.queue.cend(), after);
  bool lost = next != session.queue.cend() && *next <= begin;
  if (session.horizon && *session.horizon < begin) {
    lost = true;
    session.horizon = begin;
  }
  if (!lost) {
    return;
  }
  session.resync = begin;
  while (session.queued() != 0 && *session.live() <= begin) {
    session.head += 1;
    queued_ -= 1;
  }
}

// Reads on from the window. True: there is more to read, and room for it.
bool WatchHub::Refill(SessionWatches& session) {
  if (!session.horizon) {
    return false;
  }
  std::size_t read = 0;
  for (std::size_t i = window_.FirstAfter(*session.horizon); i < window_.size(); ++i) {
    if (read++ == options_.scan_max) {
      return true;
    }
    const Cursor at = window_.CursorAt(i);
    FindTriggered(session, *window_.At(i));
    const bool concerned = std::any_of(matches_.begin(), matches_.end(), [at](const auto& match) {
      return !IsOneShot(match.registration->mode) && match.registration->since < at;
    });
    if (concerned && !Queue(session, at)) {
      return false;
    }
    session.horizon = at;
  }
  session.horizon.reset();
  return false;
}

// Fills matches_ with the session's watches that the change triggers.
void WatchHub::FindTriggered(SessionWatches& session, const Change& change) {
  matches_.clear();
  if (session.watches.size() > kFewWatches) {
    table_.FindMatchesOf(session.id, change, &matches_);
    return;
  }
  for (const auto& [id, registration] : session.watches) {
    if (const auto trigger = Triggers(registration->mode, *registration->path, change)) {
      matches_.push_back({registration, *trigger});
    }
  }
}

void WatchHub::Acknowledge(std::int64_t session_id, Cursor cursor) {
  SessionWatches* const session = Find(session_id);
  if (session == nullptr || cursor <= session->acked) {
    return;
  }
  session->acked = cursor;
  Forget(*session, cursor);
}

void WatchHub::Forget(SessionWatches& session, Cursor through) {
  while (session.queued() != 0 && *session.live() <= through && !CONCLAVE_MUTANT(43)) {
    session.head += 1;
    queued_ -= 1;
  }
  if (session.queued() == 0) {
    session.queue.clear();
    session.head = 0;
    if (session.queue.capacity() > kQueueKept) {
      SetQueueCapacity(session, 0);
    }
  }
  while (!session.fired.empty() && session.fired.begin()->first <= through) {
    fired_ -= 1;
    fired_bytes_ -= BytesOfFired(*session.fired.begin()->second.path);
    session.fired.erase(session.fired.begin());
  }
}

}  // namespace conclave::tree
