#include "persist/log_store.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/iterator.h>
#include <leveldb/write_batch.h>

#include "persist/slices.h"

namespace conclave::persist {

namespace {

// A Ready may hold megabytes; a reader of one entry should not have to decode all of them.
constexpr std::size_t kBatchValueBytes = 256 << 10;
constexpr raft::Index kIndexMax = ~raft::Index{0};
// Batches that one Write removes from the front, so that it stays short.
constexpr std::size_t kCompactBatchesMax = 4096;
// So much of what was compacted may take room before it is worth the work to get that back.
constexpr std::uint64_t kReclaimBytes = std::uint64_t{32} << 20U;

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
  auto written = Prepare(batch, &writes, &state);
  if (CONCLAVE_MUTANT(3) && written) {
    leveldb::WriteBatch first;
    first.Put(StateKey(state.last.index), EncodeState(state));
    written = db_->Commit(&first);
  }
  written = written.and_then([&] { return db_->Commit(&writes); });
  if (!written && !(CONCLAVE_MUTANT(30) && batch.truncateFrom != 0)) {
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

void LogStore::Reclaim() {
  if (compacted_bytes_.load(std::memory_order_acquire) >= kReclaimBytes) {
    compacted_bytes_.store(0, std::memory_order_release);
    db_->Reclaim(EntryKey(0), EntryKey(start().index + 1));
  }
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
    // Not always a higher one: while a snapshot is being received, a checkpoint may have made a
    // generation that was begun after it.
    CHECK_NE(batch.install->generation, state->generation);
    CHECK_GE(batch.install->meta.last.index, state->start.index);
    CHECK_LE(batch.install->meta.last.index, state->last.index);
    if (auto fits = CheckInstall(batch, *state); !fits) {
      return fits;
    }
    state->generation = batch.install->generation;
  }
  if (batch.compactThrough != 0) {
    CHECK_NE(state->generation, 0U) << "no snapshot stands for what is to be removed";
    compact_through_ = std::max(compact_through_, batch.compactThrough);
  }
  Compact(writes, state);
  if (state->start != state_.start) {
    PutStart(writes, *state);
    writes->Delete(StateKey(state_.start.index));  // There if the log was ever empty.
  }
  if (batch.hardState) {
    CHECK_GE(batch.hardState->currentTerm, state->hard.currentTerm);
    state->hard = *batch.hardState;
  }
  CHECK_LE(state->last.term, state->hard.currentTerm);
  writes->Put(StateKey(state->last.index), EncodeState(*state));  // Behind all deletions.
  return {};
}

// Log Matching makes the snapshot's end the same entry here, or one of the two is damaged.
tl::expected<void, Error> LogStore::CheckInstall(const LogBatch& batch,
                                                 const StoredState& state) const {
  const raft::SnapshotMeta& meta = batch.install->meta;
  raft::EntryId id = state.start;
  std::uint64_t chain = state.start_chain;
  if (meta.last.index != state.start.index) {
    const bool appended = !batch.append.empty() && batch.append.front().index <= meta.last.index;
    std::vector<raft::Entry> stored;
    if (!appended) {
      auto read = Read(meta.last.index, meta.last.index, 0);
      if (!read) {
        return tl::unexpected(Error{ErrorKind::kDamaged, read.error()});
      }
      stored = std::move(*read);
    }
    const raft::Entry& entry =
        appended ? batch.append[meta.last.index - batch.append.front().index] : stored.front();
    id = entry.id();
    chain = entry.chain;
  }
  if (id != meta.last || chain != meta.chain) {
    return Damaged(
        fmt::format("the snapshot to be installed ends at entry {} of term {}, which is "
                    "another entry here",
                    meta.last.index, meta.last.term));
  }
  return {};
}

void LogStore::Reset(const raft::SnapshotMeta& to, leveldb::WriteBatch* writes,
                     StoredState* state) {
  CHECK_GT(to.last.index, state->start.index);
  for (const StoredBatch& batch : batches_) {
    if (!CONCLAVE_MUTANT(24)) {
      Remove(batch, writes);
    }
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

// A batch, and the state of the write that ended with it if there is one.
void LogStore::Remove(const StoredBatch& batch, leveldb::WriteBatch* writes) {
  writes->Delete(EntryKey(batch.first));
  writes->Delete(StateKey(batch.last.index));
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
    Remove(batches_.back(), writes);
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
    Remove(last, writes);
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
      bytes += raft::EncodedBytes(entry);
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
    Remove(batch, writes);
    state->log_bytes -= batch.bytes;
    compacted_bytes_.fetch_add(batch.bytes, std::memory_order_acq_rel);
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
  // The batch that holds `first` is the last one whose key is not behind it.
  SeekBefore(EntryKey(first + 1), it.get());
  while (it->Valid() && ParseStateKey(AsView(it->key()))) {
    it->Prev();
  }
  for (raft::Index next = first; next <= last; it->Next()) {
    // A bad block is passed over, and what it replaced long ago may come to light.
    if (!it->status().ok()) {
      return bad(it->status().ToString());
    }
    if (it->Valid() && ParseStateKey(AsView(it->key()))) {
      continue;
    }
    if (!it->Valid() || !it->key().starts_with("e")) {
      return bad(fmt::format("entry {} is missing", next));
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
