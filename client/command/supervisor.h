// Holds a lock or an office for as long as a program runs, and no longer.
#pragma once

#include <chrono>
#include <csignal>
#include <string>

#include "client/command/context.h"

namespace conclave::command {

struct HoldArguments {
  std::string path;
  std::string value;   // of a candidate
  bool elect = false;  // campaign for leader at the path instead of taking the lock there
  std::chrono::milliseconds timeout{0};  // of the wait for the lock; 0: no limit
  int on_lost = SIGTERM;                 // what tells the program that the lock is lost
  std::chrono::milliseconds grace{10'000};
};

// Takes the lock, runs context.child under it, lets go of the lock when the program has ended, and
// returns the program's exit status. Without a program: prints path and token, and holds the lock
// until a signal asks for the end.
//
//  - While it waits, HUP, INT, QUIT and TERM end the waiting: the contender is withdrawn, and 128
//    and the signal's number is returned. While the program runs, signals are passed on to it, and
//    its end is the end of this.
//  - If the lock is lost, the program and all below it get `on_lost`, and SIGKILL after `grace`;
//    kExitLost is returned. It is not started if the lock has been lost by then.
//  - If this process is killed, the program is ended in the same way, within half of the session's
//    timeout, so before the lock can be another's.
//
// REQUIRES: no thread has been started in this process.
int HoldAndRun(const Context& context, const HoldArguments& arguments);

}  // namespace conclave::command
