// Little-endian integers in strings, for the formats of persist/FORMAT.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::persist {

template <typename Integer>
void Put(std::string* to, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    to->push_back(static_cast<char>(static_cast<std::uint8_t>(value >> (8 * i))));
  }
}

/// REQUIRES: there are enough bytes at `from`.
template <typename Integer>
Integer Load(const char* from) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value = static_cast<Integer>(
        value |
        static_cast<Integer>(static_cast<Integer>(static_cast<std::uint8_t>(from[i])) << (8 * i)));
  }
  return value;
}

/// As Load, and moves on. REQUIRES: there are enough bytes.
template <typename Integer>
Integer Take(std::string_view* from) {
  const auto value = Load<Integer>(from->data());
  from->remove_prefix(sizeof(Integer));
  return value;
}

}  // namespace conclave::persist
