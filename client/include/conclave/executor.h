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

// Runs tasks one after the other, in the order in which they were posted.
class TaskRunner {
 public:
  virtual ~TaskRunner() = default;

  // Thread: any. Never runs the task inside Post.
  virtual void Post(Task task) = 0;
  // Whether the caller is one of its tasks. Thread: any.
  virtual bool RunsHere() const = 0;
};

class Executor : public TaskRunner {
 public:
  // Runs the task not before `delay` has passed. Thread: the executor's own.
  virtual TimerId PostAfter(std::chrono::nanoseconds delay, Task task) = 0;
  // The task will not run, unless it is running or has run. An unknown id is ignored. Thread: the
  // executor's own.
  virtual void Cancel(TimerId id) = 0;
  // Thread: any.
  virtual BootTime Now() const = 0;
};

}  // namespace conclave
