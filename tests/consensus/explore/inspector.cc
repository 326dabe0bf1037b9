#include "tests/consensus/explore/inspector.h"

#include <utility>
#include <variant>

#include <glog/logging.h>
#include <xxhash.h>

#include "consensus/core.h"

namespace conclave::raft {
namespace explore {

const std::array<Renaming, 6>& Renamings() {
  static const std::array<Renaming, 6> all = {Renaming{0, 1, 2, 3}, Renaming{0, 1, 3, 2},
                                              Renaming{0, 2, 1, 3}, Renaming{0, 2, 3, 1},
                                              Renaming{0, 3, 1, 2}, Renaming{0, 3, 2, 1}};
  return all;
}

void Words::Put(const HardState& hard, const Renaming& renaming) {
  Put(hard.currentTerm);
  Put(renaming.at(hard.votedFor));
  Put(hard.clusterStarted ? 1 : 0);
  Put(hard.clusterId == ClusterId{} ? 0 : 1);
}

void Words::Put(const Entry& entry) {
  Put(entry.id());
  Put(entry.chain);
}

void Words::PutIncarnation(Incarnation incarnation, const Renaming& renaming) {
  const bool member =
      incarnation > kIncarnationOfMember && incarnation <= kIncarnationOfMember + kMembers;
  Put(member ? kIncarnationOfMember + renaming.at(incarnation - kIncarnationOfMember)
             : incarnation);
}

Fingerprint Words::Hash() const {
  const XXH128_hash_t hash = XXH3_128bits(words_.data(), words_.size() * sizeof(words_[0]));
  return (static_cast<Fingerprint>(hash.high64) << 64) | hash.low64;
}

namespace {

struct MessageWriter {
  Words& words;
  const Renaming& renaming;

  void operator()(const RequestVote& m) const {
    words.Put(m.term);
    words.Put(EntryId{m.lastLogTerm, m.lastLogIndex});
    words.Put((m.preVote ? 1U : 0U) | (m.bootstrap ? 2U : 0U) | (m.leadershipTransfer ? 4U : 0U));
    words.PutIncarnation(m.incarnation, renaming);
    words.PutIncarnation(m.voterIncarnation, renaming);
  }

  void operator()(const RequestVoteReply& m) const {
    words.Put(m.term);
    words.Put((m.voteGranted ? 1U : 0U) | (m.preVote ? 2U : 0U) | (m.clusterStarted ? 4U : 0U));
    words.PutIncarnation(m.incarnation, renaming);
  }

  void operator()(const AppendEntries& m) const {
    words.Put(m.term);
    words.Put(EntryId{m.prevLogTerm, m.prevLogIndex});
    words.Put(m.entries.size());
    for (const Entry& entry : m.entries) {
      words.Put(entry);
    }
    words.Put(m.leaderCommit);
    words.Put(m.readRound);
    words.PutIncarnation(m.followerIncarnation, renaming);
  }

  void operator()(const AppendEntriesReply& m) const {
    words.Put(m.term);
    words.Put(m.success ? 1U : 0U);
    words.Put(m.matched);
    words.Put(m.rejectedIndex);
    words.Put(m.hint);
    words.Put(m.readRound);
    words.PutIncarnation(m.incarnation, renaming);
  }

  void operator()(const ReadIndexRequest& m) const {
    words.Put(m.term);
    words.Put(m.requestId);
  }

  void operator()(const ReadIndexReply& m) const {
    words.Put(m.term);
    words.Put(m.requestId);
    words.Put(m.success ? 1U : 0U);
    words.Put(m.readIndex);
  }

  void operator()(const TimeoutNow& m) const { words.Put(m.term); }
};

/// What does not depend on an order is summed.
Fingerprint HashVotes(const std::map<MemberId, Vote>& votes, const Renaming& renaming) {
  Fingerprint sum = 0;
  for (const auto& [id, vote] : votes) {
    Words words;
    words.Put(renaming.at(id));
    words.Put(vote.granted ? 1U : 0U);
    words.PutIncarnation(vote.incarnation, renaming);
    sum += words.Hash();
  }
  return sum;
}

/// A message holds one entry, so the number of those in flight says which they are. It matters only
/// near the limit.
Fingerprint HashPeers(const std::vector<Progress>& peers, const Options& options,
                      const Renaming& renaming) {
  Fingerprint sum = 0;
  for (const Progress& peer : peers) {
    Words words;
    words.Put(renaming.at(peer.id));
    words.Put(peer.matchIndex);
    words.Put(peer.nextIndex);
    words.Put((peer.replicating ? 1U : 0U) | (peer.probe_sent ? 2U : 0U) |
              (peer.recently_active ? 4U : 0U) | (peer.reachable ? 8U : 0U) |
              (peer.snapshotting ? 16U : 0U));
    words.Put(peer.commit_sent);
    words.Put(options.inflight_messages_max < 16 ? peer.inflight.messages() : 0);
    words.Put(peer.read_round_acknowledged);
    words.PutIncarnation(peer.incarnation, renaming);
    sum += words.Hash();
  }
  return sum;
}

struct RoleWriter {
  Words& words;
  const Options& options;
  const Renaming& renaming;

