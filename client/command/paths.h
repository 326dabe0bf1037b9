// Paths of znodes.
#pragma once

#include <string>

namespace conclave::command {

// "/a/b" -> "/a", "/a" -> "/", "/" and what is no path -> "".
[[nodiscard]] inline std::string ParentOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos || path.size() <= 1) {
    return "";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

[[nodiscard]] inline std::string JoinPath(const std::string& parent, const std::string& name) {
  return parent == "/" ? "/" + name : parent + "/" + name;
}

}  // namespace conclave::command
