// Little-endian integers in strings, for the formats of persist/FORMAT.md.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "consensus/little_endian.h"

namespace conclave::persist {

template <typename Integer>
void Put(std::string* to, Integer value) {
  std::array<char, sizeof(Integer)> bytes{};
  raft::PutLittle(bytes.data(), value);
  to->append(bytes.data(), bytes.size());
}

/// REQUIRES: there are enough bytes at `from`.
template <typename Integer>
Integer Load(const char* from) {
  return raft::GetLittle<Integer>(from);
}

/// As Load, and moves on. REQUIRES: there are enough bytes.
template <typename Integer>
Integer Take(std::string_view* from) {
  const auto value = Load<Integer>(from->data());
  from->remove_prefix(sizeof(Integer));
  return value;
}

}  // namespace conclave::persist
