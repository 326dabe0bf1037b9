// The bytes of a snapshot: rows, what the snapshot says of itself, chunks of a transfer
// (persist/FORMAT.md). Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "consensus/storage.h"

namespace conclave::persist {

/// Takes one row: its value, or nothing if the row is gone. Keys are not empty. Both are valid
/// during the call.
using RowSink = std::function<void(std::string_view key, std::optional<std::string_view> value)>;

/// Hands rows to the sink, keys ascending, each once. May be called more than once and must hand
/// over the same rows each time.
using RowSource = std::function<void(const RowSink& sink)>;

/// What proves that a set of rows is whole: independent of order, so that a change of a few rows
/// needs only those.
struct RowTotals {
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;  ///< of keys and values
  std::uint64_t sum = 0;    ///< of the rows' checksums, modulo 2^64

  void Add(std::string_view key, std::string_view value, std::uint64_t checksum);
  void Remove(std::string_view key, std::string_view value, std::uint64_t checksum);

  friend bool operator==(const RowTotals&, const RowTotals&) = default;
};

/// What a snapshot is: the state at exactly `meta.last`. Two that are equal in it have the same
/// rows.
struct SnapshotInfo {
  raft::SnapshotMeta meta;
  /// The state machine's own digest of its state, opaque here; at most 255 bytes.
  std::string digest;
  RowTotals totals;

  friend bool operator==(const SnapshotInfo&, const SnapshotInfo&) = default;
};

inline constexpr std::size_t kDigestBytesMax = 255;

std::string EncodeInfo(const SnapshotInfo& info);
/// The error says what is wrong with the bytes.
tl::expected<SnapshotInfo, std::string> DecodeInfo(std::string_view bytes);

/// How far a snapshot has been received.
struct TransferProgress {
  SnapshotInfo source;   ///< what is being received
  std::string last_key;  ///< of the last row stored; empty: none yet
  RowTotals totals;      ///< of the rows stored

  friend bool operator==(const TransferProgress&, const TransferProgress&) = default;
};

std::string EncodeProgress(const TransferProgress& progress);
tl::expected<TransferProgress, std::string> DecodeProgress(std::string_view bytes);

inline constexpr std::string_view kInfoKey = "m/snapshot";
inline constexpr std::string_view kProgressKey = "m/progress";
/// Precedes the key of every row.
inline constexpr char kRowPrefix = 'r';

/// XXH3 of the value, seeded with the XXH3 of the key (exclusive-or its length). Kept behind the
/// value.
std::uint64_t RowChecksum(std::string_view key, std::string_view value);

/// The key in the database.
std::string StoredRowKey(std::string_view key);
/// The value in the database: `value` and its checksum.
std::string StoredRowValue(std::string_view value, std::uint64_t checksum);

/// A row as it was stored. Views into what was decoded.
struct Row {
  std::string_view key;
  std::string_view value;
  std::uint64_t checksum = 0;
};

/// Verifies the checksum.
tl::expected<Row, std::string> DecodeRow(std::string_view key, std::string_view stored_value);

/// Adds a row to the bytes of a chunk.
void PutChunkRow(std::string* chunk, const Row& row);
/// Takes a row off the front of the bytes of a chunk and verifies its checksum.
tl::expected<Row, std::string> TakeChunkRow(std::string_view* chunk);
/// XXH3 of a whole chunk, which travels beside it.
std::uint64_t ChunkChecksum(std::string_view chunk);

}  // namespace conclave::persist
