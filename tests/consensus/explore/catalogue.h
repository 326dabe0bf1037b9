#pragma once

// Every member state, message and log prefix that an exploration meets, once and under a number,
// and what each input makes of each member state. What a member does depends on itself and the
// input alone, so the real core runs once for each such pair, however many states of the cluster
// contain it; the search (search.h) then moves numbers about.

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/consensus/explore/replica.h"

namespace conclave::raft::explore {

using MemberState = std::uint32_t;
using MessageNumber = std::uint32_t;
/// A prefix of a log. Numbers rise with when it was first met, so never from an entry to the one
/// before.
using Prefix = std::uint16_t;

/// A Local, or kFirstMessage plus a MessageNumber.
using Input = std::uint32_t;
inline constexpr Input kFirstMessage = static_cast<Input>(Local::kCount);

/// Of one state or message under each renaming of the members, in the order of Renamings().
using Fingerprints = std::array<Fingerprint, 6>;

/// What the search looks at of a member state.
struct Summary {
  static constexpr std::size_t kLogMax = 14;

  MemberId id = 0;
  Term term = 0;
  Term durable_term = 0;
  RoleName role = RoleName::kFollower;
  Index commitIndex = 0;
  bool writes_pending = false;
  std::uint8_t size = 0;              ///< Entries in memory ...
  std::uint8_t durable_size = 0;      ///< ... and on the disk.
  std::array<Prefix, kLogMax> log{};  ///< log[i] is the prefix up to index i + 1.
  std::array<Prefix, kLogMax> durable{};

  bool leads() const { return role == RoleName::kLeader; }
};

/// What the search looks at of a message.
struct MessageLook {
  MemberId from = 0;
  MemberId to = 0;
  Term term = 0;
  std::uint32_t place = 0;  ///< Among all messages of its sender.
  bool vote_reply = false;
  bool append_reply = false;
  bool pre_vote = false;
  bool granted = false;
};

/// A set of messages of one sender, by MessageLook::place.
using MessageSet = std::vector<std::uint64_t>;

/// What an input makes of a member state.
struct Result {
  MemberState next = 0;
  std::uint32_t sent_first = 0;  ///< In Catalogue::sent().
  std::uint32_t sent_count = 0;
  std::uint32_t violation = 0;  ///< 0 for none, else one past its place in violations().
};

/// What each input makes of one member state: a hash table as small and fast as the search needs.
class ResultTable {
 public:
  /// The place of the result of `input`, made with kNone if there was none.
  std::uint32_t& operator[](Input input);

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  template <typename Visitor>
  void ForEach(const Visitor& visit) const {
    for (const Slot& slot : slots_) {
      if (slot.result != kNone) {
        visit(slot.input, slot.result);
      }
    }
  }

 private:
  struct Slot {
    Input input = 0;
    std::uint32_t result = kNone;
  };

  Slot& Find(Input input);

  std::vector<Slot> slots_;  ///< A power of two of them.
  std::size_t used_ = 0;
};

class Catalogue {
 public:
  explicit Catalogue(const ReplicaRules& rules) : rules_(rules) {}

  /// The state in which a member begins.
  MemberState First(MemberId id) { return Intern(std::make_unique<Replica>(id, rules_)); }

  const Result& Take(MemberState member, Input input);

  // --- Looks ---

  const Summary& summary(MemberState member) const { return members_[member].summary; }

  const Fingerprints& hashes(MemberState member) const { return members_[member].hashes; }

  const MessageLook& look(MessageNumber message) const { return messages_[message].look; }

  const Fingerprints& message_hashes(MessageNumber message) const {
    return messages_[message].hashes;
  }

  const Envelope& envelope(MessageNumber message) const { return messages_[message].envelope; }

  const MessageNumber* sent(const Result& result) const { return sent_.data() + result.sent_first; }

  const std::string& violation(const Result& result) const {
    return violations_[result.violation - 1];
  }

  Term TermOf(Prefix prefix) const { return prefixes_[prefix].term; }

  Index IndexOf(Prefix prefix) const { return prefixes_[prefix].index; }

  /// `longer` continues `shorter` or is it.
  bool Continues(Prefix longer, Prefix shorter) const;

  std::size_t member_states() const { return members_.size(); }

  std::size_t messages() const { return messages_.size(); }

  std::size_t transitions() const { return results_.size(); }

  // --- Histories ---

  /// Appends to `inputs` the messages to `receiver` that `sender` may have sent on some way to its
  /// present state, without those that are known to leave the receiver as it is.
  void Deliverable(MemberState receiver, MemberState sender, std::vector<Input>& inputs) const;

  /// Times that a member state was found to have a richer history than known before. Who asked
  /// Deliverable earlier may have missed something.
  std::uint64_t growths() const { return growths_; }

  // --- Doubts ---

  /// Two member states of one fingerprint must behave alike, else the fingerprint misses something.
  /// Every `one_in`th arrival at a known member state is kept and compared; 0 for none.
  void DoubtEvery(std::uint64_t one_in) { doubt_every_ = one_in; }

  std::uint64_t doubts() const { return doubts_; }

  /// What a member does with `message` without recording it: true if nothing at all.
  bool IgnoredBy(MemberState member, MessageNumber message) const;

 private:
  struct MemberRecord {
    std::unique_ptr<Replica> member;
    Fingerprints hashes{};
    Summary summary;
    ResultTable results;
    MessageSet sent;                         ///< On any known way here.
    std::array<MessageSet, kMembers> inert;  ///< By sender: taking it changes nothing.
  };

  struct MessageRecord {
    Envelope envelope;
    Fingerprints hashes{};
    MessageLook look;
  };

  struct PrefixRecord {
    Term term = 0;
    Index index = 0;
    Prefix before = 0;
  };

  struct HashOf {
    std::size_t operator()(Fingerprint hash) const { return static_cast<std::size_t>(hash); }
  };

  Outcome Run(Replica& member, Input input) const;
  MemberState Intern(std::unique_ptr<Replica> member);
  MessageNumber Intern(MemberId from, Envelope envelope);
  std::uint8_t Intern(const std::vector<Entry>& entries,
                      std::array<Prefix, Summary::kLogMax>& prefixes);
  Summary Summarise(const Replica& member);
  void AddSent(MemberState member, const MessageSet& sent);
  void Compare(MemberState known, Replica& arrived);

  const ReplicaRules& rules_;
  std::deque<MemberRecord> members_;
  std::deque<MessageRecord> messages_;
  std::vector<PrefixRecord> prefixes_;
  std::vector<Result> results_;
  std::vector<MessageNumber> sent_;
  std::vector<std::string> violations_;
  std::unordered_map<Fingerprint, MemberState, HashOf> member_numbers_;
  std::unordered_map<Fingerprint, MessageNumber, HashOf> message_numbers_;
  std::unordered_map<std::uint64_t, Prefix> prefix_numbers_;
  std::array<std::vector<MessageNumber>, kMembers> by_sender_;
  std::array<std::array<MessageSet, kMembers>, kMembers> to_;  ///< By sender and receiver.
  std::uint64_t growths_ = 0;
  std::uint64_t doubt_every_ = 0;
  std::uint64_t arrivals_ = 0;
  std::uint64_t doubts_ = 0;
};

}  // namespace conclave::raft::explore
