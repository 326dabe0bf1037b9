// The command line of conclaved, turned into values. gflags are read here and nowhere else.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include <tl/expected.hpp>

#include "coord/server/options.h"
#include "thrift/wire/address.h"
#include "thrift/wire/limits.h"

namespace conclave {

// Everything that conclaved is told. Addresses are resolved and checked.
struct ProcessOptions {
  server::Options server;
  bool dev = false;      // --dev: a directory of its own, removed at the end
  bool recover = false;  // --recover_lost_majority: rewrite the directory and end
  std::string confirm_recovery;
  std::string peer_text;       // this member's entry of --members, as it was written
  wire::SocketAddress client;  // where clients are served
  wire::SocketAddress peer;    // where peers are taken; size 0: nowhere (--dev)
  std::string admin;           // HOST:PORT; empty: no admin port
  int io_threads = 0;          // loops for client sockets; 0: the core's loop has them
  wire::Limits client_limits;
  wire::ServerLimits client_server_limits;
};

// What to do after the command line has been read.
struct CommandLine {
  enum class Action { kRun, kExit } action = Action::kRun;
  int exit_code = 0;       // with kExit
  ProcessOptions options;  // with kRun
};

// Reads argv. Prints help, version or what is wrong (naming the flag) by itself. Exit codes: 0
// after help and version, 2 after a mistake.
CommandLine ReadCommandLine(int argc, char** argv);

}  // namespace conclave
