#include "tests/consensus/explore/replica.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

namespace conclave::raft::explore {
namespace {

class NoChance : public RandomSource {
 public:
  std::uint64_t Next() override { return 0; }
};

/// The logs are short and stay in memory.
class NoReader : public LogReader {
 public:
  tl::expected<std::vector<Entry>, std::string> Read(Index, Index, std::size_t) const override {
    return tl::unexpected(std::string("nothing to read from"));
  }

  tl::expected<Term, std::string> TermAt(Index) const override {
    return tl::unexpected(std::string("nothing to read from"));
  }
};

NoChance g_chance;
const NoReader g_reader;

/// All members are alike, and so is the entry that names them.
const Entry& FirstEntry() {
  static const Entry entry = [] {
    Configuration configuration;
    configuration.clusterId.fill(7);
    for (MemberId id = 1; id <= kMembers; ++id) {
      raft::Member member;
      member.id = id;
      member.incarnation = kIncarnationOfMember + id;
      configuration.members.push_back(member);
    }
    Entry first{1, 1, EntryKind::kConfig, 0,
                std::make_shared<const std::string>(configuration.Encode())};
    first.chain = ChainHash(0, first);
    return first;
  }();
  return entry;
}

/// One command for all proposals: (term, index) and the chain tell entries apart.
const std::shared_ptr<const std::string>& Command() {
  static const auto command = std::make_shared<const std::string>("command");
  return command;
}

/// The number of a read round is of no use without reads (Settle).
void Normalise(Message& message) {
  if (auto* append = std::get_if<AppendEntries>(&message)) {
    append->readRound = 0;
  } else if (auto* reply = std::get_if<AppendEntriesReply>(&message)) {
    reply->readRound = 0;
  }
}

bool IsPreVote(const Envelope& envelope) {
  const auto* request = std::get_if<RequestVote>(&envelope.message);
  return request != nullptr && request->preVote;
}

}  // namespace

Replica::Replica(MemberId id, const ReplicaRules& rules) : id_(id), rules_(rules) {
  hard_.currentTerm = 1;
  hard_.clusterStarted = true;
  hard_.clusterId.fill(7);
  entries_.push_back(FirstEntry());
  Start();
}

Replica::Replica(const Replica& other)
    : id_(other.id_),
      rules_(other.rules_),
      hard_(other.hard_),
      entries_(other.entries_),
      writes_(other.writes_),
      past_(other.past_),
      raft_(CoreInspector::Clone(*other.raft_)) {}

void Replica::Start() {
  Options options;
  options.id = id_;
  options.incarnation = kIncarnationOfMember + id_;
  for (MemberId id = 1; id <= kMembers; ++id) {
    options.initial_members.push_back({id, ""});
  }
  options.append_entries_max = 1;
  options.disk_stall_ticks = options.election_ticks_max - 1;  // Without a transfer of leadership.
  options.inflight_messages_max = rules_.pipeline;
  Restored restored;
  restored.hardState = hard_;
  restored.last = entries_.back().id();
  restored.tail = entries_;
  restored.configurations.push_back({1, *Configuration::Decode(*entries_.front().data)});
  raft_ = std::make_unique<Raft>(options, std::move(restored), g_reader, g_chance);
  for (MemberId peer = 1; peer <= kMembers; ++peer) {
    if (peer != id_) {
      raft_->PeerUp(peer, kIncarnationOfMember + peer, true);
    }
  }
  CHECK(!raft_->HasReady());
  CoreInspector::Settle(*raft_);
}

// --- Inputs ---

bool Replica::Can(Local what) const {
  switch (what) {
    case Local::kPersist:
      return !writes_.empty();
    case Local::kCampaign:
    case Local::kElect:
    case Local::kLearnTerm:
      return !raft_->is_leader();
    case Local::kPropose:
    case Local::kHeartbeat:
    case Local::kStepDown:
      return raft_->is_leader();
    default:
      return true;
  }
}

Outcome Replica::Do(Local what) {
  CHECK(Can(what));
  Outcome outcome;
  const Past before = Present();
  Prime();
  const Term term = raft_->currentTerm();
  switch (what) {
    case Local::kPersist:
      FinishOldestWrite(outcome);
      break;
    case Local::kCampaign:
    case Local::kElect:
      // The timer of a settled member has run out already: the next tick tells.
      raft_->Tick();
      if (what == Local::kElect) {
        for (MemberId peer = 1; peer <= kMembers; ++peer) {
          if (peer != id_ && raft_->role() == RoleName::kPreCandidate) {
            raft_->Step(peer,
                        RequestVoteReply{term + 1, true, true, kIncarnationOfMember + peer, true});
          }
        }
      }
      break;
    case Local::kPropose:
      CHECK(raft_->Propose({&Command(), 1}).has_value());
      break;
    case Local::kHeartbeat:
      for (std::uint32_t i = 0; i < Options{}.heartbeat_ticks; ++i) {
        raft_->Tick();
      }
      break;
    case Local::kStepDown:
      for (std::uint32_t i = 0; i < Options{}.election_ticks_min; ++i) {
        raft_->Tick();
      }
      break;
    case Local::kCrash:
      writes_.clear();
      if (rules_.plant == Plant::kForgetVote) {
        hard_.votedFor = 0;
      } else if (rules_.plant == Plant::kForgetTail && entries_.size() > 1) {
        entries_.pop_back();
      }
      judge_->Started(id_);
      Start();
      break;
    default:
      LOG(FATAL) << "no such input";
  }
  Pump(outcome);
  if (what == Local::kElect) {
    std::erase_if(outcome.sent, IsPreVote);
  }
  Finish(before, what == Local::kCrash, outcome);
  return outcome;
}

Outcome Replica::LearnTerm(Term term) {
  Outcome outcome;
  const Past before = Present();
  Prime();
  const MemberId peer = id_ == 1 ? 2 : 1;
  raft_->Step(peer, RequestVoteReply{term, false, true, kIncarnationOfMember + peer, true});
  Pump(outcome);
  Finish(before, false, outcome);
  return outcome;
}

Outcome Replica::Deliver(MemberId from, const Message& message) {
  Outcome outcome;
  const Past before = Present();
  Prime();
  Message taken = message;
  auto* vote = std::get_if<RequestVoteReply>(&taken);
  if (rules_.plant == Plant::kCountRefusal && vote != nullptr) {
    vote->voteGranted = true;
  }
  raft_->Step(from, std::move(taken));
  Pump(outcome);
  Finish(before, false, outcome);
  return outcome;
}

// --- The driver's duties (consensus/README.md) ---

void Replica::Write(const Ready& ready) {
  if (ready.hardState) {
    hard_ = *ready.hardState;
  }
  if (ready.truncateFrom != 0) {
    entries_.resize(std::min<std::size_t>(entries_.size(), ready.truncateFrom - 1));
  }
  entries_.insert(entries_.end(), ready.append.begin(), ready.append.end());
  judge_->ObserveWrite(id_, ready, hard_);
}

void Replica::FinishOldestWrite(Outcome& outcome) {
  Ready ready = std::move(writes_.front());
  writes_.erase(writes_.begin());
  Write(ready);
  if (rules_.plant != Plant::kAcknowledgeEarly) {
    Send(ready.sendAfterPersist, outcome);
    raft_->Persisted(ready.id);
  }
}

void Replica::Send(std::vector<Envelope>& envelopes, Outcome& outcome) {
  for (Envelope& envelope : envelopes) {
    auto* request = std::get_if<RequestVote>(&envelope.message);
    if (rules_.plant == Plant::kAnyLogWins && request != nullptr) {
      request->lastLogTerm = request->term;
      request->lastLogIndex = 1000;
    }
    if (rules_.plant != Plant::kAcknowledgeEarly) {
      judge_->ObserveSend(id_, envelope, View());
    }
    Normalise(envelope.message);
    outcome.sent.push_back(std::move(envelope));
  }
}

bool Replica::Waits(const Envelope& envelope) const {
  const Fingerprint hash = HashMessage(id_, envelope, Renamings()[0]);
  return std::any_of(writes_.begin(), writes_.end(), [&](const Ready& write) {
    return std::any_of(
        write.sendAfterPersist.begin(), write.sendAfterPersist.end(),
        [&](const Envelope& other) { return HashMessage(id_, other, Renamings()[0]) == hash; });
  });
}

void Replica::Pump(Outcome& outcome) {
  while (raft_->HasReady()) {
    Ready ready = raft_->TakeReady();
    if (ready.failure) {
      outcome.violation = *ready.failure;
      return;
    }
    judge_->ObserveReady(id_, ready);
    Send(ready.sendNow, outcome);
    if (!ready.committed.empty()) {
      raft_->Applied(ready.committed.back().index);
    }
    if (rules_.plant == Plant::kAcknowledgeEarly) {
      Send(ready.sendAfterPersist, outcome);
      ready.sendAfterPersist.clear();
      raft_->Persisted(ready.id);
    }
    std::erase_if(ready.sendAfterPersist,
                  [&](const Envelope& envelope) { return rules_.send_once && Waits(envelope); });
    if (ready.needs_persist()) {
      ready.committed.clear();
      ready.sendNow.clear();
      ready.roleChange.reset();
      writes_.push_back(std::move(ready));
    } else if (!writes_.empty()) {
      // Durable as soon as all earlier ones are.
      auto& after = writes_.back().sendAfterPersist;
      after.insert(after.end(), std::make_move_iterator(ready.sendAfterPersist.begin()),
                   std::make_move_iterator(ready.sendAfterPersist.end()));
      writes_.back().id = ready.id;
    } else {
      CHECK(ready.sendAfterPersist.empty());
    }
    while (rules_.synchronous_disk && !writes_.empty()) {
      FinishOldestWrite(outcome);
    }
  }
  CoreInspector::Settle(*raft_);
}

// --- Judging ---

DurableView Replica::View() const {
  return {hard_,
          [this](Index index) -> std::optional<Entry> {
            return index >= 1 && index <= entries_.size() ? std::optional(entries_[index - 1])
                                                          : std::nullopt;
          },
          {},
          0};
}

void Replica::Prime() {
  judge_.emplace();
  judge_->Started(id_);
  judge_->ObserveWrite(id_, Ready{}, hard_);
  Ready applied;
  applied.committed = CoreInspector::Entries(*raft_);
  applied.committed.resize(raft_->commitIndex());
  judge_->ObserveReady(id_, applied);
  judge_->Observe(id_, *raft_);
}

Replica::Past Replica::Present() const {
  const Status status = raft_->status();
  Past present{status.hardState.currentTerm, status.hardState.votedFor, entries_.back().chain, 0};
  if (raft_->is_leader()) {
    present.chain = raft_->ChainAt(status.last.index).value_or(0);
    present.commitIndex = status.commitIndex;
  }
  return present;
}

/// A crash makes only a leader forget something that others were told; what a follower tells is on
/// its disk.
void Replica::Remember(const Past& before, bool crashed) {
  if (rules_.keep_past &&
      (raft_->currentTerm() != before.term || (crashed && before.commitIndex != 0))) {
    past_.push_back(before);
  }
}

void Replica::Finish(const Past& before, bool crashed, Outcome& outcome) {
  Remember(before, crashed);
  judge_->Observe(id_, *raft_);
  if (!outcome.violation) {
    outcome.violation = judge_->violation();
  }
  judge_.reset();
}

Fingerprint Replica::Hash(const Renaming& renaming) const {
  Words words;
  words.Put(renaming.at(id_));
  words.Put(hard_, renaming);
  words.Put(entries_.size());
  for (const Entry& entry : entries_) {
    words.Put(entry);
  }
  words.Put(past_.size());
  for (const Past& past : past_) {
    words.Put(past.term);
    words.Put(renaming.at(past.votedFor));
    words.Put(past.chain);
    words.Put(past.commitIndex);
  }
  words.Put(writes_.size());
  for (const Ready& write : writes_) {
    words.Put(write.hardState ? 1U : 0U);
    if (write.hardState) {
      words.Put(*write.hardState, renaming);
    }
    words.Put(write.truncateFrom);
    words.Put(write.append.size());
    for (const Entry& entry : write.append) {
      words.Put(entry);
    }
    Fingerprint after = 0;
    for (Envelope envelope : write.sendAfterPersist) {
      Normalise(envelope.message);
      after += HashMessage(id_, envelope, renaming);
    }
    words.PutHash(after);
  }
  CoreInspector::Write(*raft_, renaming, words);
  return words.Hash();
}

}  // namespace conclave::raft::explore
