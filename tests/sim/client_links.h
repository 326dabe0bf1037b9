// What the client library is given in place of threads and sockets: an executor on virtual time
// with a clock of its own, and connections to the members' doors that delay, break, go silent and
// lose answers.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <conclave/executor.h>
#include <conclave/transport.h>

#include "tests/sim/client_port.h"
#include "tests/sim/world.h"

namespace conclave::sim {

// The loop of one client process: its clock runs wrong by `drift_ppm`, and it stands still when
// told to. Must not be destroyed before the tasks posted to it are done or gone with the loop.
class ClientExecutor final : public conclave::Executor {
 public:
  ClientExecutor(SimLoop* loop, std::int64_t drift_ppm);

  ~ClientExecutor() override { *alive_ = false; }

  void Post(conclave::Task task) override;

  bool RunsHere() const override { return running_; }

  conclave::TimerId PostAfter(std::chrono::nanoseconds delay, conclave::Task task) override;
  void Cancel(conclave::TimerId id) override;
  conclave::BootTime Now() const override;

  // Nothing runs before this. A shorter pause within a longer one changes nothing.
  void PauseUntil(std::int64_t at_ns);
  // Ends a pause now, for the end of a run.
  void Resume();

  // How long it has stood still in all, in true time.
  std::int64_t paused_ns() const {
    return paused_ns_ - std::max<std::int64_t>(paused_until_ns_ - loop_->now_ns(), 0);
  }

  // A duration of its clock in true time.
  std::int64_t TrueNs(std::chrono::nanoseconds own) const {
    const std::int64_t rate = 1'000'000 + ppm_;
    return own.count() / rate * 1'000'000 + own.count() % rate * 1'000'000 / rate;
  }

 private:
  struct Waiting {
    conclave::Task task;
    conclave::TimerId timer = 0;  // 0: was posted
  };

  void Enqueue(Waiting waiting);
  void Arm();
  void RunNext();

  SimLoop* const loop_;
  const std::int64_t ppm_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool running_ = false;
  std::int64_t paused_until_ns_ = 0;
  std::int64_t paused_ns_ = 0;
  conclave::TimerId next_timer_ = 1;
  std::map<conclave::TimerId, SimLoop::Key> timers_;  // that are not due
  std::deque<Waiting> waiting_;                       // what can run, in this order
  bool armed_ = false;                                // RunNext is in the loop's queue
};

// Thread: one. Must outlive the connections and every task of the world's loop.
class ClientTransport final : public conclave::Transport {
 public:
  ClientTransport(World* world, ClientExecutor* executor, std::uint64_t seed, std::string name);

  // To "client-N:PORT", member N.
  std::unique_ptr<conclave::FrameConnection> Connect(const conclave::Endpoint& endpoint,
                                                     Callbacks callbacks) override;

  // Other members do not answer any more, and connections to them go silent.
  void UseOnly(const std::vector<raft::MemberId>& members);
  // Frames to and from the member vanish until then; nobody is told.
  void Silence(raft::MemberId member, std::int64_t until_ns);

  // From now on nothing is lost by chance, and no delay has a long tail.
  void Calm() {
    calm_ = true;
    silent_until_.clear();
  }

 private:
  struct Link;
  class Connection;

  void Open(const std::shared_ptr<Link>& link);
  void ToMember(const std::shared_ptr<Link>& link, std::string frame);
  void ToClient(const std::shared_ptr<Link>& link, std::string frame);
  // The client learns of the end; the member, if the end is not its own doing.
  void Break(const std::shared_ptr<Link>& link, const std::string& reason, bool tell_member);
  void Abandon(const std::shared_ptr<Link>& link);
  bool Reaches(raft::MemberId member) const;
  std::int64_t LatencyNs();
  bool Chance(std::uint32_t millionths);

  World* const world_;
  ClientExecutor* const executor_;
  SimRandom random_;
  const std::string name_;
  bool calm_ = false;
  std::set<raft::MemberId> members_;
  std::map<raft::MemberId, std::int64_t> silent_until_;
};

}  // namespace conclave::sim
