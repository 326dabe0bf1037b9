// Paths: what is called valid has the properties that the tree builds on.
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/limits.h"
#include "coord/tree/path.h"
#include "tests/fuzz/fuzz.h"

namespace conclave::fuzz {

std::vector<std::string> Seeds() {
  return {"/",
          "/a",
          "/app/config/color",
          "/a/b/c/d/e/f/g/h",
          "/\xc3\xa4\xe2\x82\xac",
          "/\xf0\x9f\x98\x80",
          "/a/./b",
          "/a/../b",
          "//",
          "/a/",
          std::string("/a\0b", 4),
          "/" + std::string(255, 'n')};
}

}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using conclave::tree::BaseName;
  using conclave::tree::JoinPath;
  using conclave::tree::ParentPath;
  const std::string_view path(reinterpret_cast<const char*>(data), size);
  const conclave::tree::Limits limits;
  const auto valid = conclave::tree::ValidatePath(path, limits);
  if (!valid) {
    if (valid.error().message.empty()) {
      __builtin_trap();  // refused without a word
    }
    return 0;
  }
  const std::size_t depth = conclave::tree::DepthOf(path);
  const bool sound = path.front() == '/' && path.size() <= limits.path_bytes_max &&
                     depth <= limits.depth_max && path.find("//") == std::string_view::npos &&
                     path.find('\0') == std::string_view::npos;
  const bool joins = path == "/" || (JoinPath(ParentPath(path), BaseName(path)) == path &&
                                     conclave::tree::ValidatePath(ParentPath(path), limits) &&
                                     conclave::tree::DepthOf(ParentPath(path)) + 1 == depth);
  if (!sound || !joins) {
    __builtin_trap();
  }
  return 0;
}
