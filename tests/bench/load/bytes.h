// Big-endian integers in byte strings: jute, Thrift's binary protocol and HTTP/2 all have them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace conclave::bench {

static_assert(std::endian::native == std::endian::little, "the swaps below assume it");

inline void PutU8(std::string& out, std::uint8_t value) { out.push_back(static_cast<char>(value)); }

inline void PutU16(std::string& out, std::uint16_t value) {
  value = __builtin_bswap16(value);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

inline void PutU32(std::string& out, std::uint32_t value) {
  value = __builtin_bswap32(value);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

inline void PutU64(std::string& out, std::uint64_t value) {
  value = __builtin_bswap64(value);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

/// Four bytes of length, then the bytes.
inline void PutBlob(std::string& out, std::string_view bytes) {
  PutU32(out, static_cast<std::uint32_t>(bytes.size()));
  out.append(bytes);
}

inline std::uint32_t GetU32(const char* from) {
  std::uint32_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap32(value);
}

inline std::uint64_t GetU64(const char* from) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap64(value);
}

/// Leaves room for a length of four bytes; EndLength fills in how much has been appended since.
inline std::size_t BeginLength(std::string& out) {
  const std::size_t at = out.size();
  out.append(4, '\0');
  return at;
}

inline void EndLength(std::string& out, std::size_t at) {
  const std::uint32_t length =
      __builtin_bswap32(static_cast<std::uint32_t>(out.size() - at - sizeof length));
  std::memcpy(&out[at], &length, sizeof length);
}

/// Reads from the front. What goes past the end reads as zero or empty and clears ok().
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  std::uint8_t U8() {
    const std::string_view taken = Bytes(1);
    return taken.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(taken[0]);
  }

  std::uint16_t U16() {
    const auto high = static_cast<unsigned>(U8());
    return static_cast<std::uint16_t>(high << 8U | U8());
  }

  std::uint32_t U32() {
    const std::string_view taken = Bytes(4);
    return taken.empty() ? 0 : GetU32(taken.data());
  }

  std::uint64_t U64() {
    const std::string_view taken = Bytes(8);
    return taken.empty() ? 0 : GetU64(taken.data());
  }

  std::string_view Blob() { return Bytes(U32()); }

  std::string_view Bytes(std::size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  [[nodiscard]] bool ok() const { return ok_; }

  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace conclave::bench
