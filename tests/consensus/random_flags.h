#pragma once

#include <cstdint>

namespace conclave::raft::testing {

/// Of raft_random_test: which storms to run, and how long each.
struct RandomFlags {
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 150;
  std::uint64_t steps = 2000;
  std::uint64_t trace = 0;  ///< Not 0: print all that happens.
};

RandomFlags& Flags();

}  // namespace conclave::raft::testing
