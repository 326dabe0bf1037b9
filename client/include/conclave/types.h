// The values that go to and come from the service.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <conclave/error.h>

namespace conclave {

// The value of a znode: bytes, or null. Null and empty are different values.
using Data = std::optional<std::string>;

// In place of a version: whatever the version is.
inline constexpr std::int32_t kAnyVersion = -1;

// All zxids are indices of the log: they rise, below 2^53, and are never used twice.
struct Stat {
  std::int64_t czxid = 0;     // Of the change that created the znode.
  std::int64_t mzxid = 0;     // Of the last change of its data.
  std::int64_t pzxid = 0;     // Of the last creation or removal of a child.
  std::int64_t ctime_ms = 0;  // Wall clock of the leader then, since 1970.
  std::int64_t mtime_ms = 0;
  std::int32_t version = 0;          // Changes of the data.
  std::int32_t cversion = 0;         // Changes of the set of children.
  std::int32_t aversion = 0;         // Changes of the ACL.
  std::int64_t ephemeral_owner = 0;  // The session it belongs to, 0 if it is not ephemeral.
  std::int32_t data_length = 0;
  std::int32_t num_children = 0;

  bool operator==(const Stat&) const = default;
};

enum class CreateMode {
  kPersistent,
  kEphemeral,             // Goes with its session.
  kPersistentSequential,  // Ten digits, rising with each child of the parent, are put after the
                          // name.
  kEphemeralSequential,
};

enum class ReadMode {
  kLinearizable,  // Sees every write acknowledged to anybody before the call. The default.
  kSession,       // Answered by the member alone; never older than what this session has seen.
  kStale,         // Answered by the member alone; may be old. The reply's zxid says how old.
};

enum class WatchMode {
  kDataOnce,             // The next change, removal or creation of the znode.
  kExistsOnce,           // As kDataOnce, for a znode that need not exist.
  kChildrenOnce,         // The next creation or removal of a child, or removal of the znode.
  kPersistent,           // Every change of the znode and of its set of children.
  kPersistentRecursive,  // Every creation, change and removal of the znode and all below it.
};

enum class EventType {
  kCreated,
  kDeleted,
  kDataChanged,
  kChildrenChanged,
  // Changes may have been missed (the client was away for longer than the members remember): read
  // again what the watch is there for. `path` is that of the watch. A one-shot watch is over.
  kResync,
};

std::string_view EventTypeName(EventType type);  // "created", "deleted", "data_changed", ...

// Names a change: entries rise, and within an entry (a multi, the end of a session) ordinals do.
struct Cursor {
  std::int64_t zxid = 0;
  std::int32_t ordinal = 0;

  auto operator<=>(const Cursor&) const = default;
};

struct Event {
  EventType type = EventType::kResync;
  std::string path;  // Of the znode that changed (for kChildrenChanged: the parent).
  Cursor cursor;     // Give it to Watch() as `from` to go on behind this event.
  // The new value, with creations and changes of data if the watch asked for values.
  bool has_value = false;
  Data data;
  Stat stat;
};

using WatchId = std::int64_t;

// One operation of a multi.
struct Op {
  enum class Kind { kCreate, kRemove, kSet, kCheck };

  Kind kind = Kind::kCheck;
  std::string path;
  Data data;
  CreateMode mode = CreateMode::kPersistent;
  std::int32_t version = kAnyVersion;

  static Op Create(std::string path, Data data, CreateMode mode = CreateMode::kPersistent);
  static Op Remove(std::string path, std::int32_t version = kAnyVersion);
  static Op Set(std::string path, Data data, std::int32_t version = kAnyVersion);
  // Succeeds if the znode exists and has the version; changes nothing.
  static Op Check(std::string path, std::int32_t version = kAnyVersion);
};

// Every reply names the zxid it was computed at (reads) or made (writes).
struct Created {
  std::string path;  // The final one, with the digits of a sequential znode.
  Stat stat;
  std::int64_t zxid = 0;
};

struct Node {
  Data data;
  Stat stat;
  std::int64_t zxid = 0;
};

struct Written {
  Stat stat;  // After the write; all zero for a removal.
  std::int64_t zxid = 0;
};

struct Existence {
  std::optional<Stat> stat;  // Empty: there is no such znode.
  std::int64_t zxid = 0;
};

struct ChildList {
  std::vector<std::string> names;  // Without the path of the parent, in ascending order of bytes.
  Stat stat;                       // Of the parent, as of the first page.
  std::int64_t zxid = 0;           // Of the last page read.
  // False if there are more names behind the last (only for a single page).
  bool complete = true;
};

struct OpResult {
  Code code = Code::kOk;
  std::string path;  // Of a created znode: the final one.
  Stat stat;         // Of a created or changed znode.
};

struct MultiResult {
  std::vector<OpResult> results;  // One for each operation, in order.
  std::int64_t zxid = 0;
};

struct MemberStatus {
  std::uint64_t id = 0;
  std::string role;  // "leader", "follower", "candidate", "learner"; empty if not known.
  std::int64_t term = 0;
  std::int64_t commit_index = 0;
  std::int64_t applied_index = 0;
  std::string peer_address;  // HOST:PORT each; empty while not published.
  std::string client_address;
  std::string admin_address;
  std::string version;     // Of its software.
  bool reachable = false;  // From the member that answered.
  // How old this knowledge is; 0 for the member that answered. Empty: never heard of.
  std::optional<std::chrono::milliseconds> age;
  std::string kind;  // "voter", "learner", "observer"; empty: not in the configuration.
  // Of the data directory that counts; 0: it has not come yet, or not since it was re-admitted.
  std::uint64_t incarnation = 0;
  std::string problem;  // What is wrong with it and what to do, for people; empty: nothing.
};

// The members as the cluster's log has them.
struct MemberList {
  std::int64_t configuration_index = 0;  // Of the entry that says so.
  std::uint64_t leader = 0;              // 0: none known.
  std::int64_t commit_index = 0;         // What a learner has to reach.
  std::vector<MemberStatus> members;
};

enum class MemberChangeKind {
  kAddLearner = 1,  // Becomes a voter by itself once it has caught up.
  kAddObserver = 2,
  kPromote = 3,
  kRemove = 4,
  kReadmit = 5,  // It has lost its disk: a learner again, whatever data directory it comes with.
  kUpdateAddress = 6,
};

struct MemberChange {
  MemberChangeKind kind = MemberChangeKind::kAddLearner;
  std::uint64_t id = 0;
  std::string peer_address;  // HOST:PORT, of kAdd... and kUpdateAddress; of kReadmit if it moved.
};

struct MemberChanged {
  std::int64_t configuration_index = 0;  // Committed.
  bool changed = false;                  // False: it was so already.
};

struct LeaderMoved {
  std::uint64_t leader = 0;
  bool changed = false;  // False: it led already.
};

struct ClusterStatus {
  std::string cluster_name;
  std::string cluster_id;         // 16 bytes.
  std::uint64_t answered_by = 0;  // The member that answered.
  std::uint64_t leader = 0;       // 0: none known there.
  std::vector<MemberStatus> members;
};

}  // namespace conclave
