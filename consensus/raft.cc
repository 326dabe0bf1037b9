#include "consensus/raft.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

const char* ToString(RoleName role) {
  switch (role) {
    case RoleName::kFollower:
      return "follower";
    case RoleName::kPreCandidate:
      return "pre-candidate";
    case RoleName::kCandidate:
      return "candidate";
    case RoleName::kLeader:
      return "leader";
  }
  return "unknown";
}

std::optional<std::string> Options::Validate() const {
  if (id == 0 || id >= kNumberMax) {
    return "id must be between 1 and 2^62 - 1";
  }
  if (incarnation == 0) {
    return "incarnation must not be 0";
  }
  if (initial_members.size() > kMembersMax) {
    return "initial_members must not name more than 64 members";
  }
  for (const InitialMember& member : initial_members) {
    if (member.id == 0 || member.id >= kNumberMax) {
      return "initial_members must be named by ids between 1 and 2^62 - 1";
    }
    if (member.peer_address.size() > kAddressBytesMax) {
      return "initial_members must not have addresses of more than 255 bytes";
    }
  }
  if (heartbeat_ticks == 0 || heartbeat_ticks >= election_ticks_min) {
    return "heartbeat_ticks must be at least 1 and below election_ticks_min";
  }
  if (election_ticks_max < election_ticks_min) {
    return "election_ticks_max must not be below election_ticks_min";
  }
  if (failover_retry_ticks_min == 0 || failover_retry_ticks_max < failover_retry_ticks_min) {
    return "failover_retry_ticks_min must be between 1 and failover_retry_ticks_max";
  }
  if (disk_stall_ticks > election_ticks_max) {
    return "disk_stall_ticks must not be above election_ticks_max";
  }
  if (append_bytes_max == 0 || append_entries_max == 0 || inflight_messages_max == 0 ||
      inflight_bytes_max == 0 || uncommitted_bytes_max == 0 || committed_bytes_max == 0 ||
      reads_pending_max == 0) {
    return "a limit must not be 0";
  }
  return std::nullopt;
}

// --- Construction ---

Raft::Core::Core(Options options, Restored restored, const LogReader& reader, RandomSource& random)
    : options_(std::move(options)),
      random_(random),
      hard_(restored.hardState),
      log_(restored, reader),
      commitIndex_(restored.commitIndex),
      lastApplied_(restored.lastApplied) {
  const auto wrong = options_.Validate();
  CHECK(!wrong) << *wrong;
  CHECK(restored.start.index <= lastApplied_ && lastApplied_ <= commitIndex_ &&
        commitIndex_ <= log_.lastIndex())
      << "restored indices: start " << restored.start.index << ", applied " << lastApplied_
      << ", commit " << commitIndex_ << ", last " << log_.lastIndex();
  CHECK_GE(hard_.currentTerm, log_.last().term) << "the log has entries of a later term";
  durableIndex_ = handedToDisk_ = log_.lastIndex();
  handedToApply_ = lastApplied_;
  // A member asks under ids that it cannot have used before it was restarted, else a late answer to
  // the old question would pass for one to the new.
  read_request_id_ = random_.Next() >> 2;

  IndexedConfiguration flags;
  for (const InitialMember& member : options_.initial_members) {
    flags.configuration.members.push_back({member.id,
                                           member.id == options_.id ? options_.incarnation : 0,
                                           MemberKind::kVoter, member.peer_address});
  }
  auto& members = flags.configuration.members;
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  members.erase(std::unique(members.begin(), members.end(),
                            [](const Member& a, const Member& b) { return a.id == b.id; }),
                members.end());
  configs_.push_back(std::move(flags));
  for (IndexedConfiguration& config : restored.configurations) {
    for (Member& member : config.configuration.members) {
      member.kind = CONCLAVE_MUTANT(23) ? MemberKind::kVoter : member.kind;
    }
    CHECK_GT(config.index, configs_.back().index);
    NoteConfiguration(config.configuration);
    configs_.push_back(std::move(config));
  }
  config_news_ = false;
  CHECK(log_empty() || configs_.size() > 1) << "a log that is not empty has a configuration";
  CHECK(restored.start.index == 0 || configs_[1].index <= restored.start.index)
      << "the configuration at the log's start is missing";
  CHECK_LE(config().index, log_.lastIndex()) << "a configuration that is not in the log";
  ForgetConfigurations();
  if (!log_empty() && config().configuration.Find(options_.id) != nullptr) {
    const Incarnation named = config().configuration.Find(options_.id)->incarnation;
    incarnation_refused_ = named != 0 && named != options_.incarnation;
  }

  role_ = Follower{};
  SetTimer(std::get<Follower>(role_).timer, ElectionTimeout());
  role_told_ = CurrentRole();
  last_look_ = {hard_.currentTerm, commitIndex_, lastApplied_, false, log_.last()};
  if (commitIndex_ > 0) {
    LearnClusterStarted();
    LearnClusterId();
  }
  if (MayCampaign() && CountsSelf() && config().configuration.voter_count() == 1) {
    Campaign();  // Nobody else could lead, and nobody could be disturbed.
  }
  CheckSelf();
}

