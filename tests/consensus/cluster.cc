#include "tests/consensus/cluster.h"

#include <algorithm>

#include <fmt/format.h>
#include <xxhash.h>

namespace conclave::raft::testing {

std::uint64_t SeededRandom::Next() {
  if (!forced_.empty()) {
    const std::uint64_t value = forced_.front();
    forced_.pop_front();
    return value;
  }
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// --- Words ---

namespace {

std::string Name(EntryId id) { return fmt::format("{}@{}", id.index, id.term); }

struct Describer {
  std::string operator()(const RequestVote& m) const {
    return fmt::format("{}{} term={} last={}", m.preVote ? "PreVote" : "RequestVote",
                       m.bootstrap            ? "(bootstrap)"
                       : m.leadershipTransfer ? "(transfer)"
                                              : "",
                       m.term, Name({m.lastLogTerm, m.lastLogIndex}));
  }

  std::string operator()(const RequestVoteReply& m) const {
    return fmt::format("{} term={} {}", m.preVote ? "PreVoteReply" : "RequestVoteReply", m.term,
                       m.voteGranted ? "granted" : "refused");
  }

  std::string operator()(const AppendEntries& m) const {
    std::string entries;
    for (const Entry& entry : m.entries) {
      entries += (entries.empty() ? "" : " ") + Name(entry.id());
    }
    return fmt::format("AppendEntries term={} prev={} entries=[{}] commit={}", m.term,
                       Name({m.prevLogTerm, m.prevLogIndex}), entries, m.leaderCommit);
  }

  std::string operator()(const AppendEntriesReply& m) const {
    return m.success ? fmt::format("AppendEntriesReply term={} matched={}", m.term, Name(m.matched))
                     : fmt::format("AppendEntriesReply term={} rejected={} hint={}", m.term,
                                   m.rejectedIndex, Name(m.hint));
  }

  std::string operator()(const ReadIndexRequest& m) const {
    return fmt::format("ReadIndexRequest term={}", m.term);
  }

  std::string operator()(const TimeoutNow& m) const {
    return fmt::format("TimeoutNow term={}", m.term);
  }

  std::string operator()(const ReadIndexReply& m) const {
    return m.success ? fmt::format("ReadIndexReply term={} index={}", m.term, m.readIndex)
                     : fmt::format("ReadIndexReply term={} failed", m.term);
  }
};

}  // namespace

std::string Describe(const Message& message) { return std::visit(Describer{}, message); }

std::string Words(const IndexedConfiguration& configuration) {
  std::string words;
  for (const Member& member : configuration.configuration.members) {
    words += fmt::format("{}{}{}", words.empty() ? "" : " ", member.id,
                         member.kind == MemberKind::kVoter     ? ""
                         : member.kind == MemberKind::kLearner ? " (learner)"
                                                               : " (observer)");
    words += member.incarnation == 0 ? " (not met)" : "";
  }
  return fmt::format("[{}] of {}", words, configuration.index);
}

std::string Address(MemberId id) { return fmt::format("host{}:{}", id, 7000 + id); }

// --- Members ---

void Cluster::Add(MemberId id, const std::vector<MemberId>& initial_members,
                  const std::function<void(Options&)>& tweak,
                  const std::function<void(Disk&)>& fill) {
  Node& added = nodes_[id];
  added.options.id = id;
  added.options.incarnation = 1000 + id;
  for (const MemberId member : initial_members) {
    added.options.initial_members.push_back({member, Address(member)});
  }
  if (tweak) {
    tweak(added.options);
  }
  if (fill) {
    fill(added.disk);
  }
  added.random_seed = seed_ * 1000 + id;
  added.random = std::make_unique<SeededRandom>(added.random_seed);
  Start(id);
}

void Cluster::AddMany(MemberId count, const std::function<void(Options&)>& tweak) {
  std::vector<MemberId> members;
  for (MemberId id = 1; id <= count; ++id) {
    members.push_back(id);
  }
  for (MemberId id = 1; id <= count; ++id) {
    Add(id, members, tweak);
  }
}

void Cluster::Start(MemberId id) {
  Node& node = nodes_.at(id);
  node.applied.clear();
  const auto& snapshot = node.disk.snapshot;
  node.to_apply = snapshot ? snapshot->meta.last.index : 0;
  node.state = snapshot ? snapshot->state : 0;
  node.installing = false;
  node.sending.clear();
  node.owed.clear();
  node.reads_asked.clear();
  commit_seen_[id] = 0;
  invariants_.Started(id, node.to_apply);
  node.raft = std::make_unique<Raft>(node.options, node.disk.Restore(node.restored_tail_max),
                                     node.disk, *node.random);
  node.told = node.raft->status().configuration;
  Pump(id);
}

void Cluster::Crash(MemberId id) {
  Node& node = nodes_.at(id);
  node.raft.reset();
  node.installs_interrupted += node.installing ? 1 : 0;
  node.writes.clear();
  Event(fmt::format("{} crashes", id));
  AbortTransfersTo(id);
}

void Cluster::Restart(MemberId id) {
  if (up(id)) {
    Crash(id);
  }
  Event(fmt::format("{} starts", id));
  Start(id);
}

void Cluster::Wipe(MemberId id) {
  Crash(id);
  Node& node = nodes_.at(id);
  node.lost_disk = std::make_unique<Disk>();
  node.disk.MoveTo(*node.lost_disk);
  node.options.incarnation += 1000;
  invariants_.Wiped(id);
}

void Cluster::Partition(const std::set<MemberId>& side) {
  for (const auto& [a, unused_a] : nodes_) {
    for (const auto& [b, unused_b] : nodes_) {
      if (side.contains(a) != side.contains(b)) {
        Cut(a, b);
      }
    }
  }
}

void Cluster::Heal() { cut_.clear(); }

bool Cluster::Reaches(MemberId from, MemberId to) const { return !cut_.contains({from, to}); }

// --- Inputs ---

void Cluster::Tick(MemberId id) {
  raft(id).Tick();
  Pump(id);
}

void Cluster::Campaign(MemberId id) {
  const auto campaigns = [&] { return raft(id).status().counters.prevotes_started; };
  const auto before = campaigns();
  for (int i = 0; i < 1000 && campaigns() == before; ++i) {
    Tick(id);
  }
}

tl::expected<EntryId, ProposeError> Cluster::Propose(MemberId id, const std::string& command) {
  const auto data = std::make_shared<const std::string>(command);
  const auto result = raft(id).Propose({&data, 1});
  Pump(id);
  return result;
}

tl::expected<ReadId, ReadError> Cluster::Read(MemberId id) {
  const auto result = raft(id).ReadIndex();
  if (result) {
    node(id).reads_asked[*result] = commit_max_;
  }
  Pump(id);
  return result;
}

tl::expected<EntryId, ConfigChangeError> Cluster::Change(MemberId at, ConfigChange::Kind kind,
                                                         MemberId member) {
  const auto result = raft(at).ProposeConfigChange({kind, member, Address(member)});
  Pump(at);
  return result;
}

tl::expected<void, TransferError> Cluster::HandOver(MemberId at, MemberId to) {
  const auto result = raft(at).TransferLeadership(to);
  Pump(at);
  return result;
}

void Cluster::PeerUp(MemberId at, MemberId peer) {
  Node& other = node(peer);
  raft(at).PeerUp(peer, other.options.incarnation, other.disk.hardState.clusterStarted);
  Pump(at);
}

void Cluster::PeerDown(MemberId at, MemberId peer) {
  raft(at).PeerDown(peer);
  Pump(at);
}

void Cluster::Inject(MemberId from, MemberId to, const Message& message) {
  raft(to).Step(from, message);
  Pump(to);
}

void Cluster::Flush(MemberId id, std::size_t count) {
  Node& flushed = node(id);
  for (; count > 0 && !flushed.writes.empty(); --count) {
    Ready ready = std::move(flushed.writes.front());
    flushed.writes.pop_front();
    flushed.disk.Write(ready);
    invariants_.ObserveWrite(id, ready, flushed.disk.hardState);
    Emit(id, ready.sendAfterPersist);
    flushed.raft->Persisted(ready.id);
    Written(id, ready);
  }
  Pump(id);
}

void Cluster::ApplyAll(MemberId id) {
  node(id).raft->Applied(node(id).to_apply);
  Pump(id);
}

void Cluster::Emit(MemberId from, std::vector<Envelope>& envelopes) {
  for (Envelope& envelope : envelopes) {
    invariants_.ObserveSend(from, envelope, node(from).disk.View());
    packets_.push_back({++sequence_, from, envelope.to, std::move(envelope.message)});
  }
}

/// R11: a read answered at an index below what anyone had committed when it was asked is stale.
void Cluster::CheckReads(MemberId id, const Ready& ready) {
  Node& asked = node(id);
  for (const ReadReady& read : ready.reads) {
    const auto at = asked.reads_asked.find(read.id);
    if (at == asked.reads_asked.end()) {
      violation_ = fmt::format("member {}: R11: answers a read twice, or one not asked", id);
    } else if (read.readIndex < at->second) {
      violation_ = fmt::format("member {}: R11: read at {} begun when {} was committed", id,
                               read.readIndex, at->second);
    }
    asked.reads_asked.erase(read.id);
    asked.reads.push_back(read);
    Event(fmt::format("{} may read at {}", id, read.readIndex));
  }
  for (const ReadId read : ready.readsFailed) {
    asked.reads_failed.push_back(read);
    asked.reads_asked.erase(read);
    Event(fmt::format("{} cannot confirm a read", id));
  }
}

void Cluster::Pump(MemberId id) {
  Node& pumped = node(id);
  while (pumped.raft && pumped.raft->HasReady()) {
    Ready ready = pumped.raft->TakeReady();
    invariants_.ObserveReady(id, ready);
    if (ready.failure) {
      violation_ = fmt::format("member {}: {}", id, *ready.failure);
      return;
    }
    if (ready.roleChange) {
      Event(fmt::format("{} is {} of term {}, leader {}", id, ToString(ready.roleChange->role),
                        ready.roleChange->term, ready.roleChange->leader));
    }
    if (ready.configuration) {
      pumped.told = *ready.configuration;
    }
    Emit(id, ready.sendNow);
    pumped.installing = pumped.installing || ready.install;
    Apply(id, ready.committed);
    CheckReads(id, ready);
    StartTransfers(id, ready.sendSnapshot);
    pumped.writes.push_back(std::move(ready));
    Look(id);
    if (!pumped.manual_apply && pumped.to_apply > 0) {
      pumped.raft->Applied(pumped.to_apply);
    }
    if (!pumped.manual_disk) {
      Flush(id);
    }
    if (pumped.raft && pumped.checkpoint_every > 0) {
      const auto& snapshot = pumped.disk.snapshot;
      const Index last = snapshot ? snapshot->meta.last.index : 0;
      if (pumped.to_apply >= last + pumped.checkpoint_every) {
        Checkpoint(id, pumped.compact_tail);
      }
    }
  }
  Look(id);
}

void Cluster::Look(MemberId id) {
  Node& seen = node(id);
  if (!seen.raft) {
    return;
  }
  invariants_.Observe(id, *seen.raft);
  if (!seen.raft->HasReady() && !(seen.raft->status().configuration == seen.told)) {
    violation_ = fmt::format("member {}: the driver was not told the configuration in force", id);
  }
  const Index commit = seen.raft->commitIndex();
  if (commit > commit_seen_[id]) {
    commit_seen_[id] = commit;
    commit_max_ = std::max(commit_max_, commit);
    invariants_.ObserveCommit(*seen.raft, [this](MemberId member) -> std::optional<DurableView> {
      // A disk that was lost held what it acknowledged: the acknowledgement may still be counted.
      const Node& asked = nodes_.at(member);
      DurableView view = asked.disk.View();
      if (asked.lost_disk) {
        view.entry = [now = view, lost = asked.lost_disk->View()](Index index) {
          const auto entry = now.entry(index);
          return entry ? entry : lost.entry(index);
        };
        if (view.start.index == 0) {
          view.start = asked.lost_disk->View().start;
          view.start_chain = asked.lost_disk->View().start_chain;
        }
      }
      return view;
    });
  }
}

const std::optional<std::string>& Cluster::violation() const {
  return violation_ ? violation_ : invariants_.violation();
}

void Cluster::Event(const std::string& what) {
  trace_hash_ = XXH3_64bits_withSeed(what.data(), what.size(), trace_hash_);
  if (on_event) {
    on_event(what);
  }
}

// --- The network ---

bool Cluster::DeliverAt(std::size_t position, bool keep_copy) {
  const auto at = packets_.begin() + static_cast<std::ptrdiff_t>(position);
  Packet packet = keep_copy ? *at : std::move(*at);
  if (!keep_copy) {
    packets_.erase(at);
  }
  if (!Reaches(packet.from, packet.to) || !nodes_.contains(packet.to) || !up(packet.to)) {
    return false;
  }
  Event(fmt::format("{} -> {}: {}", packet.from, packet.to, Describe(packet.message)));
  Inject(packet.from, packet.to, packet.message);
  return true;
}

bool Cluster::DeliverOne(const std::function<bool(const Packet&)>& wanted) {
  for (std::size_t i = 0; i < packets_.size(); ++i) {
    if (!wanted || wanted(packets_[i])) {
      DeliverAt(i, false);
      return true;
    }
  }
  return false;
}

void Cluster::Drop(const std::function<bool(const Packet&)>& wanted) {
  std::erase_if(packets_, wanted);
}

void Cluster::DropAt(std::size_t position) {
  packets_.erase(packets_.begin() + static_cast<std::ptrdiff_t>(position));
}

void Cluster::Settle() {
  for (int i = 0; i < 1000000 && (DeliverOne() || !transfers_.empty()); ++i) {
    if (packets_.empty() && !transfers_.empty()) {
      DeliverTransferAt(0, false);
    }
  }
  if (!packets_.empty() || !transfers_.empty()) {
    violation_ = "messages never come to rest";
  }
}

void Cluster::Run(int ticks) {
  for (int i = 0; i < ticks; ++i) {
    for (auto& [id, ticked] : nodes_) {
      if (ticked.raft) {
        Tick(id);
      }
    }
    Settle();
  }
}

bool Cluster::RunUntil(const std::function<bool()>& done, int ticks_max) {
  for (int i = 0; i < ticks_max; ++i) {
    if (done()) {
      return true;
    }
    Run(1);
  }
  return done();
}

MemberId Cluster::Leader() const {
  MemberId found = 0;
  Term term = 0;
  for (const auto& [id, node] : nodes_) {
    if (node.raft && node.raft->is_leader() && node.raft->currentTerm() > term) {
      found = id;
      term = node.raft->currentTerm();
    }
  }
  return found;
}

std::string Cluster::States() const {
  std::string states;
  for (auto& [id, stuck] : nodes_) {
    const Status status = stuck.raft->status();
    states += fmt::format("\n  {} is {} of term {}, leader {}, last {}, commit {}, applied {}{}",
                          id, ToString(status.role), status.hardState.currentTerm, status.leader,
                          Name(status.last), status.commitIndex, status.lastApplied,
                          status.hardState.clusterStarted ? "" : ", knows no cluster");
    states += fmt::format(", members {}", Words(status.configuration));
    for (const PeerStatus& peer : status.peers) {
      states += fmt::format("; {}: match {} next {}{}{}", peer.id, peer.matchIndex, peer.nextIndex,
                            peer.replicating    ? " replicating"
                            : peer.snapshotting ? " snapshotting"
                                                : "",
                            peer.counted ? "" : " not counted");
    }
  }
  return states;
}

std::optional<std::string> Cluster::Converge(int ticks_max) {
  Heal();
  for (auto& [id, healed] : nodes_) {
    healed.manual_disk = healed.manual_apply = false;
    if (!healed.raft) {
      Restart(id);
    }
    Flush(id);
    ApplyAll(id);
  }
  const auto agreed = [&] {
    const MemberId leader = Leader();
    if (leader == 0) {
      return false;
    }
    const Status wanted = raft(leader).status();
    if (wanted.commitIndex != wanted.last.index ||
        wanted.last.term != wanted.hardState.currentTerm) {
      return false;
    }
    const Configuration& configuration = wanted.configuration.configuration;
    for (const Member& member : configuration.members) {
      if (member.kind == MemberKind::kLearner && nodes_.contains(member.id) &&
          node(leader).options.promote_learners) {
        return false;
      }
    }
    return std::all_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
      const Status status = entry.second.raft->status();
      return status.incarnation_refused || configuration.Find(entry.first) == nullptr ||
             (status.last == wanted.last && status.commitIndex == wanted.commitIndex &&
              status.lastApplied == wanted.lastApplied && status.leader == leader);
    });
  };
  bool done = RunUntil([&] { return violation() || agreed(); }, ticks_max);
  if (done && !violation()) {
    // A leader that nobody disturbs keeps its office, once what was counted before the healing (a
    // quorum not heard, a connection closed) has had its effect.
    const auto settled_ticks =
        static_cast<int>(2 * nodes_.begin()->second.options.election_ticks_max);
    Run(settled_ticks);
    done = RunUntil([&] { return violation() || agreed(); }, ticks_max);
    const Term term = done && Leader() != 0 ? raft(Leader()).currentTerm() : 0;
    Run(settled_ticks);
    done = done && agreed() && raft(Leader()).currentTerm() == term;
  }
  if (violation()) {
    return violation();
  }
  if (!done) {
    return fmt::format("no agreement within {} ticks{}", ticks_max, States());
  }
  return std::nullopt;
}

}  // namespace conclave::raft::testing
