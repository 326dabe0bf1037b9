#include "coord/doors/client_codec.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "coord/doors/member_codec.h"
#include "coord/doors/peer_codec.h"
#include "coord/doors/version.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;

// The numbers of the wire are those of the table of codes; a new code without its number in the
// contract does not compile.
#define CONCLAVE_SAME_CODE(name, wire) \
  static_assert(static_cast<int>(tree::Code::name) == static_cast<int>(idl::ErrorCode::wire))
CONCLAVE_SAME_CODE(kOk, OK);
CONCLAVE_SAME_CODE(kNoNode, NO_NODE);
CONCLAVE_SAME_CODE(kNodeExists, NODE_EXISTS);
CONCLAVE_SAME_CODE(kBadVersion, BAD_VERSION);
CONCLAVE_SAME_CODE(kNotEmpty, NOT_EMPTY);
CONCLAVE_SAME_CODE(kNoChildrenForEphemerals, NO_CHILDREN_FOR_EPHEMERALS);
CONCLAVE_SAME_CODE(kInvalidArgument, INVALID_ARGUMENT);
CONCLAVE_SAME_CODE(kNoAuth, NO_AUTH);
CONCLAVE_SAME_CODE(kTooLarge, TOO_LARGE);
CONCLAVE_SAME_CODE(kRuntimeInconsistency, RUNTIME_INCONSISTENCY);
CONCLAVE_SAME_CODE(kSequenceGap, SEQUENCE_GAP);
CONCLAVE_SAME_CODE(kNotSupported, NOT_SUPPORTED);
CONCLAVE_SAME_CODE(kReplyDropped, REPLY_DROPPED);
CONCLAVE_SAME_CODE(kRefused, REFUSED);
CONCLAVE_SAME_CODE(kNotLeader, NOT_LEADER);
CONCLAVE_SAME_CODE(kUnavailable, UNAVAILABLE);
CONCLAVE_SAME_CODE(kOverloaded, OVERLOADED);
CONCLAVE_SAME_CODE(kNoSpace, NO_SPACE);
CONCLAVE_SAME_CODE(kUnknownOutcome, UNKNOWN_OUTCOME);
CONCLAVE_SAME_CODE(kDeadlineExceeded, DEADLINE_EXCEEDED);
CONCLAVE_SAME_CODE(kSessionExpired, SESSION_EXPIRED);
CONCLAVE_SAME_CODE(kCorruption, CORRUPTION);
CONCLAVE_SAME_CODE(kInternal, INTERNAL);
#undef CONCLAVE_SAME_CODE

// Neither a bool field nor an absent one is told apart in a Thrift struct but by __isset.
template <typename Wire>
std::optional<std::string> TakeData(Wire& wire) {
  return wire.__isset.data ? std::optional<std::string>(std::move(wire.data)) : std::nullopt;
}

tree::CreateMode CreateModeFromWire(idl::CreateMode::type mode) {
  switch (mode) {
    case idl::CreateMode::UNKNOWN:
    case idl::CreateMode::PERSISTENT:
      return tree::CreateMode::kPersistent;
    case idl::CreateMode::EPHEMERAL:
      return tree::CreateMode::kEphemeral;
    case idl::CreateMode::PERSISTENT_SEQUENTIAL:
      return tree::CreateMode::kPersistentSequential;
    case idl::CreateMode::EPHEMERAL_SEQUENTIAL:
      return tree::CreateMode::kEphemeralSequential;
  }
  // Not a mode of this version: a value that apply refuses as such.
  return static_cast<tree::CreateMode>(0xff);
}

tl::expected<tree::WatchMode, BadRequest> WatchModeFromWire(idl::WatchMode::type mode) {
  if (mode < idl::WatchMode::DATA || mode > idl::WatchMode::PERSISTENT_RECURSIVE) {
    return tl::unexpected(
        fmt::format("mode: {} is no watch mode; use 1 to 5", static_cast<int>(mode)));
  }
  return static_cast<tree::WatchMode>(mode);
}

idl::OpResult OpResultToWire(const tree::OpResult& result) {
  idl::OpResult wire;
  wire.code = static_cast<idl::ErrorCode::type>(result.code);
  if (!result.path.empty()) {
    wire.__set_path(result.path);
  }
  if (result.stat.czxid != 0) {
    wire.__set_stat(StatToWire(result.stat));
  }
  if (!result.message.empty()) {
    wire.__set_message(result.message);
  }
  return wire;
}

}  // namespace

