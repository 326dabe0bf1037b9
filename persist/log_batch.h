// What the log thread hands to the log store in one go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "consensus/storage.h"
#include "consensus/types.h"

namespace conclave::persist {

/// The durable part of one Ready of the Raft core, or of several merged, and what the driver does
/// to the log's front. All or nothing, with one sync, as if in this order: reset, truncate, append,
/// install, compact, hard state.
struct LogBatch {
  /// A generation of the snapshot that counts from now on, and what it holds. Its directory is
  /// complete and durable already.
  struct Install {
    std::uint64_t generation = 0;
    raft::SnapshotMeta meta;
  };

  std::optional<raft::HardState> hardState;
  /// Stored entries from here on are removed; 0 for none.
  raft::Index truncateFrom = 0;
  /// Consecutive; the first follows what is left in the log.
  std::vector<raft::Entry> append;
  /// The log is emptied and begins after `last`. REQUIRES: that is behind the log's start.
  std::optional<raft::SnapshotMeta> resetTo;
  /// REQUIRES: `meta.last` is in the log or is its start.
  std::optional<Install> install;
  /// Whole batches of entries up to and including this index are removed from the front; 0 for
  /// none. REQUIRES: a durable snapshot is at or behind it, and nobody reads them any more.
  raft::Index compactThrough = 0;

  /// Sets `install`, and `resetTo` unless the log is kept (because it contains meta.last).
  void SetInstall(std::uint64_t generation, const raft::SnapshotMeta& meta, bool log_kept);

  bool empty() const {
    return !hardState && truncateFrom == 0 && append.empty() && !resetTo && !install &&
           compactThrough == 0;
  }

  /// Makes this batch have the effect of this one followed by `next`, so that the log thread pays
  /// one sync for everything that waits. Entries of this batch that `next` removes are never
  /// written. REQUIRES: `next` fits behind this batch (its entries are consecutive with what this
  /// one leaves).
  void Merge(LogBatch next);

  /// Accounting size, for bounds on how much to merge.
  std::size_t bytes() const;
};

}  // namespace conclave::persist
