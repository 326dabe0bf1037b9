#include "client/command/supervisor.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <conclave/election.h>
#include <conclave/lock.h>
#include <fmt/format.h>
#include <unistd.h>

#include "client/command/guard.h"
#include "client/command/main_loop.h"
#include "client/command/output.h"

namespace conclave::command {
namespace {

constexpr std::chrono::milliseconds kReleaseTimeout{2'000};
constexpr std::chrono::milliseconds kLookAgain{20};

// Who holds or waits, for operators who look at the contenders.
std::string HolderName() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return fmt::format("{} pid {}", host.data(), getpid());
}

class Supervisor {
 public:
  Supervisor(const Context& context, const HoldArguments& arguments)
      : context_(context), arguments_(arguments) {
    if (!context.child.empty()) {
      const std::chrono::milliseconds soon = context.session_timeout / 2;
      guard_.emplace(context.child,
                     GuardOrphan{arguments.on_lost, std::min(arguments.grace, soon)});
      loop_.OnReadable(guard_->descriptor(), [this] { OnGuard(); });
    }
    loop_.OnSignal([this](int number) { OnSignal(number); });
  }

  int Run() {
    Options options = context_.ClientOptions();
    options.on_session = [this](const SessionChange& change) {
      loop_.Post([this, change] { OnSession(change); });
    };
    auto client = Client::Start(std::move(options));
    if (!client) {
      return Fail(Verb(), client.error());
    }
    client_ = std::move(*client);
    // An answer that never comes is the cluster's fault only until the session is open.
    loop_.At(MainLoop::Clock::now() + context_.timeout,
             [this] { loop_.Stop(FailToConnect(context_.endpoints, context_.timeout)); });
    Contend();
    const int exit_code = loop_.Run();
    Release();
    return exit_code;
  }

 private:
  enum class Phase { kWaiting, kHolding, kRunning, kEnding };

  [[nodiscard]] std::string Verb() const {
    return (arguments_.elect ? "elect " : "lock ") + arguments_.path;
  }

  void Contend() {
    const auto done = [this](Result<Grant> result) {
      // A std::function must be copyable, and a grant is not.
      auto shared = std::make_shared<Result<Grant>>(std::move(result));
      loop_.Post([this, shared] { OnAnswer(*shared); });
    };
    if (arguments_.elect) {
      election_ = std::make_unique<Election>(*client_, arguments_.path);
      election_->CampaignAsync(arguments_.value, arguments_.timeout, done);
    } else {
      lock_ = std::make_unique<Lock>(*client_, arguments_.path, LockOptions{HolderName()});
      lock_->AcquireAsync(arguments_.timeout, done);
    }
  }

  void OnSession(const SessionChange& change) {
    switch (change.state) {
      case SessionState::kConnected:
        loop_.CancelTimer();
        break;
      case SessionState::kExpired:
        // With a grant, its loss is told separately, and comes first.
        if (phase_ == Phase::kWaiting) {
          fmt::print(stderr, "conclave: {}: the session is over: {}\n", Verb(), change.reason);
          loop_.Stop(kExitLost);
        }
        break;
      default:
        break;
    }
  }

  void OnAnswer(Result<Grant>& answer) {
    if (!answer) {
      loop_.Stop(Fail(Verb(), answer.error()));
      return;
    }
    grant_ = std::move(*answer);
    loop_.CancelTimer();
    phase_ = Phase::kHolding;
    grant_.OnLost([this](const Error& reason) { loop_.Post([this, reason] { OnLost(reason); }); });
    WhenValid([this] {
      if (guard_) {
        StartProgram();
      } else {
        PrintGrant();
      }
    });
  }

  // Runs the task while the lock is certainly held. A grant that has just run out is either lost,
  // which OnLost tells, or the session is confirmed again in the next moment.
  void WhenValid(std::function<void()> task) {
    if (lost_) {
      return;
    }
    if (grant_.valid()) {
      task();
    } else {
      loop_.At(MainLoop::Clock::now() + kLookAgain,
               [this, task = std::move(task)] { WhenValid(task); });
    }
  }

