// The generations of a data directory: which snapshot counts, the building of the next, and the
// removal of what is left over.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "consensus/storage.h"
#include "persist/error.h"
#include "persist/snapshot_builder.h"
#include "persist/snapshot_codec.h"
#include "persist/snapshot_store.h"

namespace conclave::persist {

/// Thread: all from one thread at a time (the background thread), but for current(), which may be
/// called from any. The generation that counts is what the log database says: a new one is built
/// beside the old one, then LogStore::Write with LogBatch::SetInstall makes it count, then Switch
/// is called. A crash anywhere leaves one of the two, whole.
class SnapshotGenerations {
 public:
  /// Opens the generation that counts (LogStore::generation(); 0: none) and removes what is left of
  /// others, but for a transfer that can be gone on with. kDamaged with the remedy if the one that
  /// counts is missing or damaged.
  static tl::expected<std::unique_ptr<SnapshotGenerations>, Error> Open(SnapshotOptions options,
                                                                        std::uint64_t generation);

  SnapshotGenerations(const SnapshotGenerations&) = delete;
  SnapshotGenerations& operator=(const SnapshotGenerations&) = delete;
  SnapshotGenerations(SnapshotGenerations&&) = delete;
  SnapshotGenerations& operator=(SnapshotGenerations&&) = delete;
  ~SnapshotGenerations();

  /// The snapshot that counts; null if there is none yet.
  std::shared_ptr<SnapshotStore> current() const;

  /// Brings the snapshot to `meta.last` by the rows that changed since the current one (all rows if
  /// there is none). A small change is one batch in the current generation, durable on return:
  /// then the result is null. A large one, and the first, is a new generation, complete on return:
  /// the caller makes it count (LogBatch::SetInstall, log kept) and then calls Switch.
  /// After an error the caller ends the process. REQUIRES: meta.last is durable in the log and not
  /// before the current snapshot; no other generation waits for Switch.
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Checkpoint(const raft::SnapshotMeta& meta,
                                                                 std::string_view digest,
                                                                 const RowSource& changes);

  /// A new generation of exactly these rows, complete on return; the current one plays no part.
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Build(const raft::SnapshotMeta& meta,
                                                            std::string_view digest,
                                                            const RowSource& rows) const;

  /// Begins to receive `source`, or goes on where an earlier attempt stopped, also one before a
  /// crash. An unfinished transfer of something else is discarded. REQUIRES: no other receiver is
  /// alive.
  tl::expected<std::unique_ptr<SnapshotReceiver>, Error> Receive(const SnapshotInfo& source);

  /// `store` counts now: the log database says so, durably. The old generation's directory goes
  /// with its last user.
  void Switch(std::shared_ptr<SnapshotStore> store);

  /// A complete generation that was not installed after all: its directory goes with its last user.
  static void Discard(const std::shared_ptr<SnapshotStore>& store);

 private:
  SnapshotGenerations(SnapshotOptions options, std::shared_ptr<SnapshotStore> current);

  tl::expected<std::vector<std::uint64_t>, Error> List() const;
  tl::expected<void, Error> CleanUp(std::uint64_t current);
  tl::expected<std::unique_ptr<SnapshotBuilder>, Error> NewBuilder() const;
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Build(const SnapshotStore* old,
                                                            const raft::SnapshotMeta& meta,
                                                            std::string_view digest,
                                                            const RowSource& changes) const;

  const SnapshotOptions options_;
  std::uint64_t unfinished_ = 0;  // a generation that was being received, here or before a restart
  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::shared_ptr<SnapshotStore> current_;
};

}  // namespace conclave::persist
