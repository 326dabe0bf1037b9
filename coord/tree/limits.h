// The bounds that apply holds a request to.
#pragma once

#include <cstddef>
#include <cstdint>

namespace conclave::tree {

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

}  // namespace conclave::tree