// --- Members and incarnations ---

void Raft::Core::LearnClusterStarted() {
  if (!hard_.clusterStarted) {
    hard_.clusterStarted = true;
    hard_unsaved_ = true;
  }
  if (log_empty() && !std::holds_alternative<Follower>(role_)) {
    BecomeFollower(hard_.currentTerm, 0);  // It was about to start another cluster.
  }
}

void Raft::Core::LearnClusterId() {
  const IndexedConfiguration& committed = ConfigAt(commitIndex_);
  if (hard_.clusterId == ClusterId{} && committed.index != 0) {
    hard_.clusterId = committed.configuration.clusterId;
    hard_unsaved_ = true;
  }
}

std::uint64_t Raft::Core::QuorumValue(std::vector<std::uint64_t>& values) const {
  const std::size_t quorum = config().configuration.quorum();
  if (values.size() < quorum) {
    return 0;
  }
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(quorum - 1);
  std::nth_element(values.begin(), at, values.end(), std::greater<>());
  return *at;
}

void Raft::Core::PeerUp(MemberId peer, Incarnation incarnation, bool cluster_started) {
  if (peer == options_.id || config().configuration.Find(peer) == nullptr || incarnation == 0) {
    ++counters_.from_unknown_member;
    return;
  }
  const Incarnation named = config().configuration.Find(peer)->incarnation;
  if (!log_empty() && named != 0 && named != incarnation) {
    ++counters_.from_wrong_incarnation;
    return;
  }
  met_[peer] = incarnation;
  if (cluster_started) {
    LearnClusterStarted();
  }
  if (auto* leader = std::get_if<Leader>(&role_)) {
    for (Progress& progress : leader->peers) {
      if (progress.id == peer) {
        progress.reachable = true;
        leader->send_pending = true;
        if (progress.void_incarnation == incarnation) {
          progress.void_incarnation = 0;
        }
      }
    }
    MaybeRegisterIncarnations();
  }
}

void Raft::Core::PeerDown(MemberId peer) {
  met_.erase(peer);  // Its next hello says who it is then.
  if (auto* leader = std::get_if<Leader>(&role_)) {
    for (Progress& progress : leader->peers) {
      if (progress.id == peer) {
        // What was on its way is lost with the connection.
        progress.BecomeProbing(progress.matchIndex + 1);
        progress.reachable = false;
      }
    }
    std::erase_if(leader->departing, [&](const Departing& gone) { return gone.peer.id == peer; });
    if (leader->transfer && leader->transfer->to == peer) {
      AbandonTransfer(*leader);
    }
    return;
  }
  auto* follower = std::get_if<Follower>(&role_);
  if (follower == nullptr || follower->leader != peer || peer == 0) {
    return;
  }
  // A closed connection is better evidence than silence. The others see theirs closed too, so
  // pre-vote, which asks for their leader contact, lets this through only if the leader is gone.
  FailReads(follower->reads);
  follower->leader = 0;
  failover_ticks_left_ = options_.election_ticks_max;
  const std::uint32_t wait = Draw(0, options_.failover_ticks_max);
  SetTimer(follower->timer, std::max<std::uint32_t>(wait, 1));
  if (wait == 0) {
    Campaign();
  }
}

// --- Inputs ---

void Raft::Core::Step(MemberId from, Message message) {
  if (from == options_.id || !TakesFrom(from, message)) {
    ++counters_.from_unknown_member;
    return;
  }
  std::visit(
      [&](auto& known) {
        if (known.term >= kNumberMax) {
          ++counters_.malformed;
          return;
        }
        Receive(from, known);
      },
      message);
}

