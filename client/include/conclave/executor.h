// Where the library runs and what time it is. Passed in, so that a test or a simulation can drive a
// client step by step on a virtual clock; production has an event loop on a thread of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <ratio>

namespace conclave {

// Time since the machine was started, which goes on while it is suspended (CLOCK_BOOTTIME). A lease
// must be measured on it: a clock that stops in suspend would call a lease valid that the cluster
// has ended hours ago.
struct BootClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;

  static time_point now() noexcept;
};

using BootTime = BootClock::time_point;
using Task = std::function<void()>;
using TimerId = std::uint64_t;  // Never 0.

// Runs tasks one after the other. Thread: every method from any.
class Executor {
 public:
  virtual ~Executor() = default;

  // Tasks run in the order they were posted, never inside Post.
  virtual void Post(Task task) = 0;
  // Not before `delay` has passed.
  virtual TimerId PostAfter(std::chrono::nanoseconds delay, Task task) = 0;
  // The task will not run, unless it is running or has run. An unknown id is ignored. Called on the
  // executor itself, the task certainly does not run afterwards.
  virtual void Cancel(TimerId id) = 0;
  virtual BootTime Now() const = 0;
  // Whether the caller is one of this executor's tasks.
  virtual bool OnExecutor() const = 0;
};

}  // namespace conclave
