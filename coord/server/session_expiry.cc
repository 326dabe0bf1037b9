#include "coord/server/session_expiry.h"

#include <algorithm>

namespace conclave::server {

void SessionExpiry::Lead(std::int64_t now_ns,
                         const std::vector<std::pair<std::int64_t, std::int64_t>>& sessions) {
  Follow();
  leading_ = true;
  last_due_ns_ = now_ns;
  quorum_held_ns_ = now_ns;
  for (const auto& [session, timeout_ns] : sessions) {
    Opened(session, timeout_ns, CONCLAVE_MUTANT(33) ? now_ns - timeout_ns * 3 / 4 : now_ns);
  }
}

void SessionExpiry::Follow() {
  leading_ = false;
  impaired_ = false;
  unread_ = false;
  sessions_.clear();
  buckets_.clear();
}

void SessionExpiry::Opened(std::int64_t session, std::int64_t timeout_ns, std::int64_t now_ns) {
  if (!leading_) {
    return;
  }
  auto [it, inserted] = sessions_.try_emplace(session);
  if (!inserted) {
    return;
  }
  it->second = {.timeout_ns = timeout_ns, .heard_ns = now_ns, .bucket = 0, .ending = false};
  Place(session, it->second, now_ns + timeout_ns);
}

void SessionExpiry::Closed(std::int64_t session) { sessions_.erase(session); }

void SessionExpiry::Touched(std::int64_t session, std::int64_t now_ns) {
  auto it = sessions_.find(session);
  if (it != sessions_.end()) {
    it->second.heard_ns = now_ns;
  }
}

void SessionExpiry::Ending(std::int64_t session) {
  auto it = sessions_.find(session);
  if (it != sessions_.end()) {
    it->second.ending = true;
  }
}

bool SessionExpiry::Alive(std::int64_t session) const {
  auto it = sessions_.find(session);
  return it != sessions_.end() && !it->second.ending;
}

void SessionExpiry::QuorumHeld(std::int64_t begun_ns, std::int64_t now_ns) {
  quorum_held_ns_ = std::max(quorum_held_ns_, begun_ns);
  // A late answer to an old round does not show that the quorum is there now.
  if (leading_ && impaired_ && now_ns - begun_ns <= options_.quorum_ns) {
    GiveAllFullTimeout(now_ns);
  }
}

std::vector<std::int64_t> SessionExpiry::Due(std::int64_t now_ns, bool can_write,
                                             std::size_t most) {
  std::vector<std::int64_t> due;
  if (!leading_) {
    return due;
  }
  if (now_ns - last_due_ns_ > options_.stall_ns) {
    impaired_ = true;
    // The round that proves the quorum must have begun after the stall.
    quorum_held_ns_ = std::min(quorum_held_ns_, last_due_ns_);
  }
  // After a shorter gap heartbeats may have come in that nobody has read yet: next time, when there
  // has been a turn for them, be it a slow one.
  unread_ = !unread_ && now_ns - last_due_ns_ > 2 * options_.bucket_ns;
  last_due_ns_ = now_ns;
  if (!can_write || now_ns - quorum_held_ns_ > options_.quorum_ns) {
    impaired_ = true;
  }
  if (impaired_) {
    if (!can_write) {
      quorum_held_ns_ = std::min(quorum_held_ns_, now_ns - options_.quorum_ns - 1);
    }
    return due;
  }
  if (unread_) {
    return due;
  }
  while (!buckets_.empty() && due.size() < most) {
    auto bucket = buckets_.begin();
    if (bucket->first * options_.bucket_ns > now_ns) {
      break;
    }
    std::vector<std::int64_t> members = std::move(bucket->second);
    const std::int64_t number = bucket->first;
    buckets_.erase(bucket);
    std::sort(members.begin(), members.end());
    for (const std::int64_t session : members) {
      auto it = sessions_.find(session);
      if (it == sessions_.end() || it->second.bucket != number || it->second.ending) {
        continue;  // closed, moved on, or about to be closed by the log
      }
      const std::int64_t end_ns = it->second.heard_ns + it->second.timeout_ns;
      if (end_ns > now_ns) {
        Place(session, it->second, end_ns);
      } else if (due.size() >= most) {
        Place(session, it->second, now_ns);
      } else {
        due.push_back(session);
        Place(session, it->second, now_ns + options_.retry_ns);
      }
    }
  }
  return due;
}

void SessionExpiry::Place(std::int64_t session, Session& state, std::int64_t at_ns) {
  // Rounded up, and never into a bucket that has been looked at: a session ends late, not early.
  state.bucket = at_ns / options_.bucket_ns + 1;
  buckets_[state.bucket].push_back(session);
}

void SessionExpiry::GiveAllFullTimeout(std::int64_t now_ns) {
  impaired_ = false;
  buckets_.clear();
  for (auto& [session, state] : sessions_) {
    state.heard_ns = now_ns;
    Place(session, state, now_ns + state.timeout_ns);
  }
}

}  // namespace conclave::server
