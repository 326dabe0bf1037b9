// Little-endian bytes in and out, shared by the codecs of this folder.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace conclave::tree {

// Writes `number` at `at` with its lowest byte first.
template <typename Integer>
void StoreLittleEndian(char* at, Integer number) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(at, &number, sizeof(number));
  } else {
    auto bits = static_cast<std::make_unsigned_t<Integer>>(number);
    for (std::size_t i = 0; i < sizeof(Integer); ++i) {
      at[i] = static_cast<char>(static_cast<std::uint64_t>(bits) >> (8 * i));
    }
  }
}

// The number whose lowest byte stands first at `at`.
template <typename Integer>
Integer LoadLittleEndian(const char* at) {
  if constexpr (std::endian::native == std::endian::little) {
    Integer number{};
    std::memcpy(&number, at, sizeof(number));
    return number;
  } else {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sizeof(Integer); ++i) {
      bits |= static_cast<std::uint64_t>(static_cast<unsigned char>(at[i])) << (8 * i);
    }
    return static_cast<Integer>(static_cast<std::make_unsigned_t<Integer>>(bits));
  }
}

// Makes a string, by way of a small buffer, since most fields are a few bytes long.
class ByteWriter {
 public:
  // Appends to `out`, which may bring its memory.
  explicit ByteWriter(std::string out = {}) : out_(std::move(out)) {}

  // All that was written; the last thing that is asked of a writer.
  std::string Finish() {
    Flush();
    return std::move(out_);
  }

  template <typename Integer>
  void Int(Integer number) {
    if (sizeof(number) > buffer_.size() - used_) {
      Flush();
    }
    StoreLittleEndian(buffer_.data() + used_, number);
    used_ += sizeof(number);
  }

  // Length as u32, then the bytes.
  void String(std::string_view bytes) {
    Int(static_cast<std::uint32_t>(bytes.size()));
    Raw(bytes);
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
    Raw({reinterpret_cast<const char*>(bytes.data()), N});
  }

  // The bytes alone: a reader must know how many there are.
  void Raw(std::string_view bytes) {
    if (bytes.size() > buffer_.size() - used_) {
      Flush();
      if (bytes.size() > buffer_.size()) {
        out_.append(bytes);
        return;
      }
    }
    std::copy(bytes.begin(), bytes.end(), buffer_.data() + used_);
    used_ += bytes.size();
  }

  static constexpr std::uint32_t kNullLength = 0xffffffff;

 private:
  void Flush() {
    out_.append(buffer_.data(), used_);
    used_ = 0;
  }

  std::string out_;
  std::array<char, 256> buffer_;
  std::size_t used_ = 0;
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
    return ok_ ? LoadLittleEndian<Integer>(bytes.data()) : Integer{};
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
