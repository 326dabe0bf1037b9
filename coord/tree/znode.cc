#include "coord/tree/znode.h"

#include <glog/logging.h>

#include "coord/tree/directory.h"

namespace conclave::tree {

static_assert(alignof(Value) >= 8 && alignof(Directory) >= 8 &&
                  __STDCPP_DEFAULT_NEW_ALIGNMENT__ >= 8,
              "the lowest three bits are tags");
static_assert(sizeof(Znode) == 8);

Znode::Znode(ValueRef value) noexcept
    : bits_(reinterpret_cast<std::uintptr_t>(std::exchange(value.value_, nullptr))) {}

Znode::~Znode() {
  if (bits_ == 0) {
    return;  // Moved from.
  }
  if (is_directory()) {
    delete &directory();
  } else {
    leaf()->Release();
  }
}

Directory& Znode::directory() const { return *reinterpret_cast<Directory*>(bits_ & ~kTags); }

const Value& Znode::value() const { return is_directory() ? *directory().value : *leaf(); }

ValueRef Znode::ShareValue() const {
  const Value& shared = value();
  shared.Acquire();
  return ValueRef(&shared);
}

std::int32_t Znode::ccount() const { return is_directory() ? directory().ccount : 0; }

std::int64_t Znode::pzxid() const { return is_directory() ? directory().pzxid : leaf()->czxid(); }

std::int32_t Znode::num_children() const {
  return is_directory() ? static_cast<std::int32_t>(directory().children.size()) : 0;
}

Stat Znode::stat() const {
  const Value& v = value();
  Stat stat;
  stat.czxid = v.czxid();
  stat.mzxid = v.mzxid();
  stat.pzxid = pzxid();
  stat.ctime_ms = v.ctime_ms();
  stat.mtime_ms = v.mtime_ms();
  stat.version = v.version();
  stat.cversion = CversionOf(ccount(), num_children());
  stat.aversion = v.aversion();
  stat.ephemeral_owner = v.ephemeral_owner();
  stat.data_length = v.data_length();
  stat.num_children = num_children();
  return stat;
}

ValueRef Znode::ExchangeValue(ValueRef value) const {
  DCHECK(value->name() == name());
  if (is_directory()) {
    return std::exchange(directory().value, std::move(value));
  }
  ValueRef old(leaf());  // Takes over the reference that this entry held.
  bits_ = reinterpret_cast<std::uintptr_t>(std::exchange(value.value_, nullptr)) | marks();
  return old;
}

Directory& Znode::Promote() const {
  if (!is_directory()) {
    auto* directory = new Directory;
    directory->pzxid = leaf()->czxid();
    directory->value = ValueRef(leaf());
    bits_ = reinterpret_cast<std::uintptr_t>(directory) | kDirectory | marks();
  }
  return directory();
}

void Znode::Demote() const {
  Directory* old = &directory();
  CHECK(old->children.empty());
  bits_ = reinterpret_cast<std::uintptr_t>(std::exchange(old->value.value_, nullptr)) | marks();
  delete old;
}

}  // namespace conclave::tree
