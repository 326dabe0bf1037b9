// Where code of the server runs and what time it is there. Production has an event loop behind
// this, the simulation a queue ordered by virtual time; the server cannot tell them apart, which is
// what makes one seed reproduce one run.
#pragma once

#include <cstdint>
#include <functional>

namespace conclave::server {

// Names a timer of one executor. 0 is never a timer, so that it can stand for "none".
using TimerId = std::uint64_t;
inline constexpr TimerId kNoTimer = 0;

// A loop that runs tasks one at a time.
//
// Thread: Post may be called from any thread; everything else from the executor's own thread only.
// Invariants:
//   1. Tasks posted by one thread run in the order in which they were posted.
//   2. A task never runs inside the call that posts it.
//   3. Two tasks of one executor never run at the same time.
class Executor {
 public:
  using Task = std::function<void()>;

  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  // Runs `task` soon, after everything that was posted before it. A task posted to an executor that
  // is shutting down may be dropped without having run.
  virtual void Post(Task task) = 0;

  // Runs `task` once, not before `delay_ns` from now (0 and less: as soon as possible, still not
  // inside this call). The timer is forgotten when it has fired.
  virtual TimerId PostAfter(std::int64_t delay_ns, Task task) = 0;

  // Forgets a timer. Returns false if it has fired already or was never set; then nothing changes.
  virtual bool Cancel(TimerId timer) = 0;

  // Nanoseconds on a clock that never steps back and does not stop while the machine is suspended
  // (CLOCK_BOOTTIME): a member that slept through its sessions' timeouts must notice. The origin
  // has no meaning; two executors of one process share it.
  [[nodiscard]] virtual std::int64_t NowNs() const = 0;
};

// The time of day, kept apart from Executor because nothing may be decided by it: it only fills
// ctime and mtime (rule 7).
class WallClock {
 public:
  WallClock() = default;
  WallClock(const WallClock&) = delete;
  WallClock& operator=(const WallClock&) = delete;
  virtual ~WallClock() = default;

  // Milliseconds since 1970-01-01 UTC. May step in either direction.
  [[nodiscard]] virtual std::int64_t NowMs() const = 0;
};

}  // namespace conclave::server
