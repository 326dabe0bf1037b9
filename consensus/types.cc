#include "consensus/types.h"

#include <xxhash.h>

namespace conclave::raft {
namespace {

void PutFixed64(std::uint8_t* to, std::uint64_t value) {
  for (int i = 0; i < 8; ++i) {
    to[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

}  // namespace

std::uint64_t ChainHash(std::uint64_t previous, const Entry& entry) {
  // The data is hashed on its own first, so that one pass without a copy or a streaming state does.
  std::array<std::uint8_t, 40> block{};
  PutFixed64(block.data(), previous);
  PutFixed64(block.data() + 8, entry.term);
  PutFixed64(block.data() + 16, entry.index);
  PutFixed64(block.data() + 24, static_cast<std::uint64_t>(entry.kind));
  PutFixed64(block.data() + 32,
             entry.data ? XXH3_64bits(entry.data->data(), entry.data->size()) : 0);
  return XXH3_64bits(block.data(), block.size());
}

}  // namespace conclave::raft
