#include "tests/persist/log_workload.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/format.h>

namespace conclave::persist::testing {

raft::Entry MakeEntry(std::uint64_t previous_chain, raft::Term term, raft::Index index,
                      const std::string& data) {
  raft::Entry entry;
  entry.term = term;
  entry.index = index;
  entry.kind = raft::EntryKind::kCommand;
  entry.data = std::make_shared<const std::string>(data);
  entry.chain = raft::ChainHash(previous_chain, entry);
  return entry;
}

void ModelLog::Apply(const LogBatch& batch) {
  if (batch.resetTo) {
    start = batch.resetTo->last;
    start_chain = batch.resetTo->chain;
    entries.clear();
    compacted = 0;
    committed = start.index;
  }
  if (batch.truncateFrom != 0 && batch.truncateFrom <= last_index()) {
    entries.resize(batch.truncateFrom - start.index - 1);
  }
  entries.insert(entries.end(), batch.append.begin(), batch.append.end());
  if (batch.install) {
    generation = batch.install->generation;
    committed = std::max(committed, batch.install->meta.last.index);
  }
  compacted = std::max(compacted, batch.compactThrough);
  if (batch.hardState) {
    hard = *batch.hardState;
  }
}

LogBatch ModelLog::Append(const std::string& data) const {
  LogBatch batch;
  const raft::Term term = hard.currentTerm == 0 ? 1 : hard.currentTerm;
  if (hard.currentTerm == 0) {
    batch.hardState = hard;
    batch.hardState->currentTerm = term;
  }
  batch.append.push_back(MakeEntry(last_chain(), term, last_index() + 1, data));
  return batch;
}

namespace {

std::string EntryDifference(const raft::Entry& got, const raft::Entry& want) {
  const bool same_data =
      got.data == nullptr || want.data == nullptr ? got.data == want.data : *got.data == *want.data;
  if (got.id() != want.id() || got.chain != want.chain || got.kind != want.kind || !same_data) {
    return fmt::format("entry {} of term {} where entry {} of term {} should be", got.index,
                       got.term, want.index, want.term);
  }
  return {};
}

}  // namespace

namespace {

// Of where the log begins and ends.
std::string BoundsDifference(const LogStore& store, const ModelLog& model) {
  if (store.last_index() != model.last_index()) {
    return fmt::format("last index {} instead of {}", store.last_index(), model.last_index());
  }
  if (store.generation() != model.generation) {
    return fmt::format("generation {} instead of {}", store.generation(), model.generation);
  }
  const raft::EntryId start = store.start();
  if (start.index < model.start.index ||
      start.index > std::max(model.compacted, model.start.index) ||
      start != model.IdAt(start.index)) {
    return fmt::format("start {} where at most {} was compacted and {} was the first", start.index,
                       model.compacted, model.start.index + 1);
  }
  return {};
}

}  // namespace

std::string DifferenceByRead(const LogStore& store, const ModelLog& model) {
  if (std::string wrong = BoundsDifference(store, model); !wrong.empty()) {
    return wrong;
  }
  for (raft::Index next = store.first_index(); next <= model.last_index();) {
    const auto read = store.Read(next, model.last_index(), 4096);
    if (!read) {
      return read.error();
    }
    for (const raft::Entry& entry : *read) {
      const std::string wrong = EntryDifference(entry, model.At(next));
      if (!wrong.empty()) {
        return wrong;
      }
      ++next;
    }
  }
  return {};
}

std::string Difference(LogStore* store, const ModelLog& model) {
  return Difference(*store, store->TakeRestored(), model);
}

std::string Difference(const LogStore& store, const raft::Restored& restored, const ModelLog& model,
                       bool read) {
  if (std::string wrong = read ? DifferenceByRead(store, model) : BoundsDifference(store, model);
      !wrong.empty()) {
    return wrong;
  }
  if (restored.hardState != model.hard) {
    return fmt::format("hard state of term {} instead of {}", restored.hardState.currentTerm,
                       model.hard.currentTerm);
  }
  if (restored.start != store.start() ||
      restored.start_chain != model.ChainAt(restored.start.index)) {
    return fmt::format("restored from {} with another chain", restored.start.index);
  }
  const bool empty = model.last_index() == restored.start.index;
  if (restored.last != model.last() || restored.tail.empty() != empty) {
    return fmt::format("restored up to {} instead of {}", restored.last.index, model.last_index());
  }
  for (std::size_t i = 0; i < restored.tail.size(); ++i) {
    const std::string wrong = EntryDifference(
        restored.tail[i], model.At(model.last_index() - restored.tail.size() + 1 + i));
    if (!wrong.empty()) {
      return "in the tail: " + wrong;
    }
  }
  return {};
}

LogBatch LogWorkload::Next(const ModelLog& model) {
  const auto draw = [&](std::uint64_t n) { return random_() % n; };
  LogBatch batch;
  raft::HardState hard = model.hard;
  std::uint64_t chain = model.last_chain();
  raft::Index next = model.last_index() + 1;
  const raft::Index floor = std::max(model.committed, model.start.index);
  const bool truncate = model.last_index() > floor && draw(6) == 0;
  if (truncate) {
    const raft::Index depth = 1 + draw(std::min<std::uint64_t>(model.last_index() - floor, 7));
    batch.truncateFrom = next - depth;
    next = batch.truncateFrom;
    chain = model.ChainAt(next - 1);
  }
  if (truncate || hard.currentTerm == 0 || draw(8) == 0) {
    ++hard.currentTerm;
    hard.votedFor = draw(4);
    hard.clusterStarted = true;
    batch.hardState = hard;
  }
  const std::uint64_t count = draw(5) == 0 ? draw(12) : 1 + draw(2);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string data(draw(data_bytes_max_ + 1), '\0');
    for (char& byte : data) {
      byte = static_cast<char>(random_());
    }
    batch.append.push_back(MakeEntry(chain, hard.currentTerm, next, data));
    chain = batch.append.back().chain;
    ++next;
  }
  return batch;
}

LogStore::Options SmallOptions(FaultEnv* env, raft::RandomSource* random) {
  LogStore::Options options;
  options.env = env;
  options.disk = env;
  options.storage.background = StorageEnv::Background::kQueued;
  options.storage.log_preallocate_bytes = 8 << 10;
  options.storage.now_micros = [env] { return env->NowMicros(); };
  options.data_dir = "/data";
  options.member = 1;
  options.cluster_name = "test";
  options.random = random;
  options.write_buffer_bytes = 64 << 10;
  options.block_cache_bytes = 64 << 10;
  options.restored_tail_bytes = 2 << 10;
  return options;
}

}  // namespace conclave::persist::testing
