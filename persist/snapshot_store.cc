#include "persist/snapshot_store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/write_batch.h>

#include "persist/data_directory.h"
#include "persist/slices.h"
#include "persist/snapshot_database.h"

namespace conclave::persist {

namespace {

constexpr std::string_view kNamePrefix = "snapshot-";
// A checkpoint reads single rows all over the keys, each with the block around it.
constexpr std::size_t kBlockBytes = 1 << 10;

// Turns changes into one batch, and keeps the totals.
class Delta {
 public:
  Delta(const Database& db, const RowTotals& before, std::size_t bytes_max)
      : db_(db), totals_(before), bytes_max_(bytes_max) {}

  void Add(std::string_view key, std::optional<std::string_view> value) {
    CHECK(key > last_key_) << "rows out of order";
    last_key_ = key;
    if (too_large_ || !state_) {
      return;
    }
    const std::string stored_key = StoredRowKey(key);
    std::string old;
    const auto found = db_.Get(stored_key, &old);
    if (!found) {
      state_ = tl::unexpected(found.error());
      return;
    }
    if (*found) {
      const auto row = DecodeRow(key, old);
      if (!row) {
        state_ = tl::unexpected(db_.Damaged("a row " + row.error()));
        return;
      }
      totals_.Remove(key, row->value, row->checksum);
    }
    if (value) {
      const std::uint64_t checksum = RowChecksum(key, *value);
      totals_.Add(key, *value, checksum);
      writes_.Put(stored_key, StoredRowValue(*value, checksum));
    } else if (*found) {
      writes_.Delete(stored_key);
    }
    too_large_ = writes_.ApproximateSize() > bytes_max_;
  }

  leveldb::WriteBatch* writes() { return &writes_; }

  const RowTotals& totals() const { return totals_; }

  const tl::expected<void, Error>& state() const { return state_; }

  bool too_large() const { return too_large_; }

