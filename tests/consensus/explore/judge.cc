#include "tests/consensus/explore/judge.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <initializer_list>

#include <glog/logging.h>
#include <xxhash.h>

namespace conclave::raft::explore {
namespace {

Fingerprint HashWords(std::initializer_list<std::uint64_t> words) {
  class Words hashed;
  for (const std::uint64_t word : words) {
    hashed.Put(word);
  }
  return hashed.Hash();
}

/// By term less 2, and leader.
const std::array<std::array<Fingerprint, kMembers + 1>, 8>& LeaderHashes() {
  static const auto all = [] {
    std::array<std::array<Fingerprint, kMembers + 1>, 8> hashes{};
    for (std::size_t term = 0; term < hashes.size(); ++term) {
      for (MemberId id = 1; id <= kMembers; ++id) {
        hashes[term][id] = HashWords({0x1ead, term, id});
      }
    }
    return hashes;
  }();
  return all;
}

}  // namespace

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void LocalInputs(const Catalogue& catalogue, const ClusterState& state, std::size_t slot,
                 bool pre_vote, std::vector<Input>& inputs) {
  const Summary& member = catalogue.summary(state.members[slot]);
  const auto add = [&](Local what) { inputs.push_back(static_cast<Input>(what)); };
  if (member.writes_pending) {
    add(Local::kPersist);
  }
  add(Local::kCrash);
  if (member.leads()) {
    add(Local::kPropose);
    add(Local::kHeartbeat);
    add(Local::kStepDown);
    return;
  }
  if (pre_vote) {
    add(Local::kCampaign);
    return;
  }
  add(Local::kElect);
  for (const MemberState other : state.members) {
    const Term term = catalogue.summary(other).durable_term;
    if (term > member.term) {
      inputs.push_back(static_cast<Input>(Local::kLearnTerm) + static_cast<Input>(term));
    }
  }
}

ClusterState Judge::First(const Budget& budget) const {
  ClusterState state;
  state.left = budget;
  for (std::size_t slot = 0; slot < kMembers; ++slot) {
    state.members[slot] = catalogue_.First(slot + 1);
    for (std::size_t i = 0; i < state.sums.size(); ++i) {
      state.sums[i] += catalogue_.hashes(state.members[slot])[i];
    }
  }
  state.committed = catalogue_.summary(state.members[0]).log[0];
  return state;
}

bool Judge::Spend(Budget& left, Event event) {
  const auto take = [](std::uint8_t& budget) { return budget > 0 && budget-- > 0; };
  if (event.how == Event::How::kLose) {
    return take(left.losses);
  }
  if (event.input >= kFirstMessage) {
    return event.how == Event::How::kTake || take(left.duplicates);
  }
  switch (static_cast<Local>(event.input)) {
    case Local::kPersist:
      return true;
    case Local::kPropose:
      return take(left.proposals);
    case Local::kHeartbeat:
      return take(left.heartbeats);
    case Local::kStepDown:
      return take(left.step_downs);
    case Local::kCrash:
      return take(left.crashes);
    default:
      return take(left.campaigns);
  }
}

void Judge::Replace(ClusterState& state, std::size_t slot, MemberState member) {
  const Fingerprints& before = catalogue_.hashes(state.members[slot]);
  const Fingerprints& after = catalogue_.hashes(member);
  for (std::size_t i = 0; i < state.sums.size(); ++i) {
    state.sums[i] += after[i] - before[i];
  }
  state.members[slot] = member;
  const Summary& look = catalogue_.summary(member);
  if (look.leads() && look.term >= 2) {
    CHECK_LT(look.term - 2, state.leaders.size()) << "more terms than there is room for";
    std::uint8_t& leader = state.leaders[look.term - 2];
    if (leader != 0 && leader != look.id) {
      Fail("R1: two leaders of term " + std::to_string(look.term));
    }
    leader = static_cast<std::uint8_t>(look.id);
  }
  if (look.commitIndex > catalogue_.IndexOf(state.committed)) {
    const Prefix committed = look.log[look.commitIndex - 1];
    if (!catalogue_.Continues(committed, state.committed)) {
      Fail("R5: commits against what is committed, at " + std::to_string(look.commitIndex));
    }
    state.committed = committed;
  }
}

/// The names of the members do not matter: the least of the renamed fingerprints stands for all.
Fingerprint Judge::Name(const ClusterState& state, bool symmetry, std::uint64_t& orbit) {
  Fingerprints named = state.sums;
  const std::size_t renamings = symmetry ? named.size() : 1;
  for (std::size_t i = 0; i < renamings; ++i) {
    for (std::size_t term = 0; term < state.leaders.size(); ++term) {
      named[i] += LeaderHashes()[term][Renamings()[i][state.leaders[term]]];
    }
  }
  Fingerprint least = named[0];
  orbit = 1;
  for (std::size_t i = 1; i < renamings; ++i) {
    least = std::min(least, named[i]);
    orbit += std::find(named.begin(), named.begin() + i, named[i]) == named.begin() + i ? 1 : 0;
  }
  std::array<std::uint64_t, 4> words{static_cast<std::uint64_t>(least),
                                     static_cast<std::uint64_t>(least >> 64), state.committed, 0};
  static_assert(sizeof(Budget) == sizeof(std::uint64_t));
  std::memcpy(&words[3], &state.left, sizeof(Budget));
  const XXH128_hash_t hash = XXH3_128bits(words.data(), sizeof(words));
  return (static_cast<Fingerprint>(hash.high64) << 64) | hash.low64;
}

void Judge::Fail(const std::string& what) {
  if (!violation_) {
    violation_ = what;
  }
}

bool Judge::Match(const Summary& one, const Summary& other) const {
  const auto fit = [&](const auto& a, std::size_t a_size, const auto& b, std::size_t b_size) {
    for (std::size_t i = std::min(a_size, b_size); i-- > 0 && a[i] != b[i];) {
      if (catalogue_.TermOf(a[i]) == catalogue_.TermOf(b[i])) {
        return false;
      }
    }
    return true;
  };
  return fit(one.log, one.size, other.log, other.size) &&
         fit(one.durable, one.durable_size, other.durable, other.durable_size) &&
         fit(one.log, one.size, other.durable, other.durable_size) &&
         fit(one.durable, one.durable_size, other.log, other.size);
}

void Judge::Check(const ClusterState& state, std::size_t slot) {
  const Summary& changed = catalogue_.summary(state.members[slot]);
  const Index committed_index = catalogue_.IndexOf(state.committed);
  const Term committed_term = catalogue_.TermOf(state.committed);
  std::size_t copies = 0;
  for (std::size_t i = 0; i < kMembers; ++i) {
    const Summary& member = catalogue_.summary(state.members[i]);
    if (i != slot && !Match(changed, member)) {
      Fail("R3: one entry, two contents");
    }
    copies += member.durable_size >= committed_index &&
                      member.durable[committed_index - 1] == state.committed
                  ? 1
                  : 0;
    if (member.leads() && member.term >= committed_term &&
        (member.size < committed_index || member.log[committed_index - 1] != state.committed)) {
      Fail("R4: member " + std::to_string(member.id) + " leads term " +
           std::to_string(member.term) + " without the committed entry " +
           std::to_string(committed_index));
    }
  }
  if (copies < kMembers / 2 + 1) {
    Fail("R8: the committed entry " + std::to_string(committed_index) + " is on " +
         std::to_string(copies) + " disks");
  }
  if (changed.commitIndex > 0 &&
      !catalogue_.Continues(state.committed, changed.log[changed.commitIndex - 1])) {
    Fail("R5: member " + std::to_string(changed.id) + " commits another entry at " +
         std::to_string(changed.commitIndex));
  }
}

}  // namespace conclave::raft::explore
