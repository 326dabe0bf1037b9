// conclaved: one member of a cluster.

#include <glog/logging.h>

#include "coord/flags.h"
#include "coord/process.h"
#include "coord/recover.h"

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  const conclave::CommandLine line = conclave::ReadCommandLine(argc, argv);
  if (line.action == conclave::CommandLine::Action::kExit) {
    return line.exit_code;
  }
  return line.options.recover ? conclave::RunRecovery(line.options)
                              : conclave::RunProcess(line.options);
}
