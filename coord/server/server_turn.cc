// A turn of the loop: what has come in is taken together, consensus is driven, a slice is applied,
// and what has become due is answered.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

constexpr std::int64_t kReportNs = 1'000 * kNsPerMs;

// A member that knows no leader for so long sends its callers away instead of letting them wait.
constexpr std::int64_t kLeaderlessNs = 2'000 * kNsPerMs;

// Sessions that are told of events in the turn that applied them, so that a few watchers wait for
// nothing; the others come in slices between the turns that follow, when the answers of this turn,
// the one to whom it was that made the change among them, are on their way.
constexpr std::size_t kToldAtOnce = 32;
constexpr std::size_t kToldPerSlice = 512;

}  // namespace

void Server::Core::SchedulePump() {
  if (!pumping_ && !dead_ && !stopped_) {
    pumping_ = true;
    scope_.Post([this] { Pump(); });
  }
}

void Server::Core::Pump() {
  pumping_ = false;
  if (dead_ || stopped_) {
    return;
  }
  CheckRoom(false);
  writes_->Flush();
  reads_->IssueRound();
  driver_->Pump();
  if (dead_) {
    return;
  }
  membership_->OnCommitted(driver_->raft().commitIndex());
  const std::int64_t begun_ns = NowNs();
  if (applier_->RunSlice(options_.apply_slice_entries) > 0) {
    if (dead_) {
      return;
    }
    AfterApply();
    if (seams_.metrics != nullptr) {
      seams_.metrics->Observe(Timing::kApplySlice, NowNs() - begun_ns);
    }
  }
  checkpointer_->Turn();
  if (!telling_) {
    Tell(kToldAtOnce);
  }
  if (stopping_) {
    ContinueStop();
  }
  if (driver_->raft().HasReady() || !applier_->idle()) {
    SchedulePump();
  }
}

// The fan-out. A timer and not a task, as those are for a later turn.
void Server::Core::Tell(std::size_t sessions_max) {
  telling_ = !dead_ && !stopped_ && homes_->Wake(sessions_max);
  if (telling_) {
    scope_.PostAfter(0, [this] { Tell(kToldPerSlice); });
  }
}

void Server::Core::AfterApply() {
  const raft::Index applied = applier_->applied();
  driver_->raft().Applied(applied);
  if (hello_.cluster == raft::ClusterId{}) {
    RefreshHello();  // the first entry names the cluster
  }
  writes_->AfterApply();
  reads_->OnApplied(static_cast<std::int64_t>(applied));
}

void Server::Core::Tick() {
  if (dead_ || stopped_) {
    return;
  }
  scope_.PostAfter(options_.tick_ms * kNsPerMs, [this] { Tick(); });
  const std::int64_t now_ns = NowNs();
  driver_->Tick();
  CheckLeader(now_ns);
  const bool leaderless =
      leaderless_since_ns_ != 0 && now_ns - leaderless_since_ns_ > kLeaderlessNs;
  writes_->Expire(now_ns, leaderless);
  reads_->Expire(now_ns, leaderless);
  homes_->Tick(now_ns);
  sender_->Tick(now_ns);
  Scrub(now_ns);
  membership_->Tick(now_ns);
  if (now_ns >= next_touch_ns_) {
    next_touch_ns_ = now_ns + options_.touch_interval_ms * kNsPerMs;
    ExchangeTouches();
    RefreshHello();
  }
  if (now_ns >= next_bucket_ns_) {
    next_bucket_ns_ = now_ns + options_.session_bucket_ms * kNsPerMs;
    CheckRoom(true);
    HandOverForRoom(now_ns);
    ExpireSessions();
  }
  if (now_ns >= next_report_ns_) {
    next_report_ns_ = now_ns + kReportNs;
    Report();
    PublishSelf();
    CheckUndecided(now_ns);
    EndNeedlessTransfers();
    CheckOutside();
    SweepPeers(now_ns);
  }
  SchedulePump();
}

// Rule 4: a member that has lost touch with every leader must not keep clients in the belief that
// their sessions are looked after.
void Server::Core::CheckLeader(std::int64_t now_ns) {
  if (timeouts_.empty()) {
    cut_off_ = false;
    return;
  }
  const std::int64_t limit_ns = timeouts_.begin()->first * kNsPerMs / 3;
  const std::int64_t heard_ns = driver_->leader_heard_ns().value_or(started_ns_);
  cut_off_ = now_ns - heard_ns > limit_ns;
  if (cut_off_ && homes_->parked() > 0) {
    LOG(WARNING) << "polls.dropped member=" << options_.id << " count=" << homes_->parked()
                 << " leader_heard_ms=" << (now_ns - heard_ns) / kNsPerMs;
    homes_->DropPolls(
        MakeFailure(tree::Code::kUnavailable, "this member has not heard a leader for too long"));
  }
}

