#include "tests/bench/load/jute.h"

#include "tests/bench/load/bytes.h"

namespace conclave::bench::jute {
namespace {

constexpr std::uint32_t kCreate = 1;
constexpr std::uint32_t kGetData = 4;
constexpr std::uint32_t kSetData = 5;
constexpr std::uint32_t kPing = 11;

constexpr std::uint32_t kAllPermissions = 31;
constexpr std::size_t kPasswordBytes = 16;

std::size_t Begin(std::string& out, std::int32_t xid, std::uint32_t type) {
  const std::size_t frame = BeginLength(out);
  PutU32(out, static_cast<std::uint32_t>(xid));
  PutU32(out, type);
  return frame;
}

}  // namespace

void AppendConnect(std::string& out, std::int32_t session_timeout_ms) {
  const std::size_t frame = BeginLength(out);
  PutU32(out, 0);  // version of the protocol
  PutU64(out, 0);  // last zxid seen
  PutU32(out, static_cast<std::uint32_t>(session_timeout_ms));
  PutU64(out, 0);  // a new session
  PutBlob(out, std::string(kPasswordBytes, '\0'));
  PutU8(out, 0);  // not with a read-only server
  EndLength(out, frame);
}

void AppendPing(std::string& out) { EndLength(out, Begin(out, kPingXid, kPing)); }

void AppendSetData(std::string& out, std::int32_t xid, std::string_view path,
                   std::string_view data) {
  const std::size_t frame = Begin(out, xid, kSetData);
  PutBlob(out, path);
  PutBlob(out, data);
  PutU32(out, UINT32_MAX);  // -1: any version
  EndLength(out, frame);
}

void AppendGetData(std::string& out, std::int32_t xid, std::string_view path, bool watch) {
  const std::size_t frame = Begin(out, xid, kGetData);
  PutBlob(out, path);
  PutU8(out, watch ? 1 : 0);
  EndLength(out, frame);
}

void AppendCreate(std::string& out, std::int32_t xid, std::string_view path,
                  std::string_view data) {
  const std::size_t frame = Begin(out, xid, kCreate);
  PutBlob(out, path);
  PutBlob(out, data);
  PutU32(out, 1);
  PutU32(out, kAllPermissions);
  PutBlob(out, "world");
  PutBlob(out, "anyone");
  PutU32(out, 0);  // persistent
  EndLength(out, frame);
}

std::int64_t SessionOf(std::string_view frame) {
  ByteReader reader(frame);
  reader.U32();  // version of the protocol
  reader.U32();  // timeout
  const auto session = static_cast<std::int64_t>(reader.U64());
  return reader.ok() ? session : 0;
}

ReplyHeader HeaderOf(std::string_view frame) {
  ByteReader reader(frame);
  ReplyHeader header;
  header.xid = static_cast<std::int32_t>(reader.U32());
  header.zxid = static_cast<std::int64_t>(reader.U64());
  header.error = static_cast<std::int32_t>(reader.U32());
  header.valid = reader.ok();
  return header;
}

}  // namespace conclave::bench::jute
