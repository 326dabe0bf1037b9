// Who is alive: authentication of callers, heartbeats on their way to the leader, expiry.
#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

// Calls of one unknown session that wait for a fresh index; more are refused.
constexpr std::size_t kUnverifiedCallsMax = 1024;
constexpr std::size_t kUnverifiedSessionsMax = 10'000;

// Sessions ended in one go; the others follow at the next bucket, so that ten thousand clients that
// vanish together do not hold up those that stay.
constexpr std::size_t kExpirePerBucket = 256;

}  // namespace

std::optional<Failure> Server::Core::RefuseCaller(const Caller& caller, bool session_needed) const {
  if (auto closed = Closed(caller)) {
    return closed;
  }
  if (caller.session == 0 && session_needed) {
    return MakeFailure(tree::Code::kInvalidArgument, "this call needs a session");
  }
  return std::nullopt;
}

bool Server::Core::Known(std::int64_t session) const {
  return (unverified_.empty() || !unverified_.contains(session)) &&
         applier_->machine().sessions().Find(session) != nullptr;
}

// A session's id is the zxid of its opening. This member may not have come so far, and only one
// that has applied a fresh read index may call a session expired (rule 4).
std::optional<Failure> Server::Core::AwaitFresh(std::int64_t session,
                                                absl::AnyInvocable<void(bool fresh)> call) {
  auto waiting = unverified_.find(session);
  if (waiting == unverified_.end()) {
    if (unverified_.size() >= kUnverifiedSessionsMax) {
      return MakeFailure(tree::Code::kOverloaded, "too many unknown sessions ask at once");
    }
    waiting = unverified_.try_emplace(session).first;
    ReadPath::Condition condition;
    condition.fresh = true;
    condition.deadline_ns = NowNs() + options_.read_timeout_ms * kNsPerMs;
    reads_->Await(condition, [this, session](Fresh fresh) {
      auto at = unverified_.find(session);
      auto calls = std::move(at->second.calls);
      unverified_.erase(at);
      for (auto& one : calls) {
        one(fresh.has_value());
      }
    });
    SchedulePump();
  }
  if (waiting->second.calls.size() >= kUnverifiedCallsMax) {
    return MakeFailure(tree::Code::kOverloaded, "too many calls of an unknown session");
  }
  waiting->second.calls.push_back(std::move(call));
  return std::nullopt;
}

std::optional<Failure> Server::Core::Judge(const Caller& caller, bool* authentic) {
  const auto valid = applier_->machine().sessions().Authenticate(caller.session, caller.secret);
  if (!valid) {
    return MakeFailure(valid.error().code, valid.error().message);
  }
  *authentic = true;
  Touch(caller.session, NowNs());
  return std::nullopt;
}

Failure Server::Core::CannotTell(std::int64_t session) const {
  return MakeFailure(tree::Code::kUnavailable,
                     fmt::format("this member cannot tell whether session {} lives", session));
}

void Server::Core::Touch(std::int64_t session, std::int64_t now_ns) {
  ++counters_.touches;
  touch_.Touched(session, now_ns);
}

void Server::Core::ExchangeTouches() {
  if (leader_ == 0) {
    return;
  }
  if (driver_->raft().is_leader()) {
    auto batch = touch_.TakeBatch();
    const std::uint64_t id = batch ? batch->id : 0;
    std::vector<std::int64_t> sessions;
    if (batch) {
      sessions = std::move(batch->sessions);
      for (const std::int64_t session : sessions) {
        expiry_.Touched(session, NowNs());
      }
    }
    // Also without touches: the round is how a leader knows that it still has a quorum.
    ConfirmTouches(options_.id, id, std::move(sessions));
    return;
  }
  if (!Connected(leader_) || CONCLAVE_MUTANT(34)) {
    return;
  }
  if (auto batch = touch_.TakeBatch()) {
    ++counters_.touch_batches;
    seams_.transport->Send(leader_,
                           TouchBatch{.batch = batch->id, .sessions = std::move(batch->sessions)});
  }
}

void Server::Core::OnTouchBatch(raft::MemberId from, TouchBatch batch) {
  if (!driver_->raft().is_leader()) {
    return;  // the sender hears them anew once it knows who leads
  }
  for (const std::int64_t session : batch.sessions) {
    expiry_.Touched(session, NowNs());
  }
  ConfirmTouches(from, batch.batch, std::move(batch.sessions));
}

// Confirms a batch once a quorum round begun from now on has completed (rule 4), but not for its
// sessions that are over or whose end is on its way: the member that sent those is behind, and
// clears up by itself once it has applied the end. The others must not suffer for it, or sessions
// that come and go would keep all from being confirmed.
void Server::Core::ConfirmTouches(raft::MemberId from, std::uint64_t batch,
                                  std::vector<std::int64_t> sessions) {
  const std::int64_t begun_ns = NowNs();
  ReadPath::Condition condition;
  condition.fresh = true;
  condition.deadline_ns = begun_ns + options_.session_timeout_min_ms * kNsPerMs;
  reads_->Await(condition, [this, from, batch, sessions = std::move(sessions), begun_ns,
                            term = term_](tl::expected<void, tree::Error> held) {
    if (!held || !driver_->raft().is_leader() || term != term_) {
      return;
    }
    ++counters_.touch_batches;
    driver_->NoteLeaderHeard(begun_ns);
    expiry_.QuorumHeld(begun_ns, NowNs());
    // Looked at after the round: by now what an earlier leader has left is applied.
    TouchAck ack{.batch = batch};
    std::copy_if(sessions.begin(), sessions.end(), std::back_inserter(ack.over),
                 [this](std::int64_t session) { return !expiry_.Alive(session); });
    std::sort(ack.over.begin(), ack.over.end());
    if (from == options_.id) {
      touch_.Confirmed(ack.batch, ack.over);
    } else {
      seams_.transport->Send(from, std::move(ack));
    }
  });
  SchedulePump();
}

void Server::Core::ExpireSessions() {
  if (!expiry_.leading() || !broken_.empty()) {
    return;
  }
  const bool can_write = room_ != Room::kFull && split_.empty();
  for (const std::int64_t session : expiry_.Due(NowNs(), can_write, kExpirePerBucket)) {
    LOG(INFO) << "session.expired session=" << session << " member=" << options_.id;
    // Refused for what is pending: reported again a little later.
    if (writes_->ProposeOnce(
            tree::CloseSession{.session = session, .reason = tree::CloseReason::kExpired})) {
      expiry_.Ending(session);
    }
  }
}

std::int64_t Server::Core::SessionTimeoutMs(std::int64_t session) const {
  const tree::Session* found = applier_->machine().sessions().Find(session);
  return found == nullptr ? 0 : found->timeout_ms;
}

}  // namespace conclave::server
