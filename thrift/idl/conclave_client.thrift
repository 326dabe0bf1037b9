/*
 * What applications call. Any member takes any call.
 *
 * A typical session: openSession; writes with ctx.seq 1, 2, 3, ...; reads; one or two parked polls
 * for events, which are the heartbeat too; closeSession. A client that pipelines calls on one
 * connection gets the replies in any order, told apart by Thrift's seqid; a client that sends one
 * call at a time needs a second connection for the parked poll.
 */
include "conclave_types.thrift"

namespace cpp conclave.idl.v1
namespace py conclave_idl.v1.client
namespace java conclave.idl.v1
namespace go conclave.idl.v1.client
namespace js conclave.idl.v1
namespace netstd Conclave.Idl.V1
namespace rb Conclave.Idl.V1

/** How fresh a read has to be. */
enum ReadMode {
  /** As LINEARIZABLE. */
  UNKNOWN = 0,
  /** Sees every write that any client had been told of when the call was sent. */
  LINEARIZABLE = 1,
  /** Local; never older than what ctx.minZxid and ctx.afterSeq say. */
  SESSION = 2,
  /** Local, whatever this member has applied; the reply's zxid says how old. */
  STALE = 3,
}

enum CreateMode {
  /** As PERSISTENT. */
  UNKNOWN = 0,
  PERSISTENT = 1,
  /** Removed with the session. Has no children. */
  EPHEMERAL = 2,
  /** The server appends a ten-digit number, rising per parent, to the path. */
  PERSISTENT_SEQUENTIAL = 3,
  EPHEMERAL_SEQUENTIAL = 4,
}

/** Also register a watch, atomically with the read that it is part of. */
struct ReadWatch {
  /** Chosen by the client, unique in its session, 1 to 2^53 - 1. */
  1: i64 watchId,
  /** UNKNOWN: the one-shot watch that fits the call: DATA, EXIST or CHILD. */
  2: conclave_types.WatchMode mode,
  /** Events carry Stat and data of the znode. */
  3: bool withValue,
}

struct WatchSpec {
  /** Chosen by the client, unique in its session, 1 to 2^53 - 1. A known id is replaced. */
  1: i64 watchId,
  2: string path,
  3: conclave_types.WatchMode mode,
  4: bool withValue,
  /**
   * In resumeWatches: the watch tells of changes after this one (head.zxid of the reply that
   * registered it, with the largest ordinal). Absent or before the cursor: after the cursor.
   */
  5: optional conclave_types.Cursor since,
}

struct OpenRequest {
  /** Wished session timeout; the server moves it into its range (default 1,000 to 600,000 ms). */
  1: i32 timeoutMs,
  /** 16 random bytes. Repeating an open with the same nonce answers with the same session. */
  2: binary nonce,
  /** Shown to operators, at most 128 bytes. */
  3: string clientName,
}

struct OpenResult {
  1: conclave_types.Head head,
  /** Also the zxid of the entry that opened it. */
  2: i64 session,
  /** 16 bytes; needed with every call, at any member. Keep it as you would a password. */
  3: binary secret,
  /** The timeout in force. */
  4: i32 timeoutMs,
}

struct CloseResult {
  1: conclave_types.Head head,
}

struct TakeOverResult {
  1: conclave_types.Head head,
  /** The number of the session's next write. */
  2: i64 nextSeq,
}

struct CreateRequest {
  1: string path,
  /** At most 1 MiB. Absent: null, which is not the same as empty. */
  2: optional binary data,
  3: CreateMode mode,
}

struct CreateResult {
  1: conclave_types.Head head,
  /** The path made; of a sequential znode with its number. */
  2: string path,
  3: conclave_types.Stat stat,
}

struct SetDataRequest {
  1: string path,
  2: optional binary data,
  /** The version that the znode must have; -1: any. Error: BAD_VERSION. */
  3: i32 expectedVersion = -1,
}

struct SetDataResult {
  1: conclave_types.Head head,
  2: conclave_types.Stat stat,
}

struct RemoveRequest {
  1: string path,
  2: i32 expectedVersion = -1,
}

struct RemoveResult {
  1: conclave_types.Head head,
}

struct GetRequest {
  1: string path,
  2: ReadMode mode,
  /** Registered only if the znode exists. */
  3: optional ReadWatch watch,
}

struct GetResult {
  1: conclave_types.Head head,
  /** Absent: null. */
  2: optional binary data,
  3: conclave_types.Stat stat,
}

struct ExistsRequest {
  1: string path,
  2: ReadMode mode,
  /** Registered whether the znode exists or not. */
  3: optional ReadWatch watch,
}

