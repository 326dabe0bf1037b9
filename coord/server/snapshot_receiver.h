// Takes a snapshot from the leader: stores it, checks it, and lets consensus install it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "consensus/raft.h"
#include "consensus/storage.h"
#include "coord/server/background.h"
#include "coord/server/peer_transport.h"
#include "coord/server/status.h"
#include "coord/tree/state_machine.h"
#include "persist/snapshot_generations.h"

namespace conclave::server {

// Thread: core executor only. Everything on the disk is done on the background.
//
// Invariants:
//   1. One snapshot at a time. What has been stored of it outlives a change of leader and a crash:
//      whoever offers the same (index, digest) is told where to go on.
//   2. Nothing is installed before every row has been read back, the state has been built of them,
//      and its digest, recomputed in full, is the offered one.
//   3. What a peer sends can at worst be refused and counted.
class SnapshotReceiver {
 public:
  struct Links {
    Background* background = nullptr;
    persist::SnapshotGenerations* generations = nullptr;
    PeerTransport* transport = nullptr;
    raft::Raft* raft = nullptr;
    Counters* counters = nullptr;
    // Why none is taken just now; empty: it is.
    std::function<std::string()> refusal;
    // Whether the disk has room for so much more.
    std::function<bool(std::uint64_t bytes)> has_room;
    // No checkpoint may run while a snapshot is installed; `idle` is called once none does.
    std::function<void(std::function<void()> idle)> hold_checkpoints;
    std::function<void()> release_checkpoints;
    // Consensus has taken the snapshot: it wants a turn.
    std::function<void()> wake;
    std::function<void(std::string_view)> fatal;
  };

  // What is to be installed.
  struct Complete {
    std::shared_ptr<persist::SnapshotStore> store;
    std::unique_ptr<tree::StateMachine> machine;
  };

  explicit SnapshotReceiver(Links links) : links_(std::move(links)) {}

  SnapshotReceiver(const SnapshotReceiver&) = delete;
  SnapshotReceiver& operator=(const SnapshotReceiver&) = delete;
  ~SnapshotReceiver() = default;

  void OnOffer(raft::MemberId from, const SnapshotOffer& offer);
  void OnChunk(raft::MemberId from, SnapshotChunk chunk);
  void PeerDown(raft::MemberId peer);

  // The generation that consensus is about to install. REQUIRES: it has taken what was offered.
  [[nodiscard]] std::uint64_t generation() const { return complete_.store->generation(); }

  // It is installed and durable: hands it over.
  Complete TakeInstalled();
  // The state machine stands there now: the sender is told.
  void Installed();

  [[nodiscard]] bool receiving() const { return phase_ != Phase::kIdle; }

 private:
  enum class Phase : std::uint8_t {
    kIdle,
    kOpening,     // the partial generation is looked for or made
    kReceiving,   // chunks are taken
    kChecking,    // complete; rows and digest are being checked
    kHolding,     // waits for a checkpoint to end
    kInstalling,  // consensus has it
  };

  // Used by the background alone, and emptied there.
  struct Storing {
    std::unique_ptr<persist::SnapshotReceiver> receiver;
  };

  // What came of a chunk.
  struct Stored {
    bool in_place = false;  // it followed what is stored
    tl::expected<void, persist::Error> result;
    std::string position;
  };

  // What came of a check.
  struct Checked {
    std::string refused;  // why it cannot be used; empty: it can
    bool failed = false;  // the disk failed
    Complete complete;
  };

  void Open(const SnapshotOffer& offer);
  void OnStored(const Stored& stored, bool last, std::uint64_t run);
  void Check();
  static Checked CheckRows(const std::shared_ptr<Storing>& storing,
                           const persist::SnapshotInfo& info);
  void OnChecked(Checked checked);
  void Install();
  // Drops the partial generation in memory; on the disk it stays.
  void Close();
  void Refuse(const std::string& why);
  void Ack(SnapshotState state, std::string message = {});

  const Links links_;
  Phase phase_ = Phase::kIdle;
  raft::MemberId from_ = 0;  // who sends it; 0: nobody at the moment
  std::uint64_t transfer_ = 0;
  raft::Term term_ = 0;
  persist::SnapshotInfo info_;
  std::shared_ptr<Storing> storing_;
  std::uint64_t run_ = 0;      // rises with each Open: results of earlier ones are void
  std::size_t appending_ = 0;  // chunks on their way to the disk
  std::string position_;       // durable through this key
  Complete complete_;
};

}  // namespace conclave::server
