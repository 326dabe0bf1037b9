#include "tests/sim/peer_bytes.h"

#include <exception>
#include <string>

#include "coord/doors/peer_codec.h"
#include "thrift/wire/protocol.h"

namespace conclave::sim {
namespace {

constexpr std::uint32_t kContainerMax = 1U << 20U;

}  // namespace

std::optional<server::PeerMessage> ThroughBytes(const server::PeerMessage& message) {
  try {
    wire::MessageWriter writer;
    doors::ToWire(message).write(&writer.Begin(wire::Protocol::kCompact));
    const std::string bytes(writer.bytes());
    wire::MessageReader reader(kContainerMax);
    idl::v1::PeerMessage read;
    read.read(&reader.Begin(bytes, wire::Protocol::kCompact));
    return doors::FromWire(std::move(read));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace conclave::sim
