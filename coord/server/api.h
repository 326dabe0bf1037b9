// What a door asks of the server and what it gets back: plain structs and one callback per call.
// No frame, no Thrift, no ZooKeeper protocol: doors translate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <tl/expected.hpp>

#include "consensus/types.h"
#include "coord/tree/code.h"
#include "coord/tree/command.h"
#include "coord/tree/reply.h"
#include "coord/tree/stat.h"
#include "coord/tree/value.h"
#include "coord/tree/watch_hub.h"

namespace conclave::server {

// Who calls and what the call depends on. The door has authenticated `identity`.
struct Caller {
  std::int64_t session = 0;  // 0: without a session (reads, status)
  tree::Bytes16 secret{};    // of the session
  // Writes: the session's number of this request, dense from 1, and how far it has the replies.
  std::int64_t seq = 0;
  std::int64_t acked_through = 0;
  // Reads: not before the session's write of this number, nor a state before this zxid.
  std::int64_t after_seq = 0;
  std::int64_t min_zxid = 0;
  // Give up after this; 0: the server's default for the kind of call.
  std::int64_t timeout_ms = 0;
  // If set and another cluster's: kInvalidArgument (rule 9).
  std::optional<raft::ClusterId> cluster;
  // Leave queued events to poll; the head then only says where they end.
  bool no_events = false;
  std::string identity;
  std::string tenant;
};

// Stands over every answer, also over an error.
struct ReplyHead {
  raft::MemberId member = 0;  // who answers
  raft::ClusterId cluster{};  // all zero before the cluster has started
  // A write: the zxid of its entry. A read: the applied index that it shows. An error: the applied
  // index at which it was judged.
  std::int64_t zxid = 0;
  // Events queued for the session at this member. What happened before what the reply shows is
  // among them (of a repeated write also later ones): hand them over first. Empty if the session's
  // watches do not live here.
  std::vector<tree::Event> events;
  // The session's position after these events, if its watches live here. Before `zxid`: there were
  // more than one answer takes; poll on to `zxid` before the reply is handed over.
  std::optional<tree::Cursor> cursor;
  // Between the position that the client had and `cursor` events may be missing: this member does
  // not remember that far. Watches stand; what they cover has to be read anew.
  bool resync = false;
  // Age of the last heartbeat of the session that is confirmed by a leader that proved afterwards
  // that it was one (rule 4). None: not confirmed yet.
  std::optional<std::int64_t> confirmed_age_ms;
  // Whom to ask, for errors with Action::kRetryElsewhere: 0 and empty if unknown.
  raft::MemberId leader = 0;
  std::string leader_address;
};

// An error, and what a client can use of it besides the code.
struct Failure {
  tree::Error error;
  std::int64_t expected_seq = 0;  // with kSequenceGap
};

template <typename T>
using Answer = tl::expected<T, Failure>;

// Called exactly once for each call, on the core executor, never inside the call itself, and also
// when the server stops (then with kUnavailable, or kUnknownOutcome for a write under way). It is
// moved along with the call, never copied, so that it may own what the answer goes to.
template <typename T>
using Callback = absl::AnyInvocable<void(ReplyHead, Answer<T>)>;

// --- sessions -----------------------------------------------------------------------------------

struct OpenSessionRequest {
  std::int64_t timeout_ms = 0;   // wished; clamped into the server's range
  tree::Bytes16 nonce{};         // repeated in a retry, which then gets the same session
  std::int64_t deadline_ms = 0;  // give up after this; 0: the server's default
  std::string identity;
  std::string tenant;
};

struct OpenSessionReply {
  std::int64_t session = 0;
  tree::Bytes16 secret{};
  std::int64_t timeout_ms = 0;
};

struct PingReply {
  std::int64_t timeout_ms = 0;  // of the session; 0 without one
};

struct Nothing {};

// --- writes -------------------------------------------------------------------------------------

// The reply of the state machine, also when it is an answer such as kNoNode: then the Answer is an
// error made of it. A Multi that failed is a value, whose `code` and `multi` say where.
using WriteReply = tree::Reply;

// --- reads --------------------------------------------------------------------------------------

enum class ReadMode : std::uint8_t {
  kLinearizable,  // sees all that was acknowledged to anybody before the call
  kSession,       // local; never before Caller::after_seq and min_zxid
  kStale,         // local, as it is; min_zxid does not count
};

// Also registers a watch, in the same instant as the read.
struct ReadWatch {
  tree::WatchId watch_id = 0;  // the client's, unique in its session; 0: the server chooses
  // nullopt: the one-shot that fits the call (data, exist, child).
  std::optional<tree::WatchMode> mode;
  bool with_value = false;
};

struct GetRequest {
  std::string path;
};

struct ExistsRequest {
  std::string path;
};

struct ChildrenRequest {
  std::string path;
  std::string after;          // names after this one, in byte order
  std::size_t count_max = 0;  // 0: no bound but bytes_max
  std::size_t bytes_max = 0;  // 0, or more than Options::read_bytes_max: that
};

struct ReadRequest {
  std::variant<GetRequest, ExistsRequest, ChildrenRequest> op;
  ReadMode mode = ReadMode::kLinearizable;
  // Get and children register it only if the znode exists, exists in either case.
  std::optional<ReadWatch> watch;
};

struct ReadReply {
  // Get: the znode's value (data shared with the tree, never copied), else null.
  tree::ValueRef value;
  // Exists: false if there is none; then stat has no meaning.
  bool exists = true;
  tree::Stat stat;
  // Children, in byte order; `more`: ask again after the last one.
  std::vector<std::string> names;
  bool more = false;
};

// --- watches ------------------------------------------------------------------------------------

struct AddWatchRequest {
  tree::Watch watch;  // with id 0 the server chooses one
  // Also what matched after this; a one-shot fires for the first of them. None: from now on.
  std::optional<tree::Cursor> since;
};

struct AddWatchReply {
  tree::WatchId id = 0;
  tree::Cursor since;  // the watch tells of the changes after this one
};

struct RemoveWatchReply {
  bool removed = false;
};

struct ResumeWatchesRequest {
  std::vector<tree::ResumedWatch> watches;
  tree::Cursor cursor;       // the last change whose events the client has
  bool replace_all = false;  // first forget every watch of the session here
};

// Where to go when head.resync is set: members that remember back to the cursor (rule 5). Empty:
// nobody does.
struct ResumeWatchesReply {
  std::vector<std::string> elsewhere;
};

struct PollRequest {
  tree::Cursor cursor;         // everything up to here has been taken
  std::int64_t wait_ms = 0;    // for an event; 0: answer at once
  std::size_t events_max = 0;  // 0: 1,000
  std::size_t bytes_max = 0;   // 0: 1 MiB; one event is always given
  std::int64_t wake_zxid = 0;  // answer once this is applied here, event or not; 0: none
};

// The events are in the head.
struct PollReply {
  bool more = false;  // there are more events at once
  std::vector<std::string> elsewhere;
  std::int64_t timeout_ms = 0;  // of the session
};

}  // namespace conclave::server
