// A process between this one and the program that it supervises: the guard starts the program,
// passes signals on to it, and ends it, with all that it has started, when it is told to or when
// this process is gone, be it by SIGKILL.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <conclave/error.h>
#include <sys/types.h>

namespace conclave::command {

// What the guard has to tell.
struct GuardEvent {
  enum class Kind {
    kEnded,    // the program has ended; `value` is its wait status
    kNotRun,   // it could not be started; `value` is errno
    kStopped,  // it was stopped; `value` is 1 if it had been given the terminal (Ctrl-Z)
    kGone,     // the guard itself is gone: somebody has killed it
  } kind = Kind::kGone;
  int value = 0;
};

// How the program is ended when the supervisor is gone without a word.
struct GuardOrphan {
  int signal = 0;
  std::chrono::milliseconds grace{0};
};

// Thread: one. The guard is forked by the constructor, so make it before any thread is started.
//
// The program runs in a process group of its own, which is given the terminal if this process has
// it. Everything that it starts stays below the guard (PR_SET_CHILD_SUBREAPER), so that End reaches
// also what has left the group. When the program ends by itself, what it has left behind in the
// background goes on, as after any other program.
class Guard {
 public:
  Guard(std::vector<std::string> command, GuardOrphan orphan);
  // Lets the guard end what runs, and waits for that.
  ~Guard();
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // Starts the program with these variables added to its environment. Once at most.
  void Start(const std::vector<std::pair<std::string, std::string>>& environment);
  // Passes a signal on to the program's group.
  void Signal(int number);
  // Sends the signal to the program and all below it and, if some of it is left after `grace`,
  // SIGKILL. kEnded follows when all of it is gone.
  void End(int number, std::chrono::milliseconds grace);
  // After kStopped: the terminal back to the program, and on with it.
  void Continue();

  // After kGone: ends what the guard has left behind.
  void KillOrphans();

  // Readable when Next has something.
  [[nodiscard]] int descriptor() const { return socket_; }

  // The next event; nothing if there is none yet.
  std::optional<GuardEvent> Next();

 private:
  int socket_ = -1;
  pid_t guard_ = -1;
};

// The exit status to hand back for a wait status: the program's own, or 128 and the signal.
[[nodiscard]] int ExitCodeOfWaitStatus(int status);

}  // namespace conclave::command