struct ExistsResult {
  1: conclave_types.Head head,
  /** Absent: there is no such znode. */
  2: optional conclave_types.Stat stat,
}

struct ChildrenRequest {
  1: string path,
  2: ReadMode mode,
  /** Registered only if the znode exists, and only with the first page (`after` empty). */
  3: optional ReadWatch watch,
  /** Names that come after this one, in byte order; empty: from the first. */
  4: string after,
  /** At most so many names, 1 to 10,000; 0: 10,000. */
  5: i32 countMax,
  /** At most so many bytes of names, up to 1 MiB; 0: 1 MiB. At least one name is returned. */
  6: i32 bytesMax,
}

struct ChildrenResult {
  1: conclave_types.Head head,
  /** Names, without the path, in byte order. */
  2: list<string> names,
  /** Of the znode `path`, at head.zxid. Pages of one listing may be of different states. */
  3: conclave_types.Stat stat,
  /** True: there are more names; ask again with `after` = the last one. */
  4: bool more,
}

/** Fails the multi unless the znode exists with this version (-1: any). */
struct CheckRequest {
  1: string path,
  2: i32 expectedVersion = -1,
}

/** One operation of a multi: exactly one of the fields. */
union Op {
  1: CreateRequest create,
  2: SetDataRequest setData,
  3: RemoveRequest remove,
  4: CheckRequest check,
}

struct MultiRequest {
  /** 1 to 1,000 operations, all or none, as one change with one zxid. */
  1: list<Op> ops,
}

struct OpResult {
  /**
   * OK for all, or no operation has had an effect: then the failed one has its error, those before
   * it OK, those after it RUNTIME_INCONSISTENCY.
   */
  1: conclave_types.ErrorCode code,
  /** Of a create: the path made. */
  2: optional string path,
  /** Of a create and a setData: the state after this operation. */
  3: optional conclave_types.Stat stat,
  /** Of a failed operation: for people. */
  4: optional string message,
}

struct MultiResult {
  1: conclave_types.Head head,
  2: bool committed,
  3: list<OpResult> results,
}

struct AddWatchRequest {
  1: WatchSpec watch,
  /**
   * Also tell of matching changes after this cursor. A one-shot watch then fires for the first of
   * them. Absent: from now on.
   */
  2: optional conclave_types.Cursor since,
}

struct AddWatchResult {
  /** head.zxid: the watch tells of all changes after this one, or after `since`. */
  1: conclave_types.Head head,
}

struct RemoveWatchRequest {
  1: i64 watchId,
}

struct RemoveWatchResult {
  1: conclave_types.Head head,
  /** False: there was no such watch (a one-shot one may just have fired). */
  2: bool removed,
}

struct ResumeWatchesRequest {
  /** At most 10,000 in one call; call again for more, with the same cursor. */
  1: list<WatchSpec> watches,
  /** The last change whose events have been taken. */
  2: conclave_types.Cursor cursor,
  /** True: forget every watch of the session at this member that is not in the list. */
  3: bool replaceAll,
}

struct ResumeWatchesResult {
  /** head.resync: this member does not remember as far back as the cursor; see `elsewhere`. */
  1: conclave_types.Head head,
  /** With head.resync: client addresses of members that do remember. Empty: nobody does. */
  2: list<string> elsewhere,
}

struct PollRequest {
  /** The last change whose events have been taken; earlier events may be forgotten. */
  1: conclave_types.Cursor cursor,
  /** Wait at most so long for an event; 0: answer at once. At most 60,000. */
  2: i32 waitMs,
  /** 1 to 10,000; 0: 1,000. */
  3: i32 eventsMax,
  /** Up to 1 MiB; 0: 1 MiB. At least one event is returned if there is any. */
  4: i32 bytesMax,
  /**
   * Answer as soon as this member has applied this zxid, with or without events; 0: none. A client
   * that has had a reply of zxid N from another member holds it until a poll has come back with
   * head.zxid >= N, so that no event is seen after the state that it tells of.
   */
  5: i64 wakeZxid,
}

struct PollResult {
  /** head.events, head.cursor, head.resync and head.confirmedAgeMs are the answer. */
  1: conclave_types.Head head,
  /** True: there are more events at once. */
  2: bool more,
  /** With head.resync: client addresses of members that remember further back. */
  3: list<string> elsewhere,
  /** The session's timeout. */
  4: i32 timeoutMs,
}

struct SyncRequest {
  /** Reserved for shards of the tree; any valid path. */
  1: string path,
}

/** head.zxid: this member has applied everything that was committed when the call was sent. */
struct SyncResult {
  1: conclave_types.Head head,
}

