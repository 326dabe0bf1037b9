#include "client/src/core.h"

#include <algorithm>
#include <utility>

#include "client/src/codec.h"

namespace conclave::internal {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRetryMin{4};
constexpr milliseconds kRetryMax{250};

Error MakeError(Code code, std::string message, std::string path = {}) {
  return Error{.code = code,
               .message = std::move(message),
               .path = std::move(path),
               .zxid = 0,
               .op_index = -1};
}

// Codes by which a member may refuse a request before the cluster has counted its number.
bool MayBeUncounted(const Error& error) {
  return error.code == Code::kInvalidArgument || error.code == Code::kTooLarge ||
         error.code == Code::kNotSupported || error.code == Code::kNoAuth;
}

// A success, or an error that the state of the tree has decided, not the member's door.
bool ShowsState(const RpcResult& result) {
  if (result) {
    return true;
  }
  const auto* declared = std::get_if<idl::CoordError>(&result.error());
  return declared != nullptr && declared->__isset.head && declared->zxid > 0 &&
         FromIdl(*declared).action() == Action::kAnswer;
}

}  // namespace

Core::Core(Options options, const Seams& seams)
    : options_(std::move(options)),
      seams_(seams),
      scheduler_(seams.loop),
      rounds_(*ParseEndpoints(options_.endpoints), seams.random),
      dial_backoff_(options_.backoff_min, options_.backoff_max, seams.random),
      retry_backoff_(kRetryMin, kRetryMax, seams.random) {
  if (options_.resume) {
    session_id_ = options_.resume->id;
    secret_ = options_.resume->secret;
    cluster_id_ = options_.resume->cluster_id;
    next_seq_known_ = false;
    timeout_known_ = false;
  }
  session_timeout_ms_ = options_.session_timeout.count();
  constexpr std::size_t kNonceBytes = 16;
  while (nonce_.size() < kNonceBytes) {
    const std::uint64_t bits = seams.random();
    nonce_.append(reinterpret_cast<const char*>(&bits), sizeof bits);  // NOLINT: its bytes
  }
}

Core::~Core() = default;

void Core::RunOnLoop(Task task) {
  {
    const std::lock_guard lock(mu_);
    if (!stopped_) {
      inbox_.push_back(std::move(task));
      if (inbox_posted_) {
        return;  // The task that empties the inbox is on its way: one wake-up for all that wait.
      }
      inbox_posted_ = true;
      seams_.loop->Post([weak = weak_from_this()] {
        if (const auto core = weak.lock()) {
          core->DrainInbox();
        }
      });
      return;
    }
  }
  task();
}

void Core::DrainInbox() {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mu_);
    tasks.swap(inbox_);
    inbox_posted_ = false;
  }
  for (Task& task : tasks) {
    task();
  }
  Pump();
  ArmDeadlines();
}

void Core::PostCallback(Task task) {
  {
    const std::lock_guard lock(mu_);
    if (!stopped_) {
      seams_.callbacks->Post(std::move(task));
      return;
    }
  }
  task();
}

BootTime Core::DeadlineAfter(milliseconds timeout) const {
  const std::lock_guard lock(mu_);
  if (stopped_) {
    return BootTime::max();
  }
  const auto effective = timeout > milliseconds(0) ? timeout : options_.call_timeout;
  const BootTime now = seams_.loop->Now();
  return effective > BootTime::max() - now ? BootTime::max() : now + effective;
}

void Core::Submit(CallKind kind, Request request, BootTime deadline, CallDone done,
                  bool unbounded) {
  Call call;
  call.kind = kind;
  call.bytes = BytesOf(request);
  call.request = std::move(request);
  call.deadline = deadline;
  call.done = std::move(done);
  const std::size_t calls = outstanding_calls_.fetch_add(1) + 1;
  const std::size_t bytes = outstanding_bytes_.fetch_add(call.bytes) + call.bytes;
  const bool refused = !unbounded && (calls > options_.outstanding_calls_max ||
                                      bytes > options_.outstanding_bytes_max);
  auto shared = std::make_shared<Call>(std::move(call));
  RunOnLoop([self = shared_from_this(), shared, refused] {
    if (refused) {
      self->outstanding_calls_ -= 1;
      self->outstanding_bytes_ -= shared->bytes;
      shared->done(MakeError(Code::kOverloaded,
                             "the client has too many calls outstanding; this one was not sent",
                             PathOf(shared->request)));
      return;
    }
    self->Accept(std::move(*shared));
  });
}

