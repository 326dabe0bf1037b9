#include "coord/server/session_touch.h"

#include <algorithm>
#include <utility>

namespace conclave::server {
namespace {

// A leader that is slow to confirm must not make the list of what it owes grow without end; what is
// dropped here is only the confirmation of old heartbeats, newer ones follow.
constexpr std::size_t kSentMax = 64;

}  // namespace

void SessionTouch::Touched(std::int64_t session, std::int64_t now_ns) {
  Session& state = sessions_[session];
  state.touched_ns = now_ns;
  if (!std::exchange(state.fresh, true)) {
    fresh_.push_back(session);
  }
}

std::optional<SessionTouch::Batch> SessionTouch::TakeBatch() {
  std::vector<std::int64_t> fresh = std::exchange(fresh_, {});
  std::sort(fresh.begin(), fresh.end());
  Batch batch{.id = next_batch_, .sessions = {}};
  Sent sent{.id = next_batch_, .touches = {}};
  batch.sessions.reserve(fresh.size());
  sent.touches.reserve(fresh.size());
  for (const std::int64_t session : fresh) {
    auto state = sessions_.find(session);
    if (state != sessions_.end() && std::exchange(state->second.fresh, false)) {
      batch.sessions.push_back(session);
      sent.touches.emplace_back(session, state->second.touched_ns);
    }
  }
  if (batch.sessions.empty()) {
    return std::nullopt;
  }
  ++next_batch_;
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
      state->second.confirmed_ns = std::max(state->second.confirmed_ns, touched_ns);
    }
  }
  sent_.erase(it);
}

void SessionTouch::Requeue() {
  for (const Sent& sent : sent_) {
    for (const auto& [session, touched_ns] : sent.touches) {
      auto state = sessions_.find(session);
      if (state != sessions_.end() && !std::exchange(state->second.fresh, true)) {
        fresh_.push_back(session);
      }
    }
  }
  sent_.clear();
}

std::optional<std::int64_t> SessionTouch::ConfirmedAt(std::int64_t session) const {
  auto it = sessions_.find(session);
  if (it == sessions_.end() || it->second.confirmed_ns == kNever) {
    return std::nullopt;
  }
  return it->second.confirmed_ns;
}

void SessionTouch::Forget(std::int64_t session) { sessions_.erase(session); }

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
