// Who belongs to the cluster: links that follow the configuration in force, members that come and
// go, what operators ask for.
#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

// A link outlives its member for so long: the entry that removes it should reach it, too.
constexpr std::int64_t kDepartNs = 5'000 * kNsPerMs;
// A leader without room hands over when it has been so for the first, and again after the second:
// what fills one disk may be filling the others, and they have to look at theirs and say so.
constexpr std::int64_t kHandOverDelayNs = 500 * kNsPerMs;
constexpr std::int64_t kHandOverPauseNs = 1'000 * kNsPerMs;

}  // namespace

// --- the configuration in force -----------------------------------------------------------------

// It says who the peers are and where; before there is one, the command line does.
void Server::Core::OnConfiguration(const raft::IndexedConfiguration& configuration) {
  configuration_ = configuration;
  const raft::Configuration& members = configuration_.configuration;
  std::set<raft::MemberId> voters;
  std::set<raft::MemberId> wanted;
  for (const raft::Member& member : members.members) {
    if (member.kind == raft::MemberKind::kVoter) {
      voters.insert(member.id);
    }
    wanted.insert(member.id);
    ExpectPeer(member.id, member.peer_address);
  }
  if (members.Find(options_.id) == nullptr) {
    // Added, some day: by those that the command line names.
    for (const MemberAddress& contact : options_.members) {
      if (wanted.insert(contact.id).second) {
        ExpectPeer(contact.id, contact.peer_address);
      }
    }
  }
  for (auto& [id, peer] : peers_) {
    peer.leaving_ns = wanted.contains(id) ? 0 : NowNs() + kDepartNs;
  }
  audit_.SetVoters(std::move(voters));
  CheckOutside();
  RefreshHello();
  next_report_ns_ = 0;
  LOG(INFO) << "members.configuration member=" << options_.id << " index=" << configuration_.index
            << " members=" << Describe(members);
}

std::string Server::Core::Describe(const raft::Configuration& configuration) {
  std::string text;
  for (const raft::Member& member : configuration.members) {
    text += fmt::format("{}{}={}{}", text.empty() ? "" : ",", member.id, member.peer_address,
                        member.kind == raft::MemberKind::kVoter
                            ? ""
                            : fmt::format("({})", raft::ToString(member.kind)));
  }
  return text;
}

// Configurations of the first versions have no addresses: there the command line knows better.
std::string Server::Core::AddressOf(raft::MemberId id, const std::string& configured) const {
  if (!configured.empty()) {
    return configured;
  }
  const auto given = std::find_if(options_.members.begin(), options_.members.end(),
                                  [id](const MemberAddress& member) { return member.id == id; });
  return given == options_.members.end() ? std::string() : given->peer_address;
}

void Server::Core::ExpectPeer(raft::MemberId id, const std::string& configured) {
  if (id == options_.id) {
    return;
  }
  Peer& peer = peers_[id];
  peer.address = AddressOf(id, configured);
  if (!peer.address.empty()) {
    seams_.transport->SetPeer(id, peer.address);
  }
}

// Peers that are in the configuration no longer. While this member is behind, its configuration may
// be without its own leader: then nobody is sent away.
void Server::Core::SweepPeers(std::int64_t now_ns) {
  if (configuration_.index > driver_->raft().commitIndex() ||
      configuration_.configuration.Find(options_.id) == nullptr) {
    return;
  }
  for (auto at = peers_.begin(); at != peers_.end();) {
    const bool behind = at->second.hello_index > configuration_.index;
    if (at->second.leaving_ns == 0 || now_ns < at->second.leaving_ns || at->first == leader_ ||
        (at->second.connected && behind)) {
      ++at;
      continue;
    }
    LOG(INFO) << "peer.removed member=" << options_.id << " peer=" << at->first;
    seams_.transport->RemovePeer(at->first);
    at = peers_.erase(at);
  }
}

