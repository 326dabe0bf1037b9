#include "tests/persist/file_bytes.h"

#include <algorithm>
#include <cstring>

namespace conclave::persist::testing {
namespace {

std::string_view WithoutTrailingZeros(std::string_view data) {
  constexpr std::size_t kBlock = 4'096;
  static constexpr char kZeros[kBlock] = {};
  while (data.size() >= kBlock &&
         std::memcmp(data.data() + data.size() - kBlock, kZeros, kBlock) == 0) {
    data.remove_suffix(kBlock);
  }
  return data.substr(0, data.find_last_not_of('\0') + 1);
}

}  // namespace

std::string& FileBytes::Mine() {
  if (head_ == nullptr) {
    head_ = std::make_shared<std::string>();
  } else if (head_.use_count() > 1) {
    head_ = std::make_shared<std::string>(*head_);
  }
  return *head_;
}

void FileBytes::Write(std::uint64_t offset, std::string_view data, std::uint64_t n) {
  const std::uint64_t end = offset + n;
  size_ = std::max(size_, end);
  const std::size_t held = head_ == nullptr ? 0 : head_->size();
  if (end < held) {
    std::string& head = Mine();
    head.replace(offset, data.size(), data);
    std::memset(head.data() + offset + data.size(), 0, n - data.size());
    return;
  }
  data = WithoutTrailingZeros(data);
  if (!data.empty() || offset < held) {
    std::string& head = Mine();
    head.resize(offset, '\0');
    head.append(data);
  }
}

std::size_t FileBytes::Read(std::uint64_t offset, std::size_t n, char* to) const {
  if (offset >= size_) {
    return 0;
  }
  n = static_cast<std::size_t>(std::min<std::uint64_t>(n, size_ - offset));
  const std::size_t held = head_ == nullptr ? 0 : head_->size();
  const std::size_t copied = offset < held ? head_->copy(to, n, offset) : 0;
  std::memset(to + copied, 0, n - copied);
  return n;
}

std::string FileBytes::str() const {
  std::string bytes = head_ == nullptr ? std::string() : *head_;
  bytes.resize(size_, '\0');
  return bytes;
}

}  // namespace conclave::persist::testing
