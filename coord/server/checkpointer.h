// Checkpoints: the state on disk at an index, so that a restart replays little and the log can lose
// what lies before (rule 12).
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "consensus/storage.h"
#include "consensus/types.h"
#include "coord/server/applier.h"
#include "coord/server/background.h"
#include "coord/server/log_tail.h"
#include "coord/server/options.h"
#include "coord/server/raft_driver.h"
#include "coord/server/status.h"
#include "coord/tree/frozen_rows.h"
#include "persist/snapshot_generations.h"

namespace conclave::server {

class MetricsSink;

// A checkpoint goes through: frozen in slices, between turns of the core, while entries go on being
// applied; held back until everything it stands on is durable in this member's own log; written in
// the background, over the last checkpoint or beside it as a new generation; and then the log
// behind it is compacted. Writes wait for none of it.
//
// Thread: core executor only.
// Invariants: (1) one at a time; (2) a checkpoint's index is durable here before it is written;
// (3) the log keeps everything behind the newest durable checkpoint, and of what lies before it a
// bounded tail.
class Checkpointer {
 public:
  struct Links {
    Background* background = nullptr;
    persist::SnapshotGenerations* generations = nullptr;
    Applier* applier = nullptr;
    RaftDriver* driver = nullptr;
    MetricsSink* metrics = nullptr;  // may be null
    Counters* counters = nullptr;
    std::function<std::int64_t()> now_ns;
    std::function<std::uint64_t()> log_bytes;
    // Gives back the room of what was compacted; takes its time, in the background.
    std::function<void()> reclaim;
    // Whether the disk has room for so much more: to run out of it in the middle is fatal.
    std::function<bool(std::uint64_t bytes)> has_room;
    // Whether the state may be trusted: what has rotted must not get to the disk.
    std::function<bool()> trusted;
    // Running transfers want the log behind this index; nothing: there are none.
    std::function<std::optional<raft::Index>()> pinned;
    // Asks for another turn.
    std::function<void()> wake;
    // The disk failed: this member must end (D5).
    std::function<void(std::string_view)> fatal;
  };

  // A log that begins after `start`, and the newest checkpoint at `checkpoint` (0: none yet).
  Checkpointer(const Options& options, Links links, LogTail tail, raft::Index checkpoint);
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;
  ~Checkpointer() = default;

  // An entry of so many bytes was applied.
  void NoteApplied(raft::Index index, std::uint64_t bytes) { tail_.Add(index, bytes); }

  // Once in each turn of the loop: begins one if it is due, or takes the next step.
  void Turn();

  // Takes one of what is applied now; `done` once it is durable. Never called if this member ends
  // or the state is replaced before.
  void Request(std::function<void()> done);

  // Begins none any more, and calls `idle` once none is running, perhaps at once: the state is
  // about to be replaced. REQUIRES: not held.
  void Hold(std::function<void()> idle);
  // The state was not replaced after all.
  void Release();
  // The state was replaced by a snapshot that ends at `index`, which is this member's newest
  // checkpoint now. REQUIRES: held.
  void Installed(raft::Index index);

  [[nodiscard]] CheckpointStatus status() const;

 private:
  enum class Phase : std::uint8_t { kIdle, kFreezing, kUndurable, kWriting };

  [[nodiscard]] bool Due() const;
  [[nodiscard]] bool HasRoom() const;
  void Begin();
  void Slice();
  void WriteWhenDurable();
  void MakeCount(std::shared_ptr<persist::SnapshotStore> store);
  void Finish();
  void Compact();

  const Options options_;
  const Links links_;
  LogTail tail_;
  Phase phase_ = Phase::kIdle;
  bool held_ = false;
  std::function<void()> when_idle_;
  raft::Index newest_ = 0;
  std::int64_t newest_ns_ = 0;

  // Of the one that is running.
  raft::SnapshotMeta meta_;
  std::shared_ptr<tree::FrozenRows> frozen_;
  std::uint64_t rows_ = 0;
  std::uint64_t bytes_ = 0;
  std::int64_t begun_ns_ = 0;

  // Of the last one that was taken.
  CheckpointStatus last_;
  bool requested_ = false;
  std::vector<std::pair<raft::Index, std::function<void()>>> requests_;
};

}  // namespace conclave::server
