#include "tests/bench/load/thrift_binary.h"

namespace conclave::bench::thrift {
namespace {

constexpr int kDepthMax = 32;

bool SkipElements(ByteReader& reader, Type first, Type second, std::uint32_t count, int depth) {
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!Skip(reader, first, depth) || (second != kStop && !Skip(reader, second, depth))) {
      return false;
    }
  }
  return reader.ok();
}

}  // namespace

bool Skip(ByteReader& reader, Type type, int depth) {
  if (depth > kDepthMax) {
    return false;
  }
  switch (type) {
    case kBool:
    case kByte:
      reader.Bytes(1);
      break;
    case kI16:
      reader.Bytes(2);
      break;
    case kI32:
      reader.Bytes(4);
      break;
    case kI64:
    case kDouble:
      reader.Bytes(8);
      break;
    case kString:
      reader.Blob();
      break;
    case kStruct:
      for (FieldHeader field = ReadField(reader); field.type != kStop; field = ReadField(reader)) {
        if (!Skip(reader, field.type, depth + 1)) {
          return false;
        }
      }
      break;
    case kList:
    case kSet: {
      const auto element = static_cast<Type>(reader.U8());
      return SkipElements(reader, element, kStop, reader.U32(), depth + 1);
    }
    case kMap: {
      const auto key = static_cast<Type>(reader.U8());
      const auto value = static_cast<Type>(reader.U8());
      return SkipElements(reader, key, value, reader.U32(), depth + 1);
    }
    default:
      return false;
  }
  return reader.ok();
}

}  // namespace conclave::bench::thrift
