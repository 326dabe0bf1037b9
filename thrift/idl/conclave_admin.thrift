/*
 * What operators call besides what applications call. Served on the client port: a client generated
 * from conclave_client.thrift alone works there too.
 */
include "conclave_types.thrift"
include "conclave_client.thrift"

namespace cpp conclave.idl.v1
namespace py conclave_idl.v1.admin
namespace java conclave.idl.v1
namespace go conclave.idl.v1.admin
namespace js conclave.idl.v1
namespace netstd Conclave.Idl.V1
namespace rb Conclave.Idl.V1

struct MemberStatusRequest {
}

/** The member that answers, in detail. */
struct MemberStatusResult {
  1: conclave_types.Head head,
  2: conclave_types.MemberInfo member,
  3: string clusterName,
  4: i64 incarnation,
  /** Log on disk: first and last index, bytes, and the bound at which writes are refused. */
  5: i64 logFirstIndex,
  6: i64 logLastIndex,
  7: i64 logBytes,
  8: i64 logBytesMax,
  /** The tree. */
  9: i64 znodes,
  10: i64 sessions,
  11: i64 watches,
  /** Digest of the replicated state at member.appliedIndex. */
  12: i64 digest,
  13: i32 featureLevel,
  14: i64 uptimeMs,
  /** Open client connections. */
  15: i64 connections,
}

struct ListMembersRequest {
}

/** The configuration in force, as fresh as a linearizable read. */
struct ListMembersResult {
  1: conclave_types.Head head,
  /** Index of the entry that holds it. */
  2: i64 configurationIndex,
  /** 0: none known. */
  3: i64 leader,
  /** In order of id. */
  4: list<conclave_types.MemberInfo> members,
  /** Committed here: what a learner has to reach. */
  5: i64 commitIndex,
}

struct ChangeMemberRequest {
  1: conclave_types.MemberChangeKind kind,
  2: i64 id,
  /** HOST:PORT, with ADD_LEARNER, ADD_OBSERVER, UPDATE_ADDRESS; with READMIT empty: as before. */
  3: string peerAddress,
  /** 0: the server's default for writes. */
  4: i32 timeoutMs,
}

struct ChangeMemberResult {
  1: conclave_types.Head head,
  /** Of the configuration that holds it, which is committed. */
  2: i64 configurationIndex,
  /** False: it was so already. */
  3: bool changed,
}

struct TransferLeaderRequest {
  /** 0: the leader chooses. */
  1: i64 to,
  2: i32 timeoutMs,
}

struct TransferLeaderResult {
  1: conclave_types.Head head,
  2: i64 leader,
  /** False: it led already. */
  3: bool changed,
}

service Operator extends conclave_client.Coord {
  /** Needs no session and no quorum. UNAVAILABLE while starting. */
  MemberStatusResult memberStatus(1: MemberStatusRequest request)
      throws (1: conclave_types.CoordError error),

  ListMembersResult listMembers(1: ListMembersRequest request)
      throws (1: conclave_types.CoordError error),

  /**
   * Any member passes it on to the leader. Repeating what is done already changes nothing and is no
   * error, so after UNKNOWN_OUTCOME it may simply be asked for again. Errors: REFUSED (it would
   * endanger the cluster), INVALID_ARGUMENT (no such member, a bad address), UNAVAILABLE (not
   * executed), UNKNOWN_OUTCOME.
   */
  ChangeMemberResult changeMember(1: ChangeMemberRequest request)
      throws (1: conclave_types.CoordError error),

  /** Likewise. */
  TransferLeaderResult transferLeader(1: TransferLeaderRequest request)
      throws (1: conclave_types.CoordError error),
}
