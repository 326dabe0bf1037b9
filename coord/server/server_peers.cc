// Links to peers: who is there, who is refused, what members tell each other besides consensus.
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

constexpr std::int64_t kPublishNs = 2'000 * kNsPerMs;

// How long differing digests may wait for the report that decides.
constexpr std::int64_t kUndecidedNs = 1'000 * kNsPerMs;

constexpr raft::ClusterId kNoCluster{};

bool HoldsEntries(const raft::Message& message) {
  const auto* append = std::get_if<raft::AppendEntries>(&message);
  return append != nullptr && !append->entries.empty();
}

}  // namespace

void Server::Core::OnPeerMessage(raft::MemberId from, PeerMessage message) {
  if (dead_ || stopped_) {
    return;
  }
  if (auto* raft = std::get_if<raft::Message>(&message)) {
    if (Starving() && HoldsEntries(*raft)) {
      return;  // heartbeats come by themselves, so the leader is still heard
    }
    driver_->Step(from, std::move(*raft), NowNs());
  } else if (auto* forward = std::get_if<Forward>(&message)) {
    writes_->OnForward(from, std::move(*forward));
  } else if (auto* rejected = std::get_if<ForwardRejected>(&message)) {
    writes_->OnForwardRejected(from, *rejected);
  } else if (auto* batch = std::get_if<TouchBatch>(&message)) {
    OnTouchBatch(from, std::move(*batch));
  } else if (auto* ack = std::get_if<TouchAck>(&message)) {
    touch_.Confirmed(ack->batch, ack->over);
  } else if (auto* digest = std::get_if<DigestReport>(&message)) {
    OnDigest(from, *digest);
  } else if (auto* offer = std::get_if<SnapshotOffer>(&message)) {
    receiver_->OnOffer(from, *offer);
  } else if (auto* chunk = std::get_if<SnapshotChunk>(&message)) {
    receiver_->OnChunk(from, std::move(*chunk));
  } else if (const auto* snapshot_ack = std::get_if<SnapshotAck>(&message)) {
    sender_->OnAck(from, *snapshot_ack, NowNs());
  } else if (auto* report = std::get_if<MemberReport>(&message)) {
    if (auto at = peers_.find(from); at != peers_.end()) {
      at->second.report = std::move(*report);
    }
  } else if (auto* asked = std::get_if<MemberRequest>(&message)) {
    membership_->OnRequest(from, *asked);
  } else if (auto* answer = std::get_if<MemberAnswer>(&message)) {
    membership_->OnAnswer(from, *answer, NowNs());
  }
  SchedulePump();
}

