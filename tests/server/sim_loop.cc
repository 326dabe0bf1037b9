#include "tests/server/sim_loop.h"

#include <algorithm>

namespace conclave::server::testing {

std::uint64_t SimRandom::Next() {
  state_ += 0x9E3779B97F4A7C15ULL;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

SimLoop::Key SimLoop::At(std::int64_t at_ns, Task task) {
  if (free_slots_.empty()) {
    free_slots_.push_back(slots_.size());
    slots_.emplace_back();
  }
  const std::size_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot].order = ++order_;
  slots_[slot].task = std::move(task);
  due_.push_back({.at_ns = std::max(at_ns, now_ns_), .order = order_, .slot = slot});
  std::push_heap(due_.begin(), due_.end(), Later);
  return {.slot = slot, .order = order_};
}

bool SimLoop::Cancel(Key key) {
  Slot& slot = slots_[key.slot];
  if (slot.order != key.order) {
    return false;
  }
  slot.order = 0;
  const Task gone =
      std::exchange(slot.task, nullptr);  // what it holds may ask for events as it goes
  return true;
}

const SimLoop::Due* SimLoop::Next() {
  while (!due_.empty() && slots_[due_.front().slot].order == 0) {
    Take();
  }
  return due_.empty() ? nullptr : &due_.front();
}

// The task of the first one of the heap.
SimLoop::Task SimLoop::Take() {
  const std::size_t slot = due_.front().slot;
  std::pop_heap(due_.begin(), due_.end(), Later);
  due_.pop_back();
  slots_[slot].order = 0;
  free_slots_.push_back(slot);
  return std::exchange(slots_[slot].task, nullptr);
}

bool SimLoop::RunOne() {
  const Due* const next = Next();
  if (next == nullptr) {
    return false;
  }
  now_ns_ = std::max(now_ns_, next->at_ns);
  ++events_run_;
  const Task task = Take();
  task();
  return true;
}

bool SimLoop::RunUntil(const std::function<bool()>& done, std::int64_t limit_ns) {
  const std::int64_t end_ns = now_ns_ + limit_ns;
  while (!done()) {
    const Due* const next = Next();
    if (next == nullptr || next->at_ns > end_ns) {
      now_ns_ = std::max(now_ns_, end_ns);
      return done();
    }
    RunOne();
  }
  return true;
}

void SimLoop::RunFor(std::int64_t duration_ns) {
  RunUntil([] { return false; }, duration_ns);
}

void SimExecutor::Post(Task task) {
  const std::int64_t latency_ns = latency_ ? latency_() : 0;
  last_ns_ = std::max(last_ns_, loop_->now_ns() + latency_ns);
  // A pause may put off the event of an earlier task behind that of a later one: whichever comes
  // first runs the first task.
  posted_.push_back(std::move(task));
  Run(
      last_ns_,
      [this] {
        const Task next = std::move(posted_.front());
        posted_.pop_front();
        next();
      },
      kNoTimer);
}

TimerId SimExecutor::PostAfter(std::int64_t delay_ns, Task task) {
  const TimerId timer = next_timer_++;
  Run(loop_->now_ns() + std::max<std::int64_t>(delay_ns, 0), std::move(task), timer);
  return timer;
}

void SimExecutor::Run(std::int64_t at_ns, Task task, TimerId timer) {
  const SimLoop::Key key =
      loop_->At(std::max(at_ns, *paused_until_),
                [this, alive = std::weak_ptr<bool>(alive_), task = std::move(task), timer] {
                  const auto living = alive.lock();
                  if (!living || !*living) {
                    return;
                  }
                  if (timer != kNoTimer) {
                    timers_.erase(timer);
                  }
                  if (*paused_until_ > loop_->now_ns()) {
                    Run(*paused_until_, task, kNoTimer);
                  } else {
                    task();
                  }
                });
  if (timer != kNoTimer) {
    timers_[timer] = key;
  }
}

bool SimExecutor::Cancel(TimerId timer) {
  auto at = timers_.find(timer);
  if (at == timers_.end()) {
    return false;
  }
  loop_->Cancel(at->second);
  timers_.erase(at);
  return true;
}

}  // namespace conclave::server::testing
