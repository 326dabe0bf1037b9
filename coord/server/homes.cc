#include "coord/server/homes.h"

#include <algorithm>
#include <utility>

namespace conclave::server {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kSweepNs = 1'000 * kNsPerMs;
constexpr std::size_t kPollEventsMax = 10'000;
constexpr std::size_t kPollEventsDefault = 1000;
constexpr std::size_t kPollBytesMax = std::size_t{1} << 20;

tree::DrainLimits LimitsOf(const PollRequest& request) {
  tree::DrainLimits limits;
  limits.events_max =
      request.events_max == 0 ? kPollEventsDefault : std::min(request.events_max, kPollEventsMax);
  limits.bytes_max =
      request.bytes_max == 0 ? kPollBytesMax : std::min(request.bytes_max, kPollBytesMax);
  return limits;
}

}  // namespace

Homes::Homes(Links links, const tree::WatchHubOptions& options, std::int64_t applied)
    : links_(std::move(links)), hub_(options, applied), applied_(applied) {}

void Homes::Apply(std::int64_t zxid, std::vector<tree::Change> changes) {
  applied_ = zxid;
  const std::vector<std::int64_t> woken = hub_.Apply(zxid, std::move(changes));
  woken_.insert(woken.begin(), woken.end());
}

void Homes::Jump(std::int64_t zxid, const std::function<bool(std::int64_t session)>& alive,
                 const Failure& why) {
  applied_ = zxid;
  std::vector<std::int64_t> ended;
  for (const auto& [session, home] : homes_) {
    if (!alive(session)) {
      ended.push_back(session);
    }
  }
  for (const std::int64_t session : ended) {
    End(session, why);
  }
  const std::vector<std::int64_t> woken = hub_.Jump(zxid);
  woken_.insert(woken.begin(), woken.end());
}

void Homes::End(std::int64_t session, const Failure& why) {
  hub_.Drop(session);
  woken_.erase(session);
  auto home = homes_.find(session);
  if (home == homes_.end()) {
    return;
  }
  while (!home->second->parked.empty()) {
    RefuseOldest(session, *home->second, why);
  }
  homes_.erase(home);
}

bool Homes::Wake(std::size_t sessions_max) {
  while (!wakes_.empty() && wakes_.begin()->first <= applied_) {
    woken_.insert(wakes_.begin()->second);
    wakes_.erase(wakes_.begin());
  }
  for (std::size_t i = 0; i < sessions_max && !woken_.empty(); ++i) {
    auto next = woken_.upper_bound(woken_last_);
    if (next == woken_.end()) {
      next = woken_.begin();
    }
    woken_last_ = *next;
    woken_.erase(next);
    if (Home* const home = Find(woken_last_)) {
      AnswerDue(woken_last_, *home, 0);
    }
  }
  return !woken_.empty();
}

void Homes::AnswerDue(std::int64_t session, Home& home, std::int64_t now_ns) {
  // One that is due takes those before it along: answers keep the order of the polls.
  const auto due = [this, now_ns](const Parked& parked) {
    return (parked.wake_zxid != 0 && parked.wake_zxid <= applied_) || parked.deadline_ns <= now_ns;
  };
  while (!home.parked.empty() &&
         (HasEvents(session, home) || std::any_of(home.parked.begin(), home.parked.end(), due))) {
    AnswerOldest(session, home);
  }
}

bool Homes::HasEvents(std::int64_t session, const Home& home) const {
  return hub_.HasEvents(session, home.sent);
}

Homes::Parked Homes::Unpark(std::int64_t session, Home& home) {
  Parked parked = std::move(home.parked.front());
  home.parked.erase(home.parked.begin());
  --parked_;
  if (auto at = waits_.find({parked.deadline_ns, session}); at != waits_.end()) {
    waits_.erase(at);
  }
  if (auto at = wakes_.find({parked.wake_zxid, session}); at != wakes_.end()) {
    wakes_.erase(at);
  }
  return parked;
}

void Homes::AnswerOldest(std::int64_t session, Home& home) {
  Parked parked = Unpark(session, home);
  ++links_.counters->polls_answered;

  ReplyHead head = links_.head(session);
  PollReply reply;
  reply.timeout_ms = links_.timeout_ms(session);
  tree::DrainResult drained = hub_.Drain(session, parked.cursor, parked.limits);
  if (drained.attached) {
    if (drained.resync) {
      reply.elsewhere = links_.elsewhere(parked.cursor);
    }
    home.sent = std::max(home.sent, drained.cursor);
    head.cursor = drained.cursor;
    head.resync = drained.resync;
    reply.more = drained.more;
    links_.counters->events_delivered += drained.events.size();
    head.events = std::move(drained.events);
  }
  links_.deliver([done = std::move(parked.done), head = std::move(head),
                  reply = std::move(reply)]() mutable { done(std::move(head), std::move(reply)); });
}

void Homes::RefuseOldest(std::int64_t session, Home& home, const Failure& why) {
  Parked parked = Unpark(session, home);
  links_.deliver([done = std::move(parked.done), head = links_.head(session), why]() mutable {
    done(std::move(head), tl::unexpected(std::move(why)));
  });
}

