#include "coord/server/read_path.h"

#include <algorithm>
#include <utility>

namespace conclave::server {

ReadPath::ReadPath(raft::Raft* raft, const tree::Sessions* sessions, Counters* counters)
    : raft_(raft), sessions_(sessions), counters_(counters) {}

ReadPath::Id ReadPath::Await(const Condition& condition, Done done) {
  const Id id = next_++;
  if (condition.fresh) {
    unconfirmed_.push_back(id);
  }
  earliest_deadline_ns_ = std::min(earliest_deadline_ns_, condition.deadline_ns);
  auto at = waits_.try_emplace(id).first;
  Wait& wait = at->second;
  wait.condition = condition;
  wait.confirmed = !condition.fresh;
  wait.need = condition.min_zxid;
  wait.done = std::move(done);
  TryEnd(at);
  return id;
}

void ReadPath::OpenGate(Id id) {
  auto at = waits_.find(id);
  if (at != waits_.end()) {
    at->second.condition.gated = false;
    TryEnd(at);
  }
}

void ReadPath::IssueRound() {
  if (unconfirmed_.empty()) {
    return;
  }
  std::erase_if(unconfirmed_, [this](Id id) { return !waits_.contains(id); });
  if (unconfirmed_.empty()) {
    return;
  }
  const auto round = raft_->ReadIndex();
  if (!round) {
    return;  // no leader is known: asked again with the next turn, until the deadline
  }
  ++counters_->read_rounds;
  rounds_.emplace(*round, std::exchange(unconfirmed_, {}));
}

void ReadPath::OnReadReady(const raft::ReadReady& ready) {
  auto round = rounds_.find(ready.id);
  if (round == rounds_.end()) {
    return;
  }
  const std::vector<Id> ids = std::move(round->second);
  rounds_.erase(round);
  for (const Id id : ids) {
    auto at = waits_.find(id);
    if (at == waits_.end()) {
      continue;
    }
    at->second.confirmed = true;
    at->second.need = std::max(at->second.need, static_cast<std::int64_t>(ready.readIndex));
    TryEnd(at);
  }
}

void ReadPath::OnReadFailed(raft::ReadId id) {
  auto round = rounds_.find(id);
  if (round != rounds_.end()) {
    unconfirmed_.insert(unconfirmed_.end(), round->second.begin(), round->second.end());
    rounds_.erase(round);
  }
}

void ReadPath::OnApplied(std::int64_t applied) {
  applied_ = applied;
  while (!by_index_.empty() && by_index_.begin()->first <= applied_) {
    TryEndAll(by_index_.extract(by_index_.begin()).mapped());
  }
  if (!by_seq_.empty()) {
    TryEndAll(std::exchange(by_seq_, {}));
  }
}

// Those that were queued, and are not any more.
void ReadPath::TryEndAll(const std::vector<Id>& ids) {
  for (const Id id : ids) {
    auto at = waits_.find(id);
    if (at != waits_.end()) {
      at->second.queued = false;
      TryEnd(at);
    }
  }
}

std::vector<ReadPath::Id> ReadPath::WaitIds() const {
  std::vector<Id> ids;
  ids.reserve(waits_.size());
  for (const auto& [id, wait] : waits_) {
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

void ReadPath::Expire(std::int64_t now_ns, bool leaderless) {
  if (now_ns >= earliest_deadline_ns_) {
    for (const Id id : WaitIds()) {
      auto at = waits_.find(id);
      if (at != waits_.end() && at->second.condition.deadline_ns <= now_ns) {
        Fail(at, tree::Code::kDeadlineExceeded,
             "the deadline passed before this member could answer");
      }
    }
    earliest_deadline_ns_ = std::numeric_limits<std::int64_t>::max();
    for (const auto& [id, wait] : waits_) {
      earliest_deadline_ns_ = std::min(earliest_deadline_ns_, wait.condition.deadline_ns);
    }
  }
  if (leaderless) {
    for (const Id id : std::exchange(unconfirmed_, {})) {
      auto at = waits_.find(id);
      if (at != waits_.end()) {
        Fail(at, tree::Code::kUnavailable, "no leader is known to this member");
      }
    }
  }
}

void ReadPath::FailAll(tree::Code code, const std::string& why) {
  while (!waits_.empty()) {
    for (const Id id : WaitIds()) {
      auto at = waits_.find(id);
      if (at != waits_.end()) {
        Fail(at, code, why);
      }
    }
  }
}

void ReadPath::TryEnd(Waits::iterator at) {
  Wait& wait = at->second;
  if (wait.queued || !wait.confirmed || wait.condition.gated) {
    return;
  }
  if (wait.need > applied_) {
    wait.queued = true;
    by_index_[wait.need].push_back(at->first);
  } else if (!SeqApplied(wait.condition)) {
    wait.queued = true;
    by_seq_.push_back(at->first);
  } else {
    End(at, {});
  }
}

bool ReadPath::SeqApplied(const Condition& condition) const {
  if (condition.after_seq == 0) {
    return true;
  }
  const tree::Session* session = sessions_->Find(condition.session);
  // A session that has ended is reported by the read itself.
  return session == nullptr || session->last_seq >= condition.after_seq;
}

void ReadPath::Fail(Waits::iterator at, tree::Code code, const std::string& why) {
  tree::Error error;
  error.code = code;
  error.message = why;
  error.zxid = applied_;
  End(at, tl::unexpected(std::move(error)));
}

void ReadPath::End(Waits::iterator at, tl::expected<void, tree::Error> result) {
  Done done = std::move(at->second.done);
  waits_.erase(at);
  done(std::move(result));
}

}  // namespace conclave::server
