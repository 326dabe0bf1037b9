// Builds the parts of one member and hands them to one another: the composition root.
#pragma once

#include "coord/flags.h"

namespace conclave {

// Runs a member until it is told to end. Returns the exit code: 0 ended in order, 1 could not start
// (the reason is on standard error), 3 ended by a failure.
int RunProcess(const ProcessOptions& options);

}  // namespace conclave
