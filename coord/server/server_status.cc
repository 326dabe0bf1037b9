// What a member knows about itself and the others.
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
  const raft::Status raft = driver_->raft().status();
  if (raft.incarnation_refused) {
    return "the cluster knows this member with another data directory: it was emptied or exchanged "
           "and does not count until it is re-admitted";
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
  if (applier_->applied() == 0 || applier_->applied() < raft.commitIndex) {
    return fmt::format("catching up: applied {} of {}", applier_->applied(), raft.commitIndex);
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
  status.role = RoleOf(raft.role);
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
  if (const auto heard_ns = driver_->leader_heard_ns()) {
    status.leader_heard_ms = (NowNs() - *heard_ns) / kNsPerMs;
  }
  for (const MemberAddress& member : options_.members) {
    status.members.push_back(MakeMemberStatus(member, status));
  }
  return status;
}

MemberStatus Server::Core::MakeMemberStatus(const MemberAddress& member, const Status& own) const {
  MemberStatus one;
  one.id = member.id;
  one.peer_address = member.peer_address;
  one.self = member.id == options_.id;
  const auto published = applier_->machine().members().find(member.id);
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
    return one;
  }
  const Peer& peer = peers_.at(member.id);
  one.connected = peer.connected;
  one.incarnation = peer.incarnation;
  one.refused = peer.refused;
  if (peer.report) {
    one.reported = true;
    one.role = peer.report->role;
    one.term = peer.report->term;
    one.commit_index = peer.report->commit_index;
    one.applied_index = peer.report->applied_index;
  }
  return one;
}

}  // namespace conclave::server
