#include "coord/tree/value.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include <glog/logging.h>

namespace conclave::tree {

Value::Value(const Fields& fields, std::string_view name, std::optional<std::string_view> data)
    : data_length_(data.has_value() ? static_cast<std::int32_t>(data->size()) : -1),
      czxid_(fields.czxid),
      mzxid_(fields.mzxid),
      ctime_ms_(fields.ctime_ms),
      mtime_ms_(fields.mtime_ms),
      ephemeral_owner_(fields.ephemeral_owner),
      version_(fields.version),
      aversion_(fields.aversion),
      create_ordinal_(fields.create_ordinal),
      name_length_(static_cast<std::uint8_t>(name.size())) {
  static_assert(offsetof(Value, name_length_) + sizeof(name_length_) == kHeaderBytes);
}

ValueRef Value::Make(const Fields& fields, std::string_view name,
                     std::optional<std::string_view> data) {
  CHECK_LE(name.size(), 255U);
  CHECK(!data.has_value() || data->size() <= 0x7fffffffU);
  const std::size_t data_size = data.has_value() ? data->size() : 0;
  // Never less than the object as the compiler sees it, with its padding.
  const std::size_t size = std::max(sizeof(Value), kHeaderBytes + name.size() + data_size);
  void* memory = ::operator new(size);
  auto* value = new (memory) Value(fields, name, data);
  char* at = static_cast<char*>(memory) + kHeaderBytes;
  if (!name.empty()) {
    std::memcpy(at, name.data(), name.size());
  }
  if (data_size != 0) {
    std::memcpy(at + name.size(), data->data(), data_size);
  }
  return ValueRef(value);
}

Value::Fields Value::fields() const {
  Fields fields;
  fields.czxid = czxid_;
  fields.mzxid = mzxid_;
  fields.ctime_ms = ctime_ms_;
  fields.mtime_ms = mtime_ms_;
  fields.ephemeral_owner = ephemeral_owner_;
  fields.version = version_;
  fields.aversion = aversion_;
  fields.create_ordinal = create_ordinal_;
  return fields;
}

std::size_t Value::allocated_bytes() const {
  return std::max(sizeof(Value),
                  kHeaderBytes + name_length_ + static_cast<std::size_t>(data_length()));
}

void Value::Release() const {
  // Release, so that what was read here happens before the free there; acquire for the freeing one.
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    auto* self = const_cast<Value*>(this);
    self->~Value();
    ::operator delete(static_cast<void*>(self));
  }
}

}  // namespace conclave::tree
