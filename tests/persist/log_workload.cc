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
  if (batch.truncateFrom != 0 && batch.truncateFrom <= last_index()) {
    entries.resize(batch.truncateFrom - 1);
  }
  entries.insert(entries.end(), batch.append.begin(), batch.append.end());
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

std::string DifferenceByRead(const LogStore& store, const ModelLog& model) {
  if (store.last_index() != model.last_index()) {
    return fmt::format("last index {} instead of {}", store.last_index(), model.last_index());
  }
  for (raft::Index next = 1; next <= model.last_index();) {
    const auto read = store.Read(next, model.last_index(), 4096);
    if (!read) {
      return read.error();
    }
    for (const raft::Entry& entry : *read) {
      const std::string wrong = EntryDifference(entry, model.entries[next - 1]);
      if (!wrong.empty()) {
        return wrong;
      }
      ++next;
    }
  }
  return {};
}

std::string Difference(LogStore* store, const ModelLog& model) {
  const raft::Restored restored = store->TakeRestored();
  if (restored.hardState != model.hard) {
    return fmt::format("hard state of term {} instead of {}", restored.hardState.currentTerm,
                       model.hard.currentTerm);
  }
  const raft::EntryId last = model.entries.empty() ? raft::EntryId{} : model.entries.back().id();
  if (restored.last != last || restored.tail.empty() != model.entries.empty()) {
    return fmt::format("restored up to {} instead of {}", restored.last.index, last.index);
  }
  for (std::size_t i = 0; i < restored.tail.size(); ++i) {
    const std::size_t at = model.entries.size() - restored.tail.size() + i;
    const std::string wrong = EntryDifference(restored.tail[i], model.entries.at(at));
    if (!wrong.empty()) {
      return "in the tail: " + wrong;
    }
  }
  return DifferenceByRead(*store, model);
}

LogBatch LogWorkload::Next(const ModelLog& model) {
  const auto draw = [&](std::uint64_t n) { return random_() % n; };
  LogBatch batch;
  raft::HardState hard = model.hard;
  std::uint64_t chain = model.last_chain();
  raft::Index next = model.last_index() + 1;
  const bool truncate = !model.entries.empty() && draw(6) == 0;
  if (truncate) {
    const raft::Index depth = 1 + draw(std::min<std::uint64_t>(model.entries.size(), 7));
    batch.truncateFrom = next - depth;
    next = batch.truncateFrom;
    chain = next == 1 ? 0 : model.entries[next - 2].chain;
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
