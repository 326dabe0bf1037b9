#include "thrift/wire/event_loop.h"

#include <algorithm>
#include <ctime>
#include <future>
#include <utility>

#include <event2/event.h>
#include <glog/logging.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace conclave::wire {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

// Timers past this are set anew when it has come; keeps sums far from overflow.
constexpr std::int64_t kDelayMaxNs = std::int64_t{365} * 24 * 3600 * kNsPerSecond;

std::int64_t BootTimeNs() {
  timespec now{};
  PCHECK(clock_gettime(CLOCK_BOOTTIME, &now) == 0);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

// Orders a heap so that the earliest is in front, and of equals the one set first.
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.due_ns != b.due_ns ? a.due_ns > b.due_ns : a.id > b.id;
};

// How often in one turn the inbox is looked at: what a task posts then runs in the same turn, down
// a chain of this length, without a system call in between; sockets and timers do not wait for
// more.
constexpr int kInboxRoundsPerTurn = 4;

// Only wakes the loop. Edge-triggered, so that the counter of an eventfd or timerfd need not be
// read back.
event* WatchForWake(event_base* base, int fd) {
  const auto nothing = [](int /*fd*/, short /*what*/, void* /*arg*/) {};
  event* watch = event_new(base, fd, EV_READ | EV_PERSIST | EV_ET, nothing, nullptr);
  CHECK(watch != nullptr && event_add(watch, nullptr) == 0);
  return watch;
}

}  // namespace

struct EventLoop::Handles {
  int wake_fd = -1;
  int timer_fd = -1;
  event* wake_event = nullptr;
  event* timer_event = nullptr;
};

EventLoop::EventLoop() : handles_(std::make_unique<Handles>()) {
  event_config* config = event_config_new();
  CHECK(config != nullptr);
  // The base is used by one thread alone; other threads use the inbox.
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  base_ = event_base_new_with_config(config);
  event_config_free(config);
  CHECK(base_ != nullptr) << "wire: no event base";

  handles_->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  PCHECK(handles_->wake_fd >= 0) << "wire: eventfd";
  handles_->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  PCHECK(handles_->timer_fd >= 0) << "wire: timerfd";
  handles_->wake_event = WatchForWake(base_, handles_->wake_fd);
  handles_->timer_event = WatchForWake(base_, handles_->timer_fd);
  thread_.store(std::this_thread::get_id());
}

EventLoop::~EventLoop() {
  // What waits may own objects whose destructors use the loop, so it goes while the loop is whole.
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mu_);
    tasks.swap(inbox_);
  }
  tasks.clear();
  std::unordered_map<TimerId, Task> timers;
  timers.swap(timers_);
  timers.clear();

  event_free(handles_->wake_event);
  event_free(handles_->timer_event);
  close(handles_->wake_fd);
  close(handles_->timer_fd);
  event_base_free(base_);
}

void EventLoop::Post(Task task) {
  bool wake = false;
  {
    const std::lock_guard lock(mu_);
    inbox_.push_back(std::move(task));
    // One wake-up is enough for everything that comes until the loop looks.
    wake = std::exchange(asleep_, false);
  }
  if (wake) {
    wakeups_.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t one = 1;
    const ssize_t put = write(handles_->wake_fd, &one, sizeof(one));
    PCHECK(put == sizeof(one) || errno == EAGAIN) << "wire: waking the loop";
  }
}

TimerId EventLoop::PostAfter(std::int64_t delay_ns, Task task) {
  const TimerId id = next_timer_++;
  const std::int64_t due_ns = NowNs() + std::clamp<std::int64_t>(delay_ns, 0, kDelayMaxNs);
  timers_.emplace(id, std::move(task));
  timer_heap_.push_back({due_ns, id});
  std::push_heap(timer_heap_.begin(), timer_heap_.end(), kLater);
  return id;
}

bool EventLoop::Cancel(TimerId timer) {
  const auto found = timers_.find(timer);
  if (found == timers_.end()) {
    return false;
  }
  // Destroyed after the table is whole again: it may own what cancels another timer.
  const Task task = std::move(found->second);
  timers_.erase(found);
  // Cancelled entries stay in the heap until they are due, unless they come to be most of it.
  if (timer_heap_.size() > 64 && timer_heap_.size() > 4 * timers_.size()) {
    std::erase_if(timer_heap_,
                  [this](const TimerEntry& entry) { return !timers_.contains(entry.id); });
    std::make_heap(timer_heap_.begin(), timer_heap_.end(), kLater);
  }
  return true;
}

std::int64_t EventLoop::NowNs() const { return BootTimeNs(); }

bool EventLoop::OnLoopThread() const { return thread_.load() == std::this_thread::get_id(); }

void EventLoop::Run() {
  thread_.store(std::this_thread::get_id());
  do {
    RunTurn(!stop_.load());
  } while (!stop_.load());
  stop_.store(false);
}

