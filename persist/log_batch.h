// What the log thread hands to the log store in one go.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "consensus/types.h"

namespace conclave::persist {

/// The durable part of one Ready of the Raft core, or of several merged. Applied in this order:
/// truncate, append, replace the hard state; all or nothing.
struct LogBatch {
  std::optional<raft::HardState> hardState;
  /// Stored entries from here on are removed; 0 for none.
  raft::Index truncateFrom = 0;
  /// Consecutive; the first follows what is left in the log.
  std::vector<raft::Entry> append;

  bool empty() const { return !hardState && truncateFrom == 0 && append.empty(); }

  /// Makes this batch have the effect of this one followed by `next`, so that the log thread pays
  /// one sync for everything that waits. Entries of this batch that `next` truncates are never
  /// written. REQUIRES: `next` fits behind this batch (its entries are consecutive with what this
  /// one leaves).
  void Merge(LogBatch next);

  /// Accounting size, for bounds on how much to merge.
  std::size_t bytes() const;
};

}  // namespace conclave::persist
