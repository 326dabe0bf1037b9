#include "tests/consensus/explore/catalogue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <glog/logging.h>

namespace conclave::raft::explore {
namespace {

void Insert(MessageSet& set, std::uint32_t place) {
  if (set.size() <= place / 64) {
    set.resize(place / 64 + 1);
  }
  set[place / 64] |= std::uint64_t{1} << (place % 64);
}

/// True if `to` did not have all of `from`.
bool Unite(MessageSet& to, const MessageSet& from) {
  if (to.size() < from.size()) {
    to.resize(from.size());
  }
  bool grew = false;
  for (std::size_t i = 0; i < from.size(); ++i) {
    grew = grew || (from[i] & ~to[i]) != 0;
    to[i] |= from[i];
  }
  return grew;
}

std::uint64_t WordOf(const MessageSet& set, std::size_t i) { return i < set.size() ? set[i] : 0; }

}  // namespace

ResultTable::Slot& ResultTable::Find(Input input) {
  std::size_t at = (input * 0x9e3779b1U) & (slots_.size() - 1);
  while (slots_[at].result != kNone && slots_[at].input != input) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return slots_[at];
}

std::uint32_t& ResultTable::operator[](Input input) {
  if (used_ * 2 >= slots_.size()) {
    const std::vector<Slot> before =
        std::exchange(slots_, std::vector<Slot>(std::max<std::size_t>(slots_.size() * 2, 8)));
    for (const Slot& slot : before) {
      if (slot.result != kNone) {
        Find(slot.input) = slot;
      }
    }
  }
  Slot& slot = Find(input);
  if (slot.result == kNone) {
    slot.input = input;
    ++used_;  // The caller fills it in.
  }
  return slot.result;
}

Outcome Catalogue::Run(Replica& member, Input input) const {
  if (input >= kFirstMessage) {
    const MessageRecord& record = messages_[input - kFirstMessage];
    return member.Deliver(record.look.from, record.envelope.message);
  }
  if (input >= static_cast<Input>(Local::kLearnTerm)) {
    return member.LearnTerm(input - static_cast<Input>(Local::kLearnTerm));
  }
  return member.Do(static_cast<Local>(input));
}

const Result& Catalogue::Take(MemberState member, Input input) {
  std::uint32_t& at = members_[member].results[input];
  if (at != ResultTable::kNone) {
    return results_[at];
  }
  auto next = std::make_unique<Replica>(*members_[member].member);
  Outcome outcome = Run(*next, input);
  Result result;
  result.sent_first = static_cast<std::uint32_t>(sent_.size());
  result.sent_count = static_cast<std::uint32_t>(outcome.sent.size());
  const MemberId from = next->id();
  for (Envelope& envelope : outcome.sent) {
    sent_.push_back(Intern(from, std::move(envelope)));
  }
  if (outcome.violation) {
    violations_.push_back(std::move(*outcome.violation));
    result.violation = static_cast<std::uint32_t>(violations_.size());
  }
  MessageSet sent = members_[member].sent;
  for (std::uint32_t i = 0; i < result.sent_count; ++i) {
    Insert(sent, messages_[sent_[result.sent_first + i]].look.place);
  }
  const std::size_t known = members_.size();
  result.next = Intern(std::move(next));
  // `at` stays: interning adds members, and the records of a deque do not move.
  at = static_cast<std::uint32_t>(results_.size());
  results_.push_back(result);
  if (result.next == member && input >= kFirstMessage) {
    const MessageLook& look = messages_[input - kFirstMessage].look;
    Insert(members_[member].inert[look.from - 1], look.place);
  }
  if (result.next == known) {
    members_[known].sent = std::move(sent);
  } else {
    AddSent(result.next, sent);
  }
  return results_.back();
}

/// The member state can be reached having sent `sent`, and so can all that follow it.
void Catalogue::AddSent(MemberState member, const MessageSet& sent) {
  if (!Unite(members_[member].sent, sent)) {
    return;
  }
  ++growths_;
  std::vector<MemberState> grown{member};
  while (!grown.empty()) {
    const MemberState from = grown.back();
    grown.pop_back();
    members_[from].results.ForEach([&](Input, std::uint32_t number) {
      const MemberState next = results_[number].next;
      if (next != from && Unite(members_[next].sent, members_[from].sent)) {
        ++growths_;
        grown.push_back(next);
      }
    });
  }
}

void Catalogue::Deliverable(MemberState receiver, MemberState sender,
                            std::vector<Input>& inputs) const {
  const MemberRecord& to = members_[receiver];
  const MemberRecord& from = members_[sender];
  const std::size_t who = from.summary.id - 1;
  const MessageSet& addressed = to_[who][to.summary.id - 1];
  for (std::size_t i = 0; i < from.sent.size(); ++i) {
    std::uint64_t word = from.sent[i] & WordOf(addressed, i) & ~WordOf(to.inert[who], i);
    for (; word != 0; word &= word - 1) {
      const auto bit = static_cast<std::size_t>(__builtin_ctzll(word));
      inputs.push_back(kFirstMessage + by_sender_[who][i * 64 + bit]);
    }
  }
}

MemberState Catalogue::Intern(std::unique_ptr<Replica> member) {
  Fingerprints hashes{};
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    hashes[i] = member->Hash(Renamings()[i]);
  }
  const auto [at, is_new] =
      member_numbers_.try_emplace(hashes[0], static_cast<MemberState>(members_.size()));
  if (!is_new) {
    if (doubt_every_ != 0 && ++arrivals_ % doubt_every_ == 0) {
      Compare(at->second, *member);
    }
    return at->second;
  }
  MemberRecord& record = members_.emplace_back();
  record.hashes = hashes;
  record.summary = Summarise(*member);
  record.member = std::move(member);
  return at->second;
}

