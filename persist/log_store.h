// The Raft log and the hard state of one member, in one LevelDB.
//
// One call of Write is one LevelDB batch and one sync, whatever it holds: hard state and entries
// are durable together or not at all, and an acknowledgement to a peer rests on nothing else. The
// format is in persist/FORMAT.md.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <leveldb/status.h>
#include <tl/expected.hpp>

#include "consensus/storage.h"
#include "consensus/types.h"
#include "persist/codec.h"
#include "persist/data_directory.h"
#include "persist/database.h"
#include "persist/database_check.h"
#include "persist/disk.h"
#include "persist/error.h"
#include "persist/identity.h"
#include "persist/log_batch.h"
#include "persist/storage_env.h"

namespace leveldb {
class WriteBatch;
}  // namespace leveldb

namespace conclave::persist {

/// Thread: Write from one thread at a time (the log thread); everything else from any thread,
/// beside a Write too. In simulation (Background::kQueued) everything from one thread. Owns the
/// database, its StorageEnv and the lock on the directory; borrows `env` and `disk`. Invariants:
///   1. The stored log is dense: indices first_index() .. last_index(), each entry's chain the
///      ChainHash of its predecessor's chain and itself; start() is the entry before the first.
///   2. What Write acknowledged is found by every later Open, unless a disk was damaged; damage is
///      an error of Open or Read and never other bytes.
///   3. After a Write failed, no Write succeeds any more.
class LogStore final : public raft::LogReader {
 public:
  struct Options {
    /// The file system. Production: leveldb::Env::Default() and PosixDisk(). With a null `disk`
    /// (an in-memory Env) there is no pre-allocation and no sync of directories.
    leveldb::Env* env = nullptr;
    Disk* disk = nullptr;
    /// Thread of background work, pre-allocation, latencies of syncs.
    StorageEnv::Options storage;

    /// --data_dir. Made if it does not exist (its parent must).
    std::string data_dir;
    /// --id and --cluster_name: must be those of the directory, or become those of a new one.
    raft::MemberId member = 0;
    std::string cluster_name;
    /// Draws the incarnation of a new directory. Used by Open only.
    raft::RandomSource* random = nullptr;

    /// LevelDB's write buffer, and so about the size of a write-ahead file. Larger: fewer flushes,
    /// longer restarts, memory up to twice this.
    std::size_t write_buffer_bytes = std::size_t{4} << 20U;
    /// Cache of table blocks. Entries are read from tables only by members far behind.
    std::size_t block_cache_bytes = std::size_t{4} << 20U;
    /// Table files held open, at most. The rest of the file descriptors are for clients.
    int open_files_max = 128;
    /// How much of the end of the log Open hands to the core in `Restored`: this, up to twice.
    std::size_t restored_tail_bytes = std::size_t{8} << 20U;
  };

  /// Opens the directory, or makes a new one with a fresh incarnation if it does not exist or is
  /// empty. Everything stored is read and checked: checksums, chain, dense indices, hard state
  /// against log. Takes time in proportion to the log (some 100 MiB/s and more).
  static tl::expected<std::unique_ptr<LogStore>, Error> Open(Options options);

  LogStore(const LogStore&) = delete;
  LogStore& operator=(const LogStore&) = delete;
  LogStore(LogStore&&) = delete;
  LogStore& operator=(LogStore&&) = delete;
  /// Waits for background work, closes the database, then releases the lock.
  ~LogStore() override;

  const Identity& identity() const { return identity_; }

  /// True if this Open made the directory: the member is empty and of a new incarnation.
  bool is_new() const { return is_new_; }

  /// What rule 14 had to cut off at this Open. `file` is empty if nothing.
  const WriteAheadRepair& repair() const { return db_->repair(); }

  /// The state that Open found, for the Raft core, with nothing known to be applied but the log's
  /// start. Moves the entries out: call it once, and before the first Write.
  raft::Restored TakeRestored();

  /// The same for a member that has loaded the snapshot `checkpoint`: commitIndex and lastApplied
  /// are there. kDamaged if log and snapshot do not belong together: the snapshot ends outside the
  /// log, or after another entry, or with another configuration than the log has there.
  tl::expected<raft::Restored, Error> TakeRestored(const raft::SnapshotMeta& checkpoint);

  /// Of the snapshot that counts, by the last Install; 0: there is none. Thread: any.
  std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  /// Makes `batch` durable: returns OK only after the sync. On an error nothing of the batch may be
  /// acknowledged, the batch may or may not be found by the next Open, and every later call returns
  /// the same error: the caller ends the process (D5). An empty batch writes nothing.
  ///
  /// REQUIRES: `truncateFrom` is within (first_index()..last_index()+1], the entries are
  /// consecutive, follow what is left, and carry the right chain; terms do not go back; currentTerm
  /// does not go back; the log's start does not go back. These are the core's invariants and are
  /// CHECKed. What `compactThrough` removes may lag behind: a batch that it covers in part stays
  /// until it is covered, and of very many batches the later calls remove the rest.
  tl::expected<void, Error> Write(const LogBatch& batch);

