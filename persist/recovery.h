// Recovery after a lost majority, and from a backup: a data directory becomes that of a new cluster
// of one member, with the state that the caller hands over (rules 9 and 11).
#pragma once

#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "consensus/storage.h"
#include "consensus/types.h"
#include "persist/error.h"
#include "persist/log_store.h"
#include "persist/snapshot_codec.h"
#include "persist/snapshot_generations.h"

namespace conclave::persist {

/// What the directory will say.
struct RecoveryPlan {
  /// The state's index: the next multiple of 2^40 above everything that any member of the old
  /// cluster can have (zxids are never reused); a term above the old one; a configuration of this
  /// member alone.
  raft::SnapshotMeta meta;
  /// With the new cluster id and no vote.
  raft::HardState hardState;
};

/// Recovered logs begin at multiples of this.
inline constexpr raft::Index kRecoveryStep = raft::Index{1} << 40U;
/// And stay below this (rule 9: JavaScript's integers).
inline constexpr raft::Index kRecoveryIndexMax = raft::Index{1} << 53U;

/// `hardState` is what the directory says now (Restored::hardState), `cluster_id` freshly drawn,
/// `peer_address` where this member will listen. An error if no multiple is left.
tl::expected<RecoveryPlan, Error> PlanRecovery(const LogStore& log,
                                               const raft::HardState& hardState,
                                               const raft::ClusterId& cluster_id,
                                               std::string peer_address);

/// Carries the plan out: a new generation of the snapshot with exactly `rows` (all of them, the
/// state at plan.meta.last.index), then, by one synced batch, an empty log that begins after it. A
/// crash before that leaves the directory as it was. The old cluster's log and snapshot are gone
/// afterwards. Nothing else may use the directory meanwhile.
tl::expected<void, Error> Recover(LogStore* log, SnapshotGenerations* generations,
                                  const RecoveryPlan& plan, std::string_view digest,
                                  const RowSource& rows);

}  // namespace conclave::persist
