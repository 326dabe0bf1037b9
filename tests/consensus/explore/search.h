#pragma once

// Every state of a cluster of three members that can be reached within bounds, depth first.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/consensus/explore/judge.h"
#include "tests/consensus/explore/visited.h"

namespace conclave::raft::explore {

struct Report {
  std::uint64_t states = 0;
  std::uint64_t transitions = 0;   ///< Steps that changed something.
  std::uint64_t duplicates = 0;    ///< Of those, such as led to a known state.
  std::uint64_t depth = 0;         ///< Of the longest path.
  std::uint64_t orbit_states = 0;  ///< The states that `states` stands for, renamed ones counted.
  std::uint64_t unfinished = 0;    ///< States met, not gone on from.
  std::size_t member_states = 0;
  std::size_t messages = 0;
  std::size_t member_transitions = 0;
  std::uint64_t doubts = 0;
  std::uint64_t rounds = 0;  ///< Over all states, until all histories were known.
  double seconds = 0;
  bool complete = false;  ///< Nothing within the bounds is left.
  std::optional<std::string> violation;
  std::vector<std::string> scenario;  ///< How it comes about, shortened, one line per step.
};

class Search {
 public:
  /// `catalogue` must outlive this.
  Search(const Bounds& bounds, Catalogue& catalogue);

  /// Until everything is explored, a bound on time or memory is reached, or an invariant is broken.
  Report Run();

  /// Called about every ten seconds.
  std::function<void(const Report&)> on_progress;

  /// If the events break an invariant also on an exact network: a shorter way to break one, with
  /// its words. False, and nothing changed, if they do not.
  bool Explain(std::vector<Event> events, Report& report);

  /// Every pair of a reached member state and a message that the search would take off the network
  /// there, or one in `one_in` of them: the core must ignore the message. What is wrong, or
  /// nothing.
  std::optional<std::string> CheckIgnored(std::uint64_t one_in, std::uint64_t& checked) const;

  /// The events to the state under examination.
  std::vector<Event> path() const { return {path_.begin(), path_.begin() + path_size_ + 1}; }

  std::vector<std::string> Words(const std::vector<Event>& events) const;

 private:
  struct Net {
    static constexpr std::size_t kMax = 120;
    std::uint32_t count = 0;
    std::array<MessageNumber, kMax> messages;  // NOLINT: only `count` of them are ever read.

    Net() {}  // NOLINT

    Net(const Net& other) { *this = other; }

    Net& operator=(const Net& other);
    bool Contains(MessageNumber message) const;
    void Add(MessageNumber message);
    void RemoveAt(std::size_t position);
  };

  struct State : ClusterState {
    Net net;
  };

  State First() const;
  void Expand(const State& state);
  void Try(const State& state, Event event);
  bool Idle(const State& state, Event event);
  /// The state after an event, or nothing if it changes nothing. A violation
  /// goes to judge_.
  bool Follow(const State& state, Event event, State& next);
  void Send(State& state, MessageNumber message);
  void DropIgnored(State& state, std::size_t slot);
  bool Ignored(const State& state, MessageNumber message) const;
  bool IgnoresForEver(const Summary& member, const MessageLook& message, bool may_crash) const;

  std::string Words(Event event, const std::string& what_else) const;
  std::optional<std::vector<Event>> Replay(const std::vector<Event>& events);

  const Bounds bounds_;
  Catalogue& catalogue_;
  Judge judge_{catalogue_};
  Visited visited_;
  std::vector<State> stack_;
  std::vector<Event> path_;
  std::ptrdiff_t path_size_ = 0;
  Report report_;
  std::vector<std::string> scenario_;
};

}  // namespace conclave::raft::explore
