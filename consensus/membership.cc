// Who belongs to the cluster: dissertation sections 4.1 (one change at a time), 4.2.1 (catching
// up), 4.2.2 (removing the leader), 4.2.3 (disruptive members).

#include "consensus/membership.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "consensus/core.h"

namespace conclave::raft {

const char* ToString(ConfigChangeError error) {
  switch (error) {
    case ConfigChangeError::kNotLeader:
      return "this member does not lead";
    case ConfigChangeError::kTransferring:
      return "leadership is being handed over; ask the next leader";
    case ConfigChangeError::kTermNotStarted:
      return "the leader has just been elected and has committed nothing yet; try again";
    case ConfigChangeError::kChangeInProgress:
      return "another change of the membership is under way; try again";
    case ConfigChangeError::kBadId:
      return "a member's id must be between 1 and 2^62 - 1";
    case ConfigChangeError::kBadAddress:
      return "a peer address must have between 1 and 255 bytes";
    case ConfigChangeError::kUnknownMember:
      return "no member has this id";
    case ConfigChangeError::kAlreadyMember:
      return "a member has this id already";
    case ConfigChangeError::kAlreadyVoter:
      return "the member is a voter already";
    case ConfigChangeError::kTooManyMembers:
      return "the cluster has 64 members, which is the limit";
    case ConfigChangeError::kNotCaughtUp:
      return "the member has not caught up with the log, or is not heard from";
    case ConfigChangeError::kLastVoter:
      return "the cluster would be left without a voter";
    case ConfigChangeError::kUnsafe:
      return "fewer voters are heard from than the new configuration needs for a quorum";
  }
  return "unknown";
}

// --- What a change makes of a configuration ---

namespace {

using Kind = ConfigChange::Kind;

bool AddressFits(const ConfigChange& change) {
  if (change.kind == Kind::kPromote || change.kind == Kind::kRemove) {
    return true;
  }
  const bool may_be_empty = change.kind == Kind::kReadmit;
  return change.peer_address.size() <= kAddressBytesMax &&
         (may_be_empty || !change.peer_address.empty());
}

tl::expected<Configuration, ConfigChangeError> Added(Configuration next,
                                                     const ConfigChange& change) {
  if (next.Find(change.id) != nullptr) {
    return tl::unexpected(ConfigChangeError::kAlreadyMember);
  }
  if (next.members.size() >= kMembersMax) {
    return tl::unexpected(ConfigChangeError::kTooManyMembers);
  }
  const auto place = std::find_if(next.members.begin(), next.members.end(),
                                  [&](const Member& member) { return member.id > change.id; });
  const MemberKind kind =
      change.kind == Kind::kAddObserver ? MemberKind::kObserver : MemberKind::kLearner;
  next.members.insert(place, Member{change.id, 0, kind, change.peer_address});
  return next;
}

}  // namespace

tl::expected<Configuration, ConfigChangeError> Changed(const Configuration& before,
                                                       const ConfigChange& change) {
  if (change.id == 0 || change.id >= kNumberMax) {
    return tl::unexpected(ConfigChangeError::kBadId);
  }
  if (!AddressFits(change)) {
    return tl::unexpected(ConfigChangeError::kBadAddress);
  }
  if (change.kind == Kind::kAddLearner || change.kind == Kind::kAddObserver) {
    return Added(before, change);
  }
  Configuration next = before;
  Member* member = next.Find(change.id);
  if (member == nullptr) {
    return tl::unexpected(ConfigChangeError::kUnknownMember);
  }
  switch (change.kind) {
    case Kind::kPromote:
      if (member->kind == MemberKind::kVoter) {
        return tl::unexpected(ConfigChangeError::kAlreadyVoter);
      }
      member->kind = MemberKind::kVoter;
      break;
    case Kind::kRemove:
      next.members.erase(next.members.begin() + (member - next.members.data()));
      break;
    case Kind::kReadmit:
      // An observer stays one; who had a vote gets it back when it has caught up.
      member->kind =
          member->kind == MemberKind::kObserver ? MemberKind::kObserver : MemberKind::kLearner;
      member->incarnation = 0;
      if (!change.peer_address.empty()) {
        member->peer_address = change.peer_address;
      }
      break;
    default:
      member->peer_address = change.peer_address;
  }
  if (next.voter_count() == 0) {
    return tl::unexpected(ConfigChangeError::kLastVoter);
  }
  return next;
}

// --- The configuration in force ---

bool Raft::Core::MayCampaign() const {
  if (log_empty()) {
    return !hard_.clusterStarted && !incarnation_refused_ &&
           config().configuration.IsVoter(options_.id);
  }
  if (CountsSelf()) {
    return true;
  }
  // Section 4.2.2: until the change that takes its vote is committed it may be needed to commit it.
  // Of the configurations in a log only the last can be uncommitted, for a leader changes none
  // before. Those of the flags, at index 0, say nothing once there is a log.
  const std::size_t count = configs_.size();
  return config().index > commitIndex_ && count >= 2 && configs_[count - 2].index != 0 &&
         configs_[count - 2].configuration.Counts(options_.id, options_.incarnation);
}

void Raft::Core::AdoptConfiguration(const Entry& entry) {
  auto configuration = Configuration::Decode(*entry.data);
  CHECK(configuration) << "a configuration entry was stored undecoded at " << entry.index;
  NoteConfiguration(*configuration);
  configs_.push_back({entry.index, std::move(*configuration)});
  if (auto* leader = std::get_if<Leader>(&role_)) {
    SyncPeers(*leader);
  }
}

/// A configuration comes into force, or comes back by a truncation.
void Raft::Core::NoteConfiguration(const Configuration& configuration) {
  was_member_ = was_member_ || configuration.Names(options_.id, options_.incarnation);
  config_news_ = true;
}

bool Raft::Core::Removed() const {
  return was_member_ && !log_empty() && config().index <= commitIndex_ &&
         config().configuration.Find(options_.id) == nullptr;
}

/// Who is in no configuration known here may still be a leader or a candidate of a later one
/// (section 4.1: members take part without consulting their own configuration). While a leader is
/// heard there is no need for a stranger's campaign, and nothing else is taken from one.
bool Raft::Core::TakesFrom(MemberId from, const Message& message) const {
  if (config().configuration.Find(from) != nullptr || std::get_if<AppendEntries>(&message)) {
    return true;
  }
  if (const auto* request = std::get_if<RequestVote>(&message)) {
    return !HearsLeader(from) || request->leadershipTransfer;
  }
  if (const auto* lead = std::get_if<Leader>(&role_)) {
    return std::get_if<AppendEntriesReply>(&message) != nullptr &&
           std::any_of(lead->departing.begin(), lead->departing.end(),
                       [&](const Departing& gone) { return gone.peer.id == from; });
  }
  return leader() == from &&
         (std::get_if<ReadIndexReply>(&message) || std::get_if<TimeoutNow>(&message));
}

// --- A leader's peers ---

/// Brings Leader::peers into line with the configuration in force.
void Raft::Core::SyncPeers(Leader& leader) {
  std::vector<Progress> peers;
  for (const Member& member : config().configuration.members) {
    if (member.id == options_.id) {
      continue;
    }
    std::erase_if(leader.departing,
                  [&](const Departing& back) { return back.peer.id == member.id; });
    const auto known = std::find_if(leader.peers.begin(), leader.peers.end(),
                                    [&](const Progress& peer) { return peer.id == member.id; });
    if (known != leader.peers.end()) {
      peers.push_back(std::move(*known));
      leader.peers.erase(known);
    } else {
      Progress peer;
      peer.id = member.id;
      peer.nextIndex = std::max(leader.term_start, log_.start().index + 1);
      peers.push_back(std::move(peer));
    }
  }
  for (Progress& removed : leader.peers) {
    leader.departing.push_back(
        {std::move(removed), config().index, 2 * options_.election_ticks_max});
  }
  leader.peers = std::move(peers);
}

Progress* Raft::Core::FindPeer(Leader& leader, MemberId id) {
  for (Progress& peer : leader.peers) {
    if (peer.id == id) {
      return &peer;
    }
  }
  for (Departing& gone : leader.departing) {
    if (gone.peer.id == id) {
      return &gone.peer;
    }
  }
  return nullptr;
}

bool Raft::Core::PeerCounts(const Progress& peer) const {
  if (!Counts(peer.id, peer.incarnation)) {
    return false;
  }
  // A voter made so by an entry that is not committed yet counts once it has that entry: only then
  // does it know itself to be one and stand by what it has acknowledged.
  const bool newly_named =
      config().index > commitIndex_ && configs_.size() > 1 &&
      !configs_[configs_.size() - 2].configuration.Counts(peer.id, peer.incarnation);
  return !newly_named || peer.matchIndex >= config().index;
}

void Raft::Core::TickMembers(Leader& leader) {
  for (Progress& peer : leader.peers) {
    peer.silent_ticks += peer.silent_ticks < Progress::kSilentForEver ? 1 : 0;
    peer.catch_up.Tick(options_.election_ticks_min);
  }
  for (Departing& gone : leader.departing) {
    gone.ticks_left -= config().index <= commitIndex_ ? 1 : 0;
  }
  std::erase_if(leader.departing, [](const Departing& gone) { return gone.ticks_left == 0; });
  MaybePromote(leader);
}

// --- Changes ---

tl::expected<EntryId, ConfigChangeError> Raft::Core::ProposeConfigChange(
    const ConfigChange& change) {
  const auto refuse = [&](ConfigChangeError error) {
    ++counters_.config_changes_refused;
    return tl::unexpected(error);
  };
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) {
    return refuse(ConfigChangeError::kNotLeader);
  }
  if (const auto error = RefusesChange(*leader)) {
    return refuse(*error);
  }
  auto next = Changed(config().configuration, change);
  if (!next) {
    return refuse(next.error());
  }
  if (const auto error = Unfit(*leader, change, *next)) {
    return refuse(*error);
  }
  if (CountsSelf() && !next->Counts(options_.id, options_.incarnation)) {
    // Section 4.2.2 allows a leader to manage a cluster without itself; handing over first leaves
    // no gap.
    return refuse(TransferLeadership(0) ? ConfigChangeError::kTransferring
                                        : ConfigChangeError::kUnsafe);
  }
  if (change.kind == Kind::kReadmit || change.kind == Kind::kRemove) {
    met_.erase(change.id);  // Only what comes from now on tells who it is.
  }
  if (change.kind == Kind::kReadmit) {
    const Incarnation lost = config().configuration.Find(change.id)->incarnation;
    for (Progress& peer : leader->peers) {
      if (peer.id == change.id) {
        const bool reachable = peer.reachable;
        const Incarnation lost_before = peer.void_incarnation;
        peer = Progress{};
        peer.void_incarnation = lost != 0 ? lost : lost_before;
        peer.id = change.id;
        peer.nextIndex = std::max(leader->term_start, log_.start().index + 1);
        peer.reachable = reachable;
      }
    }
  }
  AppendToOwnLog(EntryKind::kConfig, std::make_shared<const std::string>(next->Encode()));
  ++counters_.config_changes;
  return log_.last();
}

