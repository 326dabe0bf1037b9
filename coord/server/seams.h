// All that a server takes from outside (rule 20). Production and simulation build the same Server;
// they differ in what stands in this struct and in nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "consensus/types.h"
#include "persist/storage_env.h"

namespace leveldb {
class Env;
}

namespace conclave::persist {
class Disk;
}

namespace conclave::server {

class Executor;
class PeerTransport;
class WallClock;

// Durations that are measured as they happen; what is only counted stands in Status.
enum class Timing : std::uint8_t {
  kLogSync,  // one synced write of the log, on the log executor
  kWrite,    // accepted here until answered
  kLinearizableRead,
  kApplySlice,
  kFreezeSlice,  // a slice of freezing the state for a checkpoint
  kCheckpoint,   // from the decision to take one until it is durable
};

// Where durations go.
//
// Thread: any (kLogSync comes from the log executor).
class MetricsSink {
 public:
  MetricsSink() = default;
  MetricsSink(const MetricsSink&) = delete;
  MetricsSink& operator=(const MetricsSink&) = delete;
  virtual ~MetricsSink() = default;

  virtual void Observe(Timing what, std::int64_t duration_ns) = 0;
};

// Told of what a checker of whole runs wants to see. Production passes none.
//
// Thread: core executor only.
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;

  // An entry is handed to the state machine; OnApplied follows.
  virtual void OnEntry(const raft::Entry& /*entry*/) {}

  // An entry was applied: its index, its term, the chain over the log up to it, and a fingerprint
  // of the state after it.
  virtual void OnApplied(std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                         std::uint64_t digest) = 0;

  // The state was replaced by a snapshot: it is now the one after this entry, and what lies between
  // was not applied here. The arguments are those of OnApplied for that entry.
  virtual void OnInstalled(std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                           std::uint64_t digest) {
    OnApplied(index, term, chain, digest);
  }

  // This member leads from now on, in this term.
  virtual void OnLeader(std::uint64_t term) = 0;
};

// Borrowed pointers must outlive the server; none may be null but `disk`, `metrics` and `observer`.
struct Seams {
  // Runs everything but what the other two do. Every call into Server is made on it.
  Executor* core = nullptr;
  // Runs the synced writes of the log. May be the core executor itself (simulation does so).
  Executor* log = nullptr;
  // Runs what takes long and is waited for by nobody: checkpoints, reading and writing of snapshots
  // under transfer, checks of whole states. May be the core executor itself.
  Executor* background = nullptr;
  PeerTransport* transport = nullptr;
  // The file system that the log lies on. A null `disk` (in-memory Envs) means: no pre-allocation,
  // no syncs of directories.
  leveldb::Env* env = nullptr;
  persist::Disk* disk = nullptr;
  // Who runs LevelDB's background work: a thread, or, in a simulation, the caller.
  persist::StorageEnv::Background storage_background = persist::StorageEnv::Background::kThread;
  WallClock* wall_clock = nullptr;
  // Chance. Production seeds it from the system and must not be predictable: the secrets of
  // sessions are made of it. A simulation gives every member its own stream. Core executor only.
  raft::RandomSource* random = nullptr;
  MetricsSink* metrics = nullptr;
  Observer* observer = nullptr;

  // Ends this member at once because going on would be wrong: a failed write of the log, an entry
  // that it cannot understand. Called on the core or the log executor. In production the process
  // exits; in a simulation one member is marked dead, so it may return, and the server does nothing
  // after it.
  std::function<void(std::string_view reason)> fatal;

  // Bytes left for the data directory. Called on the core executor, at most a few times a second.
  std::function<std::uint64_t()> free_space;
};

}  // namespace conclave::server