MessageNumber Catalogue::Intern(MemberId from, Envelope envelope) {
  Fingerprints hashes{};
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    hashes[i] = HashMessage(from, envelope, Renamings()[i]);
  }
  const auto [at, is_new] =
      message_numbers_.try_emplace(hashes[0], static_cast<MessageNumber>(messages_.size()));
  if (!is_new) {
    return at->second;
  }
  MessageRecord& record = messages_.emplace_back();
  record.hashes = hashes;
  record.look.from = from;
  record.look.place = static_cast<std::uint32_t>(by_sender_[from - 1].size());
  by_sender_[from - 1].push_back(at->second);
  Insert(to_[from - 1][envelope.to - 1], record.look.place);
  record.look.to = envelope.to;
  record.look.term = std::visit([](const auto& known) { return known.term; }, envelope.message);
  if (const auto* vote = std::get_if<RequestVoteReply>(&envelope.message)) {
    record.look.vote_reply = true;
    record.look.pre_vote = vote->preVote;
    record.look.granted = vote->voteGranted;
  }
  record.look.append_reply = std::holds_alternative<AppendEntriesReply>(envelope.message);
  record.envelope = std::move(envelope);
  return at->second;
}

std::uint8_t Catalogue::Intern(const std::vector<Entry>& entries,
                               std::array<Prefix, Summary::kLogMax>& prefixes) {
  CHECK_LE(entries.size(), prefixes.size()) << "logs longer than the exploration has room for";
  Prefix before = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto [at, is_new] =
        prefix_numbers_.try_emplace(entries[i].chain, static_cast<Prefix>(prefixes_.size()));
    if (is_new) {
      CHECK_LT(prefixes_.size(), std::numeric_limits<Prefix>::max());
      prefixes_.push_back({entries[i].term, entries[i].index, before});
    }
    prefixes[i] = before = at->second;
  }
  return static_cast<std::uint8_t>(entries.size());
}

Summary Catalogue::Summarise(const Replica& member) {
  Summary summary;
  summary.id = member.id();
  summary.term = member.raft().currentTerm();
  summary.durable_term = member.durable_hard().currentTerm;
  summary.role = member.raft().role();
  summary.commitIndex = member.raft().commitIndex();
  summary.writes_pending = member.writes_pending();
  summary.size = Intern(CoreInspector::Entries(member.raft()), summary.log);
  summary.durable_size = Intern(member.durable_entries(), summary.durable);
  return summary;
}

bool Catalogue::Continues(Prefix longer, Prefix shorter) const {
  while (prefixes_[longer].index > prefixes_[shorter].index) {
    longer = prefixes_[longer].before;
  }
  return longer == shorter;
}

void Catalogue::Compare(MemberState known, Replica& arrived) {
  ++doubts_;
  members_[known].results.ForEach([&](Input input, std::uint32_t number) {
    const Result& result = results_[number];
    Replica copy(arrived);
    Outcome outcome = Run(copy, input);
    CHECK(copy.Hash(Renamings()[0]) == members_[result.next].hashes[0])
        << "members of one fingerprint part at input " << input;
    Fingerprint difference = 0;
    for (const Envelope& envelope : outcome.sent) {
      difference += HashMessage(copy.id(), envelope, Renamings()[0]);
    }
    for (std::size_t i = 0; i < result.sent_count; ++i) {
      difference -= messages_[sent_[result.sent_first + i]].hashes[0];
    }
    CHECK(difference == 0) << "members of one fingerprint send differently at input " << input;
  });
}

bool Catalogue::IgnoredBy(MemberState member, MessageNumber message) const {
  const MemberRecord& record = members_[member];
  Replica copy(*record.member);
  const Outcome outcome = Run(copy, kFirstMessage + message);
  return outcome.sent.empty() && !outcome.violation &&
         copy.Hash(Renamings()[0]) == record.hashes[0];
}

}  // namespace conclave::raft::explore
