// Where the wire's code runs and what time it is there: an event loop in production, a queue on
// virtual time in a simulation.
#pragma once

#include <cstdint>
#include <functional>

namespace conclave::wire {

/// Names a timer of one scheduler. 0 is never a timer.
using TimerId = std::uint64_t;
inline constexpr TimerId kNoTimer = 0;

/// Runs tasks one at a time.
///
/// Thread: Post from any; everything else from the scheduler's own thread.
/// Invariants:
///   1. Tasks posted by one thread run in the order in which they were posted.
///   2. A task never runs inside the call that posts it.
class Scheduler {
 public:
  using Task = std::function<void()>;

  Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  Scheduler(Scheduler&&) = delete;
  Scheduler& operator=(Scheduler&&) = delete;
  virtual ~Scheduler() = default;

  /// Runs `task` soon, after everything posted before it. May be dropped when the loop is ending.
  virtual void Post(Task task) = 0;

  /// Runs `task` once, not before `delay_ns` from now.
  virtual TimerId PostAfter(std::int64_t delay_ns, Task task) = 0;

  /// Forgets a timer; its task will not run. False if it has fired already or never was set.
  virtual bool Cancel(TimerId timer) = 0;

  /// Nanoseconds on CLOCK_BOOTTIME or a virtual clock: never steps back, goes on in suspend.
  [[nodiscard]] virtual std::int64_t NowNs() const = 0;
};

}  // namespace conclave::wire
