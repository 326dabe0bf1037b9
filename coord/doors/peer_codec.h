// Messages between members: the structs of consensus and server on one side, Thrift's on the other.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <conclave_idl/conclave_peer_types.h>

#include "coord/server/peer_transport.h"

namespace conclave::doors {

// Total: every message has a form on the wire.
[[nodiscard]] idl::v1::PeerMessage ToWire(const server::PeerMessage& message);

// Nothing if the union is empty (a message of a newer version, to be ignored) or holds what no
// correct peer sends (an unknown kind of entry, a missing EntryId). Takes the strings out of
// `wire`.
[[nodiscard]] std::optional<server::PeerMessage> FromWire(idl::v1::PeerMessage&& wire);

[[nodiscard]] idl::v1::MemberRole::type RoleToWire(server::MemberRole role);

// Cluster ids travel as 16 bytes, absent while they are all zero. A string of another length reads
// as nothing.
[[nodiscard]] std::string ClusterIdBytes(const raft::ClusterId& id);
[[nodiscard]] std::optional<raft::ClusterId> ClusterIdFromBytes(const std::string& bytes);

// 32 hexadecimal digits, as in server::Status; nothing if it is not that.
[[nodiscard]] std::optional<raft::ClusterId> ClusterIdFromHex(std::string_view digits);

[[nodiscard]] idl::v1::Hello HelloToWire(const server::PeerHello& self, raft::MemberId target);
[[nodiscard]] std::optional<server::PeerHello> HelloFromWire(const idl::v1::Hello& wire);
[[nodiscard]] idl::v1::HelloReply HelloReplyToWire(const server::PeerHello& self);
[[nodiscard]] std::optional<server::PeerHello> HelloReplyFromWire(const idl::v1::HelloReply& wire,
                                                                  const std::string& cluster_name);

}  // namespace conclave::doors
