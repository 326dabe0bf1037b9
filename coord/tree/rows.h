// The rows of a checkpoint: the state as ordered keys with values. FORMAT.md has the bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "coord/tree/command.h"
#include "coord/tree/digest.h"
#include "coord/tree/limits.h"
#include "coord/tree/value.h"

namespace conclave::tree {

// First byte of a key. The order of the numbers is the order of loading: what others refer to comes
// first. Part of the format.
enum class RowKind : std::uint8_t {
  kState = 1,    // One row: scalars, counts of the others, digest.
  kSession = 2,  // A live session.
  kReply = 3,    // A stored reply.
  kMember = 4,   // What a member has published.
  kZnode = 5,    // A znode: value, data, and what it remembers of its children.
};

// The format of values that this build writes, their first byte, and the only one that it reads.
inline constexpr std::uint8_t kRowFormat = 1;

// The definition of the digest; the digest itself and the state row name it.
inline constexpr std::int64_t kDigestVersion = 1;

struct StateRow {
  std::int64_t digest_version = kDigestVersion;
  std::int64_t last_zxid = 0;
  std::int64_t elapsed_ns = 0;
  std::int32_t feature_level = 0;
  std::array<std::uint64_t, kLimitsCount> limits{};  // NumbersOf.
  std::uint64_t sessions = 0;                        // Numbers of rows of the other kinds.
  std::uint64_t replies = 0;
  std::uint64_t members = 0;
  std::uint64_t znodes = 0;
  Digest digest;  // StateMachine::digest() at last_zxid.
  friend bool operator==(const StateRow&, const StateRow&) = default;
};

struct SessionRow {
  std::int64_t id = 0;  // In the key.
  std::int32_t timeout_ms = 0;
  Bytes16 secret{};
  Bytes16 nonce{};
  std::int64_t last_seq = 0;
  std::int64_t acked_through = 0;
  std::int64_t taken_over_through = 0;
  friend bool operator==(const SessionRow&, const SessionRow&) = default;
};

struct ReplyRow {
  std::int64_t session = 0;  // In the key.
  std::int64_t seq = 0;      // In the key.
  std::int64_t zxid = 0;
  bool dropped = false;
  std::string_view body;  // EncodeReply; empty if dropped.
  friend bool operator==(const ReplyRow&, const ReplyRow&) = default;
};

struct MemberRow {
  std::uint64_t id = 0;  // In the key.
  std::uint64_t incarnation = 0;
  std::int64_t zxid = 0;
  std::string client_address;
  std::string admin_address;
  friend bool operator==(const MemberRow&, const MemberRow&) = default;
};

struct ZnodeRow {
  std::string path;  // In the key.
  Value::Fields fields;
  bool is_directory = false;  // It ever had a child; otherwise the next two say nothing.
  std::int32_t ccount = 0;
  std::int64_t pzxid = 0;
  std::optional<std::string_view> data;  // None: null data.
};

// --- Keys. Ascending as bytes. ---

// Appends the key of a znode: its kind, then each component behind a zero byte; so "/" is the kind
// alone, a parent comes before its children, and a whole subtree before the next sibling.
// REQUIRES: `path` is valid.
void AppendZnodeKey(std::string_view path, std::string& key);

std::string StateKey();
std::string SessionKey(std::int64_t id);
std::string ReplyKey(std::int64_t session, std::int64_t seq);
std::string MemberKey(std::uint64_t id);
std::string ZnodeKey(std::string_view path);

// The path in the key of a znode. REQUIRES: the key is one that AppendZnodeKey made.
std::string PathOfZnodeKey(std::string_view key);

// --- Values ---

std::string EncodeRow(const StateRow& row);
std::string EncodeRow(const SessionRow& row);
std::string EncodeRow(const ReplyRow& row);
std::string EncodeRow(const MemberRow& row);
// Overwrites `out`, whose memory is used again.
void EncodeZnodeRow(const Value& value, bool is_directory, std::int32_t ccount, std::int64_t pzxid,
                    std::string& out);

// Bytes that the value of a row takes, without making it.
std::size_t ZnodeRowBytes(const Value& value, bool is_directory);
inline constexpr std::size_t kSessionRowBytes = 1 + 4 + 16 + 16 + 8 + 8 + 8;
inline constexpr std::size_t kReplyRowBytes = 1 + 1 + 8;  // And the body.
inline constexpr std::size_t kSessionKeyBytes = 9;
inline constexpr std::size_t kReplyKeyBytes = 17;

// --- Reading back. Whatever the bytes are: a row or why not, in a sentence. The views in a row
// point into `value`. They judge the form alone; whether the rows fit together is the loader's. ---

template <typename Row>
using RowResult = tl::expected<Row, std::string>;

// Whether it is a kind that this build knows. Errors: an empty key, an unknown kind.
RowResult<RowKind> KindOf(std::string_view key);
RowResult<StateRow> DecodeStateRow(std::string_view key, std::string_view value);
RowResult<SessionRow> DecodeSessionRow(std::string_view key, std::string_view value);
RowResult<ReplyRow> DecodeReplyRow(std::string_view key, std::string_view value);
RowResult<MemberRow> DecodeMemberRow(std::string_view key, std::string_view value);
RowResult<ZnodeRow> DecodeZnodeRow(std::string_view key, std::string_view value);

// A key as text for a message: the kind's name and what it is about, safe whatever the bytes.
std::string PrintableKey(std::string_view key);

}  // namespace conclave::tree
