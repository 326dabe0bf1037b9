#include "persist/codec.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <xxhash.h>

#include "persist/bytes.h"

namespace conclave::persist {

namespace {

constexpr std::uint8_t kBatchFormat = 2;
constexpr std::uint8_t kStateFormat = 2;
constexpr std::uint8_t kStartFormat = 1;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kEntryKeyBytes = 9;
constexpr std::size_t kStateBytes = 1 + 8 + 8 + 1 + 16 + 3 * 8 + 3 * 8 + 8 + 8 + kChecksumBytes;
constexpr std::size_t kStartHeaderBytes = 1 + 8 + 8;

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
  if (key.size() != kEntryKeyBytes || key[0] != 'e') {
    return 0;
  }
  raft::Index index = 0;
  for (const char byte : key.substr(1)) {
    index = (index << 8U) | static_cast<std::uint8_t>(byte);
  }
  return index;
}

std::string StateKey(raft::Index last) { return EntryKey(last) + 's'; }

std::optional<raft::Index> ParseStateKey(std::string_view key) {
  if (key.size() != kEntryKeyBytes + 1 || !key.starts_with('e') || !key.ends_with('s')) {
    return std::nullopt;
  }
  key.remove_suffix(1);
  return ParseEntryKey(key);
}

std::string EncodeBatch(std::uint64_t previous_chain, std::span<const raft::Entry> entries) {
  CHECK(!entries.empty());
  std::size_t bytes = kBatchHeaderBytes;
  for (const raft::Entry& entry : entries) {
    // The format cannot tell "no data" from "empty data"; only a no-op has none (see raft::Entry).
    CHECK_EQ(!entry.data, entry.kind == raft::EntryKind::kNoop) << entry.index;
    bytes += raft::EncodedBytes(entry);
  }
  std::string value;
  value.reserve(bytes);
  Put(&value, kBatchFormat);
  Put(&value, static_cast<std::uint32_t>(entries.size()));
  Put(&value, previous_chain);
  raft::EncodeEntries(entries, &value);
  return value;
}

tl::expected<DecodedBatch, std::string> DecodeBatch(raft::Index first, std::string_view value) {
  const auto bad = [](raft::Index index, std::string_view what) {
    return tl::unexpected(fmt::format("entry {} {}", index, what));
  };
  if (value.size() < kBatchHeaderBytes || Load<std::uint8_t>(value.data()) != kBatchFormat) {
    return bad(first, "is in a batch of an unknown format");
  }
  const auto bytes = std::make_shared<const std::string>(value);
  std::string_view rest = *bytes;
  Take<std::uint8_t>(&rest);
  const auto count = Take<std::uint32_t>(&rest);
  DecodedBatch batch;
  batch.previous_chain = Take<std::uint64_t>(&rest);
  if (count == 0 || count > rest.size() / raft::kEntryHeaderBytes) {
    return bad(first, "is in a batch with an impossible number of entries");
  }
  batch.entries.reserve(count);
  batch.ends.reserve(count);
  std::uint64_t chain = batch.previous_chain;
  for (raft::Index index = first; index != first + count; ++index) {
    raft::Entry entry;
    entry.index = index;
    if (const std::string_view wrong = raft::TakeEntry(bytes, &rest, &entry); !wrong.empty()) {
      return bad(index, wrong);
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
