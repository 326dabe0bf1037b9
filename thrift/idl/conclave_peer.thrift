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
  /** The caller holds entries, or has met a member that does. */
  9: bool clusterStarted,
  /** HOST:PORT where the caller takes its peers: how a member that does not know it dials back. */
  10: string peerAddress,
  /** Of the configuration in force at the caller; 0: it knows none. */
  11: i64 configurationIndex,
}

struct HelloReply {
  /** The version to speak: the highest that both can. */
  1: i32 version,
  2: i64 memberId,
  3: i64 incarnation,
  4: optional binary clusterId,
  5: i32 featureLevelMax,
  6: bool clusterStarted,
}

enum PeerErrorCode {
  UNKNOWN = 0,
  WRONG_CLUSTER_NAME = 1,
  WRONG_CLUSTER_ID = 2,
  /** The caller has dialled another member than it meant to. */
  WRONG_TARGET = 3,
  /** The caller's id is not in the configuration: it was removed, or has not been added yet. */
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

struct EntryId {
  1: i64 term,
  2: i64 index,
}

/** Asks for a vote or, with preVote, for the promise of one. Dissertation 3.4 and 9.6. */
struct RequestVote {
  /** The candidate's term; with preVote the one that it would campaign in. */
  1: i64 term,
  2: i64 lastLogIndex,
  3: i64 lastLogTerm,
  4: bool preVote,
  /** The candidate knows of no started cluster. An empty voter answers no other candidate. */
  5: bool bootstrap,
  /** The candidate's own. */
  6: i64 incarnation,
  /** The receiver's, as the candidate's configuration has it; 0: it has none. */
  7: i64 voterIncarnation,
  /** The leader told the candidate to campaign: granted although a leader is heard. */
  8: bool leadershipTransfer,
}

struct RequestVoteReply {
  1: i64 term,
  2: bool voteGranted,
  3: bool preVote,
  /** The voter's own. */
  4: i64 incarnation,
  /** The voter knows of a started cluster. */
  5: bool clusterStarted,
}

/** Replicates entries; without entries it is the heartbeat. Dissertation 3.5. */
struct AppendEntries {
  1: i64 term,
  2: i64 prevLogIndex,
  3: i64 prevLogTerm,
  /** Dense in index, starting at prevLogIndex + 1: `entry*` of persist/FORMAT.md, side by side. */
  4: binary entries,
  5: i64 leaderCommit,
  /** The round of leadership confirmation begun last; echoed. Dissertation 6.4. */
  6: i64 readRound,
  /** The receiver's incarnation as the leader's configuration has it, 0 if none. */
  7: i64 followerIncarnation,
}

struct AppendEntriesReply {
  1: i64 term,
  2: bool success,
  /** With success: the last entry known to be the leader's and durable here. */
  3: EntryId matched,
  /** Without success: the prevLogIndex that did not match, and the last own entry that can. */
  4: i64 rejectedIndex,
  5: EntryId hint,
  6: i64 readRound,
  7: i64 incarnation,
}

struct ReadIndexRequest {
  1: i64 term,
  /** Fresh for every request of the sender, also for a retry. */
  2: i64 requestId,
}

struct ReadIndexReply {
  1: i64 term,
  2: i64 requestId,
  /** False: the sender does not lead. */
  3: bool success,
  4: i64 readIndex,
}

/** The leader hands over: the receiver campaigns at once. Dissertation 3.10. */
struct TimeoutNow {
  /** The leader's. */
  1: i64 term,
}

/** Clients' writes on their way from the member that took them to the leader. */
struct Forward {
  /**
   * In the order in which the leader proposes them, side by side, each: an unsigned number of 64
   * bits that names it in a rejection, unique at the sender over its restarts; the length of the
   * rest, 32 bits (both little-endian); the encoded entry (coord/tree/FORMAT.md), not yet stamped
   * with time.
   */
  1: binary entries,
}

enum RejectReason {
  UNKNOWN = 0,
  NOT_LEADER = 1,
  OVERLOADED = 2,
  NO_SPACE = 3,
}

/** Not proposed, so not executed by this attempt. What was proposed is not answered at all. */
struct ForwardRejected {
  1: list<i64> requestIds,
  2: RejectReason reason,
  3: string message,
}

/** Sessions heard of at the sender since its last batch. */
struct TouchBatch {
  1: i64 batch,
  2: list<i64> sessions,
}

/** The leader had the batch, and a quorum round that it began afterwards has completed. */
struct TouchAck {
  1: i64 batch,
  /** Sessions of the batch that are over or about to be: their heartbeats are not confirmed. */
  2: list<i64> over,
}

/** The digest of the replicated state right after an index was applied. */
struct DigestReport {
  1: i64 index,
  2: i64 digest,
}

/** Whether the sender's disk takes what grows, and whether it takes anything. */
enum DiskRoom {
  PLENTY = 0,
  SHORT = 1,
  FULL = 2,
}

/**
 * What the sender is up to; sent once a second and when the role changes. For status pages, and to
 * send a client to a member that remembers further back.
 */
struct MemberReport {
  1: conclave_types.MemberRole role,
  2: i64 term,
  3: i64 commitIndex,
  4: i64 appliedIndex,
  /** 0: none known. */
  5: i64 leader,
  /** Changes after this one are remembered. */
  6: conclave_types.Cursor windowBegin,
  7: i32 featureLevelMax,
  8: DiskRoom room = DiskRoom.PLENTY,
  /** What is wrong with the sender, for people; empty: nothing. */
  9: string problem,
}

/** An operator's command about the members, on its way to the leader. */
struct MemberRequest {
  /** Names it in the answer; unique at the sender over its restarts. */
  1: i64 requestId,
  /** A change of the configuration; UNKNOWN: a transfer of leadership. */
  2: conclave_types.MemberChangeKind kind,
  /** Of the change; of a transfer: to whom, 0: the leader chooses. */
  3: i64 memberId,
  /** Of the change, if it has one. */
  4: string peerAddress,
  /** Of a transfer: who led when the operator asked. */
  5: i64 leader,
}

/** NOT_LEADER, UNAVAILABLE and UNKNOWN_OUTCOME: ask again. OK or another code: that is all. */
struct MemberAnswer {
  1: i64 requestId,
  2: conclave_types.ErrorCode code,
  3: string message,
  /** Of the entry that holds what was asked for; 0 for a transfer. */
  4: i64 configurationIndex,
  /** False: it was so already. */
  5: bool changed,
  6: i64 leader,
}

/** What the state at an entry says of the log up to there. */
struct SnapshotMeta {
  1: EntryId last,
  /** Of the entry `last`. */
  2: i64 chain,
  /** The entry that holds the configuration in force at `last`, and its content. */
  3: i64 configurationIndex,
  4: binary configuration,
}

/**
 * The sender, who leads, has this state for the receiver, whose log begins too early to be continued.
 * Answered with the position from which the receiver needs rows. Said again whenever one side may
 * have lost the thread.
 */
struct SnapshotOffer {
  1: i64 term,
  /** Names this attempt in chunks and acks. */
  2: i64 transfer,
  3: SnapshotMeta meta,
  /** Of the state; with meta.last it names the snapshot. */
  4: binary digest,
  /** Of the rows: how many, the bytes of their keys and values, the sum of their checksums. */
  5: i64 rows,
  6: i64 bytes,
  7: i64 sum,
}

/** Rows of the offered state, ascending by key, as persist/FORMAT.md encodes them. */
struct SnapshotChunk {
  1: i64 term,
  2: i64 transfer,
  /** The rows follow this key; empty: from the first row. */
  3: binary afterKey,
  4: binary rows,
  /** No row follows. */
  5: bool last,
  /** XXH3 of `rows`. */
  6: i64 checksum,
}

enum SnapshotState {
  UNKNOWN = 0,
  /** Durable through `position`: go on behind it. */
  STORED = 1,
  /** Complete, and being checked or installed. */
  VERIFYING = 2,
  /** The receiver stands at the offered index or beyond it. */
  INSTALLED = 3,
  /** Not wanted, or damaged; the message says why. */
  REFUSED = 4,
}

struct SnapshotAck {
  1: i64 transfer,
  2: SnapshotState state,
  3: binary position,
  4: string message,
}

/** Exactly one of the fields. One that the reader does not know reads as none and is ignored. */
union PeerMessage {
  1: RequestVote requestVote,
  2: RequestVoteReply requestVoteReply,
  3: AppendEntries appendEntries,
  4: AppendEntriesReply appendEntriesReply,
  5: ReadIndexRequest readIndexRequest,
  6: ReadIndexReply readIndexReply,
  16: TimeoutNow timeoutNow,
  7: Forward forward,
  8: ForwardRejected forwardRejected,
  9: TouchBatch touchBatch,
  10: TouchAck touchAck,
  11: DigestReport digestReport,
  12: MemberReport memberReport,
  13: SnapshotOffer snapshotOffer,
  14: SnapshotChunk snapshotChunk,
  15: SnapshotAck snapshotAck,
  20: MemberRequest memberRequest,
  21: MemberAnswer memberAnswer,
}

service Peer {
  HelloReply hello(1: Hello hello) throws (1: PeerError error),

  /** In order of sending. */
  oneway void deliver(1: list<PeerMessage> messages),
}
