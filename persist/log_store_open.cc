// The log store's opening: everything that is stored is read and checked.
#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/iterator.h>
#include <leveldb/write_batch.h>

#include "persist/log_store.h"
#include "persist/slices.h"

namespace conclave::persist {

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
  // As large as the file will get before LevelDB begins the next one.
  options.storage.log_spare_bytes =
      options_.storage.log_preallocate_bytes == 0
          ? 0
          : options_.write_buffer_bytes + options_.storage.log_preallocate_bytes / 4;
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
    auto identity = DecodeIdentity(text, directory_->database() + " key a/identity");
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
  writes.Put(StateKey(0), EncodeState(state_));
  return db_->Commit(&writes).and_then([&] { return directory_->WriteIdentity(identity_); });
}

tl::expected<void, Error> LogStore::LoadState() {
  // The newest one has the highest index: a truncation removes those behind its cut.
  const std::unique_ptr<leveldb::Iterator> it = db_->NewIterator(false);
  SeekBefore(kBehindEntries, it.get());
  while (it->Valid() && !ParseStateKey(AsView(it->key()))) {
    it->Prev();
  }
  if (!it->status().ok()) {
    return tl::unexpected(db_->ReadError(it->status()));
  }
  const auto index = it->Valid() ? ParseStateKey(AsView(it->key())) : std::optional<raft::Index>();
  if (!index) {
    return Damaged("it holds no hard state");
  }
  auto state = DecodeState(AsView(it->value()));
  if (!state) {
    return Damaged("the hard state " + state.error());
  }
  if (state->last.index != *index) {
    return Damaged(fmt::format("the hard state of entry {} is in the place of that of entry {}",
                               state->last.index, *index));
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
    if (ParseStateKey(AsView(it->key()))) {
      continue;  // Of the end of an earlier write.
    }
    const raft::Index first = ParseEntryKey(AsView(it->key()));
    if (first != walked_.last.index + 1) {
      return Damaged(fmt::format("after entry {} comes entry {}", walked_.last.index, first));
    }
    auto batch = DecodeBatch(first, AsView(it->value()));
    if (CONCLAVE_MUTANT(31) && !batch) {
      state_.last = walked_.last;
      state_.last_chain = walked_.last_chain;
      state_.log_bytes = walked_.log_bytes;
      break;
    }
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
  restored_.hardState = CONCLAVE_MUTANT(2) ? raft::HardState{} : state_.hard;
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
    return Damaged(
        fmt::format("its snapshot ends at entry {} of term {}, which is another entry here",
                    last.index, last.term));
  }
  const auto behind =
      std::find_if(configurations_.begin(), configurations_.end(),
                   [&](const auto& configuration) { return configuration.index > last.index; });
  if (behind != configurations_.begin() && *std::prev(behind) != checkpoint.configuration) {
    return Damaged(fmt::format("its snapshot has another configuration at entry {}", last.index));
  }
  return {};
}

}  // namespace conclave::persist
