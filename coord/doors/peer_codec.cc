#include "coord/doors/peer_codec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "consensus/entry_codec.h"
#include "consensus/little_endian.h"
#include "coord/doors/member_codec.h"
#include "coord/doors/peer_snapshot_codec.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;
using server::PeerMessage;

// Version of the peer protocol that this build speaks.
constexpr std::int32_t kPeerVersion = 1;

// Of a forwarded entry: its request and its length.
constexpr std::size_t kForwardedHeaderBytes = 12;

// Unsigned numbers travel bit for bit in an i64.
std::int64_t Bits(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::uint64_t Bits(std::int64_t value) { return static_cast<std::uint64_t>(value); }

idl::EntryId ToWireId(const raft::EntryId& id) {
  idl::EntryId wire;
  wire.term = Bits(id.term);
  wire.index = Bits(id.index);
  return wire;
}

raft::EntryId FromWireId(const idl::EntryId& wire) { return {Bits(wire.term), Bits(wire.index)}; }

// One overload for each message, in both directions; Fill puts it into the union.

void Fill(idl::PeerMessage& wire, const raft::RequestVote& m) {
  idl::RequestVote w;
  w.term = Bits(m.term);
  w.lastLogIndex = Bits(m.lastLogIndex);
  w.lastLogTerm = Bits(m.lastLogTerm);
  w.preVote = m.preVote;
  w.bootstrap = m.bootstrap;
  w.incarnation = Bits(m.incarnation);
  w.voterIncarnation = Bits(m.voterIncarnation);
  w.leadershipTransfer = m.leadershipTransfer;
  wire.__set_requestVote(w);
}

PeerMessage Take(const idl::RequestVote& w) {
  raft::RequestVote m;
  m.term = Bits(w.term);
  m.lastLogIndex = Bits(w.lastLogIndex);
  m.lastLogTerm = Bits(w.lastLogTerm);
  m.preVote = w.preVote;
  m.bootstrap = w.bootstrap;
  m.incarnation = Bits(w.incarnation);
  m.voterIncarnation = Bits(w.voterIncarnation);
  m.leadershipTransfer = w.leadershipTransfer;
  return raft::Message(m);
}

void Fill(idl::PeerMessage& wire, const raft::RequestVoteReply& m) {
  idl::RequestVoteReply w;
  w.term = Bits(m.term);
  w.voteGranted = m.voteGranted;
  w.preVote = m.preVote;
  w.incarnation = Bits(m.incarnation);
  w.clusterStarted = m.clusterStarted;
  wire.__set_requestVoteReply(w);
}

PeerMessage Take(const idl::RequestVoteReply& w) {
  raft::RequestVoteReply m;
  m.term = Bits(w.term);
  m.voteGranted = w.voteGranted;
  m.preVote = w.preVote;
  m.incarnation = Bits(w.incarnation);
  m.clusterStarted = w.clusterStarted;
  return raft::Message(m);
}

void Fill(idl::PeerMessage& wire, const raft::AppendEntries& m) {
  idl::AppendEntries w;
  w.term = Bits(m.term);
  w.prevLogIndex = Bits(m.prevLogIndex);
  w.prevLogTerm = Bits(m.prevLogTerm);
  raft::EncodeEntries(m.entries, &w.entries);
  w.leaderCommit = Bits(m.leaderCommit);
  w.readRound = Bits(m.readRound);
  w.followerIncarnation = Bits(m.followerIncarnation);
  wire.__set_appendEntries(std::move(w));
}

std::optional<PeerMessage> Take(idl::AppendEntries&& w) {
  raft::AppendEntries m;
  m.term = Bits(w.term);
  m.prevLogIndex = Bits(w.prevLogIndex);
  m.prevLogTerm = Bits(w.prevLogTerm);
  // The message's bytes stay as long as one of its entries does: none is copied.
  const auto bytes = std::make_shared<const std::string>(std::move(w.entries));
  std::string_view rest = *bytes;
  for (raft::Index index = m.prevLogIndex + 1; !rest.empty(); ++index) {
    raft::Entry& entry = m.entries.emplace_back();
    entry.index = index;
    if (!raft::TakeEntry(bytes, &rest, &entry).empty()) {
      return std::nullopt;
    }
  }
  m.leaderCommit = Bits(w.leaderCommit);
  m.readRound = Bits(w.readRound);
  m.followerIncarnation = Bits(w.followerIncarnation);
  return PeerMessage(raft::Message(std::move(m)));
}

void Fill(idl::PeerMessage& wire, const raft::AppendEntriesReply& m) {
  idl::AppendEntriesReply w;
  w.term = Bits(m.term);
  w.success = m.success;
  w.matched = ToWireId(m.matched);
  w.rejectedIndex = Bits(m.rejectedIndex);
  w.hint = ToWireId(m.hint);
  w.readRound = Bits(m.readRound);
  w.incarnation = Bits(m.incarnation);
  wire.__set_appendEntriesReply(w);
}

PeerMessage Take(const idl::AppendEntriesReply& w) {
  raft::AppendEntriesReply m;
  m.term = Bits(w.term);
  m.success = w.success;
  m.matched = FromWireId(w.matched);
  m.rejectedIndex = Bits(w.rejectedIndex);
  m.hint = FromWireId(w.hint);
  m.readRound = Bits(w.readRound);
  m.incarnation = Bits(w.incarnation);
  return raft::Message(m);
}

void Fill(idl::PeerMessage& wire, const raft::TimeoutNow& m) {
  idl::TimeoutNow w;
  w.term = Bits(m.term);
  wire.__set_timeoutNow(w);
}

PeerMessage Take(const idl::TimeoutNow& w) { return raft::Message(raft::TimeoutNow{Bits(w.term)}); }

void Fill(idl::PeerMessage& wire, const raft::ReadIndexRequest& m) {
  idl::ReadIndexRequest w;
  w.term = Bits(m.term);
  w.requestId = Bits(m.requestId);
  wire.__set_readIndexRequest(w);
}

PeerMessage Take(const idl::ReadIndexRequest& w) {
  return raft::Message(raft::ReadIndexRequest{Bits(w.term), Bits(w.requestId)});
}

void Fill(idl::PeerMessage& wire, const raft::ReadIndexReply& m) {
  idl::ReadIndexReply w;
  w.term = Bits(m.term);
  w.requestId = Bits(m.requestId);
  w.success = m.success;
  w.readIndex = Bits(m.readIndex);
  wire.__set_readIndexReply(w);
}

PeerMessage Take(const idl::ReadIndexReply& w) {
  return raft::Message(
      raft::ReadIndexReply{Bits(w.term), Bits(w.requestId), w.success, Bits(w.readIndex)});
}

// Of the snapshot's messages, in a file of their own.
using doors::Fill;
using doors::Take;

void Fill(idl::PeerMessage& wire, const raft::Message& m) {
  std::visit([&wire](const auto& message) { Fill(wire, message); }, m);
}

void Fill(idl::PeerMessage& wire, const server::Forward& m) {
  idl::Forward w;
  std::size_t bytes = 0;
  for (const server::ForwardedEntry& entry : m.entries) {
    bytes += kForwardedHeaderBytes + entry.entry->size();
  }
  w.entries.reserve(bytes);
  for (const server::ForwardedEntry& entry : m.entries) {
    std::array<char, kForwardedHeaderBytes> header{};
    raft::PutLittle(header.data(), entry.request_id);
    raft::PutLittle(header.data() + 8, static_cast<std::uint32_t>(entry.entry->size()));
    w.entries.append(header.data(), header.size());
    w.entries.append(*entry.entry);
  }
  wire.__set_forward(std::move(w));
}

std::optional<PeerMessage> Take(const idl::Forward& w) {
  server::Forward m;
  std::string_view rest = w.entries;
  while (rest.size() >= kForwardedHeaderBytes) {
    const auto id = raft::GetLittle<std::uint64_t>(rest.data());
    const auto length = raft::GetLittle<std::uint32_t>(rest.data() + 8);
    rest.remove_prefix(kForwardedHeaderBytes);
    if (length > rest.size()) {
      return std::nullopt;
    }
    m.entries.push_back({id, std::make_shared<std::string>(rest.substr(0, length))});
    rest.remove_prefix(length);
  }
  if (!rest.empty()) {
    return std::nullopt;
  }
  return PeerMessage(std::move(m));
}

std::vector<std::int64_t> BitsOf(const std::vector<std::uint64_t>& values) {
  return {values.begin(), values.end()};
}

void Fill(idl::PeerMessage& wire, const server::ForwardRejected& m) {
  idl::ForwardRejected w;
  w.requestIds = BitsOf(m.request_ids);
  w.reason = static_cast<idl::RejectReason::type>(m.reason);
  w.message = m.message;
  wire.__set_forwardRejected(std::move(w));
}

std::optional<PeerMessage> Take(idl::ForwardRejected&& w) {
  server::ForwardRejected m;
  m.request_ids.assign(w.requestIds.begin(), w.requestIds.end());
  switch (w.reason) {
    case idl::RejectReason::NOT_LEADER:
      m.reason = server::RejectReason::kNotLeader;
      break;
    case idl::RejectReason::OVERLOADED:
      m.reason = server::RejectReason::kOverloaded;
      break;
    case idl::RejectReason::NO_SPACE:
      m.reason = server::RejectReason::kNoSpace;
      break;
    default:
      return std::nullopt;
  }
  m.message = std::move(w.message);
  return PeerMessage(std::move(m));
}

void Fill(idl::PeerMessage& wire, const server::TouchBatch& m) {
  idl::TouchBatch w;
  w.batch = Bits(m.batch);
  w.sessions = m.sessions;
  wire.__set_touchBatch(std::move(w));
}

PeerMessage Take(idl::TouchBatch&& w) {
  return server::TouchBatch{Bits(w.batch), std::move(w.sessions)};
}

void Fill(idl::PeerMessage& wire, const server::TouchAck& m) {
  idl::TouchAck w;
  w.batch = Bits(m.batch);
  w.over = m.over;
  wire.__set_touchAck(w);
}

PeerMessage Take(const idl::TouchAck& w) {
  return server::TouchAck{.batch = Bits(w.batch), .over = w.over};
}

void Fill(idl::PeerMessage& wire, const server::DigestReport& m) {
  idl::DigestReport w;
  w.index = Bits(m.index);
  w.digest = Bits(m.digest);
  wire.__set_digestReport(w);
}

PeerMessage Take(const idl::DigestReport& w) {
  return server::DigestReport{Bits(w.index), Bits(w.digest)};
}

// A role that this build does not know is shown as a follower: it is told of, not acted upon.
server::MemberRole FromWireRole(idl::MemberRole::type role) {
  switch (role) {
    case idl::MemberRole::LEADER:
      return server::MemberRole::kLeader;
    case idl::MemberRole::CANDIDATE:
      return server::MemberRole::kCandidate;
    case idl::MemberRole::LEARNER:
      return server::MemberRole::kLearner;
    default:
      return server::MemberRole::kFollower;
  }
}

void Fill(idl::PeerMessage& wire, const server::MemberReport& m) {
  idl::MemberReport w;
  w.role = RoleToWire(m.role);
  w.term = Bits(m.term);
  w.commitIndex = Bits(m.commit_index);
  w.appliedIndex = Bits(m.applied_index);
  w.leader = Bits(m.leader);
  w.windowBegin.zxid = m.window_begin.zxid;
  w.windowBegin.ordinal = m.window_begin.ordinal;
  w.featureLevelMax = m.feature_level_max;
  w.room = static_cast<idl::DiskRoom::type>(m.room);
  w.problem = m.problem;
  wire.__set_memberReport(w);
}

PeerMessage Take(const idl::MemberReport& w) {
  server::MemberReport m;
  m.role = FromWireRole(w.role);
  m.term = Bits(w.term);
  m.commit_index = Bits(w.commitIndex);
  m.applied_index = Bits(w.appliedIndex);
  m.leader = Bits(w.leader);
  m.window_begin = {w.windowBegin.zxid, w.windowBegin.ordinal};
  m.feature_level_max = w.featureLevelMax;
  // A state that this build does not know is told by a newer one: taken for the worst.
  m.room = w.room == idl::DiskRoom::PLENTY  ? server::Room::kPlenty
           : w.room == idl::DiskRoom::SHORT ? server::Room::kShort
                                            : server::Room::kFull;
  m.problem = w.problem;
  return m;
}

}  // namespace

