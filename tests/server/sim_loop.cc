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
  const Key key{std::max(at_ns, now_ns_), ++order_};
  events_.emplace(key, std::move(task));
  return key;
}

bool SimLoop::RunOne() {
  if (events_.empty()) {
    return false;
  }
  auto node = events_.extract(events_.begin());
  now_ns_ = std::max(now_ns_, node.key().first);
  ++events_run_;
  node.mapped()();
  return true;
}

bool SimLoop::RunUntil(const std::function<bool()>& done, std::int64_t limit_ns) {
  const std::int64_t end_ns = now_ns_ + limit_ns;
  while (!done()) {
    if (events_.empty() || events_.begin()->first.first > end_ns) {
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
