// The bytes of persist/FORMAT.md: keys and values of the log database. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "consensus/configuration.h"
#include "consensus/entry_codec.h"
#include "consensus/types.h"

namespace conclave::persist {

inline constexpr std::string_view kIdentityKey = "a/identity";
inline constexpr std::string_view kStartKey = "a/start";
/// Behind all other keys.
inline constexpr std::string_view kBehindEntries = "f";

/// The value of a state key: what every write says of the whole log.
struct StoredState {
  raft::HardState hard;
  /// Before the first entry; its chain.
  raft::EntryId start;
  std::uint64_t start_chain = 0;
  /// The last entry (`start` if there is none) and its chain: a log that lost its end is noticed.
  raft::EntryId last;
  std::uint64_t last_chain = 0;
  /// Sum of the sizes of all values of entry keys.
  std::uint64_t log_bytes = 0;
  /// Of the snapshot that counts: the G of snapshot-G/. 0: there is none yet.
  std::uint64_t generation = 0;

  friend bool operator==(const StoredState&, const StoredState&) = default;
};

std::string EncodeState(const StoredState& state);
/// The error says what is wrong with the bytes.
tl::expected<StoredState, std::string> DecodeState(std::string_view value);

/// The value of a/start: the configuration in force at the log's start, which is `start`.
std::string EncodeStart(raft::Index start, const raft::IndexedConfiguration& configuration);
/// The error says what is wrong with the bytes, or that they are of another start.
tl::expected<raft::IndexedConfiguration, std::string> DecodeStart(raft::Index start,
                                                                  std::string_view value);

/// Key of the batch whose first entry has `index`: 'e' and eight bytes big-endian, so that
/// LevelDB's order is the log's.
std::string EntryKey(raft::Index index);
/// 0 if `key` is not an entry key.
raft::Index ParseEntryKey(std::string_view key);

/// Key of the state after a write that left the log ending at `last`: right behind the batch that
/// ends there, so that the files that LevelDB makes of successive writes do not overlap.
std::string StateKey(raft::Index last);
/// The index of a state key; nothing if `key` is none.
std::optional<raft::Index> ParseStateKey(std::string_view key);

/// Size of what precedes the entries in a batch value.
inline constexpr std::size_t kBatchHeaderBytes = 13;

/// The value of an entry key. `previous_chain`: of the entry before the first. REQUIRES: not empty.
std::string EncodeBatch(std::uint64_t previous_chain, std::span<const raft::Entry> entries);

/// What DecodeBatch finds, beside the entries.
struct DecodedBatch {
  std::uint64_t previous_chain = 0;
  std::vector<raft::Entry> entries;
  /// Offset in the value behind each entry, for cutting a batch without encoding it again.
  std::vector<std::size_t> ends;
};

/// Verifies everything that can be verified without other batches: format, count and lengths, terms
/// not falling, and the chain, which covers all of every entry and the index that `first` gives it.
/// The entries share one copy of `value`. The error names the index.
tl::expected<DecodedBatch, std::string> DecodeBatch(raft::Index first, std::string_view value);

/// `value` with its first `count` entries only. REQUIRES: `decoded` is of `value`, 0 < count.
std::string CutBatch(std::string_view value, const DecodedBatch& decoded, std::size_t count);

}  // namespace conclave::persist
