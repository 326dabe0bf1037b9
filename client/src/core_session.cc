// The part of the engine that keeps a connection and, on it, the session.
#include <algorithm>
#include <string>
#include <utility>

#include "client/src/codec.h"
#include "client/src/core.h"

namespace conclave::internal {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// What one resumeWatches takes.
constexpr std::size_t kWatchesPerCall = 10'000;
// A number that no session reaches: the cluster answers with the one that it expects.
constexpr std::int64_t kNoSuchSeq = std::int64_t{1} << 52;
// How often in a row members may send us on: they lead not, or remember too little.
constexpr int kHopsMax = 3;

std::string TextOf(const RpcError& error) {
  if (const auto* declared = std::get_if<idl::CoordError>(&error)) {
    return FromIdl(*declared).ToString();
  }
  return std::get<wire::CallFailure>(error).message;
}

std::vector<Endpoint> ParseAll(const std::vector<std::string>& addresses) {
  std::vector<Endpoint> endpoints;
  for (const std::string& address : addresses) {
    if (auto endpoint = ParseEndpoint(address)) {
      endpoints.push_back(std::move(*endpoint));
    }
  }
  return endpoints;
}

}  // namespace

void Core::Start() {
  RunOnLoop([self = shared_from_this()] {
    if (self->phase_ == Phase::kIdle && self->channel_ == nullptr) {
      self->Dial();
    }
  });
}

void Core::Dial() {
  dial_timer_ = 0;
  if (phase_ == Phase::kOver) {
    return;
  }
  home_ = rounds_.Next();
  if (!home_) {
    phase_ = Phase::kIdle;
    hops_ = 0;
    dial_timer_ = After(dial_backoff_.Next(), &Core::Dial);
    return;
  }
  phase_ = Phase::kOpening;
  ++connection_;
  wire::ChannelOptions options;
  options.limits.frame_bytes_max = static_cast<std::uint32_t>(options_.frame_bytes_max);
  auto factory = [this, endpoint = *home_](wire::FrameStream::Callbacks callbacks) {
    return std::unique_ptr<wire::FrameStream>(
        std::make_unique<StreamAdapter>(*seams_.transport, endpoint, std::move(callbacks)));
  };
  channel_ = std::make_unique<wire::Channel>(scheduler_, factory, options);
  const auto guarded = [this](auto handle) {
    return [weak = weak_from_this(), connection = connection_, handle](const auto&... arguments) {
      const auto core = weak.lock();
      if (core != nullptr && core->connection_ == connection) {
        handle(*core, arguments...);
      }
    };
  };
  channel_->OnOpen(guarded([](Core& core) { core.OnOpened(); }));
  channel_->OnClosed(
      guarded([](Core& core, const wire::CloseReason& reason) { core.OnClosed(reason.message); }));
  connect_timer_ = After(options_.connect_timeout, &Core::OnConnectTimeout);
  channel_->Open();
}

void Core::OnConnectTimeout() {
  connect_timer_ = 0;
  OnClosed("no answer within the connect timeout");
}

void Core::OnOpened() {
  phase_ = Phase::kHandshake;
  last_reply_at_ = seams_.loop->Now();
  if (!options_.open_session) {
    BecomeReady();
  } else if (session_id_ == 0) {
    OpenSession();
  } else {
    ResumeSession(watches_.Specs(), true);
  }
  Pump();  // What needs no session does not wait for one.
}

void Core::OnClosed(const std::string& reason) {
  if (phase_ == Phase::kOver) {
    return;
  }
  const std::string where = home_ ? home_->ToString() : std::string();
  // What the transport says mostly begins with the address itself.
  last_problem_ = reason.find(where) == std::string::npos ? where + ": " + reason : reason;
  Log("connection lost: " + last_problem_);
  const bool was_good =
      phase_ == Phase::kReady && seams_.loop->Now() - ready_at_ >= kGoodConnection;
  const std::optional<Endpoint> lost = home_;
  DropConnection();
  if (was_good) {
    dial_backoff_.Reset();
    rounds_.StartRound(lost);
  }
  Dial();
}

void Core::DropConnection() {
  const bool was_ready = phase_ == Phase::kReady;
  ++connection_;
  channel_.reset();
  home_.reset();
  phase_ = Phase::kIdle;
  heartbeat_in_flight_ = false;
  nudge_in_flight_ = false;
  held_.clear();  // They are asked for again, like everything that is not answered.
  leaving_ = false;
  trouble_since_.reset();
  CancelTimer(connect_timer_);
  CancelTimer(heartbeat_timer_);
  CancelTimer(health_timer_);
  CancelTimer(pump_timer_);
  CancelTimer(dial_timer_);
  calls_.RequeueAll();
  if (was_ready) {
    SetState(SessionState::kSuspended, last_problem_);
  }
}

