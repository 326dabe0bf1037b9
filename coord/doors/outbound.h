// From the core's loop to another one, together.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>

#include "thrift/wire/scheduler.h"

namespace conclave::doors {

// Answers on their way from the core's loop to that of their connections: those of one turn travel
// together, so that telling thousands does not wake a thread thousands of times.
//
// Thread: the core loop's.
class Outbound final : public std::enable_shared_from_this<Outbound> {
 public:
  using Task = absl::AnyInvocable<void()>;

  Outbound(wire::Scheduler* core, wire::Scheduler* io) : core_(core), io_(io) {}

  // Runs `task` on the connections' loop, after those sent before it.
  void Send(Task task) {
    tasks_.push_back(std::move(task));
    if (tasks_.size() == 1) {
      core_->Post([self = shared_from_this()] { self->Flush(); });
    }
  }

 private:
  void Flush() {
    auto tasks = std::make_shared<std::vector<Task>>(std::exchange(tasks_, {}));
    io_->Post([tasks = std::move(tasks)] {
      for (Task& task : *tasks) {
        task();
        task = nullptr;  // what it owns goes now, not when the others have run
      }
    });
  }

  wire::Scheduler* const core_;
  wire::Scheduler* const io_;
  std::vector<Task> tasks_;
};

}  // namespace conclave::doors