void Raft::Core::Tick() {
  failover_ticks_left_ -= failover_ticks_left_ > 0 ? 1 : 0;
  disk_wait_ticks_ = in_flight_.empty() ? 0 : disk_wait_ticks_ + 1;
  if (auto* leader = std::get_if<Leader>(&role_)) {
    TickLeader(*leader);
  } else if (auto* candidate = std::get_if<Candidate>(&role_)) {
    TickElection(candidate->timer);
  } else if (auto* pre_candidate = std::get_if<PreCandidate>(&role_)) {
    TickElection(pre_candidate->timer);
  } else {
    auto& follower = std::get<Follower>(role_);
    follower.ticks_since_contact += follower.leader != 0 ? 1 : 0;
    TickForwardedReads(follower);
    TickElection(follower.timer);
  }
}

tl::expected<EntryId, ProposeError> Raft::Core::Propose(
    std::span<const std::shared_ptr<const std::string>> commands) {
  CHECK(!commands.empty());
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    ++counters_.proposals_refused;
    return tl::unexpected(ProposeError::kNotLeader);
  }
  if (leader->transfer) {
    ++counters_.proposals_refused;
    return tl::unexpected(ProposeError::kTransferring);
  }
  std::size_t bytes = 0;
  for (const auto& command : commands) {
    CHECK(command != nullptr);
    bytes += command->size();
  }
  // One batch is always taken when nothing is pending, else one above the limit would starve.
  if (leader->uncommitted_bytes > 0 &&
      leader->uncommitted_bytes + bytes > options_.uncommitted_bytes_max) {
    ++counters_.proposals_refused;
    return tl::unexpected(ProposeError::kTooMuchPending);
  }
  const EntryId first{hard_.currentTerm, log_.lastIndex() + 1};
  for (const auto& command : commands) {
    AppendToOwnLog(EntryKind::kCommand, command);
  }
  return first;
}

void Raft::Core::Persisted(PersistId id) {
  CHECK_LE(id, last_id_) << "a Ready that was never taken";
  persisted_id_ = std::max(persisted_id_, id);
  if (term_vote_in_flight_ != 0 && term_vote_in_flight_ <= id) {
    term_vote_in_flight_ = 0;
  }
  while (!in_flight_.empty() && in_flight_.front().id <= id) {
    durableIndex_ = std::max(durableIndex_, in_flight_.front().last);
    in_flight_.pop_front();
    disk_wait_ticks_ = 0;
  }
  if (install_in_flight_ <= id) {
    install_in_flight_ = 0;
  }
  if (std::holds_alternative<Leader>(role_)) {
    MaybeCommit();
  }
  Evict();
}

void Raft::Core::Applied(Index index) {
  CHECK_LE(index, handedToApply_) << "applied what was never handed out";
  lastApplied_ = std::max(lastApplied_, index);
  while (!apply_in_flight_.empty() && apply_in_flight_.front().first <= index) {
    apply_in_flight_bytes_ -= apply_in_flight_.front().second;
    apply_in_flight_.pop_front();
  }
  ForgetConfigurations();
  Evict();
}

void Raft::Core::Evict() {
  log_.Evict(std::min(durableIndex_, lastApplied_), options_.window_bytes_max);
}

// --- Outputs ---

void Raft::Core::SetTermAndVote(Term term, MemberId vote) {
  CHECK(term > hard_.currentTerm ||
        (term == hard_.currentTerm && (hard_.votedFor == 0 || hard_.votedFor == vote)))
      << "term " << hard_.currentTerm << " vote " << hard_.votedFor << " to " << term << ", "
      << vote;
  if (term == hard_.currentTerm && vote == hard_.votedFor) {
    return;  // A request for the vote it has already: nothing new to write.
  }
  if (term != hard_.currentTerm) {
    // Acknowledgements to a leader of an earlier term are of no use, and what they name may be
    // overwritten in the same write.
    std::erase_if(send_after_persist_, [](const Envelope& envelope) {
      return std::holds_alternative<AppendEntriesReply>(envelope.message);
    });
  }
  hard_.currentTerm = term;
  hard_.votedFor = vote;
  hard_unsaved_ = term_vote_unsaved_ = true;
}

