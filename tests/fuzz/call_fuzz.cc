// Frames of clients and of peers, read by the generated code with the limits of the wire: they
// decode or end in Thrift's exceptions, and never cost more memory than they have bytes.
//
// The first byte chooses the struct, the rest is a message's body in binary or compact protocol.
#include <string>
#include <string_view>
#include <vector>

#include <conclave_idl/conclave_client_types.h>
#include <conclave_idl/conclave_peer_types.h>
#include <thrift/Thrift.h>

#include "tests/fuzz/fuzz.h"
#include "thrift/wire/protocol.h"

namespace conclave::fuzz {
namespace {

constexpr std::uint32_t kContainerSizeMax = 1024;

template <typename Struct>
std::string Encode(const Struct& value, wire::Protocol protocol) {
  wire::MessageWriter writer;
  value.write(&writer.Begin(protocol));
  return std::string(writer.bytes());
}

template <typename Struct>
void Decode(std::string_view bytes, wire::Protocol protocol) {
  wire::MessageReader reader(kContainerSizeMax);
  Struct value;
  try {
    value.read(&reader.Begin(bytes, protocol));
  } catch (const apache::thrift::TException&) {
    return;  // refused
  }
  // What was understood can be said again.
  const std::string again = Encode(value, protocol);
  Struct second;
  second.read(&reader.Begin(again, protocol));
  if (Encode(second, protocol) != again) {
    __builtin_trap();
  }
}

idl::v1::MultiRequest SeedMulti() {
  idl::v1::CreateRequest create;
  create.__set_path("/a");
  create.__set_data("value");
  idl::v1::Op op;
  op.__set_create(create);
  idl::v1::MultiRequest multi;
  multi.__set_ops({op, op});
  return multi;
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (const wire::Protocol protocol : {wire::Protocol::kBinary, wire::Protocol::kCompact}) {
    const char base = protocol == wire::Protocol::kBinary ? '\0' : '\x80';
    idl::v1::CreateRequest create;
    create.__set_path("/some/path");
    create.__set_data(std::string(100, 'v'));
    idl::v1::OpenRequest open;
    open.__set_timeoutMs(10'000);
    open.__set_nonce(std::string(16, 'n'));
    seeds.push_back(std::string(1, base) + Encode(create, protocol));
    seeds.push_back(std::string(1, static_cast<char>(base + 1)) + Encode(open, protocol));
    seeds.push_back(std::string(1, static_cast<char>(base + 2)) + Encode(SeedMulti(), protocol));
  }
  return seeds;
}

}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace idl = conclave::idl::v1;
  if (size < 2) {
    return 0;  // no frame is empty: the wire refuses it before
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto protocol = (data[0] & 0x80) == 0 ? conclave::wire::Protocol::kBinary
                                              : conclave::wire::Protocol::kCompact;
  switch (data[0] & 0x7f) {
    case 0:
      conclave::fuzz::Decode<idl::CreateRequest>(bytes, protocol);
      break;
    case 1:
      conclave::fuzz::Decode<idl::OpenRequest>(bytes, protocol);
      break;
    default:
      conclave::fuzz::Decode<idl::MultiRequest>(bytes, protocol);
      break;
  }
  return 0;
}