/// Why no change at all can be made now.
std::optional<ConfigChangeError> Raft::Core::RefusesChange(const Leader& leader) const {
  if (leader.transfer) {
    return ConfigChangeError::kTransferring;
  }
  // Ongaro 2015: a leader that has committed nothing in its term may not know of a change that an
  // earlier one has committed, and the quorums of the two need have no member in common.
  if (commitIndex_ < leader.term_start && !CONCLAVE_MUTANT(17)) {
    return ConfigChangeError::kTermNotStarted;
  }
  if (config().index > commitIndex_ && !CONCLAVE_MUTANT(16)) {
    return ConfigChangeError::kChangeInProgress;
  }
  return std::nullopt;
}

/// Why the cluster would be worse off with `next`.
std::optional<ConfigChangeError> Raft::Core::Unfit(const Leader& leader, const ConfigChange& change,
                                                   const Configuration& next) const {
  if (change.kind == Kind::kPromote) {
    const auto peer = std::find_if(leader.peers.begin(), leader.peers.end(),
                                   [&](const Progress& known) { return known.id == change.id; });
    if (peer == leader.peers.end() || !next.Counts(peer->id, peer->incarnation) || !Active(*peer) ||
        !peer->catch_up.caught_up) {
      return ConfigChangeError::kNotCaughtUp;
    }
  }
  const bool votes_change =
      next.voter_count() != config().configuration.voter_count();  // One at a time.
  std::size_t active = next.Counts(options_.id, options_.incarnation) ? 1 : 0;
  for (const Progress& peer : leader.peers) {
    active += Active(peer) && next.Counts(peer.id, peer.incarnation) ? 1 : 0;
  }
  return votes_change && active < next.quorum() ? std::optional(ConfigChangeError::kUnsafe)
                                                : std::nullopt;
}

