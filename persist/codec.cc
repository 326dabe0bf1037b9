#include "persist/codec.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <xxhash.h>

#include "persist/bytes.h"

namespace conclave::persist {

namespace {

constexpr std::uint8_t kBatchFormat = 1;
constexpr std::uint8_t kStateFormat = 2;
constexpr std::uint8_t kStartFormat = 1;
constexpr std::size_t kEntryHeaderBytes = 29;  // index, term, chain, kind, length
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kStateBytes = 1 + 8 + 8 + 1 + 16 + 3 * 8 + 3 * 8 + 8 + 8 + kChecksumBytes;
constexpr std::size_t kStartHeaderBytes = 1 + 8 + 8;

void PutEntry(std::string* to, const raft::Entry& entry) {
  const std::size_t begin = to->size();
  Put(to, entry.index);
  Put(to, entry.term);
  Put(to, entry.chain);
  Put(to, static_cast<std::uint8_t>(entry.kind));
  Put(to, static_cast<std::uint32_t>(entry.data_bytes()));
  if (entry.data) {
    to->append(*entry.data);
  }
  Put(to, static_cast<std::uint64_t>(XXH3_64bits(to->data() + begin, to->size() - begin)));
}

bool KnownKind(std::uint8_t kind) {
  return kind >= static_cast<std::uint8_t>(raft::EntryKind::kNoop) &&
         kind <= static_cast<std::uint8_t>(raft::EntryKind::kCommand);
}

// Takes one entry off `rest`; an empty string if it is sound.
std::string TakeEntry(std::string_view* rest, raft::Entry* entry) {
  if (rest->size() < kEntryHeaderBytes + kChecksumBytes) {
    return "is cut short";
  }
  const std::string_view whole = *rest;
  entry->index = Take<std::uint64_t>(rest);
  entry->term = Take<std::uint64_t>(rest);
  entry->chain = Take<std::uint64_t>(rest);
  const auto kind = Take<std::uint8_t>(rest);
  const auto length = Take<std::uint32_t>(rest);
  if (rest->size() < kChecksumBytes || length > rest->size() - kChecksumBytes) {
    return "is cut short";
  }
  const std::string_view data = rest->substr(0, length);
  rest->remove_prefix(length);
  if (Take<std::uint64_t>(rest) != XXH3_64bits(whole.data(), kEntryHeaderBytes + length)) {
    return "has a wrong checksum";
  }
  if (!KnownKind(kind)) {
    return fmt::format("is of the unknown kind {}", kind);
  }
  entry->kind = static_cast<raft::EntryKind>(kind);
  if (entry->kind != raft::EntryKind::kNoop) {
    entry->data = std::make_shared<const std::string>(data);
  } else if (length != 0) {
    return "is a no-op with data";
  }
  return {};
}

}  // namespace

std::string EncodeState(const StoredState& state) {
  std::string value;
  value.reserve(kStateBytes);
  Put(&value, kStateFormat);
  Put(&value, state.hard.currentTerm);
  Put(&value, state.hard.votedFor);
  Put(&value, static_cast<std::uint8_t>(state.hard.clusterStarted ? 1 : 0));
  for (const std::uint8_t byte : state.hard.clusterId) {
    Put(&value, byte);
  }
  Put(&value, state.start.index);
  Put(&value, state.start.term);
  Put(&value, state.start_chain);
  Put(&value, state.last.index);
  Put(&value, state.last.term);
  Put(&value, state.last_chain);
  Put(&value, state.log_bytes);
  Put(&value, state.generation);
  // Last on purpose: a record of the write-ahead file then ends in bytes that are hardly ever zero,
  // which is what a torn record is told by.
  Put(&value, static_cast<std::uint64_t>(XXH3_64bits(value.data(), value.size())));
  return value;
}

tl::expected<StoredState, std::string> DecodeState(std::string_view value) {
  if (value.empty() || Load<std::uint8_t>(value.data()) != kStateFormat) {
    return tl::unexpected(std::string("is of an unknown format"));
  }
  if (value.size() != kStateBytes) {
    return tl::unexpected(fmt::format("has {} bytes instead of {}", value.size(), kStateBytes));
  }
  const std::size_t checked = value.size() - kChecksumBytes;
  if (Load<std::uint64_t>(value.data() + checked) != XXH3_64bits(value.data(), checked)) {
    return tl::unexpected(std::string("has a wrong checksum"));
  }
  StoredState state;
  Take<std::uint8_t>(&value);
  state.hard.currentTerm = Take<std::uint64_t>(&value);
  state.hard.votedFor = Take<std::uint64_t>(&value);
  state.hard.clusterStarted = Take<std::uint8_t>(&value) != 0;
  for (std::uint8_t& byte : state.hard.clusterId) {
    byte = Take<std::uint8_t>(&value);
  }
  state.start.index = Take<std::uint64_t>(&value);
  state.start.term = Take<std::uint64_t>(&value);
  state.start_chain = Take<std::uint64_t>(&value);
  state.last.index = Take<std::uint64_t>(&value);
  state.last.term = Take<std::uint64_t>(&value);
  state.last_chain = Take<std::uint64_t>(&value);
  state.log_bytes = Take<std::uint64_t>(&value);
  state.generation = Take<std::uint64_t>(&value);
  return state;
}

std::string EncodeStart(raft::Index start, const raft::IndexedConfiguration& configuration) {
  std::string value;
  Put(&value, kStartFormat);
  Put(&value, start);
  Put(&value, configuration.index);
  // Without members nothing is known; a cluster always has some.
  if (!configuration.configuration.members.empty()) {
    value += configuration.configuration.Encode();
  }
  Put(&value, static_cast<std::uint64_t>(XXH3_64bits(value.data(), value.size())));
  return value;
}

tl::expected<raft::IndexedConfiguration, std::string> DecodeStart(raft::Index start,
                                                                  std::string_view value) {
  if (value.empty() || Load<std::uint8_t>(value.data()) != kStartFormat) {
    return tl::unexpected(std::string("is of an unknown format"));
  }
  if (value.size() < kStartHeaderBytes + kChecksumBytes) {
    return tl::unexpected(std::string("is cut short"));
  }
  const std::size_t checked = value.size() - kChecksumBytes;
  if (Load<std::uint64_t>(value.data() + checked) != XXH3_64bits(value.data(), checked)) {
    return tl::unexpected(std::string("has a wrong checksum"));
  }
  value.remove_suffix(kChecksumBytes);
  Take<std::uint8_t>(&value);
  if (const auto of = Take<std::uint64_t>(&value); of != start) {
    return tl::unexpected(fmt::format("is of a log that starts at {} instead of {}", of, start));
  }
  raft::IndexedConfiguration result;
  result.index = Take<std::uint64_t>(&value);
  if (!value.empty()) {
    auto configuration = raft::Configuration::Decode(value);
    if (!configuration) {
      return tl::unexpected(std::string("holds a configuration that cannot be read"));
    }
    result.configuration = std::move(*configuration);
  }
  return result;
}

std::string EntryKey(raft::Index index) {
  std::string key = "e";
  for (int shift = 56; shift >= 0; shift -= 8) {
    key.push_back(static_cast<char>(static_cast<std::uint8_t>(index >> shift)));
  }
  return key;
}

raft::Index ParseEntryKey(std::string_view key) {
  if (key.size() != 9 || key[0] != 'e') {
    return 0;
  }
  raft::Index index = 0;
  for (const char byte : key.substr(1)) {
    index = (index << 8U) | static_cast<std::uint8_t>(byte);
  }
  return index;
}

std::size_t EncodedEntryBytes(const raft::Entry& entry) {
  return kEntryHeaderBytes + entry.data_bytes() + kChecksumBytes;
}

std::string EncodeBatch(std::uint64_t previous_chain, std::span<const raft::Entry> entries) {
  CHECK(!entries.empty());
  std::size_t bytes = kBatchHeaderBytes;
  for (const raft::Entry& entry : entries) {
    bytes += EncodedEntryBytes(entry);
  }
  std::string value;
  value.reserve(bytes);
  Put(&value, kBatchFormat);
  Put(&value, static_cast<std::uint32_t>(entries.size()));
  Put(&value, previous_chain);
  for (const raft::Entry& entry : entries) {
    // The format cannot tell "no data" from "empty data"; only a no-op has none (see raft::Entry).
    CHECK_EQ(entry.data == nullptr, entry.kind == raft::EntryKind::kNoop) << entry.index;
    PutEntry(&value, entry);
  }
  return value;
}

tl::expected<DecodedBatch, std::string> DecodeBatch(raft::Index first, std::string_view value) {
  const auto bad = [](raft::Index index, std::string_view what) {
    return tl::unexpected(fmt::format("entry {} {}", index, what));
  };
  if (value.size() < kBatchHeaderBytes || Load<std::uint8_t>(value.data()) != kBatchFormat) {
    return bad(first, "is in a batch of an unknown format");
  }
  std::string_view rest = value;
  Take<std::uint8_t>(&rest);
  const auto count = Take<std::uint32_t>(&rest);
  DecodedBatch batch;
  batch.previous_chain = Take<std::uint64_t>(&rest);
  if (count == 0 || count > rest.size() / (kEntryHeaderBytes + kChecksumBytes)) {
    return bad(first, "is in a batch with an impossible number of entries");
  }
  batch.entries.reserve(count);
  batch.ends.reserve(count);
  std::uint64_t chain = batch.previous_chain;
  for (raft::Index index = first; index != first + count; ++index) {
    raft::Entry entry;
    if (const std::string wrong = TakeEntry(&rest, &entry); !wrong.empty()) {
      return bad(index, wrong);
    }
    if (entry.index != index) {
      return bad(index, fmt::format("is missing (found entry {} in its place)", entry.index));
    }
    if (!batch.entries.empty() && entry.term < batch.entries.back().term) {
      return bad(index, "is of an earlier term than its predecessor");
    }
    if (entry.chain != raft::ChainHash(chain, entry)) {
      return bad(index, "does not continue the chain of its predecessors");
    }
    chain = entry.chain;
    batch.entries.push_back(std::move(entry));
    batch.ends.push_back(value.size() - rest.size());
  }
  if (!rest.empty()) {
    return bad(first + count - 1, "is followed by bytes that belong to no entry");
  }
  return batch;
}

std::string CutBatch(std::string_view value, const DecodedBatch& decoded, std::size_t count) {
  CHECK(count > 0 && count <= decoded.ends.size());
  std::string cut;
  cut.reserve(decoded.ends[count - 1]);
  Put(&cut, kBatchFormat);
  Put(&cut, static_cast<std::uint32_t>(count));
  Put(&cut, decoded.previous_chain);
  cut.append(value.substr(kBatchHeaderBytes, decoded.ends[count - 1] - kBatchHeaderBytes));
  return cut;
}

}  // namespace conclave::persist
