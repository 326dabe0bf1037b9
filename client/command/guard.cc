#include "client/command/guard.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/command/exit_codes.h"

namespace conclave::command {
namespace {

using Clock = std::chrono::steady_clock;

// Requests and events are datagrams: a kind, a number, and for kStart the environment as
// NAME=VALUE strings, each ended by a zero byte.
enum class Request : char { kStart = 'S', kSignal = 'K', kEnd = 'E', kContinue = 'C' };
constexpr std::size_t kDatagramMax = 64 * 1024;

struct Header {
  char kind;
  int number;
  int grace_ms;
};

// Everything below a process, children first seen first. Read from /proc/PID/stat, as the files
// that list children need an option of the kernel.
std::vector<pid_t> Descendants(pid_t ancestor) {
  std::multimap<pid_t, pid_t> children;
  DIR* proc = opendir("/proc");
  for (dirent* entry = nullptr; proc != nullptr && (entry = readdir(proc)) != nullptr;) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0) {
      continue;
    }
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    // PID (NAME) STATE PPID ...; the name may contain anything.
    const std::size_t name_end = text.rfind(')');
    if (name_end != std::string::npos && name_end + 4 < text.size() && text[name_end + 2] != 'Z') {
      children.emplace(std::atoi(text.c_str() + name_end + 4), pid);
    }
  }
  if (proc != nullptr) {
    closedir(proc);
  }
  std::vector<pid_t> found;
  std::vector<pid_t> parents = {ancestor};
  while (!parents.empty()) {
    const auto [begin, end] = children.equal_range(parents.back());
    parents.pop_back();
    for (auto child = begin; child != end; ++child) {
      found.push_back(child->second);
      parents.push_back(child->second);
    }
  }
  return found;
}

// One end of a pipe or socket that cannot be opened leaves nothing to do but to say so.
void Require(bool ok, const char* what) {
  if (!ok) {
    std::perror(what);
    std::_Exit(kExitFailed);
  }
}

// The process between. Runs in the forked child of Guard's constructor and never returns.
class GuardProcess {
 public:
  GuardProcess(int socket, std::vector<std::string> command, GuardOrphan orphan)
      : socket_(socket), command_(std::move(command)), orphan_(orphan) {}

  [[noreturn]] void Run() {
    // A group of its own: a signal to its parent's group is not for it to die of.
    setpgid(0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "conclave-guard");
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    signals_ = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    Require(signals_ >= 0, "conclave: signalfd");
    for (;;) {
      std::array<pollfd, 2> ready = {{{socket_, POLLIN, 0}, {signals_, POLLIN, 0}}};
      poll(ready.data(), ready.size(), TimeoutMs());
      if (ready[0].revents != 0) {
        ReadRequest();
      }
      if (kill_at_ && Clock::now() >= *kill_at_) {
        killing_ = true;
      }
      Reap();
    }
  }

