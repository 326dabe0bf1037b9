// What is in a file of the disk in memory. Write-ahead files are a megabyte of zeros with a little
// at their beginning: zeros at the end take no room, and copies share what is there until one of
// them is written to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace conclave::persist::testing {

/// Copies are cheap. Thread: one for an object; those that share may be in any.
class FileBytes {
 public:
  FileBytes() = default;

  explicit FileBytes(std::string_view bytes) { Write(0, bytes); }

  std::uint64_t size() const { return size_; }

  /// Grows as needed; what lies between the old end and `offset` is zeros.
  void Write(std::uint64_t offset, std::string_view data) { Write(offset, data, data.size()); }

  void Write(std::uint64_t offset, const FileBytes& data) {
    Write(offset, data.head_ == nullptr ? std::string_view() : *data.head_, data.size_);
  }

  /// Up to `n` bytes from `offset`; how many there were. `offset` may be behind the end.
  std::size_t Read(std::uint64_t offset, std::size_t n, char* to) const;

  std::string str() const;

 private:
  // `data`, and zeros until there are `n` bytes.
  void Write(std::uint64_t offset, std::string_view data, std::uint64_t n);
  std::string& Mine();

  std::uint64_t size_ = 0;
  std::shared_ptr<std::string> head_;  // no longer than size_; zeros follow; null: empty
};

}  // namespace conclave::persist::testing