void Server::Core::OnRoleChanged(const raft::RoleChange& change) {
  const bool leads = change.role == raft::RoleName::kLeader;
  const bool other = change.leader != leader_ || change.term != term_;
  LOG(INFO) << "raft.role member=" << options_.id << " role=" << raft::ToString(change.role)
            << " term=" << change.term << " leader=" << change.leader;
  if (change.leader != 0 && change.leader != leader_) {
    ++counters_.leader_changes;
  }
  leader_ = change.leader;
  term_ = change.term;
  leaderless_since_ns_ = leader_ == 0 ? NowNs() : 0;
  if (leads && other) {
    ++counters_.elections_won;
    if (seams_.observer != nullptr) {
      seams_.observer->OnLeader(change.term);
    }
    elapsed_base_ = applier_->machine().elapsed_ns();
    elapsed_base_ns_ = NowNs();
    std::vector<std::pair<std::int64_t, std::int64_t>> sessions;
    for (const auto& [id, session] : applier_->machine().sessions().all()) {
      sessions.emplace_back(id, std::int64_t{session.timeout_ms} * kNsPerMs);
    }
    expiry_.Lead(NowNs(), sessions);
  } else if (!leads) {
    expiry_.Follow();
  }
  if (other) {
    sender_->StopAll();
  }
  if (other && leader_ != 0) {
    touch_.Requeue();
    writes_->Resend();
    next_touch_ns_ = 0;
    next_report_ns_ = 0;
  }
  membership_->OnRoleChanged();
  SchedulePump();
}

void Server::Core::OnApplied(const raft::Entry& entry, tree::ApplyResult& result) {
  // Matching and queueing come first, then whatever can show the new state (rule 1).
  homes_->Apply(static_cast<std::int64_t>(entry.index), std::move(result.changes));
  checkpointer_->NoteApplied(entry.index, raft::EntryBytes(entry));
  const std::vector<tree::SessionEvent> session_events = std::move(result.session_events);
  for (const tree::SessionEvent& event : session_events) {
    if (event.type == tree::SessionEventType::kOpened) {
      OnSessionEvent(event);
    }
  }
  writes_->OnApplied(result);
  // After the answer: the one who closes a session still hears of it as a member of it.
  for (const tree::SessionEvent& event : session_events) {
    if (event.type != tree::SessionEventType::kOpened) {
      OnSessionEvent(event);
    }
  }
  if (audit_.Compares(entry.index)) {
    const DigestReport report{.index = entry.index, .digest = applier_->digest()};
    for (const auto& [peer, state] : peers_) {
      seams_.transport->Send(peer, report);
    }
    OnDigest(options_.id, report);
  }
}

void Server::Core::OnSessionEvent(const tree::SessionEvent& event) {
  const std::int64_t timeout_ms = event.timeout_ms;
  if (event.type == tree::SessionEventType::kOpened) {
    ++counters_.sessions_opened;
    ++timeouts_[timeout_ms];
    expiry_.Opened(event.session, timeout_ms * kNsPerMs, NowNs());
    return;
  }
  const bool expired = event.type == tree::SessionEventType::kExpired;
  ++(expired ? counters_.sessions_expired : counters_.sessions_closed);
  auto at = timeouts_.find(timeout_ms);
  if (at != timeouts_.end() && --at->second == 0) {
    timeouts_.erase(at);
  }
  expiry_.Closed(event.session);
  touch_.Forget(event.session);
  homes_->End(event.session, MakeFailure(tree::Code::kSessionExpired,
                                         fmt::format("session {} has {}", event.session,
                                                     expired ? "expired" : "been closed")));
}

std::pair<std::int64_t, std::int64_t> Server::Core::Stamp() {
  const std::int64_t now_ns = NowNs();
  std::int64_t elapsed_ns = elapsed_base_ + (now_ns - elapsed_base_ns_);
  // Entries of an earlier leader may be applied after this one took office.
  if (elapsed_ns < applier_->machine().elapsed_ns()) {
    elapsed_ns = applier_->machine().elapsed_ns();
    elapsed_base_ = elapsed_ns;
    elapsed_base_ns_ = now_ns;
  }
  return {seams_.wall_clock->NowMs(), elapsed_ns};
}

void Server::Core::Deliver(Reply reply) {
  outbox_.push_back(std::move(reply));
  if (!delivering_) {
    delivering_ = true;
    scope_.Post([this] {
      delivering_ = false;
      std::vector<Reply> replies = std::exchange(outbox_, {});
      if (stopping_) {
        SchedulePump();
      }
      for (Reply& deliver : replies) {
        deliver();
      }
    });
  }
}

}  // namespace conclave::server