struct PingResult {
  1: conclave_types.Head head,
  /** The session's timeout; 0 without a session. */
  2: i32 timeoutMs,
}

struct ClusterStatusRequest {
}

struct ClusterStatusResult {
  1: conclave_types.Head head,
  2: string clusterName,
  /** 0: none known. */
  3: i64 leader,
  /** In order of id. */
  4: list<conclave_types.MemberInfo> members,
  /** Commands and formats that all members have agreed to use. */
  5: i32 featureLevel,
}

/**
 * Errors: every call may answer UNAVAILABLE, OVERLOADED, DEADLINE_EXCEEDED, INTERNAL; every call
 * with a session SESSION_EXPIRED; every write also NO_SPACE, SEQUENCE_GAP, REPLY_DROPPED,
 * UNKNOWN_OUTCOME; every call with a path INVALID_ARGUMENT and TOO_LARGE. Below stands what comes
 * besides.
 */
service Coord {
  OpenResult openSession(1: OpenRequest request) throws (1: conclave_types.CoordError error),

  /** Removes the session and its ephemeral znodes in one change. A write: ctx.seq counts. */
  CloseResult closeSession(1: conclave_types.Ctx ctx) throws (1: conclave_types.CoordError error),

  /**
   * For a process that goes on with the session of another one, whose writes may still be on their
   * way: from this change on none of them is executed any more, and the other process is answered
   * SESSION_EXPIRED if it writes. A write: ctx.seq counts. Any but the next one (2^52, say) answers
   * SEQUENCE_GAP with the one to use; so does a repeated call whose first answer was lost.
   */
  TakeOverResult takeOver(1: conclave_types.Ctx ctx) throws (1: conclave_types.CoordError error),

  /** NODE_EXISTS, NO_NODE (the parent), NO_CHILDREN_FOR_EPHEMERALS. */
  CreateResult create(1: conclave_types.Ctx ctx, 2: CreateRequest request)
      throws (1: conclave_types.CoordError error),

  /** NO_NODE, BAD_VERSION. */
  SetDataResult setData(1: conclave_types.Ctx ctx, 2: SetDataRequest request)
      throws (1: conclave_types.CoordError error),

  /** NO_NODE, BAD_VERSION, NOT_EMPTY. */
  RemoveResult removeNode(1: conclave_types.Ctx ctx, 2: RemoveRequest request)
      throws (1: conclave_types.CoordError error),

  /** NO_NODE. */
  GetResult getData(1: conclave_types.Ctx ctx, 2: GetRequest request)
      throws (1: conclave_types.CoordError error),

  ExistsResult exists(1: conclave_types.Ctx ctx, 2: ExistsRequest request)
      throws (1: conclave_types.CoordError error),

  /** NO_NODE. */
  ChildrenResult children(1: conclave_types.Ctx ctx, 2: ChildrenRequest request)
      throws (1: conclave_types.CoordError error),

  /** A multi that fails on one of its operations is a result with committed = false, not an error. */
  MultiResult multi(1: conclave_types.Ctx ctx, 2: MultiRequest request)
      throws (1: conclave_types.CoordError error),

  /** Watches live at the member where they were registered: call it where you poll. */
  AddWatchResult addWatch(1: conclave_types.Ctx ctx, 2: AddWatchRequest request)
      throws (1: conclave_types.CoordError error),

  RemoveWatchResult removeWatch(1: conclave_types.Ctx ctx, 2: RemoveWatchRequest request)
      throws (1: conclave_types.CoordError error),

  /** Registers a session's watches at a member that it has just moved to, losing nothing. */
  ResumeWatchesResult resumeWatches(1: conclave_types.Ctx ctx, 2: ResumeWatchesRequest request)
      throws (1: conclave_types.CoordError error),

  /**
   * Waits for events. Also the heartbeat: an idle client keeps one poll parked. Two may be parked
   * per session, so that none is missed between them; a third answers the oldest at once.
   */
  PollResult poll(1: conclave_types.Ctx ctx, 2: PollRequest request)
      throws (1: conclave_types.CoordError error),

  /** Waits until this member has caught up with all that was committed when the call was sent. */
  SyncResult sync(1: conclave_types.Ctx ctx, 2: SyncRequest request)
      throws (1: conclave_types.CoordError error),

  /** Heartbeat without waiting. */
  PingResult ping(1: conclave_types.Ctx ctx) throws (1: conclave_types.CoordError error),

  /** Who is there, as seen by the member asked. Needs no session and no quorum. */
  ClusterStatusResult clusterStatus(1: ClusterStatusRequest request)
      throws (1: conclave_types.CoordError error),
}
