#include "coord/tree/path.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace conclave::tree {
namespace {

// One character at the front of `bytes`.
struct Decoded {
  char32_t code_point = 0;
  std::size_t length = 0;  // 0: not UTF-8.
};

Decoded DecodeUtf8(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    return {lead, 1};
  }
  std::size_t length = 0;
  char32_t code_point = 0;
  char32_t smallest = 0;  // Of this length: anything below is an overlong form.
  if ((lead & 0xe0) == 0xc0) {
    length = 2, code_point = lead & 0x1f, smallest = 0x80;
  } else if ((lead & 0xf0) == 0xe0) {
    length = 3, code_point = lead & 0x0f, smallest = 0x800;
  } else if ((lead & 0xf8) == 0xf0) {
    length = 4, code_point = lead & 0x07, smallest = 0x10000;
  }
  if (length == 0 || bytes.size() < length) {
    return {};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return {};
    }
    code_point = (code_point << 6) | (byte(i) & 0x3f);
  }
  if (code_point < smallest) {
    return {};
  }
  return {code_point, length};
}

bool IsRefused(char32_t c) {
  return c <= 0x1f || (c >= 0x7f && c <= 0x9f) || (c >= 0xd800 && c <= 0xf8ff) || c >= 0xfff0;
}

tl::unexpected<Error> Invalid(std::string_view path, std::string_view why) {
  Error error;
  error.code = Code::kInvalidArgument;
  error.message = fmt::format("path \"{}\": {}", PrintablePath(path, 200), why);
  error.path = PrintablePath(path, kErrorPathBytesMax);
  return tl::unexpected<Error>(std::move(error));
}

tl::expected<void, Error> ValidateCharacters(std::string_view path) {
  for (std::size_t at = 0; at < path.size();) {
    if (path[at] > 0x1f && path[at] < 0x7f) {  // As most are; a char may be signed.
      ++at;
      continue;
    }
    const Decoded decoded = DecodeUtf8(path.substr(at));
    if (decoded.length == 0) {
      return Invalid(path, fmt::format("byte {} does not begin a UTF-8 character", at));
    }
    if (IsRefused(decoded.code_point)) {
      return Invalid(path, fmt::format("the character U+{:04X} at byte {} is not allowed",
                                       static_cast<std::uint32_t>(decoded.code_point), at));
    }
    at += decoded.length;
  }
  return {};
}

}  // namespace

std::string PrintablePath(std::string_view path, std::size_t bytes_max) {
  std::string out;
  std::size_t at = 0;
  while (at < path.size() && at < bytes_max) {
    const Decoded decoded = DecodeUtf8(path.substr(at));
    if (decoded.length == 0 || IsRefused(decoded.code_point)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(path[at]));
      ++at;
    } else {
      out += path.substr(at, decoded.length);
      at += decoded.length;
    }
  }
  if (at < path.size()) {
    out += "...";
  }
  return out;
}

tl::expected<void, Error> ValidatePath(std::string_view path, const Limits& limits) {
  if (path.empty()) {
    return Invalid(path, "it is empty; a path begins with \"/\"");
  }
  if (path.front() != '/') {
    return Invalid(path, "it does not begin with \"/\"");
  }
  if (path.size() > limits.path_bytes_max) {
    return Invalid(path, fmt::format("{} bytes, and the limit is {}; shorten it", path.size(),
                                     limits.path_bytes_max));
  }
  if (path == "/") {
    return {};
  }
  if (path.back() == '/') {
    return Invalid(path, "it ends with \"/\"");
  }
  std::size_t depth = 0;
  for (std::size_t begin = 1; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view name = path.substr(begin, end - begin);
    if (name.empty()) {
      return Invalid(path, fmt::format("the component at byte {} is empty", begin));
    }
    if (name == "." || name == "..") {
      return Invalid(path, "relative components (\".\" and \"..\") are not allowed");
    }
    if (name.size() > limits.component_bytes_max) {
      return Invalid(path, fmt::format("the component at byte {} has {} bytes, and the limit is "
                                       "{}; shorten it",
                                       begin, name.size(), limits.component_bytes_max));
    }
    ++depth;
    begin = end + 1;
  }
  if (depth > limits.depth_max) {
    return Invalid(path, fmt::format("{} components deep, and the limit is {}; flatten it", depth,
                                     limits.depth_max));
  }
  return ValidateCharacters(path);
}

std::string_view ParentPath(std::string_view path) {
  if (path == "/") {
    return {};
  }
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

std::string_view BaseName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string JoinPath(std::string_view parent, std::string_view name) {
  std::string path;
  path.reserve(parent.size() + 1 + name.size());
  path += parent;
  if (parent != "/") {
    path += '/';
  }
  path += name;
  return path;
}

std::size_t DepthOf(std::string_view path) {
  if (path == "/") {
    return 0;
  }
  std::size_t depth = 0;
  for (const char c : path) {
    depth += c == '/' ? 1 : 0;
  }
  return depth;
}

bool IsSelfOrBeneath(std::string_view path, std::string_view ancestor) {
  if (ancestor == "/") {
    return true;
  }
  return path.starts_with(ancestor) &&
         (path.size() == ancestor.size() || path[ancestor.size()] == '/');
}

bool IsReservedPath(std::string_view path) {
  return path == "/" || path == "/zookeeper" || path == "/zookeeper/quota" ||
         path == "/zookeeper/config";
}

std::string SequenceSuffix(std::int32_t counter) {
  std::array<char, 16> text{};
  const std::int32_t number = CONCLAVE_MUTANT(47) ? counter & 0x7fffffff : counter;
  const int length = std::snprintf(text.data(), text.size(), "%010d", number);
  return {text.data(), static_cast<std::size_t>(length)};
}

}  // namespace conclave::tree
