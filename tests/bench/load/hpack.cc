#include "tests/bench/load/hpack.h"

#include <array>

namespace conclave::bench {
namespace {

struct StaticField {
  std::uint8_t index;
  std::string_view name;
  std::string_view value;
};

// The part of the static table (RFC 7541 appendix A) that requests of gRPC and the RFC's own
// examples use; the first of a name is the one that names it.
constexpr std::array<StaticField, 9> kStatic{{
    {1, ":authority", ""},
    {2, ":method", "GET"},
    {3, ":method", "POST"},
    {4, ":path", "/"},
    {5, ":path", "/index.html"},
    {6, ":scheme", "http"},
    {7, ":scheme", "https"},
    {24, "cache-control", ""},
    {31, "content-type", ""},
}};
constexpr std::size_t kStaticFields = 61;
constexpr std::size_t kFieldOverhead = 32;  // RFC 7541 section 4.1

constexpr std::uint8_t kIndexed = 0x80;
constexpr std::uint8_t kLiteralIndexed = 0x40;

void AppendString(std::string& block, std::string_view text) {
  HpackEncoder::AppendInteger(block, 0, 7, text.size());
  block.append(text);
}

}  // namespace

void HpackEncoder::AppendInteger(std::string& block, std::uint8_t first, unsigned prefix_bits,
                                 std::uint64_t value) {
  const std::uint64_t limit = (std::uint64_t{1} << prefix_bits) - 1;
  if (value < limit) {
    block.push_back(static_cast<char>(first | value));
    return;
  }
  block.push_back(static_cast<char>(first | limit));
  value -= limit;
  while (value >= 128) {
    block.push_back(static_cast<char>(value % 128 + 128));
    value /= 128;
  }
  block.push_back(static_cast<char>(value));
}

void HpackEncoder::Append(std::string& block, std::string_view name, std::string_view value) {
  std::size_t name_index = 0;
  for (const StaticField& field : kStatic) {
    if (field.name == name) {
      if (field.value == value && !value.empty()) {
        AppendInteger(block, kIndexed, 7, field.index);
        return;
      }
      name_index = name_index == 0 ? field.index : name_index;
    }
  }
  for (std::size_t i = 0; i < table_.size(); ++i) {
    if (table_[i].name == name) {
      const std::size_t index = kStaticFields + 1 + i;
      if (table_[i].value == value) {
        AppendInteger(block, kIndexed, 7, index);
        return;
      }
      name_index = name_index == 0 ? index : name_index;
    }
  }
  AppendInteger(block, kLiteralIndexed, 6, name_index);
  if (name_index == 0) {
    AppendString(block, name);
  }
  AppendString(block, value);
  Remember(name, value);
}

void HpackEncoder::Remember(std::string_view name, std::string_view value) {
  const std::size_t bytes = name.size() + value.size() + kFieldOverhead;
  while (!table_.empty() && table_bytes_ + bytes > table_bytes_max_) {
    table_bytes_ -= table_.back().name.size() + table_.back().value.size() + kFieldOverhead;
    table_.pop_back();
  }
  ++additions_;
  if (bytes <= table_bytes_max_) {
    table_bytes_ += bytes;
    table_.push_front({std::string(name), std::string(value)});
  }
}

}  // namespace conclave::bench
