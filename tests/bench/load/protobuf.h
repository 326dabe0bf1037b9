// Protocol buffers as bytes on the wire: enough for etcd's requests and answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::bench::protobuf {

void AppendVarint(std::string& out, std::uint64_t value);
/// Field with a number (wire type 0).
void AppendNumber(std::string& out, unsigned field, std::uint64_t value);
/// Field with bytes: string, bytes or a message (wire type 2).
void AppendBytes(std::string& out, unsigned field, std::string_view bytes);

struct Field {
  unsigned number = 0;
  std::uint64_t value = 0;  // of a number
  std::string_view bytes;   // of bytes
};

/// Takes the next field from the front. False at the end, and on what does not decode.
bool Next(std::string_view& message, Field& field);

/// The number in a field, or the last of them; 0 if it is absent.
std::uint64_t NumberIn(std::string_view message, unsigned field);
[[nodiscard]] bool Has(std::string_view message, unsigned field);

}  // namespace conclave::bench::protobuf