tl::expected<server::Caller, BadRequest> CallerFromWire(const idl::Ctx& ctx,
                                                        const std::string& identity,
                                                        std::int64_t waited_ms) {
  server::Caller caller;
  caller.session = ctx.session;
  if (ctx.session != 0) {
    const auto secret = Bytes16FromWire(ctx.secret, "ctx.secret");
    if (!secret) {
      return tl::unexpected(secret.error());
    }
    caller.secret = *secret;
  }
  caller.seq = ctx.seq;
  caller.acked_through = ctx.ackedThrough;
  caller.after_seq = ctx.afterSeq;
  caller.min_zxid = ctx.minZxid;
  if (ctx.deadlineMs < 0) {
    return tl::unexpected(fmt::format("ctx.deadlineMs: {} is negative", ctx.deadlineMs));
  }
  if (ctx.deadlineMs > 0) {
    caller.timeout_ms = std::max<std::int64_t>(1, ctx.deadlineMs - waited_ms);
  }
  if (ctx.__isset.clusterId) {
    const auto cluster = ClusterIdFromBytes(ctx.clusterId);
    if (!cluster) {
      return tl::unexpected(
          fmt::format("ctx.clusterId: {} bytes; a cluster id has 16", ctx.clusterId.size()));
    }
    caller.cluster = *cluster;
  }
  caller.no_events = ctx.noEvents;
  caller.identity = identity;
  return caller;
}

tl::expected<tree::Bytes16, BadRequest> Bytes16FromWire(const std::string& bytes,
                                                        const char* field) {
  tree::Bytes16 value{};
  if (bytes.size() != value.size()) {
    return tl::unexpected(fmt::format("{}: {} bytes; it must have 16", field, bytes.size()));
  }
  std::copy(bytes.begin(), bytes.end(), value.begin());
  return value;
}

std::string Bytes16ToWire(const tree::Bytes16& bytes) { return {bytes.begin(), bytes.end()}; }

tree::Create CreateFromWire(idl::CreateRequest wire) {
  return {std::move(wire.path), TakeData(wire), CreateModeFromWire(wire.mode)};
}

tree::SetData SetDataFromWire(idl::SetDataRequest wire) {
  return {std::move(wire.path), TakeData(wire), wire.expectedVersion};
}

tree::Delete RemoveFromWire(idl::RemoveRequest wire) {
  return {std::move(wire.path), wire.expectedVersion};
}

tl::expected<tree::Multi, BadRequest> MultiFromWire(idl::MultiRequest wire) {
  tree::Multi multi;
  multi.ops.reserve(wire.ops.size());
  for (idl::Op& op : wire.ops) {
    if (op.__isset.create) {
      multi.ops.emplace_back(CreateFromWire(std::move(op.create)));
    } else if (op.__isset.setData) {
      multi.ops.emplace_back(SetDataFromWire(std::move(op.setData)));
    } else if (op.__isset.remove) {
      multi.ops.emplace_back(RemoveFromWire(std::move(op.remove)));
    } else if (op.__isset.check) {
      multi.ops.emplace_back(tree::Check{std::move(op.check.path), op.check.expectedVersion});
    } else {
      return tl::unexpected(
          fmt::format("ops[{}]: none of create, setData, remove, check is set", multi.ops.size()));
    }
  }
  return multi;
}

tl::expected<server::ReadMode, BadRequest> ReadModeFromWire(idl::ReadMode::type mode) {
  switch (mode) {
    case idl::ReadMode::UNKNOWN:
    case idl::ReadMode::LINEARIZABLE:
      return server::ReadMode::kLinearizable;
    case idl::ReadMode::SESSION:
      return server::ReadMode::kSession;
    case idl::ReadMode::STALE:
      return server::ReadMode::kStale;
  }
  return tl::unexpected(
      fmt::format("mode: {} is no read mode; use 1 to 3", static_cast<int>(mode)));
}

tl::expected<server::ReadWatch, BadRequest> ReadWatchFromWire(const idl::ReadWatch& wire) {
  server::ReadWatch watch;
  watch.watch_id = wire.watchId;
  watch.with_value = wire.withValue;
  if (wire.mode != idl::WatchMode::UNKNOWN) {
    const auto mode = WatchModeFromWire(wire.mode);
    if (!mode) {
      return tl::unexpected("watch." + mode.error());
    }
    watch.mode = *mode;
  }
  return watch;
}

tl::expected<tree::Watch, BadRequest> WatchFromWire(const idl::WatchSpec& wire) {
  const auto mode = WatchModeFromWire(wire.mode);
  if (!mode) {
    return tl::unexpected("watch." + mode.error());
  }
  return tree::Watch{wire.watchId, wire.path, *mode, wire.withValue};
}

