// Virtual time: everything that happens in a simulated cluster is an event in one queue, ordered by
// time and then by the order in which it was asked for. One seed, one run.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "consensus/types.h"
#include "coord/server/executor.h"

namespace conclave::server::testing {

inline constexpr std::int64_t kMs = 1'000'000;

// SplitMix64: small, good enough, the same everywhere.
class SimRandom final : public raft::RandomSource {
 public:
  explicit SimRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Next() override;

 private:
  std::uint64_t state_;
};

// The queue of events and the clock that it moves.
class SimLoop {
 public:
  using Task = std::function<void()>;

  // Names an event: where it is kept, and its place in the order of asking, which no other has.
  struct Key {
    std::size_t slot = 0;
    std::uint64_t order = 0;
  };

  std::int64_t now_ns() const { return now_ns_; }

  // Runs `task` at `at_ns`, or now if that has passed. The key cancels it.
  Key At(std::int64_t at_ns, Task task);

  bool Cancel(Key key);

  // Moves the clock to the next event and runs it. False if there is none.
  bool RunOne();

  // Runs until `done` holds or `limit_ns` have passed; returns whether it holds.
  bool RunUntil(const std::function<bool()>& done, std::int64_t limit_ns);
  void RunFor(std::int64_t duration_ns);

  // Moves the clock without running anything, as when a machine is suspended.
  void Stall(std::int64_t duration_ns) { now_ns_ += duration_ns; }

  std::uint64_t events_run() const { return events_run_; }

 private:
  struct Due {
    std::int64_t at_ns = 0;
    std::uint64_t order = 0;
    std::size_t slot = 0;
  };

  struct Slot {
    std::uint64_t order = 0;  // of the event in it; 0: none, or it was cancelled
    Task task;
  };

  static bool Later(const Due& a, const Due& b) {
    return a.at_ns != b.at_ns ? a.at_ns > b.at_ns : a.order > b.order;
  }

  // The next event, null if there is none; drops those before it that were cancelled.
  const Due* Next();
  Task Take();

  std::int64_t now_ns_ = 1'000 * kMs;
  std::uint64_t order_ = 0;
  std::uint64_t events_run_ = 0;
  std::vector<Due> due_;  // a heap, the next one on top
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_slots_;
};

// An executor of one life of one member: when the member dies, what it posted dies with it.
class SimExecutor final : public Executor {
 public:
  // Posted tasks start `latency()` later (0: in the order of the queue), and never overtake.
  SimExecutor(SimLoop* loop, std::function<std::int64_t()> latency)
      : loop_(loop), latency_(std::move(latency)), alive_(std::make_shared<bool>(true)) {}

  ~SimExecutor() override { *alive_ = false; }

  void Post(Task task) override;
  TimerId PostAfter(std::int64_t delay_ns, Task task) override;
  bool Cancel(TimerId timer) override;

  std::int64_t NowNs() const override { return loop_->now_ns(); }

  // Nothing runs before this, as when the process is stopped. Later tasks keep their order.
  void PauseUntil(std::int64_t at_ns) { *paused_until_ = at_ns; }

 private:
  void Run(std::int64_t at_ns, Task task, TimerId timer);

  SimLoop* const loop_;
  const std::function<std::int64_t()> latency_;
  std::shared_ptr<bool> alive_;
  std::shared_ptr<std::int64_t> paused_until_ = std::make_shared<std::int64_t>(0);
  std::int64_t last_ns_ = 0;
  std::deque<Task> posted_;
  TimerId next_timer_ = 1;
  std::map<TimerId, SimLoop::Key> timers_;
};

class SimWallClock final : public WallClock {
 public:
  explicit SimWallClock(const SimLoop* loop) : loop_(loop) {}

  std::int64_t NowMs() const override { return 1'700'000'000'000 + loop_->now_ns() / kMs; }

 private:
  const SimLoop* loop_;
};

}  // namespace conclave::server::testing
