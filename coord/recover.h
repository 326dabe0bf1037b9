// conclaved --recover_lost_majority: what is printed, asked for and done.
#pragma once

#include "coord/flags.h"

namespace conclave {

// Runs to its end on the data directory, without serving. Without --confirm_recovery it only says
// what would be done. Returns the process's exit status: 0 done, 1 not done.
int RunRecovery(const ProcessOptions& options);

}  // namespace conclave
