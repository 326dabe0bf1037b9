#include "persist/snapshot_builder.h"

#include <optional>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/iterator.h>

#include "persist/slices.h"
#include "persist/snapshot_database.h"

namespace conclave::persist {

namespace {

tl::unexpected<Error> BadTransfer(const std::string& what) {
  return tl::unexpected(Error{ErrorKind::kTransfer, "A snapshot was received of which " + what});
}

// The rows of an old generation, to be merged with a change.
class OldRows {
 public:
  explicit OldRows(const Database& db) : db_(db), rows_(db.NewIterator(false)) {
    rows_->Seek(AsSlice(std::string_view(&kRowPrefix, 1)));
  }

  OldRows(const OldRows&) = delete;
  OldRows& operator=(const OldRows&) = delete;
  OldRows(OldRows&&) = delete;
  OldRows& operator=(OldRows&&) = delete;
  ~OldRows() = default;

  // The next row, verified; nothing at the end. Valid until the next call of Next.
  tl::expected<std::optional<Row>, Error> Peek() {
    if (!rows_->Valid() || rows_->key()[0] != kRowPrefix) {
      if (!rows_->status().ok()) {
        return tl::unexpected(db_.ReadError(rows_->status()));
      }
      return std::nullopt;
    }
    const auto row = DecodeRow(AsView(rows_->key()).substr(1), AsView(rows_->value()));
    if (!row) {
      return tl::unexpected(db_.Damaged("a row " + row.error()));
    }
    return *row;
  }

  // Past `row`, which Peek gave.
  void Next(const Row& row) {
    totals_.Add(row.key, row.value, row.checksum);
    rows_->Next();
  }

  const RowTotals& totals() const { return totals_; }

