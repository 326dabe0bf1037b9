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
  void Write(Caller caller, tree::Command command, Callback<WriteReply> done);
  void Read(Caller caller, ReadRequest request, Callback<ReadReply> done);
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
    std::vector<std::function<void(bool fresh)>> calls;
  };

  // A write from its admission to its answer. Shared by the steps between, which otherwise would
  // each copy what the caller has sent.
  struct WriteCall {
    Caller caller;
    tree::Command command;
    Callback<WriteReply> done;
    std::int64_t deadline_ns = 0;
    std::size_t bytes = 0;
    std::int64_t since_ns = 0;
  };

  using Fail = std::function<void(Failure)>;

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
  void Deliver(std::function<void()> reply);

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
  // Runs `go` once the caller's session is known to live here and the secret is right; else `fail`.
  // Calls of one session keep their order. Without a session `go` runs at once if that is allowed.
  void Authenticate(const Caller& caller, bool session_needed, Fail fail, std::function<void()> go);
  void Judge(std::int64_t session, const tree::Bytes16& secret, const Fail& fail,
             const std::function<void()>& go);
  void Touch(std::int64_t session);
  void ExchangeTouches();
  void OnTouchBatch(raft::MemberId from, TouchBatch batch);
  void ConfirmTouches(raft::MemberId from, std::uint64_t batch, std::vector<std::int64_t> sessions);
  void ExpireSessions();
  std::int64_t SessionTimeoutMs(std::int64_t session) const;

  // --- server_status.cc ---
  MemberStatus MakeMemberStatus(raft::MemberId id, const Status& own) const;
  std::string ProblemOf(const MemberStatus& member) const;

  // --- server_calls.cc ---
  ReplyHead BaseHead(std::int64_t session) const;
  ReplyHead HeadFor(const Caller& caller, std::int64_t zxid);
  Failure MakeFailure(tree::Code code, std::string message, std::string path = {}) const;
  // Why no request is taken at all just now.
  std::optional<Failure> Closed(const Caller& caller) const;
  std::optional<Failure> RefuseWait() const;
  std::optional<Failure> RefuseWrite(const Caller& caller, const tree::Command& command,
                                     std::size_t bytes) const;
  template <typename T>
  void Send(const Caller& caller, std::int64_t zxid, Answer<T> answer, Callback<T> done);
  template <typename T>
  Fail Failing(const Caller& caller, Callback<T> done);
  void SubmitWrite(const Caller& caller, tree::Command command, std::int64_t deadline_ns,
                   std::function<void(WritePath::Outcome)> done);
  void OnWriteOutcome(WriteCall& call, WritePath::Outcome outcome);
  void AnswerWrite(WriteCall& call, std::int64_t zxid, Answer<WriteReply> answer);
  void AwaitTurn(const Caller& caller, ReadPath::Condition condition, ReadPath::Done done);
  Answer<ReadReply> ExecuteRead(const Caller& caller, const ReadRequest& request);
  Answer<ReadReply> LookUp(const ReadRequest& request) const;
  std::int64_t DeadlineNs(std::int64_t timeout_ms, std::int64_t default_ms) const;

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
  std::vector<std::function<void()>> outbox_;      // answers of this turn
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

// --- answers, as server_calls.cc and server_watches.cc give them ---

template <typename T>
void Server::Core::Send(const Caller& caller, std::int64_t zxid, Answer<T> answer,
                        Callback<T> done) {
  ReplyHead head = started_ ? HeadFor(caller, zxid) : ReplyHead{};
  Deliver([done = std::move(done), head = std::move(head), answer = std::move(answer)]() mutable {
    done(std::move(head), std::move(answer));
  });
}

template <typename T>
Server::Core::Fail Server::Core::Failing(const Caller& caller, Callback<T> done) {
  return [this, caller, done = std::move(done)](Failure failure) {
    Send<T>(caller, 0, tl::unexpected(std::move(failure)), done);
  };
}

}  // namespace conclave::server