  /// Gives back the room of entries that were compacted, once there is much of it: LevelDB by
  /// itself keeps what was deleted until it happens to come across it. Takes its time (some 100
  /// MiB/s), beside a Write too. Thread: one at a time.
  void Reclaim();

  /// raft::LogReader: entries that a finished Write stored. Every byte returned was verified.
  /// A damaged block is an error that names the index, never a shorter answer; entries that a Write
  /// beside it removes are an error too, so nobody may want them any more by then.
  tl::expected<std::vector<raft::Entry>, std::string> Read(raft::Index first, raft::Index last,
                                                           std::size_t bytes_max) const override;
  tl::expected<raft::Term, std::string> TermAt(raft::Index index) const override;

  /// First and last index stored; last = first - 1 if the log is empty.
  raft::Index first_index() const { return start().index + 1; }

  /// The entry before the first one stored: {0, 0}, or the last one that was compacted or that a
  /// snapshot stands for.
  raft::EntryId start() const;

  raft::Index last_index() const { return last_index_.load(std::memory_order_acquire); }

  /// Bytes of all entries stored, their framing included: what the bound on the log counts. The
  /// files take up to about twice as much and one write buffer beside.
  std::uint64_t log_bytes() const { return log_bytes_.load(std::memory_order_acquire); }

  /// The failure that ended writing, or OK. Also failures of background work that no Write has met
  /// yet; worth a look on every tick.
  leveldb::Status failure() const { return db_->failure(); }

  /// The directory, for whoever keeps other databases in it.
  const DataDirectory& directory() const { return *directory_; }

 private:
  // What is known of a stored batch without reading it, so that removing needs no scan.
  struct StoredBatch {
    raft::Index first = 0;
    std::size_t bytes = 0;
    raft::EntryId last;
    std::uint64_t last_chain = 0;
  };

  explicit LogStore(Options options);

  // The steps of Open, in this order.
  tl::expected<void, Error> PrepareDirectory();
  tl::expected<void, Error> OpenDatabase();
  tl::expected<void, Error> LoadIdentity();
  tl::expected<void, Error> LoadState();
  tl::expected<void, Error> LoadStart();
  tl::expected<void, Error> LoadEntries();

  tl::expected<void, Error> Found(const Identity& identity);
  tl::expected<void, Error> Sign();
  tl::expected<bool, Error> IsEmpty();
  tl::expected<void, Error> CheckBatch(const DecodedBatch& batch, std::size_t value_bytes);
  void KeepForRestore(std::vector<raft::Entry> entries);
  tl::expected<void, Error> CheckFits(const raft::SnapshotMeta& checkpoint);

  // The steps of Write; each adds to `writes` and changes `state` and what is known of batches.
  tl::expected<void, Error> Prepare(const LogBatch& batch, leveldb::WriteBatch* writes,
                                    StoredState* state);
  tl::expected<void, Error> CheckInstall(const LogBatch& batch, const StoredState& state) const;
  void Reset(const raft::SnapshotMeta& to, leveldb::WriteBatch* writes, StoredState* state);
  tl::expected<void, Error> Truncate(raft::Index from, leveldb::WriteBatch* writes,
                                     StoredState* state);
  void Append(const std::vector<raft::Entry>& entries, leveldb::WriteBatch* writes,
              StoredState* state);
  void Compact(leveldb::WriteBatch* writes, StoredState* state);
  static void Remove(const StoredBatch& batch, leveldb::WriteBatch* writes);
  void PutStart(leveldb::WriteBatch* writes, const StoredState& state);
  void NoteConfiguration(const raft::Entry& entry);
  tl::unexpected<Error> Damaged(const std::string& what) const;

  // Constant after Open.
  const Options options_;
  Identity identity_;
  bool is_new_ = false;

  // Open and TakeRestored only.
  raft::Restored restored_;
  std::size_t restored_bytes_ = 0;
  StoredState walked_;  // what LoadEntries has come across, compared with state_ in the end

  // Synchronise themselves. In the order in which they are needed: the lock goes last.
  std::unique_ptr<DataDirectory> directory_;
  std::unique_ptr<Database> db_;
  std::atomic<raft::Index> last_index_{0};
  std::atomic<std::uint64_t> log_bytes_{0};
  std::atomic<std::uint64_t> compacted_bytes_{0};  // since Reclaim
  std::atomic<std::uint64_t> generation_{0};

  // Guarded by start_mutex_.
  mutable std::mutex start_mutex_;
  raft::EntryId start_;

  // The log thread only.
  StoredState state_;
  std::deque<StoredBatch> batches_;  // ascending, dense
  // Every configuration of the log, ascending, preceded by the one at its start if that is known.
  std::deque<raft::IndexedConfiguration> configurations_;
  raft::Index compact_through_ = 0;
  std::optional<Error> failed_;
};

}  // namespace conclave::persist
