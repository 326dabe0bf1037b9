// A Raft log as a test thinks of it, batches to write, and the comparison with what a store holds.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "consensus/types.h"
#include "persist/log_batch.h"
#include "persist/log_store.h"
#include "tests/persist/fault_env.h"

namespace conclave::persist::testing {

class SeededRandom final : public raft::RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t Next() override { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

/// What a log store should hold.
struct ModelLog {
  raft::HardState hard;
  /// Where the log was made to begin by the last reset, and what follows.
  raft::EntryId start;
  std::uint64_t start_chain = 0;
  std::vector<raft::Entry> entries;
  /// What the store was told to remove: it may still have some of it, and nothing before `start`.
  raft::Index compacted = 0;
  /// Entries up to here are never truncated.
  raft::Index committed = 0;
  /// Of the last Install.
  std::uint64_t generation = 0;

  raft::Index last_index() const { return start.index + entries.size(); }

  std::uint64_t last_chain() const { return entries.empty() ? start_chain : entries.back().chain; }

  raft::EntryId last() const { return entries.empty() ? start : entries.back().id(); }

  /// REQUIRES: index is in (start.index, last_index()].
  const raft::Entry& At(raft::Index index) const { return entries.at(index - start.index - 1); }

  std::uint64_t ChainAt(raft::Index index) const {
    return index == start.index ? start_chain : At(index).chain;
  }

  raft::EntryId IdAt(raft::Index index) const {
    return index == start.index ? start : At(index).id();
  }

  void Apply(const LogBatch& batch);

  /// A batch of one command of `data` behind the end.
  LogBatch Append(const std::string& data) const;
};

/// An entry that continues the chain.
raft::Entry MakeEntry(std::uint64_t previous_chain, raft::Term term, raft::Index index,
                      const std::string& data);

/// Empty if `store` holds exactly `model`, in Restored and by Read; else what differs. Calls
/// TakeRestored, so once per store.
std::string Difference(LogStore* store, const ModelLog& model);

/// The same with what was restored, for who needs that for more. Without `read` the entries are
/// compared in the restored tail alone.
std::string Difference(const LogStore& store, const raft::Restored& restored, const ModelLog& model,
                       bool read = true);

/// As above for the entries alone, by Read only.
std::string DifferenceByRead(const LogStore& store, const ModelLog& model);

/// Batches as a core would have them written: mostly appends, some of many entries, some empty
/// values, votes, truncations into the middle of batches (never of what is committed), a new term
/// with most truncations.
class LogWorkload {
 public:
  LogWorkload(std::uint64_t seed, std::size_t data_bytes_max)
      : random_(seed), data_bytes_max_(data_bytes_max) {}

  LogBatch Next(const ModelLog& model);

 private:
  std::mt19937_64 random_;
  std::size_t data_bytes_max_;
};

/// Member 1 of the cluster "test" in /data on `env`: one thread, small buffers, so that a short
/// workload comes through rotations and compactions.
LogStore::Options SmallOptions(FaultEnv* env, raft::RandomSource* random);

}  // namespace conclave::persist::testing
