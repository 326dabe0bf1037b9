/*
 * The words that Conclave's services share: error codes, the state of a znode, events, the context
 * of a call and the head of a reply.
 *
 * Rules of this contract. Field ids and enum values are never reused and never change meaning. No
 * field is `required`; unknown fields are skipped, so requests and results may grow. Value 0 of an
 * enum is "unknown" (only ErrorCode has 0 for "no error"). Every zxid, session id, watch id and
 * sequence number stays below 2^53, so that a JavaScript number holds it. Durations are in
 * milliseconds, sizes in bytes, wall-clock times in milliseconds since 1970-01-01 UTC. The wire
 * format around these structs is described in thrift/wire/README.md.
 */
namespace cpp conclave.idl.v1
namespace py conclave_idl.v1.types
namespace java conclave.idl.v1
namespace go conclave.idl.v1.types
namespace js conclave.idl.v1
namespace netstd Conclave.Idl.V1
namespace rb Conclave.Idl.V1

/**
 * Why a call did not do what it was asked to. The tens tell what a caller can do about it, also for
 * a code that it does not know:
 *   1..19  an answer: the call was understood and has no effect; repeating it changes nothing;
 *  20..29  not executed, another member may do it: retry elsewhere at once;
 *  30..39  not executed, nobody can do it now: retry later, with back-off;
 *  40      unknown whether executed: repeat only with the same session and seq;
 *  41      a read or a wait ran out of time: nothing happened;
 *  50..59  the session is over: open a new one and tell the application;
 *  60..69  broken: report it.
 */
enum ErrorCode {
  /** No error. Stands in the result of an operation of a multi, never in a CoordError. */
  OK = 0,
  /** The znode (or, for a create, its parent) does not exist. */
  NO_NODE = 1,
  NODE_EXISTS = 2,
  /** The expected version is not the znode's version. */
  BAD_VERSION = 3,
  /** The znode to remove has children. */
  NOT_EMPTY = 4,
  /** An ephemeral znode cannot have children. */
  NO_CHILDREN_FOR_EPHEMERALS = 5,
  /** Malformed path or argument; message says which. */
  INVALID_ARGUMENT = 6,
  NO_AUTH = 7,
  /** Value, path, multi or request over its limit; message has size and limit. */
  TOO_LARGE = 8,
  /** An operation of a multi that was not tried because an earlier one failed. */
  RUNTIME_INCONSISTENCY = 9,
  /** Ctx.seq is not the session's last + 1. Not executed; CoordError.expectedSeq has the number. */
  SEQUENCE_GAP = 10,
  NOT_SUPPORTED = 11,
  /** A repeated write that was applied at CoordError.zxid; its reply was too large to be kept. */
  REPLY_DROPPED = 12,
  /** A change of the members that would endanger the cluster; the message says what to do. */
  REFUSED = 13,
  /** This member does not lead and could not forward. CoordError.leaderHint may name the leader. */
  NOT_LEADER = 20,
  /** No leader, no quorum, starting or stopping. */
  UNAVAILABLE = 21,
  /** A queue or budget is full. */
  OVERLOADED = 30,
  /** The log bound or the disk is full: writes are refused, reads are served. */
  NO_SPACE = 31,
  /** A write was sent on and its fate is not known. */
  UNKNOWN_OUTCOME = 40,
  /** A read or a wait passed its deadline. */
  DEADLINE_EXCEEDED = 41,
  /** The session has expired, was closed, never existed, or the secret is wrong; message says which. */
  SESSION_EXPIRED = 50,
  /** Damaged data was met. The member stops serving. */
  CORRUPTION = 60,
  /** A defect of the server. */
  INTERNAL = 61,
}

