// Thrift's strict binary protocol, written and read in place: no object is made for a call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/bench/load/bytes.h"

namespace conclave::bench::thrift {

enum Type : std::uint8_t {
  kStop = 0,
  kBool = 2,
  kByte = 3,
  kDouble = 4,
  kI16 = 6,
  kI32 = 8,
  kI64 = 10,
  kString = 11,
  kStruct = 12,
  kMap = 13,
  kSet = 14,
  kList = 15,
};

enum MessageType : std::uint8_t { kCall = 1, kReply = 2, kException = 3 };

inline void BeginField(std::string& out, Type type, std::uint16_t id) {
  PutU8(out, type);
  PutU16(out, id);
}

inline void AppendI64(std::string& out, std::uint16_t id, std::int64_t value) {
  BeginField(out, kI64, id);
  PutU64(out, static_cast<std::uint64_t>(value));
}

inline void AppendI32(std::string& out, std::uint16_t id, std::int32_t value) {
  BeginField(out, kI32, id);
  PutU32(out, static_cast<std::uint32_t>(value));
}

inline void AppendBool(std::string& out, std::uint16_t id, bool value) {
  BeginField(out, kBool, id);
  PutU8(out, value ? 1 : 0);
}

inline void AppendString(std::string& out, std::uint16_t id, std::string_view value) {
  BeginField(out, kString, id);
  PutBlob(out, value);
}

inline void BeginStruct(std::string& out, std::uint16_t id) { BeginField(out, kStruct, id); }

inline void EndStruct(std::string& out) { PutU8(out, kStop); }

inline void BeginMessage(std::string& out, MessageType type, std::string_view name,
                         std::int32_t seqid) {
  constexpr std::uint32_t kVersion = 0x80010000;
  PutU32(out, kVersion | type);
  PutBlob(out, name);
  PutU32(out, static_cast<std::uint32_t>(seqid));
}

struct MessageHeader {
  bool valid = false;
  MessageType type = kCall;
  std::int32_t seqid = 0;
};

inline MessageHeader ReadMessageHeader(ByteReader& reader) {
  const std::uint32_t version = reader.U32();
  reader.Blob();
  MessageHeader header;
  header.type = static_cast<MessageType>(version & 0xffU);
  header.seqid = static_cast<std::int32_t>(reader.U32());
  header.valid = reader.ok() && version >> 16U == 0x8001;
  return header;
}

struct FieldHeader {
  Type type = kStop;
  std::uint16_t id = 0;
};

/// kStop at the end of a struct and on what does not decode.
inline FieldHeader ReadField(ByteReader& reader) {
  FieldHeader field;
  field.type = static_cast<Type>(reader.U8());
  if (field.type != kStop) {
    field.id = reader.U16();
  }
  return reader.ok() ? field : FieldHeader{};
}

/// Passes over one value; whole structs and containers, too. False if it does not decode or is
/// nested deeper than 32.
bool Skip(ByteReader& reader, Type type, int depth = 0);

}  // namespace conclave::bench::thrift
