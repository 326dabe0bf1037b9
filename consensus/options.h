#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "consensus/types.h"

namespace conclave::raft {

/// A voter of a cluster that is yet to be started.
struct InitialMember {
  MemberId id = 0;
  /// Where it takes its peers; becomes Member::peer_address. At most kAddressBytesMax.
  std::string peer_address;
};

/// How one member runs. A tick is whatever the driver makes of it; the defaults are meant for 10
/// ms.
struct Options {
  /// This member. Not 0.
  MemberId id = 0;
  /// Of this member's data directory. Not 0.
  Incarnation incarnation = 0;
  /// The voters of a cluster that is yet to be started, this member among them. Looked at only
  /// while the log is empty; afterwards the log says who belongs to the cluster, and where. A
  /// member that is not in it (it may be empty) starts no cluster: it waits for the leader of one
  /// that it was added to.
  std::vector<InitialMember> initial_members;

  // --- Time, in ticks ---

  /// A leader sends a heartbeat to everyone that often. Smaller notices a lost message sooner;
  /// must be below election_ticks_min, by a factor of several to survive a lost heartbeat.
  std::uint32_t heartbeat_ticks = 5;
  /// A follower that hears no leader campaigns after a uniform time in [min, max] (section 3.4).
  /// Within `min` of hearing a leader a member grants no votes (section 4.2.3), and a leader that
  /// has not heard from a quorum within `min` steps down (section 6.2).
  std::uint32_t election_ticks_min = 30;
  std::uint32_t election_ticks_max = 60;
  /// After the leader's connection closed: first campaign after a uniform [0, max] ticks ...
  std::uint32_t failover_ticks_max = 2;
  /// ... and again within a uniform [min, max] while no leader is heard, for election_ticks_max in
  /// all; then the ordinary timeout is back. min is at least 1.
  std::uint32_t failover_retry_ticks_min = 1;
  std::uint32_t failover_retry_ticks_max = 3;
  /// A leader whose oldest write has been waiting for its disk so long hands over to a voter whose
  /// disk has what is waited for, if those voters are a quorum without it. Below
  /// election_ticks_max, after which it steps down in any case. 0: half of election_ticks_min.
  std::uint32_t disk_stall_ticks = 0;

  // --- Members ---

  /// As leader, makes a voter of each learner that has caught up (section 4.2.1), one at a time.
  bool promote_learners = true;

  // --- Sizes; bytes are EntryBytes ---

  /// One AppendEntries holds at most this much, but always one entry. It should be below the frame
  /// limit of the transport less the largest entry.
  std::size_t append_bytes_max = 256 << 10;
  std::size_t append_entries_max = 4096;
  /// AppendEntries on their way to one follower, not yet acknowledged. 1 means stop and wait.
  std::size_t inflight_messages_max = 64;
  std::size_t inflight_bytes_max = 4 << 20;
  /// Proposals are refused while more than this is appended and not committed, so that a leader
  /// without a quorum does not fill its memory and disk.
  std::size_t uncommitted_bytes_max = 32 << 20;
  /// Ready::committed holds at most this much, but always one entry, and no further entries leave
  /// before Applied has reached all but twice this much.
  std::size_t committed_bytes_max = 1 << 20;
  /// Entries kept in memory although durable and applied, for followers slightly behind.
  /// Uncommitted and unapplied entries are kept in any case.
  std::size_t window_bytes_max = 16 << 20;
  /// Reads waiting for a confirmation; more are refused.
  std::size_t reads_pending_max = 65536;

  /// The first field that cannot be, in words that name it; nothing if all is well.
  std::optional<std::string> Validate() const;
};

}  // namespace conclave::raft
