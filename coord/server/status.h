// What one member knows about itself and the others, for /status, /metrics and `conclave status`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/configuration.h"

namespace conclave::server {

enum class MemberRole : std::uint8_t { kFollower, kCandidate, kLeader, kLearner };

// "follower", "candidate", "leader", "learner".
[[nodiscard]] std::string_view RoleName(MemberRole role);

// Counts since this member started; each only grows. Written by the core executor alone.
struct Counters {
  // Log.
  std::uint64_t log_syncs = 0;        // synced batches written
  std::uint64_t log_entries = 0;      // entries written in them
  std::uint64_t log_bytes = 0;        // of their data
  std::uint64_t entries_applied = 0;  // by the state machine; without no-ops
  // Consensus.
  std::uint64_t elections_won = 0;
  std::uint64_t leader_changes = 0;  // another leader than before became known
  std::uint64_t messages_sent = 0;   // to peers
  std::uint64_t messages_received = 0;
  std::uint64_t peers_refused = 0;
  // Writes that clients made here.
  std::uint64_t writes_accepted = 0;
  std::uint64_t writes_answered = 0;   // by their entry's apply, whatever it said
  std::uint64_t writes_duplicate = 0;  // answered with a stored reply
  std::uint64_t writes_unknown = 0;    // deadline passed after they were sent
  std::uint64_t writes_refused = 0;    // overloaded, no space, no leader: not executed
  std::uint64_t writes_forwarded = 0;
  std::uint64_t proposals = 0;         // calls of Propose
  std::uint64_t proposed_entries = 0;  // entries in them
  // Reads.
  std::uint64_t reads_linearizable = 0;
  std::uint64_t reads_session = 0;
  std::uint64_t reads_stale = 0;
  std::uint64_t read_rounds = 0;  // ReadIndex rounds asked for; each serves many reads
  // Sessions.
  std::uint64_t sessions_opened = 0;  // applied here
  std::uint64_t sessions_closed = 0;
  std::uint64_t sessions_expired = 0;
  std::uint64_t touches = 0;        // heartbeats of clients at this member
  std::uint64_t touch_batches = 0;  // sent to the leader or confirmed by it
  // Watches.
  std::uint64_t events_delivered = 0;
  std::uint64_t polls_answered = 0;
  std::uint64_t polls_dropped = 0;  // no leader heard for too long
  // Digest.
  std::uint64_t digests_compared = 0;
  std::uint64_t digest_mismatches = 0;
  std::uint64_t scrubs = 0;  // passes over the whole state in memory
  // Checkpoints.
  std::uint64_t checkpoints = 0;
  std::uint64_t freeze_slices = 0;  // turns of the core that froze a part of the state
  std::uint64_t checkpoint_rows = 0;
  std::uint64_t checkpoint_bytes = 0;
  // Snapshots that this member sends as a leader ...
  std::uint64_t snapshots_begun = 0;
  std::uint64_t snapshots_sent = 0;    // installed at the peer, or not needed any more
  std::uint64_t snapshots_failed = 0;  // ended otherwise
  std::uint64_t snapshot_chunks_sent = 0;
  std::uint64_t snapshot_bytes_sent = 0;
  // ... and that it is sent.
  std::uint64_t snapshots_installed = 0;
  std::uint64_t snapshots_resumed = 0;  // gone on with behind rows that were there already
  std::uint64_t snapshots_refused = 0;  // complete, and not what was offered
  std::uint64_t snapshot_chunks_stored = 0;
  std::uint64_t snapshot_chunks_refused = 0;  // damaged, out of order, or of another time
};

struct CheckpointStatus {
  std::uint64_t index = 0;       // of the newest that is durable; 0: none yet
  std::uint64_t generation = 0;  // of the database that holds it
  std::int64_t age_ms = 0;       // since it was taken, or since this member started
  // What the last one wrote, and how long it took; 0 if none was taken since the start.
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  std::int64_t duration_ms = 0;
  bool running = false;
  std::uint64_t dirty_rows = 0;  // changed since
  std::uint64_t dirty_bytes = 0;
};

struct MemberStatus {
  std::uint64_t id = 0;
  bool self = false;
  bool connected = false;  // a peer link stands (true for self)
  std::uint64_t incarnation = 0;
  std::string peer_address;
  std::string client_address;  // as published; empty if not yet known
  std::string admin_address;
  // As the member last told (once a second), or of this moment for self.
  bool reported = false;  // false: it has told nothing yet
  MemberRole role = MemberRole::kFollower;
  std::uint64_t term = 0;
  std::uint64_t commit_index = 0;
  std::uint64_t applied_index = 0;
  std::string refused;  // why the link was last refused, while it is; else empty
  // By the configuration in force at the member that answers; none: it is not in it.
  std::optional<raft::MemberKind> kind;
  std::uint64_t configured_incarnation = 0;  // the one that counts; 0: none has been met yet
  std::string problem;  // what is wrong with it, and what to do about it; empty: nothing
};

// A snapshot, taken on the core executor.
struct Status {
  std::uint64_t id = 0;
  std::uint64_t incarnation = 0;
  std::string cluster_name;
  std::string cluster_id;  // 32 hexadecimal digits, empty before the cluster has started
  MemberRole role = MemberRole::kFollower;
  std::uint64_t term = 0;
  std::uint64_t leader = 0;  // 0: none known
  std::uint64_t commit_index = 0;
  std::uint64_t applied_index = 0;
  std::uint64_t last_index = 0;
  std::uint64_t digest = 0;
  std::uint32_t feature_level = 0;
  bool ready = false;  // takes requests: leader known, applied caught up, nothing wrong
  std::string unready_reason;
  std::string alarm;  // digest without majority, log full, ...; empty: none
  std::uint64_t sessions = 0;
  std::uint64_t znodes = 0;
  std::uint64_t watches = 0;
  std::uint64_t polls_parked = 0;
  std::uint64_t writes_pending = 0;
  std::uint64_t write_bytes_pending = 0;
  std::uint64_t reads_pending = 0;
  std::uint64_t log_bytes = 0;
  std::uint64_t log_bytes_max = 0;
  std::uint64_t log_first_index = 0;
  CheckpointStatus checkpoint;
  std::uint64_t snapshots_sending = 0;  // transfers that run
  bool snapshot_receiving = false;
  std::uint64_t free_bytes = 0;           // on the disk, when last looked at
  std::int64_t leader_heard_ms = -1;      // since a leader was last heard; -1: never
  std::uint64_t configuration_index = 0;  // of the entry in force; 0: none
  std::vector<MemberStatus> members;      // by id
  Counters counters;
};

}  // namespace conclave::server
