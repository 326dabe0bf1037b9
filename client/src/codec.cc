#include "client/src/codec.h"

#include <utility>

namespace conclave::internal {

// The library's table of codes mirrors the IDL's enumeration.
static_assert(static_cast<int>(Code::kOk) == idl::ErrorCode::OK);
static_assert(static_cast<int>(Code::kNoNode) == idl::ErrorCode::NO_NODE);
static_assert(static_cast<int>(Code::kNodeExists) == idl::ErrorCode::NODE_EXISTS);
static_assert(static_cast<int>(Code::kBadVersion) == idl::ErrorCode::BAD_VERSION);
static_assert(static_cast<int>(Code::kNotEmpty) == idl::ErrorCode::NOT_EMPTY);
static_assert(static_cast<int>(Code::kNoChildrenForEphemerals) ==
              idl::ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
static_assert(static_cast<int>(Code::kInvalidArgument) == idl::ErrorCode::INVALID_ARGUMENT);
static_assert(static_cast<int>(Code::kNoAuth) == idl::ErrorCode::NO_AUTH);
static_assert(static_cast<int>(Code::kTooLarge) == idl::ErrorCode::TOO_LARGE);
static_assert(static_cast<int>(Code::kRuntimeInconsistency) ==
              idl::ErrorCode::RUNTIME_INCONSISTENCY);
static_assert(static_cast<int>(Code::kSequenceGap) == idl::ErrorCode::SEQUENCE_GAP);
static_assert(static_cast<int>(Code::kNotSupported) == idl::ErrorCode::NOT_SUPPORTED);
static_assert(static_cast<int>(Code::kReplyDropped) == idl::ErrorCode::REPLY_DROPPED);
static_assert(static_cast<int>(Code::kRefused) == idl::ErrorCode::REFUSED);
static_assert(static_cast<int>(Code::kNotLeader) == idl::ErrorCode::NOT_LEADER);
static_assert(static_cast<int>(Code::kUnavailable) == idl::ErrorCode::UNAVAILABLE);
static_assert(static_cast<int>(Code::kOverloaded) == idl::ErrorCode::OVERLOADED);
static_assert(static_cast<int>(Code::kNoSpace) == idl::ErrorCode::NO_SPACE);
static_assert(static_cast<int>(Code::kUnknownOutcome) == idl::ErrorCode::UNKNOWN_OUTCOME);
static_assert(static_cast<int>(Code::kDeadlineExceeded) == idl::ErrorCode::DEADLINE_EXCEEDED);
static_assert(static_cast<int>(Code::kSessionExpired) == idl::ErrorCode::SESSION_EXPIRED);
static_assert(static_cast<int>(Code::kCorruption) == idl::ErrorCode::CORRUPTION);
static_assert(static_cast<int>(Code::kInternal) == idl::ErrorCode::INTERNAL);

Stat FromIdl(const idl::Stat& stat) {
  return Stat{.czxid = stat.czxid,
              .mzxid = stat.mzxid,
              .pzxid = stat.pzxid,
              .ctime_ms = stat.ctimeMs,
              .mtime_ms = stat.mtimeMs,
              .version = stat.version,
              .cversion = stat.cversion,
              .aversion = stat.aversion,
              .ephemeral_owner = stat.ephemeralOwner,
              .data_length = stat.dataLength,
              .num_children = stat.numChildren};
}

bool FromIdl(const idl::Change& change, Event& event) {
  switch (change.type) {
    case idl::EventType::CREATED:
      event.type = EventType::kCreated;
      break;
    case idl::EventType::DELETED:
      event.type = EventType::kDeleted;
      break;
    case idl::EventType::DATA_CHANGED:
      event.type = EventType::kDataChanged;
      break;
    case idl::EventType::CHILDREN_CHANGED:
      event.type = EventType::kChildrenChanged;
      break;
    default:
      return false;
  }
  event.path = change.path;
  event.cursor = {.zxid = change.zxid, .ordinal = change.ordinal};
  event.has_value = change.hasValue;
  if (change.__isset.data) {
    event.data = change.data;
  }
  if (change.__isset.stat) {
    event.stat = FromIdl(change.stat);
  }
  return true;
}

Code CodeFromIdl(int code) {
  switch (code) {
#define CONCLAVE_KNOWN_CODE(name, number, action, text) \
  case number:                                          \
    return Code::name;
    CONCLAVE_CLIENT_CODES(CONCLAVE_KNOWN_CODE)
#undef CONCLAVE_KNOWN_CODE
    default:
      break;
  }
  if (code > 0 && code < 20) {
    return Code::kNotSupported;
  }
  if (code >= 20 && code < 30) {
    return Code::kUnavailable;
  }
  if (code >= 30 && code < 40) {
    return Code::kOverloaded;
  }
  if (code >= 40 && code < 50) {
    return Code::kUnknownOutcome;
  }
  return code >= 50 && code < 60 ? Code::kSessionExpired : Code::kInternal;
}

Error FromIdl(const idl::CoordError& error) {
  Code code = CodeFromIdl(error.code);
  if (code == Code::kOk) {
    code = Code::kInternal;  // An error that says "no error" is a defect of the member.
  }
  return Error{.code = code,
               .message = error.message,
               .path = error.path,
               .zxid = error.zxid,
               .op_index = -1};
}

MemberStatus FromIdl(const idl::MemberInfo& info) {
  MemberStatus member;
  member.id = static_cast<std::uint64_t>(info.id);
  switch (info.role) {
    case idl::MemberRole::LEADER:
      member.role = "leader";
      break;
    case idl::MemberRole::FOLLOWER:
      member.role = "follower";
      break;
    case idl::MemberRole::CANDIDATE:
      member.role = "candidate";
      break;
    case idl::MemberRole::LEARNER:
      member.role = "learner";
      break;
    default:
      break;
  }
  member.term = info.term;
  member.commit_index = info.commitIndex;
  member.applied_index = info.appliedIndex;
  member.peer_address = info.peerAddress;
  member.client_address = info.clientAddress;
  member.admin_address = info.adminAddress;
  member.version = info.version;
  member.reachable = info.reachable;
  switch (info.kind) {
    case idl::MemberKind::VOTER:
      member.kind = "voter";
      break;
    case idl::MemberKind::LEARNER:
      member.kind = "learner";
      break;
    case idl::MemberKind::OBSERVER:
      member.kind = "observer";
      break;
    default:
      break;
  }
  member.incarnation = static_cast<std::uint64_t>(info.incarnation);
  member.problem = info.problem;
  if (info.__isset.ageMs) {
    member.age = std::chrono::milliseconds(info.ageMs);
  }
  return member;
}

ClusterStatus FromIdl(const idl::ClusterStatusResult& result) {
  ClusterStatus status;
  status.cluster_name = result.clusterName;
  status.cluster_id = result.head.clusterId;
  status.answered_by = static_cast<std::uint64_t>(result.head.memberId);
  status.leader = static_cast<std::uint64_t>(result.leader);
  for (const idl::MemberInfo& info : result.members) {
    status.members.push_back(FromIdl(info));
  }
  return status;
}

MemberList FromIdl(const idl::ListMembersResult& result) {
  MemberList list;
  list.configuration_index = result.configurationIndex;
  list.leader = static_cast<std::uint64_t>(result.leader);
  list.commit_index = result.commitIndex;
  for (const idl::MemberInfo& info : result.members) {
    list.members.push_back(FromIdl(info));
  }
  return list;
}

idl::CreateMode::type ToIdl(CreateMode mode) {
  switch (mode) {
    case CreateMode::kPersistent:
      return idl::CreateMode::PERSISTENT;
    case CreateMode::kEphemeral:
      return idl::CreateMode::EPHEMERAL;
    case CreateMode::kPersistentSequential:
      return idl::CreateMode::PERSISTENT_SEQUENTIAL;
    case CreateMode::kEphemeralSequential:
      return idl::CreateMode::EPHEMERAL_SEQUENTIAL;
  }
  return idl::CreateMode::UNKNOWN;
}

idl::ReadMode::type ToIdl(ReadMode mode) {
  switch (mode) {
    case ReadMode::kLinearizable:
      return idl::ReadMode::LINEARIZABLE;
    case ReadMode::kSession:
      return idl::ReadMode::SESSION;
    case ReadMode::kStale:
      return idl::ReadMode::STALE;
  }
  return idl::ReadMode::UNKNOWN;
}

idl::WatchMode::type ToIdl(WatchMode mode) {
  switch (mode) {
    case WatchMode::kDataOnce:
      return idl::WatchMode::DATA;
    case WatchMode::kExistsOnce:
      return idl::WatchMode::EXIST;
    case WatchMode::kChildrenOnce:
      return idl::WatchMode::CHILD;
    case WatchMode::kPersistent:
      return idl::WatchMode::PERSISTENT;
    case WatchMode::kPersistentRecursive:
      return idl::WatchMode::PERSISTENT_RECURSIVE;
  }
  return idl::WatchMode::UNKNOWN;
}

idl::Cursor ToIdl(const Cursor& cursor) {
  idl::Cursor result;
  result.__set_zxid(cursor.zxid);
  result.__set_ordinal(cursor.ordinal);
  return result;
}

idl::CreateRequest MakeCreate(std::string path, Data data, CreateMode mode) {
  idl::CreateRequest request;
  request.path = std::move(path);
  request.__isset.path = true;
  if (data) {
    request.data = std::move(*data);
    request.__isset.data = true;
  }
  request.__set_mode(ToIdl(mode));
  return request;
}

idl::SetDataRequest MakeSet(std::string path, Data data, std::int32_t version) {
  idl::SetDataRequest request;
  request.path = std::move(path);
  request.__isset.path = true;
  if (data) {
    request.data = std::move(*data);
    request.__isset.data = true;
  }
  request.__set_expectedVersion(version);
  return request;
}

idl::RemoveRequest MakeRemove(std::string path, std::int32_t version) {
  idl::RemoveRequest request;
  request.path = std::move(path);
  request.__isset.path = true;
  request.__set_expectedVersion(version);
  return request;
}

idl::Op ToIdl(Op op) {
  idl::Op result;
  switch (op.kind) {
    case Op::Kind::kCreate:
      result.__set_create(MakeCreate(std::move(op.path), std::move(op.data), op.mode));
      break;
    case Op::Kind::kSet:
      result.__set_setData(MakeSet(std::move(op.path), std::move(op.data), op.version));
      break;
    case Op::Kind::kRemove:
      result.__set_remove(MakeRemove(std::move(op.path), op.version));
      break;
    case Op::Kind::kCheck: {
      idl::CheckRequest check;
      check.__set_path(op.path);
      check.__set_expectedVersion(op.version);
      result.__set_check(check);
      break;
    }
  }
  return result;
}

Result<MultiResult> FromIdl(idl::MultiResult&& result) {
  MultiResult converted;
  converted.zxid = result.head.zxid;
  std::int32_t index = 0;
  for (idl::OpResult& op : result.results) {
    const Code code = CodeFromIdl(op.code);
    if (!result.committed && code != Code::kOk && code != Code::kRuntimeInconsistency) {
      return Error{.code = code,
                   .message = op.message.empty() ? std::string(CodeText(code)) : op.message,
                   .path = op.path,
                   .zxid = result.head.zxid,
                   .op_index = index};
    }
    converted.results.push_back({code, std::move(op.path), FromIdl(op.stat)});
    ++index;
  }
  if (!result.committed) {
    return Error{.code = Code::kInternal,
                 .message = "a multi failed without saying why",
                 .path = {},
                 .zxid = result.head.zxid,
                 .op_index = -1};
  }
  return converted;
}

}  // namespace conclave::internal