idl::MemberRole::type RoleToWire(server::MemberRole role) {
  switch (role) {
    case server::MemberRole::kFollower:
      return idl::MemberRole::FOLLOWER;
    case server::MemberRole::kCandidate:
      return idl::MemberRole::CANDIDATE;
    case server::MemberRole::kLeader:
      return idl::MemberRole::LEADER;
    case server::MemberRole::kLearner:
      return idl::MemberRole::LEARNER;
  }
  return idl::MemberRole::UNKNOWN;
}

idl::PeerMessage ToWire(const PeerMessage& message) {
  idl::PeerMessage wire;
  std::visit([&wire](const auto& m) { Fill(wire, m); }, message);
  return wire;
}

std::optional<PeerMessage> FromWire(idl::PeerMessage&& wire) {
  const auto& is = wire.__isset;
  if (is.appendEntries) return Take(std::move(wire.appendEntries));
  if (is.appendEntriesReply) return Take(wire.appendEntriesReply);
  if (is.forward) return Take(wire.forward);
  if (is.readIndexRequest) return Take(wire.readIndexRequest);
  if (is.readIndexReply) return Take(wire.readIndexReply);
  if (is.touchBatch) return Take(std::move(wire.touchBatch));
  if (is.touchAck) return Take(wire.touchAck);
  if (is.requestVote) return Take(wire.requestVote);
  if (is.requestVoteReply) return Take(wire.requestVoteReply);
  if (is.timeoutNow) return Take(wire.timeoutNow);
  if (is.forwardRejected) return Take(std::move(wire.forwardRejected));
  if (is.digestReport) return Take(wire.digestReport);
  if (is.memberReport) return Take(wire.memberReport);
  if (is.snapshotChunk) return Take(std::move(wire.snapshotChunk));
  if (is.snapshotAck) return Take(std::move(wire.snapshotAck));
  if (is.snapshotOffer) return Take(std::move(wire.snapshotOffer));
  if (is.memberRequest) return TakeMember(std::move(wire.memberRequest));
  if (is.memberAnswer) return TakeMember(std::move(wire.memberAnswer));
  return std::nullopt;
}