void EventLoop::Stop() {
  stop_.store(true);
  Post([] {});  // wakes it
}

void EventLoop::RunTurn(bool wait) {
  turns_.fetch_add(1, std::memory_order_relaxed);
  bool block = wait && turn_end_.empty();
  if (block) {
    const std::lock_guard lock(mu_);
    block = inbox_.empty();
    asleep_ = block;
  }
  if (block) {
    ArmTimer();
  }
  const int flags = EVLOOP_ONCE | (block ? 0 : EVLOOP_NONBLOCK);
  CHECK_GE(event_base_loop(base_, flags), 0) << "wire: the event base failed";
  if (block) {
    const std::lock_guard lock(mu_);
    asleep_ = false;
  }
  RunDueTimers();
  RunInbox();
  RunTurnEndHooks();
}

// The timer is set only before the loop sleeps: a busy loop looks at the clock anyway.
void EventLoop::ArmTimer() {
  while (!timer_heap_.empty() && !timers_.contains(timer_heap_.front().id)) {
    std::pop_heap(timer_heap_.begin(), timer_heap_.end(), kLater);
    timer_heap_.pop_back();
  }
  const std::int64_t due_ns = timer_heap_.empty() ? INT64_MAX : timer_heap_.front().due_ns;
  if (due_ns == armed_for_ns_) {
    return;
  }
  armed_for_ns_ = due_ns;
  itimerspec when{};  // all zero: disarmed
  if (due_ns != INT64_MAX) {
    const std::int64_t at_ns = std::max<std::int64_t>(due_ns, 1);
    when.it_value.tv_sec = at_ns / kNsPerSecond;
    when.it_value.tv_nsec = at_ns % kNsPerSecond;
  }
  PCHECK(timerfd_settime(handles_->timer_fd, TFD_TIMER_ABSTIME, &when, nullptr) == 0);
}

void EventLoop::RunDueTimers() {
  if (timer_heap_.empty()) {
    return;
  }
  const std::int64_t now_ns = NowNs();
  // Only those that were there before: a timer of zero set by a timer belongs to the next turn.
  const TimerId before = next_timer_;
  while (!timer_heap_.empty() && timer_heap_.front().due_ns <= now_ns &&
         timer_heap_.front().id < before) {
    const TimerId id = timer_heap_.front().id;
    std::pop_heap(timer_heap_.begin(), timer_heap_.end(), kLater);
    timer_heap_.pop_back();
    auto node = timers_.extract(id);
    if (!node.empty()) {
      node.mapped()();
    }
  }
  if (armed_for_ns_ <= now_ns) {
    armed_for_ns_ = INT64_MIN;  // it has fired; the next sleep sets it anew
  }
}

void EventLoop::RunInbox() {
  for (int round = 0; round < kInboxRoundsPerTurn; ++round) {
    {
      const std::lock_guard lock(mu_);
      inbox_running_.swap(inbox_);
    }
    if (inbox_running_.empty()) {
      return;
    }
    for (Task& task : inbox_running_) {
      task();
      task = nullptr;  // what it owns goes now, not when the others have run
    }
    inbox_running_.clear();
  }
}

void EventLoop::RequestTurnEnd(TurnEndHook* hook) {
  if (hook->turn_end_slot_ == SIZE_MAX) {
    hook->turn_end_slot_ = turn_end_.size();
    turn_end_.push_back(hook);
  }
}

void EventLoop::CancelTurnEnd(TurnEndHook* hook) {
  const std::size_t slot = std::exchange(hook->turn_end_slot_, SIZE_MAX);
  if (slot == SIZE_MAX) {
    return;
  }
  // It waits in the list of the turn to come, or in the rest of the one that is being run.
  if (slot < turn_end_running_.size() && turn_end_running_[slot] == hook) {
    turn_end_running_[slot] = nullptr;
  } else {
    turn_end_[slot] = nullptr;
  }
}

void EventLoop::RunTurnEndHooks() {
  turn_end_running_.swap(turn_end_);
  // By reference: a hook may cancel another one that has not run yet.
  for (TurnEndHook*& slot : turn_end_running_) {
    TurnEndHook* const hook = std::exchange(slot, nullptr);
    if (hook != nullptr) {
      hook->turn_end_slot_ = SIZE_MAX;
      hook->OnTurnEnd();
    }
  }
  turn_end_running_.clear();
}

LoopThread::LoopThread(const std::string& name) {
  thread_ = std::thread([this] { loop_.Run(); });
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
  Await([] {});  // from here on OnLoopThread means the new thread
}

LoopThread::~LoopThread() {
  loop_.Stop();
  thread_.join();
}

void LoopThread::Await(const Scheduler::Task& task) {
  std::promise<void> done;
  loop_.Post([&task, &done] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace conclave::wire
