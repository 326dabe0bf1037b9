#include "coord/tree/digest.h"

#include <fmt/format.h>

// Short inputs are most of them: the call would cost as much as the hash.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace conclave::tree {

std::string Digest::ToString() const { return fmt::format("{:016x}{:016x}", high, low); }

DigestItem& DigestItem::Add(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return Add(static_cast<std::uint64_t>(bytes.size()))
      .Add(static_cast<std::uint64_t>(hash.low64))
      .Add(static_cast<std::uint64_t>(hash.high64));
}

Digest DigestItem::Finish() const {
  const XXH128_hash_t hash = XXH3_128bits(buffer_.data(), size_);
  return {hash.low64, hash.high64};
}

}  // namespace conclave::tree
