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
  bool flip = false;           // a bit of a minority's disks turns over
  bool swap = false;           // a member of a minority is given another member's disk
  bool old_disk = false;       // a member's disk is put back to an older state
  bool matrix = false;         // each direction of each link is cut or not
  bool membership = false;     // members come, go and are replaced, leadership is handed over
  bool wall_jump = false;      // the time of day steps
};

struct Knobs {
  std::uint64_t seed = 0;
  std::size_t members = 3;  // at the start
  std::size_t spares = 0;   // others, that may be added
  bool codec = false;       // every peer message goes through the bytes of the door
  server::Options server;   // the member's own fields are filled in later
  server::testing::SimNetworkOptions network;

  FaultClasses faults;
  std::int64_t fault_spacing_ms = 500;
  std::int64_t restart_min_ms = 1;
  std::int64_t restart_max_ms = 500;
  bool aim_at_leader = false;
  // Of the messages of a snapshot's transfer so many are the occasion of a crash.
  std::uint64_t interrupt_percent = 0;
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
  // Of the clients so many use the client library, over frames to the doors.
  std::size_t library_clients = 0;
  bool client_pauses = false;  // these stand still
  bool client_cuts = false;    // and are cut off from members
  // A member drops a connection that does not take what it is sent.
  std::size_t client_unread_bytes_max = std::size_t{16} << 20;

  // One line for people.
  std::string Describe() const;
};

Knobs DrawKnobs(std::uint64_t seed);

}  // namespace conclave::sim