void Core::Accept(Call call) {
  std::optional<Error> refusal = over_;
  if (!refusal && closing_) {
    refusal = MakeError(Code::kSessionExpired, "the session is being closed");
  }
  if (!refusal && !options_.open_session &&
      (call.kind == CallKind::kWrite || call.kind == CallKind::kSession)) {
    refusal =
        MakeError(Code::kInvalidArgument, "this client has no session (open_session = false)");
  }
  if (refusal) {
    outstanding_calls_ -= 1;
    outstanding_bytes_ -= call.bytes;
    refusal->path = PathOf(call.request);
    call.done(*refusal);
    return;
  }
  closing_ = std::holds_alternative<CloseRequest>(call.request);
  if (!options_.open_session) {
    call.kind = CallKind::kFree;
  }
  calls_.Add(std::move(call));
}

void Core::Pump() {
  const bool connected = phase_ == Phase::kHandshake || phase_ == Phase::kReady;
  if (!connected || channel_ == nullptr || pump_timer_ != 0) {
    return;
  }
  const bool free_only = phase_ != Phase::kReady;
  while (Call* call = calls_.NextToSend(free_only, options_.writes_in_flight_max)) {
    calls_.MarkSent(*call, seams_.loop->Now());
    SendCall(*call);
  }
}

idl::Ctx Core::ContextOf(const Call& call) const {
  idl::Ctx ctx = SessionContext();
  ctx.__set_ackedThrough(calls_.AckedThrough());
  if (call.kind == CallKind::kWrite) {
    ctx.__set_seq(call.seq);
  } else if (!call.stale_read) {
    ctx.__set_afterSeq(options_.open_session ? calls_.AfterSeq(call) : 0);
    ctx.__set_minZxid(last_zxid_);
  }
  ctx.__set_noEvents(true);
  if (call.deadline != BootTime::max()) {
    const auto left = std::chrono::ceil<milliseconds>(call.deadline - call.sent_at).count();
    constexpr std::int64_t kDeadlineMsMax = 3'600'000;
    ctx.__set_deadlineMs(
        static_cast<std::int32_t>(std::clamp<std::int64_t>(left, std::int64_t{1}, kDeadlineMsMax)));
  }
  return ctx;
}

void Core::SendCall(Call& call) {
  if (const auto* watch = std::get_if<idl::AddWatchRequest>(&call.request);
      watch != nullptr && watch->__isset.since) {
    // Polls behind this call ask for what the watch wants of the past; the watches that have had it
    // know that they have.
    cursor_ = std::min(cursor_, {.zxid = watch->since.zxid, .ordinal = watch->since.ordinal});
  }
  call.stale_read = false;
  std::visit(
      [&call](const auto& request) {
        if constexpr (requires {
                        request.mode == idl::ReadMode::STALE;
                        request.watch;
                      }) {
          call.stale_read = static_cast<int>(request.mode) == idl::ReadMode::STALE;
        }
      },
      call.request);
  Send(*channel_, ContextOf(call), call.request,
       [weak = weak_from_this(), id = call.id, attempt = call.attempt,
        sent_at = call.sent_at](RpcResult result) {
         if (const auto core = weak.lock()) {
           core->OnReply(id, attempt, sent_at, std::move(result));
         }
       });
}

