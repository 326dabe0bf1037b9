// Commands about the members and what they are told of: server structs on one side, Thrift's on the
// other. For peers and for operators.
#pragma once

#include <optional>
#include <string>

#include <conclave_idl/conclave_admin_types.h>
#include <conclave_idl/conclave_peer_types.h>
#include <tl/expected.hpp>

#include "coord/server/peer_transport.h"

namespace conclave::doors {

void Fill(idl::v1::PeerMessage& wire, const server::MemberRequest& message);
void Fill(idl::v1::PeerMessage& wire, const server::MemberAnswer& message);

// Nothing if a kind or a code is one that this build does not know.
[[nodiscard]] std::optional<server::PeerMessage> TakeMember(idl::v1::MemberRequest&& wire);
[[nodiscard]] std::optional<server::PeerMessage> TakeMember(idl::v1::MemberAnswer&& wire);

// The error names the field.
[[nodiscard]] tl::expected<server::MemberCommand, std::string> ChangeFromWire(
    const idl::v1::ChangeMemberRequest& wire);
[[nodiscard]] tl::expected<server::MemberCommand, std::string> TransferFromWire(
    const idl::v1::TransferLeaderRequest& wire);

// UNKNOWN: in no configuration.
[[nodiscard]] idl::v1::MemberKind::type KindToWire(std::optional<raft::MemberKind> kind);

}  // namespace conclave::doors
