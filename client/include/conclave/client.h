// A connection to a Conclave cluster: one session, its reads and writes, and its watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <conclave/error.h>
#include <conclave/executor.h>
#include <conclave/options.h>
#include <conclave/types.h>

namespace conclave {

namespace internal {
class Core;
class Runtime;
}  // namespace internal

template <class T>
using Callback = std::function<void(Result<T>)>;

// Called for every event of a watch, one at a time, in the order of the changes.
using WatchCallback = std::function<void(const Event&)>;

struct WatchOptions {
  std::chrono::milliseconds timeout{0};
  bool with_values = false;  // Events of creations and changes bring the new value.
  // Also tell of what happened behind this cursor. Not set: from now on. A cursor behind which this
  // client's other watches have had events already is refused with kInvalidArgument, since the
  // order of events would be lost: use a client of its own.
  std::optional<Cursor> from = std::nullopt;
};

struct ChildrenOptions {
  std::chrono::milliseconds timeout{0};
  ReadMode mode = ReadMode::kLinearizable;
  std::string after;  // Only names behind this one.
  std::int32_t count_max =
      0;  // 0: all of them, read page by page. Else one page of at most so many.
};

// What it promises:
//  - Every call ends, with an answer or an error, by its deadline.
//  - A write is executed once or not at all, over any number of retries, reconnects and members. An
//    error other than kUnknownOutcome means that the write has had and will have no effect, save
//    kReplyDropped (executed, the answer is lost) and those whose action is kBroken (not known).
//  - Writes are executed in the order in which they were issued. A read sees every write of this
//    client that was issued before it (but in mode kStale), and nothing older than the client has
//    seen before.
//  - Events come in the order of the changes, each once, and the event of a change comes before any
//    reply that shows a later state. When the client reconnects, watches continue where they were;
//    if the cluster no longer remembers that far, every watch gets an explicit kResync.
//  - An expired session is never replaced by another: kSessionExpired from every call from then on.
//
// Thread: every method from any thread, callbacks included. Callbacks run one at a time on a thread
// of the client's own that does nothing else, so a callback may wait, call blocking methods of the
// client, or destroy the client; other callbacks wait meanwhile. For each call the callback is
// called exactly once; when the client is destroyed, those still due are called with
// kSessionExpired or kUnknownOutcome before the destructor returns.
class Client {
 public:
  // Blocks until a session is open or `options.call_timeout` has passed (kUnavailable).
  static Result<std::unique_ptr<Client>> Connect(Options options);
  // Does not wait: calls made before the session is open wait for it, up to their deadlines.
  // Fails on invalid options only.
  static Result<std::unique_ptr<Client>> Start(Options options);
  // On the caller's executors and transport; nothing in it blocks but the blocking methods, which
  // must not be called on the executors. REQUIRES: no field of `seams` is empty.
  static Result<std::unique_ptr<Client>> Start(Options options, const Seams& seams);

  // Close(), unless Detach() was called. Waits at most a second for the cluster's answer; whatever
  // is not closed expires. With the caller's seams it neither closes nor waits: the last callbacks
  // are posted to the caller's executor, which, like the transport, must go on until they have run.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // --- The tree. Paths as in ZooKeeper: "/a/b"; at most 1 MiB of data. Each blocks until the
  // answer is there; the ...Async form returns at once and calls back.

  Result<Created> Create(const std::string& path, Data data,
                         CreateMode mode = CreateMode::kPersistent, CallOptions options = {});
  void CreateAsync(std::string path, Data data, CreateMode mode, CallOptions options,
                   Callback<Created> done);

  Result<Node> Get(const std::string& path, ReadOptions options = {});
  void GetAsync(std::string path, ReadOptions options, Callback<Node> done);

  Result<Written> Set(const std::string& path, Data data, std::int32_t version = kAnyVersion,
                      CallOptions options = {});
  void SetAsync(std::string path, Data data, std::int32_t version, CallOptions options,
                Callback<Written> done);

