#include "persist/database.h"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/options.h>
#include <leveldb/write_batch.h>

#include "persist/data_directory.h"

namespace conclave::persist {

namespace {

constexpr int kBloomBitsPerKey = 10;

leveldb::ReadOptions Verified(bool fill_cache) {
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = fill_cache;
  return options;
}

// LevelDB's own messages (flushes, compactions) are of use to who debugs this layer only.
class VerboseLogger final : public leveldb::Logger {
 public:
  void Logv(const char* format, std::va_list arguments) override {
    if (VLOG_IS_ON(2)) {
      std::array<char, 512> line{};
      std::vsnprintf(line.data(), line.size(), format, arguments);
      VLOG(2) << "leveldb: " << line.data();
    }
  }
};

}  // namespace

Database::Database(Options options) : options_(std::move(options)) {}

Database::~Database() {
  if (db_ != nullptr) {
    Drain();
    db_.reset();
  }
}

void Database::Drain() const {
  if (options_.storage.background == StorageEnv::Background::kQueued) {
    storage_->DrainBackground();
  }
}

Error Database::Damaged(const std::string& what) const {
  return {ErrorKind::kDamaged, fmt::format("The {} in {} is damaged: {}. {}", options_.name, path(),
                                           what, DamageRemedy(DirectoryOf(path())))};
}

Error Database::ReadError(const leveldb::Status& status) const {
  if (status.IsCorruption() || status.IsInvalidArgument()) {
    return Damaged(status.ToString());
  }
  return IoError("cannot read " + path(), status);
}

tl::expected<std::unique_ptr<Database>, Error> Database::Open(Options options) {
  std::unique_ptr<Database> database(new Database(std::move(options)));
  if (!database->options_.create) {
    auto repair = CheckDatabaseFiles(database->options_.env, database->options_.disk,
                                     database->options_.path);
    if (!repair) {
      return tl::unexpected(repair.error());
    }
    database->repair_ = std::move(*repair);
  }
  return database->OpenFiles().map([&] { return std::move(database); });
}

tl::expected<void, Error> Database::OpenFiles() {
  storage_ = std::make_unique<StorageEnv>(options_.env, options_.disk, options_.storage);
  const std::string spare = fmt::format("{}/{}", path(), StorageEnv::kSpareName);
  if (options_.env->FileExists(spare)) {
    if (const leveldb::Status status = storage_->RemoveFile(spare); !status.ok()) {
      return tl::unexpected(IoError("cannot remove " + spare, status));
    }
  }
  cache_.reset(leveldb::NewLRUCache(options_.block_cache_bytes));
  logger_ = std::make_unique<VerboseLogger>();
  leveldb::Options db_options;
  db_options.env = storage_.get();
  db_options.info_log = logger_.get();
  db_options.block_cache = cache_.get();
  if (options_.bloom_filter) {
    filter_.reset(leveldb::NewBloomFilterPolicy(kBloomBitsPerKey));
    db_options.filter_policy = filter_.get();
  }
  // Never over something: a database that lost its CURRENT would be made anew, empty.
  db_options.create_if_missing = options_.create;
  db_options.error_if_exists = false;
  db_options.paranoid_checks = true;
  db_options.compression = leveldb::kNoCompression;
  db_options.reuse_logs = false;
  db_options.write_buffer_size = options_.write_buffer_bytes;
  db_options.max_file_size = options_.table_bytes;
  db_options.block_size = options_.block_bytes;
  db_options.max_open_files = options_.open_files_max;
  leveldb::DB* db = nullptr;
  leveldb::Status status = leveldb::DB::Open(db_options, path(), &db);
  db_.reset(db);
  Drain();
  if (!storage_->failure().ok()) {
    status = storage_->failure();  // The cause; LevelDB may have passed over it to a later symptom.
  }
  if (status.IsCorruption() || status.IsInvalidArgument()) {
    return tl::unexpected(Damaged(status.ToString()));
  }
  if (!status.ok()) {
    return tl::unexpected(IoError("cannot open " + path(), status));
  }
  return {};
}

tl::expected<bool, Error> Database::Get(std::string_view key, std::string* value) const {
  const leveldb::Status status =
      db_->Get(Verified(true), leveldb::Slice(key.data(), key.size()), value);
  Drain();  // A read may find that a table is worth compacting.
  if (status.IsNotFound()) {
    return false;
  }
  if (!status.ok()) {
    return tl::unexpected(ReadError(status));
  }
  return true;
}

std::unique_ptr<leveldb::Iterator> Database::NewIterator(bool fill_cache) const {
  return std::unique_ptr<leveldb::Iterator>(db_->NewIterator(Verified(fill_cache)));
}

void Database::Reclaim(std::string_view begin, std::string_view end) const {
  if (options_.storage.background == StorageEnv::Background::kThread) {
    const leveldb::Slice first(begin.data(), begin.size());
    const leveldb::Slice last(end.data(), end.size());
    db_->CompactRange(&first, &last);
  }
}

tl::expected<void, Error> Database::Commit(leveldb::WriteBatch* writes) {
  leveldb::WriteOptions synced;
  synced.sync = true;
  leveldb::Status status = storage_->failure();
  if (status.ok()) {
    status = db_->Write(synced, writes);
    Drain();
  }
  if (status.ok()) {
    // LevelDB 1.23 forgets some failures by the next write (of an append, of background work). The
    // StorageEnv does not, and nothing is acknowledged after one.
    status = storage_->failure();
  }
  if (!status.ok()) {
    return tl::unexpected(IoError(
        fmt::format("cannot write the {} in {} (nothing that was not acknowledged before may be "
                    "relied on; the server must stop)",
                    options_.name, path()),
        status));
  }
  return {};
}

}  // namespace conclave::persist