  void operator()(const Follower& role) const {
    words.Put(renaming.at(role.leader));
    CHECK(role.reads.queued.empty() && role.reads.asked.empty());
  }

  void operator()(const PreCandidate& role) const {
    words.PutHash(HashVotes(role.votes, renaming));
  }

  void operator()(const Candidate& role) const { words.PutHash(HashVotes(role.votes, renaming)); }

  void operator()(const Leader& role) const {
    words.PutHash(HashPeers(role.peers, options, renaming));
    words.Put(role.term_start);
    words.Put(role.counted_from);
    CHECK(role.queued.local.empty() && role.queued.remote.empty() && role.rounds.empty());
    CHECK(!role.send_pending && !role.heartbeat_pending);
    CHECK(!role.transfer && role.departing.empty()) << "not explored";
  }
};

}  // namespace

Fingerprint HashMessage(MemberId from, const Envelope& envelope, const Renaming& renaming) {
  Words words;
  words.Put(renaming.at(from));
  words.Put(renaming.at(envelope.to));
  words.Put(envelope.message.index());
  std::visit(MessageWriter{words, renaming}, envelope.message);
  return words.Hash();
}

}  // namespace explore

std::unique_ptr<Raft> CoreInspector::Clone(const Raft& raft) {
  return std::unique_ptr<Raft>(new Raft(std::make_unique<Raft::Core>(*raft.core_)));
}

void CoreInspector::Settle(Raft& raft) {
  Raft::Core& core = *raft.core_;
  CHECK(!core.HasReady());
  if (auto* follower = std::get_if<Follower>(&core.role_)) {
    follower->timer = {};
    follower->ticks_since_contact = core.options_.election_ticks_min;
  } else if (auto* pre_candidate = std::get_if<PreCandidate>(&core.role_)) {
    pre_candidate->timer = {};
  } else if (auto* candidate = std::get_if<Candidate>(&core.role_)) {
    candidate->timer = {};
  } else {
    auto& leader = std::get<Leader>(core.role_);
    leader.heartbeat_elapsed = leader.quorum_elapsed = leader.handover_pause = 0;
    for (Progress& peer : leader.peers) {
      peer.recently_active = false;
      peer.read_round_acknowledged = 0;
      peer.silent_ticks = 0;
      peer.catch_up = {};
    }
  }
  core.read_round_ = 0;
  core.failover_ticks_left_ = 0;
  core.disk_wait_ticks_ = 0;
  core.counters_ = {};
}

void CoreInspector::Write(const Raft& raft, const explore::Renaming& renaming,
                          explore::Words& words) {
  const Raft::Core& core = *raft.core_;
  CHECK(!core.config_news_ && !core.install_ && core.install_in_flight_ == 0);
  CHECK(!core.hard_unsaved_ && !core.term_vote_unsaved_ && core.truncate_pending_ == 0);
  CHECK(core.send_now_.empty() && core.send_after_persist_.empty() && core.send_snapshot_.empty());
  CHECK(core.configs_.back().index == 1 && !core.incarnation_refused_) << "not explored";
  words.Put(core.configs_.size());
  CHECK(core.handedToApply_ == core.commitIndex_ && core.apply_in_flight_.empty());
  CHECK_EQ(core.handedToDisk_, core.log_.lastIndex());
  words.Put(core.hard_, renaming);
  words.Put(core.log_.lastIndex());
  for (const Entry& entry : Entries(raft)) {
    words.Put(entry);
  }
  words.Put(core.commitIndex_);
  words.Put(core.lastApplied_);
  words.Put(core.role_.index());
  std::visit(explore::RoleWriter{words, core.options_, renaming}, core.role_);
  explore::Fingerprint met = 0;
  for (const auto& [id, incarnation] : core.met_) {
    explore::Words one;
    one.Put(renaming.at(id));
    one.PutIncarnation(incarnation, renaming);
    met += one.Hash();
  }
  words.PutHash(met);
  words.Put(core.durableIndex_);
  // Only the order of the writes matters, not their numbers.
  words.Put(core.in_flight_.size());
  std::uint64_t term_vote_at = 0;
  std::uint64_t at = 0;
  for (const Raft::Core::InFlight& write : core.in_flight_) {
    ++at;
    words.Put(write.last);
    if (write.id == core.term_vote_in_flight_) {
      term_vote_at = at;
    }
  }
  CHECK((core.term_vote_in_flight_ != 0) == (term_vote_at != 0));
  words.Put(term_vote_at);
}

std::vector<Entry> CoreInspector::Entries(const Raft& raft) {
  const Log& log = raft.core_->log_;
  CHECK_EQ(log.base_index(), 0U) << "the explored logs stay in memory";
  std::vector<Entry> entries;
  for (Index index = 1; index <= log.lastIndex(); ++index) {
    entries.push_back(log.At(index));
  }
  return entries;
}

}  // namespace conclave::raft
