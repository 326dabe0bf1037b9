#include "consensus/entry_codec.h"

#include <cstring>

#include "consensus/little_endian.h"

namespace conclave::raft {
namespace {

constexpr std::size_t kChainAt = 8;
constexpr std::size_t kKindAt = 16;
constexpr std::size_t kLengthAt = 17;

bool KnownKind(EntryKind kind) {
  return kind == EntryKind::kNoop || kind == EntryKind::kConfig || kind == EntryKind::kCommand;
}

}  // namespace

void EncodeEntries(std::span<const Entry> entries, std::string* to) {
  std::size_t bytes = 0;
  for (const Entry& entry : entries) {
    bytes += EncodedBytes(entry);
  }
  const std::size_t begin = to->size();
  to->resize(begin + bytes);
  char* at = to->data() + begin;
  for (const Entry& entry : entries) {
    PutLittle(at, entry.term);
    PutLittle(at + kChainAt, entry.chain);
    at[kKindAt] = static_cast<char>(entry.kind);
    PutLittle(at + kLengthAt, static_cast<std::uint32_t>(entry.data_bytes()));
    at += kEntryHeaderBytes;
    if (entry.data) {
      std::memcpy(at, entry.data->data(), entry.data->size());
      at += entry.data->size();
    }
  }
}

std::string_view TakeEntry(const std::shared_ptr<const std::string>& owner, std::string_view* rest,
                           Entry* entry) {
  if (rest->size() < kEntryHeaderBytes) {
    return "is cut short";
  }
  const char* const at = rest->data();
  entry->term = GetLittle<std::uint64_t>(at);
  entry->chain = GetLittle<std::uint64_t>(at + kChainAt);
  entry->kind = static_cast<EntryKind>(at[kKindAt]);
  const auto length = GetLittle<std::uint32_t>(at + kLengthAt);
  rest->remove_prefix(kEntryHeaderBytes);
  if (length > rest->size()) {
    return "is cut short";
  }
  if (!KnownKind(entry->kind)) {
    return "is of an unknown kind";
  }
  if (entry->kind != EntryKind::kNoop) {
    entry->data = SharedBytes(owner, rest->substr(0, length));
  } else if (length != 0) {
    return "is a no-op with data";
  }
  rest->remove_prefix(length);
  return {};
}

}  // namespace conclave::raft