void Core::OnReply(std::uint64_t id, std::uint64_t attempt, BootTime sent_at, RpcResult result) {
  const idl::Head* head = result ? &HeadOf(*result) : nullptr;
  if (!result) {
    if (const auto* declared = std::get_if<idl::CoordError>(&result.error())) {
      last_reply_at_ = seams_.loop->Now();
      head = declared->__isset.head ? &declared->head : nullptr;
    }
  } else {
    last_reply_at_ = seams_.loop->Now();
  }
  if (head != nullptr && !TakeHead(*head, sent_at)) {
    return;
  }
  if (const Call* call = calls_.Find(id); call != nullptr && call->attempt == attempt &&
                                          call->kind != CallKind::kFree && ShowsState(result) &&
                                          HomeIsLost(*head)) {
    return;
  }
  if (head != nullptr && MustWait(*head)) {
    Hold(id, attempt, {.zxid = head->cursor.zxid, .ordinal = head->cursor.ordinal},
         std::move(result));
    return;
  }
  if (Call* call = calls_.Find(id); call != nullptr && call->attempt == attempt) {
    OnOutcome(*call, std::move(result));
  }
  LeaveWhenAnswered();
  Pump();
  ArmDeadlines();
}

void Core::OnOutcome(Call& call, RpcResult result) {
  if (result) {
    OnAnswer(call, std::move(*result));
  } else if (const auto* declared = std::get_if<idl::CoordError>(&result.error())) {
    OnDeclaredError(call, *declared);
  } else {
    OnCallFailure(call, std::get<wire::CallFailure>(result.error()));
  }
}

bool Core::HomeIsLost(const idl::Head& head) {
  // As after a long silence: a member keeps the watches of a session that does not call for a
  // while only, and a change of leader may have kept the session itself alive for longer.
  if (phase_ != Phase::kReady || !options_.open_session || head.__isset.cursor ||
      !watches_.AnyRegistered()) {
    return false;
  }
  MoveAway("it has forgotten the session's watches");
  return true;
}

bool Core::MustWait(const idl::Head& head) const {
  if (phase_ != Phase::kReady || !options_.open_session) {
    return false;
  }
  const bool ahead = head.__isset.cursor &&
                     Cursor{.zxid = head.cursor.zxid, .ordinal = head.cursor.ordinal} > cursor_;
  return ahead || !held_.empty();  // None overtakes another.
}

void Core::Hold(std::uint64_t id, std::uint64_t attempt, const Cursor& until, RpcResult result) {
  held_.push_back({.id = id, .attempt = attempt, .until = until, .result = std::move(result)});
  Nudge();
}

void Core::ReleaseHeld(const idl::Head& polled) {
  // A member that names no cursor has no watches of the session any more (and none is registered
  // here, or the home would be lost): there is no event to wait for, and polls would ask for ever.
  const bool all = !polled.__isset.cursor;
  while (!held_.empty() && (all || held_.front().until <= cursor_)) {
    Held held = std::move(held_.front());
    held_.pop_front();
    if (Call* call = calls_.Find(held.id); call != nullptr && call->attempt == held.attempt) {
      OnOutcome(*call, std::move(held.result));
    }
  }
  if (!held_.empty()) {
    Nudge();
  }
}

void Core::OnAnswer(Call& call, Reply reply) {
  trouble_since_.reset();
  retry_backoff_.Reset();
  impossible_gaps_ = 0;
  if (call.kind == CallKind::kWrite) {
    calls_.NoteCounted(call.seq);
  }
  const bool closed = std::holds_alternative<idl::CloseResult>(reply);
  Finish(call, std::move(reply));
  if (closed) {
    End(SessionState::kClosed, "the session was closed");
  }
}