void Raft::Core::Send(MemberId to, Message message) {
  (TermDurable() ? send_now_ : send_after_persist_).push_back({to, std::move(message)});
}

void Raft::Core::SendAfterPersist(MemberId to, Message message) {
  send_after_persist_.push_back({to, std::move(message)});
}

bool Raft::Core::MayHandOut() const {
  // Between an installation and its application there is no state to apply anything to.
  return handedToApply_ < commitIndex_ && lastApplied_ >= log_.start().index && !log_.failure() &&
         apply_in_flight_bytes_ < 2 * options_.committed_bytes_max;
}

bool Raft::Core::HasReady() const {
  if (hard_unsaved_ || install_ || truncate_pending_ != 0 || handedToDisk_ < log_.lastIndex() ||
      !send_now_.empty() || !send_after_persist_.empty() || !reads_.empty() ||
      !reads_failed_.empty() || config_news_ || MayHandOut() ||
      (log_.failure() && !failure_told_) || !(role_told_ == CurrentRole())) {
    return true;
  }
  if (const auto* leader = std::get_if<Leader>(&role_)) {
    const bool reads_waiting = !leader->queued.local.empty() || !leader->queued.remote.empty();
    return leader->send_pending || leader->heartbeat_pending ||
           (reads_waiting && commitIndex_ >= leader->term_start);
  }
  const auto* follower = std::get_if<Follower>(&role_);
  return follower != nullptr && !follower->reads.queued.empty();
}

void Raft::Core::TakeUnsaved(Ready& ready) {
  if (hard_unsaved_) {
    ready.hardState = hard_;
    hard_unsaved_ = false;
  }
  if (term_vote_unsaved_) {
    term_vote_unsaved_ = false;
    term_vote_in_flight_ = ready.id;
  }
  ready.install = std::exchange(install_, std::nullopt);
  install_in_flight_ = ready.install ? ready.id : install_in_flight_;
  ready.truncateFrom = std::exchange(truncate_pending_, 0);
  if (handedToDisk_ < log_.lastIndex()) {
    ready.append.reserve(log_.lastIndex() - handedToDisk_);
    log_.Copy(handedToDisk_ + 1, log_.lastIndex(), std::numeric_limits<std::size_t>::max(),
              std::numeric_limits<std::size_t>::max(), ready.append);
    handedToDisk_ = log_.lastIndex();
  }
  if (ready.needs_persist()) {
    in_flight_.push_back({ready.id, handedToDisk_});
  }
}

void Raft::Core::TakeCommitted(Ready& ready) {
  if (!MayHandOut()) {
    return;
  }
  log_.Copy(handedToApply_ + 1, commitIndex_, options_.committed_bytes_max,
            std::numeric_limits<std::size_t>::max(), ready.committed);
  if (ready.committed.empty()) {
    return;  // Unreadable; said in failure.
  }
  std::size_t bytes = 0;
  for (const Entry& entry : ready.committed) {
    bytes += EntryBytes(entry);
  }
  handedToApply_ = ready.committed.back().index;
  apply_in_flight_.emplace_back(handedToApply_, bytes);
  apply_in_flight_bytes_ += bytes;
}

Ready Raft::Core::TakeReady() {
  if (auto* leader = std::get_if<Leader>(&role_)) {
    SendAppends(*leader);
  } else if (auto* follower = std::get_if<Follower>(&role_)) {
    ForwardReads(*follower);
  }
  Ready ready;
  ready.id = ++last_id_;
  TakeUnsaved(ready);
  TakeCommitted(ready);
  ready.sendNow = std::exchange(send_now_, {});
  auto& after = in_flight_.empty() ? ready.sendNow : ready.sendAfterPersist;
  after.insert(after.end(), std::make_move_iterator(send_after_persist_.begin()),
               std::make_move_iterator(send_after_persist_.end()));
  send_after_persist_.clear();
  ready.sendSnapshot = std::exchange(send_snapshot_, {});
  ready.reads = std::exchange(reads_, {});
  ready.readsFailed = std::exchange(reads_failed_, {});
  if (const RoleChange now = CurrentRole(); !(now == role_told_)) {
    ready.roleChange = role_told_ = now;
  }
  if (std::exchange(config_news_, false)) {
    ready.configuration = config();
  }
  ready.failure = log_.failure();
  failure_told_ = ready.failure.has_value();
  return ready;
}

