// Streams this leader's newest checkpoint to members whose log ends before this one's begins.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "consensus/types.h"
#include "coord/server/background.h"
#include "coord/server/options.h"
#include "coord/server/peer_transport.h"
#include "coord/server/status.h"
#include "persist/snapshot_generations.h"

namespace conclave::server {

// The rows are read on the background through a cursor that stays at its checkpoint while newer
// ones are written. A few chunks are under way at once; whatever may have been lost on the way is
// found by silence, and cured by the Offer: its answer says where to go on.
//
// Thread: core executor only.
// Invariants: (1) at most Options::snapshot_transfers_max transfers run, one to a peer; (2) all of
// them together send no more than Options::snapshot_bytes_per_second; (3) each one that was begun
// is reported once, with `sent` or `failed`, unless StopAll ended it.
class SnapshotSender {
 public:
  struct Links {
    Background* background = nullptr;
    persist::SnapshotGenerations* generations = nullptr;
    PeerTransport* transport = nullptr;
    Counters* counters = nullptr;
    std::function<raft::Term()> term;
    // The peer has installed what ends here, or needs no snapshot.
    std::function<void(raft::MemberId, raft::EntryId)> sent;
    std::function<void(raft::MemberId)> failed;
    // The own checkpoint cannot be read.
    std::function<void(std::string_view)> fatal;
  };

  // `first_transfer` differs between the runs of a member.
  SnapshotSender(const Options& options, Links links, std::uint64_t first_transfer);
  SnapshotSender(const SnapshotSender&) = delete;
  SnapshotSender& operator=(const SnapshotSender&) = delete;
  ~SnapshotSender() = default;

  // The peer needs the newest checkpoint. Nothing happens if one is on its way to it.
  void Begin(raft::MemberId peer, std::int64_t now_ns);
  void OnAck(raft::MemberId from, const SnapshotAck& ack, std::int64_t now_ns);
  // Ends what is on its way to the peer.
  void End(raft::MemberId peer, std::string_view why);
  // This member does not lead any more, or stops.
  void StopAll();
  // Sends what the pace allows, and takes up threads that were lost.
  void Tick(std::int64_t now_ns);

  // The lowest index that a receiver will go on from.
  [[nodiscard]] std::optional<raft::Index> pinned() const;

  [[nodiscard]] std::size_t running() const { return transfers_.size(); }

 private:
  // Used by the background alone, and emptied there.
  struct Reading {
    std::unique_ptr<persist::SnapshotCursor> cursor;
  };

  struct Transfer {
    std::uint64_t id = 0;
    std::shared_ptr<Reading> reading;
    std::optional<persist::SnapshotInfo> info;  // none: the cursor is being opened
    bool offered = false;                       // the answer to an Offer is to say where to go on
    std::string position;                       // the next chunk is read behind this key
    std::deque<std::string> in_flight;          // last keys of the chunks sent and not acknowledged
    std::uint64_t thread = 0;                   // rises with each resumption; older reads are void
    bool reading_now = false;
    bool all_read = false;
    std::int64_t heard_ns = 0;  // of the peer, or when the Offer was said last
    std::int64_t progress_ns = 0;
  };

  using Transfers = std::map<raft::MemberId, Transfer>;

  void Offer(raft::MemberId peer, Transfer& transfer, std::int64_t now_ns);
  void ReadMore(raft::MemberId peer, Transfer& transfer, std::int64_t now_ns);
  void SendChunk(raft::MemberId peer, Transfer& transfer, persist::SnapshotChunk chunk);
  void Drop(Transfers::iterator at);
  void Fail(Transfers::iterator at, std::string_view why);

  const Options options_;
  const Links links_;
  std::uint64_t next_transfer_;
  std::int64_t next_send_ns_ = 0;  // the pace
  Transfers transfers_;
};

}  // namespace conclave::server
