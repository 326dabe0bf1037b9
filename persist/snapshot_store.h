// A snapshot of the state machine: one generation, a LevelDB of its own whose rows are the state at
// exactly one index (rule 12). The format is in persist/FORMAT.md.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <leveldb/iterator.h>
#include <leveldb/status.h>
#include <tl/expected.hpp>

#include "persist/database.h"
#include "persist/disk.h"
#include "persist/error.h"
#include "persist/snapshot_codec.h"
#include "persist/storage_env.h"

namespace conclave::persist {

/// For every generation of one data directory.
struct SnapshotOptions {
  leveldb::Env* env = nullptr;
  Disk* disk = nullptr;  ///< May be null, see StorageEnv.
  /// Pre-allocation pays for syncs that someone waits for; nobody waits for these.
  StorageEnv::Options storage = WithoutPreallocation();
  /// --data_dir, which the caller holds locked (a LogStore on it is open).
  std::string data_dir;
  /// LevelDB rewrites most of a level for each few of these, whatever is in them, so a small one
  /// makes each checkpoint pay for a large part of a dump. Memory up to twice this.
  std::size_t write_buffer_bytes = std::size_t{16} << 20U;
  std::size_t block_cache_bytes = std::size_t{8} << 20U;
  std::size_t table_bytes = std::size_t{4} << 20U;
  int open_files_max = 128;
  /// What one synced batch may hold; a larger change builds a new generation.
  std::size_t delta_bytes_max = std::size_t{16} << 20U;
  /// What one batch holds while a generation is built.
  std::size_t build_batch_bytes = std::size_t{4} << 20U;

  static StorageEnv::Options WithoutPreallocation() {
    StorageEnv::Options storage;
    storage.log_preallocate_bytes = 0;
    return storage;
  }
};

/// Part of a snapshot on its way to another member; opaque to who carries it.
struct SnapshotChunk {
  std::string bytes;
  std::uint64_t checksum = 0;
  /// Where the next chunk goes on; empty if this one holds nothing.
  std::string last_key;
  std::uint64_t rows = 0;
  /// There are no rows behind.
  bool last = false;
};

class SnapshotStore;

/// The rows of a snapshot as they were when it was made, whatever is written meanwhile. Pins files
/// of the database, so not to be kept longer than needed. Thread: any, one call at a time.
class SnapshotCursor {
 public:
  /// REQUIRES: made by SnapshotStore::NewCursor.
  SnapshotCursor(std::shared_ptr<const SnapshotStore> store, SnapshotInfo info,
                 std::unique_ptr<leveldb::Iterator> rows);
  SnapshotCursor(const SnapshotCursor&) = delete;
  SnapshotCursor& operator=(const SnapshotCursor&) = delete;
  SnapshotCursor(SnapshotCursor&&) = delete;
  SnapshotCursor& operator=(SnapshotCursor&&) = delete;
  /// May close the database and remove its directory, if this is the last that uses it: on the
  /// background thread, please.
  ~SnapshotCursor();

  const SnapshotInfo& info() const { return info_; }

  /// The rows behind `after_key` (empty: from the first), as many as fit into `bytes_max` and at
  /// least one. Every row is verified; damage is an error and never a chunk. Reading on from the
  /// last chunk's end is cheap. A cursor that has gone through from the first row to the last has
  /// also proved that no row was missing, or says so instead of the last chunk.
  tl::expected<SnapshotChunk, Error> ReadChunk(std::string_view after_key, std::size_t bytes_max);

 private:
  void Seek(std::string_view after_key);

  const std::shared_ptr<const SnapshotStore> store_;
  const SnapshotInfo info_;
  std::unique_ptr<leveldb::Iterator> rows_;
  std::string position_;  // key before rows_
  bool positioned_ = false;
  bool from_start_ = false;  // totals_ is of all rows up to position_
  RowTotals totals_;
};

/// One complete generation. Thread: Write from one thread at a time, the rest from any; in
/// simulation everything from one.
class SnapshotStore : public std::enable_shared_from_this<SnapshotStore> {
 public:
  /// Takes one row; an error ends the load with it.
  using Visitor =
      std::function<tl::expected<void, std::string>(std::string_view key, std::string_view value)>;

  /// Opens DATA_DIR/snapshot-`generation`/. kDamaged if it is not there, not complete or not whole
  /// as far as its files tell; the rows are verified as they are read.
  static tl::expected<std::shared_ptr<SnapshotStore>, Error> Open(const SnapshotOptions& options,
                                                                  std::uint64_t generation);

  SnapshotStore(const SnapshotStore&) = delete;
  SnapshotStore& operator=(const SnapshotStore&) = delete;
  SnapshotStore(SnapshotStore&&) = delete;
  SnapshotStore& operator=(SnapshotStore&&) = delete;
  /// Waits for background work; removes the directory if Retire was called.
  ~SnapshotStore();

  std::uint64_t generation() const { return generation_; }

  SnapshotInfo info() const;

  /// Makes the snapshot the state at `meta.last` by the rows that have changed since the last one:
  /// one synced batch, durable on return, whole or not at all. False, and nothing is written, if
  /// the rows take more than SnapshotOptions::delta_bytes_max. Reads each changed row's old value,
  /// to keep the totals; damage met there is an error too. After an error the caller ends the
  /// process. REQUIRES: meta.last is not before the one so far.
  tl::expected<bool, Error> Write(const raft::SnapshotMeta& meta, std::string_view digest,
                                  const RowSource& changes);

  /// Hands every row to `visit`, keys ascending. Verifies each row and, in the end, that they are
  /// all there; until it has returned OK nothing that was visited may be relied on.
  tl::expected<void, Error> Load(const Visitor& visit) const;

  /// The rows as they are now, for a transfer.
  tl::expected<std::unique_ptr<SnapshotCursor>, Error> NewCursor() const;

  /// The directory goes when the last user (this object, cursors) has gone.
  void Retire() { retired_ = true; }

  /// The first failure of writing, also of background work; OK if there was none.
  leveldb::Status failure() const { return db_->failure(); }

  /// Bytes written to its files since it was opened.
  std::uint64_t bytes_written() const { return db_->bytes_written(); }

  const Database& database() const { return *db_; }

 private:
  friend class SnapshotBuilder;
  SnapshotStore(SnapshotOptions options, std::uint64_t generation, std::unique_ptr<Database> db,
                SnapshotInfo info);

  const SnapshotOptions options_;
  const std::uint64_t generation_;
  std::unique_ptr<Database> db_;
  std::atomic<bool> retired_{false};
  // Guarded by mutex_.
  mutable std::mutex mutex_;
  SnapshotInfo info_;
};

/// Path of a generation's directory.
std::string GenerationPath(const std::string& data_dir, std::uint64_t generation);

/// 0 if `name` is not that of a generation's directory.
std::uint64_t ParseGenerationName(std::string_view name);

/// Removes a generation's directory, its CURRENT first, so that what a crash leaves of it is never
/// taken for complete. What cannot be removed only takes room.
void RemoveGeneration(leveldb::Env* env, Disk* disk, const std::string& path);

}  // namespace conclave::persist
