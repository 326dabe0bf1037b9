// One LevelDB of a member, opened, read and written with the care that rules 12 and 14 ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <leveldb/env.h>
#include <leveldb/status.h>
#include <tl/expected.hpp>

#include "persist/database_check.h"
#include "persist/disk.h"
#include "persist/error.h"
#include "persist/storage_env.h"

namespace leveldb {
class Cache;
class DB;
class FilterPolicy;
class Iterator;
class Logger;
class WriteBatch;
}  // namespace leveldb

namespace conclave::persist {

/// Thread: Commit from one thread at a time, the rest from any; with Background::kQueued everything
/// from one. Owns its StorageEnv; borrows `env` and `disk`. After a Commit failed every later one
/// fails.
class Database {
 public:
  struct Options {
    leveldb::Env* env = nullptr;
    Disk* disk = nullptr;  ///< May be null, see StorageEnv.
    StorageEnv::Options storage;
    /// The directory, directly below --data_dir.
    std::string path;
    /// Names it in messages: "log", "snapshot".
    std::string name;
    /// The directory is new: nothing is looked at, everything is made.
    bool create = false;
    std::size_t write_buffer_bytes = std::size_t{4} << 20U;
    std::size_t block_cache_bytes = std::size_t{4} << 20U;
    /// Size of a table file, about.
    std::size_t table_bytes = std::size_t{2} << 20U;
    int open_files_max = 128;
    /// Of a table: what one read fetches and checks.
    std::size_t block_bytes = std::size_t{4} << 10U;
    /// Ten bits for each key, so that looking for one that is not there reads no block.
    bool bloom_filter = false;
  };

  /// Looks at the files first (CheckDatabaseFiles), then opens them, paranoid.
  static tl::expected<std::unique_ptr<Database>, Error> Open(Options options);

  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  Database(Database&&) = delete;
  Database& operator=(Database&&) = delete;
  /// Waits for background work. REQUIRES: no iterator is left.
  ~Database();

  const std::string& path() const { return options_.path; }

  /// What rule 14 had to cut off at Open. `file` is empty if nothing.
  const WriteAheadRepair& repair() const { return repair_; }

  /// False if there is no such key.
  tl::expected<bool, Error> Get(std::string_view key, std::string* value) const;

  /// One batch, one sync: durable on return, whole or not at all.
  tl::expected<void, Error> Commit(leveldb::WriteBatch* writes);

  /// Verified reads of the state as it is now. `status()` must be looked at in the end: LevelDB
  /// passes over a bad block in silence.
  std::unique_ptr<leveldb::Iterator> NewIterator(bool fill_cache) const;

  /// Rewrites the tables that hold keys in [begin, end) so that what was deleted there takes no
  /// room any more. Takes its time, beside reads and Commits; does nothing with
  /// Background::kQueued.
  void Reclaim(std::string_view begin, std::string_view end) const;

  /// The first failure of writing, also of background work; OK if there was none.
  leveldb::Status failure() const { return storage_->failure(); }

  /// Bytes written to its files since Open.
  std::uint64_t bytes_written() const { return storage_->bytes_written(); }

  /// `what` as an error of kind kDamaged that names the database and the remedy.
  Error Damaged(const std::string& what) const;
  /// A status of reading as an error: damage or kIo.
  Error ReadError(const leveldb::Status& status) const;

  /// In simulation: LevelDB's background work on this thread.
  void Drain() const;

 private:
  explicit Database(Options options);
  tl::expected<void, Error> OpenFiles();

  const Options options_;
  WriteAheadRepair repair_;
  // In the order in which they are needed.
  std::unique_ptr<StorageEnv> storage_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Logger> logger_;
  std::unique_ptr<leveldb::DB> db_;
};

}  // namespace conclave::persist
