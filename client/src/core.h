// The client's engine: one session, kept alive on one connection at a time, its home.
//
// Everything of a session goes to its home. Events come by polls alone, because a poll names the
// cursor from which on it wants them, so that an answer that is lost on the way is given again; an
// event that rode on any other reply would be lost with it. Every reply says up to which cursor
// there are events, and is held until they have come: so an event comes before the reply that shows
// its state. When the home is gone or cut off, the session moves: resumeWatches at another member
// with the cursor of the last event, then all calls without an answer again, in their order and
// under their numbers.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <conclave/client.h>

#include "client/src/call_table.h"
#include "client/src/channel_adapter.h"
#include "client/src/endpoints.h"
#include "client/src/rpc.h"
#include "client/src/watch_table.h"

namespace conclave::internal {

// A home that lasted for less is not worth an immediate new round over all members.
inline constexpr std::chrono::milliseconds kGoodConnection{200};

// Thread: what stands under "any thread" from any; the rest, and all callbacks, on `seams.loop`.
// Owns nothing of the seams.
class Core : public std::enable_shared_from_this<Core> {
 public:
  using ListenerId = std::uint64_t;

  // REQUIRES: options are valid, no seam is empty.
  Core(Options options, const Seams& seams);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // --- Any thread.

  void Start();
  // `done` is called on the loop, exactly once, by the deadline; never inside Submit, unless
  // Shutdown has been called. `unbounded` calls are not refused for being too many: those that
  // clean up.
  void Submit(CallKind kind, Request request, BootTime deadline, CallDone done,
              bool unbounded = false);
  BootTime DeadlineAfter(std::chrono::milliseconds timeout) const;

  std::chrono::milliseconds TimeoutOf(std::chrono::milliseconds timeout) const {
    return timeout.count() > 0 ? timeout : options_.call_timeout;
  }

  // `done` gets the zxid from which on the watch tells.
  WatchId AddWatch(WatchTable::Watch watch, BootTime deadline,
                   std::function<void(Result<std::int64_t>)> done);
  void Unwatch(WatchId id);
  // Runs the task on the loop, or right here after Shutdown.
  void RunOnLoop(Task task);
  // Runs the task where callbacks of the application run, or right here after Shutdown, when what
  // ran them may be gone.
  void PostCallback(Task task);

  // No event handed to the application's executor waits or runs.
  bool EventsDelivered() const { return events_pending_.load() == 0; }

  SessionState state() const { return state_.load(); }

  BootTime valid_until() const;

  std::int64_t session_id() const { return session_id_.load(); }

  std::chrono::milliseconds session_timeout() const;
  Result<SavedSession> Save() const;

  void Detach() { detached_ = true; }

  bool detached() const { return detached_; }

  // No call will succeed any more.
  bool over() const { return state_ == SessionState::kExpired || state_ == SessionState::kClosed; }

  const Options& options() const { return options_; }

  Executor& loop() const { return *seams_.loop; }

  TaskRunner& callbacks() const { return *seams_.callbacks; }

  // --- The loop's thread.

  // Told of every change of state, after the application's listener has been posted.
  ListenerId AddListener(std::function<void(SessionState)> listener);
  void RemoveListener(ListenerId id);
  // Ends everything: calls without an answer fail, nothing runs afterwards. Idempotent.
  void Shutdown();

 private:
  enum class Phase {
    kIdle,       // Between attempts.
    kOpening,    // The connection is being made.
    kHandshake,  // It is open; the session is being opened or moved to it.
    kReady,      // Home.
    kOver,       // No more.
  };

  // core.cc: calls.
  void DrainInbox();
  void Accept(Call call);
  void Pump();
  void SendCall(Call& call);
  idl::Ctx ContextOf(const Call& call) const;
  void OnReply(std::uint64_t id, std::uint64_t attempt, BootTime sent_at, RpcResult result);
  void OnOutcome(Call& call, RpcResult result);
  // The member has forgotten the session's watches: it says nothing of where their events end. The
  // session is taken up anew then, and what was not answered before is asked again. True: so it is.
  bool HomeIsLost(const idl::Head& head);
  // The reply shows a state whose events have not come yet: it waits for them.
  bool MustWait(const idl::Head& head) const;
  void Hold(std::uint64_t id, std::uint64_t attempt, const Cursor& until, RpcResult result);
  // By the head of a poll's answer.
  void ReleaseHeld(const idl::Head& polled);
  void OnAnswer(Call& call, Reply reply);
  void OnDeclaredError(Call& call, const idl::CoordError& error);
  void OnSequenceGap(Call& call, const idl::CoordError& error);
  void OnCallFailure(Call& call, const wire::CallFailure& failure);
  void Retry(Call& call, Error why);
  void OnRetryTimer();
  void GiveUp(Call& call, Error error);
  void Finish(Call& call, Result<Reply> result);
  Error DeadlineError(const Call& call) const;
  void OnDeadlines();
  void ArmDeadlines();
  void NoteTrouble(const idl::CoordError& error);

