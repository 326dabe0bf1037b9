// A member's status as JSON, for /status and for scripts. Fields are only ever added.
#pragma once

#include <string>

#include "coord/server/status.h"

namespace conclave::doors {

// One object, indented by two blanks. Numbers that may pass 2^53 (incarnation, digest) are strings
// of hexadecimal digits, since JavaScript and jq would round them.
[[nodiscard]] std::string StatusJson(const server::Status& status);

}  // namespace conclave::doors
