#pragma once

// Integers as bytes, lowest first, as all formats of this project have them.

#include <bit>
#include <concepts>
#include <cstring>

namespace conclave::raft {

/// REQUIRES: there is room for sizeof(Integer) bytes at `to`.
template <std::unsigned_integral Integer>
void PutLittle(char* to, Integer value) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(to, &value, sizeof(value));
  } else {
    for (std::size_t i = 0; i < sizeof(value); ++i) {
      to[i] = static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
    }
  }
}

/// REQUIRES: there are sizeof(Integer) bytes at `from`.
template <std::unsigned_integral Integer>
Integer GetLittle(const char* from) {
  Integer value = 0;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&value, from, sizeof(value));
  } else {
    for (std::size_t i = 0; i < sizeof(value); ++i) {
      value = static_cast<Integer>(
          value | static_cast<Integer>(static_cast<Integer>(static_cast<unsigned char>(from[i]))
                                       << (8 * i)));
    }
  }
  return value;
}

}  // namespace conclave::raft
