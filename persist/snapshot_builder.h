// A new generation of the snapshot being built: from an old one and a large change, or from what
// another member sends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <leveldb/write_batch.h>
#include <tl/expected.hpp>

#include "persist/database.h"
#include "persist/error.h"
#include "persist/snapshot_codec.h"
#include "persist/snapshot_store.h"

namespace conclave::persist {

/// Writes rows in ascending order, in many synced batches. Nothing counts before Finish. Thread:
/// one. A builder that is dropped unfinished leaves its directory behind (a received one goes on
/// from there, another is removed by the next start).
class SnapshotBuilder {
 public:
  /// In a new directory. REQUIRES: it does not exist.
  static tl::expected<std::unique_ptr<SnapshotBuilder>, Error> Create(
      const SnapshotOptions& options, std::uint64_t generation);

  SnapshotBuilder(const SnapshotBuilder&) = delete;
  SnapshotBuilder& operator=(const SnapshotBuilder&) = delete;
  SnapshotBuilder(SnapshotBuilder&&) = delete;
  SnapshotBuilder& operator=(SnapshotBuilder&&) = delete;
  ~SnapshotBuilder();

  std::uint64_t generation() const { return generation_; }

  /// The rows of `old` (null: none) as changed by `changes`.
  tl::expected<void, Error> Merge(const SnapshotStore* old, const RowSource& changes);

  /// Reads everything back and verifies it, then writes what makes the generation complete.
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Finish(const raft::SnapshotMeta& meta,
                                                             std::string_view digest);

 private:
  friend class SnapshotReceiver;
  SnapshotBuilder(SnapshotOptions options, std::uint64_t generation, std::unique_ptr<Database> db);

  void Add(const Row& row);
  void CommitIfLarge();
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Complete(SnapshotInfo info);

  const SnapshotOptions options_;
  const std::uint64_t generation_;
  std::unique_ptr<Database> db_;
  leveldb::WriteBatch writes_;
  RowTotals totals_;
  tl::expected<void, Error> state_;  // the first failure
};

/// Receives a snapshot in chunks. What was appended survives a crash, and the transfer goes on
/// behind it. Thread: one.
class SnapshotReceiver {
 public:
  SnapshotReceiver(const SnapshotReceiver&) = delete;
  SnapshotReceiver& operator=(const SnapshotReceiver&) = delete;
  SnapshotReceiver(SnapshotReceiver&&) = delete;
  SnapshotReceiver& operator=(SnapshotReceiver&&) = delete;
  ~SnapshotReceiver();

  std::uint64_t generation() const { return builder_->generation(); }

  const SnapshotInfo& source() const { return progress_.source; }

  /// Where to ask the sender to go on: the key of the last row stored, empty for none.
  const std::string& last_key() const { return progress_.last_key; }

  /// Rows stored so far, for showing progress.
  const RowTotals& totals() const { return progress_.totals; }

  /// Verifies a chunk and stores it with one synced batch. kTransfer if it is not what was sent or
  /// does not follow last_key(): nothing is changed, and the sender is asked again.
  tl::expected<void, Error> Append(std::string_view chunk, std::uint64_t checksum);

  /// To be called behind the last chunk. Verifies all rows as stored and that they are those of
  /// the source; then the generation is complete. kTransfer if they are not: the transfer starts
  /// anew. The caller loads and verifies the state, lets the log store install it and then calls
  /// SnapshotGenerations::Switch.
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Finish();

 private:
  friend class SnapshotGenerations;
  SnapshotReceiver(std::unique_ptr<SnapshotBuilder> builder, TransferProgress progress);
  tl::unexpected<Error> Abandon(const std::string& why);
  /// Goes on with what lies in the directory; an error if nothing of use does.
  static tl::expected<std::unique_ptr<SnapshotReceiver>, Error> Resume(
      const SnapshotOptions& options, std::uint64_t generation);

  std::unique_ptr<SnapshotBuilder> builder_;
  TransferProgress progress_;
};

}  // namespace conclave::persist
