// Messages of ZooKeeper's protocol, as far as the load needs them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::bench::jute {

inline constexpr std::int32_t kEventXid = -1;
inline constexpr std::int32_t kPingXid = -2;

/// All append a whole frame, its length first.
void AppendConnect(std::string& out, std::int32_t session_timeout_ms);
void AppendPing(std::string& out);
/// With any version.
void AppendSetData(std::string& out, std::int32_t xid, std::string_view path,
                   std::string_view data);
void AppendGetData(std::string& out, std::int32_t xid, std::string_view path, bool watch);
/// Persistent, open to everyone.
void AppendCreate(std::string& out, std::int32_t xid, std::string_view path, std::string_view data);

/// The session that the answer to the first frame names; 0: refused.
std::int64_t SessionOf(std::string_view frame);

struct ReplyHeader {
  bool valid = false;  // false: the frame is too short to be one
  std::int32_t xid = 0;
  std::int64_t zxid = 0;
  std::int32_t error = 0;
};

ReplyHeader HeaderOf(std::string_view frame);

}  // namespace conclave::bench::jute
