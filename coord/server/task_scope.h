// Tasks that die with their owner. What is posted to an executor outlives the object that posted
// it; through a TaskScope it becomes nothing once the object is gone.
#pragma once

#include <memory>
#include <utility>

#include "coord/server/executor.h"

namespace conclave::server {

// Thread: that of the owner, which must be the executor's own; Post itself from any thread.
class TaskScope {
 public:
  explicit TaskScope(Executor* executor)
      : executor_(executor), alive_(std::make_shared<char>('\0')) {}

  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope() = default;

  void Post(Executor::Task task) { executor_->Post(Guard(std::move(task))); }

  TimerId PostAfter(std::int64_t delay_ns, Executor::Task task) {
    return executor_->PostAfter(delay_ns, Guard(std::move(task)));
  }

  bool Cancel(TimerId timer) { return executor_->Cancel(timer); }

  [[nodiscard]] std::int64_t NowNs() const { return executor_->NowNs(); }

 private:
  Executor::Task Guard(Executor::Task task) {
    return [alive = std::weak_ptr<char>(alive_), task = std::move(task)] {
      if (!alive.expired()) {
        task();
      }
    };
  }

  Executor* executor_;
  std::shared_ptr<char> alive_;
};

}  // namespace conclave::server
