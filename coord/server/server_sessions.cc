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

void Server::Core::Authenticate(const Caller& caller, bool session_needed, Fail fail,
                                std::function<void()> go) {
  if (auto closed = Closed(caller)) {
    fail(std::move(*closed));
    return;
  }
  if (caller.session == 0) {
    if (session_needed) {
      fail(MakeFailure(tree::Code::kInvalidArgument, "this call needs a session"));
    } else {
      go();
    }
    return;
  }
  const std::int64_t session = caller.session;
  auto waiting = unverified_.find(session);
  if (waiting == unverified_.end() && applier_->machine().sessions().Find(session) != nullptr) {
    Judge(session, caller.secret, fail, go);
    return;
  }
  // A session's id is the zxid of its opening. This member may not have come so far, and only one
  // that has applied a fresh read index may call a session expired (rule 4).
  if (waiting == unverified_.end()) {
    if (unverified_.size() >= kUnverifiedSessionsMax) {
      fail(MakeFailure(tree::Code::kOverloaded, "too many unknown sessions ask at once"));
      return;
    }
    waiting = unverified_.try_emplace(session).first;
    ReadPath::Condition condition;
    condition.fresh = true;
    condition.deadline_ns = NowNs() + options_.read_timeout_ms * kNsPerMs;
    reads_->Await(condition, [this, session](tl::expected<void, tree::Error> fresh) {
      auto at = unverified_.find(session);
      const std::vector<std::function<void(bool)>> calls = std::move(at->second.calls);
      unverified_.erase(at);
      for (const auto& call : calls) {
        call(fresh.has_value());
      }
    });
    SchedulePump();
  }
  if (waiting->second.calls.size() >= kUnverifiedCallsMax) {
    fail(MakeFailure(tree::Code::kOverloaded, "too many calls of an unknown session"));
    return;
  }
  auto judge = [this, session, secret = caller.secret, fail = std::move(fail),
                go = std::move(go)](bool fresh) {
    if (fresh || applier_->machine().sessions().Find(session) != nullptr) {
      Judge(session, secret, fail, go);
    } else {
      fail(MakeFailure(tree::Code::kUnavailable,
                       fmt::format("this member cannot tell whether session {} lives", session)));
    }
  };
  waiting->second.calls.push_back(std::move(judge));
}

void Server::Core::Judge(std::int64_t session, const tree::Bytes16& secret, const Fail& fail,
                         const std::function<void()>& go) {
  const auto valid = applier_->machine().sessions().Authenticate(session, secret);
  if (!valid) {
    fail(MakeFailure(valid.error().code, valid.error().message));
    return;
  }
  Touch(session);
  go();
}

void Server::Core::Touch(std::int64_t session) {
  ++counters_.touches;
  touch_.Touched(session, NowNs());
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
