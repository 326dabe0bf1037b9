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

service Operator extends conclave_client.Coord {
  /** Needs no session and no quorum. UNAVAILABLE while starting. */
  MemberStatusResult memberStatus(1: MemberStatusRequest request)
      throws (1: conclave_types.CoordError error),
}