/** The state of a znode, field by field as in ZooKeeper. */
struct Stat {
  /** zxid of the change that created it. */
  1: i64 czxid,
  /** zxid of the last change of its data. */
  2: i64 mzxid,
  /** zxid of the last change of its list of children. */
  3: i64 pzxid,
  /** Wall-clock times of creation and of the last change of data, as stamped by the leader. */
  4: i64 ctimeMs,
  5: i64 mtimeMs,
  /** Number of changes of its data, of its list of children, of its ACL. */
  6: i32 version,
  7: i32 cversion,
  8: i32 aversion,
  /** The session that an ephemeral znode belongs to; 0 for others. */
  9: i64 ephemeralOwner,
  /** Bytes of data. 0 for null and for empty data. */
  10: i32 dataLength,
  11: i32 numChildren,
}

enum EventType {
  UNKNOWN = 0,
  CREATED = 1,
  DELETED = 2,
  DATA_CHANGED = 3,
  /** The list of children of `path` changed. Only one-shot child and persistent watches send it. */
  CHILDREN_CHANGED = 4,
}

enum WatchMode {
  UNKNOWN = 0,
  /** One-shot: next change of data, or removal. What getData registers. */
  DATA = 1,
  /** One-shot: next creation, change of data, or removal; the znode need not exist. */
  EXIST = 2,
  /** One-shot: next change of the list of children, or removal. */
  CHILD = 3,
  /** Until removed: changes of the znode and of its list of children. */
  PERSISTENT = 4,
  /** Until removed: creation, change of data and removal of the znode and all below it. */
  PERSISTENT_RECURSIVE = 5,
}

/**
 * A position in the stream of changes, the same at every member: the zxid of an entry and the
 * number of the change within it (an entry of several changes, such as a multi, has 0, 1, 2, ...).
 * A session's cursor names the last change whose events it has taken. Compare zxid, then ordinal.
 */
struct Cursor {
  1: i64 zxid,
  2: i32 ordinal,
}

/** What happened to one znode. The same for every session that is told of it. */
struct Change {
  1: EventType type,
  2: string path,
  /** The entry that did it, and the position of the change within that entry. */
  3: i64 zxid,
  4: i32 ordinal,
  /** With withValue and type CREATED or DATA_CHANGED: state and data right after the change. */
  5: optional Stat stat,
  /** Absent for null data; see hasValue. */
  6: optional binary data,
  /** True if stat and data are filled. */
  7: bool hasValue,
}

/** One change and the session's own watches that it concerns. */
struct Event {
  1: list<i64> watchIds,
  2: Change change,
}

/**
 * Who calls, and what the call depends on. Sent with every call but openSession, clusterStatus and
 * memberStatus.
 */
struct Ctx {
  /** Session id from openSession; 0 for reads without a session. */
  1: i64 session,
  /** The session's secret from openSession, 16 bytes. */
  2: binary secret,
  /**
   * Writes only: the session's number for this write, 1, 2, 3, ... without gaps, each number for
   * one write for ever. A repeated number answers with the first execution's reply. Error:
   * SEQUENCE_GAP.
   */
  3: i64 seq,
  /** Replies of all writes up to this number have arrived; the server may forget them. */
  4: i64 ackedThrough,
  /** Reads only: answer with a state in which the session's write of this number has been applied. */
  5: i64 afterSeq,
  /** Reads only: answer with a state no older than this zxid. */
  6: i64 minZxid,
  /**
   * The caller stops waiting this long after it sent the call; 0: the server's default. A read or
   * wait past it answers DEADLINE_EXCEEDED, a write that may have been sent on UNKNOWN_OUTCOME.
   */
  7: i32 deadlineMs,
  /** If set and not this cluster's id: INVALID_ARGUMENT. 16 bytes. */
  8: optional binary clusterId,
  /**
   * True: put no queued events into the head of this reply; they are taken by poll alone. A client
   * that reconnects while calls of its old connection may still be answered must set it: events in
   * the head of an answer that never arrives count as told.
   */
  9: bool noEvents,
}

