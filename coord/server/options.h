// Everything about one member that is chosen before it starts. `conclaved` fills this from flags of
// the same names (but for what says that it is none); tests construct it. Nothing here is read from
// the environment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

namespace conclave::server {

// One voting member as the command line names it.
struct MemberAddress {
  std::uint64_t id = 0;      // 1 and up
  std::string peer_address;  // HOST:PORT where it takes its peers; opaque to the server
};

struct Options {
  // --- who this is ------------------------------------------------------------------------------

  // --id: this member, one of `members`.
  std::uint64_t id = 0;
  // --cluster_name: checked at the first frame between peers, and kept in the data directory.
  std::string cluster_name = "conclave";
  // --data_dir: where the log lives, as the Env understands it.
  std::string data_dir;
  // --members: all voters, this one among them. Read at the first start of the cluster; from then
  // on the configuration in the log counts and this only says where to find the peers.
  std::vector<MemberAddress> members;
  // --client_address, --admin_address: published to the other members for status and leader hints.
  // Either may be empty (nothing is published for it).
  std::string client_address;
  std::string admin_address;

  // --- consensus --------------------------------------------------------------------------------

  // --tick_ms: the unit of Raft's timeouts, at least 1.
  std::int64_t tick_ms = 10;
  // --heartbeat_ticks: a leader is heard at least this often. Less than election_ticks_min.
  std::uint32_t heartbeat_ticks = 5;
  // --election_ticks_min, --election_ticks_max: silence after which a member campaigns is drawn
  // uniformly from [min, max].
  std::uint32_t election_ticks_min = 30;
  std::uint32_t election_ticks_max = 60;

  // --- sessions ---------------------------------------------------------------------------------

  // --session_timeout_min_ms, --session_timeout_max_ms: a requested timeout is clamped into this.
  std::int64_t session_timeout_min_ms = 1000;
  std::int64_t session_timeout_max_ms = 600'000;
  // --touch_interval_ms: how often heartbeats of sessions travel to the leader, in one batch. It
  // adds to the age of a confirmed heartbeat; at most a fifth of session_timeout_min_ms.
  std::int64_t touch_interval_ms = 100;
  // --session_bucket_ms: expiry is looked for this often; a session ends within its timeout plus
  // this. At most half of session_timeout_min_ms.
  std::int64_t session_bucket_ms = 100;

  // --- bounds -----------------------------------------------------------------------------------

  // --request_bytes_max: largest encoded entry a client may cause. (What a value, a path or a multi
  // may hold is no option: tree::Limits, which all members share.)
  std::size_t request_bytes_max = std::size_t{4} << 20;
  // --pending_requests_max, --pending_bytes_max: writes accepted at this member and not yet
  // answered. Past either, new ones are refused as overloaded; deletes, closes and heartbeats have
  // an eighth on top that other load cannot use.
  std::size_t pending_requests_max = 65'536;
  std::size_t pending_bytes_max = std::size_t{64} << 20;
  // --read_bytes_max: body of one answer of `children`; the caller pages on.
  std::size_t read_bytes_max = std::size_t{1} << 20;
  // --log_bytes_max: the log is not compacted yet, so it is bounded: past this, writes are refused
  // (kNoSpace). --log_reserve_bytes: deletes and sessions still pass within so much more.
  std::uint64_t log_bytes_max = std::uint64_t{8} << 30;
  std::uint64_t log_reserve_bytes = std::uint64_t{64} << 20;
  // --free_space_min_bytes, --free_space_reserve_bytes: with less room than the first on the disk
  // creates and sets are refused, with less than the second also deletes and sessions; always
  // before the log is touched. Both end by themselves.
  std::uint64_t free_space_min_bytes = std::uint64_t{1} << 30;
  std::uint64_t free_space_reserve_bytes = std::uint64_t{64} << 20;

  // --- watches ----------------------------------------------------------------------------------

  // --watch_window_bytes, --watch_window_changes: how much of the past a returning client can be
  // given, whichever ends first.
  std::size_t watch_window_bytes = std::size_t{24} << 20;
  std::size_t watch_window_changes = 200'000;
  // --session_events_max: events queued for one session; more are read from the window later.
  std::size_t session_events_max = 1'024;
  // --poll_wait_ms_max: a poll is answered after this even if nothing happened.
  std::int64_t poll_wait_ms_max = 60'000;

  // --- pace -------------------------------------------------------------------------------------

  // --write_timeout_ms, --read_timeout_ms: deadline of a request that names none.
  std::int64_t write_timeout_ms = 10'000;
  std::int64_t read_timeout_ms = 10'000;
  // Entries applied before ticks and peers get their turn. No flag.
  std::size_t apply_slice_entries = 512;
  // Digests are compared at every index divisible by this. No flag: members with different ones
  // would compare nothing.
  std::uint64_t digest_interval = 256;
  // Entries in one message to a follower, and messages to it that are not acknowledged (1: stop and
  // wait). No flags: the defaults are the core's, simulations draw small ones.
  std::size_t append_entries_max = 4096;
  std::size_t inflight_messages_max = 64;
  // --stop_drain_ms: an orderly stop waits this long for requests under way.
  std::int64_t stop_drain_ms = 2000;

  // Checks every field and their relations. The error is one sentence that names the flag, its
  // value and what is allowed.
  [[nodiscard]] tl::expected<void, std::string> Validate() const;
};

}  // namespace conclave::server
