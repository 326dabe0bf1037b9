#pragma once

// What members say to each other. The sender is not in a message: the transport has authenticated
// the peer and passes its id to Raft::Step. A message may be lost, repeated, delayed and reordered;
// none of that can harm safety. Every number in one may be nonsense; the core refuses it and
// counts.

#include <variant>
#include <vector>

#include "consensus/types.h"

namespace conclave::raft {

/// Asks for a vote, or with preVote for the promise of one (sections 3.4 and 9.6).
struct RequestVote {
  /// The candidate's term; with preVote the term it would campaign in.
  Term term = 0;
  Index lastLogIndex = 0;
  Term lastLogTerm = 0;
  bool preVote = false;
  /// The candidate does not know of a started cluster. An empty voter answers no other candidate.
  bool bootstrap = false;
  /// The candidate's own incarnation.
  Incarnation incarnation = 0;
  /// The receiver's incarnation as the candidate's configuration has it; 0 if it has none. A voter
  /// that is empty because it was wiped sees here that it is not the one the candidate counts on.
  Incarnation voterIncarnation = 0;
  /// The leader told the candidate to campaign (TimeoutNow): the one reason to vote although a
  /// leader is heard (section 4.2.3). Never with preVote.
  bool leadershipTransfer = false;
};

struct RequestVoteReply {
  /// Granted: the term asked for. Refused: the voter's currentTerm, from which a candidate that is
  /// behind learns.
  Term term = 0;
  bool voteGranted = false;
  bool preVote = false;
  /// The voter's own incarnation: a vote of another one than the configuration names is not
  /// counted.
  Incarnation incarnation = 0;
  /// The voter knows of a started cluster: an empty candidate stops trying to start another one.
  bool clusterStarted = false;
};

/// Replicates entries; without entries it is the heartbeat (section 3.5).
struct AppendEntries {
  Term term = 0;
  Index prevLogIndex = 0;
  Term prevLogTerm = 0;
  /// Dense from prevLogIndex + 1, terms not falling, chains continuing the one of prevLogIndex.
  std::vector<Entry> entries;
  Index leaderCommit = 0;
  /// The round of leadership confirmation begun last (section 6.4). Echoed in the reply; rises with
  /// every round and is never used twice.
  std::uint64_t readRound = 0;
  /// The receiver's incarnation as the leader's configuration has it; 0 if it has none. A member
  /// that was wiped sees here that the cluster knows it with another disk.
  Incarnation followerIncarnation = 0;
};

struct AppendEntriesReply {
  /// The follower's currentTerm. A leader of an older one steps down.
  Term term = 0;
  bool success = false;
  /// success: the last entry known to be the leader's *and durable here*. It is named in full, so
  /// that an acknowledgement of an entry since overwritten is recognised and refused.
  EntryId matched;
  /// Not success: the prevLogIndex that did not match ...
  Index rejectedIndex = 0;
  /// ... and the last own entry that can match (the last at or below rejectedIndex with a term at
  /// or below prevLogTerm), so that a round trip skips a term and not an entry (section 3.5).
  EntryId hint;
  /// Echo of AppendEntries::readRound, 0 if the message was not of the follower's term.
  std::uint64_t readRound = 0;
  Incarnation incarnation = 0;
};

/// A follower asks the leader for an index at which reads begun before this message are
/// linearizable (section 6.4).
struct ReadIndexRequest {
  Term term = 0;
  /// Fresh for every message, also for a retry and after a restart.
  std::uint64_t requestId = 0;
};

struct ReadIndexReply {
  Term term = 0;
  std::uint64_t requestId = 0;
  /// False: this member does not lead, or lost the lead; ask again elsewhere.
  bool success = false;
  Index readIndex = 0;
};

/// The leader hands over to the receiver, which has its whole log: campaign at once (section 3.10).
struct TimeoutNow {
  /// The leader's.
  Term term = 0;
};

using Message = std::variant<RequestVote, RequestVoteReply, AppendEntries, AppendEntriesReply,
                             ReadIndexRequest, ReadIndexReply, TimeoutNow>;

struct Envelope {
  MemberId to = 0;
  Message message;
};

}  // namespace conclave::raft
