// What members of one cluster say to each other, and the link that carries it. The Thrift door
// implements the link in production, the simulated network in tests; the server sees neither frames
// nor sockets.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "consensus/messages.h"
#include "consensus/types.h"
#include "coord/server/member_api.h"
#include "coord/server/room.h"
#include "coord/server/snapshot_messages.h"
#include "coord/server/status.h"
#include "coord/tree/code.h"
#include "coord/tree/watch_window.h"

namespace conclave::server {

// One encoded entry (tree::EncodeEntry) on its way to the leader; the time in it is not stamped
// yet.
struct ForwardedEntry {
  std::uint64_t request_id = 0;        // the sender's, unique over its restarts; also in the entry
  std::shared_ptr<std::string> entry;  // never null; who has it alone may stamp it
};

// Writes that came in at a member that does not lead, in the order in which the leader must propose
// them: a session's writes are never reordered.
struct Forward {
  std::vector<ForwardedEntry> entries;
};

enum class RejectReason : std::uint8_t {
  kNotLeader = 1,   // ask the leader that consensus names next
  kOverloaded = 2,  // the leader's queue is full
  kNoSpace = 3,     // the log's bound or the disk
};

// Forwarded entries that were not proposed and by this attempt never will be. Those that were
// proposed have no answer: their origin sees them applied.
struct ForwardRejected {
  std::vector<std::uint64_t> request_ids;
  RejectReason reason = RejectReason::kNotLeader;
  std::string message;  // for the client, when it ends there
};

// Sessions heard from at a member since its last batch (rule 4).
struct TouchBatch {
  std::uint64_t batch = 0;  // rises with each batch of one run of the sender
  std::vector<std::int64_t> sessions;
};

// The leader had the batch, and a quorum round that it began afterwards has completed.
struct TouchAck {
  std::uint64_t batch = 0;
  // Sessions of the batch that are over or about to be: their heartbeats are not confirmed. Rising.
  std::vector<std::int64_t> over = {};
};

// The state of the sender right after it applied `index`. Every member tells every other one, and
// each judges for itself whether it is in the majority (rule 15).
struct DigestReport {
  raft::Index index = 0;
  std::uint64_t digest = 0;
};

// What the sender is up to: for status pages, and for a client that must be sent to a member which
// remembers further back (rule 5). Sent once a second and when the role changes.
struct MemberReport {
  MemberRole role = MemberRole::kFollower;
  raft::Term term = 0;
  raft::Index commit_index = 0;
  raft::Index applied_index = 0;
  raft::MemberId leader = 0;  // 0: none known
  tree::Cursor window_begin;  // changes after this one are remembered
  std::int32_t feature_level_max = 0;
  Room room = Room::kPlenty;  // of the sender's own disk and log
  std::string problem;        // what is wrong with the sender, for people; empty: nothing
};

// An operator's command on its way to the leader.
struct MemberRequest {
  std::uint64_t request = 0;  // the sender's, unique over its restarts
  MemberCommand command;
};

// What became of it. kNotLeader and kUnavailable: not executed, ask again. kUnknownOutcome:
// perhaps, ask again. Else final.
struct MemberAnswer {
  std::uint64_t request = 0;
  tree::Code code = tree::Code::kOk;
  std::string message;  // with an error
  MemberReply reply;    // with kOk
};

using PeerMessage = std::variant<raft::Message, Forward, ForwardRejected, TouchBatch, TouchAck,
                                 DigestReport, MemberReport, SnapshotOffer, SnapshotChunk,
                                 SnapshotAck, MemberRequest, MemberAnswer>;

// First thing that each side of a link says (rules 8, 11). The link checks the cluster's name, the
// member's id and the range of versions by itself; the rest is passed up.
struct PeerHello {
  raft::MemberId member = 0;
  std::uint64_t incarnation = 0;
  std::string cluster_name;
  raft::ClusterId cluster{};     // all zero until the first entry is known
  bool cluster_started = false;  // this member holds entries or has met a member that does
  std::int32_t feature_level_max = 1;
  // Where this member takes its peers, as they are to dial it.
  std::string peer_address;
  // Of the configuration in force at this member; 0: it knows none. By it a member that is asked
  // by one it does not know tells which of the two is behind.
  raft::Index configuration_index = 0;
};

// The links of one member to all its peers, re-established for ever.
//
// Thread: core executor only, in both directions.
// Invariants:
//   1. Between OnPeerConnected(m) and OnPeerDisconnected(m), messages of m arrive in the order sent
//      and without gaps; a link that loses a message is reported as disconnected. Nothing is
//      delivered outside of such a span.
//   2. The handler is never called inside a call into the transport.
class PeerTransport {
 public:
  class Handler {
   public:
    Handler() = default;
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;
    virtual ~Handler() = default;

    virtual void OnPeerMessage(raft::MemberId from, PeerMessage message) = 0;
    virtual void OnPeerConnected(const PeerHello& peer) = 0;
    virtual void OnPeerDisconnected(raft::MemberId peer) = 0;
    // The peer, or this side, ended the link for good reason: another cluster's name or id, an
    // incarnation that is not the configured one, no common version. It will be tried again.
    virtual void OnPeerRefused(raft::MemberId peer, std::string_view reason) = 0;
    // The peer refused because this member is not in the configuration that it knows: it has been
    // removed, or not been added yet. It will be tried again.
    virtual void OnNotMember(raft::MemberId peer, std::string_view reason) = 0;
    // A member that is not among the peers says hello. Nothing: it is one from now on, at the
    // address that it names. Else why it is refused.
    virtual std::optional<std::string> OnStranger(const PeerHello& peer) = 0;
  };

  PeerTransport() = default;
  PeerTransport(const PeerTransport&) = delete;
  PeerTransport& operator=(const PeerTransport&) = delete;
  virtual ~PeerTransport() = default;

  // From now on there is this peer, to be dialled at this address; what was refused to it before is
  // judged anew. May be called before Start, and again at any time: a link to another address than
  // before is broken off.
  virtual void SetPeer(raft::MemberId peer, const std::string& address) = 0;

  // There is no such peer any more: its link ends, which is not reported. If it comes again it is a
  // stranger.
  virtual void RemovePeer(raft::MemberId peer) = 0;

  // Begins to connect to the peers and to listen. `handler` must stay until Stop has returned.
  virtual void Start(Handler* handler, PeerHello self) = 0;

  // What later links say about this member, once it has learned more (cluster id, started).
  virtual void SetHello(PeerHello self) = 0;

  // Ends the link to a peer whose hello the server does not accept; the reason is said to it.
  virtual void Refuse(raft::MemberId peer, std::string_view reason) = 0;

  // Queues a message. It is dropped if there is no link, or if so much is queued that the link is
  // given up (which is then reported); never blocks.
  virtual void Send(raft::MemberId to, PeerMessage message) = 0;

  // Ends all links. The handler is not called again.
  virtual void Stop() = 0;
};

}  // namespace conclave::server
