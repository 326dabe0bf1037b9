// What is behind Server: the parts of a member and how they are wired. Private to coord/server/.
//
// The parts know nothing of each other; what one needs of another goes through here. The methods
// are spread over files by what they are about: server.cc (start, stop), server_turn.cc (a turn of
// the loop: consensus, apply, time), server_room.cc (what a full disk refuses), server_peers.cc
// (links to peers, digests, reports), server_members.cc (who belongs to the cluster),
// server_sessions.cc (who is alive), server_snapshots.cc (the state on disk), server_calls.cc and
// server_watches.cc (what doors ask), server_status.cc (looks).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coord/server/applier.h"
#include "coord/server/background.h"
#include "coord/server/checkpointer.h"
#include "coord/server/digest_audit.h"
#include "coord/server/homes.h"
#include "coord/server/membership.h"
#include "coord/server/raft_driver.h"
#include "coord/server/read_path.h"
#include "coord/server/room.h"
#include "coord/server/server.h"
#include "coord/server/session_expiry.h"
#include "coord/server/session_lanes.h"
#include "coord/server/session_touch.h"
#include "coord/server/snapshot_receiver.h"
#include "coord/server/snapshot_sender.h"
#include "coord/server/task_scope.h"
#include "coord/server/write_path.h"
#include "persist/log_store.h"
#include "persist/snapshot_generations.h"

namespace conclave::server {

inline constexpr std::int64_t kNsPerMs = 1'000'000;

// Thread: core executor only.
class Server::Core final : public PeerTransport::Handler {
 public:
  Core(Options options, Seams seams);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  ~Core() override;

  // --- server.cc ---
  tl::expected<void, std::string> Start();
  void Stop(std::function<void()> done);

  // --- server_calls.cc, server_watches.cc ---
  void OpenSession(OpenSessionRequest request, Callback<OpenSessionReply> done);
  void CloseSession(Caller caller, Callback<Nothing> done);
  void Ping(Caller caller, Callback<PingReply> done);
  void Write(Caller&& caller, tree::Command&& command, Callback<WriteReply>&& done);
  void Read(Caller&& caller, ReadRequest&& request, Callback<ReadReply>&& done);
  void Sync(Caller caller, Callback<Nothing> done);
  void AddWatch(Caller caller, AddWatchRequest request, Callback<AddWatchReply> done);
  void RemoveWatch(Caller caller, tree::WatchId watch_id, Callback<RemoveWatchReply> done);
  void ResumeWatches(Caller caller, ResumeWatchesRequest request,
                     Callback<ResumeWatchesReply> done);
  void Poll(Caller caller, PollRequest request, Callback<PollReply> done);

  // --- server_members.cc ---
  void ListMembers(Callback<Status> done);
  void ChangeMembers(const std::string& identity, MemberCommand command, std::int64_t timeout_ms,
                     Callback<MemberReply> done);

  // --- server_status.cc ---
  [[nodiscard]] Status MakeStatus() const;
  // Empty if this member takes requests, else why not.
  [[nodiscard]] std::string UnreadyReason() const;

  // --- server_snapshots.cc ---
  void Checkpoint(std::function<void()> done);

  void InjectRot() { applier_->InjectRot(); }

  // --- PeerTransport::Handler, server_peers.cc ---
  void OnPeerMessage(raft::MemberId from, PeerMessage message) override;
  void OnPeerConnected(const PeerHello& peer) override;
  void OnPeerDisconnected(raft::MemberId peer) override;
  void OnPeerRefused(raft::MemberId peer, std::string_view reason) override;
  // server_members.cc
  void OnNotMember(raft::MemberId peer, std::string_view reason) override;
  std::optional<std::string> OnStranger(const PeerHello& peer) override;

