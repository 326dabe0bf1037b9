// Elections: dissertation sections 3.4 (election), 3.6.1 (restriction), 4.2.3 (disruptive members),
// 6.2 (a leader without a quorum steps down), 9.6 (pre-vote).

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

bool Raft::Core::HearsLeader(MemberId from) const {
  if (CONCLAVE_MUTANT(21)) {
    return false;
  }
  if (const auto* follower = std::get_if<Follower>(&role_)) {
    // A leader that asks for votes has said itself that it leads no longer.
    return follower->leader != 0 && follower->leader != from &&
           follower->ticks_since_contact < options_.election_ticks_min;
  }
  // A leader hears itself until check-quorum ends its office.
  return std::holds_alternative<Leader>(role_);
}

std::uint32_t Raft::Core::CampaignTimeout() {
  return failover_ticks_left_ > 0
             ? Draw(options_.failover_retry_ticks_min, options_.failover_retry_ticks_max)
             : ElectionTimeout();
}

/// Whoever waits for an outcome from this role learns that it will not come.
void Raft::Core::LeaveRole() {
  if (auto* leader = std::get_if<Leader>(&role_)) {
    FailReads(*leader);
  } else if (auto* follower = std::get_if<Follower>(&role_)) {
    FailReads(follower->reads);
  }
  // Confirmed, but not handed over yet: the confirmation holds, yet a driver is easier to get right
  // if no read of a leader comes out after the news of its end.
  if (CONCLAVE_MUTANT(14)) {
    return;
  }
  for (const ReadReady& read : reads_) {
    reads_failed_.push_back(read.id);
    ++counters_.reads_failed;
  }
  reads_.clear();
}

void Raft::Core::BecomeFollower(Term term, MemberId leader) {
  auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr || term != hard_.currentTerm) {
    LeaveRole();
    if (term != hard_.currentTerm) {
      SetTermAndVote(term, 0);
    }
    role_ = Follower{};
    follower = &std::get<Follower>(role_);
    SetTimer(follower->timer, CampaignTimeout());
  }
  if (leader != 0 && follower->leader != leader) {
    FailReads(follower->reads);
    follower->leader = leader;
    failover_ticks_left_ = 0;
    SetTimer(follower->timer, ElectionTimeout());
    follower->ticks_since_contact = 0;
  }
}

void Raft::Core::HeardLeader(Follower& follower) {
  follower.ticks_since_contact = 0;
  follower.timer.ticks_left = follower.timer.timeout;
}

bool Raft::Core::DiskStalled() const {
  return disk_wait_ticks_ > options_.election_ticks_max && config().configuration.voter_count() > 1;
}

void Raft::Core::TickElection(ElectionTimer& timer) {
  timer.ticks_left -= timer.ticks_left > 0 ? 1 : 0;
  if (timer.ticks_left == 0) {
    Campaign();
  }
}

void Raft::Core::TickLeader(Leader& leader) {
  if (++leader.heartbeat_elapsed >= options_.heartbeat_ticks) {
    leader.heartbeat_elapsed = 0;
    leader.heartbeat_pending = true;
  }
  if (DiskStalled()) {
    // It could commit through the disks of others for ever, but not restart after them.
    BecomeFollower(hard_.currentTerm, 0);
    return;
  }
  TickTransfer(leader);
  TickMembers(leader);
  if (++leader.quorum_elapsed < options_.election_ticks_min) {
    return;
  }
  // Check-quorum (section 6.2): without it a leader that hears nobody would hold its clients.
  leader.quorum_elapsed = 0;
  std::size_t active = CountsSelf() ? 1 : 0;
  for (Progress& peer : leader.peers) {
    active += peer.recently_active && Counts(peer.id, peer.incarnation) ? 1 : 0;
    peer.recently_active = false;
  }
  if (active < config().configuration.quorum()) {
    ++counters_.steps_down_for_quorum;
    BecomeFollower(hard_.currentTerm, 0);
  }
}

