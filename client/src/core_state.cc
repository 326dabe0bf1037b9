// The part of the engine that tells the application: events, states, the end.
#include <algorithm>
#include <limits>
#include <utility>

#include "client/src/codec.h"
#include "client/src/core.h"

namespace conclave::internal {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

std::string ToHex(const std::string& bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace

bool Core::TakeHead(const idl::Head& head, BootTime sent_at) {
  if (phase_ == Phase::kOver) {
    return false;
  }
  if (!head.clusterId.empty() && head.clusterId != cluster_id_) {
    if (!cluster_id_.empty()) {
      Expire("another cluster answers at " + (home_ ? home_->ToString() : "?") + ": id " +
             ToHex(head.clusterId) + " instead of " + ToHex(cluster_id_));
      return false;
    }
    const std::lock_guard lock(mu_);
    cluster_id_ = head.clusterId;
  }
  last_zxid_ = std::max(last_zxid_, head.zxid);
  if (head.__isset.confirmedAgeMs && head.confirmedAgeMs >= 0 && timeout_known_) {
    // The age is as of the reply's sending, which was not before the request's.
    ExtendValidity(sent_at - milliseconds(head.confirmedAgeMs) + session_timeout());
  }
  return true;
}

bool Core::TakeEvents(const idl::Head& head, BootTime sent_at, const Cursor& asked) {
  if (!TakeHead(head, sent_at)) {
    return false;
  }
  std::vector<WatchTable::Delivery> deliveries;
  // What comes along with a resync lies behind the gap that it tells of: the application must not
  // see it before it knows of the gap, and reads anew up to the cursor in any case.
  if (head.__isset.events && !head.resync) {
    for (const idl::Event& event : head.events) {
      watches_.Match(event, deliveries);
    }
  }
  if (head.resync) {
    std::vector<WatchId> over;
    const Cursor now =
        head.__isset.cursor
            ? Cursor{.zxid = head.cursor.zxid, .ordinal = head.cursor.ordinal}
            : Cursor{.zxid = head.zxid, .ordinal = std::numeric_limits<std::int32_t>::max()};
    Log("events may have been missed up to zxid " + std::to_string(now.zxid));
    watches_.Resync(now, deliveries, over);
    cursor_ = std::max(cursor_, now);
    for (const WatchId id : over) {
      RemoveWatchThere(id);
    }
  }
  // An answer to a poll that asked for less than is wanted now (a watch from an earlier cursor has
  // come in between) says nothing about what lies before.
  if (head.__isset.cursor && asked <= cursor_) {
    cursor_ = std::max(cursor_, Cursor{.zxid = head.cursor.zxid, .ordinal = head.cursor.ordinal});
  }
  Deliver(std::move(deliveries));
  return true;
}

void Core::Deliver(std::vector<WatchTable::Delivery> deliveries) {
  for (WatchTable::Delivery& delivery : deliveries) {
    if (delivery.slot->on_loop) {
      if (!delivery.slot->cancelled) {
        delivery.slot->on_event(delivery.event);
      }
      continue;
    }
    events_pending_ += 1;
    PostCallback([weak = weak_from_this(), delivery = std::move(delivery)] {
      if (!delivery.slot->cancelled) {
        delivery.slot->on_event(delivery.event);
      }
      if (const auto core = weak.lock()) {
        core->OnEventsDelivered();
      }
    });
  }
}

// Thread: that of the callbacks.
void Core::OnEventsDelivered() {
  const std::size_t left = events_pending_.fetch_sub(1) - 1;
  if (left == options_.events_queued_max / 2 && events_paused_) {
    RunOnLoop([self = shared_from_this()] {
      if (self->phase_ == Phase::kReady && !self->heartbeat_in_flight_) {
        self->CancelTimer(self->heartbeat_timer_);
        self->SendHeartbeat();
      }
    });
  }
}

WatchId Core::AddWatch(WatchTable::Watch watch, BootTime deadline,
                       std::function<void(Result<std::int64_t>)> done) {
  watch.id = watches_.Reserve(watch.slot);
  const WatchId id = watch.id;
  idl::AddWatchRequest request;
  request.__set_watch(SpecOf(watch));
  if (watch.from) {
    request.__set_since(ToIdl(*watch.from));
  }
  const bool unbounded = watch.slot->on_loop;
  RunOnLoop([self = shared_from_this(), watch = std::move(watch)]() mutable {
    self->watches_.Add(std::move(watch));  // Also if it is cancelled already: that comes behind.
  });
  Submit(
      CallKind::kSession, std::move(request), deadline,
      [weak = weak_from_this(), id, done = std::move(done)](Result<Reply> reply) {
        const auto core = weak.lock();
        if (!reply.ok()) {
          if (core != nullptr) {
            core->Unwatch(id);  // The member may have registered it.
          }
          done(reply.error());
          return;
        }
        const std::int64_t zxid = HeadOf(*reply).zxid;
        if (core == nullptr) {
          done(zxid);
          return;
        }
        std::vector<WatchTable::Delivery> early = core->watches_.Registered(id, zxid);
        done(zxid);
        core->Deliver(std::move(early));
      },
      unbounded);
  return id;
}

void Core::Unwatch(WatchId id) {
  watches_.Cancel(id);
  RunOnLoop([self = shared_from_this(), id] {
    if (self->watches_.Find(id) != nullptr) {
      self->watches_.Erase(id);
      self->RemoveWatchThere(id);
    }
  });
}

void Core::RemoveWatchThere(WatchId id) {
  idl::RemoveWatchRequest request;
  request.__set_watchId(id);
  // Given up when it is not answered in time: the next member is not told of the watch at all.
  Submit(
      CallKind::kSession, std::move(request), DeadlineAfter(session_timeout()),
      [](const Result<Reply>&) {}, true);
}

BootTime Core::valid_until() const { return BootTime(nanoseconds(valid_until_ns_.load())); }

std::chrono::milliseconds Core::session_timeout() const {
  return milliseconds(session_timeout_ms_.load());
}

Result<SavedSession> Core::Save() const {
  const std::lock_guard lock(mu_);
  if (session_id_ == 0 || over_) {
    return Error{.code = over_ ? Code::kSessionExpired : Code::kUnavailable,
                 .message = over_ ? over_->message : "no session has been opened yet",
                 .path = {},
                 .zxid = 0,
                 .op_index = -1};
  }
  return SavedSession{.id = session_id_, .secret = secret_, .cluster_id = cluster_id_};
}

void Core::ExtendValidity(BootTime until) {
  // Clocks of two machines do not run alike, and a callback takes its time.
  until -= session_timeout() / 20;
  if (until <= valid_until()) {
    return;
  }
  valid_until_ns_ = until.time_since_epoch().count();
  if (validity_timer_ == 0) {
    validity_timer_ = After(until - seams_.loop->Now(), &Core::OnValidityTimer);
  }
  if (phase_ == Phase::kReady && state() == SessionState::kLost && seams_.loop->Now() < until) {
    SetState(SessionState::kReconnected, "the session has been confirmed again");
  }
}

void Core::OnValidityTimer() {
  validity_timer_ = 0;
  const BootTime now = seams_.loop->Now();
  if (now < valid_until()) {
    validity_timer_ = After(valid_until() - now, &Core::OnValidityTimer);
    return;
  }
  SetState(SessionState::kLost, "the cluster has not confirmed the session in time");
}

void Core::SetState(SessionState state, const std::string& reason) {
  const SessionState before = state_;
  // A session that is not confirmed stays lost while connections come and go; one that was never
  // opened cannot be suspended.
  const bool nothing_new = before == state || before == SessionState::kExpired ||
                           before == SessionState::kClosed ||
                           (state == SessionState::kSuspended && before == SessionState::kLost);
  if (nothing_new) {
    return;
  }
  if (state == SessionState::kLost && before != SessionState::kSuspended) {
    SetState(SessionState::kSuspended, reason);
  }
  state_ = state;
  Log("session " + std::string(SessionStateName(state)) + ": " + reason);
  if (options_.on_session) {
    PostCallback([listener = options_.on_session, change = SessionChange{state, reason}] {
      listener(change);
    });
  }
  const auto listeners = listeners_;  // A listener may remove itself or others.
  for (const auto& [id, listener] : listeners) {
    if (listeners_.contains(id)) {
      listener(state);
    }
  }
}

void Core::Expire(const std::string& reason) {
  if (phase_ == Phase::kOver) {
    return;
  }
  if (Call* close = calls_.FirstOf<CloseRequest>(); close != nullptr && close->seq != 0) {
    Finish(*close, Reply(idl::CloseResult()));  // The end that was asked for; its answer was lost.
    End(SessionState::kClosed, reason);
    return;
  }
  if (CONCLAVE_MUTANT(35)) {
    OpenSession();
    return;
  }
  SetState(SessionState::kLost, reason);
  End(SessionState::kExpired, reason);
}

void Core::End(SessionState state, const std::string& reason) {
  if (phase_ == Phase::kOver) {
    return;
  }
  CancelTimer(validity_timer_);
  CancelTimer(deadline_timer_);
  phase_ = Phase::kOpening;  // Not "ready" any more: no kSuspended on the way out.
  DropConnection();
  phase_ = Phase::kOver;
  {
    const std::lock_guard lock(mu_);
    over_ = Error{
        .code = Code::kSessionExpired, .message = reason, .path = {}, .zxid = 0, .op_index = -1};
  }
  valid_until_ns_ = 0;
  watches_.Clear();
  SetState(state, reason);
  while (Call* call = calls_.First()) {
    Error error = *over_;
    error.path = PathOf(call->request);
    if (call->kind == CallKind::kWrite && call->attempts_unknown > 0) {
      error.code = Code::kUnknownOutcome;
      error.message = "sent, but not answered before the end of the session: " + reason;
    }
    Finish(*call, std::move(error));
  }
}

void Core::Shutdown() {
  End(SessionState::kClosed, "the client was destroyed");
  listeners_.clear();
  while (true) {
    std::vector<Task> tasks;
    {
      const std::lock_guard lock(mu_);
      stopped_ = inbox_.empty();
      tasks.swap(inbox_);
    }
    if (tasks.empty()) {
      return;
    }
    for (Task& task : tasks) {
      task();
    }
  }
}

Core::ListenerId Core::AddListener(std::function<void(SessionState)> listener) {
  listeners_.emplace(next_listener_, std::move(listener));
  return next_listener_++;
}

void Core::RemoveListener(ListenerId id) { listeners_.erase(id); }

void Core::Log(const std::string& line) const {
  if (options_.log) {
    options_.log(line);
  }
}

TimerId Core::After(nanoseconds delay, void (Core::*task)()) {
  return seams_.loop->PostAfter(std::max(delay, nanoseconds(0)), [weak = weak_from_this(), task] {
    if (const auto core = weak.lock()) {
      (*core.*task)();
    }
  });
}

void Core::CancelTimer(TimerId& timer) {
  if (timer != 0) {
    seams_.loop->Cancel(timer);
    timer = 0;
  }
}

}  // namespace conclave::internal
