// What members say to each other while one streams its checkpoint to another (InstallSnapshot of
// the dissertation, section 5, in chunks).
//
//   leader      Offer ->            names the state: (index, digest)
//   receiver    <- Ack(stored, position)   the key up to which it has that state's rows already
//   leader      Chunk -> Chunk -> ...      rows behind the position, each chunk from key to key
//   receiver    <- Ack(stored, position)   for each chunk that lies on its disk
//   receiver    <- Ack(verifying)          all rows are there and are being checked and installed
//   receiver    <- Ack(installed)          its log and its state stand at the offered index
//
// Whoever has lost the thread says the Offer again: the answer is where to go on. A receiver that
// has rows of another state drops them and answers with an empty position.
#pragma once

#include <cstdint>
#include <string>

#include "consensus/types.h"
#include "persist/snapshot_codec.h"

namespace conclave::server {

struct SnapshotOffer {
  raft::Term term = 0;         // in which the sender leads
  std::uint64_t transfer = 0;  // names this attempt in chunks and acks; of the sender
  persist::SnapshotInfo info;
};

struct SnapshotChunk {
  raft::Term term = 0;
  std::uint64_t transfer = 0;
  std::string after_key;  // the rows follow this key; empty: from the first row
  std::string rows;       // persist::SnapshotChunk::bytes
  bool last = false;      // no row follows
  std::uint64_t checksum = 0;
};

enum class SnapshotState : std::uint8_t {
  kStored = 1,     // durable through `position`: go on behind it
  kVerifying = 2,  // complete; being checked or installed
  kInstalled = 3,  // log and state machine stand at the offered index or beyond
  kRefused = 4,    // not wanted, or what came was damaged: `message` says why
};

struct SnapshotAck {
  std::uint64_t transfer = 0;
  SnapshotState state = SnapshotState::kStored;
  std::string position;
  std::string message;
};

}  // namespace conclave::server
