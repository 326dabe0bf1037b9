// Bytes from a socket: however they are cut into chunks, the same frames come out, and no more
// memory is held than was received.
//
// The first byte says how large the chunks are.
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "thrift/wire/frame_buffer.h"

namespace conclave::fuzz {
namespace {

constexpr std::uint32_t kFrameBytesMax = 256;

std::string Frame(const std::string& payload) {
  std::string frame(wire::kFrameHeaderBytes, '\0');
  wire::EncodeFrameHeader(static_cast<std::uint32_t>(payload.size()), frame.data());
  return frame + payload;
}

// What comes out, as text: kind and bytes of each item up to the end or a refusal.
std::vector<std::string> Read(std::string_view bytes, std::size_t chunk_bytes) {
  std::vector<std::string> items;
  wire::FrameReader reader(kFrameBytesMax);
  for (std::size_t at = 0; at < bytes.size(); at += chunk_bytes) {
    const std::string chunk(bytes.substr(at, chunk_bytes));
    reader.Append(chunk);
    while (true) {
      const wire::FrameReader::Item item = reader.Next();
      if (item.kind == wire::FrameReader::Kind::kNeedMore) {
        break;
      }
      items.push_back(std::to_string(static_cast<int>(item.kind)) +
                      (item.kind == wire::FrameReader::Kind::kFrame
                           ? std::string(item.bytes)
                           : std::to_string(item.declared_bytes)));
      if (item.kind == wire::FrameReader::Kind::kRefused) {
        return items;
      }
    }
    reader.Retain();
    if (reader.capacity() > 4 * (kFrameBytesMax + bytes.size() + chunk_bytes)) {
      __builtin_trap();
    }
  }
  return items;
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string binary("\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x01\x00", 17);
  const std::string compact("\x82\x21\x01\x04ping\x00", 9);
  const std::string large = Frame(binary + std::string(kFrameBytesMax, 'x'));
  return {"\x01" + Frame(binary),          "\x07" + Frame(binary) + Frame(compact),
          "\x10" + large + Frame(compact), "\x03" + Frame(""),
          "\x05GET / HTTP/1.1\r\n\r\n",    std::string("\x02\x7f\xff\xff\xff\x80\x01", 7)};
}

}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) {
    return 0;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (conclave::fuzz::Read(bytes, bytes.size()) !=
      conclave::fuzz::Read(bytes, std::size_t{data[0]} + 1)) {
    __builtin_trap();
  }
  return 0;
}
