// The window of applied changes: what a member remembers of the recent past, so that a client that
// was away, or was slow, can be told exactly what it missed. Bounded in bytes; what no longer fits
// is forgotten oldest first, and whoever needs it is told so (never silence).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <vector>

#include "coord/tree/change.h"

namespace conclave::tree {

// A position in the stream of changes: the zxid of an entry and the number of the change within it.
// Both are decided by the log alone, so a cursor means the same at every member. A session's cursor
// names the last change whose events the client has taken. {0, 0} lies before every change.
struct Cursor {
  std::int64_t zxid = 0;
  std::int32_t ordinal = 0;

  friend auto operator<=>(const Cursor&, const Cursor&) = default;

  // After every change of that entry, and before every change of the next.
  static constexpr Cursor EndOf(std::int64_t zxid) {
    return {zxid, std::numeric_limits<std::int32_t>::max()};
  }
};

// Thread: the owner's (no locks). Owns its records; a record handed out stays valid as long as the
// shared pointer is held, also after it has left the window.
//
// Invariants:
// 1. Records are in cursor order, without gaps: every change after begin() and up to end() is here.
// 2. The changes of one entry are remembered or forgotten together.
// 3. bytes() <= bytes_max and size() <= changes_max, except that the newest entry that changed
//    anything is always kept: a change can so be told at least to those who listen.
class ChangeWindow {
 public:
  // `applied`: the zxid of the state that the member starts from; earlier changes are not known.
  ChangeWindow(std::size_t bytes_max, std::size_t changes_max, std::int64_t applied);

  // The changes of one applied entry, in order; none for an entry that changed nothing (it still
  // moves end()). Returns the index of its first change, size() if there is none.
  // REQUIRES: zxid greater than any before, every change of that zxid, ordinals rising.
  std::size_t Append(std::int64_t zxid, std::vector<Change> changes);

  // The state was replaced by one at `zxid` (an installed snapshot): everything is forgotten.
  void Jump(std::int64_t zxid);

  // Every change after begin() is known; begin() itself and what came before is not.
  [[nodiscard]] Cursor begin() const { return begin_; }

  // The end of the last applied entry.
  [[nodiscard]] Cursor end() const { return Cursor::EndOf(applied_); }

  // True: all that happened after `cursor` is here. A client whose cursor is not covered should be
  // sent to a member whose window is; if there is none, it has to read anew.
  [[nodiscard]] bool Covers(Cursor cursor) const { return cursor >= begin_; }

  [[nodiscard]] std::size_t size() const { return records_.size(); }

  // Memory charged to the window, the values included (they are shared with the tree while they are
  // current, but the window may be their last owner).
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  // Index of the first change after `cursor`; size() if there is none.
  [[nodiscard]] std::size_t FirstAfter(Cursor cursor) const;
  // The change at exactly `cursor`, null if it is not here.
  [[nodiscard]] std::shared_ptr<const Change> Find(Cursor cursor) const;

  // REQUIRES: index < size().
  [[nodiscard]] Cursor CursorAt(std::size_t index) const { return records_[index].cursor; }

  [[nodiscard]] const std::shared_ptr<const Change>& At(std::size_t index) const {
    return records_[index].change;
  }

 private:
  struct Record {
    Cursor cursor;
    std::shared_ptr<const Change> change;
  };

  void Evict();

  const std::size_t bytes_max_;
  const std::size_t changes_max_;
  std::int64_t applied_;
  Cursor begin_;
  std::size_t bytes_ = 0;
  std::deque<Record> records_;
};

// Bytes of the znode's data that the change carries; 0 if it carries none.
std::size_t ValueBytes(const Change& change);

}  // namespace conclave::tree
