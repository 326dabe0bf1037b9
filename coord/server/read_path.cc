#include "coord/server/read_path.h"

#include <algorithm>
#include <utility>

namespace conclave::server {

ReadPath::ReadPath(raft::Raft* raft, const tree::Sessions* sessions, Counters* counters)
    : raft_(raft), sessions_(sessions), counters_(counters) {}

ReadPath::Id ReadPath::Await(Condition condition, Done done) {
  const Id id = next_++;
  deadlines_.emplace(condition.deadline_ns, id);
  if (condition.fresh) {
    unconfirmed_.push_back(id);
  }
  Wait wait;
  wait.confirmed = !condition.fresh;
  wait.need = condition.min_zxid;
  wait.condition = condition;
  wait.done = std::move(done);
  waits_.emplace(id, std::move(wait));
  TryEnd(id);
  return id;
}

void ReadPath::OpenGate(Id id) {
  auto at = waits_.find(id);
  if (at != waits_.end()) {
    at->second.condition.gated = false;
    TryEnd(id);
  }
}

void ReadPath::IssueRound() {
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
    TryEnd(id);
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
    const Id id = by_index_.begin()->second;
    by_index_.erase(by_index_.begin());
    waits_.at(id).by_index = false;
    TryEnd(id);
  }
  const std::set<Id> by_seq = by_seq_;
  for (const Id id : by_seq) {
    TryEnd(id);
  }
}

void ReadPath::Expire(std::int64_t now_ns, bool leaderless) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    Fail(deadlines_.begin()->second, tree::Code::kDeadlineExceeded,
         "the deadline passed before this member could answer");
  }
  if (leaderless) {
    const std::vector<Id> ids = std::exchange(unconfirmed_, {});
    for (const Id id : ids) {
      Fail(id, tree::Code::kUnavailable, "no leader is known to this member");
    }
  }
}

void ReadPath::FailAll(tree::Code code, const std::string& why) {
  while (!waits_.empty()) {
    Fail(waits_.begin()->first, code, why);
  }
}

void ReadPath::TryEnd(Id id) {
  auto at = waits_.find(id);
  if (at == waits_.end()) {
    return;
  }
  Wait& wait = at->second;
  if (wait.by_index || !wait.confirmed || wait.condition.gated) {
    return;
  }
  if (wait.need > applied_) {
    wait.by_index = true;
    by_index_.emplace(wait.need, id);
    return;
  }
  if (!SeqApplied(wait.condition)) {
    by_seq_.insert(id);
    return;
  }
  End(id, {});
}

bool ReadPath::SeqApplied(const Condition& condition) const {
  if (condition.after_seq == 0) {
    return true;
  }
  const tree::Session* session = sessions_->Find(condition.session);
  // A session that has ended is reported by the read itself.
  return session == nullptr || session->last_seq >= condition.after_seq;
}

void ReadPath::Fail(Id id, tree::Code code, const std::string& why) {
  tree::Error error;
  error.code = code;
  error.message = why;
  error.zxid = applied_;
  End(id, tl::unexpected(std::move(error)));
}

void ReadPath::End(Id id, tl::expected<void, tree::Error> result) {
  auto at = waits_.find(id);
  if (at == waits_.end()) {
    return;
  }
  Wait wait = std::move(at->second);
  waits_.erase(at);
  deadlines_.erase({wait.condition.deadline_ns, id});
  by_seq_.erase(id);
  if (wait.by_index) {
    by_index_.erase({wait.need, id});
  }
  wait.done(std::move(result));
}

}  // namespace conclave::server
