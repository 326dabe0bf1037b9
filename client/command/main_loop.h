// The main thread of a command that goes on until something happens: signals, descriptors, and
// what the client's callbacks have to tell, one after the other.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <conclave/client.h>

namespace conclave::command {

// From its construction on, the signals that a supervisor passes on (see kSignals in the .cc) are
// blocked in this thread and in all that are started later, and are read here. A signal that the
// caller of this process has had ignored (nohup, a background job) stays ignored.
//
// Thread: all but Post and Stop belong to the thread that made it. Make it before the client.
class MainLoop {
 public:
  using Clock = std::chrono::steady_clock;

  MainLoop();
  ~MainLoop();
  MainLoop(const MainLoop&) = delete;
  MainLoop& operator=(const MainLoop&) = delete;

  // Runs the task in Run, after those posted before. What is left after Stop may never run.
  // Thread: any.
  void Post(std::function<void()> task);
  // Run returns this. The first call counts. Thread: any.
  void Stop(int exit_code);

  // Called with every signal. Without it, those that ask for an end stop the loop with 0.
  void OnSignal(std::function<void(int number)> handler);
  // Called while the descriptor is readable. Once at most.
  void OnReadable(int descriptor, std::function<void()> handler);
  // Called once, at that time. A later call takes the place of an earlier one.
  void At(Clock::time_point time, std::function<void()> handler);
  void CancelTimer();

  // Until Stop. May be run again.
  int Run();

  // Opens a session; a signal that asks for the end ends the waiting. Returns 0, or the exit status
  // after having said what is wrong. From then on the end of the session stops the loop with
  // kExitLost, and says why. Runs the loop; the client must not outlive it.
  int Connect(Options options, std::unique_ptr<Client>& client);

  // Whether a user or a service manager asks with it for the end of a program: HUP, INT, QUIT,
  // TERM.
  static bool AsksForEnd(int number);
  // Blocks the signals without reading them. The constructor does; a process that is forked for
  // something else before there is a loop may call it by itself.
  static void BlockSignals();

 private:
  void Wait();
  void ReadSignals();
  void RunTasks();

  int signals_ = -1;
  int wake_ = -1;
  std::function<void(int)> on_signal_;
  int descriptor_ = -1;
  std::function<void()> on_readable_;
  std::optional<Clock::time_point> timer_at_;
  std::function<void()> on_timer_;

  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;  // under mutex_
  std::optional<int> exit_code_;              // under mutex_
};

}  // namespace conclave::command