void Core::MoveAway(const std::string& reason, const std::vector<Endpoint>& preferred) {
  if (phase_ == Phase::kOver || channel_ == nullptr) {
    return;
  }
  rounds_.Prefer(preferred);
  OnClosed("moving to another member: " + reason);
}

idl::Ctx Core::SessionContext() const {
  idl::Ctx ctx;
  ctx.__set_session(session_id_);
  ctx.__set_secret(secret_);
  return ctx;
}

void Core::OpenSession() {
  idl::OpenRequest request;
  request.__set_timeoutMs(static_cast<std::int32_t>(options_.session_timeout.count()));
  request.__set_nonce(nonce_);
  request.__set_clientName(options_.client_name);
  // What an earlier attempt has opened is as old as that: only the answer to the first one says
  // that the session was alive after it was asked for.
  const bool first = !std::exchange(open_sent_, true);
  Send(*channel_, {}, request,
       [weak = weak_from_this(), first, sent_at = seams_.loop->Now()](RpcResult result) {
         if (const auto core = weak.lock()) {
           core->OnSessionOpened(first, sent_at, std::move(result));
         }
       });
}

void Core::OnSessionOpened(bool first, BootTime sent_at, RpcResult result) {
  if (!result) {
    OnHandshakeError(result.error());
    return;
  }
  auto& opened = std::get<idl::OpenResult>(*result);
  if (opened.session <= 0 || opened.secret.empty() || opened.timeoutMs <= 0) {
    OnClosed("the member's answer to openSession makes no sense");
    return;
  }
  session_timeout_ms_ = opened.timeoutMs;
  if (!TakeEvents(opened.head, sent_at, cursor_)) {
    return;
  }
  {
    const std::lock_guard lock(mu_);
    secret_ = opened.secret;
  }
  session_id_ = opened.session;
  cursor_ = std::max(cursor_, Cursor{.zxid = opened.session, .ordinal = 0});
  if (first) {
    // Opening is the session's first sign of life, and it has been agreed on after it was sent.
    ExtendValidity(sent_at + session_timeout());
  }
  BecomeReady();
}

void Core::ResumeSession(std::vector<idl::WatchSpec> specs, bool first) {
  idl::ResumeWatchesRequest request;
  const std::size_t count = std::min(specs.size(), kWatchesPerCall);
  const auto middle = specs.begin() + static_cast<std::ptrdiff_t>(count);
  request.__set_watches({specs.begin(), middle});
  request.__set_cursor(ToIdl(cursor_));
  request.__set_replaceAll(first);
  idl::Ctx ctx = SessionContext();
  ctx.__set_minZxid(last_zxid_);
  ctx.__set_ackedThrough(calls_.AckedThrough());
  Send(*channel_, ctx, request,
       [weak = weak_from_this(), rest = std::vector(middle, specs.end()),
        sent_at = seams_.loop->Now()](RpcResult result) mutable {
         if (const auto core = weak.lock()) {
           core->OnSessionResumed(std::move(rest), sent_at, std::move(result));
         }
       });
}

void Core::OnSessionResumed(std::vector<idl::WatchSpec> rest, BootTime sent_at, RpcResult result) {
  if (!result) {
    OnHandshakeError(result.error());
    return;
  }
  auto& resumed = std::get<idl::ResumeWatchesResult>(*result);
  if (resumed.head.resync && hops_ < kHopsMax) {
    if (const auto others = ParseAll(resumed.elsewhere); !others.empty()) {
      ++hops_;
      MoveAway("it does not remember far enough back", others);
      return;
    }
  }
  // The first poll says it again, with the cursor up to which events are missing.
  resumed.head.resync = false;
  if (!rest.empty()) {
    // The cursor must stay for those that are not registered yet, so no event is taken before all
    // are: the next call's head brings them again.
    resumed.head.__isset.events = false;
    resumed.head.__isset.cursor = false;
  }
  if (!TakeEvents(resumed.head, sent_at, cursor_)) {
    return;
  }
  if (!rest.empty()) {
    ResumeSession(std::move(rest), false);
  } else if (!next_seq_known_) {
    TakeOver(kNoSuchSeq);
  } else {
    BecomeReady();
  }
}

// The process before this one may have died with writes on their way. The cluster must not execute
// them any more: they could take numbers that this one gives to other writes.
void Core::TakeOver(std::int64_t seq) {
  idl::Ctx ctx = SessionContext();
  ctx.__set_seq(seq);
  Send(*channel_, ctx, TakeOverRequest(), [weak = weak_from_this(), seq](RpcResult result) {
    if (const auto core = weak.lock()) {
      core->OnTakenOver(seq, std::move(result));
    }
  });
}

