#include "client/command/main_loop.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/command/context.h"

namespace conclave::command {
namespace {

constexpr std::array kSignals = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1,
                                 SIGUSR2, SIGCONT, SIGWINCH, SIGTSTP};

sigset_t SignalSet() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kSignals) {
    struct sigaction action {};

    // A blocked signal that is ignored would still be read here.
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
      sigaddset(&set, number);
    }
  }
  return set;
}

}  // namespace

MainLoop::MainLoop() {
  BlockSignals();
  const sigset_t set = SignalSet();
  signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (signals_ < 0 || wake_ < 0) {
    std::perror("conclave: signalfd, eventfd");
    std::_Exit(kExitFailed);
  }
}

MainLoop::~MainLoop() {
  close(signals_);
  close(wake_);
}

void MainLoop::BlockSignals() {
  const sigset_t set = SignalSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

bool MainLoop::AsksForEnd(int number) {
  return number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGTERM;
}

void MainLoop::Post(std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void MainLoop::Stop(int exit_code) {
  const std::lock_guard lock(mutex_);
  if (!exit_code_) {
    exit_code_ = exit_code;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
}

void MainLoop::OnSignal(std::function<void(int)> handler) { on_signal_ = std::move(handler); }

void MainLoop::OnReadable(int descriptor, std::function<void()> handler) {
  descriptor_ = descriptor;
  on_readable_ = std::move(handler);
}

void MainLoop::At(Clock::time_point time, std::function<void()> handler) {
  timer_at_ = time;
  on_timer_ = std::move(handler);
}

void MainLoop::CancelTimer() { timer_at_.reset(); }

int MainLoop::Connect(Options options, std::unique_ptr<Client>& client) {
  const auto timeout = options.call_timeout;
  const std::string endpoints = options.endpoints;
  options.on_session = [this](const SessionChange& change) {
    if (change.state == SessionState::kConnected) {
      Stop(kExitOk);
    } else if (change.state == SessionState::kExpired) {
      fmt::print(stderr, "conclave: the session is over: {}\n", change.reason);
      Stop(kExitLost);
    }
  };
  auto started = Client::Start(std::move(options));
  if (!started) {
    return Fail("connect", started.error());
  }
  client = std::move(*started);
  OnSignal([this](int number) {
    if (AsksForEnd(number)) {
      Stop(kExitSignalBase + number);
    }
  });
  At(Clock::now() + timeout,
     [this, timeout, &endpoints] { Stop(FailToConnect(endpoints, timeout)); });
  const int exit_code = Run();
  CancelTimer();
  OnSignal(nullptr);
  return exit_code;
}

int MainLoop::Run() {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (exit_code_) {
        const int exit_code = *exit_code_;
        exit_code_.reset();
        return exit_code;
      }
    }
    Wait();
    if (timer_at_ && Clock::now() >= *timer_at_) {
      timer_at_.reset();
      std::exchange(on_timer_, nullptr)();
    }
    ReadSignals();
    RunTasks();
  }
}

void MainLoop::Wait() {
  int timeout_ms = -1;
  if (timer_at_) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*timer_at_ - Clock::now()).count();
    timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, INT32_MAX));
  }
  std::array<pollfd, 3> ready = {
      {{signals_, POLLIN, 0}, {wake_, POLLIN, 0}, {descriptor_, POLLIN, 0}}};
  if (poll(ready.data(), ready.size(), timeout_ms) > 0 && ready[2].revents != 0) {
    on_readable_();
  }
}

void MainLoop::ReadSignals() {
  signalfd_siginfo info{};
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    const int number = static_cast<int>(info.ssi_signo);
    if (on_signal_) {
      on_signal_(number);
    } else if (AsksForEnd(number)) {
      Stop(kExitOk);
    }
  }
}

void MainLoop::RunTasks() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(wake_, &count, sizeof(count));
  for (;;) {
    std::vector<std::function<void()>> tasks;
    {
      const std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    if (tasks.empty()) {
      return;
    }
    for (const auto& task : tasks) {
      task();
    }
  }
}

}  // namespace conclave::command
