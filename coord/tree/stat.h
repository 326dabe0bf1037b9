// What a client sees of a znode besides its data.
#pragma once

#include <cstdint>

namespace conclave::tree {

// The fields and their meaning are ZooKeeper's, to the letter. A zxid is the Raft index of the
// entry that made the change. Times are the leader's wall clock as stamped into the entry.
struct Stat {
  std::int64_t czxid = 0;            // Of the create of this znode.
  std::int64_t mzxid = 0;            // Of the last change of its data (the create counts).
  std::int64_t pzxid = 0;            // Of the last create or delete of a direct child, or czxid.
  std::int64_t ctime_ms = 0;         // Wall time of the create.
  std::int64_t mtime_ms = 0;         // Wall time of the last change of its data.
  std::int32_t version = 0;          // Changes of data since the create; wraps, and skips -1.
  std::int32_t cversion = 0;         // 2 * creates of children ever - children now; wraps.
  std::int32_t aversion = 0;         // Changes of the ACL.
  std::int64_t ephemeral_owner = 0;  // Session id of the owner, 0 for a persistent znode.
  std::int32_t data_length = 0;      // Bytes; 0 for empty and for null data.
  std::int32_t num_children = 0;     // Direct children.

  friend bool operator==(const Stat&, const Stat&) = default;
};

// The version after `version`. It skips -1, which means "any" in a request: after 2147483647 comes
// -2147483648, and after -2 comes 0.
constexpr std::int32_t NextVersion(std::int32_t version) {
  const auto next = static_cast<std::int32_t>(static_cast<std::uint32_t>(version) + 1U);
  return next == -1 ? 0 : next;
}

// cversion as clients see it, in 32-bit arithmetic that wraps. `ccount` is the number of creates of
// direct children ever, so that each create and each delete of a child adds exactly one.
constexpr std::int32_t CversionOf(std::int32_t ccount, std::int32_t num_children) {
  return static_cast<std::int32_t>(2U * static_cast<std::uint32_t>(ccount) -
                                   static_cast<std::uint32_t>(num_children));
}

}  // namespace conclave::tree
