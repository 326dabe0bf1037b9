#include "coord/server/options.h"

#include <algorithm>
#include <set>
#include <string_view>

#include <fmt/format.h>

namespace conclave::server {
namespace {

using Checked = tl::expected<void, std::string>;

template <typename T>
Checked AtLeast(std::string_view flag, T value, T least) {
  if (value < least) {
    return tl::unexpected(fmt::format("--{}={} is too small: at least {}", flag, value, least));
  }
  return {};
}

template <typename T>
Checked AtMost(std::string_view flag, T value, T most, std::string_view why) {
  if (value > most) {
    return tl::unexpected(
        fmt::format("--{}={} is too large: at most {} ({})", flag, value, most, why));
  }
  return {};
}

Checked CheckIdentity(const Options& o) {
  if (o.id == 0) {
    return tl::unexpected(std::string("--id=0 is not a member id: 1 and up"));
  }
  if (o.cluster_name.empty()) {
    return tl::unexpected(std::string("--cluster_name is empty: it needs a name"));
  }
  constexpr std::size_t kNameBytesMax = 128;
  const bool printable = std::all_of(o.cluster_name.begin(), o.cluster_name.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != 0x7F;
  });
  if (!printable || o.cluster_name.size() > kNameBytesMax) {
    return tl::unexpected(
        fmt::format("--cluster_name must have at most {} bytes and no blanks or control characters",
                    kNameBytesMax));
  }
  if (o.data_dir.empty()) {
    return tl::unexpected(std::string("--data_dir is empty: it needs a directory"));
  }
  std::set<std::uint64_t> ids;
  for (const MemberAddress& member : o.members) {
    if (member.id == 0) {
      return tl::unexpected(std::string("--members names member 0: ids are 1 and up"));
    }
    if (!ids.insert(member.id).second) {
      return tl::unexpected(fmt::format("--members names member {} twice", member.id));
    }
    if (member.peer_address.empty() && o.members.size() > 1) {
      return tl::unexpected(fmt::format("--members gives member {} no address", member.id));
    }
  }
  if (o.join && o.members.size() < 2) {
    return tl::unexpected(
        std::string("--join needs members to make contact with: --members names only this one"));
  }
  if (!ids.contains(o.id)) {
    return tl::unexpected(
        fmt::format("--id={} is not among --members: this member must be one of them", o.id));
  }
  return {};
}

Checked CheckConsensus(const Options& o) {
  if (Checked c = AtLeast<std::int64_t>("tick_ms", o.tick_ms, 1); !c) return c;
  if (Checked c = AtLeast("heartbeat_ticks", o.heartbeat_ticks, 1U); !c) return c;
  if (o.election_ticks_min <= o.heartbeat_ticks) {
    return tl::unexpected(fmt::format(
        "--election_ticks_min={} must be more than --heartbeat_ticks={}: else followers "
        "campaign between two heartbeats",
        o.election_ticks_min, o.heartbeat_ticks));
  }
  if (o.election_ticks_max <= o.election_ticks_min) {
    return tl::unexpected(
        fmt::format("--election_ticks_max={} must be more than --election_ticks_min={}: elections "
                    "need chance",
                    o.election_ticks_max, o.election_ticks_min));
  }
  return {};
}

Checked CheckSessions(const Options& o) {
  if (Checked c = AtLeast<std::int64_t>("session_timeout_min_ms", o.session_timeout_min_ms, 100);
      !c) {
    return c;
  }
  if (o.session_timeout_max_ms < o.session_timeout_min_ms) {
    return tl::unexpected(
        fmt::format("--session_timeout_max_ms={} must not be less than --session_timeout_min_ms={}",
                    o.session_timeout_max_ms, o.session_timeout_min_ms));
  }
  if (Checked c = AtLeast<std::int64_t>("touch_interval_ms", o.touch_interval_ms, 1); !c) return c;
  if (Checked c = AtMost("touch_interval_ms", o.touch_interval_ms, o.session_timeout_min_ms / 5,
                         "a fifth of --session_timeout_min_ms");
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::int64_t>("session_bucket_ms", o.session_bucket_ms, 1); !c) return c;
  return AtMost("session_bucket_ms", o.session_bucket_ms, o.session_timeout_min_ms / 2,
                "half of --session_timeout_min_ms");
}

Checked CheckBounds(const Options& o) {
  constexpr std::size_t kRequestLeast = 4096;
  constexpr std::size_t kRequestMost = std::size_t{64} << 20;
  if (Checked c = AtLeast("request_bytes_max", o.request_bytes_max, kRequestLeast); !c) return c;
  if (Checked c = AtMost("request_bytes_max", o.request_bytes_max, kRequestMost,
                         "an entry must fit into memory several times");
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::size_t>("pending_requests_max", o.pending_requests_max, 8); !c) {
    return c;
  }
  if (Checked c = AtLeast("pending_bytes_max", o.pending_bytes_max, o.request_bytes_max); !c) {
    return c;
  }
  if (Checked c = AtLeast("read_bytes_max", o.read_bytes_max, kRequestLeast); !c) return c;
  if (Checked c = AtLeast("log_bytes_max", o.log_bytes_max, std::uint64_t{1} << 16); !c) return c;
  if (Checked c = AtMost("free_space_reserve_bytes", o.free_space_reserve_bytes,
                         o.free_space_min_bytes, "--free_space_min_bytes");
      !c) {
    return c;
  }
  return AtLeast("log_reserve_bytes", o.log_reserve_bytes, std::uint64_t{1} << 12);
}

Checked CheckCheckpoints(const Options& o) {
  constexpr std::size_t kBatchMost = std::size_t{64} << 20;
  constexpr std::size_t kChunkLeast = 16;
  constexpr std::size_t kChunkMost = std::size_t{8} << 20;
  if (Checked c = AtLeast<std::size_t>("checkpoint_dirty_bytes", o.checkpoint_dirty_bytes, 1); !c) {
    return c;
  }
  if (Checked c = AtMost("checkpoint_dirty_bytes", o.checkpoint_dirty_bytes, kBatchMost,
                         "what has changed is held in memory twice while it is written");
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::size_t>("checkpoint_dirty_rows", o.checkpoint_dirty_rows, 1); !c) {
    return c;
  }
  if (Checked c = AtLeast<std::uint64_t>("checkpoint_log_bytes", o.checkpoint_log_bytes, 1); !c) {
    return c;
  }
  if (Checked c = AtLeast<std::uint64_t>("checkpoint_log_entries", o.checkpoint_log_entries, 1);
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::int64_t>("checkpoint_interval_ms", o.checkpoint_interval_ms, 0);
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::size_t>("freeze_slice_rows", o.freeze_slice_rows, 1); !c) return c;
  if (Checked c = AtLeast("snapshot_chunk_bytes", o.snapshot_chunk_bytes, kChunkLeast); !c)
    return c;
  if (Checked c = AtMost("snapshot_chunk_bytes", o.snapshot_chunk_bytes, kChunkMost,
                         "a chunk with one large row must fit into a frame");
      !c) {
    return c;
  }
  if (Checked c =
          AtLeast<std::uint64_t>("snapshot_bytes_per_second", o.snapshot_bytes_per_second, 1024);
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::size_t>("snapshot_transfers_max", o.snapshot_transfers_max, 1); !c) {
    return c;
  }
  if (Checked c = AtLeast<std::size_t>("snapshot_chunks_inflight", o.snapshot_chunks_inflight, 1);
      !c) {
    return c;
  }
  if (Checked c = AtLeast<std::int64_t>("snapshot_retry_ms", o.snapshot_retry_ms, 1); !c) return c;
  return AtLeast<std::int64_t>("scrub_pass_ms", o.scrub_pass_ms, 0);
}

Checked CheckWatchesAndPace(const Options& o) {
  constexpr std::size_t kOne = 1;
  if (Checked c = AtLeast("watch_window_bytes", o.watch_window_bytes, kOne); !c) return c;
  if (Checked c = AtLeast("watch_window_changes", o.watch_window_changes, kOne); !c) return c;
  if (Checked c = AtLeast("session_events_max", o.session_events_max, kOne); !c) return c;
  if (Checked c = AtLeast<std::int64_t>("poll_wait_ms_max", o.poll_wait_ms_max, 1); !c) return c;
  if (Checked c = AtLeast<std::int64_t>("write_timeout_ms", o.write_timeout_ms, 1); !c) return c;
  if (Checked c = AtLeast<std::int64_t>("read_timeout_ms", o.read_timeout_ms, 1); !c) return c;
  if (Checked c = AtLeast("apply_slice_entries", o.apply_slice_entries, kOne); !c) return c;
  if (Checked c = AtLeast<std::uint64_t>("digest_interval", o.digest_interval, 1); !c) return c;
  if (Checked c = AtLeast("append_entries_max", o.append_entries_max, kOne); !c) return c;
  if (Checked c = AtLeast("inflight_messages_max", o.inflight_messages_max, kOne); !c) return c;
  return AtLeast<std::int64_t>("stop_drain_ms", o.stop_drain_ms, 0);
}

}  // namespace

tl::expected<void, std::string> Options::Validate() const {
  if (Checked c = CheckIdentity(*this); !c) return c;
  if (Checked c = CheckConsensus(*this); !c) return c;
  if (Checked c = CheckSessions(*this); !c) return c;
  if (Checked c = CheckBounds(*this); !c) return c;
  if (Checked c = CheckCheckpoints(*this); !c) return c;
  return CheckWatchesAndPace(*this);
}

}  // namespace conclave::server
