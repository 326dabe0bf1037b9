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
  std::vector<raft::Entry> entries;

  raft::Index last_index() const { return entries.size(); }

  std::uint64_t last_chain() const { return entries.empty() ? 0 : entries.back().chain; }

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

/// As above for the entries alone, by Read only.
std::string DifferenceByRead(const LogStore& store, const ModelLog& model);

/// Batches as a core would have them written: mostly appends, some of many entries, some empty
/// values, votes, truncations into the middle of batches, a new term with most truncations.
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
