// What clients send and get: the structs of coord/server/api.h on one side, Thrift's on the other.
#pragma once

#include <cstdint>
#include <string>

#include <conclave_idl/conclave_admin_types.h>
#include <conclave_idl/conclave_client_types.h>
#include <tl/expected.hpp>

#include "coord/server/api.h"
#include "coord/server/status.h"

namespace conclave::doors {

// A request that cannot even be handed on: which field, what it has, what is allowed.
using BadRequest = std::string;

// `waited_ms`: how long the call has waited since its frame was complete; taken off its deadline.
[[nodiscard]] tl::expected<server::Caller, BadRequest> CallerFromWire(const idl::v1::Ctx& ctx,
                                                                      const std::string& identity,
                                                                      std::int64_t waited_ms);

[[nodiscard]] tl::expected<tree::Bytes16, BadRequest> Bytes16FromWire(const std::string& bytes,
                                                                      const char* field);
[[nodiscard]] std::string Bytes16ToWire(const tree::Bytes16& bytes);

// Writes. A mode that does not exist passes through: apply judges it (rule 8).
[[nodiscard]] tree::Create CreateFromWire(idl::v1::CreateRequest wire);
[[nodiscard]] tree::SetData SetDataFromWire(idl::v1::SetDataRequest wire);
[[nodiscard]] tree::Delete RemoveFromWire(idl::v1::RemoveRequest wire);
[[nodiscard]] tl::expected<tree::Multi, BadRequest> MultiFromWire(idl::v1::MultiRequest wire);

// Reads and watches.
[[nodiscard]] tl::expected<server::ReadMode, BadRequest> ReadModeFromWire(
    idl::v1::ReadMode::type mode);
[[nodiscard]] tl::expected<server::ReadWatch, BadRequest> ReadWatchFromWire(
    const idl::v1::ReadWatch& wire);
[[nodiscard]] tl::expected<tree::Watch, BadRequest> WatchFromWire(const idl::v1::WatchSpec& wire);
[[nodiscard]] tree::Cursor CursorFromWire(const idl::v1::Cursor& wire);
[[nodiscard]] idl::v1::Cursor CursorToWire(const tree::Cursor& cursor);

[[nodiscard]] idl::v1::Stat StatToWire(const tree::Stat& stat);
/// Says that there are events, but does not hold them: they are written by an EventEncoder::List.
[[nodiscard]] idl::v1::Head HeadToWire(const server::ReplyHead& head);
[[nodiscard]] idl::v1::Change ChangeToWire(const tree::Event& event);
[[nodiscard]] idl::v1::MultiResult MultiToWire(const tree::Reply& reply);
[[nodiscard]] idl::v1::CoordError ErrorToWire(const server::ReplyHead& head,
                                              const server::Failure& failure);

[[nodiscard]] idl::v1::MemberInfo MemberToWire(const server::Status& status,
                                               const server::MemberStatus& member);

}  // namespace conclave::doors
