// An executor on virtual time: nothing happens but what a test lets happen, in one order.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include <conclave/executor.h>

namespace conclave::client_test {

class VirtualExecutor final : public Executor {
 public:
  void Post(Task task) override { tasks_.push_back(std::move(task)); }

  bool RunsHere() const override { return running_; }

  TimerId PostAfter(std::chrono::nanoseconds delay, Task task) override {
    const TimerId id = next_timer_++;
    timers_.emplace(std::make_pair(now_ + delay, id), std::move(task));
    return id;
  }

  void Cancel(TimerId id) override {
    std::erase_if(timers_, [id](const auto& timer) { return timer.first.second == id; });
  }

  BootTime Now() const override { return now_; }

  std::size_t size() const { return tasks_.size(); }

  // Runs what can run without time passing.
  void Settle() {
    while (!tasks_.empty()) {
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      running_ = true;
      task();
      running_ = false;
    }
  }

  void Advance(std::chrono::nanoseconds duration) {
    const BootTime until = now_ + duration;
    Settle();
    while (!timers_.empty() && timers_.begin()->first.first <= until) {
      auto timer = timers_.extract(timers_.begin());
      now_ = std::max(now_, timer.key().first);
      tasks_.push_back(std::move(timer.mapped()));
      Settle();
    }
    now_ = until;
  }

  // Lets time pass, at most `limit`, until the condition holds; whether it does.
  bool AdvanceUntil(const std::function<bool()>& condition,
                    std::chrono::nanoseconds limit = std::chrono::seconds(120)) {
    const BootTime until = now_ + limit;
    Settle();
    while (!condition() && !timers_.empty() && timers_.begin()->first.first <= until) {
      Advance(std::max(timers_.begin()->first.first - now_, std::chrono::nanoseconds(0)));
    }
    return condition();
  }

 private:
  bool running_ = false;
  BootTime now_{std::chrono::seconds(1'000)};
  std::deque<Task> tasks_;
  std::map<std::pair<BootTime, TimerId>, Task> timers_;
  TimerId next_timer_ = 1;
};

}  // namespace conclave::client_test
