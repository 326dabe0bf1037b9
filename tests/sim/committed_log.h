// What has been committed, as the members hand it to their state machines: whoever is first.
#pragma once

#include <cstdint>
#include <vector>

#include "consensus/configuration.h"
#include "consensus/types.h"
#include "tests/sim/journal.h"

namespace conclave::sim {

// Thread: one.
class CommittedLog {
 public:
  explicit CommittedLog(Journal* journal) : journal_(journal) {}

  // An entry that some member is about to apply. R9: of two configurations that follow each other,
  // at most one vote differs, so that their quorums meet.
  void Add(const raft::Entry& entry);

  // From index 1, dense.
  const std::vector<raft::Entry>& entries() const { return entries_; }

  // The last one that is committed; null before the first.
  const raft::Configuration* configuration() const {
    return configurations_.empty() ? nullptr : &configurations_.back().configuration;
  }

  // Of its entry; 0: none.
  raft::Index configuration_index() const {
    return configurations_.empty() ? 0 : configurations_.back().index;
  }

  // The one in force at an index, and the one after it if there is one: an entry is committed by a
  // leader that may have known of that.
  std::vector<const raft::Configuration*> AroundIndex(raft::Index index) const;

 private:
  Journal* const journal_;
  std::vector<raft::Entry> entries_;
  std::vector<raft::IndexedConfiguration> configurations_;
};

}  // namespace conclave::sim
