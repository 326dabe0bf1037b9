// Messages of a snapshot transfer: the structs of the server on one side, Thrift's on the other.
// Private to the peer codec.
#pragma once

#include <optional>

#include <conclave_idl/conclave_peer_types.h>

#include "coord/server/peer_transport.h"

namespace conclave::doors {

void Fill(idl::v1::PeerMessage& wire, const server::SnapshotOffer& m);
void Fill(idl::v1::PeerMessage& wire, const server::SnapshotChunk& m);
void Fill(idl::v1::PeerMessage& wire, const server::SnapshotAck& m);

// Nothing if it holds what no correct peer sends: a configuration that cannot be read, an unknown
// state.
[[nodiscard]] std::optional<server::PeerMessage> Take(idl::v1::SnapshotOffer&& w);
[[nodiscard]] std::optional<server::PeerMessage> Take(idl::v1::SnapshotChunk&& w);
[[nodiscard]] std::optional<server::PeerMessage> Take(idl::v1::SnapshotAck&& w);

}  // namespace conclave::doors
