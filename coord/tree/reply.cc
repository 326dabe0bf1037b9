#include "coord/tree/reply.h"

#include "coord/tree/bytes.h"

namespace conclave::tree {
namespace {

constexpr std::uint8_t kReplyFormat = 1;
constexpr std::size_t kOpResultBytesMin = 1 + 4 + 4 + 1;

// Most replies have no Stat (a delete, an error): one byte then instead of 72.
void WriteStat(const Stat& stat, ByteWriter& out) {
  const bool present = stat != Stat();
  out.Int(static_cast<std::uint8_t>(present ? 1 : 0));
  if (!present) {
    return;
  }
  out.Int(stat.czxid);
  out.Int(stat.mzxid);
  out.Int(stat.pzxid);
  out.Int(stat.ctime_ms);
  out.Int(stat.mtime_ms);
  out.Int(stat.version);
  out.Int(stat.cversion);
  out.Int(stat.aversion);
  out.Int(stat.ephemeral_owner);
  out.Int(stat.data_length);
  out.Int(stat.num_children);
}

Stat ReadStat(ByteReader& in) {
  Stat stat;
  if (in.Int<std::uint8_t>() == 0) {
    return stat;
  }
  stat.czxid = in.Int<std::int64_t>();
  stat.mzxid = in.Int<std::int64_t>();
  stat.pzxid = in.Int<std::int64_t>();
  stat.ctime_ms = in.Int<std::int64_t>();
  stat.mtime_ms = in.Int<std::int64_t>();
  stat.version = in.Int<std::int32_t>();
  stat.cversion = in.Int<std::int32_t>();
  stat.aversion = in.Int<std::int32_t>();
  stat.ephemeral_owner = in.Int<std::int64_t>();
  stat.data_length = in.Int<std::int32_t>();
  stat.num_children = in.Int<std::int32_t>();
  return stat;
}

void WriteReply(const Reply& reply, ByteWriter& out) {
  out.Int(kReplyFormat);
  out.Int(static_cast<std::uint8_t>(reply.code));
  out.Int(reply.zxid);
  out.Int(reply.expected_seq);
  out.Int(reply.session);
  out.Int(reply.timeout_ms);
  out.Array(reply.secret);
  out.String(reply.message);
  out.String(reply.path);
  WriteStat(reply.stat, out);
  out.Int(static_cast<std::uint32_t>(reply.multi.size()));
  for (const OpResult& result : reply.multi) {
    out.Int(static_cast<std::uint8_t>(result.code));
    out.String(result.message);
    out.String(result.path);
    WriteStat(result.stat, out);
  }
}

std::optional<Code> ReadCode(ByteReader& in) { return CodeFromWire(in.Int<std::uint8_t>()); }

}  // namespace

std::string EncodeReply(const Reply& reply) {
  ByteWriter out;
  WriteReply(reply, out);
  return out.Finish();
}

std::optional<Reply> DecodeReply(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.Int<std::uint8_t>() != kReplyFormat) {
    return std::nullopt;
  }
  Reply reply;
  const std::optional<Code> code = ReadCode(in);
  reply.zxid = in.Int<std::int64_t>();
  reply.expected_seq = in.Int<std::int64_t>();
  reply.session = in.Int<std::int64_t>();
  reply.timeout_ms = in.Int<std::int32_t>();
  reply.secret = in.Array<16>();
  reply.message = in.String();
  reply.path = in.String();
  reply.stat = ReadStat(in);
  const auto count = in.Int<std::uint32_t>();
  if (!code.has_value() || count > in.remaining() / kOpResultBytesMin) {
    return std::nullopt;
  }
  reply.code = *code;
  reply.multi.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    OpResult result;
    const std::optional<Code> op_code = ReadCode(in);
    if (!op_code.has_value()) {
      return std::nullopt;
    }
    result.code = *op_code;
    result.message = in.String();
    result.path = in.String();
    result.stat = ReadStat(in);
    reply.multi.push_back(std::move(result));
  }
  if (!in.Finished()) {
    return std::nullopt;
  }
  return reply;
}

}  // namespace conclave::tree
