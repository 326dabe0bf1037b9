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
  // on the configuration in the log is the only source.
  std::vector<MemberAddress> members;
  // --join: this member is to be added to a cluster that runs. It never starts one: it waits until
  // it has been added. `members` then are this one and some to make contact with.
  bool join = false;
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
  // --log_bytes_max: compaction behind checkpoints keeps the log far below this; where it cannot
  // keep up (a disk too slow for checkpoints), writes are refused (kNoSpace) from here on.
  // --log_reserve_bytes: deletes and sessions still pass within so much more.
  std::uint64_t log_bytes_max = std::uint64_t{8} << 30;
  std::uint64_t log_reserve_bytes = std::uint64_t{64} << 20;
  // --free_space_min_bytes, --free_space_reserve_bytes: with less room than the first on the disk
  // creates and sets are refused, with less than the second also deletes and sessions; always
  // before the log is touched. Both end by themselves.
  std::uint64_t free_space_min_bytes = std::uint64_t{1} << 30;
  std::uint64_t free_space_reserve_bytes = std::uint64_t{64} << 20;

  // --- checkpoints and the log behind them ------------------------------------------------------

  // A checkpoint is taken when so much has changed since the last one: --checkpoint_dirty_bytes,
  // --checkpoint_dirty_rows (of the state, where a row that changed often counts once), or when so
  // much would have to be replayed: --checkpoint_log_bytes, --checkpoint_log_entries; or, if
  // anything was applied, after --checkpoint_interval_ms (0: never for this reason).
  std::size_t checkpoint_dirty_bytes = std::size_t{8} << 20;
  std::size_t checkpoint_dirty_rows = 65'536;
  std::uint64_t checkpoint_log_bytes = std::uint64_t{64} << 20;
  std::uint64_t checkpoint_log_entries = 200'000;
  std::int64_t checkpoint_interval_ms = 0;
  // Rows frozen between two turns of the core, about a microsecond each. No flag.
  std::size_t freeze_slice_rows = 512;
  // A larger change is not written over the last checkpoint but beside it, with everything else. No
  // flag: one synced batch should not hold up the disk for long (rule 12).
  std::size_t checkpoint_batch_bytes = std::size_t{16} << 20;
  // --log_tail_entries, --log_tail_bytes: what stays of the log behind a checkpoint at most, for
  // followers that are a little behind. Never more than a quarter of log_bytes_max.
  std::uint64_t log_tail_entries = 50'000;
  std::uint64_t log_tail_bytes = std::uint64_t{64} << 20;
  // --log_pin_bytes: what a running transfer of a snapshot keeps of the log behind it at most. Past
  // it the follower needs another transfer.
  std::uint64_t log_pin_bytes = std::uint64_t{512} << 20;

  // --- snapshots for members too far behind -----------------------------------------------------

  // --snapshot_chunk_bytes: of one message. --snapshot_bytes_per_second: of all transfers of this
  // member together. --snapshot_transfers_max: at once.
  std::size_t snapshot_chunk_bytes = std::size_t{256} << 10;
  std::uint64_t snapshot_bytes_per_second = std::uint64_t{64} << 20;
  std::size_t snapshot_transfers_max = 2;
  // Chunks under way, and how long nothing may be heard before the thread is taken up again. No
  // flags.
  std::size_t snapshot_chunks_inflight = 4;
  std::int64_t snapshot_retry_ms = 1'000;

  // --scrub_pass_ms: the state in memory is compared with its digest piece by piece, all of it once
  // in about this time. 0: never.
  std::int64_t scrub_pass_ms = 600'000;

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
