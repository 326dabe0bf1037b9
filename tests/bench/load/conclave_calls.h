// Conclave's calls and answers on the Thrift port, as thrift/idl describes them: what a client has
// to write, without the generated code's objects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace conclave::bench::calls {

/// What the library sends with each call of a session.
struct Context {
  std::int64_t session = 0;
  std::string_view secret;
  std::int64_t seq = 0;            // of a write; 0: none
  std::int64_t acked_through = 0;  // 0: left out
  std::int64_t after_seq = 0;      // of a read; 0: left out
  std::int64_t min_zxid = 0;       // of a read; 0: left out
};

struct Cursor {
  std::int64_t zxid = 0;
  std::int32_t ordinal = 0;
};

enum class ReadMode : std::int32_t { kLinearizable = 1, kSession = 2 };

/// All append one frame. The paths and data may be of any length.
void AppendOpenSession(std::string& out, std::int32_t seqid, std::int32_t timeout_ms,
                       std::string_view nonce);
void AppendSetData(std::string& out, std::int32_t seqid, const Context& context,
                   std::string_view path, std::string_view data);
void AppendCreate(std::string& out, std::int32_t seqid, const Context& context,
                  std::string_view path, std::string_view data);
void AppendGetData(std::string& out, std::int32_t seqid, const Context& context,
                   std::string_view path, ReadMode mode);
/// A persistent watch on one znode, without values.
void AppendAddWatch(std::string& out, std::int32_t seqid, const Context& context,
                    std::int64_t watch, std::string_view path);
void AppendPoll(std::string& out, std::int32_t seqid, const Context& context, Cursor cursor,
                std::int32_t wait_ms);
void AppendPing(std::string& out, std::int32_t seqid, const Context& context);

/// One reply, without its frame's length.
struct Reply {
  bool valid = false;  // false: it does not decode
  std::int32_t seqid = 0;
  /// ErrorCode of the CoordError; 0: a result; -1: a TApplicationException.
  std::int32_t error = 0;
  std::int64_t zxid = 0;    // of the result's head; 0 in an error
  std::string_view result;  // the rest of the result struct, behind the zxid
};

inline constexpr std::int32_t kErrorApplication = -1;
inline constexpr std::int32_t kErrorSequenceGap = 10;
inline constexpr std::int32_t kErrorNotLeader = 20;
inline constexpr std::int32_t kErrorUnavailable = 21;
inline constexpr std::int32_t kErrorOverloaded = 30;
inline constexpr std::int32_t kErrorNoSpace = 31;
inline constexpr std::int32_t kErrorUnknownOutcome = 40;

Reply ReadReply(std::string_view payload);

struct OpenedSession {
  std::int64_t session = 0;
  std::string secret;
};

/// REQUIRES: the reply of an openSession without an error. Empty if it does not decode.
std::optional<OpenedSession> ReadOpened(std::string_view payload);

struct Polled {
  std::uint32_t events = 0;
  std::optional<Cursor> cursor;
};

/// REQUIRES: the reply of a poll without an error. Empty if it does not decode.
std::optional<Polled> ReadPolled(std::string_view payload);

}  // namespace conclave::bench::calls