  void StartProgram() {
    std::vector<std::pair<std::string, std::string>> environment = {
        {"CONCLAVE_LOCK_PATH", arguments_.path},
        {"CONCLAVE_FENCING_TOKEN", std::to_string(grant_.token())}};
    if (arguments_.elect) {
      environment.emplace_back("CONCLAVE_ELECTION_PATH", arguments_.path);
    }
    phase_ = Phase::kRunning;
    guard_->Start(environment);
  }

  void PrintGrant() {
    if (context_.json()) {
      PrintJson(
          context_,
          {{"path", arguments_.path}, {"token", grant_.token()}, {"contender", grant_.path()}});
    } else {
      fmt::print("{} {}\n", arguments_.path, grant_.token());
      std::fflush(stdout);
    }
  }

  void OnLost(const Error& reason) {
    lost_ = true;
    fmt::print(stderr, "conclave: {}: lost: {}\n", Verb(), reason.ToString());
    if (phase_ == Phase::kRunning) {
      phase_ = Phase::kEnding;
      guard_->End(arguments_.on_lost, arguments_.grace);
    } else {
      loop_.Stop(kExitLost);
    }
  }

  void OnSignal(int number) {
    if (phase_ == Phase::kRunning || phase_ == Phase::kEnding) {
      if (number != SIGCONT) {
        guard_->Signal(number);
      } else if (phase_ == Phase::kRunning) {
        // After a stop in which the session has run out it must not go on.
        WhenValid([this] { guard_->Continue(); });
      }
    } else if (number == SIGTSTP) {
      raise(SIGSTOP);  // what it would have done by itself
    } else if (MainLoop::AsksForEnd(number)) {
      // Whoever holds a lock without a program ends it so.
      const bool holding = phase_ == Phase::kHolding && !guard_;
      loop_.Stop(holding ? kExitOk : kExitSignalBase + number);
    }
  }

  void OnGuard() {
    while (const auto event = guard_->Next()) {
      switch (event->kind) {
        case GuardEvent::Kind::kEnded:
          loop_.Stop(phase_ == Phase::kEnding ? kExitLost : ExitCodeOfWaitStatus(event->value));
          return;
        case GuardEvent::Kind::kNotRun:
          fmt::print(stderr, "conclave: {}: {}\n", context_.child.front(),
                     std::strerror(event->value));
          loop_.Stop(event->value == ENOENT || event->value == ENOTDIR ? kExitNotFound
                                                                       : kExitCannotExecute);
          return;
        case GuardEvent::Kind::kStopped:
          if (event->value == 1) {
            // Ctrl-Z: the whole job stops, so that the shell takes the terminal back. Heartbeats
            // stop too; if it is not continued within the session's timeout, the lock is lost.
            kill(0, SIGSTOP);
          }
          break;
        case GuardEvent::Kind::kGone:
          fmt::print(stderr, "conclave: {}: the guard process was killed\n", Verb());
          guard_->KillOrphans();
          loop_.Stop(kExitFailed);
          return;
      }
    }
  }

  // The program has ended, or never began.
  void Release() {
    const bool held = phase_ != Phase::kWaiting && !lost_;
    // The end of the session takes the contender with it, in one entry of the log.
    const Status closed = client_->state() == SessionState::kConnecting
                              ? Status()
                              : client_->Close({kReleaseTimeout});
    if (!closed && held) {
      fmt::print(stderr, "conclave: {}: not released at once: {}; the session's end releases it\n",
                 Verb(), closed.error().ToString());
    }
  }

  const Context& context_;
  const HoldArguments& arguments_;
  MainLoop loop_;  // before the guard and the client: signals are blocked in both
  std::optional<Guard> guard_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Lock> lock_;
  std::unique_ptr<Election> election_;
  Grant grant_;
  Phase phase_ = Phase::kWaiting;
  bool lost_ = false;
};

}  // namespace

int HoldAndRun(const Context& context, const HoldArguments& arguments) {
  return Supervisor(context, arguments).Run();
}

}  // namespace conclave::command
