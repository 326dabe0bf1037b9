// The immutable part of a znode: its data and what describes the data, in one allocation.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace conclave::tree {

class ValueRef;

// Role: what the tree, the watch window, a reply that is being encoded and a checkpoint share
// without copying. A change of data makes a new Value; a create or a delete of a child does not
// touch it (what children change lies in the parent's Directory).
//
// Thread: any. The content never changes after Make, and the count of references is atomic: the
// last reference may go away on another thread than the one that applies.
//
// A million znodes live in memory at once, so the layout counts: 59 bytes of fields, then the name,
// then the data, in one allocation. README.md beside this file has the measurement.
class Value {
 public:
  struct Fields {
    std::int64_t czxid = 0;
    std::int64_t mzxid = 0;
    std::int64_t ctime_ms = 0;
    std::int64_t mtime_ms = 0;
    std::int64_t ephemeral_owner = 0;
    std::int32_t version = 0;
    std::int32_t aversion = 0;
    // Position of the create among the changes of its entry. Ephemerals of an ending session go in
    // the order of (czxid, create_ordinal).
    std::uint16_t create_ordinal = 0;
  };

  // A new value with one reference. No data (`nullopt`) and empty data are different things.
  // REQUIRES: name.size() <= 255 and data smaller than 2 GiB.
  static ValueRef Make(const Fields& fields, std::string_view name,
                       std::optional<std::string_view> data);

  Value(const Value&) = delete;
  Value& operator=(const Value&) = delete;

  // The last component of the znode's path; empty for the root.
  std::string_view name() const { return {bytes(), name_length_}; }

  // Whether the data is something (perhaps empty) rather than null.
  bool has_data() const { return data_length_ >= 0; }

  // The data; empty if it is null. Valid as long as a reference is held.
  std::string_view data() const {
    return {bytes() + name_length_, static_cast<std::size_t>(data_length())};
  }

  // As in Stat: 0 for null and for empty data.
  std::int32_t data_length() const { return data_length_ < 0 ? 0 : data_length_; }

  std::int64_t czxid() const { return czxid_; }

  std::int64_t mzxid() const { return mzxid_; }

  std::int64_t ctime_ms() const { return ctime_ms_; }

  std::int64_t mtime_ms() const { return mtime_ms_; }

  std::int64_t ephemeral_owner() const { return ephemeral_owner_; }

  std::int32_t version() const { return version_; }

  std::int32_t aversion() const { return aversion_; }

  std::uint16_t create_ordinal() const { return create_ordinal_; }

  // All the fields, to make the next value of the same znode from.
  Fields fields() const;

  // Bytes of memory that this value takes, without the allocator's own. For bounds by bytes.
  std::size_t allocated_bytes() const;

 private:
  friend class ValueRef;
  friend class Znode;

  Value(const Fields& fields, std::string_view name, std::optional<std::string_view> data);
  ~Value() = default;

  const char* bytes() const { return reinterpret_cast<const char*>(this) + kHeaderBytes; }

  void Acquire() const { refs_.fetch_add(1, std::memory_order_relaxed); }

  void Release() const;

  mutable std::atomic<std::uint32_t> refs_{1};
  std::int32_t data_length_;  // -1: null.
  std::int64_t czxid_;
  std::int64_t mzxid_;
  std::int64_t ctime_ms_;
  std::int64_t mtime_ms_;
  std::int64_t ephemeral_owner_;
  std::int32_t version_;
  std::int32_t aversion_;
  std::uint16_t create_ordinal_;
  std::uint8_t name_length_;
  // The bytes of name and data follow at once, in what would be padding.
  static constexpr std::size_t kHeaderBytes = 59;
};

// A counted reference to a Value: a shared pointer of eight bytes without a control block.
// Thread: one ValueRef belongs to one thread at a time; different ones to the same Value are free.
class ValueRef {
 public:
  ValueRef() = default;

  ValueRef(const ValueRef& other) : value_(other.value_) {
    if (value_ != nullptr) {
      value_->Acquire();
    }
  }

  ValueRef(ValueRef&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}

  ValueRef& operator=(ValueRef other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }

  ~ValueRef() {
    if (value_ != nullptr) {
      value_->Release();
    }
  }

  const Value* get() const { return value_; }

  const Value& operator*() const { return *value_; }

  const Value* operator->() const { return value_; }

  explicit operator bool() const { return value_ != nullptr; }

 private:
  friend class Value;
  friend class Znode;

  // Takes over one reference.
  explicit ValueRef(const Value* value) : value_(value) {}

  const Value* value_ = nullptr;
};

}  // namespace conclave::tree