void Core::OnDeclaredError(Call& call, const idl::CoordError& declared) {
  Error error = FromIdl(declared);
  if (error.path.empty()) {
    error.path = PathOf(call.request);
  }
  const bool write = call.kind == CallKind::kWrite;
  switch (error.action()) {
    case Action::kNone:
    case Action::kAnswer:
      if (write && MayBeUncounted(error)) {
        calls_.NoteRefused(call.seq);
      }
      trouble_since_.reset();
      retry_backoff_.Reset();
      Finish(call, std::move(error));
      return;
    case Action::kRetryElsewhere:
      calls_.NotExecuted(call);
      Retry(call, std::move(error));
      NoteTrouble(declared);
      return;
    case Action::kRetryLater:
      if (error.code == Code::kSequenceGap) {
        OnSequenceGap(call, declared);
        return;
      }
      calls_.NotExecuted(call);
      if (error.code == Code::kNoSpace && call.attempts_unknown == 0 && !call.no_op) {
        GiveUp(call, std::move(error));  // Nothing will change soon: the caller should know.
        return;
      }
      Retry(call, std::move(error));
      return;
    case Action::kOutcomeUnknown:
      Retry(call, std::move(error));
      return;
    case Action::kSessionOver:
      if (call.kind == CallKind::kFree) {
        Finish(call, std::move(error));
        return;
      }
      calls_.NotExecuted(call);
      Expire(error.message);
      return;
    case Action::kBroken:
      // Whether a write has been executed is not known either; its number has to be settled.
      if (write) {
        Retry(call, error);
        if (call.done) {
          GiveUp(call, std::move(error));
        }
      } else {
        Finish(call, std::move(error));
      }
      return;
  }
}

void Core::OnSequenceGap(Call& call, const idl::CoordError& declared) {
  const std::int64_t expected = declared.expectedSeq;
  calls_.NotExecuted(call);
  if (expected > call.seq) {
    // Executed, and forgotten by the cluster though this client has not said that it may.
    Finish(call,
           MakeError(Code::kUnknownOutcome, "the cluster no longer has the answer to this write",
                     PathOf(call.request)));
    return;
  }
  // Not at the first sight, since it ends everything: an answer may have been overtaken.
  constexpr int kImpossibleGapsMax = 5;
  if (expected < calls_.lowest_unanswered_seq() && !calls_.FillRefused(expected) &&
      ++impossible_gaps_ > kImpossibleGapsMax) {
    Expire("the cluster has forgotten writes that it had acknowledged (it expects number " +
           std::to_string(expected) + ", " + std::to_string(calls_.AckedThrough()) +
           " were acknowledged)");
    return;
  }
  Retry(call, FromIdl(declared));
}

void Core::OnCallFailure(Call& call, const wire::CallFailure& failure) {
  const std::string path = PathOf(call.request);
  switch (failure.kind) {
    case wire::CallFailure::Kind::kClosed:
    case wire::CallFailure::Kind::kMalformed:
    case wire::CallFailure::Kind::kTimeout:
      if (!failure.may_have_been_sent) {
        calls_.NotExecuted(call);
      }
      return;  // The channel reports its end; the call is sent again then.
    case wire::CallFailure::Kind::kTooLarge:
      calls_.NotExecuted(call);
      GiveUp(call, MakeError(Code::kTooLarge, failure.message, path));
      return;
    case wire::CallFailure::Kind::kOverloaded:
      calls_.NotExecuted(call);
      Retry(call, MakeError(Code::kOverloaded, failure.message, path));
      return;
    case wire::CallFailure::Kind::kApplication:
      if (call.kind == CallKind::kWrite) {
        Retry(call, MakeError(Code::kInternal, failure.message, path));
      }
      if (call.done) {
        GiveUp(call, MakeError(Code::kInternal, "the member has failed: " + failure.message, path));
      }
      return;
  }
}

void Core::Retry(Call& call, Error why) {
  call.last_refusal = std::move(why);
  calls_.Requeue(call);
  if (pump_timer_ == 0) {
    pump_timer_ = After(retry_backoff_.Next(), &Core::OnRetryTimer);
  }
  calls_.FreeTail();
}

void Core::OnRetryTimer() {
  pump_timer_ = 0;
  Pump();
}

