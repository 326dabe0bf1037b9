#pragma once

// What the Raft core reads of the durable log. It never writes: what is to be written leaves in
// Ready, so that the core needs no file, no thread and no error path for writing.

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "consensus/configuration.h"
#include "consensus/types.h"

namespace conclave::raft {

/// Read access to the durable log for entries that are no longer in the core's memory: a follower
/// far behind, and the replay after a restart.
///
/// Called on the core's thread from within Raft's methods, and must not call back into Raft. Asked
/// only for entries that were restored or acknowledged by Raft::Persisted and neither truncated nor
/// compacted since.
/// An error means that the log is damaged or unreadable; the core reports it in Ready::failure.
class LogReader {
 public:
  LogReader() = default;
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;
  LogReader(LogReader&&) = delete;
  LogReader& operator=(LogReader&&) = delete;
  virtual ~LogReader() = default;

  /// Entries from `first` on, in order: as many of [first, last] as fit into `bytes_max` by
  /// EntryBytes, and at least one. REQUIRES: both are in the log, first <= last.
  virtual tl::expected<std::vector<Entry>, std::string> Read(Index first, Index last,
                                                             std::size_t bytes_max) const = 0;

  /// The term of the entry at `index`. REQUIRES: it is in the log.
  virtual tl::expected<Term, std::string> TermAt(Index index) const = 0;
};

/// What a snapshot says of the log that it stands for: the state after applying all of it up to and
/// including `last`.
struct SnapshotMeta {
  EntryId last;
  /// Entry::chain of the entry `last`.
  std::uint64_t chain = 0;
  /// In force at `last`: that of the last kConfig entry up to it. Everything in it is committed.
  IndexedConfiguration configuration;

  friend bool operator==(const SnapshotMeta&, const SnapshotMeta&) = default;
};

/// What a member finds on its disk when it starts. Everything in it is durable.
struct Restored {
  HardState hardState;

  /// The entry before the first one of the log, with its chain: {0, 0} and 0 for a log that begins
  /// at 1, else the last one that was compacted, or where the installed snapshot ends.
  EntryId start;
  std::uint64_t start_chain = 0;

  /// Index and term of the last entry; equal to `start` if the log is empty.
  EntryId last;

  /// The end of the log, dense and up to `last`. How much is the driver's choice: what is not here
  /// is read through LogReader when needed. Not empty unless the log is.
  std::vector<Entry> tail;

  /// Every kConfig entry of the log, ascending, preceded by the configuration at `start` (with the
  /// index of its entry, at most start.index) if that is not {0, 0}. Empty on an empty disk.
  /// (Uncommitted ones too: a truncation may go back behind the newest.)
  std::vector<IndexedConfiguration> configurations;

  /// Known to be committed, from whatever the driver keeps (a checkpoint's index); at least
  /// `start.index`, at most last.index. Only a hint: more is learned from the leader.
  Index commitIndex = 0;

  /// The index of the checkpoint that the state machine was loaded from: not to be handed out
  /// again; start.index <= it <= commitIndex.
  Index lastApplied = 0;
};

}  // namespace conclave::raft
