#include "persist/log_store.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/iterator.h>
#include <leveldb/write_batch.h>

namespace conclave::persist {

namespace {

// A Ready may hold megabytes; a reader of one entry should not have to decode all of them.
constexpr std::size_t kBatchValueBytes = 256 << 10;
constexpr raft::Index kIndexMax = ~raft::Index{0};
// Batches that one Write removes from the front, so that it stays short.
constexpr std::size_t kCompactBatchesMax = 4096;

leveldb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

std::string_view AsView(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace

LogStore::LogStore(Options options) : options_(std::move(options)) {}

LogStore::~LogStore() = default;

tl::unexpected<Error> LogStore::Damaged(const std::string& what) const {
  return tl::unexpected(db_->Damaged(what));
}

raft::EntryId LogStore::start() const {
  const std::lock_guard lock(start_mutex_);
  return start_;
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
      .and_then([&] { return store->LoadStart(); })
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
  Database::Options options;
  options.env = options_.env;
  options.disk = options_.disk;
  options.storage = options_.storage;
  options.path = directory_->database();
  options.name = "log";
  options.create = !directory_->has_database();
  options.write_buffer_bytes = options_.write_buffer_bytes;
  options.block_cache_bytes = options_.block_cache_bytes;
  options.open_files_max = options_.open_files_max;
  auto opened = Database::Open(std::move(options));
  if (!opened) {
    return tl::unexpected(opened.error());
  }
  db_ = std::move(*opened);
  return {};
}

tl::expected<void, Error> LogStore::LoadIdentity() {
  std::string text;
  const auto found = db_->Get(kIdentityKey, &text);
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
  const std::unique_ptr<leveldb::Iterator> all = db_->NewIterator(false);
  all->Seek(leveldb::Slice());  // From the first key on; only ever done on an unsigned database.
  if (!all->status().ok()) {
    return tl::unexpected(db_->ReadError(all->status()));
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
  return db_->Commit(&writes).and_then([&] { return directory_->WriteIdentity(identity_); });
}

tl::expected<void, Error> LogStore::LoadState() {
  std::string value;
  const auto found = db_->Get(kStateKey, &value);
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
  if (state_.last < state_.start || state_.last.term > state_.hard.currentTerm) {
    return Damaged(fmt::format("the hard state (term {}) does not fit the log's end (term {})",
                               state_.hard.currentTerm, state_.last.term));
  }
  if (state_.start.index != 0 && state_.generation == 0) {
    return Damaged(fmt::format("it starts at {} and no snapshot stands for what was before",
                               state_.start.index));
  }
  return {};
}

tl::expected<void, Error> LogStore::LoadStart() {
  if (state_.start.index == 0) {
    return {};
  }
  std::string value;
  const auto found = db_->Get(kStartKey, &value);
  if (!found) {
    return tl::unexpected(found.error());
  }
  auto configuration = *found ? DecodeStart(state_.start.index, value)
                              : tl::expected<raft::IndexedConfiguration, std::string>(
                                    tl::unexpected(std::string("is missing")));
  if (!configuration) {
    return Damaged("the configuration at its start " + configuration.error());
  }
  if (!configuration->configuration.members.empty()) {
    configurations_.push_back(std::move(*configuration));
  }
  return {};
}

tl::expected<void, Error> LogStore::LoadEntries() {
  walked_.last = state_.start;
  walked_.last_chain = state_.start_chain;
  const std::unique_ptr<leveldb::Iterator> it = db_->NewIterator(false);
  // Never from "e": what compaction removed is passed over one by one there, and counts no more.
  for (it->Seek(EntryKey(state_.start.index + 1)); it->Valid() && it->key().starts_with("e");
       it->Next()) {
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
    return tl::unexpected(db_->ReadError(it->status()));
  }
  if (walked_.last != state_.last || walked_.last_chain != state_.last_chain ||
      walked_.log_bytes != state_.log_bytes) {
    return Damaged(
        fmt::format("it ends at entry {} of term {}, but entry {} of term {} was the last",
                    walked_.last.index, walked_.last.term, state_.last.index, state_.last.term));
  }
  restored_.hardState = state_.hard;
  restored_.start = state_.start;
  restored_.start_chain = state_.start_chain;
  restored_.last = state_.last;
  restored_.configurations.assign(configurations_.begin(), configurations_.end());
  restored_.commitIndex = state_.start.index;
  restored_.lastApplied = state_.start.index;
  generation_.store(state_.generation, std::memory_order_release);
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
    configurations_.push_back({entry.index, std::move(*configuration)});
  }
  batches_.push_back({first.index, value_bytes, last.id(), last.chain});
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

tl::expected<raft::Restored, Error> LogStore::TakeRestored(const raft::SnapshotMeta& checkpoint) {
  return CheckFits(checkpoint).map([&] {
    restored_.commitIndex = checkpoint.last.index;
    restored_.lastApplied = checkpoint.last.index;
    return std::move(restored_);
  });
}

tl::expected<void, Error> LogStore::CheckFits(const raft::SnapshotMeta& checkpoint) {
  const raft::EntryId last = checkpoint.last;
  if (last.index < state_.start.index || last.index > state_.last.index) {
    return Damaged(fmt::format("its snapshot ends at entry {}, but it has entries {} to {}",
                               last.index, state_.start.index + 1, state_.last.index));
  }
  raft::EntryId id = state_.start;
  std::uint64_t chain = state_.start_chain;
  if (last.index != state_.start.index) {
    const auto entry = Read(last.index, last.index, 0);
    if (!entry) {
      return tl::unexpected(Error{ErrorKind::kDamaged, entry.error()});
    }
    id = entry->front().id();
    chain = entry->front().chain;
  }
  if (id != last || chain != checkpoint.chain) {
    return Damaged(fmt::format("its snapshot ends at entry {} of term {}, which is of term {} here",
                               last.index, last.term, id.term));
  }
  const auto behind =
      std::find_if(configurations_.begin(), configurations_.end(),
                   [&](const auto& configuration) { return configuration.index > last.index; });
  if (behind != configurations_.begin() && *std::prev(behind) != checkpoint.configuration) {
    return Damaged(fmt::format("its snapshot has another configuration at entry {}", last.index));
  }
  return {};
}

// --- Write ---

tl::expected<void, Error> LogStore::Write(const LogBatch& batch) {
  if (failed_) {
    return tl::unexpected(*failed_);
  }
  if (batch.empty()) {
    return {};
  }
  StoredState state = state_;
  leveldb::WriteBatch writes;
  if (auto written = Prepare(batch, &writes, &state).and_then([&] { return db_->Commit(&writes); });
      !written) {
    failed_ = written.error();
    LOG(ERROR) << "log_write_failed data_dir=" << options_.data_dir << " error=\""
               << failed_->message << "\"";
    return written;
  }
  state_ = state;
  if (state.start != start()) {
    const std::lock_guard lock(start_mutex_);
    start_ = state.start;
  }
  generation_.store(state.generation, std::memory_order_release);
  log_bytes_.store(state.log_bytes, std::memory_order_release);
  last_index_.store(state.last.index, std::memory_order_release);
  return {};
}

tl::expected<void, Error> LogStore::Prepare(const LogBatch& batch, leveldb::WriteBatch* writes,
                                            StoredState* state) {
  if (batch.resetTo) {
    Reset(*batch.resetTo, writes, state);
  }
  if (batch.truncateFrom != 0) {
    if (auto truncated = Truncate(batch.truncateFrom, writes, state); !truncated) {
      return truncated;
    }
  }
  Append(batch.append, writes, state);
  if (batch.install) {
    CHECK_GT(batch.install->generation, state->generation);
    CHECK_GE(batch.install->meta.last.index, state->start.index);
    CHECK_LE(batch.install->meta.last.index, state->last.index);
    state->generation = batch.install->generation;
  }
  if (batch.compactThrough != 0) {
    CHECK_NE(state->generation, 0U) << "no snapshot stands for what is to be removed";
    compact_through_ = std::max(compact_through_, batch.compactThrough);
  }
  Compact(writes, state);
  if (state->start != state_.start) {
    PutStart(writes, *state);
  }
  if (batch.hardState) {
    CHECK_GE(batch.hardState->currentTerm, state->hard.currentTerm);
    state->hard = *batch.hardState;
  }
  CHECK_LE(state->last.term, state->hard.currentTerm);
  writes->Put(AsSlice(kStateKey), EncodeState(*state));
  return {};
}

void LogStore::Reset(const raft::SnapshotMeta& to, leveldb::WriteBatch* writes,
                     StoredState* state) {
  CHECK_GT(to.last.index, state->start.index);
  for (const StoredBatch& batch : batches_) {
    writes->Delete(EntryKey(batch.first));
  }
  batches_.clear();
  compact_through_ = 0;
  configurations_.clear();
  if (!to.configuration.configuration.members.empty()) {
    configurations_.push_back(to.configuration);
  }
  state->start = state->last = to.last;
  state->start_chain = state->last_chain = to.chain;
  state->log_bytes = 0;
}

// Deletes the keys of whole batches from `from` on and writes again the one that `from` cuts.
tl::expected<void, Error> LogStore::Truncate(raft::Index from, leveldb::WriteBatch* writes,
                                             StoredState* state) {
  CHECK_GT(from, state->start.index);
  CHECK_LE(from, state->last.index + 1);
  while (!configurations_.empty() && configurations_.back().index >= from) {
    configurations_.pop_back();
  }
  while (!batches_.empty() && batches_.back().first >= from) {
    writes->Delete(EntryKey(batches_.back().first));
    state->log_bytes -= batches_.back().bytes;
    batches_.pop_back();
  }
  if (!batches_.empty() && batches_.back().last.index >= from) {
    StoredBatch& last = batches_.back();
    std::string value;
    const auto found = db_->Get(EntryKey(last.first), &value);
    if (!found) {
      return tl::unexpected(found.error());
    }
    const auto batch = DecodeBatch(last.first, value);
    if (!batch || batch->entries.back().id() != last.last) {
      return Damaged(batch ? fmt::format("entry {} is missing", from - 1) : batch.error());
    }
    const auto count = static_cast<std::size_t>(from - last.first);
    const std::string cut = CutBatch(value, *batch, count);
    state->log_bytes -= last.bytes - cut.size();
    writes->Put(EntryKey(last.first), cut);
    last = {last.first, cut.size(), batch->entries[count - 1].id(),
            batch->entries[count - 1].chain};
  }
  state->last = batches_.empty() ? state->start : batches_.back().last;
  state->last_chain = batches_.empty() ? state->start_chain : batches_.back().last_chain;
  return {};
}

void LogStore::NoteConfiguration(const raft::Entry& entry) {
  if (entry.kind != raft::EntryKind::kConfig) {
    return;
  }
  auto configuration = raft::Configuration::Decode(*entry.data);
  CHECK(configuration) << entry.index;
  configurations_.push_back({entry.index, std::move(*configuration)});
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
      NoteConfiguration(entry);
      state->last = entry.id();
      state->last_chain = entry.chain;
      bytes += EncodedEntryBytes(entry);
    }
    const std::string value = EncodeBatch(previous_chain, rest.first(count));
    writes->Put(EntryKey(first), value);
    batches_.push_back({first, value.size(), state->last, state->last_chain});
    state->log_bytes += value.size();
    rest = rest.subspan(count);
  }
}

// Deletes whole batches up to compact_through_, and moves the start behind them.
void LogStore::Compact(leveldb::WriteBatch* writes, StoredState* state) {
  for (std::size_t i = 0; i < kCompactBatchesMax && !batches_.empty() &&
                          batches_.front().last.index <= compact_through_;
       ++i) {
    const StoredBatch& batch = batches_.front();
    writes->Delete(EntryKey(batch.first));
    state->log_bytes -= batch.bytes;
    state->start = batch.last;
    state->start_chain = batch.last_chain;
    batches_.pop_front();
  }
  while (configurations_.size() > 1 && configurations_[1].index <= state->start.index) {
    configurations_.pop_front();
  }
}

void LogStore::PutStart(leveldb::WriteBatch* writes, const StoredState& state) {
  const bool known = !configurations_.empty() && configurations_.front().index <= state.start.index;
  writes->Put(AsSlice(kStartKey),
              EncodeStart(state.start.index,
                          known ? configurations_.front() : raft::IndexedConfiguration{}));
}

// --- Read ---

tl::expected<std::vector<raft::Entry>, std::string> LogStore::Read(raft::Index first,
                                                                   raft::Index last,
                                                                   std::size_t bytes_max) const {
  CHECK_LE(first, last);
  CHECK_LT(last, kIndexMax);
  const auto bad = [&](const std::string& what) {
    return tl::unexpected(Damaged(what).value().message);
  };
  if (first < first_index()) {
    return tl::unexpected(fmt::format("entry {} of the log in {} is asked for, which was compacted",
                                      first, directory_->database()));
  }
  std::vector<raft::Entry> result;
  std::size_t bytes = 0;
  const std::unique_ptr<leveldb::Iterator> it = db_->NewIterator(true);
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
  if (const raft::EntryId before = start(); index == before.index) {
    return before.term;
  }
  return Read(index, index, 0).map([](const std::vector<raft::Entry>& e) { return e[0].term; });
}

}  // namespace conclave::persist
