// Bytes that several owners read and nobody changes.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

namespace conclave::tree {

// A reference to bytes in one allocation, or to nothing (which is not the same as no bytes).
// Thread: one reference belongs to one thread at a time; different ones to the same bytes are free.
class SharedBytes {
 public:
  SharedBytes() = default;

  // A copy of `bytes`.
  explicit SharedBytes(std::string_view bytes)
      : SharedBytes(bytes, std::make_shared_for_overwrite<char[]>(bytes.size())) {}

  explicit operator bool() const { return bytes_ != nullptr; }

  // Valid as long as a reference is held; empty if there is nothing.
  std::string_view view() const { return {bytes_.get(), size_}; }

  std::size_t size() const { return size_; }

 private:
  SharedBytes(std::string_view bytes, std::shared_ptr<char[]> memory) : size_(bytes.size()) {
    bytes.copy(memory.get(), bytes.size());
    bytes_ = std::move(memory);
  }

  std::shared_ptr<const char[]> bytes_;
  std::size_t size_ = 0;
};

}  // namespace conclave::tree