// The log has the last word, so that members started with different flags agree all the same.
void Server::Core::WarnOfFlags() const {
  if (configuration_.index == 0 || options_.join) {
    return;
  }
  for (const MemberAddress& given : options_.members) {
    const raft::Member* member = configuration_.configuration.Find(given.id);
    if (member == nullptr) {
      LOG(WARNING) << "members.flags_differ --members names member " << given.id
                   << ", which is none of the cluster's; the cluster's log is right";
    } else if (!member->peer_address.empty() && member->peer_address != given.peer_address) {
      LOG(WARNING) << "members.flags_differ --members has member " << given.id << " at "
                   << given.peer_address << ", the cluster has it at " << member->peer_address
                   << " and is right; to change it: conclave member update " << given.id << "="
                   << given.peer_address;
    }
  }
  for (const raft::Member& member : configuration_.configuration.members) {
    if (std::none_of(options_.members.begin(), options_.members.end(),
                     [&](const MemberAddress& given) { return given.id == member.id; })) {
      LOG(INFO) << "members.flags_differ --members is without member " << member.id
                << ", which the cluster has";
    }
  }
}

// --- strangers ----------------------------------------------------------------------------------

// One of the two is behind. Whoever knows the later configuration is right.
std::optional<std::string> Server::Core::OnStranger(const PeerHello& peer) {
  if (dead_ || stopped_) {
    return "this member is not running";
  }
  if (peer.configuration_index <= configuration_.index) {
    return configuration_.index == 0
               ? fmt::format("member {} is not among --members of member {}", peer.member,
                             options_.id)
               : fmt::format(
                     "member {} is not in the configuration of the cluster, of index {}: "
                     "it was removed, or has not been added yet",
                     peer.member, configuration_.index);
  }
  Peer& added = peers_[peer.member];
  added.address = peer.peer_address;
  added.leaving_ns = NowNs() + kDepartNs;
  return std::nullopt;
}

void Server::Core::OnNotMember(raft::MemberId peer, std::string_view reason) {
  auto at = peers_.find(peer);
  if (dead_ || stopped_ || at == peers_.end()) {
    return;
  }
  at->second.refused = reason;
  at->second.connected = false;
  if (!std::exchange(at->second.denies, true)) {
    LOG(WARNING) << "members.not_one member=" << options_.id << " peer=" << peer
                 << " reason=" << reason;
  }
  driver_->PeerDown(peer);
  CheckOutside();
  SchedulePump();
}

// Why this member takes no part, as far as it knows.
void Server::Core::CheckOutside() {
  const raft::Status raft = driver_->raft().status();
  const auto denier = std::find_if(peers_.begin(), peers_.end(),
                                   [](const auto& peer) { return peer.second.denies; });
  const bool inside = configuration_.configuration.Find(options_.id) != nullptr;
  // One that follows a leader although it knows no configuration with itself in it is catching up.
  const bool denied = denier != peers_.end() && configuration_.index != 0 && leader_ == 0;
  outside_.clear();
  if (raft.removed || denied) {
    outside_ = fmt::format(
        "this member has been removed from the cluster{}: stop it. To use it again, empty its data "
        "directory, start it with --join and run: conclave member add {}=HOST:PEERPORT",
        denied ? fmt::format(" (member {} says so)", denier->first) : "", options_.id);
  } else if (options_.join && !inside && configuration_.index == 0 && leader_ == 0) {
    outside_ = fmt::format("waiting to be added: conclave member add {}={}", options_.id,
                           AddressOf(options_.id, {}));
  } else if (raft.incarnation_refused) {
    outside_ = fmt::format(
        "the cluster knows this member with another data directory: it was emptied or exchanged "
        "and does not count until it is re-admitted: conclave member replace {}",
        options_.id);
  }
}

// For people: what is wrong here that does not pass by itself in a moment.
std::string Server::Core::Problem() const {
  for (const std::string* problem : {&broken_, &split_, &outside_, &own_room_.reason}) {
    if (!problem->empty()) {
      return *problem;
    }
  }
  // While a leader is known, what a single peer says is the peer's problem.
  const auto refuser = std::find_if(peers_.begin(), peers_.end(),
                                    [](const auto& peer) { return !peer.second.refused.empty(); });
  return leader_ != 0 || refuser == peers_.end()
             ? std::string()
             : fmt::format("member {} refuses it: {}", refuser->first, refuser->second.refused);
}

