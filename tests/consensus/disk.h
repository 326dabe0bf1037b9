#pragma once

// The disk of a model member: what survives a crash.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "consensus/invariants.h"
#include "consensus/raft.h"

namespace conclave::raft::testing {

/// A checkpoint of the model's state machine, whose state is a hash over all that it has applied.
struct Snapshot {
  SnapshotMeta meta;
  std::uint64_t state = 0;
};

/// Also what the core reads old entries from.
class Disk : public LogReader {
 public:
  HardState hardState;
  EntryId start;                               ///< The entry before entries.front().
  std::uint64_t start_chain = 0;               ///< Of `start`.
  IndexedConfiguration start_configuration;    ///< In force at `start`; index 0 for none.
  std::vector<Entry> entries;                  ///< entries[i].index == start.index + 1 + i.
  std::optional<Snapshot> snapshot;            ///< Of this member; at or above `start`.
  std::vector<Snapshot> received;              ///< Complete and not installed.
  std::optional<std::string> damage;           ///< What was written does not fit together.
  std::optional<std::string> unreadable_with;  ///< Reads of entries fail, with this reason.

  Index last_index() const { return start.index + entries.size(); }

  void Write(const Ready& ready);
  /// Removes the entries up to `through`. REQUIRES: `through` is at most last_index().
  void Compact(Index through);
  Restored Restore(std::size_t tail_max) const;
  DurableView View() const;
  /// What the log and what it begins with say of the members; empty on an empty disk.
  std::vector<IndexedConfiguration> Configurations() const;
  /// As after Wipe: nothing on it.
  void MoveTo(Disk& other);

  tl::expected<std::vector<Entry>, std::string> Read(Index first, Index last,
                                                     std::size_t bytes_max) const override;
  tl::expected<Term, std::string> TermAt(Index index) const override;

 private:
  void Install(const raft::Install& install);
  void Damage(const std::string& what);

  const Entry& At(Index index) const { return entries[index - start.index - 1]; }
};

}  // namespace conclave::raft::testing