 private:
  struct Peer {
    std::string address;
    bool connected = false;
    raft::Incarnation incarnation = 0;
    std::string refused;
    std::optional<MemberReport> report;
    raft::Index hello_index = 0;  // of the configuration that it knew when it came
    bool denies = false;          // it says that this member is none
    std::int64_t leaving_ns = 0;  // not in the configuration: its link ends then; 0: it is in it
  };

  // A call of a session that this member does not know (yet).
  struct Unverified {
    std::vector<absl::AnyInvocable<void(bool fresh)>> calls;
  };

  // A call from its receipt to its answer: handed on from step to step, by one owner to the next.
  template <typename T>
  struct Call {
    using Result = T;

    Call(Caller&& caller_arg, Callback<T>&& done_arg)
        : caller(std::move(caller_arg)), done(std::move(done_arg)) {}

    Caller caller;
    Callback<T> done;
    bool authentic = false;           // the caller knows the session's secret
    SessionLanes::Ticket ticket = 0;  // its place in the session's lane, once it has one
    // What it is told.
    ReplyHead head;
    std::optional<Answer<T>> answer;
  };

  struct WriteCall final : Call<WriteReply> {
    using Call::Call;
    tree::Command command;
    std::int64_t since_ns = 0;
    std::int64_t deadline_ns = 0;
    std::size_t bytes = 0;
    bool admitted = false;  // counts among what is admitted
  };

  struct ReadCall final : Call<ReadReply> {
    using Call::Call;
    ReadRequest request;
    std::int64_t since_ns = 0;
  };

  struct AddWatchCall final : Call<AddWatchReply> {
    using Call::Call;
    AddWatchRequest request;
  };

  using Reply = absl::AnyInvocable<void()>;

  // --- server.cc ---
  void BuildRaft(raft::Restored restored);
  void BuildPaths();
  PeerHello Hello() const;
  void Fatal(std::string_view reason);
  void ContinueStop();
  void FinishStop();

  // --- server_snapshots.cc ---

  // What a member begins with.
  struct Loaded {
    std::unique_ptr<tree::StateMachine> machine;
    raft::Restored restored;
    std::optional<raft::SnapshotMeta> meta;  // of the checkpoint, if there is one
  };

  tl::expected<Loaded, std::string> LoadState();
  void BuildSnapshots(const LogTail& tail, raft::Index checkpoint);
  std::string RefuseSnapshot() const;
  void SendSnapshot(raft::MemberId peer);
  std::uint64_t Installing(const raft::SnapshotMeta& meta);
  void Installed(const raft::SnapshotMeta& meta);
  void Resync();
  void CountTimeouts();
  void EndNeedlessTransfers();
  void Scrub(std::int64_t now_ns);

  // --- server_turn.cc ---
  void SchedulePump();
  void Pump();
  void Tick();
  void OnRoleChanged(const raft::RoleChange& change);
  void OnApplied(const raft::Entry& entry, tree::ApplyResult& result);
  void OnSessionEvent(const tree::SessionEvent& event);
  void Tell(std::size_t sessions_max);
  void AfterApply();
  std::pair<std::int64_t, std::int64_t> Stamp();
  void CheckLeader(std::int64_t now_ns);
  void Deliver(Reply reply);
  // Its head and answer are as they shall be.
  template <typename C>
  void Deliver(std::unique_ptr<C> call);

  std::int64_t NowNs() const { return scope_.NowNs(); }

  // --- server_room.cc ---
  bool HasRoom(const std::string& entry) const;
  void CheckRoom(bool look_at_disk);
  std::optional<Failure> RefuseForRoom(Room at) const;
  Room MajorityRoom() const;
  bool Starving() const;

  // --- server_members.cc ---
  void OnConfiguration(const raft::IndexedConfiguration& configuration);
  static std::string Describe(const raft::Configuration& configuration);
  std::string AddressOf(raft::MemberId id, const std::string& configured) const;
  void ExpectPeer(raft::MemberId id, const std::string& configured);
  void SweepPeers(std::int64_t now_ns);
  void WarnOfFlags() const;
  void CheckOutside();
  std::string Problem() const;
  MemberRole OwnRole() const;
  void HandOverForRoom(std::int64_t now_ns);
  bool HandsOver() const;

