/*
 * What members say to each other, on the peer port.
 *
 * Each member dials each other one, says hello, and then sends its own messages on that connection
 * in one-way batches; what the other has to say comes on the connection that the other dialled. A
 * batch on a connection that has not said hello closes it. Messages may be lost with a connection,
 * and none is repeated by this layer: Raft and the requests' own retries do that.
 *
 * Members ids, terms, indexes, incarnations, chains and digests are unsigned 64-bit numbers carried
 * in an i64 bit for bit.
 */
include "conclave_types.thrift"

namespace cpp conclave.idl.v1
namespace py conclave_idl.v1.peer
namespace java conclave.idl.v1
namespace go conclave.idl.v1.peer
namespace js conclave.idl.v1
namespace netstd Conclave.Idl.V1
namespace rb Conclave.Idl.V1

struct Hello {
  /** 16 bytes; absent while the member does not know of a started cluster. */
  1: optional binary clusterId,
  2: string clusterName,
  3: i64 memberId,
  /** Drawn when the data directory was made. */
  4: i64 incarnation,
  /** Versions of this protocol that the caller speaks. */
  5: i32 versionMin,
  6: i32 versionMax,
  /** The member that the caller believes it has dialled. */
  7: i64 targetMemberId,
  /** The highest feature level that the caller can run. */
  8: i32 featureLevelMax,
}

struct HelloReply {
  /** The version to speak: the highest that both can. */
  1: i32 version,
  2: i64 memberId,
  3: i64 incarnation,
  4: optional binary clusterId,
  5: i32 featureLevelMax,
}

enum PeerErrorCode {
  UNKNOWN = 0,
  WRONG_CLUSTER_NAME = 1,
  WRONG_CLUSTER_ID = 2,
  /** The caller has dialled another member than it meant to. */
  WRONG_TARGET = 3,
  /** The caller's id is not in the configuration. */
  UNKNOWN_MEMBER = 4,
  /** The id is known with another incarnation: the data directory was lost or swapped. */
  WRONG_INCARNATION = 5,
  /** No version in common. */
  VERSION = 6,
  /** The id is that of the member called. */
  DUPLICATE_ID = 7,
}

/** The hello was refused; the connection is closed after it. */
exception PeerError {
  1: PeerErrorCode code,
  2: string message,
}

enum LogEntryKind {
  UNKNOWN = 0,
  NOOP = 1,
  CONFIG = 2,
  COMMAND = 3,
}

struct EntryId {
  1: i64 term,
  2: i64 index,
}

struct LogEntry {
  1: i64 term,
  2: i64 index,
  3: LogEntryKind kind,
  /** Hash over the entry and the chain of the entry before it. */
  4: i64 chain,
  5: binary data,
}

/** Raft, and the pre-vote that asks without raising the term. */
struct RequestVote {
  1: i64 term,
  2: i64 lastLogIndex,
  3: i64 lastLogTerm,
  4: bool preVote,
  /** The candidate is empty and the cluster is being started (it may only win over empty voters). */
  5: bool bootstrap,
}

struct RequestVoteReply {
  1: i64 term,
  2: bool voteGranted,
  3: bool preVote,
  4: bool bootstrap,
}

struct AppendEntries {
  1: i64 term,
  2: i64 prevLogIndex,
  3: i64 prevLogTerm,
  /** Empty: a heartbeat. Dense in index, starting at prevLogIndex + 1. */
  4: list<LogEntry> entries,
  5: i64 leaderCommit,
  /** The newest ReadIndex round that this message also asks to confirm; 0: none. */
  6: i64 readRound,
  7: i64 prevLogChain,
}

struct AppendEntriesReply {
  1: i64 term,
  2: bool success,
  /** With success: the last entry now durable and known to agree. */
  3: EntryId matched,
  /** Without success: where the leader should look next. */
  4: EntryId conflict,
  5: i64 readRound,
  /** Last index of the follower's log. */
  6: i64 lastLogIndex,
}

struct ReadIndexRequest {
  /** Fresh for every request of the sender. */
  1: i64 requestId,
}

struct ReadIndexReply {
  1: i64 requestId,
  2: i64 index,
  /** False: the sender is no confirmed leader. */
  3: bool success,
  4: i64 term,
}

/** A client's write on its way from the member that took it to the leader. */
struct Forward {
  /** Fresh for every forwarded write of the sender; names it in the entry and in a rejection. */
  1: i64 requestId,
  /** The encoded entry, not yet stamped with time. */
  2: binary entry,
}

/** Not proposed, so not executed by this attempt. */
struct ForwardRejected {
  1: i64 requestId,
  2: conclave_types.ErrorCode code,
  3: string message,
  /** The leader, if known; else 0. */
  4: i64 leader,
}

struct SessionTouch {
  1: i64 session,
  /** Age of the newest sign of life when the batch was sent. */
  2: i32 ageMs,
}

/** Sessions heard of at the sender since its last batch. */
struct TouchBatch {
  1: i64 batchId,
  2: list<SessionTouch> touches,
}

/** The leader has counted batches up to this one and has since confirmed that it leads. */
struct TouchAck {
  1: i64 batchId,
  2: i64 term,
}

/** The digest of the replicated state right after an index was applied. */
struct DigestReport {
  1: i64 index,
  2: i64 digest,
  /** Version of the digest's definition. */
  3: i32 version,
}

/** What the sender is up to; sent when it changes and at least once a second. */
struct MemberStatus {
  1: conclave_types.MemberInfo info,
  /** Start of the window of changes that the sender remembers. */
  2: conclave_types.Cursor windowStart,
  3: i32 featureLevelMax,
}

/** Exactly one of the fields. One that the reader does not know reads as none and is ignored. */
union PeerMessage {
  1: RequestVote requestVote,
  2: RequestVoteReply requestVoteReply,
  3: AppendEntries appendEntries,
  4: AppendEntriesReply appendEntriesReply,
  5: ReadIndexRequest readIndexRequest,
  6: ReadIndexReply readIndexReply,
  7: Forward forward,
  8: ForwardRejected forwardRejected,
  9: TouchBatch touchBatch,
  10: TouchAck touchAck,
  11: DigestReport digestReport,
  12: MemberStatus memberStatus,
}

service Peer {
  HelloReply hello(1: Hello hello) throws (1: PeerError error),

  /** In order of sending. */
  oneway void deliver(1: list<PeerMessage> messages),
}
