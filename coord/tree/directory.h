// The index of a znode's children. Apart from znode.h, so that readers of the tree do not compile
// Abseil's containers.
#pragma once

#include <cstdint>
#include <string_view>

#include <absl/container/btree_set.h>

#include "coord/tree/value.h"
#include "coord/tree/znode.h"

namespace conclave::tree {

// Orders znodes of one parent by name, and finds one by name alone.
struct NameLess {
  using is_transparent = void;

  bool operator()(const Znode& a, const Znode& b) const { return a.name() < b.name(); }

  bool operator()(const Znode& a, std::string_view b) const { return a.name() < b; }

  bool operator()(std::string_view a, const Znode& b) const { return a < b.name(); }
};

// What a znode has once it had a child. A B-tree and not a hash table, because a listing comes in
// pages and in order, and because 8 bytes per child leave nothing to gain from hashing.
struct Directory {
  ValueRef value;
  std::int32_t ccount = 0;
  std::int64_t pzxid = 0;
  absl::btree_set<Znode, NameLess> children;
};

}  // namespace conclave::tree
