// The state machine's digest as the opaque bytes that a snapshot is named by.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coord/tree/digest.h"

namespace conclave::server {

// 16 bytes, little-endian, the low half first.
[[nodiscard]] inline std::string DigestBytes(const tree::Digest& digest) {
  std::string bytes;
  for (const std::uint64_t half : {digest.low, digest.high}) {
    for (int i = 0; i < 8; ++i) {
      bytes.push_back(static_cast<char>(half >> (8 * i)));
    }
  }
  return bytes;
}

// Nothing if it is not 16 bytes long.
[[nodiscard]] inline std::optional<tree::Digest> DigestFromBytes(std::string_view bytes) {
  constexpr std::size_t kHalf = 8;
  if (bytes.size() != 2 * kHalf) {
    return std::nullopt;
  }
  tree::Digest digest;
  for (std::size_t i = 0; i < kHalf; ++i) {
    digest.low |= std::uint64_t{static_cast<std::uint8_t>(bytes[i])} << (8 * i);
    digest.high |= std::uint64_t{static_cast<std::uint8_t>(bytes[kHalf + i])} << (8 * i);
  }
  return digest;
}

}  // namespace conclave::server
