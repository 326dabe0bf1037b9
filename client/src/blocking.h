// Waiting for an answer, and handing answers to where the application wants them.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <conclave/client.h>

#include "client/src/core.h"

namespace conclave::internal {

// An answer for a thread that waits. Thread: any.
template <class T>
class Answer {
 public:
  void Set(Result<T> result) {
    const std::lock_guard lock(mu_);
    result_.emplace(std::move(result));
    set_.notify_all();
  }

  Result<T> Wait() {
    std::unique_lock lock(mu_);
    set_.wait(lock, [this] { return result_.has_value(); });
    return std::move(*result_);
  }

 private:
  std::mutex mu_;
  std::condition_variable set_;
  std::optional<Result<T>> result_;  // Guarded by mu_.
};

// Calls `start` with what has to be called on the loop with the answer, and waits for it.
//
// The answer overtakes no event: while events wait for the application's callback, it queues behind
// them. A caller that is itself a callback cannot wait for those behind it and gets it directly.
template <class T, class Start>
Result<T> Block(Core& core, Start start) {
  auto answer = std::make_shared<Answer<T>>();
  const bool direct = core.callbacks().RunsHere();
  start([answer, direct, core = core.shared_from_this()](Result<T> result) {
    if (direct || core->EventsDelivered()) {
      answer->Set(std::move(result));
      return;
    }
    auto held = std::make_shared<Result<T>>(std::move(result));
    core->PostCallback([answer, held] { answer->Set(std::move(*held)); });
  });
  return answer->Wait();
}

// Makes of the application's callback one that is called on the loop.
template <class T>
std::function<void(Result<T>)> Posted(Core& core, Callback<T> done) {
  return [core = core.shared_from_this(), done = std::move(done)](Result<T> result) {
    // A task is copyable, and a result may not be.
    auto held = std::make_shared<Result<T>>(std::move(result));
    core->PostCallback([done, held] { done(std::move(*held)); });
  };
}

}  // namespace conclave::internal