  // --- server_peers.cc ---
  void Report();
  void RefreshHello();
  void PublishSelf();
  void OnDigest(raft::MemberId from, const DigestReport& report);
  void Split(raft::Index index);
  void CheckUndecided(std::int64_t now_ns);
  void Break(const std::string& reason);
  bool Connected(raft::MemberId peer) const;
  std::vector<std::string> Elsewhere(tree::Cursor cursor) const;

  // --- server_sessions.cc ---
  // Calls `go(call)` once the call's session is known to live here and the secret is right, perhaps
  // at once; else the call is refused. Calls of one session keep their order. Without a session it
  // goes on at once if that is allowed.
  template <typename C, typename Go>
  void Authenticate(std::unique_ptr<C> call, bool session_needed, Go go);
  // What to refuse the call for before its session is looked at.
  std::optional<Failure> RefuseCaller(const Caller& caller, bool session_needed) const;
  // Whether it is told at once if the session's secret is right: it lives here, and no earlier call
  // of it waits until that is known.
  bool Known(std::int64_t session) const;
  // Checks the secret of a session that should live here; if right, the session has been heard.
  std::optional<Failure> Judge(const Caller& caller, bool* authentic);
  // Calls back once this member knows whether the session lives, which is `fresh`. Refused: nothing
  // is called.
  std::optional<Failure> AwaitFresh(std::int64_t session,
                                    absl::AnyInvocable<void(bool fresh)> call);
  Failure CannotTell(std::int64_t session) const;
  void Touch(std::int64_t session, std::int64_t now_ns);
  void ExchangeTouches();
  void OnTouchBatch(raft::MemberId from, TouchBatch batch);
  void ConfirmTouches(raft::MemberId from, std::uint64_t batch, std::vector<std::int64_t> sessions);
  void ExpireSessions();
  std::int64_t SessionTimeoutMs(std::int64_t session) const;

  // --- server_status.cc ---
  MemberStatus MakeMemberStatus(raft::MemberId id, const Status& own) const;
  std::string ProblemOf(const MemberStatus& member) const;

  // --- server_calls.cc ---
  ReplyHead BaseHead(std::int64_t session, std::int64_t now_ns) const;
  // For errors: whom to ask instead.
  void NameLeader(ReplyHead* head) const;
  void FillHead(const Caller& caller, bool authentic, std::int64_t zxid, ReplyHead* head);
  Failure MakeFailure(tree::Code code, std::string message, std::string path = {}) const;
  // Why no request is taken at all just now.
  std::optional<Failure> Closed(const Caller& caller) const;
  std::optional<Failure> RefuseWait() const;
  std::optional<Failure> RefuseWrite(const Caller& caller, const tree::Command& command,
                                     std::size_t bytes) const;
  // The end of a call. `zxid`: of its entry, 0 if it has none.
  template <typename C>
  void Send(std::unique_ptr<C> call, std::int64_t zxid, Answer<typename C::Result> answer);
  template <typename C>
  void Refuse(std::unique_ptr<C> call, Failure failure);
  void Submit(Caller& caller, tree::Command&& command, std::int64_t deadline_ns,
              WritePath::Done&& done);
  void Submit(std::unique_ptr<WriteCall> call);
  void OnWriteOutcome(std::unique_ptr<WriteCall> call, WritePath::Outcome outcome);
  using Fresh = tl::expected<void, tree::Error>;
  // Calls (this->*kThen)(call, ok) once it is the call's turn in its session and the state is fresh
  // enough, perhaps at once.
  template <auto kThen, typename C>
  void AwaitTurn(std::unique_ptr<C> call, ReadPath::Condition condition);
  void FinishRead(std::unique_ptr<ReadCall> call, Fresh ok);
  Answer<ReadReply> ExecuteRead(const Caller& caller, const ReadRequest& request);
  void FinishAddWatch(std::unique_ptr<AddWatchCall> call, Fresh ok);
  void ResumeHere(std::unique_ptr<Call<ResumeWatchesReply>> call,
                  const ResumeWatchesRequest& request);
  Answer<ReadReply> LookUp(const ReadRequest& request) const;
  // How long a call may take that asks for `timeout_ms`.
  static std::int64_t LimitNs(std::int64_t timeout_ms, std::int64_t default_ms);

