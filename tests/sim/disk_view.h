// What a disk would hold if its machine stopped now.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "consensus/types.h"
#include "tests/persist/fault_env.h"

namespace conclave::sim {

struct DiskView {
  std::string error;  // not empty: it cannot be opened
  raft::HardState hardState;
  std::vector<raft::Entry> log;  // from index 1, dense

  const raft::Entry* At(raft::Index index) const {
    return index == 0 || index > log.size() ? nullptr : &log[index - 1];
  }
};

// The disk goes on; it is a copy that crashes and is opened.
DiskView ReadDisk(const persist::testing::FaultEnv& disk, raft::MemberId member, std::uint64_t seed,
                  persist::testing::CrashPolicy policy = persist::testing::CrashPolicy::kDropAll);

}  // namespace conclave::sim
