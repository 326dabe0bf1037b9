#include "persist/recovery.h"

#include <memory>
#include <utility>

#include <fmt/format.h>

#include "consensus/configuration.h"

namespace conclave::persist {

tl::expected<RecoveryPlan, Error> PlanRecovery(const LogStore& log,
                                               const raft::HardState& hardState,
                                               const raft::ClusterId& cluster_id,
                                               std::string peer_address) {
  const raft::Index index = (log.last_index() / kRecoveryStep + 1) * kRecoveryStep;
  if (index >= kRecoveryIndexMax) {
    return tl::unexpected(
        Error{ErrorKind::kDirectory,
              fmt::format("the log ends at {}, and no multiple of 2^40 below 2^53 is left to begin "
                          "a new one at",
                          log.last_index())});
  }
  RecoveryPlan plan;
  plan.hardState = hardState;
  ++plan.hardState.currentTerm;
  plan.hardState.votedFor = 0;
  plan.hardState.clusterStarted = true;
  plan.hardState.clusterId = cluster_id;

  raft::Member self;
  self.id = log.identity().member;
  self.incarnation = log.identity().incarnation;
  self.kind = raft::MemberKind::kVoter;
  self.peer_address = std::move(peer_address);
  plan.meta.configuration.index = index;
  plan.meta.configuration.configuration.clusterId = cluster_id;
  plan.meta.configuration.configuration.members.push_back(std::move(self));

  // The chain begins anew, with the entry that the configuration would have been.
  raft::Entry first;
  first.term = plan.hardState.currentTerm;
  first.index = index;
  first.kind = raft::EntryKind::kConfig;
  first.data = std::make_shared<const std::string>(plan.meta.configuration.configuration.Encode());
  plan.meta.last = first.id();
  plan.meta.chain = raft::ChainHash(0, first);
  return plan;
}

tl::expected<void, Error> Recover(LogStore* log, SnapshotGenerations* generations,
                                  const RecoveryPlan& plan, std::string_view digest,
                                  const RowSource& rows) {
  auto built = generations->Build(plan.meta, digest, rows);
  if (!built) {
    return tl::unexpected(built.error());
  }
  LogBatch batch;
  batch.hardState = plan.hardState;
  batch.SetInstall((*built)->generation(), plan.meta, /*log_kept=*/false);
  return log->Write(batch).map([&] { generations->Switch(std::move(*built)); });
}

}  // namespace conclave::persist