/** Part of every reply and of every CoordError. */
struct Head {
  /**
   * A write: the zxid of its entry. A read: the applied index of the state that it shows. In a
   * session, minZxid of later reads should be the largest seen.
   */
  1: i64 zxid,
  /** The cluster's id, 16 bytes. Another id than before: zxids start anew, so must the client. */
  2: binary clusterId,
  /** The member that answers. */
  3: i64 memberId,
  /**
   * Events that were queued for the session at this member up to `zxid`, oldest first. They happened
   * before the state that the reply shows: deliver them first.
   */
  4: optional list<Event> events,
  /**
   * The session's cursor after these events; what the next poll should name. If its zxid is smaller
   * than `zxid`, there were more events than one answer takes (1,000, or 1 MiB): poll until the
   * cursor has come to `zxid` before the reply is handed to the application. With ctx.noEvents
   * instead how far polls must have come before this reply is handed to the application: then it
   * must not be named in a poll before events up to it have been taken.
   */
  5: optional Cursor cursor,
  /**
   * True: between the cursor that was named and `cursor` events may have been lost, because the
   * member no longer remembers that far. Watches are still registered; read anew what they cover.
   */
  6: bool resync,
  /**
   * Age of the newest heartbeat of this session that the leader has confirmed with a quorum, at the
   * time of the reply. The session lives at least (timeout - age) longer. Absent: not known.
   */
  7: optional i32 confirmedAgeMs,
}

/** The one declared error of all calls. */
exception CoordError {
  1: ErrorCode code,
  /** For people: what was wrong, with the values; never parsed by programs. */
  2: string message,
  /** The path concerned, if any. */
  3: string path,
  /** The zxid of the entry that decided, or the applied index where it was judged; 0: not known. */
  4: i64 zxid,
  /** Client address HOST:PORT of the leader, as far as the member knows it; else empty. */
  5: string leaderHint,
  /** With SEQUENCE_GAP: the number that would be executed next. */
  6: i64 expectedSeq,
  /** The member that answers; 0: the error arose in the client. */
  7: i64 memberId,
  /** As in every reply. An error of the tree shows a state too, so events come before it. */
  8: optional Head head,
}

enum MemberRole {
  UNKNOWN = 0,
  LEADER = 1,
  FOLLOWER = 2,
  CANDIDATE = 3,
  LEARNER = 4,
}

/** What a member may do. */
enum MemberKind {
  UNKNOWN = 0,
  /** Counts in majorities. */
  VOTER = 1,
  /** Receives the log, and becomes a voter by itself once it has caught up. */
  LEARNER = 2,
  /** Receives the log and stays without a vote. */
  OBSERVER = 3,
}

/** A change of the members. */
enum MemberChangeKind {
  UNKNOWN = 0,
  /** A new member, with its peer address. */
  ADD_LEARNER = 1,
  ADD_OBSERVER = 2,
  /** Gives a vote to a learner or observer that has caught up. */
  PROMOTE = 3,
  REMOVE = 4,
  /** A member that has lost its disk becomes a learner again, whatever data directory it has. */
  READMIT = 5,
  UPDATE_ADDRESS = 6,
}

/** One member as it describes itself or as another member last heard of it. */
struct MemberInfo {
  1: i64 id,
  2: MemberRole role,
  /** currentTerm. */
  3: i64 term,
  4: i64 commitIndex,
  5: i64 appliedIndex,
  /** HOST:PORT each; empty while not published. */
  6: string peerAddress,
  7: string clientAddress,
  8: string adminAddress,
  /** The member that answers is connected to it, or is it. */
  9: bool reachable,
  /** Age of this knowledge; 0 for the member that answers. Absent: never heard of. */
  10: optional i64 ageMs,
  /** The member that it takes for the leader; 0: none. */
  11: i64 leader,
  /** Version of its software. */
  12: string version,
  /** By the configuration in force at the member that answers; UNKNOWN: it is in none. */
  13: MemberKind kind,
  /** Of the data directory that the configuration names; 0: none has been met yet. */
  14: i64 incarnation,
  /** What is wrong with it and what to do about it, for people; empty: nothing. */
  15: string problem,
}
