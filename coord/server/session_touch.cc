#include "coord/server/session_touch.h"

#include <algorithm>

namespace conclave::server {
namespace {

// A leader that is slow to confirm must not make the list of what it owes grow without end; what is
// dropped here is only the confirmation of old heartbeats, newer ones follow.
constexpr std::size_t kSentMax = 64;

}  // namespace

void SessionTouch::Touched(std::int64_t session, std::int64_t now_ns) {
  sessions_[session].touched_ns = now_ns;
  fresh_.insert(session);
}

std::optional<SessionTouch::Batch> SessionTouch::TakeBatch() {
  if (fresh_.empty()) {
    return std::nullopt;
  }
  Batch batch{.id = next_batch_++, .sessions = {fresh_.begin(), fresh_.end()}};
  Sent sent{.id = batch.id, .touches = {}};
  sent.touches.reserve(batch.sessions.size());
  for (const std::int64_t session : batch.sessions) {
    sent.touches.emplace_back(session, sessions_[session].touched_ns);
  }
  fresh_.clear();
  sent_.push_back(std::move(sent));
  if (sent_.size() > kSentMax) {
    sent_.pop_front();
  }
  return batch;
}

void SessionTouch::Confirmed(std::uint64_t batch, const std::vector<std::int64_t>& over) {
  auto it = std::find_if(sent_.begin(), sent_.end(),
                         [batch](const Sent& sent) { return sent.id == batch; });
  if (it == sent_.end()) {
    return;
  }
  for (const auto& [session, touched_ns] : it->touches) {
    auto state = sessions_.find(session);
    if (state != sessions_.end() && !std::binary_search(over.begin(), over.end(), session)) {
      state->second.confirmed_ns =
          std::max(state->second.confirmed_ns.value_or(touched_ns), touched_ns);
    }
  }
  sent_.erase(it);
}

void SessionTouch::Requeue() {
  for (const Sent& sent : sent_) {
    for (const auto& [session, touched_ns] : sent.touches) {
      if (sessions_.contains(session)) {
        fresh_.insert(session);
      }
    }
  }
  sent_.clear();
}

std::optional<std::int64_t> SessionTouch::ConfirmedAt(std::int64_t session) const {
  auto it = sessions_.find(session);
  return it == sessions_.end() ? std::nullopt : it->second.confirmed_ns;
}

void SessionTouch::Forget(std::int64_t session) {
  sessions_.erase(session);
  fresh_.erase(session);
}

void SessionTouch::Keep(const std::function<bool(std::int64_t session)>& alive) {
  std::vector<std::int64_t> over;
  for (const auto& [session, state] : sessions_) {
    if (!alive(session)) {
      over.push_back(session);
    }
  }
  for (const std::int64_t session : over) {
    Forget(session);
  }
}

}  // namespace conclave::server
