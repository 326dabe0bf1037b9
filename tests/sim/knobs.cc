#include "tests/sim/knobs.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "tests/server/sim_loop.h"

namespace conclave::sim {
namespace {

using server::testing::kMs;

// Draws in the words of this file.
class Dice {
 public:
  // Mixed first: neighbouring seeds must have nothing in common.
  explicit Dice(std::uint64_t seed) : random_(server::testing::SimRandom(seed).Next()) {}

  std::int64_t In(std::int64_t low, std::int64_t high) {
    return static_cast<std::int64_t>(random_.Uniform(0, static_cast<std::uint64_t>(high - low))) +
           low;
  }

  bool Percent(std::int64_t percent) { return In(0, 99) < percent; }

  template <typename T, std::size_t N>
  T OneOf(const std::array<T, N>& values) {
    return values[static_cast<std::size_t>(In(0, static_cast<std::int64_t>(N) - 1))];
  }

 private:
  server::testing::SimRandom random_;
};

void DrawServer(Dice& dice, server::Options& options) {
  options.tick_ms = 10;
  options.heartbeat_ticks = static_cast<std::uint32_t>(dice.In(2, 6));
  options.election_ticks_min = options.heartbeat_ticks + static_cast<std::uint32_t>(dice.In(6, 40));
  options.election_ticks_max =
      options.election_ticks_min + static_cast<std::uint32_t>(dice.In(5, 40));
  options.session_timeout_min_ms = 500;
  options.touch_interval_ms = dice.In(20, 100);
  options.session_bucket_ms = dice.In(20, 200);
  options.append_entries_max = dice.OneOf(std::array<std::size_t, 4>{1, 2, 16, 4096});
  options.inflight_messages_max = dice.OneOf(std::array<std::size_t, 3>{1, 4, 64});
  options.watch_window_changes = dice.OneOf(std::array<std::size_t, 4>{8, 64, 1000, 200'000});
  options.session_events_max = dice.OneOf(std::array<std::size_t, 3>{1, 4, 1024});
  options.apply_slice_entries = dice.OneOf(std::array<std::size_t, 3>{1, 8, 512});
  options.digest_interval = dice.OneOf(std::array<std::uint64_t, 3>{1, 16, 256});
  options.write_timeout_ms = dice.OneOf(std::array<std::int64_t, 3>{300, 2000, 10'000});
  options.read_timeout_ms = dice.OneOf(std::array<std::int64_t, 3>{300, 2000, 10'000});
  options.pending_requests_max = dice.OneOf(std::array<std::size_t, 3>{8, 64, 65'536});
}

void DrawNetwork(Dice& dice, server::testing::SimNetworkOptions& network) {
  network.delay_min_ns = dice.In(20'000, 500'000);
  network.delay_max_ns = network.delay_min_ns + dice.In(10'000, dice.Percent(30) ? 20 * kMs : kMs);
  if (dice.Percent(50)) {
    network.tail_millionths = static_cast<std::uint32_t>(dice.In(10, 5'000));
    network.tail_ns = dice.In(10, 1'500) * kMs;
  }
  if (dice.Percent(50)) {
    network.break_millionths = static_cast<std::uint32_t>(dice.In(10, 3'000));
  }
  if (dice.Percent(30)) {
    network.repeat_millionths = static_cast<std::uint32_t>(dice.In(100, 30'000));
    network.repeat_ns = dice.In(1, 3'000) * kMs;
  }
  network.reconnect_ns = dice.In(1, 100) * kMs;
  network.detect_ns = dice.In(20, 2'000) * kMs;
}

void DrawFaults(Dice& dice, Knobs& knobs) {
  FaultClasses& faults = knobs.faults;
  for (bool* on : {&faults.crash, &faults.crash_writing, &faults.partition, &faults.one_way,
                   &faults.one_link, &faults.pause, &faults.failed_sync, &faults.disk_full,
                   &faults.low_space, &faults.slow_disk, &faults.wall_jump}) {
    *on = dice.Percent(50);
  }
  faults.wipe = knobs.members > 1 && dice.Percent(20);
  faults.flip = knobs.members > 1 && dice.Percent(25);
  faults.swap = knobs.members > 1 && dice.Percent(5);
  faults.old_disk = knobs.members > 1 && dice.Percent(10);
  faults.matrix = dice.Percent(25);
  knobs.fault_spacing_ms = dice.OneOf(std::array<std::int64_t, 4>{60, 200, 800, 2'500});
  switch (dice.In(0, 2)) {
    case 0:
      knobs.restart_min_ms = 1;
      knobs.restart_max_ms = 20;
      break;
    case 1:
      knobs.restart_min_ms = 50;
      knobs.restart_max_ms = 2'000;
      break;
    default:
      knobs.restart_min_ms = 1'000;
      knobs.restart_max_ms = 6'000;
  }
  knobs.aim_at_leader = dice.Percent(50);
  knobs.drift_ppm = dice.Percent(50) ? dice.In(10, 20'000) : 0;
  knobs.sync_min_ns = dice.In(10'000, 200'000);
  knobs.sync_max_ns = knobs.sync_min_ns + dice.In(10'000, dice.Percent(30) ? 30 * kMs : kMs);
}

void DrawClients(Dice& dice, Knobs& knobs) {
  knobs.clients = static_cast<std::size_t>(dice.In(1, 7));
  knobs.keys = static_cast<std::size_t>(dice.In(1, 12));
  knobs.think_ms = dice.OneOf(std::array<std::int64_t, 4>{2, 20, 60, 200});
  knobs.session_timeout_ms = dice.In(600, 4'000);
  knobs.patience_ms = dice.In(100, 2'500);
  knobs.lost_reply_millionths =
      dice.Percent(50) ? static_cast<std::uint32_t>(dice.In(100, 30'000)) : 0;
  knobs.slow_consumers = dice.Percent(30);
  knobs.give_up = dice.Percent(50);
}

void DrawMembership(Dice& dice, Knobs& knobs) {
  knobs.faults.membership = dice.Percent(35);
  if (knobs.faults.membership) {
    knobs.spares = static_cast<std::size_t>(dice.In(0, 2));
  }
}

void DrawSnapshots(Dice& dice, Knobs& knobs) {
  if (dice.Percent(40)) {
    return;
  }
  server::Options& options = knobs.server;
  options.checkpoint_log_entries = dice.OneOf(std::array<std::uint64_t, 3>{5, 50, 1'000});
  options.checkpoint_dirty_rows = dice.OneOf(std::array<std::size_t, 3>{1, 20, 65'536});
  options.checkpoint_interval_ms = dice.OneOf(std::array<std::int64_t, 3>{0, 0, 500});
  options.checkpoint_batch_bytes =
      dice.OneOf(std::array<std::size_t, 3>{500, 20'000, std::size_t{16} << 20U});
  options.log_tail_entries = dice.OneOf(std::array<std::uint64_t, 4>{0, 5, 100, 50'000});
  options.snapshot_chunk_bytes =
      dice.OneOf(std::array<std::size_t, 4>{16, 200, 4'096, std::size_t{256} << 10U});
  options.snapshot_chunks_inflight = dice.OneOf(std::array<std::size_t, 2>{1, 4});
  options.snapshot_retry_ms = dice.In(50, 1'000);
  options.log_pin_bytes = dice.OneOf(std::array<std::uint64_t, 2>{0, std::uint64_t{64} << 20U});
  options.freeze_slice_rows = dice.OneOf(std::array<std::size_t, 3>{1, 10, 300});
  options.snapshot_bytes_per_second =
      dice.OneOf(std::array<std::uint64_t, 2>{50'000, std::uint64_t{64} << 20U});
  knobs.interrupt_percent = dice.Percent(60) ? static_cast<std::uint64_t>(dice.In(1, 30)) : 0;
}

void DrawLibrary(Dice& dice, Knobs& knobs) {
  if (!dice.Percent(30)) {
    return;
  }
  knobs.library_clients =
      static_cast<std::size_t>(dice.In(1, static_cast<std::int64_t>(knobs.clients)));
  knobs.client_pauses = dice.Percent(50);
  knobs.client_cuts = dice.Percent(50);
  knobs.client_unread_bytes_max =
      dice.OneOf(std::array<std::size_t, 3>{2'000, 20'000, std::size_t{16} << 20U});
}

}  // namespace

Knobs DrawKnobs(std::uint64_t seed) {
  Dice dice(seed);
  Knobs knobs;
  knobs.seed = seed;
  const std::int64_t topology = dice.In(0, 99);
  knobs.members = topology < 12 ? 1 : (topology < 68 ? 3 : 5);
  knobs.codec = dice.Percent(30);
  DrawServer(dice, knobs.server);
  DrawNetwork(dice, knobs.network);
  DrawFaults(dice, knobs);
  DrawClients(dice, knobs);
  DrawLibrary(dice, knobs);
  DrawMembership(dice, knobs);
  DrawSnapshots(dice, knobs);
  return knobs;
}

std::string Knobs::Describe() const {
  std::string classes;
  const auto add = [&classes](bool on, const char* name) {
    if (on) {
      classes += classes.empty() ? name : std::string(",") + name;
    }
  };
  add(faults.crash, "crash");
  add(faults.crash_writing, "crash-writing");
  add(faults.partition, "partition");
  add(faults.one_way, "one-way");
  add(faults.one_link, "one-link");
  add(faults.pause, "pause");
  add(faults.failed_sync, "failed-sync");
  add(faults.disk_full, "disk-full");
  add(faults.low_space, "low-space");
  add(faults.slow_disk, "slow-disk");
  add(faults.wipe, "wipe");
  add(faults.flip, "flip");
  add(faults.swap, "swap");
  add(faults.old_disk, "old-disk");
  add(faults.matrix, "matrix");
  add(faults.membership, "membership");
  add(faults.wall_jump, "wall-jump");
  return fmt::format(
      "members={}+{} codec={} clients={} keys={} think_ms={} session_ms={} patience_ms={} "
      "heartbeat={} election={}..{} append_max={} inflight={} window={} slice={} pending_max={} "
      "write_timeout={} spacing_ms={} restart={}..{} drift_ppm={} breaks={} tail={}/{}ms "
      "repeats={} "
      "lost_replies={} slow_consumers={} give_up={} library={} pauses={} cuts={} unread={} "
      "checkpoint={}/{}/{}ms/{} tail={} chunk={}x{} interrupt={}% "
      "faults={}",
      members, spares, codec, clients, keys, think_ms, session_timeout_ms, patience_ms,
      server.heartbeat_ticks, server.election_ticks_min, server.election_ticks_max,
      server.append_entries_max, server.inflight_messages_max, server.watch_window_changes,
      server.apply_slice_entries, server.pending_requests_max, server.write_timeout_ms,
      fault_spacing_ms, restart_min_ms, restart_max_ms, drift_ppm, network.break_millionths,
      network.tail_millionths, network.tail_ns / kMs, network.repeat_millionths,
      lost_reply_millionths, slow_consumers, give_up, library_clients, client_pauses, client_cuts,
      client_unread_bytes_max, server.checkpoint_log_entries, server.checkpoint_dirty_rows,
      server.checkpoint_interval_ms, server.checkpoint_batch_bytes, server.log_tail_entries,
      server.snapshot_chunk_bytes, server.snapshot_chunks_inflight, interrupt_percent, classes);
}

}  // namespace conclave::sim
