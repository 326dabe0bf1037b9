#include "persist/log_store.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/options.h>
#include <leveldb/write_batch.h>

namespace conclave::persist {

namespace {

// A Ready may hold megabytes; a reader of one entry should not have to decode all of them.
constexpr std::size_t kBatchValueBytes = 256 << 10;
constexpr raft::Index kIndexMax = ~raft::Index{0};

leveldb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

std::string_view AsView(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

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

LogStore::LogStore(Options options) : options_(std::move(options)) {}

LogStore::~LogStore() {
  if (db_ != nullptr) {
    Drain();
    db_.reset();
  }
}

void LogStore::Drain() const {
  if (options_.storage.background == StorageEnv::Background::kQueued) {
    storage_->DrainBackground();
  }
}

tl::unexpected<Error> LogStore::Damaged(const std::string& what) const {
  return tl::unexpected(Error{
      ErrorKind::kDamaged, fmt::format("The log in {} is damaged: {}. {}", directory_->database(),
                                       what, DamageRemedy(options_.data_dir))});
}

// --- Open ---

tl::expected<std::unique_ptr<LogStore>, Error> LogStore::Open(Options options) {
  CHECK(options.env != nullptr && options.random != nullptr);
  CHECK_NE(options.member, 0U);
  std::unique_ptr<LogStore> store(new LogStore(std::move(options)));
  return store->PrepareDirectory()
      .and_then([&] { return store->OpenDatabase(); })
      .and_then([&] { return store->LoadIdentity(); })
      .and_then([&] { return store->LoadState(); })
      .and_then([&] { return store->LoadEntries(); })
      .map([&] { return std::move(store); });
}

tl::expected<void, Error> LogStore::PrepareDirectory() {
  const std::string& name = options_.cluster_name;
  if (name.empty() ||
      std::any_of(name.begin(), name.end(), [](char c) { return c >= 0 && c < 32; })) {
    return tl::unexpected(
        Error{ErrorKind::kWrongIdentity, "--cluster_name is empty or holds a control character."});
  }
  auto directory = DataDirectory::Acquire(options_.env, options_.disk, options_.data_dir);
  if (!directory) {
    return tl::unexpected(directory.error());
  }
  directory_ = std::move(*directory);
  if (directory_->identity()) {
    // Before anything is opened: another member's directory stays exactly as it is.
    return CheckIdentity(*directory_->identity(), options_.member, options_.cluster_name,
                         options_.data_dir);
  }
  return {};
}

tl::expected<void, Error> LogStore::OpenDatabase() {
  if (directory_->has_database()) {
    auto repair = CheckDatabaseFiles(options_.env, options_.disk, directory_->database());
    if (!repair) {
      return tl::unexpected(repair.error());
    }
    repair_ = std::move(*repair);
  }
  storage_ = std::make_unique<StorageEnv>(options_.env, options_.disk, options_.storage);
  cache_.reset(leveldb::NewLRUCache(options_.block_cache_bytes));
  logger_ = std::make_unique<VerboseLogger>();
  leveldb::Options db_options;
  db_options.env = storage_.get();
  db_options.info_log = logger_.get();
  db_options.block_cache = cache_.get();
  // Never over something: a database that lost its CURRENT would be made anew, empty.
  db_options.create_if_missing = !directory_->has_database();
  db_options.error_if_exists = false;
  db_options.paranoid_checks = true;
  db_options.compression = leveldb::kNoCompression;
  db_options.reuse_logs = false;
  db_options.write_buffer_size = options_.write_buffer_bytes;
  db_options.max_open_files = options_.open_files_max;
  leveldb::DB* db = nullptr;
  leveldb::Status status = leveldb::DB::Open(db_options, directory_->database(), &db);
  db_.reset(db);
  Drain();
  if (!storage_->failure().ok()) {
    status = storage_->failure();  // The cause; LevelDB may have passed over it to a later symptom.
  }
  if (status.IsCorruption() || status.IsInvalidArgument()) {
    return Damaged(status.ToString());
  }
  if (!status.ok()) {
    return tl::unexpected(IoError("cannot open " + directory_->database(), status));
  }
  return {};
}

tl::expected<bool, Error> LogStore::Get(const leveldb::Slice& key, std::string* value) {
  const leveldb::Status status = db_->Get(Verified(true), key, value);
  if (status.IsNotFound()) {
    return false;
  }
  if (status.IsCorruption()) {
    return Damaged(status.ToString());
  }
  if (!status.ok()) {
    return tl::unexpected(IoError("cannot read " + directory_->database(), status));
  }
  return true;
}

tl::expected<void, Error> LogStore::LoadIdentity() {
  std::string text;
  const auto found = Get(AsSlice(kIdentityKey), &text);
  if (!found) {
    return tl::unexpected(found.error());
  }
  if (*found) {
    auto identity = DecodeIdentity(text, directory_->database() + " key m/identity");
    if (!identity) {
      return tl::unexpected(identity.error());
    }
    return Found(*identity);
  }
  // Nothing was ever acknowledged from a database that is not signed, so one that was being made
  // when the process stopped may be made to the end, under a new incarnation.
  const auto empty = IsEmpty();
  if (!empty) {
    return tl::unexpected(empty.error());
  }
  if (!*empty || directory_->identity()) {
    return Damaged("it holds no identity");
  }
  return Sign();
}

tl::expected<bool, Error> LogStore::IsEmpty() {
  const std::unique_ptr<leveldb::Iterator> all(db_->NewIterator(Verified(false)));
  all->Seek(leveldb::Slice());  // From the first key on; only ever done on an unsigned database.
  if (!all->status().ok()) {
    return Damaged(all->status().ToString());
  }
  return !all->Valid();
}

tl::expected<void, Error> LogStore::Found(const Identity& identity) {
  if (auto checked =
          CheckIdentity(identity, options_.member, options_.cluster_name, options_.data_dir);
      !checked) {
    return checked;
  }
  identity_ = identity;
  if (!directory_->identity()) {
    LOG(WARNING) << "identity_rewritten data_dir=" << options_.data_dir
                 << " (the file IDENTITY was missing; the database has it)";
    return directory_->WriteIdentity(identity);
  }
  if (*directory_->identity() != identity) {
    return Damaged(
        "IDENTITY beside it names another incarnation, so it was put together from two "
        "directories");
  }
  return {};
}

tl::expected<void, Error> LogStore::Sign() {
  is_new_ = true;
  identity_.member = options_.member;
  identity_.cluster_name = options_.cluster_name;
  while (identity_.incarnation == 0) {
    identity_.incarnation = options_.random->Next();
  }
  leveldb::WriteBatch writes;
  writes.Put(AsSlice(kIdentityKey), EncodeIdentity(identity_));
  writes.Put(AsSlice(kStateKey), EncodeState(state_));
  return Commit(&writes).and_then([&] { return directory_->WriteIdentity(identity_); });
}

tl::expected<void, Error> LogStore::LoadState() {
  std::string value;
  const auto found = Get(AsSlice(kStateKey), &value);
  if (!found) {
    return tl::unexpected(found.error());
  }
  if (!*found) {
    return Damaged("it holds no hard state");
  }
  auto state = DecodeState(value);
  if (!state) {
    return Damaged("the hard state " + state.error());
  }
  state_ = *state;
  start_ = state_.start;
  start_chain_ = state_.start_chain;
  if (state_.last < state_.start || state_.last.term > state_.hard.currentTerm) {
    return Damaged(fmt::format("the hard state (term {}) does not fit the log's end (term {})",
                               state_.hard.currentTerm, state_.last.term));
  }
  return {};
}

tl::expected<void, Error> LogStore::LoadEntries() {
  walked_.last = start_;
  walked_.last_chain = start_chain_;
  const std::unique_ptr<leveldb::Iterator> it(db_->NewIterator(Verified(false)));
  // From "e" on, not from the first entry: a key before it would be damage too.
  for (it->Seek("e"); it->Valid() && it->key().starts_with("e"); it->Next()) {
    const raft::Index first = ParseEntryKey(AsView(it->key()));
    if (first != walked_.last.index + 1) {
      return Damaged(fmt::format("after entry {} comes entry {}", walked_.last.index, first));
    }
    auto batch = DecodeBatch(first, AsView(it->value()));
    if (!batch) {
      return Damaged(batch.error());
    }
    if (auto checked = CheckBatch(*batch, it->value().size()); !checked) {
      return checked;
    }
    KeepForRestore(std::move(batch->entries));
  }
  // An iterator that met a bad block ends as if there were no more.
  if (!it->status().ok()) {
    return Damaged(it->status().ToString());
  }
  if (walked_.last != state_.last || walked_.last_chain != state_.last_chain ||
      walked_.log_bytes != state_.log_bytes) {
    return Damaged(
        fmt::format("it ends at entry {} of term {}, but entry {} of term {} was the last",
                    walked_.last.index, walked_.last.term, state_.last.index, state_.last.term));
  }
  restored_.hardState = state_.hard;
  restored_.start = start_;
  restored_.start_chain = start_chain_;
  restored_.last = state_.last;
  restored_.commitIndex = start_.index;
  restored_.lastApplied = start_.index;
  last_index_.store(state_.last.index, std::memory_order_release);
  log_bytes_.store(state_.log_bytes, std::memory_order_release);
  return {};
}

tl::expected<void, Error> LogStore::CheckBatch(const DecodedBatch& batch, std::size_t value_bytes) {
  const raft::Entry& first = batch.entries.front();
  const raft::Entry& last = batch.entries.back();
  if (batch.previous_chain != walked_.last_chain) {
    return Damaged(
        fmt::format("entry {} does not continue the chain of its predecessors", first.index));
  }
  if (first.term < walked_.last.term || last.term > state_.hard.currentTerm) {
    return Damaged(fmt::format("entry {} is of a term out of order", first.index));
  }
  for (const raft::Entry& entry : batch.entries) {
    if (entry.kind != raft::EntryKind::kConfig) {
      continue;
    }
    auto configuration = raft::Configuration::Decode(*entry.data);
    if (!configuration) {
      return Damaged(
          fmt::format("entry {} holds a configuration that cannot be read", entry.index));
    }
    restored_.configurations.push_back({entry.index, std::move(*configuration)});
  }
  walked_.last = last.id();
  walked_.last_chain = last.chain;
  walked_.log_bytes += value_bytes;
  return {};
}

void LogStore::KeepForRestore(std::vector<raft::Entry> entries) {
  for (raft::Entry& entry : entries) {
    restored_bytes_ += raft::EntryBytes(entry);
    restored_.tail.push_back(std::move(entry));
  }
  // Dropped in halves, so that moving what is left stays in proportion.
  if (restored_bytes_ < 2 * options_.restored_tail_bytes) {
    return;
  }
  auto keep = restored_.tail.begin();
  while (restored_bytes_ > options_.restored_tail_bytes && keep + 1 != restored_.tail.end()) {
    restored_bytes_ -= raft::EntryBytes(*keep++);
  }
  restored_.tail.erase(restored_.tail.begin(), keep);
}

raft::Restored LogStore::TakeRestored() { return std::move(restored_); }

// --- Write ---

tl::expected<void, Error> LogStore::Commit(leveldb::WriteBatch* writes) {
  leveldb::WriteOptions synced;
  synced.sync = true;
  leveldb::Status status = db_->Write(synced, writes);
  Drain();
  if (status.ok()) {
    // LevelDB 1.23 forgets some failures by the next write (of an append, of background work). The
    // StorageEnv does not, and nothing is acknowledged after one.
    status = storage_->failure();
  }
  if (!status.ok()) {
    return tl::unexpected(IoError(
        "cannot write the log in " + directory_->database() +
            " (nothing that was not acknowledged before may be relied on; the server must stop)",
        status));
  }
  return {};
}

tl::expected<void, Error> LogStore::Write(const LogBatch& batch) {
  if (failed_) {
    return tl::unexpected(*failed_);
  }
  if (batch.empty()) {
    return {};
  }
  StoredState state = state_;
  leveldb::WriteBatch writes;
  if (batch.truncateFrom != 0) {
    if (auto truncated = Truncate(batch.truncateFrom, &writes, &state); !truncated) {
      failed_ = truncated.error();
      return truncated;
    }
  }
  Append(batch.append, &writes, &state);
  if (batch.hardState) {
    CHECK_GE(batch.hardState->currentTerm, state.hard.currentTerm);
    state.hard = *batch.hardState;
  }
  CHECK_LE(state.last.term, state.hard.currentTerm);
  writes.Put(AsSlice(kStateKey), EncodeState(state));
  if (auto committed = Commit(&writes); !committed) {
    failed_ = committed.error();
    LOG(ERROR) << "log_write_failed data_dir=" << options_.data_dir << " error=\""
               << failed_->message << "\"";
    return committed;
  }
  state_ = state;
  log_bytes_.store(state.log_bytes, std::memory_order_release);
  last_index_.store(state.last.index, std::memory_order_release);
  return {};
}

// Deletes the keys of whole batches from `from` on and writes again the one that `from` cuts.
tl::expected<void, Error> LogStore::Truncate(raft::Index from, leveldb::WriteBatch* writes,
                                             StoredState* state) {
  CHECK_GT(from, start_.index);
  CHECK_LE(from, state->last.index + 1);
  if (from == state->last.index + 1) {
    return {};
  }
  const std::unique_ptr<leveldb::Iterator> it(db_->NewIterator(Verified(true)));
  for (it->Seek(EntryKey(from)); it->Valid() && it->key().starts_with("e"); it->Next()) {
    writes->Delete(it->key());
    state->log_bytes -= it->value().size();
  }
  if (!it->status().ok()) {
    return Damaged(it->status().ToString());
  }
  state->last = start_;
  state->last_chain = start_chain_;
  if (from == start_.index + 1) {
    return {};
  }
  it->Seek(EntryKey(from));
  if (it->Valid()) {
    it->Prev();  // m/state follows all entries, so there is always something to step back from.
  }
  const raft::Index first = it->Valid() ? ParseEntryKey(AsView(it->key())) : 0;
  auto batch = DecodeBatch(first, it->Valid() ? AsView(it->value()) : std::string_view());
  if (!batch || batch->entries.back().index + 1 < from) {
    return Damaged(batch ? fmt::format("entry {} is missing", from - 1) : batch.error());
  }
  const auto count = static_cast<std::size_t>(from - first);
  if (count < batch->entries.size()) {
    const std::string cut = CutBatch(AsView(it->value()), *batch, count);
    state->log_bytes -= it->value().size() - cut.size();
    writes->Put(it->key(), cut);
  }
  state->last = batch->entries[count - 1].id();
  state->last_chain = batch->entries[count - 1].chain;
  return {};
}

void LogStore::Append(const std::vector<raft::Entry>& entries, leveldb::WriteBatch* writes,
                      StoredState* state) {
  std::span<const raft::Entry> rest(entries);
  while (!rest.empty()) {
    const std::uint64_t previous_chain = state->last_chain;
    const raft::Index first = rest.front().index;
    std::size_t count = 0;
    std::size_t bytes = kBatchHeaderBytes;
    while (count < rest.size() && (count == 0 || bytes < kBatchValueBytes)) {
      const raft::Entry& entry = rest[count++];
      CHECK_EQ(entry.index, state->last.index + 1);
      CHECK_GE(entry.term, state->last.term);
      CHECK_EQ(entry.chain, raft::ChainHash(state->last_chain, entry)) << entry.index;
      state->last = entry.id();
      state->last_chain = entry.chain;
      bytes += EncodedEntryBytes(entry);
    }
    const std::string value = EncodeBatch(previous_chain, rest.first(count));
    writes->Put(EntryKey(first), value);
    state->log_bytes += value.size();
    rest = rest.subspan(count);
  }
}

// --- Read ---

tl::expected<std::vector<raft::Entry>, std::string> LogStore::Read(raft::Index first,
                                                                   raft::Index last,
                                                                   std::size_t bytes_max) const {
  CHECK_GT(first, start_.index);
  CHECK_LE(first, last);
  CHECK_LT(last, kIndexMax);
  const auto bad = [&](const std::string& what) {
    return tl::unexpected(Damaged(what).value().message);
  };
  std::vector<raft::Entry> result;
  std::size_t bytes = 0;
  const std::unique_ptr<leveldb::Iterator> it(db_->NewIterator(Verified(true)));
  // The batch that holds `first` is the last one whose key is not behind it; m/state follows all.
  it->Seek(EntryKey(first + 1));
  if (it->Valid()) {
    it->Prev();
  }
  for (raft::Index next = first; next <= last; it->Next()) {
    if (!it->Valid() || !it->key().starts_with("e")) {
      return bad(it->status().ok() ? fmt::format("entry {} is missing", next)
                                   : it->status().ToString());
    }
    const raft::Index key = ParseEntryKey(AsView(it->key()));
    auto batch = DecodeBatch(key, AsView(it->value()));
    if (!batch) {
      return bad(batch.error());
    }
    if (key > next || batch->entries.back().index < next) {
      return bad(fmt::format("entry {} is missing", next));
    }
    if (!result.empty() && batch->previous_chain != result.back().chain) {
      return bad(fmt::format("entry {} does not continue the chain of its predecessors", next));
    }
    for (auto entry = batch->entries.begin() + static_cast<std::ptrdiff_t>(next - key);
         entry != batch->entries.end() && next <= last; ++entry, ++next) {
      bytes += raft::EntryBytes(*entry);
      if (!result.empty() && bytes > bytes_max) {
        return result;
      }
      result.push_back(std::move(*entry));
    }
  }
  return result;
}

tl::expected<raft::Term, std::string> LogStore::TermAt(raft::Index index) const {
  if (index == start_.index) {
    return start_.term;
  }
  return Read(index, index, 0).map([](const std::vector<raft::Entry>& e) { return e[0].term; });
}

leveldb::Status LogStore::failure() const { return storage_->failure(); }

}  // namespace conclave::persist