MemberRole Server::Core::OwnRole() const {
  const raft::Raft& raft = driver_->raft();
  const MemberRole role = RoleOf(raft.role());
  const bool votes = configuration_.configuration.IsVoter(options_.id);
  return role == MemberRole::kFollower && !votes ? MemberRole::kLearner : role;
}

// --- handing over -------------------------------------------------------------------------------

// A leader without any room keeps the cluster from writing, if enough others have some.
void Server::Core::HandOverForRoom(std::int64_t now_ns) {
  if (!driver_->raft().is_leader() || own_room_.room != Room::kFull) {
    next_hand_over_ns_ = now_ns + kHandOverDelayNs;
    return;
  }
  if (majority_room_ == Room::kFull || now_ns < next_hand_over_ns_) {
    return;
  }
  raft::MemberId best = 0;
  for (const auto& [id, peer] : peers_) {
    if (!peer.connected || !peer.report || peer.report->room == Room::kFull ||
        !configuration_.configuration.IsVoter(id)) {
      continue;
    }
    const auto worth = [](const MemberReport& report) {
      return std::pair(report.room == Room::kPlenty, report.applied_index);
    };
    if (best == 0 || worth(*peer.report) > worth(*peers_.at(best).report)) {
      best = id;
    }
  }
  if (best == 0) {
    return;
  }
  next_hand_over_ns_ = now_ns + kHandOverPauseNs;
  const auto started = driver_->raft().TransferLeadership(best);
  LOG(WARNING) << "log.no_room_hand_over member=" << options_.id << " to=" << best
               << " result=" << (started ? "begun" : raft::ToString(started.error()));
  SchedulePump();
}

// At an orderly stop. True while it is under way; consensus bounds it.
bool Server::Core::HandsOver() const {
  const raft::Status raft = driver_->raft().status();
  return raft.role == raft::RoleName::kLeader && raft.transferring_to != 0;
}

// --- what operators ask -------------------------------------------------------------------------

void Server::Core::ListMembers(Callback<Status> done) {
  auto call = std::make_unique<Call<Status>>(Caller{}, std::move(done));
  std::optional<Failure> refusal = Closed(call->caller);
  if (!refusal) {
    refusal = RefuseWait();
  }
  if (refusal) {
    Refuse(std::move(call), std::move(*refusal));
    return;
  }
  ReadPath::Condition condition;
  condition.fresh = true;
  condition.deadline_ns = DeadlineNs(0, options_.read_timeout_ms);
  reads_->Await(condition, [this, call = std::move(call)](Fresh fresh) mutable {
    if (fresh) {
      Send(std::move(call), 0, MakeStatus());
    } else {
      Refuse(std::move(call), {.error = std::move(fresh.error()), .expected_seq = 0});
    }
  });
  SchedulePump();
}

void Server::Core::ChangeMembers(const std::string& identity, MemberCommand command,
                                 std::int64_t timeout_ms, Callback<MemberReply> done) {
  auto call = std::make_unique<Call<MemberReply>>(Caller{}, std::move(done));
  const std::string what = server::Describe(command);
  LOG(INFO) << "audit.members asked=\"" << what << "\" by=" << identity
            << " member=" << options_.id;
  if (auto closed = Closed(call->caller)) {
    Refuse(std::move(call), std::move(*closed));
    return;
  }
  membership_->Submit(
      std::move(command), DeadlineNs(timeout_ms, options_.write_timeout_ms),
      [this, what, identity, call = std::move(call)](Membership::Outcome outcome) mutable {
        LOG(INFO) << "audit.members done=\"" << what << "\" by=" << identity
                  << " member=" << options_.id << " outcome="
                  << (outcome ? (outcome->changed ? "changed" : "so already")
                              : std::string(tree::NameOf(outcome.error().code)) +
                                    " reason=" + outcome.error().message);
        if (outcome) {
          Send(std::move(call), 0, *outcome);
        } else {
          Refuse(std::move(call), MakeFailure(outcome.error().code, outcome.error().message));
        }
      });
  SchedulePump();
}

}  // namespace conclave::server
