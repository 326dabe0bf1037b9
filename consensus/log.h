#pragma once

// The log as the core sees it: the newest entries in memory, the rest behind LogReader.

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "consensus/storage.h"
#include "consensus/types.h"

namespace conclave::raft {

/// A dense sequence of entries from start().index + 1 to last().index, of which a window at the end
/// is in memory. Everything that is not durable, not committed or not applied is in the window (the
/// core evicts accordingly), so the paths of every day never read from disk. After a restart the
/// window is what the driver chose to restore, and may begin above the commit index known by then.
///
/// A failed read is remembered in failure() and looks like an index outside of the log.
class Log {
 public:
  /// `reader` must outlive this.
  Log(const Restored& restored, const LogReader& reader);

  EntryId start() const { return start_; }

  EntryId last() const { return window_.empty() ? base_ : window_.back().id(); }

  Index lastIndex() const { return base_.index + window_.size(); }

  std::uint64_t last_chain() const { return window_.empty() ? base_chain_ : window_.back().chain; }

  /// Index of the entry just before the window: start() or evicted.
  Index base_index() const { return base_.index; }

  std::size_t window_bytes() const { return window_bytes_; }

  /// The term at `index`, from start() to last(); else nothing.
  std::optional<Term> TermAt(Index index) const;

  bool Matches(EntryId id) const { return TermAt(id.index) == id.term; }

  /// The chain at `index`, from start() to last(); else nothing.
  std::optional<std::uint64_t> ChainAt(Index index) const;

  /// REQUIRES: `index` is in the window.
  const Entry& At(Index index) const;

  /// The last entry at or below `index` with a term at or below `term`, but not below `floor`: the
  /// conflict hint of section 3.5. Terms never fall along a log, so it is a binary search.
  /// REQUIRES: floor is in [start, last].
  EntryId LastAtOrBelow(Index index, Term term, Index floor) const;

  /// Fills in index and chain. REQUIRES: entry.term is not below the last one's.
  const Entry& Append(Term term, EntryKind kind, SharedBytes data);

  /// REQUIRES: follows last() with the right chain.
  const Entry& Append(Entry entry);

  /// Forgets `first` and all that follow. REQUIRES: `first` is in the log. False if the entry
  /// before could not be read; then nothing happened.
  bool TruncateFrom(Index first);

  /// Forgets what is up to `start`, which becomes start(). REQUIRES: `start` with `chain` is in the
  /// log, or is start().
  void Compact(EntryId start, std::uint64_t chain);

  /// Forgets everything; the log begins after `start`.
  void Reset(EntryId start, std::uint64_t chain);

  /// Appends to `out` the entries from `first`, up to `last`, `bytes_max` and `count_max`, but at
  /// least one. REQUIRES: both are in the log, first <= last.
  void Copy(Index first, Index last, std::size_t bytes_max, std::size_t count_max,
            std::vector<Entry>& out) const;

  /// Drops from memory what is at or below `index`, oldest first, until the window holds at most
  /// `bytes_max`.
  void Evict(Index index, std::size_t bytes_max);

  /// The first failed read.
  const std::optional<std::string>& failure() const { return failure_; }

 private:
  /// The entry at `index`, read from the disk; nothing if that fails.
  std::optional<Entry> ReadOne(Index index) const;

  const LogReader& reader_;
  EntryId start_;
  std::uint64_t start_chain_ = 0;
  EntryId base_;
  std::uint64_t base_chain_ = 0;
  std::deque<Entry> window_;
  std::size_t window_bytes_ = 0;
  mutable std::optional<std::string> failure_;
};

}  // namespace conclave::raft
