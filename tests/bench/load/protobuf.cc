#include "tests/bench/load/protobuf.h"

namespace conclave::bench::protobuf {
namespace {

constexpr unsigned kVarint = 0;
constexpr unsigned kLengthDelimited = 2;
constexpr unsigned kVarintBytesMax = 10;

bool TakeVarint(std::string_view& from, std::uint64_t& value) {
  value = 0;
  for (unsigned i = 0; i < kVarintBytesMax && i < from.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(from[i]);
    value |= static_cast<std::uint64_t>(byte & 127U) << (7 * i);
    if (byte < 128) {
      from.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

}  // namespace

void AppendVarint(std::string& out, std::uint64_t value) {
  while (value >= 128) {
    out.push_back(static_cast<char>(value % 128 + 128));
    value /= 128;
  }
  out.push_back(static_cast<char>(value));
}

void AppendNumber(std::string& out, unsigned field, std::uint64_t value) {
  AppendVarint(out, field << 3U | kVarint);
  AppendVarint(out, value);
}

void AppendBytes(std::string& out, unsigned field, std::string_view bytes) {
  AppendVarint(out, field << 3U | kLengthDelimited);
  AppendVarint(out, bytes.size());
  out.append(bytes);
}

bool Next(std::string_view& message, Field& field) {
  std::uint64_t key = 0;
  if (message.empty() || !TakeVarint(message, key)) {
    return false;
  }
  field = {.number = static_cast<unsigned>(key >> 3U), .value = 0, .bytes = {}};
  switch (key & 7U) {
    case kVarint:
      return TakeVarint(message, field.value);
    case kLengthDelimited: {
      std::uint64_t size = 0;
      if (!TakeVarint(message, size) || size > message.size()) {
        return false;
      }
      field.bytes = message.substr(0, size);
      message.remove_prefix(size);
      return true;
    }
    default:
      return false;
  }
}

std::uint64_t NumberIn(std::string_view message, unsigned field) {
  std::uint64_t value = 0;
  Field next;
  while (Next(message, next)) {
    value = next.number == field ? next.value : value;
  }
  return value;
}

bool Has(std::string_view message, unsigned field) {
  Field next;
  while (Next(message, next)) {
    if (next.number == field) {
      return true;
    }
  }
  return false;
}

}  // namespace conclave::bench::protobuf
