// The bounds that apply holds a request to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace conclave::tree {

// Zxids of this and beyond are refused: a number in JavaScript is exact below 2^53 (rule 9).
inline constexpr std::int64_t kZxidEnd = std::int64_t{1} << 53;

// These are part of the replicated behaviour: two members with different limits would answer the
// same entry differently. They are therefore constants of a feature level and never flags (a member
// may refuse *more* before agreement, by flags of its own); the digest covers them, so that members
// that were built with different ones part company at the first entry. Tests pass small ones.
struct Limits {
  std::size_t path_bytes_max = 4096;
  std::size_t component_bytes_max = 255;  // At most 255: a znode keeps the length in one byte.
  std::size_t depth_max = 64;             // Components of a path; "/" has none.
  std::size_t value_bytes_max = std::size_t{1} << 20;
  std::size_t multi_ops_max = 1000;
  std::size_t ephemerals_per_session_max = 10'000;  // All go in one entry when the session ends.
  std::size_t replies_per_session_max = 1024;
  std::size_t reply_bytes_per_session_max = std::size_t{1} << 20;
  std::size_t address_bytes_max = 512;  // Of an address that a member publishes.
};

inline constexpr std::size_t kLimitsCount = 9;

// The limits in the order of their declaration: what the digest and a checkpoint say of them.
constexpr std::array<std::uint64_t, kLimitsCount> NumbersOf(const Limits& limits) {
  return {limits.path_bytes_max,
          limits.component_bytes_max,
          limits.depth_max,
          limits.value_bytes_max,
          limits.multi_ops_max,
          limits.ephemerals_per_session_max,
          limits.replies_per_session_max,
          limits.reply_bytes_per_session_max,
          limits.address_bytes_max};
}

}  // namespace conclave::tree
