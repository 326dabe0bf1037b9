#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "consensus/configuration.h"
#include "consensus/messages.h"
#include "consensus/storage.h"
#include "consensus/types.h"

namespace conclave::raft {

enum class RoleName : std::uint8_t {
  kFollower = 1,
  kPreCandidate = 2,
  kCandidate = 3,
  kLeader = 4
};

/// "follower", "pre-candidate", "candidate", "leader".
const char* ToString(RoleName role);

struct RoleChange {
  RoleName role = RoleName::kFollower;
  Term term = 0;
  /// 0 if unknown.
  MemberId leader = 0;
  friend bool operator==(const RoleChange&, const RoleChange&) = default;
};

struct ReadReady {
  ReadId id = 0;
  /// The read is linearizable on any state at or past this index.
  Index readIndex = 0;
};

/// A snapshot takes the place of the log up to its end (Raft::InstallSnapshot).
struct Install {
  SnapshotMeta meta;
  /// Entries above meta.last.index that are on the disk, or are in an earlier Ready, stay. False:
  /// every entry on the disk is to be forgotten. In both cases the log begins after meta.last.
  bool log_kept = false;
};

/// Work for the driver, in the order in which it must take effect; README.md has the duties. The
/// receiver owns everything in it.
struct Ready {
  /// Of this Ready; dense from 1.
  PersistId id = 0;

  // --- To make durable, as one unit: all of it or none; in this order ---

  /// Replaces what was durable before.
  std::optional<HardState> hardState;
  /// The checkpoint that the driver passed to Raft::InstallSnapshot becomes this member's own, and
  /// what it covers leaves the log.
  std::optional<Install> install;
  /// Not 0: forget every entry at or above this index. Also implied by an `append` that
  /// starts at or below an index written before; it is always said. Above the end of `install`.
  Index truncateFrom = 0;
  /// Dense; follows what is left of the log, or the end of `install`.
  std::vector<Entry> append;

  // --- To send ---

  /// At once: these assert nothing that is not durable yet. The leader's AppendEntries are here,
  /// so replication runs while the leader's own disk does.
  std::vector<Envelope> sendNow;
  /// Only once this Ready *and every earlier one* is durable. They may assert a term, a vote or an
  /// entry, possibly one of an earlier Ready.
  std::vector<Envelope> sendAfterPersist;
  /// Stream the newest checkpoint to these peers: they need entries that this leader's log no
  /// longer has. Each is answered with Raft::SnapshotSent or SnapshotFailed. Nothing to do for one
  /// to which a transfer is running.
  std::vector<MemberId> sendSnapshot;

  // --- To apply, in order, then Raft::Applied ---

  /// Committed entries, each handed out once in the life of the Raft object, dense but for an
  /// `install` between, all kinds. None comes from an `install` on until Applied has reached its
  /// end; what was handed out before and is not applied then is covered by it.
  /// They may not be durable *here* yet (a quorum without this member can commit), so a checkpoint
  /// of the state machine must not reach past the durable index.
  std::vector<Entry> committed;

  /// May be answered once the state machine has applied the given index.
  std::vector<ReadReady> reads;
  /// Will not be confirmed: the leader changed or is unknown. Asking again is safe.
  std::vector<ReadId> readsFailed;

  /// Role, term or leader differ from what was said last. Entries in `append` come after it.
  std::optional<RoleChange> roleChange;

  /// The configuration in force is not the one said last (before the first: the one of the start).
  /// The driver keeps connections to the members in it; it may be rolled back, and is then said
  /// again.
  std::optional<IndexedConfiguration> configuration;

  /// The log could not be read. The member must stop: nothing it does next can be trusted.
  std::optional<std::string> failure;

  bool needs_persist() const {
    return hardState || install || truncateFrom != 0 || !append.empty();
  }
};

}  // namespace conclave::raft