  // core_session.cc: connection, session, heartbeat.
  void Dial();
  void OnConnectTimeout();
  void OnOpened();
  void OnClosed(const std::string& reason);
  void DropConnection();
  // Leaves the member for another.
  void MoveAway(const std::string& reason, const std::vector<Endpoint>& preferred = {});
  void OpenSession();
  void OnSessionOpened(bool first, BootTime sent_at, RpcResult result);
  void ResumeSession(std::vector<idl::WatchSpec> specs, bool first);
  void OnSessionResumed(std::vector<idl::WatchSpec> rest, BootTime sent_at, RpcResult result);
  // `seq`: 2^52 at first, then the one that the cluster expects.
  void TakeOver(std::int64_t seq);
  void OnTakenOver(std::int64_t seq, RpcResult result);
  void OnHandshakeError(const RpcError& error);
  void LeaveWhenAnswered();
  void BecomeReady();
  void SendHeartbeat();
  void SendPing();
  void SendPoll(std::chrono::nanoseconds wait, void (Core::*on_reply)(BootTime, Cursor, RpcResult));
  // Asks for the events that replies wait for, at once.
  void Nudge();
  void OnNudged(BootTime sent_at, Cursor asked, RpcResult result);
  // Sends us on to members that remember further back; false if there are none to try.
  bool SentElsewhere(const idl::PollResult& poll);
  void OnHeartbeat(BootTime sent_at, Cursor asked, RpcResult result);
  void LearnTimeout(std::int32_t timeout_ms);
  void ScheduleHeartbeat(std::chrono::nanoseconds delay);
  void CheckHealth();
  std::chrono::nanoseconds PollWait() const;
  idl::Ctx SessionContext() const;

  // core_state.cc: what replies bring besides their answer; states and their listeners.
  // False: the client is over, the reply must not be used.
  bool TakeHead(const idl::Head& head, BootTime sent_at);
  // As TakeHead, for replies to calls that name a cursor, `asked`: takes the events too.
  bool TakeEvents(const idl::Head& head, BootTime sent_at, const Cursor& asked);
  void Deliver(std::vector<WatchTable::Delivery> deliveries);
  void OnEventsDelivered();
  void RemoveWatchThere(WatchId id);
  void ExtendValidity(BootTime until);
  void OnValidityTimer();
  void SetState(SessionState state, const std::string& reason);
  void Expire(const std::string& reason);
  void End(SessionState state, const std::string& reason);
  void Log(const std::string& line) const;

  // Runs `task` on the loop after the delay, unless the core is gone.
  TimerId After(std::chrono::nanoseconds delay, void (Core::*task)());
  void CancelTimer(TimerId& timer);

  // Constant after construction.
  const Options options_;
  const Seams seams_;

  // Any thread.
  std::atomic<SessionState> state_{SessionState::kConnecting};
  std::atomic<std::int64_t> session_id_{0};
  std::atomic<std::int64_t> valid_until_ns_{0};
  std::atomic<std::int64_t> session_timeout_ms_{0};
  std::atomic<bool> detached_{false};
  std::atomic<std::size_t> events_pending_{0};
  std::atomic<bool> events_paused_{false};
  std::atomic<std::size_t> outstanding_calls_{0};
  std::atomic<std::size_t> outstanding_bytes_{0};
  mutable std::mutex mu_;
  std::vector<Task> inbox_;    // Guarded by mu_.
  bool inbox_posted_ = false;  // Guarded by mu_.
  bool stopped_ = false;       // Guarded by mu_.
  std::string secret_;         // Guarded by mu_; written on the loop.
  std::string cluster_id_;     // Guarded by mu_; written on the loop.

  // Loop only.
  SchedulerAdapter scheduler_;
  Phase phase_ = Phase::kIdle;
  std::unique_ptr<wire::Channel> channel_;
  std::uint64_t connection_ = 0;  // Which channel_ it is; callbacks of an earlier one are ignored.
  std::optional<Endpoint> home_;
  EndpointRounds rounds_;
  Backoff dial_backoff_;
  Backoff retry_backoff_;
  std::string nonce_;
  bool open_sent_ = false;  // An OpenSession with this nonce.
  bool next_seq_known_ = true;
  bool closing_ = false;
  bool ever_ready_ = false;
  // The member cannot open or take the session; it is left once it has answered what needs none.
  bool leaving_ = false;
  bool heartbeat_in_flight_ = false;
  int hops_ = 0;  // How often in a row a member has sent us to another.
  int impossible_gaps_ = 0;
  bool timeout_known_ = true;  // What the cluster has granted; not yet of a session taken up.
  BootTime ready_at_{};
  BootTime last_reply_at_{};
  std::optional<BootTime> trouble_since_;
  std::string last_problem_;
  // Why the members reached would not open the session just now (no space, overloaded), as long as
  // that is the last that was heard of them.
  std::optional<Error> refused_for_now_;
  std::optional<Error> over_;
  CallTable calls_;

  struct Held {
    std::uint64_t id = 0;
    std::uint64_t attempt = 0;
    Cursor until;
    RpcResult result;
  };

  std::deque<Held> held_;  // In the order in which they came.
  bool nudge_in_flight_ = false;
  WatchTable watches_;
  Cursor cursor_;
  std::int64_t last_zxid_ = 0;
  std::map<ListenerId, std::function<void(SessionState)>> listeners_;
  ListenerId next_listener_ = 1;
  TimerId dial_timer_ = 0;
  TimerId connect_timer_ = 0;
  TimerId heartbeat_timer_ = 0;
  TimerId health_timer_ = 0;
  TimerId pump_timer_ = 0;
  TimerId deadline_timer_ = 0;
  BootTime deadline_armed_ = BootTime::max();
  TimerId validity_timer_ = 0;
};

}  // namespace conclave::internal
