#pragma once

// One member of an explored cluster: the real Raft core, its disk, and the writes on their way to
// it. A value: an input turns a copy of it into its successor, so that every successor is computed
// once and remembered (catalogue.h).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/invariants.h"
#include "consensus/raft.h"
#include "tests/consensus/explore/inspector.h"

namespace conclave::raft::explore {

/// Faults put into the drivers of the members, to see that the exploration finds them.
enum class Plant : std::uint8_t {
  kNone = 0,
  kAcknowledgeEarly,  ///< Messages that wait for the disk leave at once, and the core is told.
  kForgetVote,        ///< A restart loses the vote, not the term.
  kForgetTail,        ///< A restart loses the last entry.
  kAnyLogWins,        ///< A candidate claims to have everything (no up-to-date check at the voter).
  kCountRefusal,      ///< A candidate takes a refusal for a vote.
};

/// How the members of an exploration run.
struct ReplicaRules {
  Plant plant = Plant::kNone;
  bool synchronous_disk = false;  ///< Every write is durable before anything else happens.
  /// A message that waits for the disk already is not sent once more: for a network that repeats.
  bool send_once = false;
  /// What a member did in terms that it has left stays part of its state (Replica::Past).
  bool keep_past = false;
  std::size_t pipeline = 64;  ///< Options::inflight_messages_max.
};

/// What can happen to a member besides a message. The numbers are part of an input's name.
enum class Local : std::uint32_t {
  kPersist = 0,  ///< The oldest write becomes durable, the core is told, its messages leave.
  kCampaign,     ///< The election timer runs out.
  kElect,        ///< The same, and both others promise their votes: no messages of pre-vote.
  kPropose,      ///< One command.
  kHeartbeat,    ///< The leader's heartbeat timer runs out.
  kStepDown,     ///< The leader has heard of no quorum for an election timeout.
  kCrash,        ///< What is not durable is lost, and the member starts again.
  kLearnTerm,    ///< Plus a term: somebody refuses a pre-vote and tells that term.
  kCount = kLearnTerm + 16,
};

/// What an input did besides changing the member.
struct Outcome {
  std::vector<Envelope> sent;
  /// The first violation of an invariant of this member alone (R2, R6, R7, or damage).
  std::optional<std::string> violation;
};

class Replica {
 public:
  /// A member whose disk holds the first entry, which names all members, and term 1.
  Replica(MemberId id, const ReplicaRules& rules);
  Replica(const Replica& other);
  Replica& operator=(const Replica&) = delete;
  Replica(Replica&&) = default;
  Replica& operator=(Replica&&) = delete;
  ~Replica() = default;

  MemberId id() const { return id_; }

  /// False if that cannot happen now.
  bool Can(Local what) const;

  Outcome Do(Local what);
  /// `what` is kLearnTerm.
  Outcome LearnTerm(Term term);
  Outcome Deliver(MemberId from, const Message& message);

  const Raft& raft() const { return *raft_; }

  const HardState& durable_hard() const { return hard_; }

  const std::vector<Entry>& durable_entries() const { return entries_; }

  bool writes_pending() const { return !writes_.empty(); }

  Fingerprint Hash(const Renaming& renaming) const;

 private:
  /// What a member may have told others in a term, as far as its present state has forgotten it:
  /// its vote, what it had acknowledged, what it had sent and committed as a leader.
  struct Past {
    Term term = 0;
    MemberId votedFor = 0;
    std::uint64_t chain = 0;  ///< Of its log's end; the durable one unless it led.
    Index commitIndex = 0;    ///< Of a leader.
  };

  Past Present() const;
  void Remember(const Past& before, bool crashed);
  void Start();
  void Pump(Outcome& outcome);
  void Write(const Ready& ready);
  void FinishOldestWrite(Outcome& outcome);
  void Send(std::vector<Envelope>& envelopes, Outcome& outcome);
  bool Waits(const Envelope& envelope) const;
  DurableView View() const;
  /// A judge that has seen this member as it is now.
  void Prime();
  /// After an input that found the member as `before`.
  void Finish(const Past& before, bool crashed, Outcome& outcome);

  MemberId id_ = 0;
  const ReplicaRules& rules_;
  HardState hard_;  ///< Durable, as the entries.
  std::vector<Entry> entries_;
  std::vector<Ready> writes_;  ///< Oldest first.
  std::vector<Past> past_;
  std::unique_ptr<Raft> raft_;
  std::optional<ClusterInvariants> judge_;  ///< While an input is taken.
};

}  // namespace conclave::raft::explore