void Raft::Core::Campaign() {
  // A member whose disk is stuck could not make its vote durable; one that is not eligible waits to
  // be told of the cluster.
  if (!MayCampaign() || DiskStalled() || hard_.currentTerm + 1 >= kNumberMax) {
    BecomeFollower(hard_.currentTerm, 0);
    auto& follower = std::get<Follower>(role_);
    FailReads(follower.reads);
    follower.leader = 0;
    SetTimer(follower.timer, ElectionTimeout());
    return;
  }
  LeaveRole();
  if (CONCLAVE_MUTANT(21)) {
    BecomeCandidate(false);
    return;
  }
  ++counters_.prevotes_started;
  PreCandidate role;
  SetTimer(role.timer, CampaignTimeout());
  VoteForSelf(role.votes);
  role_ = std::move(role);
  if (WinsWith(std::get<PreCandidate>(role_).votes)) {
    BecomeCandidate(false);
  } else {
    SendVoteRequests(true, hard_.currentTerm + 1, false);
  }
}

/// One that is about to lose its vote campaigns without it (section 4.2.2).
void Raft::Core::VoteForSelf(std::map<MemberId, Vote>& votes) const {
  if (CountsSelf()) {
    votes[options_.id] = {true, options_.incarnation};
  }
}

void Raft::Core::BecomeCandidate(bool told) {
  ++counters_.elections_started;
  SetTermAndVote(hard_.currentTerm + 1, options_.id);
  Candidate role;
  SetTimer(role.timer, CampaignTimeout());
  VoteForSelf(role.votes);
  role_ = std::move(role);
  if (WinsWith(std::get<Candidate>(role_).votes)) {
    BecomeLeader();
  } else {
    SendVoteRequests(false, hard_.currentTerm, told);
  }
}

void Raft::Core::SendVoteRequests(bool pre_vote, Term term, bool told) {
  const EntryId last = log_.last();
  for (const Member& member : config().configuration.members) {
    if (member.id == options_.id || member.kind != MemberKind::kVoter) {
      continue;
    }
    RequestVote request{term,
                        last.index,
                        last.term,
                        pre_vote,
                        !hard_.clusterStarted,
                        options_.incarnation,
                        log_empty() ? 0 : member.incarnation,
                        told};
    if (pre_vote) {
      Send(member.id, request);
    } else {
      SendAfterPersist(member.id, request);  // It tells of this member's vote for itself.
    }
  }
}

bool Raft::Core::WinsWith(const std::map<MemberId, Vote>& votes) const {
  const auto granted = std::count_if(votes.begin(), votes.end(),
                                     [](const auto& vote) { return vote.second.granted; });
  return static_cast<std::size_t>(granted) >= config().configuration.quorum();
}

Configuration Raft::Core::BootstrapConfiguration(const std::map<MemberId, Vote>& votes) {
  Configuration configuration = config().configuration;
  for (std::size_t i = 0; i < configuration.clusterId.size(); i += 8) {
    const std::uint64_t bits = random_.Next();
    for (std::size_t j = 0; j < 8; ++j) {
      configuration.clusterId[i + j] = static_cast<std::uint8_t>(bits >> (8 * j));
    }
  }
  for (Member& member : configuration.members) {
    if (const auto vote = votes.find(member.id); vote != votes.end() && vote->second.granted) {
      member.incarnation = vote->second.incarnation;
    } else if (const auto met = met_.find(member.id); met != met_.end()) {
      member.incarnation = met->second;
    }
  }
  return configuration;
}

void Raft::Core::BecomeLeader() {
  ++counters_.elections_won;
  const auto votes = std::move(std::get<Candidate>(role_).votes);
  const EntryId last_before = log_.last();
  role_ = Leader{};
  auto& leader = std::get<Leader>(role_);
  failover_ticks_left_ = 0;
  leader.term_start = last_before.index + 1;
  while (CONCLAVE_MUTANT(18) && configs_.size() > 1 && configs_.back().index > commitIndex_) {
    configs_.pop_back();
  }
  leader.handover_pause = options_.election_ticks_min;
  leader.counted_from = std::max(commitIndex_, log_.base_index()) + 1;
  for (Index index = leader.counted_from; index <= last_before.index; ++index) {
    leader.uncommitted_bytes += EntryBytes(log_.At(index));
  }
  SyncPeers(leader);
  if (log_empty()) {
    // The first entry of a cluster names its id and who took part in starting it.
    AppendToOwnLog(EntryKind::kConfig,
                   std::make_shared<const std::string>(BootstrapConfiguration(votes).Encode()));
  } else {
    AppendToOwnLog(EntryKind::kNoop, nullptr);  // Section 6.4 and 3.6.2: commits what came before.
  }
}