  Result<Written> Remove(const std::string& path, std::int32_t version = kAnyVersion,
                         CallOptions options = {});
  void RemoveAsync(std::string path, std::int32_t version, CallOptions options,
                   Callback<Written> done);

  // A missing znode is a result, not an error.
  Result<Existence> Exists(const std::string& path, ReadOptions options = {});
  void ExistsAsync(std::string path, ReadOptions options, Callback<Existence> done);

  // A listing of many pages is not of one state: names created or removed meanwhile may be in it
  // or not.
  Result<ChildList> Children(const std::string& path, ChildrenOptions options = {});
  void ChildrenAsync(std::string path, ChildrenOptions options, Callback<ChildList> done);

  // All or none, at one zxid. If an operation fails, the error has its code and path, and op_index.
  Result<MultiResult> Multi(std::vector<Op> ops, CallOptions options = {});
  void MultiAsync(std::vector<Op> ops, CallOptions options, Callback<MultiResult> done);

  // Creates the znode and every missing one above it, with null data. kOk too if it exists.
  Status CreatePath(const std::string& path, CallOptions options = {});
  void CreatePathAsync(std::string path, CallOptions options, Callback<void> done);

  // Waits until the member has caught up with everything that was committed at the call; the result
  // is the zxid it has reached. For reads in mode kSession or kStale behind it.
  Result<std::int64_t> Sync(CallOptions options = {});
  void SyncAsync(CallOptions options, Callback<std::int64_t> done);

  // --- Watches.

  // Registered once this returns a value: every later change is told. Events may be called back
  // before it returns. A one-shot watch is over after its first event.
  Result<WatchId> Watch(const std::string& path, WatchMode mode, WatchCallback on_event,
                        WatchOptions options = {});
  // Returns the id at once; `done` has the zxid from which on the watch tells. After a failure the
  // watch does not exist.
  WatchId WatchAsync(std::string path, WatchMode mode, WatchCallback on_event, WatchOptions options,
                     Callback<std::int64_t> done);
  // The callback is not called any more once this returns, unless it is running at the moment or is
  // the caller. An unknown id (a one-shot watch that has fired) is ignored.
  void Unwatch(WatchId id);

  // --- The session and the cluster.

  // Answered by the member that the client is connected to; needs no quorum and no session.
  Result<ClusterStatus> GetClusterStatus(CallOptions options = {});
  void GetClusterStatusAsync(CallOptions options, Callback<ClusterStatus> done);

  // The members as of now. Needs a quorum and no session.
  Result<MemberList> ListMembers(CallOptions options = {});
  // For operators. Answered once it is so; repeating what is done already changes nothing and is no
  // error. kRefused: it would endanger the cluster, and the message says why. kUnknownOutcome: ask
  // again.
  Result<MemberChanged> ChangeMember(const MemberChange& change, CallOptions options = {});
  // 0: the leader chooses. Likewise.
  Result<LeaderMoved> TransferLeader(std::uint64_t to, CallOptions options = {});

  SessionState state() const;
  std::int64_t session_id() const;  // 0 while there is none.
  // Until then the cluster has promised not to end the session, whatever happens to this client or
  // its connection: computed from the last heartbeat that the leader has confirmed with a quorum.
  // Moves on as long as the client is connected. What is in the past when compared with
  // BootClock::now() may be over.
  BootTime valid_until() const;
  // The timeout that the cluster has granted; 0 while there is no session.
  std::chrono::milliseconds session_timeout() const;

  // What another process needs to take the session over. kUnavailable while there is none. Only one
  // process at a time may use a session.
  Result<SavedSession> Save() const;
  // From now on, destroying the client leaves the session to whoever resumes it or to expiry.
  void Detach();
  // Ends the session, its ephemerals and locks at once. Calls made later fail with kSessionExpired.
  Status Close(CallOptions options = {});
  void CloseAsync(CallOptions options, Callback<void> done);

 private:
  friend class Lock;
  friend class Election;

  Client() = default;

  std::unique_ptr<internal::Runtime> runtime_;  // Empty with the caller's seams.
  std::shared_ptr<internal::Core> core_;
};

}  // namespace conclave
