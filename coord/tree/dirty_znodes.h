// Which znodes have changed since the last freeze, and their rows as of a freeze that is running.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "coord/tree/frozen_rows.h"
#include "coord/tree/znode.h"

namespace conclave::tree {

class Tree;

// Role: the tree's memory of its changes, in epochs that end at each BeginFreeze. A znode that
// changed in the epoch carries its mark, so that a second change costs one comparison and no entry.
// While a freeze runs, the marks of the epoch before say whose row has not been captured yet; the
// row of such a znode is captured before its next change, or when the walk over the epoch's keys
// comes by, whichever is first.
//
// Thread: the one that applies.
//
// Invariants:
//   1. A key was touched in this epoch exactly if its znode has the mark of the epoch, or the epoch
//      says that the znode is absent. It is noted once.
//   2. A znode never has both marks. Without a running freeze nobody has the other one.
class DirtyZnodes {
 public:
  // `base_zxid`: the state as of it is what the rows are put over; -1 for nothing.
  explicit DirtyZnodes(std::int64_t base_zxid = -1);
  DirtyZnodes(DirtyZnodes&&) noexcept;
  DirtyZnodes& operator=(DirtyZnodes&&) noexcept;
  DirtyZnodes(const DirtyZnodes&) = delete;
  DirtyZnodes& operator=(const DirtyZnodes&) = delete;
  ~DirtyZnodes();

  // --- Called by the tree, at each change ---

  // Before anything of the znode's row changes.
  void Changing(const Znode& znode, std::string_view path) {
    if (znode.marks() != current_mark_) {
      Touch(znode, path);
    }
  }

  // After a new znode was put into the tree (or one that was taken out was put back).
  void Created(const Znode& znode, std::string_view path);
  // Before the znode is taken out.
  void Removing(const Znode& znode, std::string_view path);

  // After the value of the znode has changed.
  void Replaced(std::int32_t length_before, std::int32_t length_after) {
    dirty_bytes_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(length_after) -
                                               static_cast<std::int64_t>(length_before));
  }

  std::uint64_t dirty_rows() const { return dirty_rows_; }

  std::uint64_t dirty_bytes() const { return dirty_bytes_; }

  // --- Freezing ---

  // Ends the epoch at `zxid`; its rows go to `rows`, which stays where it is until EndFreeze.
  void BeginFreeze(std::int64_t zxid, FrozenRows* rows);
  // Walks over about `rows_max` keys of the epoch that has ended; returns how many.
  std::size_t FreezeSlice(const Tree& tree, std::size_t rows_max);

  // The walk is over.
  bool complete() const { return left_ == 0; }

  // Gives the epoch that has ended to the rows. REQUIRES: complete().
  void EndFreeze();

 private:
  // The keys that were touched in an epoch, and those whose znode was deleted in it.
  struct Epoch;

  void Touch(const Znode& znode, std::string_view path);
  void Capture(const Znode& znode, std::string_view key);
  // `path` as a key, until the next call.
  std::string_view KeyOf(std::string_view path);

  std::int64_t base_zxid_;
  std::uintptr_t current_mark_ = Znode::kMarkA;
  std::unique_ptr<Epoch> current_;
  std::uint64_t dirty_rows_ = 0;
  std::uint64_t dirty_bytes_ = 0;

  std::uintptr_t frozen_mark_ = 0;  // 0: no freeze is running.
  std::unique_ptr<Epoch> frozen_;
  std::size_t left_ = 0;        // Keys of the frozen epoch to walk over.
  FrozenRows* rows_ = nullptr;  // Of the running freeze.
  std::string scratch_;
};

}  // namespace conclave::tree