void Core::OnTakenOver(std::int64_t seq, RpcResult result) {
  const auto* declared = result ? nullptr : std::get_if<idl::CoordError>(&result.error());
  if (declared != nullptr && declared->code == idl::ErrorCode::SEQUENCE_GAP &&
      declared->expectedSeq > 0 && declared->expectedSeq != seq) {
    TakeOver(declared->expectedSeq);
    return;
  }
  if (!result) {
    OnHandshakeError(result.error());
    return;
  }
  const std::int64_t next_seq = std::get<idl::TakeOverResult>(*result).nextSeq;
  if (next_seq <= seq) {
    OnClosed("the member's answer to takeOver makes no sense");
    return;
  }
  calls_.set_next_seq(next_seq);
  next_seq_known_ = true;
  BecomeReady();
}

void Core::OnHandshakeError(const RpcError& error) {
  refused_for_now_.reset();
  if (const auto* declared = std::get_if<idl::CoordError>(&error)) {
    const Error converted = FromIdl(*declared);
    if (converted.action() == Action::kRetryLater) {
      refused_for_now_ = converted;
    }
    if (converted.action() == Action::kSessionOver) {
      Expire(converted.message);
      return;
    }
    if (const auto hint = ParseEndpoint(declared->leaderHint);
        hint && hint != home_ && declared->code == idl::ErrorCode::NOT_LEADER && hops_ < kHopsMax) {
      ++hops_;
      rounds_.Prefer({*hint});
    }
  } else if (std::get<wire::CallFailure>(error).kind == wire::CallFailure::Kind::kClosed) {
    return;  // The channel reports its end itself.
  }
  last_problem_ = TextOf(error);
  leaving_ = true;
  LeaveWhenAnswered();
}

void Core::LeaveWhenAnswered() {
  if (leaving_ && !calls_.FreeUnderWay()) {
    OnClosed(std::string(last_problem_));
  }
}

void Core::BecomeReady() {
  refused_for_now_.reset();
  phase_ = Phase::kReady;
  ready_at_ = seams_.loop->Now();
  last_reply_at_ = ready_at_;
  if (!options_.open_session) {
    hops_ = 0;  // With a session, once a poll has stayed: it may still be sent elsewhere.
  }
  CancelTimer(connect_timer_);
  retry_backoff_.Reset();
  const std::string where = home_->ToString();
  Log((ever_ready_ ? "reconnected to " : "connected to ") + where);
  if (!ever_ready_) {
    ever_ready_ = true;
    SetState(SessionState::kConnected, where);
  } else if (state() != SessionState::kLost || seams_.loop->Now() < valid_until()) {
    SetState(SessionState::kReconnected, where);
  }
  if (options_.open_session) {
    SendHeartbeat();
    health_timer_ = After(PollWait(), &Core::CheckHealth);
  }
  Pump();
}

nanoseconds Core::PollWait() const {
  // A heartbeat counts from when it was sent, so with a poll of a sixth of the timeout at least
  // half of it is left when the next one comes back, and one may fail.
  return std::max<nanoseconds>(session_timeout() / 6, milliseconds(20));
}

void Core::SendHeartbeat() {
  heartbeat_timer_ = 0;
  if (phase_ != Phase::kReady || heartbeat_in_flight_) {
    return;
  }
  heartbeat_in_flight_ = true;
  if (events_pending_ > options_.events_queued_max) {
    events_paused_ = true;
    SendPing();
    return;
  }
  if (!timeout_known_) {
    SendPing();  // Its answer says what the session's timeout is, at once.
    return;
  }
  events_paused_ = false;
  SendPoll(PollWait(), &Core::OnHeartbeat);
}

void Core::SendPoll(nanoseconds wait, void (Core::*on_reply)(BootTime, Cursor, RpcResult)) {
  idl::PollRequest request;
  request.__set_cursor(ToIdl(cursor_));
  request.__set_waitMs(
      static_cast<std::int32_t>(std::chrono::duration_cast<milliseconds>(wait).count()));
  idl::Ctx ctx = SessionContext();
  ctx.__set_ackedThrough(calls_.AckedThrough());
  Send(*channel_, ctx, request,
       [weak = weak_from_this(), on_reply, asked = cursor_,
        sent_at = seams_.loop->Now()](RpcResult result) {
         if (const auto core = weak.lock()) {
           (*core.*on_reply)(sent_at, asked, std::move(result));
         }
       });
}

