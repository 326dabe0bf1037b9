// Paths of znodes: what makes one valid, and taking them apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "coord/tree/code.h"
#include "coord/tree/limits.h"

namespace conclave::tree {

// Whether `path` names a znode that could exist. Invalid, as in ZooKeeper: the empty path; no
// leading slash; a trailing one (but "/" itself); an empty component; a component "." or ".."; any
// of U+0000-U+001F, U+007F-U+009F, U+D800-U+F8FF, U+FFF0-U+FFFF and everything beyond U+FFFF.
// Invalid besides: bytes that are not UTF-8 (Java would read them as U+FFFD, which is refused too),
// and what is over the limits of path, component or depth.
//
// The error is kInvalidArgument and names the rule, the place and the limit.
//
// A door does not call this on writes before agreement: the order of errors puts a missing parent
// before an invalid name, and only apply knows the parent.
tl::expected<void, Error> ValidatePath(std::string_view path, const Limits& limits);

// The parent of `path`: "/a" for "/a/b", "/" for "/a". Of "/" it is the empty string.
// REQUIRES: `path` is valid.
std::string_view ParentPath(std::string_view path);

// The last component; empty for "/". REQUIRES: `path` is valid.
std::string_view BaseName(std::string_view path);

// `parent` and `name` joined by exactly one slash. REQUIRES: `parent` is valid.
std::string JoinPath(std::string_view parent, std::string_view name);

// Number of components: 0 for "/". REQUIRES: `path` is valid.
std::size_t DepthOf(std::string_view path);

// Whether `path` is `ancestor` or lies beneath it. REQUIRES: both are valid.
bool IsSelfOrBeneath(std::string_view path, std::string_view ancestor);

// Whether `path` is one of the znodes that every tree has and nobody can delete: "/", "/zookeeper",
// "/zookeeper/quota", "/zookeeper/config".
bool IsReservedPath(std::string_view path);

// The suffix of a sequential znode: ten digits with leading zeros. A counter that has wrapped is
// negative and gives eleven characters, as in ZooKeeper ("-2147483648").
std::string SequenceSuffix(std::int32_t counter);

// How much of a path an error carries in its field `path`: all of any valid one.
inline constexpr std::size_t kErrorPathBytesMax = 4096;

// The path as text that is safe in a message or a log, whatever its bytes: what is not a character
// that a path may hold appears as \xNN, and after `bytes_max` bytes of it stands "...". A valid
// path within the bound is returned as it is.
std::string PrintablePath(std::string_view path, std::size_t bytes_max = 200);

}  // namespace conclave::tree
