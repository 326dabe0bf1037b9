// Znodes in the order of their rows into a new tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/rows.h"
#include "coord/tree/tree.h"

namespace conclave::tree {

// Role: fills a tree from nothing, each znode behind the one before it in the order of keys, so
// that every child is put at the end of its parent's index. The tree that comes out has nothing
// dirty. The tree must not be used before Finish.
class TreeLoader {
 public:
  // Empties the tree. REQUIRES: it is a new one.
  explicit TreeLoader(Tree* tree);

  // Whether a znode of the row could come next; else why not, in a sentence. A parent must have
  // come before, as one that has children and is not ephemeral.
  std::string Judge(const ZnodeRow& row);

  // REQUIRES: Judge(row) was called just before and had nothing against it.
  const Znode& Add(const ZnodeRow& row);

  // Sets the digest, recomputed in full; the tree is as of `zxid`.
  void Finish(std::int64_t zxid);

 private:
  // An ancestor of the znode added last, or that one.
  struct Level {
    std::size_t path_bytes = 0;
    const Znode* znode = nullptr;
  };

  Tree* const tree_;
  std::string path_;  // Of the znode added last.
  std::vector<Level> levels_;
};

}  // namespace conclave::tree