void Homes::Poll(std::int64_t session, const PollRequest& request, std::int64_t now_ns,
                 Callback<PollReply> done) {
  Home& home = HomeOf(session, now_ns);
  if (hub_.Has(session)) {
    hub_.Acknowledge(session, request.cursor);
    // The client says what it has: an answer that was lost on the way is given again.
    home.sent = request.cursor;
  }
  while (home.parked.size() >= kPollsParkedMax) {
    AnswerOldest(session, home);
  }
  const std::int64_t wait_ms =
      std::clamp<std::int64_t>(request.wait_ms, 0, links_.poll_wait_ms_max);
  home.parked.push_back({.cursor = request.cursor,
                         .deadline_ns = now_ns + wait_ms * kNsPerMs,
                         .limits = LimitsOf(request),
                         .wake_zxid = request.wake_zxid,
                         .done = std::move(done)});
  ++parked_;
  waits_.emplace(home.parked.back().deadline_ns, session);
  if (request.wake_zxid > applied_) {
    wakes_.emplace(request.wake_zxid, session);
  }
  AnswerDue(session, home, now_ns);
}

void Homes::FillHead(std::int64_t session, bool no_events, std::int64_t now_ns, ReplyHead* head) {
  Home* const found = Find(session);
  if (found == nullptr || !hub_.Has(session)) {
    return;
  }
  Home& home = *found;
  // Also with no_events: a client that is too busy for polls has not left.
  home.used_ns = now_ns;
  while (!home.parked.empty() && HasEvents(session, home)) {
    AnswerOldest(session, home);
  }
  if (no_events) {
    // The client takes its events by polls alone, and holds this reply until they have come so far.
    head->cursor = hub_.IsBehind(session, home.sent) ? hub_.window().end() : home.sent;
    return;
  }
  if (HasEvents(session, home)) {
    tree::DrainResult drained = hub_.Drain(session, home.sent, LimitsOf({}));
    home.sent = drained.cursor;
    head->resync = drained.resync;
    links_.counters->events_delivered += drained.events.size();
    head->events = std::move(drained.events);
  }
  if (!hub_.IsBehind(session, home.sent)) {
    home.sent = std::max(home.sent, hub_.window().end());
  }
  head->cursor = home.sent;
}

tree::RegisterResult Homes::Register(std::int64_t session, const tree::Watch& watch,
                                     std::optional<tree::Cursor> since, std::int64_t now_ns) {
  const bool fresh = !hub_.Has(session);
  const tree::RegisterResult result = hub_.Register(session, watch, since);
  if (result.status == tree::RegisterStatus::kOk) {
    Home& home = HomeOf(session, now_ns);
    if (fresh) {
      home.sent = result.since;
    } else if (result.since < home.sent) {
      home.sent = result.since;
    }
    woken_.insert(session);
  }
  return result;
}

tree::RegisterResult Homes::Resume(std::int64_t session, const ResumeWatchesRequest& request,
                                   std::int64_t now_ns) {
  const tree::RegisterResult result =
      hub_.Resume(session, request.cursor, request.watches, request.replace_all);
  if (result.status == tree::RegisterStatus::kOk) {
    Home& home = HomeOf(session, now_ns);
    // Polls that are parked are of a connection that the client has given up, perhaps without this
    // member's knowing: events answered to them would be lost.
    Failure resumed;
    resumed.error.code = tree::Code::kUnavailable;
    resumed.error.message = "the session has been resumed";
    while (!home.parked.empty()) {
      ++links_.counters->polls_dropped;
      RefuseOldest(session, home, resumed);
    }
    home.sent = request.cursor;
    woken_.insert(session);
  }
  return result;
}

bool Homes::Unregister(std::int64_t session, tree::WatchId id) {
  return hub_.Unregister(session, id);
}

void Homes::Tick(std::int64_t now_ns) {
  while (!waits_.empty() && waits_.begin()->first <= now_ns) {
    const std::int64_t session = waits_.begin()->second;
    waits_.erase(waits_.begin());
    if (Home* const home = Find(session)) {
      AnswerDue(session, *home, now_ns);
    }
  }
  if (now_ns < next_sweep_ns_) {
    return;
  }
  next_sweep_ns_ = now_ns + kSweepNs;
  for (auto home = homes_.begin(); home != homes_.end();) {
    const Home& left = *home->second;
    if (left.parked.empty() &&
        now_ns - left.used_ns > 2 * links_.timeout_ms(home->first) * kNsPerMs) {
      hub_.Drop(home->first);
      home = homes_.erase(home);
    } else {
      ++home;
    }
  }
}

void Homes::DropPolls(const Failure& why) {
  for (const auto& [session, home] : homes_) {
    while (!home->parked.empty()) {
      ++links_.counters->polls_dropped;
      RefuseOldest(session, *home, why);
    }
  }
}

Homes::Home* Homes::Find(std::int64_t session) {
  const auto home = homes_.find(session);
  return home != homes_.end() ? home->second.get() : nullptr;
}

Homes::Home& Homes::HomeOf(std::int64_t session, std::int64_t now_ns) {
  std::unique_ptr<Home>& home = homes_[session];
  if (!home) {
    home = std::make_unique<Home>();
  }
  home->used_ns = now_ns;
  return *home;
}

}  // namespace conclave::server
