#include "coord/tree/watch_window.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace conclave::tree {

namespace {

// A record in the deque, the control block of its shared pointer, and the allocator's header.
constexpr std::size_t kRecordBytes = 32 + 16 + 16 + sizeof(Change);
// Longer strings have their own allocation.
constexpr std::size_t kInlinePath = 15;

std::size_t BytesOf(const Change& change) {
  std::size_t bytes = kRecordBytes;
  if (change.path.capacity() > kInlinePath) {
    bytes += change.path.capacity() + 1;
  }
  if (change.value) {
    bytes += change.value->allocated_bytes();
  }
  return bytes;
}

}  // namespace

std::size_t ValueBytes(const Change& change) {
  return change.value ? change.value->data().size() : 0;
}

ChangeWindow::ChangeWindow(std::size_t bytes_max, std::size_t changes_max, std::int64_t applied)
    : bytes_max_(bytes_max),
      changes_max_(changes_max),
      applied_(applied),
      begin_(Cursor::EndOf(applied)) {}

std::size_t ChangeWindow::Append(std::int64_t zxid, std::vector<Change> changes) {
  CHECK_GT(zxid, applied_) << "entries are applied in order";
  applied_ = zxid;
  for (Change& change : changes) {
    const Cursor cursor{change.zxid, change.ordinal};
    CHECK_EQ(cursor.zxid, zxid);
    CHECK_GE(cursor.ordinal, 0);
    CHECK(records_.empty() || records_.back().cursor < cursor) << "ordinals rise";
    bytes_ += BytesOf(change);
    records_.push_back({cursor, std::make_shared<const Change>(std::move(change))});
  }
  const std::size_t added = changes.size();
  Evict();
  return records_.size() - added;
}

void ChangeWindow::Jump(std::int64_t zxid) {
  CHECK_GE(zxid, applied_) << "state never goes back";
  applied_ = zxid;
  begin_ = Cursor::EndOf(zxid);
  bytes_ = 0;
  records_.clear();
}

void ChangeWindow::Evict() {
  while (bytes_ > bytes_max_ || records_.size() > changes_max_) {
    const std::int64_t oldest = records_.front().cursor.zxid;
    if (oldest == records_.back().cursor.zxid) {
      return;
    }
    while (records_.front().cursor.zxid == oldest) {
      bytes_ -= BytesOf(*records_.front().change);
      records_.pop_front();
    }
    begin_ = Cursor::EndOf(oldest);
  }
}

std::size_t ChangeWindow::FirstAfter(Cursor cursor) const {
  const auto after = [](Cursor wanted, const Record& record) { return wanted < record.cursor; };
  const auto found = std::upper_bound(records_.begin(), records_.end(), cursor, after);
  return static_cast<std::size_t>(found - records_.begin());
}

std::shared_ptr<const Change> ChangeWindow::Find(Cursor cursor) const {
  if (!records_.empty() && records_.back().cursor == cursor) {
    return records_.back().change;  // what those who keep up ask for
  }
  const auto before = [](const Record& record, Cursor wanted) { return record.cursor < wanted; };
  const auto found = std::lower_bound(records_.begin(), records_.end(), cursor, before);
  return found != records_.end() && found->cursor == cursor ? found->change : nullptr;
}

}  // namespace conclave::tree