tree::Cursor CursorFromWire(const idl::Cursor& wire) { return {wire.zxid, wire.ordinal}; }

idl::Cursor CursorToWire(const tree::Cursor& cursor) {
  idl::Cursor wire;
  wire.zxid = cursor.zxid;
  wire.ordinal = cursor.ordinal;
  return wire;
}

idl::Stat StatToWire(const tree::Stat& stat) {
  idl::Stat wire;
  wire.czxid = stat.czxid;
  wire.mzxid = stat.mzxid;
  wire.pzxid = stat.pzxid;
  wire.ctimeMs = stat.ctime_ms;
  wire.mtimeMs = stat.mtime_ms;
  wire.version = stat.version;
  wire.cversion = stat.cversion;
  wire.aversion = stat.aversion;
  wire.ephemeralOwner = stat.ephemeral_owner;
  wire.dataLength = stat.data_length;
  wire.numChildren = stat.num_children;
  return wire;
}

idl::Change ChangeToWire(const tree::Event& event) {
  idl::Change wire;
  wire.type = static_cast<idl::EventType::type>(event.type);
  wire.path = std::string(event.path());
  wire.zxid = event.cursor.zxid;
  wire.ordinal = event.cursor.ordinal;
  const bool value =
      event.with_value && event.change != nullptr &&
      (event.type == tree::EventType::kCreated || event.type == tree::EventType::kDataChanged);
  wire.hasValue = value;
  if (value) {
    wire.__set_stat(StatToWire(event.change->stat));
    if (event.change->value->has_data()) {
      wire.__set_data(std::string(event.change->value->data()));
    }
  }
  return wire;
}

idl::Head HeadToWire(const server::ReplyHead& head) {
  idl::Head wire;
  wire.zxid = head.zxid;
  if (head.cluster != raft::ClusterId{}) {
    wire.clusterId = ClusterIdBytes(head.cluster);
  }
  wire.memberId = static_cast<std::int64_t>(head.member);
  wire.__isset.events = !head.events.empty();
  if (head.cursor) {
    wire.__set_cursor(CursorToWire(*head.cursor));
  }
  wire.resync = head.resync;
  if (head.confirmed_age_ms) {
    constexpr std::int64_t kAgeMax = INT32_MAX;
    wire.__set_confirmedAgeMs(static_cast<std::int32_t>(std::min(*head.confirmed_age_ms, kAgeMax)));
  }
  return wire;
}

idl::MultiResult MultiToWire(const tree::Reply& reply) {
  idl::MultiResult wire;
  wire.committed = reply.code == tree::Code::kOk;
  wire.results.reserve(reply.multi.size());
  for (const tree::OpResult& result : reply.multi) {
    wire.results.push_back(OpResultToWire(result));
  }
  return wire;
}

idl::CoordError ErrorToWire(const server::ReplyHead& head, const server::Failure& failure) {
  idl::CoordError wire;
  wire.code = static_cast<idl::ErrorCode::type>(failure.error.code);
  wire.message = failure.error.message.empty() ? std::string(TextOf(failure.error.code))
                                               : failure.error.message;
  wire.path = failure.error.path;
  wire.zxid = failure.error.zxid != 0 ? failure.error.zxid : head.zxid;
  wire.leaderHint = head.leader_address;
  wire.expectedSeq = failure.expected_seq;
  wire.memberId = static_cast<std::int64_t>(head.member);
  wire.__set_head(HeadToWire(head));
  return wire;
}

idl::MemberInfo MemberToWire(const server::Status& status, const server::MemberStatus& member) {
  idl::MemberInfo wire;
  wire.id = static_cast<std::int64_t>(member.id);
  wire.peerAddress = member.peer_address;
  wire.clientAddress = member.client_address;
  wire.adminAddress = member.admin_address;
  wire.reachable = member.connected;
  wire.kind = KindToWire(member.kind);
  wire.incarnation = static_cast<std::int64_t>(member.configured_incarnation);
  wire.problem = member.problem;
  if (member.self || member.reported) {
    wire.role = RoleToWire(member.role);
    wire.term = static_cast<std::int64_t>(member.term);
    wire.commitIndex = static_cast<std::int64_t>(member.commit_index);
    wire.appliedIndex = static_cast<std::int64_t>(member.applied_index);
  }
  if (member.self) {
    wire.leader = static_cast<std::int64_t>(status.leader);
    wire.version = kVersion;
    wire.__set_ageMs(0);
  }
  return wire;
}

}  // namespace conclave::doors