void Core::Nudge() {
  if (phase_ == Phase::kReady && !nudge_in_flight_) {
    nudge_in_flight_ = true;
    SendPoll(nanoseconds(0), &Core::OnNudged);
  }
}

void Core::OnNudged(BootTime sent_at, Cursor asked, RpcResult result) {
  nudge_in_flight_ = false;
  if (!result) {
    const auto* declared = std::get_if<idl::CoordError>(&result.error());
    const Action action = declared == nullptr ? Action::kNone : FromIdl(*declared).action();
    if (action == Action::kSessionOver) {
      Expire(declared->message);
    } else if (action == Action::kRetryElsewhere) {
      MoveAway(TextOf(result.error()));
    }
    return;  // Else the next heartbeat brings the events.
  }
  const auto& poll = std::get<idl::PollResult>(*result);
  if (HomeIsLost(poll.head) || SentElsewhere(poll) || !TakeEvents(poll.head, sent_at, asked)) {
    return;
  }
  ReleaseHeld(poll.head);
  Pump();
  ArmDeadlines();
}

bool Core::SentElsewhere(const idl::PollResult& poll) {
  const auto others = ParseAll(poll.elsewhere);
  if (!poll.head.resync || others.empty() || hops_ >= kHopsMax) {
    return false;
  }
  ++hops_;
  MoveAway("it does not remember far enough back", others);
  return true;
}

void Core::SendPing() {
  idl::Ctx ctx = SessionContext();
  ctx.__set_noEvents(true);
  Send(*channel_, ctx, PingRequest(),
       [weak = weak_from_this(), sent_at = seams_.loop->Now()](RpcResult result) {
         if (const auto core = weak.lock()) {
           core->OnHeartbeat(sent_at, {}, std::move(result));
         }
       });
}

void Core::OnHeartbeat(BootTime sent_at, Cursor asked, RpcResult result) {
  heartbeat_in_flight_ = false;
  if (!result) {
    const auto* declared = std::get_if<idl::CoordError>(&result.error());
    if (declared == nullptr) {
      if (std::get<wire::CallFailure>(result.error()).kind != wire::CallFailure::Kind::kClosed) {
        OnClosed(TextOf(result.error()));
      }
      return;
    }
    last_reply_at_ = seams_.loop->Now();
    switch (FromIdl(*declared).action()) {
      case Action::kSessionOver:
        Expire(declared->message);
        return;
      case Action::kRetryLater:
      case Action::kOutcomeUnknown:
        ScheduleHeartbeat(PollWait() / 4);
        return;
      default:
        MoveAway(TextOf(result.error()));
        return;
    }
  }
  last_reply_at_ = seams_.loop->Now();
  bool ping = false;
  const bool first = !timeout_known_;
  if (auto* poll = std::get_if<idl::PollResult>(&*result)) {
    if (HomeIsLost(poll->head) || SentElsewhere(*poll)) {
      return;
    }
    hops_ = 0;
    LearnTimeout(poll->timeoutMs);
    if (!TakeEvents(poll->head, sent_at, asked)) {
      return;
    }
    ReleaseHeld(poll->head);
  } else {
    ping = !first;
    LearnTimeout(std::get<idl::PingResult>(*result).timeoutMs);
    if (!timeout_known_) {
      OnClosed("the member does not say what the session's timeout is");
      return;
    }
    if (!TakeHead(HeadOf(*result), sent_at)) {
      return;
    }
  }
  Pump();
  ArmDeadlines();
  if (!ping) {
    SendHeartbeat();
  } else if (phase_ == Phase::kReady) {
    ScheduleHeartbeat(PollWait());
  }
}

void Core::LearnTimeout(std::int32_t timeout_ms) {
  if (timeout_ms > 0) {
    session_timeout_ms_ = timeout_ms;
    timeout_known_ = true;
  }
}

void Core::ScheduleHeartbeat(nanoseconds delay) {
  if (heartbeat_timer_ == 0) {
    heartbeat_timer_ = After(delay, &Core::SendHeartbeat);
  }
}

void Core::CheckHealth() {
  health_timer_ = 0;
  const BootTime now = seams_.loop->Now();
  const auto silence_max = std::max<nanoseconds>(2 * PollWait(), milliseconds(300));
  const auto write_wait_max = std::max<nanoseconds>(session_timeout(), std::chrono::seconds(5));
  if (now - last_reply_at_ > silence_max) {
    MoveAway("it has not answered for too long");
    return;
  }
  if (const BootTime oldest = calls_.OldestWriteSent();
      oldest != BootTime::max() && now - oldest > write_wait_max) {
    MoveAway("it does not answer a write");
    return;
  }
  health_timer_ = After(PollWait() / 2, &Core::CheckHealth);
}

}  // namespace conclave::internal
