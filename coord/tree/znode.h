// A znode in the tree: its value, and for one that ever had children the index of them.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "coord/tree/stat.h"
#include "coord/tree/value.h"

namespace conclave::tree {

struct Directory;

// Role: one entry of an index of children, eight bytes. It owns either a Value or, for a znode that
// ever had children, a Directory that holds the Value; the lowest bit of the pointer says which.
// Most znodes of a large tree are leaves, and this way a leaf costs its one allocation and a
// pointer. The next two bits are the marks of DirtyZnodes: not part of the replicated state.
//
// Thread: the one that applies, like the tree.
//
// Invariants: (1) a leaf never had a child: ccount and the number of children are 0, pzxid is
// czxid; (2) the name never changes, so that an entry may be changed inside an ordered index.
class Znode {
 public:
  explicit Znode(ValueRef value) noexcept;

  Znode(Znode&& other) noexcept : bits_(std::exchange(other.bits_, 0)) {}

  Znode& operator=(Znode&& other) noexcept {
    std::swap(bits_, other.bits_);
    return *this;
  }

  Znode(const Znode&) = delete;
  Znode& operator=(const Znode&) = delete;
  ~Znode();

  const Value& value() const;
  // A reference of one's own to the value.
  ValueRef ShareValue() const;

  std::string_view name() const { return value().name(); }

  bool is_ephemeral() const { return value().ephemeral_owner() != 0; }

  // Creates of direct children ever; the counter of sequential names. Wraps.
  std::int32_t ccount() const;
  // zxid of the last create or delete of a direct child, or czxid.
  std::int64_t pzxid() const;
  std::int32_t num_children() const;
  Stat stat() const;

  // Whether it ever had a child.
  bool is_directory() const { return (bits_ & kDirectory) != 0; }

 private:
  friend class DirtyZnodes;
  friend class Tree;
  friend class TreeLoader;
  friend class TreeTestPeer;

  static constexpr std::uintptr_t kDirectory = 1;
  static constexpr std::uintptr_t kMarkA = 2;
  static constexpr std::uintptr_t kMarkB = 4;
  static constexpr std::uintptr_t kTags = kDirectory | kMarkA | kMarkB;

  // The marks of DirtyZnodes; they stay when the value is exchanged, or a leaf becomes a directory.
  std::uintptr_t marks() const { return bits_ & (kMarkA | kMarkB); }

  void SetMarks(std::uintptr_t marks) const { bits_ = (bits_ & ~(kMarkA | kMarkB)) | marks; }

  // REQUIRES: is_directory().
  Directory& directory() const;

  const Value* leaf() const { return reinterpret_cast<const Value*>(bits_ & ~kTags); }

  // Replaces the value and returns the old one. REQUIRES: the same name.
  ValueRef ExchangeValue(ValueRef value) const;
  // Makes a leaf a directory, if it is not one; and back. REQUIRES for Demote: never had a child.
  Directory& Promote() const;
  void Demote() const;

  // Mutable because entries of an ordered set are const; see invariant 2.
  mutable std::uintptr_t bits_;
};

}  // namespace conclave::tree
