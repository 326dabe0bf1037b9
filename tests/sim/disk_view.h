// What a disk would hold if its machine stopped now.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "consensus/configuration.h"
#include "consensus/types.h"
#include "tests/persist/fault_env.h"

namespace conclave::sim {

struct DiskView {
  std::string error;  // not empty: it cannot be opened
  raft::HardState hardState;
  // The entry before the first one of the log; what is up to it is in a snapshot.
  raft::EntryId start;
  std::uint64_t start_chain = 0;
  std::vector<raft::Entry> log;  // from start.index + 1, dense
  std::vector<raft::IndexedConfiguration> configurations;

  raft::Index last() const { return start.index + log.size(); }

  const raft::Entry* At(raft::Index index) const {
    return index <= start.index || index > last() ? nullptr : &log[index - start.index - 1];
  }

  // Whether it has the entry of this index with this chain over the log.
  bool Holds(raft::Index index, std::uint64_t chain) const {
    const raft::Entry* entry = At(index);
    return entry != nullptr ? entry->chain == chain
                            : index < start.index || (index == start.index && start_chain == chain);
  }
};

// The disk goes on; it is a copy that crashes and is opened.
DiskView ReadDisk(const persist::testing::FaultEnv& disk, raft::MemberId member, std::uint64_t seed,
                  persist::testing::CrashPolicy policy = persist::testing::CrashPolicy::kDropAll);

}  // namespace conclave::sim