 private:
  const Database& db_;
  const std::unique_ptr<leveldb::Iterator> rows_;
  RowTotals totals_;
};

}  // namespace

// --- SnapshotBuilder ---

SnapshotBuilder::SnapshotBuilder(SnapshotOptions options, std::uint64_t generation,
                                 std::unique_ptr<Database> db)
    : options_(std::move(options)), generation_(generation), db_(std::move(db)) {}

SnapshotBuilder::~SnapshotBuilder() = default;

tl::expected<std::unique_ptr<SnapshotBuilder>, Error> SnapshotBuilder::Create(
    const SnapshotOptions& options, std::uint64_t generation) {
  return OpenSnapshotDatabase(options, generation, /*create=*/true)
      .map([&](std::unique_ptr<Database> db) {
        return std::unique_ptr<SnapshotBuilder>(
            new SnapshotBuilder(options, generation, std::move(db)));
      });
}

void SnapshotBuilder::Add(const Row& row) {
  writes_.Put(StoredRowKey(row.key), StoredRowValue(row.value, row.checksum));
  totals_.Add(row.key, row.value, row.checksum);
}

void SnapshotBuilder::CommitIfLarge() {
  if (state_ && writes_.ApproximateSize() >= options_.build_batch_bytes) {
    state_ = db_->Commit(&writes_);
    writes_.Clear();
  }
}

tl::expected<void, Error> SnapshotBuilder::Merge(const SnapshotStore* old,
                                                 const RowSource& changes) {
  std::optional<OldRows> rows;
  if (old != nullptr) {
    rows.emplace(old->database());
  }
  // Takes over old rows before `key` (of all with nothing), and drops an old row `key`.
  const auto advance = [&](std::optional<std::string_view> key) {
    while (rows && state_) {
      const auto row = rows->Peek();
      if (!row) {
        state_ = tl::unexpected(row.error());
        return;
      }
      if (!*row || (key && (*row)->key > *key)) {
        return;
      }
      const bool replaced = key && (*row)->key == *key;
      if (!replaced) {
        Add(**row);
      }
      rows->Next(**row);
      CommitIfLarge();
      if (replaced) {
        return;
      }
    }
  };
  std::string last_key;
  changes([&](std::string_view key, std::optional<std::string_view> value) {
    CHECK(key > last_key) << "rows out of order";
    last_key = key;
    advance(key);
    if (state_ && value) {
      Add({key, *value, RowChecksum(key, *value)});
      CommitIfLarge();
    }
  });
  advance(std::nullopt);
  if (state_ && rows && rows->totals() != old->info().totals) {
    state_ = tl::unexpected(old->database().Damaged("its rows are not the ones that were written"));
  }
  return state_;
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotBuilder::Finish(
    const raft::SnapshotMeta& meta, std::string_view digest) {
  return Complete({meta, std::string(digest), totals_});
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotBuilder::Complete(SnapshotInfo info) {
  if (!state_) {
    return tl::unexpected(state_.error());
  }
  if (writes_.ApproximateSize() > leveldb::WriteBatch().ApproximateSize()) {
    if (auto committed = db_->Commit(&writes_); !committed) {
      return tl::unexpected(committed.error());
    }
    writes_.Clear();
  }
  {
    const std::unique_ptr<leveldb::Iterator> rows = db_->NewIterator(false);
    if (auto verified = VisitRows(*db_, rows.get(), info.totals,
                                  [](const Row& /*row*/) { return tl::expected<void, Error>(); });
        !verified) {
      return tl::unexpected(verified.error());
    }
  }
  leveldb::WriteBatch completion;
  completion.Put(AsSlice(kInfoKey), EncodeInfo(info));
  if (auto committed = db_->Commit(&completion); !committed) {
    return tl::unexpected(committed.error());
  }
  return std::shared_ptr<SnapshotStore>(
      new SnapshotStore(options_, generation_, std::move(db_), std::move(info)));
}

// --- SnapshotReceiver ---

SnapshotReceiver::SnapshotReceiver(std::unique_ptr<SnapshotBuilder> builder,
                                   TransferProgress progress)
    : builder_(std::move(builder)), progress_(std::move(progress)) {}

SnapshotReceiver::~SnapshotReceiver() = default;

tl::expected<std::unique_ptr<SnapshotReceiver>, Error> SnapshotReceiver::Resume(
    const SnapshotOptions& options, std::uint64_t generation) {
  const std::string path = GenerationPath(options.data_dir, generation);
  if (!options.env->FileExists(path + "/CURRENT")) {
    return BadTransfer(fmt::format("nothing is left in {}", path));
  }
  auto db = OpenSnapshotDatabase(options, generation, /*create=*/false);
  if (!db) {
    return tl::unexpected(db.error());
  }
  std::string bytes;
  const auto found = (*db)->Get(kProgressKey, &bytes);
  if (!found) {
    return tl::unexpected(found.error());
  }
  auto progress = DecodeProgress(bytes);
  if (!*found || !progress) {
    return BadTransfer(fmt::format("{} says nothing of use", path));
  }
  return std::unique_ptr<SnapshotReceiver>(new SnapshotReceiver(
      std::unique_ptr<SnapshotBuilder>(new SnapshotBuilder(options, generation, std::move(*db))),
      std::move(*progress)));
}

tl::expected<void, Error> SnapshotReceiver::Append(std::string_view chunk, std::uint64_t checksum) {
  if (ChunkChecksum(chunk) != checksum) {
    return BadTransfer("a chunk has a wrong checksum");
  }
  leveldb::WriteBatch writes;
  TransferProgress next = progress_;
  while (!chunk.empty()) {
    const auto row = TakeChunkRow(&chunk);
    if (!row) {
      return BadTransfer("a row " + row.error());
    }
    if (row->key <= next.last_key) {
      return BadTransfer("a chunk does not follow what is there");
    }
    next.last_key = row->key;
    next.totals.Add(row->key, row->value, row->checksum);
    writes.Put(StoredRowKey(row->key), StoredRowValue(row->value, row->checksum));
  }
  writes.Put(AsSlice(kProgressKey), EncodeProgress(next));
  if (auto committed = builder_->db_->Commit(&writes); !committed) {
    return committed;
  }
  progress_ = std::move(next);
  return {};
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotReceiver::Finish() {
  if (progress_.totals != progress_.source.totals) {
    return Abandon(fmt::format("{} rows came instead of {}, or not the ones announced",
                               progress_.totals.rows, progress_.source.totals.rows));
  }
  auto completed = builder_->Complete(progress_.source);
  if (!completed && completed.error().kind == ErrorKind::kDamaged) {
    // Rot in what does not count yet is no harm to this member.
    return Abandon("the copy here has gone bad: " + completed.error().message);
  }
  return completed;
}

// What is there is not to be gone on with.
tl::unexpected<Error> SnapshotReceiver::Abandon(const std::string& why) {
  leveldb::WriteBatch writes;
  writes.Delete(AsSlice(kProgressKey));
  if (auto committed = builder_->db_->Commit(&writes); !committed) {
    return tl::unexpected(committed.error());
  }
  return BadTransfer(why);
}

}  // namespace conclave::persist
