// Commands, and the entry that carries one through the log. FORMAT.md has the bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

namespace conclave::tree {

// The format of entries that this build writes, and the only one that it reads so far.
inline constexpr std::uint16_t kEntryFormat = 1;

// The levels of features that this build knows. A cluster starts at the lowest and rises only by
// SetFeatureLevel, once all members can.
inline constexpr std::int32_t kFeatureLevelMin = 1;
inline constexpr std::int32_t kFeatureLevelMax = 1;

// 16 bytes drawn at random: the secret of a session, the nonce of an opening.
using Bytes16 = std::array<std::uint8_t, 16>;

// The values are ZooKeeper's create flags. One that is unknown at the feature level of the cluster
// gets kInvalidArgument at apply.
enum class CreateMode : std::uint8_t {
  kPersistent = 0,
  kEphemeral = 1,
  kPersistentSequential = 2,
  kEphemeralSequential = 3,
};

constexpr bool IsKnown(CreateMode mode) { return mode <= CreateMode::kEphemeralSequential; }

constexpr bool IsEphemeral(CreateMode mode) {
  return mode == CreateMode::kEphemeral || mode == CreateMode::kEphemeralSequential;
}

constexpr bool IsSequential(CreateMode mode) {
  return mode == CreateMode::kPersistentSequential || mode == CreateMode::kEphemeralSequential;
}

// An expected version that matches every version.
inline constexpr std::int32_t kAnyVersion = -1;

// Creates a znode. A sequential one gets ten digits appended, and its path may end in a slash.
struct Create {
  std::string path;
  std::optional<std::string> data = std::nullopt;  // None: null data, which is not empty data.
  CreateMode mode = CreateMode::kPersistent;
  friend bool operator==(const Create&, const Create&) = default;
};

// Deletes a znode without children, whoever made it.
struct Delete {
  std::string path;
  std::int32_t version = kAnyVersion;
  friend bool operator==(const Delete&, const Delete&) = default;
};

// Replaces the data. The same bytes again count as a change.
struct SetData {
  std::string path;
  std::optional<std::string> data = std::nullopt;
  std::int32_t version = kAnyVersion;
  friend bool operator==(const SetData&, const SetData&) = default;
};

// Demands that the znode exists and has this version. Only inside a Multi.
struct Check {
  std::string path;
  std::int32_t version = kAnyVersion;
  friend bool operator==(const Check&, const Check&) = default;
};

using Op = std::variant<Create, Delete, SetData, Check>;

// All or nothing, in order, at one zxid.
struct Multi {
  std::vector<Op> ops;
  friend bool operator==(const Multi&, const Multi&) = default;
};

// Opens a session; its id is the zxid of this entry. The one that proposes draws the secret and has
// clamped the timeout. The client draws the nonce and repeats it in a retry: a live session with
// the same nonce is answered again instead of opening a second one. Neither may be all zero.
struct OpenSession {
  std::int32_t timeout_ms = 0;
  Bytes16 secret{};
  Bytes16 nonce{};
  friend bool operator==(const OpenSession&, const OpenSession&) = default;
};

enum class CloseReason : std::uint8_t {
  kClosed = 1,   // By the client.
  kExpired = 2,  // By the leader, after silence.
};

// Ends a session and deletes its ephemerals in the order of their creation, in this one entry.
// A client's own close names the session in the header too and takes a seq, so that it cannot
// overtake a write; one with header session 0 is unconditional (expiry, an operator).
struct CloseSession {
  std::int64_t session = 0;
  CloseReason reason = CloseReason::kClosed;
  friend bool operator==(const CloseSession&, const CloseSession&) = default;
};

// Takes a session up in another process: no write that the processes before it have sent and that
// is not executed yet is executed any more, wherever it still is. Numbers jump by kTakeOverJump, so
// that none of theirs is the next one; the reply says which is. A client's own: it takes a seq, and
// any other than the next one answers kSequenceGap with that.
struct TakeOver {
  friend bool operator==(const TakeOver&, const TakeOver&) = default;
};

// More than the numbers that one process can have given to writes that are not executed.
inline constexpr std::int64_t kTakeOverJump = std::int64_t{1} << 20;

// Raises the feature level. Proposed by the leader once all members know the level.
struct SetFeatureLevel {
  std::int32_t level = 0;
  friend bool operator==(const SetFeatureLevel&, const SetFeatureLevel&) = default;
};

// A member tells where it can be reached; replaces what it said before.
struct PublishMember {
  std::uint64_t id = 0;
  std::uint64_t incarnation = 0;
  std::string client_address;  // HOST:PORT
  std::string admin_address;   // HOST:PORT, or empty
  friend bool operator==(const PublishMember&, const PublishMember&) = default;
};

using Command = std::variant<OpenSession, CloseSession, Create, Delete, SetData, Multi,
                             SetFeatureLevel, PublishMember, TakeOver>;

// What every entry says besides its command. Format and command type are written by the codec.
struct EntryHeader {
  std::int64_t wall_ms = 0;        // Leader's wall clock, since 1970. Fills ctime and mtime only.
  std::int64_t elapsed_ns = 0;     // Elapsed time of the cluster; every duration runs on it.
  std::int64_t session = 0;        // The caller's session; 0 for what the cluster does by itself.
  std::int64_t seq = 0;            // The session's number of this request: 1, 2, 3... without gaps.
  std::int64_t acked_through = 0;  // The client has the replies through this seq.
  std::uint64_t origin_member = 0;   // The member that the request came in at, ...
  std::uint64_t origin_request = 0;  // ... and its own number for it, opaque to everyone else.
  std::string identity;              // Who calls, as authenticated at the origin.
  std::string tenant;
  friend bool operator==(const EntryHeader&, const EntryHeader&) = default;
};

struct Entry {
  EntryHeader header;
  Command command;
  friend bool operator==(const Entry&, const Entry&) = default;
};

// Why an entry could not be read. All three mean that this member must stop: a committed entry that
// it skipped would make its tree another one than everybody else's.
struct DecodeError {
  enum class Kind : std::uint8_t {
    kMalformed,       // Truncated, trailing bytes, impossible lengths or values.
    kUnknownFormat,   // Of a newer version.
    kUnknownCommand,  // Of a newer version.
  };
  Kind kind = Kind::kMalformed;
  std::string message;
};

// The bytes of an entry. Total: encodes whatever it is given.
std::string EncodeEntry(const EntryHeader& header, const Command& command);

// Writes the leader's time into an encoded entry; nothing else of it is touched. The origin encodes
// an entry with zeros there and the leader stamps it when it proposes. Returns false, and leaves
// the bytes alone, if `entry` is too short to be one or is of another format.
bool StampTime(std::string& entry, std::int64_t wall_ms, std::int64_t elapsed_ns);

// Reads an entry back. Never throws, never allocates more than the input warrants, whatever the
// bytes are. Judges syntax only: a mode or a path that makes no sense is apply's to refuse.
tl::expected<Entry, DecodeError> DecodeEntry(std::string_view bytes);

}  // namespace conclave::tree