void Server::Core::OnPeerConnected(const PeerHello& peer) {
  auto at = peers_.find(peer.member);
  if (dead_ || stopped_ || at == peers_.end()) {
    if (!dead_ && !stopped_) {
      seams_.transport->Refuse(
          peer.member, fmt::format("member {} is no peer of member {}", peer.member, options_.id));
    }
    return;
  }
  if (at->second.leaving_ns != 0 && peer.configuration_index <= configuration_.index &&
      configuration_.configuration.Find(options_.id) != nullptr) {
    // Removed, and here anew before its time was up: from now on a stranger, which is told so.
    seams_.transport->RemovePeer(peer.member);
    peers_.erase(at);
    return;
  }
  std::string refusal;
  const raft::Status raft = driver_->raft().status();
  const raft::Member* known = raft.configuration.configuration.Find(peer.member);
  if (peer.cluster_name != options_.cluster_name) {
    refusal = fmt::format("--cluster_name is \"{}\" here and \"{}\" there", options_.cluster_name,
                          peer.cluster_name);
  } else if (peer.cluster != kNoCluster && raft.hardState.clusterId != kNoCluster &&
             peer.cluster != raft.hardState.clusterId && !CONCLAVE_MUTANT(48)) {
    refusal =
        fmt::format("member {} belongs to another cluster (its cluster id differs)", peer.member);
  } else if (known != nullptr && known->incarnation != 0 && peer.incarnation != 0 &&
             known->incarnation != peer.incarnation) {
    refusal = fmt::format(
        "member {} has another data directory (incarnation {:016x}) than the cluster knows "
        "({:016x}): it was emptied or exchanged and does not count until it is re-admitted: "
        "conclave member replace {}",
        peer.member, peer.incarnation, known->incarnation, peer.member);
  }
  if (!refusal.empty()) {
    if (at->second.refused != refusal) {
      LOG(ERROR) << "peer.refused member=" << options_.id << " peer=" << peer.member
                 << " reason=" << refusal;
    }
    at->second.refused = refusal;
    at->second.incarnation = peer.incarnation;
    ++counters_.peers_refused;
    // Even a refused peer proves that a cluster has been started: an empty member must know.
    if (peer.cluster_started && peer.cluster_name == options_.cluster_name &&
        !raft.hardState.clusterStarted) {
      driver_->PeerUp(peer);
    }
    seams_.transport->Refuse(peer.member, refusal);
    SchedulePump();
    return;
  }
  at->second.connected = true;
  at->second.denies = false;
  at->second.hello_index = peer.configuration_index;
  at->second.refused.clear();
  at->second.incarnation = peer.incarnation;
  driver_->PeerUp(peer);
  if (peer.member == leader_) {
    // What was under way on the old link may be lost.
    touch_.Requeue();
    writes_->Resend();
  }
  next_report_ns_ = 0;
  SchedulePump();
}

void Server::Core::OnPeerDisconnected(raft::MemberId peer) {
  auto at = peers_.find(peer);
  if (dead_ || stopped_ || at == peers_.end()) {
    return;
  }
  at->second.connected = false;
  driver_->PeerDown(peer);
  sender_->End(peer, "the link to the peer broke");
  receiver_->PeerDown(peer);
  membership_->OnDisconnected(peer);
  SchedulePump();
}

void Server::Core::OnPeerRefused(raft::MemberId peer, std::string_view reason) {
  auto at = peers_.find(peer);
  if (dead_ || stopped_ || at == peers_.end()) {
    return;
  }
  if (at->second.refused != reason) {
    LOG(WARNING) << "peer.refused_by member=" << options_.id << " peer=" << peer
                 << " reason=" << reason;
  }
  at->second.refused = reason;
  at->second.connected = false;
  driver_->PeerDown(peer);
  sender_->End(peer, "the link to the peer broke");
  receiver_->PeerDown(peer);
  SchedulePump();
}

bool Server::Core::Connected(raft::MemberId peer) const {
  auto at = peers_.find(peer);
  return at != peers_.end() && at->second.connected;
}

void Server::Core::Report() {
  const raft::Raft& raft = driver_->raft();
  MemberReport report;
  report.role = OwnRole();
  report.term = raft.currentTerm();
  report.commit_index = raft.commitIndex();
  report.applied_index = applier_->applied();
  report.leader = raft.leader();
  report.window_begin = homes_->hub().window().begin();
  report.feature_level_max = tree::kFeatureLevelMax;
  report.room = own_room_.room;
  report.problem = Problem();
  for (const auto& [id, peer] : peers_) {
    if (peer.connected) {
      seams_.transport->Send(id, report);
    }
  }
}

void Server::Core::RefreshHello() {
  PeerHello hello = Hello();
  if (hello.cluster != hello_.cluster || hello.cluster_started != hello_.cluster_started ||
      hello.configuration_index != hello_.configuration_index ||
      hello.peer_address != hello_.peer_address) {
    hello_ = hello;
    seams_.transport->SetHello(std::move(hello));
  }
}

