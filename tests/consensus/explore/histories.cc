#include "tests/consensus/explore/histories.h"

#include <algorithm>

#include <glog/logging.h>

namespace conclave::raft::explore {

HistorySearch::HistorySearch(const Bounds& bounds, Catalogue& catalogue)
    : bounds_(bounds), catalogue_(catalogue), visited_(bounds.visited_bytes) {}

void HistorySearch::Try(const ClusterState& state, Event event) {
  const MemberState before = state.members[event.slot];
  Budget left = state.left;
  if (!Judge::Spend(left, event)) {
    return;
  }
  path_.resize(state.depth);
  path_.push_back(event);
  const Result result = catalogue_.Take(before, event.input);
  if (result.violation != 0) {
    judge_.Fail(catalogue_.violation(result));
    return;
  }
  if (result.next == before) {
    return;  // At most the budget has become smaller.
  }
  ++report_.transitions;
  ClusterState next = state;
  next.left = left;
  next.depth = state.depth + 1;
  next.event = event;
  judge_.Replace(next, event.slot, result.next);
  std::uint64_t orbit = 0;
  if (!visited_.Insert(Judge::Name(next, bounds_.symmetry, orbit))) {
    ++report_.duplicates;
    return;
  }
  report_.orbit_states += orbit;
  report_.depth = std::max<std::uint64_t>(report_.depth, next.depth);
  judge_.Check(next, event.slot);
  stack_.push_back(next);
}

void HistorySearch::Expand(const ClusterState& state) {
  for (std::uint8_t slot = 0; slot < kMembers; ++slot) {
    inputs_.clear();
    LocalInputs(catalogue_, state, slot, bounds_.pre_vote, inputs_);
    for (std::size_t other = 0; other < kMembers; ++other) {
      if (other != slot) {
        catalogue_.Deliverable(state.members[slot], state.members[other], inputs_);
      }
    }
    for (const Input input : inputs_) {
      Try(state, {input, slot, Event::How::kTake});
      if (judge_.violation()) {
        return;
      }
    }
  }
}

void HistorySearch::Count() {
  report_.states = visited_.size();
  report_.unfinished = stack_.size();
  report_.member_states = catalogue_.member_states();
  report_.messages = catalogue_.messages();
  report_.member_transitions = catalogue_.transitions();
  report_.doubts = catalogue_.doubts();
  report_.seconds = SteadySeconds() - began_;
}

bool HistorySearch::Round() {
  ++report_.rounds;
  report_.transitions = report_.duplicates = report_.depth = 0;
  visited_.Clear();
  stack_.assign(1, judge_.First(bounds_.budget));
  visited_.Insert(Judge::Name(stack_.back(), bounds_.symmetry, report_.orbit_states));
  for (std::uint64_t turns = 1; !stack_.empty(); ++turns) {
    if (turns % 4096 == 0) {
      const double now = SteadySeconds();
      if (visited_.full() || visited_.size() >= bounds_.states_max ||
          now - began_ > bounds_.seconds_max) {
        return false;
      }
      if (now - reported_ > 10 && on_progress) {
        reported_ = now;
        Count();
        on_progress(report_);
      }
    }
    const ClusterState state = stack_.back();
    stack_.pop_back();
    path_.resize(state.depth);
    if (state.depth > 0) {
      path_.back() = state.event;
    }
    Expand(state);
    if (judge_.violation()) {
      return false;
    }
  }
  return true;
}

Report HistorySearch::Run() {
  began_ = reported_ = SteadySeconds();
  bool finished = true;
  std::uint64_t growths = 0;
  do {
    growths = catalogue_.growths();
    finished = Round();
  } while (finished && catalogue_.growths() != growths);
  Count();
  report_.complete = finished;
  report_.violation = judge_.violation();
  return report_;
}

}  // namespace conclave::raft::explore
