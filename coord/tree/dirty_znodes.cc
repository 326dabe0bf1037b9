#include "coord/tree/dirty_znodes.h"

#include <deque>
#include <utility>

#include <absl/container/btree_map.h>
#include <glog/logging.h>

#include "coord/tree/rows.h"
#include "coord/tree/tree.h"

namespace conclave::tree {

struct DirtyZnodes::Epoch {
  // A key whose znode was deleted in the epoch.
  struct Gone {
    bool in_base = false;  // There was a row before the epoch, so the next checkpoint must say so.
    bool absent = true;    // False: there is a znode again.
  };

  KeyArena arena;
  std::deque<std::string_view> touched;
  absl::btree_map<std::string_view, Gone> gone;
};

DirtyZnodes::DirtyZnodes(std::int64_t base_zxid)
    : base_zxid_(base_zxid), current_(std::make_unique<Epoch>()) {}

DirtyZnodes::DirtyZnodes(DirtyZnodes&&) noexcept = default;
DirtyZnodes& DirtyZnodes::operator=(DirtyZnodes&&) noexcept = default;
DirtyZnodes::~DirtyZnodes() = default;

std::string_view DirtyZnodes::KeyOf(std::string_view path) {
  scratch_.clear();
  AppendZnodeKey(path, scratch_);
  return scratch_;
}

void DirtyZnodes::Touch(const Znode& znode, std::string_view path) {
  const std::string_view key = KeyOf(path);
  if (frozen_mark_ != 0 && (znode.marks() & frozen_mark_) != 0) {
    Capture(znode, rows_->captured_keys_.Add(key));
  }
  znode.SetMarks(current_mark_);
  current_->touched.push_back(current_->arena.Add(key));
  ++dirty_rows_;
  dirty_bytes_ += key.size() + ZnodeRowBytes(znode.value(), znode.is_directory());
}

void DirtyZnodes::Created(const Znode& znode, std::string_view path) {
  if (!current_->gone.empty()) {
    const auto gone = current_->gone.find(KeyOf(path));
    if (gone != current_->gone.end()) {  // The key is among the touched ones.
      gone->second.absent = false;
      znode.SetMarks(current_mark_);
      dirty_bytes_ += static_cast<std::uint64_t>(znode.value().data_length());
      return;
    }
  }
  Touch(znode, path);
}

void DirtyZnodes::Removing(const Znode& znode, std::string_view path) {
  Changing(znode, path);
  dirty_bytes_ -= static_cast<std::uint64_t>(znode.value().data_length());
  const std::string_view key = KeyOf(path);
  const auto gone = current_->gone.find(key);
  if (gone != current_->gone.end()) {
    gone->second.absent = true;
    return;
  }
  current_->gone.emplace(current_->arena.Add(key),
                         Epoch::Gone{znode.value().czxid() <= base_zxid_, true});
}

// --- Freezing ---

void DirtyZnodes::BeginFreeze(std::int64_t zxid, FrozenRows* rows) {
  CHECK_EQ(frozen_mark_, 0U) << "a freeze is running";
  rows_ = rows;
  frozen_mark_ = current_mark_;
  current_mark_ = current_mark_ == Znode::kMarkA ? Znode::kMarkB : Znode::kMarkA;
  frozen_ = std::exchange(current_, std::make_unique<Epoch>());
  left_ = frozen_->touched.size();
  rows_->znodes_.reserve(left_);
  dirty_rows_ = 0;
  dirty_bytes_ = 0;
  base_zxid_ = zxid;
}

void DirtyZnodes::Capture(const Znode& znode, std::string_view key) {
  FrozenZnode row;
  row.key = key;
  row.value = znode.ShareValue();
  row.is_directory = znode.is_directory();
  if (row.is_directory) {
    row.ccount = znode.ccount();
    row.pzxid = znode.pzxid();
  }
  rows_->Add(std::move(row));
  znode.SetMarks(0);
}

std::size_t DirtyZnodes::FreezeSlice(const Tree& tree, std::size_t rows_max) {
  std::size_t walked = 0;
  for (; walked < rows_max && !complete(); ++walked) {
    const std::string_view key = frozen_->touched[frozen_->touched.size() - left_--];
    const Znode* znode = tree.Find(PathOfZnodeKey(key));
    if (znode != nullptr && (znode->marks() & frozen_mark_) != 0) {
      Capture(*znode, key);
      continue;
    }
    // Either it was captured before it changed, or it was gone already at the freeze.
    const auto gone = frozen_->gone.find(key);
    if (gone != frozen_->gone.end() && gone->second.absent && gone->second.in_base) {
      FrozenZnode row;
      row.key = key;
      rows_->Add(std::move(row));
    }
  }
  return walked;
}

void DirtyZnodes::EndFreeze() {
  CHECK(complete());
  // The rows refer to its keys; and a million of them are better freed on another thread.
  rows_->epoch_ = std::shared_ptr<Epoch>(std::move(frozen_));
  frozen_mark_ = 0;
  rows_ = nullptr;
}

}  // namespace conclave::tree