  std::int64_t DeadlineNs(std::int64_t timeout_ms, std::int64_t default_ms) const {
    return NowNs() + LimitNs(timeout_ms, default_ms);
  }

  // Constant after construction.
  const Options options_;
  const Seams seams_;

  TaskScope scope_;
  Background background_;
  Counters counters_;
  std::unique_ptr<persist::LogStore> store_;
  std::unique_ptr<persist::SnapshotGenerations> generations_;
  std::unique_ptr<RaftDriver> driver_;
  std::unique_ptr<Applier> applier_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<SnapshotSender> sender_;
  std::unique_ptr<SnapshotReceiver> receiver_;
  std::unique_ptr<WritePath> writes_;
  std::unique_ptr<ReadPath> reads_;
  std::unique_ptr<Homes> homes_;
  std::unique_ptr<Membership> membership_;
  SessionLanes lanes_;
  SessionTouch touch_;
  SessionExpiry expiry_;
  DigestAudit audit_;

  raft::IndexedConfiguration configuration_;       // in force; index 0: by the command line
  std::map<raft::MemberId, Peer> peers_;           // all to whom there is a link, or should be
  std::map<std::int64_t, Unverified> unverified_;  // by session
  std::vector<Reply> outbox_;                      // answers of this turn
  std::map<std::int64_t, std::size_t> timeouts_;   // timeout in ms -> sessions that have it

  std::size_t admitted_count_ = 0;
  std::size_t admitted_bytes_ = 0;

  bool started_ = false;
  bool pumping_ = false;     // a Pump is posted
  bool delivering_ = false;  // the outbox is posted
  bool telling_ = false;     // a slice of the fan-out is set
  bool dead_ = false;        // after Fatal
  bool stopping_ = false;
  bool stopped_ = false;
  std::string outside_;  // why this member takes no part: removed, not yet added, emptied
  std::string broken_;   // why this member serves nobody any more (rule 15); empty: it does
  std::string split_;    // digests differ without a majority: writes are refused
  raft::Index undecided_index_ = 0;  // where digests differ and a report is missing; 0: nowhere
  std::int64_t undecided_since_ns_ = 0;
  RoomOfMember own_room_;      // of this member's disk and log
  Room room_ = Room::kPlenty;  // what may be proposed: as a leader, also a majority's room counts
  Room majority_room_ = Room::kPlenty;  // at a leader, when last looked at
  std::string no_room_reason_;    // why not everything may be, or this member's own want of room
  std::uint64_t free_bytes_ = 0;  // on the disk, when last looked at
  bool cut_off_ = false;          // no leader heard for so long that polls were dropped
  std::int64_t stop_deadline_ns_ = 0;
  std::function<void()> stop_done_;

  // Time of the cluster as this leader counts it: elapsed_base_ at the moment base_ns_.
  std::int64_t elapsed_base_ = 0;
  std::int64_t elapsed_base_ns_ = 0;

