// A cluster whose majority is lost for good goes on from one survivor, as another cluster.
//
// Offline: no server runs on the directory. What the survivor has becomes the state of a new
// cluster of this one member: with a new id, so that no member of the old one is ever taken for one
// of this (rule 11), at an index that no member of the old one can have reached, so that no zxid
// has two meanings (rule 9).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "consensus/configuration.h"
#include "consensus/types.h"
#include "persist/disk.h"
#include "persist/storage_env.h"

namespace leveldb {
class Env;
}

namespace conclave::server {

struct LostMajorityOptions {
  // As in Options and Seams.
  std::uint64_t id = 0;
  std::string cluster_name;
  std::string data_dir;
  std::string peer_address;  // of this member, as those will dial it that are added to it
  leveldb::Env* env = nullptr;
  persist::Disk* disk = nullptr;
  persist::StorageEnv::Background storage_background = persist::StorageEnv::Background::kThread;
  raft::RandomSource* random = nullptr;  // the new cluster's id is drawn from it
};

// What there is, and what becomes of it.
struct LostMajorityReport {
  // As found.
  raft::ClusterId old_cluster{};
  raft::Term term = 0;
  raft::EntryId last;               // of this member's log: all of it is taken over
  raft::Index known_committed = 0;  // everything behind it may not have been, for all it knows
  raft::Configuration members;      // all but this one are dropped
  std::size_t znodes = 0;
  std::size_t sessions = 0;
  // As it will be, or is.
  raft::ClusterId new_cluster{};
  raft::Index new_index = 0;  // where the new log begins
};

// Looks, and with `carry_out` does it: by one synced batch in the end, so that a crash leaves the
// directory as it was or as it should be. The error is a sentence for the operator; then nothing
// was changed.
[[nodiscard]] tl::expected<LostMajorityReport, std::string> RecoverLostMajority(
    const LostMajorityOptions& options, bool carry_out);

}  // namespace conclave::server