/// Whether this member, this candidate and this moment allow a vote at all; the log and the vote
/// already given are looked at afterwards.
bool Raft::Core::MayVote(MemberId from, const RequestVote& message) {
  if (hard_.clusterStarted && message.bootstrap) {
    return false;  // It learns from the reply that there is a cluster.
  }
  // A voter that was wiped has forgotten what it acknowledged. It is recognised by its log, or by
  // not being the one that the candidate counts on. Its own configuration does not matter otherwise
  // (section 4.1): the candidate's may be the later one, and the vote be needed.
  const bool counted_on = message.voterIncarnation == options_.incarnation;
  const bool starting = message.lastLogIndex == 0 || !log_empty();
  if (!counted_on && !(starting && MayCampaign())) {
    ++counters_.votes_refused_incarnation;
    return false;
  }
  if (HearsLeader(from) && !message.leadershipTransfer) {
    ++counters_.votes_refused_leader_alive;  // Section 4.2.3; nor is the term taken over.
    return false;
  }
  return true;
}

void Raft::Core::Receive(MemberId from, const RequestVote& message) {
  if (message.lastLogIndex >= kNumberMax || message.lastLogTerm > message.term ||
      (message.lastLogIndex == 0) != (message.lastLogTerm == 0) || message.incarnation == 0 ||
      (message.preVote && message.leadershipTransfer)) {
    ++counters_.malformed;
    return;
  }
  RequestVoteReply reply;
  reply.preVote = message.preVote;
  reply.incarnation = options_.incarnation;
  reply.clusterStarted = hard_.clusterStarted;
  bool granted = false;
  if (message.term < hard_.currentTerm) {
    ++counters_.stale_term;
  } else if (MayVote(from, message)) {
    if (!message.preVote && message.term > hard_.currentTerm) {
      BecomeFollower(message.term, 0);
    }
    const EntryId last = log_.last();
    // Section 3.6.1: a candidate's log must be at least as up to date as the voter's.
    const bool up_to_date = EntryId{message.lastLogTerm, message.lastLogIndex} >= last ||
                            CONCLAVE_MUTANT(6) || (message.preVote && CONCLAVE_MUTANT(22));
    counters_.votes_refused_log += up_to_date ? 0 : 1;
    const bool vote_free = message.preVote ? message.term > hard_.currentTerm
                                           : (hard_.votedFor == 0 || hard_.votedFor == from);
    granted = up_to_date && vote_free;
  }
  reply.voteGranted = granted;
  reply.term = granted ? message.term : hard_.currentTerm;
  if (granted && !message.preVote) {
    SetTermAndVote(message.term, from);
    if (auto* follower = std::get_if<Follower>(&role_)) {
      SetTimer(follower->timer, CampaignTimeout());
    }
    SendAfterPersist(from, reply);
  } else {
    Send(from, reply);
  }
}

void Raft::Core::CountVote(MemberId from, const RequestVoteReply& message,
                           std::map<MemberId, Vote>& votes) {
  // While nothing has begun, every initial member counts as whoever it says it is.
  const bool counts = log_empty() ? config().configuration.IsVoter(from) && message.incarnation != 0
                                  : Counts(from, message.incarnation);
  if (!counts) {
    ++counters_.from_wrong_incarnation;
    return;
  }
  const MemberId again = CONCLAVE_MUTANT(7) && votes.contains(from) ? kNumberMax + votes.size() : 0;
  votes[from + again] = {true, message.incarnation};
}

void Raft::Core::Receive(MemberId from, const RequestVoteReply& message) {
  if (message.clusterStarted) {
    LearnClusterStarted();
  }
  if (!message.voteGranted) {
    if (message.term > hard_.currentTerm) {
      BecomeFollower(message.term, 0);
    }
    return;
  }
  if (auto* pre_candidate = std::get_if<PreCandidate>(&role_)) {
    if (message.preVote && message.term == hard_.currentTerm + 1) {
      CountVote(from, message, pre_candidate->votes);
      if (WinsWith(pre_candidate->votes)) {
        BecomeCandidate(false);
      }
      return;
    }
  } else if (auto* candidate = std::get_if<Candidate>(&role_)) {
    if (!message.preVote && message.term == hard_.currentTerm) {
      CountVote(from, message, candidate->votes);
      if (WinsWith(candidate->votes)) {
        BecomeLeader();
      }
      return;
    }
  }
  ++counters_.stale_term;  // A vote for a campaign that is over.
}

}  // namespace conclave::raft
