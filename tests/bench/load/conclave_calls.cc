#include "tests/bench/load/conclave_calls.h"

#include "tests/bench/load/thrift_binary.h"

namespace conclave::bench::calls {
namespace {

using thrift::AppendBool;
using thrift::AppendI32;
using thrift::AppendI64;
using thrift::AppendString;
using thrift::BeginStruct;
using thrift::EndStruct;

constexpr std::int32_t kPersistentNode = 1;   // CreateMode
constexpr std::int32_t kPersistentWatch = 4;  // WatchMode

std::size_t Begin(std::string& out, std::string_view name, std::int32_t seqid) {
  const std::size_t frame = BeginLength(out);
  thrift::BeginMessage(out, thrift::kCall, name, seqid);
  return frame;
}

void End(std::string& out, std::size_t frame) {
  EndStruct(out);  // of the arguments
  EndLength(out, frame);
}

void AppendContext(std::string& out, const Context& context) {
  BeginStruct(out, 1);
  AppendI64(out, 1, context.session);
  AppendString(out, 2, context.secret);
  if (context.seq != 0) {
    AppendI64(out, 3, context.seq);
  }
  if (context.acked_through != 0) {
    AppendI64(out, 4, context.acked_through);
  }
  if (context.after_seq != 0) {
    AppendI64(out, 5, context.after_seq);
  }
  if (context.min_zxid != 0) {
    AppendI64(out, 6, context.min_zxid);
  }
  AppendBool(out, 9, true);  // noEvents: they come by poll alone
  EndStruct(out);
}

// Begins the struct of field `id`, or passes over what comes before it. False: there is none.
bool Enter(ByteReader& reader, std::uint16_t id) {
  while (true) {
    const thrift::FieldHeader field = thrift::ReadField(reader);
    if (field.type == thrift::kStop) {
      return false;
    }
    if (field.id == id && field.type == thrift::kStruct) {
      return true;
    }
    if (!thrift::Skip(reader, field.type)) {
      return false;
    }
  }
}

// To the fields of the result's own struct.
bool EnterResult(ByteReader& reader) {
  return thrift::ReadMessageHeader(reader).valid && Enter(reader, 0);
}

std::int32_t ErrorCodeOf(ByteReader& reader) {
  for (auto field = thrift::ReadField(reader); field.type != thrift::kStop;
       field = thrift::ReadField(reader)) {
    if (field.id == 1 && field.type == thrift::kI32) {
      return static_cast<std::int32_t>(reader.U32());
    }
    if (!thrift::Skip(reader, field.type)) {
      break;
    }
  }
  return kErrorApplication;
}

Cursor ReadCursor(ByteReader& reader) {
  Cursor cursor;
  for (auto field = thrift::ReadField(reader); field.type != thrift::kStop;
       field = thrift::ReadField(reader)) {
    if (field.id == 1 && field.type == thrift::kI64) {
      cursor.zxid = static_cast<std::int64_t>(reader.U64());
    } else if (field.id == 2 && field.type == thrift::kI32) {
      cursor.ordinal = static_cast<std::int32_t>(reader.U32());
    } else if (!thrift::Skip(reader, field.type)) {
      break;
    }
  }
  return cursor;
}

}  // namespace

void AppendOpenSession(std::string& out, std::int32_t seqid, std::int32_t timeout_ms,
                       std::string_view nonce) {
  const std::size_t frame = Begin(out, "openSession", seqid);
  BeginStruct(out, 1);
  AppendI32(out, 1, timeout_ms);
  AppendString(out, 2, nonce);
  AppendString(out, 3, "bench");
  EndStruct(out);
  End(out, frame);
}

void AppendSetData(std::string& out, std::int32_t seqid, const Context& context,
                   std::string_view path, std::string_view data) {
  const std::size_t frame = Begin(out, "setData", seqid);
  AppendContext(out, context);
  BeginStruct(out, 2);
  AppendString(out, 1, path);
  AppendString(out, 2, data);
  EndStruct(out);
  End(out, frame);
}

void AppendCreate(std::string& out, std::int32_t seqid, const Context& context,
                  std::string_view path, std::string_view data) {
  const std::size_t frame = Begin(out, "create", seqid);
  AppendContext(out, context);
  BeginStruct(out, 2);
  AppendString(out, 1, path);
  AppendString(out, 2, data);
  AppendI32(out, 3, kPersistentNode);
  EndStruct(out);
  End(out, frame);
}

void AppendGetData(std::string& out, std::int32_t seqid, const Context& context,
                   std::string_view path, ReadMode mode) {
  const std::size_t frame = Begin(out, "getData", seqid);
  AppendContext(out, context);
  BeginStruct(out, 2);
  AppendString(out, 1, path);
  AppendI32(out, 2, static_cast<std::int32_t>(mode));
  EndStruct(out);
  End(out, frame);
}

void AppendAddWatch(std::string& out, std::int32_t seqid, const Context& context,
                    std::int64_t watch, std::string_view path) {
  const std::size_t frame = Begin(out, "addWatch", seqid);
  AppendContext(out, context);
  BeginStruct(out, 2);
  BeginStruct(out, 1);
  AppendI64(out, 1, watch);
  AppendString(out, 2, path);
  AppendI32(out, 3, kPersistentWatch);
  EndStruct(out);
  EndStruct(out);
  End(out, frame);
}

void AppendPoll(std::string& out, std::int32_t seqid, const Context& context, Cursor cursor,
                std::int32_t wait_ms) {
  const std::size_t frame = Begin(out, "poll", seqid);
  AppendContext(out, context);
  BeginStruct(out, 2);
  BeginStruct(out, 1);
  AppendI64(out, 1, cursor.zxid);
  AppendI32(out, 2, cursor.ordinal);
  EndStruct(out);
  AppendI32(out, 2, wait_ms);
  EndStruct(out);
  End(out, frame);
}

void AppendPing(std::string& out, std::int32_t seqid, const Context& context) {
  const std::size_t frame = Begin(out, "ping", seqid);
  AppendContext(out, context);
  End(out, frame);
}

Reply ReadReply(std::string_view payload) {
  ByteReader reader(payload);
  const thrift::MessageHeader header = thrift::ReadMessageHeader(reader);
  Reply reply;
  reply.seqid = header.seqid;
  reply.valid = header.valid && header.type != thrift::kCall;
  if (header.type == thrift::kException) {
    reply.error = kErrorApplication;
    return reply;
  }
  const thrift::FieldHeader outcome = thrift::ReadField(reader);
  if (outcome.type != thrift::kStruct) {
    reply.valid = false;
  } else if (outcome.id != 0) {
    reply.error = ErrorCodeOf(reader);
  } else if (Enter(reader, 1)) {  // the head, first in every result
    const thrift::FieldHeader first = thrift::ReadField(reader);
    reply.zxid =
        first.id == 1 && first.type == thrift::kI64 ? static_cast<std::int64_t>(reader.U64()) : 0;
  }
  reply.valid = reply.valid && reader.ok();
  reply.result = reader.rest();
  return reply;
}

std::optional<OpenedSession> ReadOpened(std::string_view payload) {
  ByteReader reader(payload);
  if (!EnterResult(reader)) {
    return std::nullopt;
  }
  OpenedSession opened;
  for (auto field = thrift::ReadField(reader); field.type != thrift::kStop;
       field = thrift::ReadField(reader)) {
    if (field.id == 2 && field.type == thrift::kI64) {
      opened.session = static_cast<std::int64_t>(reader.U64());
    } else if (field.id == 3 && field.type == thrift::kString) {
      opened.secret = reader.Blob();
    } else if (!thrift::Skip(reader, field.type)) {
      return std::nullopt;
    }
  }
  return opened.session != 0 && !opened.secret.empty() ? std::optional(opened) : std::nullopt;
}

std::optional<Polled> ReadPolled(std::string_view payload) {
  ByteReader reader(payload);
  if (!EnterResult(reader) || !Enter(reader, 1)) {
    return std::nullopt;
  }
  Polled polled;
  for (auto field = thrift::ReadField(reader); field.type != thrift::kStop;
       field = thrift::ReadField(reader)) {
    if (field.id == 4 && field.type == thrift::kList) {
      const auto element = static_cast<thrift::Type>(reader.U8());
      polled.events = reader.U32();
      for (std::uint32_t i = 0; i < polled.events; ++i) {
        if (!thrift::Skip(reader, element)) {
          return std::nullopt;
        }
      }
    } else if (field.id == 5 && field.type == thrift::kStruct) {
      polled.cursor = ReadCursor(reader);
    } else if (!thrift::Skip(reader, field.type)) {
      return std::nullopt;
    }
  }
  return reader.ok() ? std::optional(polled) : std::nullopt;
}

}  // namespace conclave::bench::calls
