// One thread's loop: sockets, timers and what other threads ask it to do, on libevent's base.
//
// libevent waits and dispatches; timers and the inbox are ours, because its timers run on a clock
// that stops in suspend, and because waking a sleeping thread (5 us) must be paid once for all that
// waits and not at all while the loop is awake.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "thrift/wire/scheduler.h"

struct event_base;

namespace conclave::wire {

/// Something that wants to act once at the end of the loop's current turn; see RequestTurnEnd.
class TurnEndHook {
 public:
  TurnEndHook() = default;
  TurnEndHook(const TurnEndHook&) = delete;
  TurnEndHook& operator=(const TurnEndHook&) = delete;
  TurnEndHook(TurnEndHook&&) = delete;
  TurnEndHook& operator=(TurnEndHook&&) = delete;
  virtual ~TurnEndHook() = default;

  /// Called on the loop. May request another turn end, which then is the next turn's.
  virtual void OnTurnEnd() = 0;

 private:
  friend class EventLoop;
  std::size_t turn_end_slot_ = SIZE_MAX;  // position in the loop's list; SIZE_MAX: not in it
};

/// Thread: Post, Stop and the counters from any; Run on the thread that becomes the loop's; all
/// else on the loop's thread, or before Run and after it has returned.
///
/// A turn is: ready sockets, due timers, the whole inbox and what its tasks post in turn (down a
/// few steps), and then the turn-end hooks, so that whatever a turn has produced for one connection
/// leaves it in one system call.
class EventLoop final : public Scheduler {
 public:
  EventLoop();
  /// REQUIRES: Run is not running. Tasks that still wait are destroyed without having run.
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  EventLoop(EventLoop&&) = delete;
  EventLoop& operator=(EventLoop&&) = delete;

  void Post(Task task) override;
  TimerId PostAfter(std::int64_t delay_ns, Task task) override;
  bool Cancel(TimerId timer) override;
  [[nodiscard]] std::int64_t NowNs() const override;

  /// Runs until Stop. May be called again afterwards.
  void Run();

  /// One turn: waits until something happens, or not at all if `wait` is false. For tests and for
  /// programs that have a loop of their own.
  void RunTurn(bool wait);

  /// Ends Run after the current turn; if it is not running, the next Run ends after one turn.
  void Stop();

  /// Whether the caller runs on the loop (also true for the owner while Run is not running).
  [[nodiscard]] bool OnLoopThread() const;

  /// Calls the hook once at the end of this turn; a hook that waits already is not added again.
  /// Called outside of a turn: at the end of the next one.
  void RequestTurnEnd(TurnEndHook* hook);
  void CancelTurnEnd(TurnEndHook* hook);

  /// For events and evhttp servers of the caller. They must be freed before the loop.
  event_base* base() { return base_; }

  /// Turns so far, and system calls made to wake it. For tests and metrics.
  [[nodiscard]] std::uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }

  [[nodiscard]] std::uint64_t wakeups() const { return wakeups_.load(std::memory_order_relaxed); }

 private:
  struct TimerEntry {
    std::int64_t due_ns;
    TimerId id;
  };
  struct Handles;

  void RunDueTimers();
  void RunInbox();
  void RunTurnEndHooks();
  void ArmTimer();

  // Constant after construction.
  event_base* base_ = nullptr;
  std::unique_ptr<Handles> handles_;

  // Loop thread only.
  std::vector<TimerEntry> timer_heap_;  // earliest first; may hold cancelled ones
  std::unordered_map<TimerId, Task> timers_;
  TimerId next_timer_ = 1;
  std::int64_t armed_for_ns_ = INT64_MAX;
  std::vector<TurnEndHook*> turn_end_;
  std::vector<TurnEndHook*> turn_end_running_;
  std::vector<Task> inbox_running_;

  // Synchronise themselves.
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> turns_{0};
  std::atomic<std::uint64_t> wakeups_{0};
  std::atomic<std::thread::id> thread_{};

  std::mutex mu_;
  std::vector<Task> inbox_;  // guarded by mu_
  bool asleep_ = false;      // guarded by mu_: a Post has to wake the loop
};

/// A loop on a thread of its own, named `name` (at most 15 bytes) for people who look at the
/// process.
class LoopThread {
 public:
  explicit LoopThread(const std::string& name);
  ~LoopThread();  // Stops and joins.
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;
  LoopThread(LoopThread&&) = delete;
  LoopThread& operator=(LoopThread&&) = delete;

  EventLoop& loop() { return loop_; }

  /// Runs `task` on the loop and waits for it. Must not be called on the loop.
  void Await(const Scheduler::Task& task);

 private:
  EventLoop loop_;
  std::thread thread_;
};

}  // namespace conclave::wire
