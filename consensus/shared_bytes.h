#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace conclave::raft {

/// Bytes that never change, shared by all who hold them: a string of their own, or a part of a
/// larger one, such as the message or the stored batch that they came in, which stays as long as
/// any part of it is held. Null is not the same as empty.
class SharedBytes {
 public:
  SharedBytes() = default;

  // Implicit, both: it stands where a pointer to a string would.
  SharedBytes(std::nullptr_t) {}  // NOLINT(google-explicit-constructor)

  SharedBytes(std::shared_ptr<const std::string> whole)  // NOLINT(google-explicit-constructor)
      : owner_(std::move(whole)), bytes_(owner_ ? std::string_view(*owner_) : std::string_view()) {}

  /// REQUIRES: `part` lies within `*owner`.
  SharedBytes(std::shared_ptr<const std::string> owner, std::string_view part)
      : owner_(std::move(owner)), bytes_(part) {}

  SharedBytes(const SharedBytes&) = default;
  SharedBytes& operator=(const SharedBytes&) = default;

  SharedBytes(SharedBytes&& other) noexcept
      : owner_(std::move(other.owner_)), bytes_(std::exchange(other.bytes_, {})) {}

  SharedBytes& operator=(SharedBytes&& other) noexcept {
    owner_ = std::move(other.owner_);
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }

  ~SharedBytes() = default;

  explicit operator bool() const { return owner_ != nullptr; }

  const std::string_view& operator*() const { return bytes_; }

  const std::string_view* operator->() const { return &bytes_; }

  friend bool operator==(const SharedBytes& bytes, std::nullptr_t) { return !bytes; }

  /// Both null, or the same bytes.
  friend bool operator==(const SharedBytes& a, const SharedBytes& b) {
    return static_cast<bool>(a) == static_cast<bool>(b) && a.bytes_ == b.bytes_;
  }

 private:
  std::shared_ptr<const std::string> owner_;
  std::string_view bytes_;
};

}  // namespace conclave::raft
