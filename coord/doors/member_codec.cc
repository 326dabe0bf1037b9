#include "coord/doors/member_codec.h"

#include <utility>

#include <fmt/format.h>

#include "thrift/wire/address.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;
using Kind = raft::ConfigChange::Kind;

idl::MemberChangeKind::type ChangeToWire(Kind kind) {
  switch (kind) {
    case Kind::kAddLearner:
      return idl::MemberChangeKind::ADD_LEARNER;
    case Kind::kAddObserver:
      return idl::MemberChangeKind::ADD_OBSERVER;
    case Kind::kPromote:
      return idl::MemberChangeKind::PROMOTE;
    case Kind::kRemove:
      return idl::MemberChangeKind::REMOVE;
    case Kind::kReadmit:
      return idl::MemberChangeKind::READMIT;
    case Kind::kUpdateAddress:
      return idl::MemberChangeKind::UPDATE_ADDRESS;
  }
  return idl::MemberChangeKind::UNKNOWN;
}

std::optional<Kind> KindFromWire(idl::MemberChangeKind::type kind) {
  switch (kind) {
    case idl::MemberChangeKind::ADD_LEARNER:
      return Kind::kAddLearner;
    case idl::MemberChangeKind::ADD_OBSERVER:
      return Kind::kAddObserver;
    case idl::MemberChangeKind::PROMOTE:
      return Kind::kPromote;
    case idl::MemberChangeKind::REMOVE:
      return Kind::kRemove;
    case idl::MemberChangeKind::READMIT:
      return Kind::kReadmit;
    case idl::MemberChangeKind::UPDATE_ADDRESS:
      return Kind::kUpdateAddress;
    default:
      return std::nullopt;
  }
}

std::int64_t Bits(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::uint64_t Bits(std::int64_t value) { return static_cast<std::uint64_t>(value); }

}  // namespace

void Fill(idl::PeerMessage& wire, const server::MemberRequest& message) {
  idl::MemberRequest w;
  w.requestId = Bits(message.request);
  if (const auto* change = std::get_if<raft::ConfigChange>(&message.command)) {
    w.kind = ChangeToWire(change->kind);
    w.memberId = Bits(change->id);
    w.peerAddress = change->peer_address;
  } else {
    const auto& transfer = std::get<server::LeaderTransfer>(message.command);
    w.kind = idl::MemberChangeKind::UNKNOWN;
    w.memberId = Bits(transfer.to);
    w.leader = Bits(transfer.from);
  }
  wire.__set_memberRequest(w);
}

std::optional<server::PeerMessage> TakeMember(idl::MemberRequest&& wire) {
  server::MemberRequest message;
  message.request = Bits(wire.requestId);
  if (wire.kind == idl::MemberChangeKind::UNKNOWN) {
    message.command = server::LeaderTransfer{.to = Bits(wire.memberId), .from = Bits(wire.leader)};
    return message;
  }
  const auto kind = KindFromWire(wire.kind);
  if (!kind) {
    return std::nullopt;
  }
  message.command = raft::ConfigChange{*kind, Bits(wire.memberId), std::move(wire.peerAddress)};
  return message;
}

void Fill(idl::PeerMessage& wire, const server::MemberAnswer& message) {
  idl::MemberAnswer w;
  w.requestId = Bits(message.request);
  w.code = static_cast<idl::ErrorCode::type>(message.code);
  w.message = message.message;
  w.configurationIndex = Bits(message.reply.configuration_index);
  w.changed = message.reply.changed;
  w.leader = Bits(message.reply.leader);
  wire.__set_memberAnswer(w);
}

std::optional<server::PeerMessage> TakeMember(idl::MemberAnswer&& wire) {
  const auto code = tree::CodeFromWire(wire.code);
  if (!code) {
    return std::nullopt;
  }
  server::MemberAnswer message;
  message.request = Bits(wire.requestId);
  message.code = *code;
  message.message = std::move(wire.message);
  message.reply.configuration_index = Bits(wire.configurationIndex);
  message.reply.changed = wire.changed;
  message.reply.leader = Bits(wire.leader);
  return message;
}

tl::expected<server::MemberCommand, std::string> ChangeFromWire(
    const idl::ChangeMemberRequest& wire) {
  const auto kind = KindFromWire(wire.kind);
  if (!kind) {
    return tl::unexpected(
        fmt::format("kind: {} is no change of the members", static_cast<int>(wire.kind)));
  }
  if (wire.id < 1) {
    return tl::unexpected(fmt::format("id: {} is not a member id: 1 and up", wire.id));
  }
  raft::ConfigChange change{*kind, Bits(wire.id), {}};
  const bool takes_address = *kind != Kind::kPromote && *kind != Kind::kRemove;
  if (takes_address && !(wire.peerAddress.empty() && *kind == Kind::kReadmit)) {
    const auto address = wire::ParseHostPort(wire.peerAddress);
    if (!address) {
      return tl::unexpected("peerAddress: " + address.error());
    }
    change.peer_address = address->ToString();
  }
  return change;
}

tl::expected<server::MemberCommand, std::string> TransferFromWire(
    const idl::TransferLeaderRequest& wire) {
  if (wire.to < 0) {
    return tl::unexpected(fmt::format("to: {} is not a member id: 1 and up, or 0", wire.to));
  }
  return server::LeaderTransfer{.to = Bits(wire.to), .from = 0};
}

idl::MemberKind::type KindToWire(std::optional<raft::MemberKind> kind) {
  if (!kind) {
    return idl::MemberKind::UNKNOWN;
  }
  switch (*kind) {
    case raft::MemberKind::kVoter:
      return idl::MemberKind::VOTER;
    case raft::MemberKind::kLearner:
      return idl::MemberKind::LEARNER;
    case raft::MemberKind::kObserver:
      return idl::MemberKind::OBSERVER;
  }
  return idl::MemberKind::UNKNOWN;
}

}  // namespace conclave::doors
