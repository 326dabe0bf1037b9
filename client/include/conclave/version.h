#pragma once

#include <string_view>

namespace conclave {

// Of the library that runs, as "major.minor.patch".
std::string_view Version();

}  // namespace conclave
