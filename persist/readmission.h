// How a member comes back whose directory is not to be used again.
#pragma once

#include <string_view>

namespace conclave::persist {

/// For a message; ID is the reader's to fill in. deploy/docs/operations.md says the same.
inline constexpr std::string_view kReadmission =
    "empty the directory, start this member with --join and re-admit it with `conclave member "
    "replace ID`";

}  // namespace conclave::persist
