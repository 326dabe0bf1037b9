// Header blocks of HTTP/2 (RFC 7541), the sending side: static names, the dynamic table, no
// Huffman.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace conclave::bench {

/// The table of one connection's sender. What has been sent once is afterwards one or two bytes, as
/// with the client libraries of gRPC.
class HpackEncoder {
 public:
  /// REQUIRES: the peer's SETTINGS_HEADER_TABLE_SIZE is not smaller.
  explicit HpackEncoder(std::size_t table_bytes_max = 4'096) : table_bytes_max_(table_bytes_max) {}

  /// Appends one header field and remembers it if it fits into the table.
  void Append(std::string& block, std::string_view name, std::string_view value);

  /// How many fields have ever been added: as long as it stays, a block that added nothing may be
  /// sent again as it is.
  [[nodiscard]] std::uint64_t additions() const { return additions_; }

  [[nodiscard]] std::size_t table_bytes() const { return table_bytes_; }

  /// RFC 7541 section 5.1: `first` holds the bits above the prefix.
  static void AppendInteger(std::string& block, std::uint8_t first, unsigned prefix_bits,
                            std::uint64_t value);

 private:
  struct Field {
    std::string name;
    std::string value;
  };

  void Remember(std::string_view name, std::string_view value);

  const std::size_t table_bytes_max_;
  std::deque<Field> table_;  // the newest first
  std::size_t table_bytes_ = 0;
  std::uint64_t additions_ = 0;
};

}  // namespace conclave::bench