void Core::GiveUp(Call& call, Error error) {
  const std::size_t bytes = call.bytes;
  if (call.kind == CallKind::kWrite && call.attempts_unknown > 0 &&
      error.action() != Action::kBroken) {
    error.message = std::string(CodeText(Code::kUnknownOutcome)) + " (" + error.message + ")";
    error.code = Code::kUnknownOutcome;
  }
  const bool close = std::holds_alternative<CloseRequest>(call.request);
  if (CallDone done = calls_.Abandon(call)) {
    outstanding_calls_ -= 1;
    outstanding_bytes_ -= bytes;
    done(std::move(error));
  }
  if (close) {
    // Nobody wants the session any more: kept alive it would hold its ephemerals for ever.
    End(SessionState::kClosed, "closed without the cluster's answer; the session expires");
  }
}

void Core::Finish(Call& call, Result<Reply> result) {
  Call finished = calls_.Take(call);
  if (finished.done) {
    outstanding_calls_ -= 1;
    outstanding_bytes_ -= finished.bytes;
    finished.done(std::move(result));
  }
}

Error Core::DeadlineError(const Call& call) const {
  const std::string path = PathOf(call.request);
  const std::string what(MethodName(call.request));
  if (call.kind == CallKind::kWrite && call.attempts_unknown > 0) {
    return MakeError(Code::kUnknownOutcome,
                     "no answer to " + what + " in time; it may have been executed", path);
  }
  const bool unknown = call.last_refusal && call.last_refusal->code == Code::kUnknownOutcome;
  if (ChangesMembers(call.request) && (unknown || call.attempt != 0)) {
    return MakeError(Code::kUnknownOutcome,
                     unknown ? call.last_refusal->message
                             : "no answer to " + what + " in time; it may be done, ask again",
                     path);
  }
  if (call.last_refusal) {
    Error error = *call.last_refusal;
    if (error.action() == Action::kRetryElsewhere || error.action() == Action::kRetryLater) {
      return error;
    }
  }
  if (phase_ != Phase::kReady && call.attempt == 0 && refused_for_now_) {
    Error error = *refused_for_now_;
    error.path = path;
    return error;
  }
  if (phase_ != Phase::kReady && call.attempt == 0) {
    return MakeError(Code::kUnavailable,
                     "no member could be reached in time" +
                         (last_problem_.empty() ? "" : "; the last problem: " + last_problem_),
                     path);
  }
  return MakeError(Code::kDeadlineExceeded, "no answer to " + what + " in time", path);
}

void Core::OnDeadlines() {
  deadline_timer_ = 0;
  deadline_armed_ = BootTime::max();
  bool unanswered = false;
  while (Call* call = calls_.FirstPastDeadline(seams_.loop->Now())) {
    unanswered = unanswered || call->attempt != 0;
    GiveUp(*call, DeadlineError(*call));
  }
  if (unanswered && !options_.open_session) {
    MoveAway("it does not answer");  // Without a session no heartbeat finds that out.
  }
  Pump();
  ArmDeadlines();
}

void Core::ArmDeadlines() {
  const BootTime earliest = calls_.EarliestDeadline();
  if (earliest >= deadline_armed_ || earliest == BootTime::max()) {
    return;  // The timer that is set comes before it; it looks again then.
  }
  CancelTimer(deadline_timer_);
  deadline_armed_ = earliest;
  deadline_timer_ = After(earliest - seams_.loop->Now(), &Core::OnDeadlines);
}

void Core::NoteTrouble(const idl::CoordError& error) {
  const BootTime now = seams_.loop->Now();
  if (!trouble_since_) {
    trouble_since_ = now;
  }
  std::vector<Endpoint> preferred;
  if (const auto hint = ParseEndpoint(error.leaderHint); hint && hint != home_) {
    preferred.push_back(*hint);
  }
  const auto patience =
      std::max<std::chrono::nanoseconds>(milliseconds(500), session_timeout() / 8);
  // Two members that name each other must not have us go to and fro without a pause.
  const bool cannot_forward = error.code == idl::ErrorCode::NOT_LEADER && !preferred.empty() &&
                              now - ready_at_ >= kGoodConnection;
  if (phase_ == Phase::kReady && (cannot_forward || now - *trouble_since_ > patience)) {
    trouble_since_.reset();
    MoveAway(error.message, preferred);
  }
}

}  // namespace conclave::internal
