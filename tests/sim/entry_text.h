// Entries of the log in words, for who reads a trace.
#pragma once

#include <string>

#include "consensus/types.h"

namespace conclave::sim {

// One line: index, who wrote it (session and number), and what it does.
std::string EntryText(const raft::Entry& entry);

}  // namespace conclave::sim
