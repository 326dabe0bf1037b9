// Everything about a run that is drawn from its seed before it starts (swarm testing: what is
// always on together hides what only happens alone).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "coord/server/options.h"
#include "tests/server/sim_network.h"

namespace conclave::sim {

// Each is on in half of the runs.
struct FaultClasses {
  bool crash = false;          // between two events, unsynced data lost, torn or kept
  bool crash_writing = false;  // between two operations on the disk
  bool partition = false;      // one member or a group cut off
  bool one_way = false;        // messages vanish in one direction
  bool one_link = false;       // two members that do not see each other (partial partition)
  bool pause = false;          // a member stands still
  bool failed_sync = false;    // the disk reports an error
  bool disk_full = false;      // writes fail with ENOSPC
  bool low_space = false;      // little room is reported before anything fails
  bool slow_disk = false;      // syncs take long for a while
  bool wipe = false;           // a minority loses its disks
  bool wall_jump = false;      // the time of day steps
};

struct Knobs {
  std::uint64_t seed = 0;
  std::size_t members = 3;
  bool codec = false;      // every peer message goes through the bytes of the door
  server::Options server;  // the member's own fields are filled in later
  server::testing::SimNetworkOptions network;

  FaultClasses faults;
  std::int64_t fault_spacing_ms = 500;
  std::int64_t restart_min_ms = 1;
  std::int64_t restart_max_ms = 500;
  bool aim_at_leader = false;
  std::int64_t drift_ppm = 0;  // clocks of members run wrong by up to this
  std::int64_t sync_min_ns = 50'000;
  std::int64_t sync_max_ns = 400'000;

  std::size_t clients = 3;
  std::size_t keys = 4;
  std::int64_t think_ms = 20;  // between two operations of a client, at most
  std::int64_t session_timeout_ms = 2000;
  std::int64_t patience_ms = 1000;          // of a client with a call
  std::uint32_t lost_reply_millionths = 0;  // a connection of a client breaks with an answer on it
  bool slow_consumers = false;
  bool give_up = false;  // clients die silently now and then

  // One line for people.
  std::string Describe() const;
};

Knobs DrawKnobs(std::uint64_t seed);

}  // namespace conclave::sim