// Status pages and leader hints need to know where this member is reached; an entry tells them.
void Server::Core::PublishSelf() {
  const std::int64_t now_ns = NowNs();
  if (leader_ == 0 || now_ns < next_publish_ns_ || stopping_ || !broken_.empty() ||
      room_ != Room::kPlenty || applier_->applied() < driver_->raft().commitIndex() ||
      applier_->applied() == 0) {
    return;
  }
  const auto& members = applier_->machine().members();
  const auto self = members.find(options_.id);
  const raft::Incarnation incarnation = store_->identity().incarnation;
  if (self != members.end() && self->second.incarnation == incarnation &&
      self->second.client_address == options_.client_address &&
      self->second.admin_address == options_.admin_address) {
    return;
  }
  next_publish_ns_ = now_ns + kPublishNs;
  WritePath::Request request;
  request.command = tree::PublishMember{.id = options_.id,
                                        .incarnation = incarnation,
                                        .client_address = options_.client_address,
                                        .admin_address = options_.admin_address};
  request.deadline_ns = next_publish_ns_;
  writes_->Submit(std::move(request));
}

void Server::Core::OnDigest(raft::MemberId from, const DigestReport& report) {
  ++counters_.digests_compared;
  switch (audit_.Add(from, report)) {
    case DigestAudit::Verdict::kNone:
      return;
    case DigestAudit::Verdict::kUndecided:
      // The third may be slow, or dead: it is given some time to decide it.
      if (undecided_index_ == 0) {
        ++counters_.digest_mismatches;
        undecided_index_ = report.index;
        undecided_since_ns_ = NowNs();
      }
      return;
    case DigestAudit::Verdict::kAgreed:
      if (report.index >= undecided_index_) {
        undecided_index_ = 0;
      }
      if (!split_.empty()) {
        LOG(WARNING) << "digest.settled member=" << options_.id << " index=" << report.index;
        split_.clear();
      }
      return;
    case DigestAudit::Verdict::kMinority:
      ++counters_.digest_mismatches;
      Break(
          fmt::format("the state of this member at index {} differs from that of the majority: "
                      "stop it, empty its data directory, start it with --join, and re-admit it: "
                      "conclave member replace {}",
                      report.index, options_.id));
      return;
    case DigestAudit::Verdict::kNoMajority:
      ++counters_.digest_mismatches;
      Split(report.index);
      return;
  }
}

void Server::Core::Split(raft::Index index) {
  if (split_.empty()) {
    split_ =
        fmt::format("the states of the members at index {} differ and none has a majority", index);
    LOG(ERROR) << "digest.no_majority member=" << options_.id << " index=" << index;
  }
}

void Server::Core::CheckUndecided(std::int64_t now_ns) {
  if (undecided_index_ != 0 && now_ns - undecided_since_ns_ > kUndecidedNs) {
    Split(undecided_index_);
  }
}

// What this member would answer may be wrong, so it answers nothing any more. Its log is checked by
// chains and is as good as before: it goes on storing and voting, but leads no longer.
void Server::Core::Break(const std::string& reason) {
  if (!broken_.empty()) {
    return;
  }
  broken_ = reason;
  split_.clear();
  undecided_index_ = 0;
  LOG(ERROR) << "digest.minority member=" << options_.id << " reason=" << reason;
  driver_->Mute();
  expiry_.Follow();
  homes_->DropPolls(MakeFailure(tree::Code::kCorruption, reason));
  reads_->FailAll(tree::Code::kCorruption, reason);
  writes_->FailAll(reason);
}

std::vector<std::string> Server::Core::Elsewhere(tree::Cursor cursor) const {
  std::vector<std::string> addresses;
  for (const auto& [id, peer] : peers_) {
    if (!peer.connected || !peer.report || cursor < peer.report->window_begin) {
      continue;
    }
    const auto published = applier_->machine().members().find(id);
    if (published != applier_->machine().members().end() &&
        !published->second.client_address.empty()) {
      addresses.push_back(published->second.client_address);
    }
  }
  return addresses;
}

}  // namespace conclave::server
