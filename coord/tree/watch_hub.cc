#include "coord/tree/watch_hub.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include <glog/logging.h>

#include "coord/tree/watch_session.h"

namespace conclave::tree {

namespace {

// JavaScript's largest integer; ids that the hub assigns stay below it.
constexpr WatchId kWatchIdMax = (WatchId{1} << 53) - 1;

}  // namespace

// What a call of Register or Resume has put in place, and what that leaves to be caught up.
struct Placed {
  std::size_t one_shots = 0;
  Cursor one_shots_since = Cursor::EndOf(std::numeric_limits<std::int64_t>::max());
  Cursor persistent_since = Cursor::EndOf(std::numeric_limits<std::int64_t>::max());
  std::vector<Registration*> few;  // the one-shot ones, while they are few
  Cursor since;                    // of the last one
};

WatchHub::WatchHub(const WatchHubOptions& options, std::int64_t applied)
    : options_(options),
      window_(options.window_bytes_max, options.window_changes_max, applied),
      table_(options.hash_seed) {
  CHECK_GT(options_.session_events_max, 0U);
  CHECK_GT(options_.scan_max, 0U);
}

WatchHub::~WatchHub() = default;

// --- applying ---

std::vector<std::int64_t> WatchHub::Apply(std::int64_t zxid, std::vector<Change> changes) {
  std::vector<SessionWatches*> woken;
  for (std::size_t i = window_.Append(zxid, std::move(changes)); i < window_.size(); ++i) {
    const Change& change = *window_.At(i);
    const Cursor at = window_.CursorAt(i);
    matches_.clear();
    table_.FindMatches(change, &matches_);
    for (const auto& [registration, trigger] : matches_) {
      SessionWatches& session = *registration->owner;
      // A client can be ahead of this member: what it was told elsewhere is not news.
      if (registration->since >= at) {
        continue;
      }
      if (IsOneShot(registration->mode)) {
        Fire(session, registration, trigger, change);
      } else if (!session.horizon && !Queue(session, at)) {
        StopQueueing(session, at);
      }
      if (!std::exchange(session.woken, true)) {
        woken.push_back(&session);
      }
    }
  }
  std::vector<std::int64_t> ids;
  ids.reserve(woken.size());
  for (SessionWatches* session : woken) {
    session->woken = false;
    ids.push_back(session->id);
  }
  // Mostly they are in order already: that of the registrations of one path.
  if (!std::is_sorted(ids.begin(), ids.end())) {
    std::sort(ids.begin(), ids.end());
  }
  return ids;
}

std::vector<std::int64_t> WatchHub::Jump(std::int64_t zxid) {
  window_.Jump(zxid);
  std::vector<std::int64_t> ids;
  for (const auto& [id, session] : sessions_) {
    for (const auto& [watch_id, registration] : session->watches) {
      registration->since = std::max(registration->since, window_.end());
    }
    queued_ -= session->queued();
    session->queue.clear();
    session->head = 0;
    SetQueueCapacity(*session, 0);
    session->horizon.reset();
    session->resync = window_.begin();
    ids.push_back(id);
  }
  return ids;
}

void WatchHub::Fire(SessionWatches& session, Registration* registration, Trigger trigger,
                    const Change& change) {
  session.fired.emplace(
      Cursor{change.zxid, change.ordinal},
      FiredWatch{registration->id, registration->path, EventTypeOf(change, trigger), trigger,
                 registration->with_value});
  fired_ += 1;
  fired_bytes_ += BytesOfFired(*registration->path);
  Remove(session, registration);
}

// --- registering ---

RegisterResult WatchHub::Register(std::int64_t session_id, const Watch& asked,
                                  std::optional<Cursor> since) {
  Watch watch = asked;
  SessionWatches* const known = Find(session_id);
  if (known != nullptr && since && *since < std::max(known->sent, known->acked)) {
    return {.status = RegisterStatus::kBehind};
  }
  if (watch.id == 0) {
    matches_.clear();
    table_.Lookup(session_id, watch.path, watch.mode, &matches_);
    if (!matches_.empty()) {
      watch.id = matches_.front().registration->id;
      watch.with_value |= matches_.front().registration->with_value;
    } else {
      watch.id = known != nullptr ? known->next_id : 1;
    }
  }
  const bool replaces = known != nullptr && known->watches.count(watch.id) != 0;
  const std::size_t of_session = known != nullptr ? known->watches.size() + known->fired.size() : 0;
  if (!replaces && !MayAdd(1, of_session, 0)) {
    return {.status = RegisterStatus::kTooMany};
  }
  SessionWatches& session = SessionOf(session_id);
  Placed placed;
  // A member can lag behind what the client has been told elsewhere: a one-shot watch must not go
  // off for a change that the client's cursor has passed, as that event would never be told.
  const Cursor now = std::max({window_.end(), session.acked, session.sent});
  Place(session, watch, since.value_or(now), &placed);
  CatchUp(session, placed);
  return {.id = watch.id, .since = placed.since, .resync = since && !window_.Covers(*since)};
}

RegisterResult WatchHub::Resume(std::int64_t session_id, Cursor cursor,
                                const std::vector<ResumedWatch>& watches, bool replace_all) {
  const SessionWatches* const known = Find(session_id);
  const std::size_t here = known != nullptr ? known->watches.size() + known->fired.size() : 0;
  if (!MayAdd(watches.size(), replace_all ? 0 : here, replace_all ? here : 0)) {
    return {.status = RegisterStatus::kTooMany};
  }
  if (replace_all) {
    Drop(session_id);
  } else if (known != nullptr && cursor < std::max(known->sent, known->acked)) {
    return {.status = RegisterStatus::kBehind};
  }
  SessionWatches& session = SessionOf(session_id);
  session.acked = std::max(session.acked, cursor);
  Placed placed;
  bool resync = false;
  for (const ResumedWatch& resumed : watches) {
    const Cursor since = std::max(cursor, resumed.since);
    resync |= !window_.Covers(since);
    Watch watch = resumed.watch;
    if (watch.id == 0) {
      watch.id = session.next_id;
    }
    Place(session, watch, since, &placed);
  }
  CatchUp(session, placed);
  return {.resync = resync};
}

bool WatchHub::MayAdd(std::size_t count, std::size_t of_session, std::size_t leaving) const {
  return of_session + count <= options_.session_watches_max &&
         table_.size() + fired_ - leaving + count <= options_.watches_max;
}

void WatchHub::Place(SessionWatches& session, const Watch& watch, Cursor since, Placed* placed) {
  if (since < window_.begin()) {
    // What lies between is not known any more. The watch stands from here on, and the client reads.
    since = window_.begin();
    session.resync = since;
  }
  if (const auto old = session.watches.find(watch.id); old != session.watches.end()) {
    Registration* const registration = old->second;
    if (registration->mode == watch.mode && *registration->path == watch.path &&
        registration->since <= since) {
      registration->with_value = watch.with_value;
      placed->since = registration->since;
      return;
    }
    std::erase(placed->few, registration);
    Remove(session, registration);
  }
  Registration* const registration = table_.Add(&session, session.id, watch, since);
  session.watches.emplace(watch.id, registration);
  if (watch.id < kWatchIdMax) {
    session.next_id = std::max(session.next_id, watch.id + 1);
  }
  placed->since = since;
  if (!IsOneShot(watch.mode)) {
    session.persistent += 1;
    placed->persistent_since = std::min(placed->persistent_since, since);
    return;
  }
  placed->one_shots_since = std::min(placed->one_shots_since, since);
  if (++placed->one_shots <= kFewWatches) {
    placed->few.push_back(registration);
  }
}

void WatchHub::CatchUp(SessionWatches& session, const Placed& placed) {
  if (placed.one_shots != 0) {
    FireMissed(session, placed);
  }
  Rewind(session, placed.persistent_since);
}

// One-shot watches go off at once for what they missed, as a later change must find them gone.
void WatchHub::FireMissed(SessionWatches& session, const Placed& placed) {
  std::vector<Registration*> few = placed.few;
  const bool are_few = placed.one_shots <= kFewWatches;
  std::size_t armed = placed.one_shots;
  for (std::size_t i = window_.FirstAfter(placed.one_shots_since); i < window_.size(); ++i) {
    if (are_few ? few.empty() : armed == 0) {
      return;
    }
    const Change& change = *window_.At(i);
    const Cursor at = window_.CursorAt(i);
    if (are_few) {
      std::erase_if(few, [&](Registration* registration) {
        const auto trigger = Triggers(registration->mode, *registration->path, change);
        if (!trigger || registration->since >= at) {
          return false;
        }
        Fire(session, registration, *trigger, change);
        return true;
      });
      continue;
    }
    matches_.clear();
    table_.FindMatchesOf(session.id, change, &matches_);
    for (const auto& [registration, trigger] : matches_) {
      if (IsOneShot(registration->mode) && registration->since < at) {
        Fire(session, registration, trigger, change);
        armed -= 1;
      }
    }
  }
}

bool WatchHub::Unregister(std::int64_t session_id, WatchId id) {
  SessionWatches* const session = Find(session_id);
  if (session == nullptr) {
    return false;
  }
  const auto watch = session->watches.find(id);
  if (watch == session->watches.end()) {
    return false;
  }
  Remove(*session, watch->second);
  return true;
}

std::size_t WatchHub::Unregister(std::int64_t session_id, std::string_view path, WatchMode mode) {
  SessionWatches* const session = Find(session_id);
  if (session == nullptr) {
    return 0;
  }
  matches_.clear();
  table_.Lookup(session_id, path, mode, &matches_);
  for (const auto& match : matches_) {
    Remove(*session, match.registration);
  }
  return matches_.size();
}

void WatchHub::Remove(SessionWatches& session, Registration* registration) {
  session.watches.erase(registration->id);
  session.persistent -= IsOneShot(registration->mode) ? 0 : 1;
  table_.Remove(registration);
}

void WatchHub::Drop(std::int64_t session_id) {
  SessionWatches* const session = Find(session_id);
  if (session == nullptr) {
    return;
  }
  while (!session->watches.empty()) {
    Remove(*session, session->watches.begin()->second);
  }
  Forget(*session, Cursor::EndOf(std::numeric_limits<std::int64_t>::max()));
  SetQueueCapacity(*session, 0);
  sessions_.erase(session_id);
}

// --- telling ---

bool WatchHub::HasEvents(std::int64_t session_id, Cursor after) const {
  const SessionWatches* const session = Find(session_id);
  if (session == nullptr) {
    return false;
  }
  after = std::max(after, session->acked);
  return session->resync > after || (session->horizon && HasRoom(*session)) ||
         (session->queued() != 0 && session->queue.back() > after) ||
         (!session->fired.empty() && session->fired.rbegin()->first > after);
}

bool WatchHub::IsBehind(std::int64_t session_id, Cursor after) const {
  const SessionWatches* const session = Find(session_id);
  return session != nullptr && (session->horizon || HasEvents(session_id, after));
}

DrainResult WatchHub::Drain(std::int64_t session_id, Cursor after, const DrainLimits& limits) {
  SessionWatches* const found = Find(session_id);
  if (found == nullptr) {
    return {.cursor = after};
  }
  SessionWatches& session = *found;
  after = std::max(after, session.acked);
  NoteLoss(session, after);
  DrainResult result{.attached = true};
  result.more = Refill(session);
  const Cursor told = session.horizon.value_or(window_.end());
  result.cursor = std::max(after, told);

  auto queued = std::upper_bound(session.live(), session.queue.cend(), after);
  auto fired = session.fired.upper_bound(after);
  std::size_t bytes = 0;
  Cursor last = after;
  while (queued != session.queue.cend() || fired != session.fired.end()) {
    const bool from_queue =
        queued != session.queue.cend() && (fired == session.fired.end() || *queued <= fired->first);
    const Cursor at = from_queue ? *queued : fired->first;
    // What went off later than the window has been read has to wait for its turn.
    if (at > told) {
      break;
    }
    const std::size_t before = result.events.size();
    CollectAt(session, at, &result.events);
    for (std::size_t i = before; i < result.events.size(); ++i) {
      const Event& event = result.events[i];
      bytes += event.path().size() + event.watch_ids.size() * sizeof(WatchId) + sizeof(Stat);
      bytes += event.with_value && event.change ? ValueBytes(*event.change) : 0;
    }
    if (before != 0 && (result.events.size() > limits.events_max || bytes > limits.bytes_max)) {
      result.events.resize(before);
      result.more = true;
      result.cursor = last;
      break;
    }
    last = at;
    queued += from_queue ? 1 : 0;
    fired = session.fired.upper_bound(at);
  }
  // Also where the limits cut the answer short of that point: what it tells has gaps already.
  result.resync = session.resync > after;
  resyncs_ += result.resync ? 1 : 0;
  session.sent = std::max(session.sent, result.cursor);
  return result;
}

// Appends the events of the change at `at`: none (its watches were removed), one or two.
void WatchHub::CollectAt(SessionWatches& session, Cursor at, std::vector<Event>* events) {
  const std::shared_ptr<const Change> change = window_.Find(at);
  const std::size_t first = events->size();
  const auto event_of = [&](Trigger trigger) -> Event& {
    for (std::size_t i = first; i < events->size(); ++i) {
      if ((*events)[i].trigger == trigger) {
        return (*events)[i];
      }
    }
    Event& event = events->emplace_back();
    event.trigger = trigger;
    event.cursor = at;
    event.change = change;
    return event;
  };
  const auto went_off = session.fired.lower_bound(at);
  for (auto fired = went_off; fired != session.fired.end() && fired->first == at; ++fired) {
    Event& event = event_of(fired->second.trigger);
    event.type = fired->second.type;
    event.watch_ids.push_back(fired->second.id);
    event.with_value |= fired->second.with_value;
    event.watched_path = change ? nullptr : fired->second.path;
  }
  if (change) {
    FindTriggered(session, *change);
    for (const auto& [registration, trigger] : matches_) {
      if (!IsOneShot(registration->mode) && registration->since < at) {
        Event& event = event_of(trigger);
        event.type = EventTypeOf(*change, trigger);
        event.watch_ids.push_back(registration->id);
        event.with_value |= registration->with_value;
      }
    }
  }
  if (events->size() == first + 2 && (*events)[first].trigger == Trigger::kParent) {
    std::swap((*events)[first], events->back());
  }
  for (std::size_t i = first; i < events->size(); ++i) {
    std::vector<WatchId>& ids = (*events)[i].watch_ids;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  }
}

// --- sessions ---

SessionWatches* WatchHub::Find(std::int64_t session) const {
  const auto found = sessions_.find(session);
  return found != sessions_.end() ? found->second.get() : nullptr;
}

SessionWatches& WatchHub::SessionOf(std::int64_t session) {
  std::unique_ptr<SessionWatches>& slot = sessions_[session];
  if (!slot) {
    slot = std::make_unique<SessionWatches>();
    slot->id = session;
  }
  return *slot;
}

WatchCounts WatchHub::counts() const {
  WatchCounts counts;
  counts.sessions = sessions_.size();
  counts.watches = table_.size();
  counts.watches_persistent = table_.size(WatchMode::kPersistent);
  counts.watches_recursive = table_.size(WatchMode::kPersistentRecursive);
  counts.watches_one_shot = counts.watches - counts.watches_persistent - counts.watches_recursive;
  counts.fired = fired_;
  counts.queued = queued_;
  counts.queue_bytes = queue_bytes_;
  counts.window_bytes = window_.bytes();
  counts.window_changes = window_.size();
  const std::size_t session_bytes = kTreeNodeBytes + 16 + sizeof(SessionWatches) + 16;
  const std::size_t by_id_bytes = kTreeNodeBytes + sizeof(WatchId) + sizeof(void*);
  counts.bytes = counts.window_bytes + table_.bytes() + counts.watches * by_id_bytes +
                 fired_bytes_ + queue_bytes_ + counts.sessions * session_bytes;
  counts.overflows = overflows_;
  counts.resyncs = resyncs_;
  counts.visited = table_.visited();
  return counts;
}

}  // namespace conclave::tree
