// A member's storage at work, and every disk that a crash may leave of it, judged: the enumeration
// of crash states.
//
// A seed is a workload: log writes, truncations, rotations of LevelDB's files, checkpoints by delta
// and by generation, compaction, transfers in chunks with interruptions, installs, restarts. Its
// changes of the disk are counted first; then each of its states is one change and one way to crash
// there, numbered densely, so that a number alone names a state.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "persist/log_store.h"
#include "persist/snapshot_generations.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"
#include "tests/persist/snapshot_workload.h"

namespace conclave::persist::testing {

/// What lies on a disk, as a test thinks of it.
struct ModelDisk {
  std::optional<Identity> identity;  ///< once the first opening has returned
  ModelLog log;
  std::optional<SnapshotInfo> snapshot;
  Rows rows;  ///< of the snapshot

  struct Transfer {
    SnapshotInfo source;
    Rows rows;
    std::uint64_t generation = 0;
    std::string last_key;
  };

  std::optional<Transfer> transfer;
};

/// What came up, so that an enumeration that lost its reach fails.
struct CrashTally {
  std::uint64_t states = 0;
  std::map<std::string, std::uint64_t> seen;
};

/// Runs one workload on `env`. `now` is what was acknowledged, `next` what is on its way: a disk
/// after a crash is exactly one of the two.
class CrashWorkload {
 public:
  CrashWorkload(FaultEnv* env, std::uint64_t seed);
  CrashWorkload(const CrashWorkload&) = delete;
  CrashWorkload& operator=(const CrashWorkload&) = delete;
  CrashWorkload(CrashWorkload&&) = delete;
  CrashWorkload& operator=(CrashWorkload&&) = delete;
  ~CrashWorkload();

  void Run();

  std::size_t value_scale() const { return state_.value_scale; }

  const ModelDisk& now() const { return now_; }

  const ModelDisk& next() const { return next_; }

  /// The operation that is under way.
  const char* doing() const { return doing_; }

 private:
  std::uint64_t Draw(std::uint64_t n) { return random_() % n; }

  void Open();
  void Close();
  void WriteLog(LogBatch batch);
  void Commit();
  void Checkpoint();
  void Compact();
  void BeginTransfer();
  void ReceiveChunk();
  void InstallTransfer();
  raft::Index DrawCommitted();

  FaultEnv* const env_;
  std::mt19937_64 random_;
  SeededRandom ids_;
  LogWorkload log_workload_;
  std::unique_ptr<LogStore> log_;
  std::unique_ptr<SnapshotGenerations> generations_;
  std::unique_ptr<SnapshotReceiver> receiver_;
  std::vector<SnapshotChunk> chunks_;
  std::size_t next_chunk_ = 0;
  ModelState state_;  // all that is committed, applied
  ModelDisk now_;
  ModelDisk next_;
  const char* doing_ = "open";
};

/// States of one seed.
inline constexpr std::uint64_t kStatesPerSeed = 2000;

/// Judges states [first, first + count) and adds to `tally`. Returns what is wrong with the first
/// that is not as it should be (how to see it again included), or an empty string. `progress` is
/// called now and then with the next state's number.
std::string EnumerateCrashStates(std::uint64_t first, std::uint64_t count, CrashTally* tally,
                                 const std::function<void(std::uint64_t)>& progress);

}  // namespace conclave::persist::testing
