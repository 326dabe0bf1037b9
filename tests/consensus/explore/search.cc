#include "tests/consensus/explore/search.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <xxhash.h>

namespace conclave::raft::explore {
namespace {}  // namespace

// --- The network ---

Search::Net& Search::Net::operator=(const Net& other) {
  if (this != &other) {
    count = other.count;
    std::memcpy(messages.data(), other.messages.data(), count * sizeof(messages[0]));
  }
  return *this;
}

bool Search::Net::Contains(MessageNumber message) const {
  return std::binary_search(messages.begin(), messages.begin() + count, message);
}

void Search::Net::Add(MessageNumber message) {
  CHECK_LT(count, kMax) << "more messages under way than there is room for";
  const auto end = messages.begin() + count;
  const auto at = std::upper_bound(messages.begin(), end, message);
  std::move_backward(at, end, end + 1);
  *at = message;
  ++count;
}

void Search::Net::RemoveAt(std::size_t position) {
  const auto at = messages.begin() + static_cast<std::ptrdiff_t>(position);
  std::move(at + 1, messages.begin() + count, at);
  --count;
}

// --- Steps ---

Search::Search(const Bounds& bounds, Catalogue& catalogue)
    : bounds_(bounds), catalogue_(catalogue), visited_(bounds.visited_bytes) {
  path_.resize(4096);
}

/// What the core must then ignore is checked on every state by CheckIgnored; that it goes on
/// ignoring it follows from terms that do not fall and from candidacies that do not come back.
bool Search::IgnoresForEver(const Summary& member, const MessageLook& message,
                            bool may_crash) const {
  const Term floor = may_crash ? member.durable_term : member.term;
  const bool stands = member.term == message.term && member.role == RoleName::kCandidate;
  if (message.vote_reply) {
    if (message.pre_vote || !message.granted) {
      return message.term <= floor;
    }
    return message.term < floor || (message.term == floor && !stands);
  }
  if (message.append_reply) {
    const bool leads = member.term == message.term && member.leads();
    return message.term < floor || (message.term == floor && !stands && !leads);
  }
  return false;
}

bool Search::Ignored(const State& state, MessageNumber message) const {
  const MessageLook& look = catalogue_.look(message);
  return bounds_.drop_ignored && IgnoresForEver(catalogue_.summary(state.members[look.to - 1]),
                                                look, state.left.crashes > 0);
}

void Search::Send(State& state, MessageNumber message) {
  const Fingerprints& hashes = catalogue_.message_hashes(message);
  for (std::size_t i = 0; i < state.sums.size(); ++i) {
    state.sums[i] += hashes[i];
  }
  state.net.Add(message);
}

void Search::DropIgnored(State& state, std::size_t slot) {
  for (std::size_t at = 0; at < state.net.count;) {
    const MessageNumber message = state.net.messages[at];
    if (catalogue_.look(message).to == slot + 1 && Ignored(state, message)) {
      const Fingerprints& hashes = catalogue_.message_hashes(message);
      for (std::size_t i = 0; i < state.sums.size(); ++i) {
        state.sums[i] -= hashes[i];
      }
      state.net.RemoveAt(at);
    } else {
      ++at;
    }
  }
}

Search::State Search::First() const {
  State state;
  static_cast<ClusterState&>(state) = judge_.First(bounds_.budget);
  return state;
}

/// On a network that repeats: the message changes nothing, as most do that were delivered before.
bool Search::Idle(const State& state, Event event) {
  if (!bounds_.any_duplicates || event.how != Event::How::kTake) {
    return false;
  }
  const Result& result = catalogue_.Take(state.members[event.slot], event.input);
  if (result.next != state.members[event.slot] || result.violation != 0) {
    return false;
  }
  const MessageNumber* const sent = catalogue_.sent(result);
  return std::all_of(sent, sent + result.sent_count, [&](MessageNumber message) {
    return state.net.Contains(message) || Ignored(state, message);
  });
}

bool Search::Follow(const State& state, Event event, State& next) {
  next = state;
  next.event = event;
  next.depth = state.depth + 1;
  if (!Judge::Spend(next.left, event)) {
    return false;
  }
  const bool is_message = event.input >= kFirstMessage;
  if (is_message && (event.how == Event::How::kLose ||
                     (event.how == Event::How::kTake && !bounds_.any_duplicates))) {
    const MessageNumber message = event.input - kFirstMessage;
    const auto begin = next.net.messages.begin();
    const auto at = std::lower_bound(begin, begin + next.net.count, message);
    next.net.RemoveAt(static_cast<std::size_t>(at - begin));
    const Fingerprints& hashes = catalogue_.message_hashes(message);
    for (std::size_t i = 0; i < next.sums.size(); ++i) {
      next.sums[i] -= hashes[i];
    }
    if (event.how == Event::How::kLose) {
      return true;
    }
  }
  const Result result = catalogue_.Take(state.members[event.slot], event.input);
  if (result.violation != 0) {
    judge_.Fail(catalogue_.violation(result));
    return true;
  }
  bool changed = result.next != state.members[event.slot];
  if (changed) {
    judge_.Replace(next, event.slot, result.next);
    DropIgnored(next, event.slot);
  }
  for (std::uint32_t i = 0; i < result.sent_count; ++i) {
    const MessageNumber message = catalogue_.sent(result)[i];
    if (!(bounds_.any_duplicates && next.net.Contains(message)) && !Ignored(next, message)) {
      Send(next, message);
      changed = true;
    }
  }
  // A state with less on the network or in the budget, and else the same, allows nothing new.
  return changed;
}

// --- The search ---

void Search::Try(const State& state, Event event) {
  path_[static_cast<std::size_t>(path_size_)] = event;
  if (Idle(state, event)) {
    return;
  }
  State next;
  if (!Follow(state, event, next)) {
    return;
  }
  ++report_.transitions;
  std::uint64_t orbit = 0;
  const Fingerprint name = Judge::Name(next, bounds_.symmetry, orbit);
  if (!judge_.violation() && !visited_.Insert(name)) {
    ++report_.duplicates;
    return;
  }
  report_.orbit_states += orbit;
  report_.depth = std::max<std::uint64_t>(report_.depth, next.depth);
  judge_.Check(next, event.slot);
  if (judge_.violation()) {
    ++path_size_;
    return;
  }
  stack_.push_back(next);
}

void Search::Expand(const State& state) {
  std::vector<Input> inputs;
  for (std::uint8_t slot = 0; slot < kMembers; ++slot) {
    inputs.clear();
    LocalInputs(catalogue_, state, slot, bounds_.pre_vote, inputs);
    for (std::size_t i = 0; i < inputs.size() && !judge_.violation(); ++i) {
      Try(state, {inputs[i], slot, Event::How::kTake});
    }
  }
  for (std::uint32_t i = 0; i < state.net.count && !judge_.violation(); ++i) {
    const MessageNumber message = state.net.messages[i];
    if (i > 0 && state.net.messages[i - 1] == message) {
      continue;
    }
    const auto slot = static_cast<std::uint8_t>(catalogue_.look(message).to - 1);
    Try(state, {kFirstMessage + message, slot, Event::How::kTake});
    if (!bounds_.any_duplicates && !judge_.violation()) {
      Try(state, {kFirstMessage + message, slot, Event::How::kDuplicate});
    }
    if (!judge_.violation()) {
      Try(state, {kFirstMessage + message, slot, Event::How::kLose});
    }
  }
}

Report Search::Run() {
  const double began = SteadySeconds();
  double reported = began;
  const State first = First();
  std::uint64_t orbit = 0;
  visited_.Insert(Judge::Name(first, bounds_.symmetry, orbit));
  report_.orbit_states = orbit;
  stack_.push_back(first);
  const auto count = [&] {
    report_.states = visited_.size();
    report_.unfinished = stack_.size();
    report_.member_states = catalogue_.member_states();
    report_.messages = catalogue_.messages();
    report_.member_transitions = catalogue_.transitions();
    report_.doubts = catalogue_.doubts();
    report_.seconds = SteadySeconds() - began;
  };
  for (std::uint64_t turns = 1; !stack_.empty() && !judge_.violation(); ++turns) {
    if (turns % 4096 == 0) {
      const double now = SteadySeconds();
      if (visited_.full() || visited_.size() >= bounds_.states_max ||
          now - began > bounds_.seconds_max) {
        break;
      }
      if (now - reported > 10 && on_progress) {
        reported = now;
        count();
        on_progress(report_);
      }
    }
    const State state = stack_.back();
    stack_.pop_back();
    path_size_ = state.depth;
    CHECK_LT(state.depth + 1, path_.size());
    if (state.depth > 0) {
      path_[state.depth - 1] = state.event;
    }
    Expand(state);
  }
  count();
  report_.complete = stack_.empty() && !judge_.violation();
  if (judge_.violation()) {
    path_.resize(static_cast<std::size_t>(path_size_));
    report_.violation = judge_.violation();
    Explain(path_, report_);
  }
  return report_;
}

std::optional<std::string> Search::CheckIgnored(std::uint64_t one_in,
                                                std::uint64_t& checked) const {
  std::uint64_t met = 0;
  for (MemberState member = 0; member < catalogue_.member_states(); ++member) {
    const Summary& summary = catalogue_.summary(member);
    for (MessageNumber message = 0; message < catalogue_.messages(); ++message) {
      const MessageLook& look = catalogue_.look(message);
      // Without crashes more is ignored than with them, so this covers both.
      if (look.to != summary.id || !IgnoresForEver(summary, look, false) || ++met % one_in != 0) {
        continue;
      }
      ++checked;
      if (!catalogue_.IgnoredBy(member, message)) {
        return "member " + std::to_string(summary.id) + " in term " + std::to_string(summary.term) +
               " does not ignore message " + std::to_string(message);
      }
    }
  }
  return std::nullopt;
}

}  // namespace conclave::raft::explore