 private:
  const Database& db_;
  RowTotals totals_;
  const std::size_t bytes_max_;
  leveldb::WriteBatch writes_;
  std::string last_key_;
  bool too_large_ = false;
  tl::expected<void, Error> state_;
};

}  // namespace

// --- Rows in a database, for store and builder ---

tl::expected<std::unique_ptr<Database>, Error> OpenSnapshotDatabase(const SnapshotOptions& options,
                                                                    std::uint64_t generation,
                                                                    bool create) {
  Database::Options db;
  db.env = options.env;
  db.disk = options.disk;
  db.storage = options.storage;
  db.path = GenerationPath(options.data_dir, generation);
  db.name = "snapshot";
  db.create = create;
  db.write_buffer_bytes = options.write_buffer_bytes;
  db.block_cache_bytes = options.block_cache_bytes;
  db.table_bytes = options.table_bytes;
  db.open_files_max = options.open_files_max;
  db.block_bytes = kBlockBytes;
  db.bloom_filter = true;
  return Database::Open(std::move(db));
}

tl::expected<SnapshotInfo, Error> ReadSnapshotInfo(const Database& db) {
  std::string bytes;
  const auto found = db.Get(kInfoKey, &bytes);
  if (!found) {
    return tl::unexpected(found.error());
  }
  if (!*found) {
    return tl::unexpected(db.Damaged("it was never completed"));
  }
  auto info = DecodeInfo(bytes);
  if (!info) {
    return tl::unexpected(db.Damaged("what it says of itself " + info.error()));
  }
  return *info;
}

tl::expected<void, Error> VisitRows(const Database& db, leveldb::Iterator* rows,
                                    const RowTotals& expected, const RowVisitor& visit) {
  RowTotals totals;
  for (rows->Seek(AsSlice(std::string_view(&kRowPrefix, 1)));
       rows->Valid() && rows->key()[0] == kRowPrefix; rows->Next()) {
    const std::string_view key = AsView(rows->key()).substr(1);
    const auto row = DecodeRow(key, AsView(rows->value()));
    if (!row) {
      return tl::unexpected(db.Damaged("a row " + row.error()));
    }
    totals.Add(row->key, row->value, row->checksum);
    if (auto visited = visit(*row); !visited) {
      return visited;
    }
  }
  // An iterator that met a bad block has passed over it.
  if (!rows->status().ok()) {
    return tl::unexpected(db.ReadError(rows->status()));
  }
  if (totals != expected) {
    return tl::unexpected(db.Damaged(
        fmt::format("it has {} rows of {} bytes, and they are not the {} rows of {} bytes that "
                    "were written",
                    totals.rows, totals.bytes, expected.rows, expected.bytes)));
  }
  return {};
}

// --- SnapshotStore ---

SnapshotStore::SnapshotStore(SnapshotOptions options, std::uint64_t generation,
                             std::unique_ptr<Database> db, SnapshotInfo info)
    : options_(std::move(options)),
      generation_(generation),
      db_(std::move(db)),
      info_(std::move(info)) {}

SnapshotStore::~SnapshotStore() {
  const std::string path = db_->path();
  db_.reset();
  if (retired_) {
    RemoveGeneration(options_.env, options_.disk, path);
  }
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotStore::Open(
    const SnapshotOptions& options, std::uint64_t generation) {
  const std::string path = GenerationPath(options.data_dir, generation);
  if (!options.env->FileExists(path + "/CURRENT")) {
    return tl::unexpected(
        Error{ErrorKind::kDamaged,
              fmt::format("The snapshot in {} is missing or has lost its CURRENT. {}", path,
                          DamageRemedy(options.data_dir))});
  }
  auto db = OpenSnapshotDatabase(options, generation, /*create=*/false);
  if (!db) {
    return tl::unexpected(db.error());
  }
  auto info = ReadSnapshotInfo(**db);
  if (!info) {
    return tl::unexpected(info.error());
  }
  return std::shared_ptr<SnapshotStore>(
      new SnapshotStore(options, generation, std::move(*db), std::move(*info)));
}

SnapshotInfo SnapshotStore::info() const {
  const std::lock_guard lock(mutex_);
  return info_;
}

tl::expected<bool, Error> SnapshotStore::Write(const raft::SnapshotMeta& meta,
                                               std::string_view digest, const RowSource& changes) {
  SnapshotInfo next = info();
  CHECK_GE(meta.last.index, next.meta.last.index);
  Delta delta(*db_, next.totals, options_.delta_bytes_max);
  changes(
      [&](std::string_view key, std::optional<std::string_view> value) { delta.Add(key, value); });
  if (!delta.state()) {
    return tl::unexpected(delta.state().error());
  }
  if (delta.too_large()) {
    return false;
  }
  next.meta = meta;
  next.digest = digest;
  next.totals = delta.totals();
  delta.writes()->Put(AsSlice(kInfoKey), EncodeInfo(next));
  if (auto committed = db_->Commit(delta.writes()); !committed) {
    return tl::unexpected(committed.error());
  }
  const std::lock_guard lock(mutex_);
  info_ = std::move(next);
  return true;
}

tl::expected<void, Error> SnapshotStore::Load(const Visitor& visit) const {
  const std::unique_ptr<leveldb::Iterator> rows = db_->NewIterator(false);
  auto loaded =
      VisitRows(*db_, rows.get(), info().totals, [&](const Row& row) -> tl::expected<void, Error> {
        if (auto visited = visit(row.key, row.value); !visited) {
          return tl::unexpected(db_->Damaged(visited.error()));
        }
        return {};
      });
  db_->Drain();
  return loaded;
}

tl::expected<std::unique_ptr<SnapshotCursor>, Error> SnapshotStore::NewCursor() const {
  // What the snapshot says of itself is read from the same view as the rows, so that no lock is
  // held against a write beside it.
  std::unique_ptr<leveldb::Iterator> rows = db_->NewIterator(false);
  rows->Seek(AsSlice(kInfoKey));
  if (!rows->status().ok()) {
    return tl::unexpected(db_->ReadError(rows->status()));
  }
  if (!rows->Valid() || AsView(rows->key()) != kInfoKey) {
    return tl::unexpected(db_->Damaged("it was never completed"));
  }
  auto info = DecodeInfo(AsView(rows->value()));
  if (!info) {
    return tl::unexpected(db_->Damaged("what it says of itself " + info.error()));
  }
  return std::make_unique<SnapshotCursor>(shared_from_this(), std::move(*info), std::move(rows));
}

// --- SnapshotCursor ---

SnapshotCursor::SnapshotCursor(std::shared_ptr<const SnapshotStore> store, SnapshotInfo info,
                               std::unique_ptr<leveldb::Iterator> rows)
    : store_(std::move(store)), info_(std::move(info)), rows_(std::move(rows)) {}

SnapshotCursor::~SnapshotCursor() {
  rows_.reset();  // Before the database.
}

void SnapshotCursor::Seek(std::string_view after_key) {
  if (positioned_ && position_ == after_key) {
    return;
  }
  rows_->Seek(StoredRowKey(after_key));
  if (!after_key.empty() && rows_->Valid() && AsView(rows_->key()) == StoredRowKey(after_key)) {
    rows_->Next();
  }
  from_start_ = after_key.empty();
  totals_ = {};
}

tl::expected<SnapshotChunk, Error> SnapshotCursor::ReadChunk(std::string_view after_key,
                                                             std::size_t bytes_max) {
  const Database& db = store_->database();
  Seek(after_key);
  positioned_ = false;  // Until all went well.
  SnapshotChunk chunk;
  chunk.last_key = after_key;
  const auto more = [&] { return rows_->Valid() && rows_->key()[0] == kRowPrefix; };
  for (; more(); rows_->Next()) {
    const auto row = DecodeRow(AsView(rows_->key()).substr(1), AsView(rows_->value()));
    if (!row) {
      return tl::unexpected(db.Damaged("a row " + row.error()));
    }
    const std::size_t before = chunk.bytes.size();
    PutChunkRow(&chunk.bytes, *row);
    if (chunk.rows > 0 && chunk.bytes.size() > bytes_max) {
      chunk.bytes.resize(before);
      break;
    }
    ++chunk.rows;
    chunk.last_key = row->key;
    totals_.Add(row->key, row->value, row->checksum);
  }
  chunk.last = !more();
  chunk.checksum = ChunkChecksum(chunk.bytes);
  if (!rows_->status().ok()) {
    return tl::unexpected(db.ReadError(rows_->status()));
  }
  if (chunk.last && from_start_ && totals_ != info_.totals) {
    return tl::unexpected(db.Damaged("its rows are not the ones that were written"));
  }
  db.Drain();
  position_ = chunk.last_key;
  positioned_ = true;
  return chunk;
}

// --- Directories ---

std::string GenerationPath(const std::string& data_dir, std::uint64_t generation) {
  return fmt::format("{}/{}{:06}", data_dir, kNamePrefix, generation);
}

std::uint64_t ParseGenerationName(std::string_view name) {
  if (!name.starts_with(kNamePrefix)) {
    return 0;
  }
  const std::string_view digits = name.substr(kNamePrefix.size());
  std::uint64_t generation = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), generation);
  // Only the very name that GenerationPath makes.
  return error == std::errc() && end == digits.end() && digits.size() >= 6 &&
                 name == fmt::format("{}{:06}", kNamePrefix, generation)
             ? generation
             : 0;
}

void RemoveGeneration(leveldb::Env* env, Disk* disk, const std::string& path) {
  std::vector<std::string> names;
  leveldb::Status status = env->GetChildren(path, &names);
  if (status.IsNotFound()) {
    return;
  }
  if (status.ok() && std::find(names.begin(), names.end(), "CURRENT") != names.end()) {
    status = env->RemoveFile(path + "/CURRENT");
    if (status.ok() && disk != nullptr) {
      status = disk->SyncDirectory(path);
    }
  }
  if (!status.ok()) {
    LOG(WARNING) << "snapshot_not_removed path=" << path << " error=\"" << status.ToString()
                 << "\"";
    return;
  }
  for (const std::string& name : names) {
    if (name != "CURRENT" && name != "." && name != "..") {
      (void)env->RemoveFile(path + "/" + name);
    }
  }
  status = env->RemoveDir(path);
  if (status.ok() && disk != nullptr) {
    status = disk->SyncDirectory(DirectoryOf(path));
  }
  LOG_IF(WARNING, !status.ok()) << "snapshot_not_removed path=" << path << " error=\""
                                << status.ToString() << "\"";
}

}  // namespace conclave::persist
