// What the command's exit status tells a script. deploy/docs/command.md has the table for users.
#pragma once

#include <conclave/error.h>

namespace conclave::command {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,       // an answer that is no success: exists already, not empty, no space ...
  kExitUnreachable = 2,  // no member could be reached, or none knows a leader
  kExitUsage = 3,        // the command line, or an argument that the cluster calls invalid
  kExitNoNode = 4,       // no such znode
  kExitVersion = 5,      // the version does not match
  kExitTimeout = 6,      // not done in time; nothing was changed
  kExitLost = 7,         // the session or the lock was lost
  kExitUnknown = 8,      // a write may or may not have been executed
  kExitCannotExecute = 126,  // the child exists and could not be run
  kExitNotFound = 127,       // there is no such program
  kExitSignalBase = 128,     // and the number of the signal that ended the child
};

// The status for an error that ends a command.
[[nodiscard]] inline int ExitCodeOf(const Error& error) {
  switch (error.code) {
    case Code::kNoNode:
      return kExitNoNode;
    case Code::kBadVersion:
      return kExitVersion;
    case Code::kInvalidArgument:
      return kExitUsage;
    case Code::kDeadlineExceeded:
      return kExitTimeout;
    default:
      break;
  }
  switch (error.action()) {
    case Action::kRetryElsewhere:
      return kExitUnreachable;
    case Action::kOutcomeUnknown:
      return kExitUnknown;
    case Action::kSessionOver:
      return kExitLost;
    default:
      return kExitFailed;
  }
}

}  // namespace conclave::command