 private:
  [[nodiscard]] int TimeoutMs() const {
    if (killing_) {
      return kKillAgainMs;
    }
    if (!kill_at_) {
      return -1;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*kill_at_ - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT32_MAX));
  }

  void ReadRequest() {
    std::vector<char> datagram(kDatagramMax);
    const ssize_t size = recv(socket_, datagram.data(), datagram.size(), MSG_DONTWAIT);
    if (size == 0) {
      Abandoned();
    }
    if (size < static_cast<ssize_t>(sizeof(Header))) {
      return;
    }
    Header header{};
    std::memcpy(&header, datagram.data(), sizeof(header));
    switch (static_cast<Request>(header.kind)) {
      case Request::kStart:
        StartProgram(datagram.data() + sizeof(header), datagram.data() + size);
        break;
      case Request::kSignal:
        if (program_ > 0) {
          kill(-program_, header.number);
        }
        break;
      case Request::kEnd:
        BeginToEnd(header.number, std::chrono::milliseconds(header.grace_ms));
        break;
      case Request::kContinue:
        if (program_ > 0) {
          terminal_ = HasTerminal();
          GiveTerminalTo(program_);
          kill(-program_, SIGCONT);
        }
        break;
    }
  }

  // The supervisor is gone without a word. Nobody renews the lock any more.
  void Abandoned() {
    if (program_ <= 0) {
      std::_Exit(kExitOk);
    }
    abandoned_ = true;
    close(socket_);
    socket_ = -1;  // poll ignores it
    BeginToEnd(orphan_.signal, orphan_.grace);
  }

  void BeginToEnd(int number, std::chrono::milliseconds grace) {
    if (program_ <= 0) {
      return;
    }
    SignalAll(number);
    SignalAll(SIGCONT);  // what is stopped could not end
    const Clock::time_point at = Clock::now() + grace;
    kill_at_ = kill_at_ ? std::min(*kill_at_, at) : at;
  }

  // Everything below this process: the program's group, and what has left it.
  void SignalAll(int number) {
    if (!status_) {
      kill(-program_, number);  // at once, so that none can fork in between
    }
    for (const pid_t pid : Descendants(getpid())) {
      if (status_ || getpgid(pid) != program_) {
        kill(pid, number);
      }
    }
  }

  // Whether the terminal is this command's to hand on: its supervisor or its program has it.
  [[nodiscard]] bool HasTerminal() const {
    if (isatty(STDIN_FILENO) != 1) {
      return false;
    }
    const pid_t foreground = tcgetpgrp(STDIN_FILENO);
    return foreground == getpgid(getppid()) || (program_ > 0 && foreground == program_);
  }

  void StartProgram(const char* at, const char* end) {
    terminal_ = HasTerminal();
    std::array<int, 2> report{};
    Require(pipe2(report.data(), O_CLOEXEC) == 0, "conclave: pipe");
    const pid_t program = fork();
    if (program == 0) {
      close(report[0]);
      RunProgram(report[1], at, end);
    }
    close(report[1]);
    int error = program < 0 ? errno : 0;
    if (program > 0 && read(report[0], &error, sizeof(error)) != sizeof(error)) {
      error = 0;  // closed by a successful exec
    }
    close(report[0]);
    if (error != 0) {
      Tell(GuardEvent::Kind::kNotRun, error);
      return;
    }
    program_ = program;
  }

  // In the forked child. `report`: where errno goes if the program cannot be run.
  [[noreturn]] void RunProgram(int report, const char* at, const char* end) {
    // Without the guard nobody would end it.
    const pid_t guard = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guard) {
      std::_Exit(kExitFailed);  // it was killed before that
    }
    setpgid(0, 0);
    GiveTerminalTo(getpid());
    for (; at < end; at += std::strlen(at) + 1) {
      putenv(const_cast<char*>(at));  // stays valid: it is replaced by exec or ends
    }
    std::vector<char*> argv;
    argv.reserve(command_.size() + 1);
    for (std::string& argument : command_) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execvp(argv[0], argv.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t written = write(report, &error, sizeof(error));
    std::_Exit(kExitFailed);
  }

  void GiveTerminalTo(pid_t group) const {
    if (terminal_) {
      tcsetpgrp(STDIN_FILENO, group);  // SIGTTOU is blocked here
    }
  }

  void Reap() {
    signalfd_siginfo ignored{};
    while (read(signals_, &ignored, sizeof(ignored)) == sizeof(ignored)) {
    }
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
      if (pid != program_) {
        continue;  // an orphan of the program
      }
      if (WIFSTOPPED(status)) {
        Tell(GuardEvent::Kind::kStopped, terminal_ ? 1 : 0);
      } else {
        status_ = status;
      }
    }
    const bool all_gone = pid < 0 && errno == ECHILD;
    if (killing_ && !all_gone) {
      SignalAll(SIGKILL);  // again and again: what dies may leave new orphans
      return;
    }
    if (!status_ || (kill_at_ && !all_gone)) {
      return;  // it runs, or what it has started has time left to end
    }
    if (terminal_) {
      GiveTerminalTo(getpgid(getppid()));
    }
    if (!abandoned_) {
      Tell(GuardEvent::Kind::kEnded, *status_);
    }
    std::_Exit(kExitOk);
  }

  void Tell(GuardEvent::Kind kind, int value) const {
    const Header header{static_cast<char>(kind), value, 0};
    send(socket_, &header, sizeof(header), MSG_NOSIGNAL);
  }

  static constexpr int kKillAgainMs = 10;

  int socket_;
  std::vector<std::string> command_;
  GuardOrphan orphan_;
  int signals_ = -1;
  pid_t program_ = 0;  // also its process group
  std::optional<int> status_;
  bool terminal_ = false;
  bool abandoned_ = false;
  std::optional<Clock::time_point> kill_at_;  // set: it has been told to end
  bool killing_ = false;
};

void SendRequest(int socket, Request kind, int number, std::chrono::milliseconds grace,
                 const std::string& more = {}) {
  const Header header{static_cast<char>(kind), number, static_cast<int>(grace.count())};
  std::string datagram(reinterpret_cast<const char*>(&header), sizeof(header));
  datagram += more;
  send(socket, datagram.data(), datagram.size(), MSG_NOSIGNAL);
}

}  // namespace

Guard::Guard(std::vector<std::string> command, GuardOrphan orphan) {
  std::array<int, 2> ends{};
  Require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0,
          "conclave: socketpair");
  std::fflush(nullptr);  // lest the copy prints it again
  guard_ = fork();
  Require(guard_ >= 0, "conclave: fork");
  if (guard_ == 0) {
    close(ends[0]);
    GuardProcess(ends[1], std::move(command), orphan).Run();
  }
  close(ends[1]);
  socket_ = ends[0];
  // Should somebody kill the guard, what is below it comes to this process.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Guard::~Guard() {
  close(socket_);
  if (guard_ > 0) {
    waitpid(guard_, nullptr, 0);
  }
}

void Guard::Start(const std::vector<std::pair<std::string, std::string>>& environment) {
  std::string more;
  for (const auto& [name, value] : environment) {
    more += name + "=" + value;
    more.push_back('\0');
  }
  SendRequest(socket_, Request::kStart, 0, {}, more);
}

void Guard::Signal(int number) { SendRequest(socket_, Request::kSignal, number, {}); }

void Guard::End(int number, std::chrono::milliseconds grace) {
  SendRequest(socket_, Request::kEnd, number, grace);
}

void Guard::Continue() { SendRequest(socket_, Request::kContinue, 0, {}); }

void Guard::KillOrphans() {
  // Each round kills what is there; what dies may leave more.
  do {
    for (const pid_t pid : Descendants(getpid())) {
      kill(pid, SIGKILL);
    }
  } while (waitpid(-1, nullptr, 0) > 0);
  guard_ = -1;
}

std::optional<GuardEvent> Guard::Next() {
  Header header{};
  const ssize_t size = recv(socket_, &header, sizeof(header), MSG_DONTWAIT);
  if (size < 0) {
    return std::nullopt;
  }
  if (size == 0) {
    return GuardEvent{GuardEvent::Kind::kGone, 0};
  }
  return GuardEvent{static_cast<GuardEvent::Kind>(header.kind), header.number};
}

int ExitCodeOfWaitStatus(int status) {
  return WIFSIGNALED(status) ? kExitSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace conclave::command
