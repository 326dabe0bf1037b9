// A message between members, through the bytes that production sends.
#pragma once

#include <optional>

#include "coord/server/peer_transport.h"

namespace conclave::sim {

// The message as the other side would read it; nothing if it would not.
std::optional<server::PeerMessage> ThroughBytes(const server::PeerMessage& message);

}  // namespace conclave::sim
