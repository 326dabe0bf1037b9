// The tree of znodes in memory: lookups, listings, and the primitive changes that apply makes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "coord/tree/code.h"
#include "coord/tree/digest.h"
#include "coord/tree/dirty_znodes.h"
#include "coord/tree/stat.h"
#include "coord/tree/value.h"
#include "coord/tree/znode.h"

namespace conclave::tree {

// What Get answers: the value is shared and stays as it is whatever is applied later.
struct GetResult {
  ValueRef value;
  Stat stat;
};

// One page of a listing.
struct ChildrenPage {
  std::vector<std::string> names;  // In order of bytes.
  bool more = false;               // There are further names behind the last one.
  Stat stat;                       // Of the parent.
};

// Role: the znodes, ordered by name beneath each parent, and the part of the digest that covers
// them. It judges nothing: what a request may do is decided in Transaction.
//
// Thread: the one that applies. Values that it hands out may go anywhere.
//
// Invariants:
//   1. Every znode but the root lies in exactly one index, that of its parent.
//   2. digest() is the sum over all znodes, at every moment (RecomputeDigest proves it).
//   3. The znodes of IsReservedPath always exist.
class Tree {
 public:
  // A new tree: "/", "/zookeeper", "/zookeeper/quota" and "/zookeeper/config" with empty data and
  // zxid 0, none of them counted as a create (so the root's cversion is -1).
  Tree();
  ~Tree() = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  // --- Reads. They check nothing but existence: a malformed path answers kNoNode. ---

  // Data and Stat. Errors: kNoNode.
  tl::expected<GetResult, Error> Get(std::string_view path) const;

  // Stat. Errors: kInvalidArgument for a path with NUL, kNoNode.
  tl::expected<Stat, Error> Exists(std::string_view path) const;

  // Names of the direct children behind `after` (empty: from the first), in order of bytes, at most
  // `count_max` of them and at most about `bytes_max` bytes of names, but always at least one if
  // there is one. `after` need not exist any more, so that pages go on across deletes.
  // Errors: kNoNode.
  tl::expected<ChildrenPage, Error> Children(std::string_view path, std::string_view after,
                                             std::size_t count_max, std::size_t bytes_max) const;

  // The znode at exactly this path, or null. Valid until the next change of the tree.
  const Znode* Find(std::string_view path) const;

  // The znode of the name in the index of this parent, or null.
  const Znode* FindChild(const Znode& parent, std::string_view name) const;

  // Calls visit(path, znode) for every znode, a parent before its children, siblings in order of
  // bytes: what a checkpoint, an export and the full digest are made from.
  template <typename Visitor>
  void ForEach(const Visitor& visit) const;

  std::size_t znode_count() const { return znode_count_; }

  // Bytes of data in all znodes.
  std::uint64_t data_bytes() const { return data_bytes_; }

  const Digest& digest() const { return digest_; }

  // The same from scratch, in time proportional to everything.
  Digest RecomputeDigest() const;

  // --- Changes, for apply alone. Each has an inverse, so that a multi can be rolled back. ---

  // What a create or a delete of a child did to the parent, as it was before.
  struct ParentBefore {
    bool was_leaf = false;
    std::int32_t ccount = 0;
    std::int64_t pzxid = 0;
  };

  // Puts a new child beneath `parent`: ccount goes up by one and pzxid becomes `zxid`.
  // REQUIRES: `path` is free and is the parent's path and the value's name.
  ParentBefore AddChild(const Znode& parent, std::string_view path, ValueRef value,
                        std::int64_t zxid);
  // Takes that create back: the parent is as it was before.
  void UndoAddChild(std::string_view path, const ParentBefore& before);

  // Takes the child at `path` out of `parent`; pzxid becomes `zxid`. Returns what was taken out.
  // REQUIRES: it exists and has no children.
  Znode RemoveChild(const Znode& parent, std::string_view path, std::int64_t zxid);
  // Puts it back as it was. `pzxid` is the parent's from before.
  void UndoRemoveChild(std::string_view path, Znode child, std::int64_t pzxid);

  // Replaces the value of `znode`, which lies at `path`; returns the old one. Its own inverse.
  ValueRef ReplaceValue(const Znode& znode, std::string_view path, ValueRef value);

  // --- What changed: see DirtyZnodes. Every change above is noted there by itself. ---

  DirtyZnodes& dirty() { return dirty_; }

  const DirtyZnodes& dirty() const { return dirty_; }

  // --- The slow scrub: recomputes the digest piece by piece while changes go on. A change behind
  // the place that it has reached adjusts the sum by what it adjusts digest() by; one ahead of it
  // will be seen. ---

  // Goes on over about `rows_max` znodes (one with more than 4 KiB of data counts for several);
  // returns how many. The first call after EndScrub begins anew.
  std::size_t ScrubSlice(std::size_t rows_max);

  // All znodes have been visited; changes still adjust the sum.
  bool scrub_complete() const { return scrub_.place == ScrubPlace::kBehindAll; }

  // The digest as recomputed. REQUIRES: scrub_complete().
  const Digest& scrubbed() const { return scrub_.sum; }

  void EndScrub() { scrub_ = Scrub(); }

 private:
  friend class TreeLoader;
  friend class TreeTestPeer;

  enum class ScrubPlace : std::uint8_t { kNotRunning, kAtPath, kBehindAll };

  struct Scrub {
    ScrubPlace place = ScrubPlace::kNotRunning;
    std::string path;  // kAtPath: the last one visited.
    Digest sum;
  };

  // Every change of digest_ goes through these: the item of the znode at `path` comes or goes.
  void Include(std::string_view path, const Digest& item);
  void Exclude(std::string_view path, const Digest& item);
  bool Scrubbed(std::string_view path) const;

  // What `znode` at `path` adds to the digest: by its value, and by its children. The former in two
  // steps, for those who ask twice for one path.
  static DigestItem ValueItemOf(std::string_view path);
  static Digest ValueItem(DigestItem item_of_path, const Value& value);

  static Digest ValueItem(std::string_view path, const Value& value) {
    return ValueItem(ValueItemOf(path), value);
  }

  static Digest ChildrenItem(std::string_view path, const Znode& znode);

  const Znode& Parent(std::string_view path) const;
  void AddInitial(const Znode& parent, std::string_view name);
  void VisitBeneath(const Znode& znode, std::string& path,
                    void (*visit)(void* context, std::string_view path, const Znode& znode),
                    void* context) const;

  Znode root_;
  std::size_t znode_count_ = 0;
  std::uint64_t data_bytes_ = 0;
  Digest digest_;
  DirtyZnodes dirty_;
  Scrub scrub_;
};

template <typename Visitor>
void Tree::ForEach(const Visitor& visit) const {
  std::string path = "/";
  VisitBeneath(
      root_, path,
      [](void* context, std::string_view at, const Znode& znode) {
        (*static_cast<const Visitor*>(context))(at, znode);
      },
      const_cast<Visitor*>(&visit));
}

}  // namespace conclave::tree