// --- Looks ---

RoleName Raft::Core::role_name() const {
  static constexpr RoleName kNames[] = {RoleName::kFollower, RoleName::kPreCandidate,
                                        RoleName::kCandidate, RoleName::kLeader};
  return kNames[role_.index()];
}

MemberId Raft::Core::leader() const {
  if (const auto* follower = std::get_if<Follower>(&role_)) {
    return follower->leader;
  }
  return std::holds_alternative<Leader>(role_) ? options_.id : 0;
}

RoleChange Raft::Core::CurrentRole() const { return {role_name(), hard_.currentTerm, leader()}; }

Status Raft::Core::status() const {
  Status status;
  status.id = options_.id;
  status.role = role_name();
  status.leader = leader();
  status.hardState = hard_;
  status.commitIndex = commitIndex_;
  status.lastApplied = lastApplied_;
  status.firstIndex = log_.start().index + 1;
  status.last = log_.last();
  status.durableIndex = durableIndex_;
  status.configuration = config();
  status.incarnation_refused = incarnation_refused_;
  status.removed = Removed();
  status.counters = counters_;
  if (const auto* leader = std::get_if<Leader>(&role_)) {
    status.uncommitted_bytes = leader->uncommitted_bytes;
    status.transferring_to = leader->transfer ? leader->transfer->to : 0;
    for (const Progress& peer : leader->peers) {
      status.peers.push_back({peer.id, peer.matchIndex, peer.nextIndex, peer.replicating,
                              peer.snapshotting, Counts(peer.id, peer.incarnation),
                              peer.recently_active, config().configuration.Find(peer.id)->kind,
                              Active(peer), peer.catch_up.caught_up});
    }
  }
  return status;
}

// --- Raft: the face of Core; every input ends with a look at the invariants ---

Raft::Raft(Options options, Restored restored, const LogReader& reader, RandomSource& random)
    : core_(std::make_unique<Core>(std::move(options), std::move(restored), reader, random)) {}

Raft::Raft(std::unique_ptr<Core> core) : core_(std::move(core)) {}

Raft::~Raft() = default;

void Raft::Step(MemberId from, Message message) {
  core_->Step(from, std::move(message));
  core_->CheckSelf();
}

void Raft::Tick() {
  core_->Tick();
  core_->CheckSelf();
}

tl::expected<EntryId, ProposeError> Raft::Propose(
    std::span<const std::shared_ptr<const std::string>> commands) {
  auto result = core_->Propose(commands);
  core_->CheckSelf();
  return result;
}

tl::expected<ReadId, ReadError> Raft::ReadIndex() {
  auto result = core_->ReadIndex();
  core_->CheckSelf();
  return result;
}

tl::expected<EntryId, ConfigChangeError> Raft::ProposeConfigChange(const ConfigChange& change) {
  auto result = core_->ProposeConfigChange(change);
  core_->CheckSelf();
  return result;
}

tl::expected<void, TransferError> Raft::TransferLeadership(MemberId to) {
  auto result = core_->TransferLeadership(to);
  core_->CheckSelf();
  return result;
}

void Raft::Persisted(PersistId id) {
  core_->Persisted(id);
  core_->CheckSelf();
}

void Raft::Applied(Index index) {
  core_->Applied(index);
  core_->CheckSelf();
}

void Raft::PeerUp(MemberId peer, Incarnation incarnation, bool cluster_started) {
  core_->PeerUp(peer, incarnation, cluster_started);
  core_->CheckSelf();
}

void Raft::PeerDown(MemberId peer) {
  core_->PeerDown(peer);
  core_->CheckSelf();
}

bool Raft::HasReady() const { return core_->HasReady(); }

Ready Raft::TakeReady() {
  Ready ready = core_->TakeReady();
  core_->CheckSelf();
  return ready;
}

RoleName Raft::role() const { return core_->role_name(); }

MemberId Raft::leader() const { return core_->leader(); }

Term Raft::currentTerm() const { return core_->currentTerm(); }

Index Raft::commitIndex() const { return core_->commitIndex(); }

std::optional<std::uint64_t> Raft::ChainAt(Index index) const { return core_->ChainAt(index); }

Status Raft::status() const { return core_->status(); }

}  // namespace conclave::raft
