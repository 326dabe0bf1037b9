// One member of the world, its life and its disk. Internal to the world.
#pragma once

#include <memory>
#include <string>

#include "tests/sim/world.h"

namespace conclave::sim {

inline constexpr std::uint64_t kPlentyOfSpace = std::uint64_t{1} << 40;

class World::JumpingClock final : public server::WallClock {
 public:
  explicit JumpingClock(const SimLoop* loop) : loop_(loop) {}

  std::int64_t NowMs() const override {
    return 1'700'000'000'000 + offset_ms + loop_->now_ns() / kMs;
  }

  std::int64_t offset_ms = 0;

 private:
  const SimLoop* const loop_;
};

class World::MemberWatcher final : public server::Observer {
 public:
  MemberWatcher(World* world, raft::MemberId id) : world_(world), id_(id) {}

  void OnEntry(const raft::Entry& entry) override { world_->OnEntry(entry); }

  void OnApplied(std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                 std::uint64_t digest) override {
    world_->OnApplied(id_, index, term, chain, digest);
  }

  void OnInstalled(std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                   std::uint64_t digest) override {
    world_->OnInstalled(id_, index, term, chain, digest);
  }

  void OnLeader(std::uint64_t term) override {
    world_->journal_->Note("member {} leads in term {}", id_, term);
    world_->journal_->Count("elections");
    world_->checker_.Leads(id_, term);
  }

 private:
  World* const world_;
  const raft::MemberId id_;
};

struct World::Member {
  raft::MemberId id = 0;
  server::Options options;
  std::unique_ptr<persist::testing::FaultEnv> env;
  std::unique_ptr<SimRandom> random;
  std::unique_ptr<JumpingClock> wall_clock;
  std::unique_ptr<MemberWatcher> watcher;
  std::uint64_t free_space = kPlentyOfSpace;
  std::int64_t slow_sync_ns = 0;
  std::int64_t drift_ppm = 0;
  bool disk_fault = false;  // it may die of its disk
  bool stay_down = false;
  // Of its disk, what cannot be undone: others count it as erased.
  bool wiped = false;    // empty
  bool damaged = false;  // a bit has turned over, or it is another's
  bool put_back = false;
  std::unique_ptr<persist::testing::FaultEnv> kept_disk;
  bool known_registered = false;
  std::uint64_t last_applied = 0;  // of this life
  std::string fatal;
  // Set: the member dies now, and this is the disk that it leaves (null: its own).
  bool dying = false;
  std::unique_ptr<persist::testing::FaultEnv> image;
  std::uint64_t operations_left = 0;
  // One life; in the order in which they must go.
  std::unique_ptr<SkewedExecutor> core;
  std::unique_ptr<SkewedExecutor> log;
  std::unique_ptr<SkewedExecutor> background;
  std::unique_ptr<server::testing::SimTransport> transport;
  std::unique_ptr<server::Server> server;
  std::unique_ptr<ClientPort> port;
};

}  // namespace conclave::sim
