// Committed entries into the state machine, in order, in slices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "consensus/storage.h"
#include "consensus/types.h"
#include "coord/server/status.h"
#include "coord/tree/state_machine.h"

namespace conclave::server {

class Observer;

// Thread: core executor only. Owns the state machine.
//
// Invariants:
//   1. An entry's effects, the matching of its watches and the queueing of their events happen in
//      one go, within `applied`; slices end between entries (rule 1).
//   2. applied() rises by one with every entry, Raft's own included; a snapshot makes it jump.
class Applier {
 public:
  struct Events {
    // The entry was applied. `result` may be taken apart. Not called for Raft's own entries.
    std::function<void(const raft::Entry&, tree::ApplyResult& result)> applied;
    // One of Raft's own was passed.
    std::function<void(const raft::Entry&)> passed;
    std::function<void(std::string_view)> fatal;
  };

  // Begins with the state of a member that has applied nothing, or with one that was loaded and
  // stands at `applied`.
  Applier(Counters* counters, Observer* observer, Events events,
          std::unique_ptr<tree::StateMachine> machine, raft::Index applied);
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;
  ~Applier() = default;

  void Add(std::vector<raft::Entry> entries);

  // Applies at most `entries_max` entries; returns how many.
  std::size_t RunSlice(std::size_t entries_max);

  // Nothing can be applied just now.
  [[nodiscard]] bool idle() const { return waiting_.empty() || held_; }

  // A snapshot takes the place of what waits: nothing is applied until Replace.
  void Hold();
  // The state after `meta.last`; returns the one before. REQUIRES: that lies behind applied().
  [[nodiscard]] std::unique_ptr<tree::StateMachine> Replace(
      std::unique_ptr<tree::StateMachine> machine, const raft::SnapshotMeta& meta);

  [[nodiscard]] raft::Index applied() const { return applied_; }

  [[nodiscard]] const tree::StateMachine& machine() const { return *machine_; }

  // For freezing and scrubbing, which change nothing that is replicated.
  [[nodiscard]] tree::StateMachine& mutable_machine() { return *machine_; }

  // What digests are compared by: both halves folded, with the feature of an injected fault.
  [[nodiscard]] std::uint64_t digest() const;

  // For tests of rule 15 alone: from now on this member's digest is another one, as if a bit of its
  // memory had rotted.
  void InjectRot() { rot_ = 1; }

 private:
  Counters* const counters_;
  Observer* const observer_;
  const Events events_;
  std::unique_ptr<tree::StateMachine> machine_;
  std::deque<raft::Entry> waiting_;
  raft::Index applied_ = 0;
  std::uint64_t rot_ = 0;
  bool failed_ = false;
  bool held_ = false;
};

}  // namespace conclave::server
