// Little-endian bytes in and out, shared by the codecs of this folder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace conclave::tree {

// Writes `number` at `at` with its lowest byte first.
template <typename Integer>
void StoreLittleEndian(char* at, Integer number) {
  auto bits = static_cast<std::make_unsigned_t<Integer>>(number);
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    at[i] = static_cast<char>(static_cast<std::uint64_t>(bits) >> (8 * i));
  }
}

// Appends to a string.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <typename Integer>
  void Int(Integer number) {
    std::array<char, sizeof(Integer)> bytes{};
    StoreLittleEndian(bytes.data(), number);
    out_.append(bytes.data(), bytes.size());
  }

  // Length as u32, then the bytes.
  void String(std::string_view bytes) {
    Int(static_cast<std::uint32_t>(bytes.size()));
    out_.append(bytes);
  }

  // As String; null is the length 2^32-1.
  void Nullable(const std::optional<std::string>& bytes) {
    if (bytes.has_value()) {
      String(*bytes);
    } else {
      Int(kNullLength);
    }
  }

  template <std::size_t N>
  void Array(const std::array<std::uint8_t, N>& bytes) {
    out_.append(reinterpret_cast<const char*>(bytes.data()), N);
  }

  static constexpr std::uint32_t kNullLength = 0xffffffff;

 private:
  std::string& out_;
};

// Reads from the front. The first read beyond the end makes it fail, and everything after that
// reads as zero or empty: a caller reads all fields and asks ok() once.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }

  // Everything was read, and nothing is left over.
  bool Finished() const { return ok_ && rest_.empty(); }

  std::size_t remaining() const { return rest_.size(); }

  template <typename Integer>
  Integer Int() {
    const std::string_view bytes = Take(sizeof(Integer));
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bits |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    }
    return static_cast<Integer>(static_cast<std::make_unsigned_t<Integer>>(bits));
  }

  std::string String() { return std::string(Take(Int<std::uint32_t>())); }

  std::optional<std::string> Nullable() {
    const auto length = Int<std::uint32_t>();
    if (!ok_ || length == ByteWriter::kNullLength) {
      return std::nullopt;
    }
    return std::string(Take(length));
  }

  template <std::size_t N>
  std::array<std::uint8_t, N> Array() {
    std::array<std::uint8_t, N> array{};
    const std::string_view bytes = Take(N);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      array[i] = static_cast<std::uint8_t>(bytes[i]);
    }
    return array;
  }

 private:
  std::string_view Take(std::size_t length) {
    if (!ok_ || length > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace conclave::tree