std::string ClusterIdBytes(const raft::ClusterId& id) { return {id.begin(), id.end()}; }

std::optional<raft::ClusterId> ClusterIdFromBytes(const std::string& bytes) {
  raft::ClusterId id{};
  if (bytes.size() != id.size()) {
    return std::nullopt;
  }
  std::copy(bytes.begin(), bytes.end(), id.begin());
  return id;
}

std::optional<raft::ClusterId> ClusterIdFromHex(std::string_view digits) {
  raft::ClusterId id{};
  if (digits.size() != 2 * id.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < id.size(); ++i) {
    const char* first = digits.data() + 2 * i;
    const auto [end, error] = std::from_chars(first, first + 2, id[i], 16);
    if (error != std::errc() || end != first + 2) {
      return std::nullopt;
    }
  }
  return id;
}

idl::Hello HelloToWire(const server::PeerHello& self, raft::MemberId target) {
  idl::Hello wire;
  if (self.cluster != raft::ClusterId{}) {
    wire.__set_clusterId(ClusterIdBytes(self.cluster));
  }
  wire.clusterName = self.cluster_name;
  wire.memberId = Bits(self.member);
  wire.incarnation = Bits(self.incarnation);
  wire.versionMin = kPeerVersion;
  wire.versionMax = kPeerVersion;
  wire.targetMemberId = Bits(target);
  wire.featureLevelMax = self.feature_level_max;
  wire.clusterStarted = self.cluster_started;
  wire.peerAddress = self.peer_address;
  wire.configurationIndex = Bits(self.configuration_index);
  return wire;
}

