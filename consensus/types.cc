#include "consensus/types.h"

#include <xxhash.h>

#include "consensus/little_endian.h"

namespace conclave::raft {

std::uint64_t ChainHash(std::uint64_t previous, const Entry& entry) {
  // The data is hashed on its own first, so that one pass without a copy or a streaming state does.
  std::array<char, 40> block{};
  PutLittle(block.data(), previous);
  PutLittle(block.data() + 8, entry.term);
  PutLittle(block.data() + 16, entry.index);
  PutLittle(block.data() + 24, static_cast<std::uint64_t>(entry.kind));
  PutLittle(block.data() + 32,
            static_cast<std::uint64_t>(
                entry.data ? XXH3_64bits(entry.data->data(), entry.data->size()) : 0));
  return XXH3_64bits(block.data(), block.size());
}

}  // namespace conclave::raft