  PeerHello hello_;
  raft::MemberId leader_ = 0;  // last told
  raft::Term term_ = 0;
  std::int64_t leaderless_since_ns_ = 0;  // 0: a leader is known
  std::int64_t started_ns_ = 0;
  std::int64_t next_touch_ns_ = 0;
  std::int64_t next_bucket_ns_ = 0;
  std::int64_t next_report_ns_ = 0;
  std::int64_t next_publish_ns_ = 0;
  std::int64_t scrubbed_ns_ = 0;  // when Scrub was called last
  double scrub_due_ = 0;          // rows that it owes
  std::int64_t next_hand_over_ns_ = 0;
};

// --- the steps of a call, as server_calls.cc and server_watches.cc take them ---

template <typename C>
void Server::Core::Send(std::unique_ptr<C> call, std::int64_t zxid,
                        Answer<typename C::Result> answer) {
  if constexpr (requires { call->admitted; }) {
    if (call->admitted) {
      --admitted_count_;
      admitted_bytes_ -= call->bytes;
    }
  }
  if (started_) {
    FillHead(call->caller, call->authentic, zxid, &call->head);
    if (!answer) {
      NameLeader(&call->head);
    }
  }
  call->answer.emplace(std::move(answer));
  Deliver(std::move(call));
}

template <typename C>
void Server::Core::Deliver(std::unique_ptr<C> call) {
  Deliver(Reply(
      [call = std::move(call)] { call->done(std::move(call->head), std::move(*call->answer)); }));
}

template <typename C>
void Server::Core::Refuse(std::unique_ptr<C> call, Failure failure) {
  Send(std::move(call), 0, tl::unexpected(std::move(failure)));
}

template <typename C, typename Go>
void Server::Core::Authenticate(std::unique_ptr<C> call, bool session_needed, Go go) {
  if (auto refusal = RefuseCaller(call->caller, session_needed)) {
    Refuse(std::move(call), std::move(*refusal));
    return;
  }
  const std::int64_t session = call->caller.session;
  const auto judge = [this](std::unique_ptr<C> judged, Go& then) {
    if (auto wrong = Judge(judged->caller, &judged->authentic)) {
      Refuse(std::move(judged), std::move(*wrong));
    } else {
      then(std::move(judged));
    }
  };
  if (session == 0) {
    go(std::move(call));
  } else if (Known(session)) {
    judge(std::move(call), go);
  } else {
    // Refused: AwaitFresh lets go of it uncalled, so that it is kept here.
    auto waiting = std::make_shared<std::unique_ptr<C>>(std::move(call));
    auto refusal = AwaitFresh(
        session, [this, session, judge, waiting, go = std::move(go)](bool fresh) mutable {
          if (fresh || applier_->machine().sessions().Find(session) != nullptr) {
            judge(std::move(*waiting), go);
          } else {
            Refuse(std::move(*waiting), CannotTell(session));
          }
        });
    if (refusal) {
      Refuse(std::move(*waiting), std::move(*refusal));
    }
  }
}

template <auto kThen, typename C>
void Server::Core::AwaitTurn(std::unique_ptr<C> call, ReadPath::Condition condition) {
  const std::int64_t session = call->caller.session;
  condition.session = session;
  if ((session == 0 || lanes_.Idle(session)) && reads_->Holds(condition)) {
    (this->*kThen)(std::move(call), {});
    return;
  }
  condition.gated = session != 0;
  condition.deadline_ns = DeadlineNs(call->caller.timeout_ms, options_.read_timeout_ms);
  const SessionLanes::Ticket ticket = lanes_.TakeTicket();
  call->ticket = ticket;
  // A gated wait cannot end before the lane has let it, unless by its deadline later on.
  const ReadPath::Id id =
      reads_->Await(condition, [this, call = std::move(call)](Fresh ok) mutable {
        const std::int64_t of = call->caller.session;
        const SessionLanes::Ticket place = call->ticket;
        (this->*kThen)(std::move(call), std::move(ok));
        if (of != 0) {
          lanes_.Leave(of, place);
        }
      });
  if (session != 0) {
    lanes_.Enter(session, SessionLanes::Kind::kRead, ticket, [this, id] { reads_->OpenGate(id); });
  }
  SchedulePump();
}

}  // namespace conclave::server