void Raft::Core::MaybeRegisterIncarnations() {
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || RefusesChange(*leader)) {
    return;
  }
  Configuration next = config().configuration;
  bool changed = false;
  for (Member& member : next.members) {
    const auto met = met_.find(member.id);
    if (member.incarnation == 0 && met != met_.end()) {
      member.incarnation = met->second;
      changed = true;
    }
  }
  if (changed) {
    AppendToOwnLog(EntryKind::kConfig, std::make_shared<const std::string>(next.Encode()));
  }
}

/// Section 4.2.1: a learner becomes a voter once it can keep up.
void Raft::Core::MaybePromote(Leader& leader) {
  if (!options_.promote_learners || RefusesChange(leader)) {
    return;
  }
  for (const Member& member : config().configuration.members) {
    if (member.kind != MemberKind::kLearner || member.incarnation == 0) {
      continue;
    }
    const ConfigChange change{Kind::kPromote, member.id, {}};
    auto next = Changed(config().configuration, change);
    if (next && !Unfit(leader, change, *next)) {
      AppendToOwnLog(EntryKind::kConfig, std::make_shared<const std::string>(next->Encode()));
      ++counters_.config_changes;
      ++counters_.learners_promoted;
      return;
    }
  }
}

/// Section 4.2.2: a leader that has committed a configuration in which it has no vote is done. It
/// tells the others so, and one of them to go on at once.
void Raft::Core::MaybeResign() {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || config().index > commitIndex_ || CountsSelf()) {
    return;
  }
  ++counters_.resigned_removed;
  for (Progress& peer : leader->peers) {
    if (peer.reachable) {
      SendEmptyAppend(peer);
    }
  }
  if (const Progress* next = Successor(*leader, log_.lastIndex())) {
    Send(next->id, TimeoutNow{hard_.currentTerm});
  }
  BecomeFollower(hard_.currentTerm, 0);
}

}  // namespace conclave::raft
