#pragma once

// Every state of a cluster of three members that can be reached within bounds, the network taken
// from the members' histories.
//
// What messages are under way makes most states of the exact search (search.h) differ: two ways to
// the same three members, one of which had the leader send an entry before it learned of a commit
// and one after, give two states. Here a state is the members alone, each with what it did in the
// terms that it has left, and a message can be delivered, any number of times, if its sender may
// have sent it on any known way to its present state. That allows everything which the exact search
// allows with any number of losses, repetitions and overtakings, and a little more; so when nothing
// is found here, nothing is there. What is found here is tried out exactly before it is reported.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/consensus/explore/search.h"

namespace conclave::raft::explore {

class HistorySearch {
 public:
  /// `catalogue` must outlive this and have rules that keep the past.
  HistorySearch(const Bounds& bounds, Catalogue& catalogue);

  /// Rounds over all states, until a round meets no history that was not known when it began. A
  /// violation is in Report::violation, how it came about in events().
  Report Run();

  const std::vector<Event>& events() const { return path_; }

  /// Called about every ten seconds.
  std::function<void(const Report&)> on_progress;

 private:
  /// False if a bound on time or memory or a violation ended it.
  bool Round();
  void Expand(const ClusterState& state);
  void Try(const ClusterState& state, Event event);
  void Count();

  const Bounds bounds_;
  Catalogue& catalogue_;
  Judge judge_{catalogue_};
  Visited visited_;
  std::vector<ClusterState> stack_;
  std::vector<Event> path_;
  std::vector<Input> inputs_;
  Report report_;
  double began_ = 0;
  double reported_ = 0;
};

}  // namespace conclave::raft::explore
