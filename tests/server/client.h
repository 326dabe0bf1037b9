// A client of a simulated cluster: it calls Server as a door would, keeps its session and its place
// in the stream of events, and checks what every client may rely on.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coord/server/api.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {

template <typename T>
struct Called {
  bool answered = false;
  ReplyHead head;
  Answer<T> answer = tl::unexpected(Failure{});

  bool ok() const { return answered && answer.has_value(); }

  // kOk, the error's code, or kInternal if there was no answer at all.
  tree::Code code() const {
    if (!answered) {
      return tree::Code::kInternal;
    }
    return answer ? tree::Code::kOk : answer.error().error.code;
  }

  std::string message() const {
    return answered ? (answer ? "ok" : answer.error().error.message) : "no answer";
  }
};

// One event as the client took it.
struct Seen {
  tree::EventType type = tree::EventType::kCreated;
  std::string path;
  tree::Cursor cursor;
  std::optional<std::string> value;
  std::vector<tree::WatchId> ids;

  friend bool operator==(const Seen&, const Seen&) = default;
};

// Thread: one. Blocking calls run the cluster's loop. Must outlive nothing: answers that come after
// it has gone are dropped.
class Client {
 public:
  Client(Cluster* cluster, raft::MemberId member, std::uint64_t seed = 7);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Where it calls from now on.
  void MoveTo(raft::MemberId member) { member_ = member; }

  raft::MemberId member() const { return member_; }

  // --- blocking calls, each with the session's numbers filled in ---

  bool Open(std::int64_t timeout_ms = 10'000);
  Called<OpenSessionReply> TryOpen(std::int64_t timeout_ms);
  Called<WriteReply> Write(tree::Command command);
  // The same write again: same number.
  Called<WriteReply> Repeat(tree::Command command);
  Called<WriteReply> Create(std::string path, std::string data = {},
                            tree::CreateMode mode = tree::CreateMode::kPersistent);
  Called<WriteReply> Set(std::string path, std::string data);
  Called<WriteReply> Delete(std::string path);
  Called<Nothing> Close();
  Called<ReadReply> Get(std::string path, ReadMode mode = ReadMode::kLinearizable,
                        std::optional<ReadWatch> watch = std::nullopt);
  Called<ReadReply> Exists(std::string path, ReadMode mode = ReadMode::kLinearizable,
                           std::optional<ReadWatch> watch = std::nullopt);
  Called<ReadReply> Children(std::string path, ReadMode mode = ReadMode::kLinearizable);
  Called<AddWatchReply> AddWatch(tree::WatchId id, std::string path, tree::WatchMode mode,
                                 bool with_value = false);
  Called<ResumeWatchesReply> Resume(std::vector<tree::Watch> watches);
  Called<PollReply> Poll(std::int64_t wait_ms, std::int64_t wake_zxid = 0);
  Called<PingReply> Ping();

  // --- asynchronous ---

  // Keeps polls parked at the current member until StopPolling; a failed one is tried again there.
  void StartPolling(std::int64_t wait_ms = 1000);

  void StopPolling() { polling_ = false; }

  // Fills in the session and sends; `then` may be empty.
  void SendWrite(tree::Command command, Callback<WriteReply> then);

  // What a door would be given. `write`: takes the next number.
  Caller MakeCaller(bool write);

  // --- what it knows ---

  std::int64_t session() const { return session_; }

  const tree::Bytes16& secret() const { return secret_; }

  std::int64_t last_zxid() const { return last_zxid_; }

  const tree::Cursor& cursor() const { return cursor_; }

  const std::vector<Seen>& seen() const { return seen_; }

  bool resync() const { return resync_; }

  std::uint64_t polls_failed() const { return polls_failed_; }

  std::optional<std::int64_t> confirmed_age_ms() const { return confirmed_age_ms_; }

  // For a client that speaks for a session it did not open.
  void Impersonate(std::int64_t session, const tree::Bytes16& secret);

 private:
  template <typename T>
  Called<T> Wait(const std::function<void(Callback<T>)>& call);
  void Take(const ReplyHead& head, bool from_poll);
  // A write that was answered as executed keeps its number; one that was not gives it back.
  void Settle(std::int64_t seq, tree::Code code);
  void PollOnce();

  Cluster* const cluster_;
  raft::MemberId member_;
  SimRandom random_;
  std::shared_ptr<char> alive_ = std::make_shared<char>('\0');
  std::int64_t session_ = 0;
  tree::Bytes16 secret_{};
  std::int64_t seq_ = 0;
  std::int64_t acked_ = 0;
  std::int64_t last_zxid_ = 0;
  tree::Cursor cursor_;
  std::vector<Seen> seen_;
  bool resync_ = false;
  bool polling_ = false;
  std::int64_t poll_wait_ms_ = 1000;
  std::uint64_t polls_failed_ = 0;
  std::optional<std::int64_t> confirmed_age_ms_;
};

}  // namespace conclave::server::testing
