// A cluster of production Server objects in one thread: virtual clock, simulated network, disks in
// memory that lose what was not synced. Tests of the server and the simulator build on it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coord/server/seams.h"
#include "coord/server/server.h"
#include "tests/persist/fault_env.h"
#include "tests/server/sim_loop.h"
#include "tests/server/sim_network.h"

namespace conclave::server::testing {

struct ClusterOptions {
  std::uint64_t seed = 1;
  std::size_t members = 3;
  SimNetworkOptions network;
  // A synced write takes this long.
  std::int64_t sync_min_ns = 50'000;
  std::int64_t sync_max_ns = 400'000;
  // A task in the background begins up to this late.
  std::int64_t background_max_ns = 4'000'000;
  // Changes every member's options before it starts.
  std::function<void(Options&)> tune;
};

// Watches all members at once for what may never happen, and reports it as a test failure:
// two leaders in one term, two entries or two states at one index.
class SafetyChecker {
 public:
  void Applied(raft::MemberId member, std::uint64_t index, std::uint64_t term, std::uint64_t chain,
               std::uint64_t digest);
  void Leader(raft::MemberId member, std::uint64_t term);

  // Digests are not compared: for tests that inject a wrong one.
  void AllowDivergence() { divergence_allowed_ = true; }

  std::size_t leaders() const { return leaders_.size(); }

 private:
  struct Applied_ {
    std::uint64_t term = 0;
    std::uint64_t chain = 0;
    std::uint64_t digest = 0;
  };

  std::map<std::uint64_t, raft::MemberId> leaders_;  // by term
  std::map<std::uint64_t, Applied_> applied_;        // by index
  bool divergence_allowed_ = false;
};

// Thread: one. Members are 1..n.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // One more member, not started yet: with --join, and all there are in --members.
  void Prepare(raft::MemberId member);
  // Starts a member that is not running. Returns the error of Server::Start, or nothing.
  std::optional<std::string> Start(raft::MemberId member);
  void StartAll();
  // Ends a member without a word; with `forget` what it had not synced is lost.
  void Kill(raft::MemberId member, bool forget = true);
  // Stops in order and waits for it.
  void StopInOrder(raft::MemberId member);
  // A disk as from the shop: an emptied data directory.
  void WipeDisk(raft::MemberId member);
  // Nothing of the member runs for so long, as with SIGSTOP.
  void Pause(raft::MemberId member, std::int64_t duration_ns);

  // Nothing of the member's log becomes durable for so long, while everything else goes on.
  void StallLog(raft::MemberId member, std::int64_t duration_ns);

  // Nothing is done in the member's background for so long: no checkpoint gets on.
  void StallBackground(raft::MemberId member, std::int64_t duration_ns);

  bool running(raft::MemberId member) const { return members_.at(member).server != nullptr; }

  Server& server(raft::MemberId member) { return *members_.at(member).server; }

  persist::testing::FaultEnv& env(raft::MemberId member) { return *members_.at(member).env; }

  // What the member said with Seams::fatal; empty: nothing.
  const std::string& fatal(raft::MemberId member) const { return members_.at(member).fatal; }

  // Every synced write of the member takes this much longer, also in its later lives.
  void SetSyncDelay(raft::MemberId member, std::int64_t delay_ns) {
    members_.at(member).sync_delay_ns = delay_ns;
  }

  Options& options(raft::MemberId member) { return members_.at(member).options; }

  void SetFreeSpace(raft::MemberId member, std::uint64_t bytes) {
    members_.at(member).free_space = bytes;
  }

  SimLoop& loop() { return loop_; }

  SimNetwork& network() { return network_; }

  SafetyChecker& checker() { return checker_; }

  TraceHash& trace() { return network_.trace(); }

  std::size_t size() const { return members_.size(); }

  // Runs until it holds; at most `limit_ms` of virtual time.
  bool Until(const std::function<bool()>& done, std::int64_t limit_ms = 20'000);

  void RunMs(std::int64_t ms) { loop_.RunFor(ms * kMs); }

  // The running member that leads in the newest term, as long as a leader is ready; 0: none.
  raft::MemberId leader() const;
  // Waits for a leader that a majority follows; 0 if there is none within `limit_ms`.
  raft::MemberId AwaitLeader(std::int64_t limit_ms = 20'000);
  // A running member that does not lead. `nth` counts from 0.
  raft::MemberId Follower(std::size_t nth = 0);
  // All running members have applied the same index and agree on the digest.
  bool AwaitConverged(std::int64_t limit_ms = 20'000);

 private:
  struct Member;

  struct Watcher final : Observer {
    Watcher(Cluster* cluster_arg, raft::MemberId member_arg)
        : cluster(cluster_arg), member(member_arg) {}

    void OnApplied(std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                   std::uint64_t digest) override;
    void OnLeader(std::uint64_t term) override;

    Cluster* cluster;
    raft::MemberId member;
  };

  struct Member {
    Options options;
    std::unique_ptr<persist::testing::FaultEnv> env;
    std::unique_ptr<SimRandom> random;
    std::unique_ptr<Watcher> observer;
    std::uint64_t free_space = std::uint64_t{1} << 40;
    std::int64_t sync_delay_ns = 0;
    std::string fatal;
    // One life; in the order in which they must go.
    std::unique_ptr<SimExecutor> core;
    std::unique_ptr<SimExecutor> log;
    std::unique_ptr<SimExecutor> background;
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<Server> server;
  };

  void Make(raft::MemberId id, raft::MemberId last);
  void EndLife(Member& member);

  const ClusterOptions options_;
  SimLoop loop_;
  SimWallClock wall_clock_;
  SimNetwork network_;
  SimRandom random_;
  SafetyChecker checker_;
  std::map<raft::MemberId, Member> members_;
};

}  // namespace conclave::server::testing
