// One member of the cluster: drives consensus, the log and the state machine, and serves what doors
// bring. coord/ARCHITECTURE.md shows how the parts hang together.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <tl/expected.hpp>

#include "coord/server/api.h"
#include "coord/server/member_api.h"
#include "coord/server/options.h"
#include "coord/server/seams.h"
#include "coord/server/status.h"

namespace conclave::server {

// Thread: the core executor only, for every method and every callback. A door on another thread
// posts to it.
// Owns: the log, consensus, the state machine, sessions, watches, parked calls. Borrows the seams.
//
// What callers may rely on:
//   1. Requests of one session made at this member take effect and are answered in the order in
//      which they were made, reads behind the writes before them. Polls and pings stand outside.
//   2. A reply never shows a state whose events the session has not been given before, in the
//      reply's head or by a parked poll answered first (rule 1).
//   3. A write is answered when this member has applied it. The same (session, seq) is executed at
//      most once in the life of the cluster, whoever it was sent to and how often (rule 2).
//   4. An error whose action is "retry" speaks of an attempt that was not executed and never will
//      be; where that is not certain it is kUnknownOutcome (rule 10).
class Server {
 public:
  // REQUIRES: options.Validate() succeeds and the seams are complete (checked). Nothing is opened
  // before Start.
  Server(Options options, Seams seams);
  // Drops everything without a word, as a crash does. REQUIRES: no task of the log executor is
  // running (Stop has called back, or the executors have been stopped).
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;

  // Opens the log, takes part in consensus and listens to peers. The error is a sentence for the
  // operator (a directory of another member, damage, a lock); the server is then unusable.
  [[nodiscard]] tl::expected<void, std::string> Start();

  // Ends in order: a leader hands over first; new requests are refused (kUnavailable), parked polls
  // are sent away, requests under way may finish within Options::stop_drain_ms, what is queued for
  // the log is synced, peers are told by closed links. Then `done` is called, after which the
  // server may be destroyed.
  void Stop(std::function<void()> done);

  // --- sessions ---

  void OpenSession(OpenSessionRequest request, Callback<OpenSessionReply> done);
  // A write of the session: takes a seq. Ends its ephemerals in the same entry.
  void CloseSession(Caller caller, Callback<Nothing> done);
  // A heartbeat; without a session a sign that this member serves.
  void Ping(Caller caller, Callback<PingReply> done);

  // --- the tree ---

  // Create, Delete, SetData or Multi; another command is kInvalidArgument. REQUIRES a session.
  void Write(Caller caller, tree::Command command, Callback<WriteReply> done);
  void Read(Caller caller, ReadRequest request, Callback<ReadReply> done);
  // Answers once this member has applied all that was committed when it was called.
  void Sync(Caller caller, Callback<Nothing> done);

  // --- watches, at the member where the session polls ---

  void AddWatch(Caller caller, AddWatchRequest request, Callback<AddWatchReply> done);
  void RemoveWatch(Caller caller, tree::WatchId watch_id, Callback<RemoveWatchReply> done);
  void ResumeWatches(Caller caller, ResumeWatchesRequest request,
                     Callback<ResumeWatchesReply> done);
  // Two may be parked per session; a third answers the oldest at once.
  void Poll(Caller caller, PollRequest request, Callback<PollReply> done);

  // --- the members (any member takes these and passes them on to the leader) ---

  // The members as of now: a status that is as fresh as a linearizable read.
  void ListMembers(Callback<Status> done);
  // Answered once it is so. Repeating what is done already is harmless. `identity`: who asks, for
  // the audit log. Errors: kRefused with the reason, kInvalidArgument, kUnavailable (not executed),
  // kUnknownOutcome (ask again).
  void ChangeMembers(std::string identity, MemberCommand command, std::int64_t timeout_ms,
                     Callback<MemberReply> done);

  // --- looks ---

  [[nodiscard]] Status status() const;
  // Takes requests: cheap, for readiness and for doors that shed load.
  [[nodiscard]] bool ready() const;

  // Takes a checkpoint of what is applied by now; `done` once it is durable, perhaps at once. Not
  // called if this member ends before.
  void Checkpoint(std::function<void()> done);

  // For tests of rule 15: the state of this member differs from now on, as if memory had rotted.
  void InjectRotForTest();

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace conclave::server