std::optional<server::PeerHello> HelloFromWire(const idl::Hello& wire) {
  server::PeerHello peer;
  if (wire.__isset.clusterId) {
    const auto id = ClusterIdFromBytes(wire.clusterId);
    if (!id) {
      return std::nullopt;
    }
    peer.cluster = *id;
  }
  peer.cluster_name = wire.clusterName;
  peer.member = Bits(wire.memberId);
  peer.incarnation = Bits(wire.incarnation);
  peer.feature_level_max = wire.featureLevelMax;
  peer.cluster_started = wire.clusterStarted;
  peer.peer_address = wire.peerAddress;
  peer.configuration_index = Bits(wire.configurationIndex);
  return peer;
}

idl::HelloReply HelloReplyToWire(const server::PeerHello& self) {
  idl::HelloReply wire;
  wire.version = kPeerVersion;
  wire.memberId = Bits(self.member);
  wire.incarnation = Bits(self.incarnation);
  if (self.cluster != raft::ClusterId{}) {
    wire.__set_clusterId(ClusterIdBytes(self.cluster));
  }
  wire.featureLevelMax = self.feature_level_max;
  wire.clusterStarted = self.cluster_started;
  return wire;
}

std::optional<server::PeerHello> HelloReplyFromWire(const idl::HelloReply& wire,
                                                    const std::string& cluster_name) {
  server::PeerHello peer;
  if (wire.version != kPeerVersion) {
    return std::nullopt;
  }
  if (wire.__isset.clusterId) {
    const auto id = ClusterIdFromBytes(wire.clusterId);
    if (!id) {
      return std::nullopt;
    }
    peer.cluster = *id;
  }
  peer.cluster_name = cluster_name;  // the peer has compared it
  peer.member = Bits(wire.memberId);
  peer.incarnation = Bits(wire.incarnation);
  peer.feature_level_max = wire.featureLevelMax;
  peer.cluster_started = wire.clusterStarted;
  return peer;
}

}  // namespace conclave::doors
