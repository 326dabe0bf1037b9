// What a member knows about itself and the others.
#include <set>

#include <fmt/format.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

std::string Hexadecimal(const raft::ClusterId& id) {
  if (id == raft::ClusterId{}) {
    return {};
  }
  std::string text;
  for (const std::uint8_t byte : id) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

}  // namespace

std::string_view RoleName(MemberRole role) {
  switch (role) {
    case MemberRole::kFollower:
      return "follower";
    case MemberRole::kCandidate:
      return "candidate";
    case MemberRole::kLeader:
      return "leader";
    case MemberRole::kLearner:
      return "learner";
  }
  return "unknown";
}

std::string Server::Core::UnreadyReason() const {
  if (!started_ || dead_) {
    return "not running";
  }
  if (stopping_) {
    return "stopping";
  }
  if (!broken_.empty()) {
    return broken_;
  }
  if (!outside_.empty()) {
    return outside_;
  }
  if (leader_ == 0) {
    for (const auto& [id, peer] : peers_) {
      if (!peer.refused.empty()) {
        return fmt::format("no leader; member {}: {}", id, peer.refused);
      }
    }
    return "no leader is known";
  }
  if (Starving()) {
    return own_room_.reason;
  }
  const raft::Index commit = driver_->raft().commitIndex();
  if (applier_->applied() == 0 || applier_->applied() < commit) {
    return fmt::format("catching up: applied {} of {}", applier_->applied(), commit);
  }
  return {};
}

Status Server::Core::MakeStatus() const {
  Status status;
  status.id = options_.id;
  status.cluster_name = options_.cluster_name;
  status.unready_reason = UnreadyReason();
  status.ready = status.unready_reason.empty();
  status.counters = counters_;
  status.log_bytes_max = options_.log_bytes_max;
  if (!started_) {
    return status;
  }
  const raft::Status raft = driver_->raft().status();
  status.incarnation = store_->identity().incarnation;
  status.cluster_id = Hexadecimal(raft.hardState.clusterId);
  status.role = OwnRole();
  status.term = raft.hardState.currentTerm;
  status.leader = raft.leader;
  status.commit_index = raft.commitIndex;
  status.applied_index = applier_->applied();
  status.last_index = raft.last.index;
  status.digest = applier_->digest();
  status.feature_level = static_cast<std::uint32_t>(applier_->machine().feature_level());
  if (!broken_.empty()) {
    status.alarm = broken_;
  } else if (!split_.empty()) {
    status.alarm = split_;
  } else {
    status.alarm = no_room_reason_;
  }
  status.sessions = applier_->machine().sessions().size();
  status.znodes = applier_->machine().tree().znode_count();
  status.watches = homes_->hub().counts().watches;
  status.polls_parked = homes_->parked();
  status.writes_pending = admitted_count_;
  status.write_bytes_pending = admitted_bytes_;
  status.reads_pending = reads_->pending();
  status.log_bytes = store_->log_bytes();
  status.log_first_index = store_->first_index();
  status.checkpoint = checkpointer_->status();
  status.snapshots_sending = sender_->running();
  status.snapshot_receiving = receiver_->receiving();
  status.free_bytes = free_bytes_;
  if (const auto heard_ns = driver_->leader_heard_ns()) {
    status.leader_heard_ms = (NowNs() - *heard_ns) / kNsPerMs;
  }
  status.configuration_index = configuration_.index;
  std::set<raft::MemberId> shown = {options_.id};
  for (const raft::Member& member : configuration_.configuration.members) {
    shown.insert(member.id);
  }
  for (const raft::MemberId id : shown) {
    status.members.push_back(MakeMemberStatus(id, status));
  }
  return status;
}

MemberStatus Server::Core::MakeMemberStatus(raft::MemberId id, const Status& own) const {
  MemberStatus one;
  one.id = id;
  one.self = id == options_.id;
  if (const raft::Member* member = configuration_.configuration.Find(id); member != nullptr) {
    one.peer_address = AddressOf(id, member->peer_address);
    one.configured_incarnation = member->incarnation;
    if (configuration_.index != 0) {
      one.kind = member->kind;
    }
  } else {
    one.peer_address = AddressOf(id, {});
  }
  const auto published = applier_->machine().members().find(id);
  if (published != applier_->machine().members().end()) {
    one.client_address = published->second.client_address;
    one.admin_address = published->second.admin_address;
  }
  if (one.self) {
    one.connected = true;
    one.incarnation = own.incarnation;
    one.role = own.role;
    one.term = own.term;
    one.commit_index = own.commit_index;
    one.applied_index = own.applied_index;
    one.problem = Problem();
    return one;
  }
  if (const auto peer = peers_.find(id); peer != peers_.end()) {
    one.connected = peer->second.connected;
    one.incarnation = peer->second.incarnation;
    one.refused = peer->second.refused;
    if (const auto& report = peer->second.report) {
      one.reported = true;
      one.role = report->role;
      one.term = report->term;
      one.commit_index = report->commit_index;
      one.applied_index = report->applied_index;
      one.problem = report->problem;
    }
  }
  one.problem = ProblemOf(one);
  return one;
}

// What is to be said of another member, and what to do about it.
std::string Server::Core::ProblemOf(const MemberStatus& member) const {
  if (member.connected) {
    return member.problem;
  }
  if (!member.refused.empty()) {
    return member.refused;
  }
  if (member.kind && member.configured_incarnation == 0 &&
      *member.kind != raft::MemberKind::kVoter) {
    return fmt::format("it has not come yet: start it with an empty data directory and --join");
  }
  return fmt::format(
      "no link to it; if its disk is lost or damaged: start it with an empty data directory and "
      "--join, and: conclave member replace {}",
      member.id);
}

}  // namespace conclave::server
