// Every message between members survives the wire, and what no correct peer sends is refused.

#include "coord/doors/peer_codec.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;
using apache::thrift::protocol::TCompactProtocol;
using apache::thrift::transport::TMemoryBuffer;
using server::PeerMessage;

// A value that this version does not know, as it comes from the wire.
template <typename Enum>
Enum Unknown(int value) {
  return static_cast<Enum>(value);
}

// There and back through Thrift's own bytes.
std::optional<PeerMessage> Travel(const PeerMessage& message) {
  auto buffer = std::make_shared<TMemoryBuffer>();
  TCompactProtocol protocol(buffer);
  ToWire(message).write(&protocol);
  idl::PeerMessage wire;
  wire.read(&protocol);
  return FromWire(std::move(wire));
}

template <typename T>
T TravelRaft(const T& message) {
  const auto back = Travel(raft::Message(message));
  EXPECT_TRUE(back.has_value());
  return std::get<T>(std::get<raft::Message>(*back));
}

template <typename T>
T TravelServer(const T& message) {
  const auto back = Travel(message);
  EXPECT_TRUE(back.has_value());
  return std::get<T>(*back);
}

constexpr std::uint64_t kHuge = 0xfedcba9876543210U;  // negative in an i64

TEST(PeerCodec, RequestVote) {
  raft::RequestVote m;
  m.term = kHuge;
  m.lastLogIndex = 2;
  m.lastLogTerm = 3;
  m.preVote = true;
  m.bootstrap = true;
  m.incarnation = kHuge - 1;
  m.voterIncarnation = 5;
  m.leadershipTransfer = true;
  const auto back = TravelRaft(m);
  EXPECT_EQ(back.term, kHuge);
  EXPECT_EQ(back.lastLogIndex, 2U);
  EXPECT_EQ(back.lastLogTerm, 3U);
  EXPECT_TRUE(back.preVote);
  EXPECT_TRUE(back.bootstrap);
  EXPECT_EQ(back.incarnation, kHuge - 1);
  EXPECT_EQ(back.voterIncarnation, 5U);
  EXPECT_TRUE(back.leadershipTransfer);
  m.leadershipTransfer = false;
  EXPECT_FALSE(TravelRaft(m).leadershipTransfer);
}

TEST(PeerCodec, RequestVoteReply) {
  raft::RequestVoteReply m;
  m.term = 7;
  m.voteGranted = true;
  m.preVote = true;
  m.incarnation = kHuge;
  m.clusterStarted = true;
  const auto back = TravelRaft(m);
  EXPECT_EQ(back.term, 7U);
  EXPECT_TRUE(back.voteGranted);
  EXPECT_TRUE(back.preVote);
  EXPECT_EQ(back.incarnation, kHuge);
  EXPECT_TRUE(back.clusterStarted);
}

TEST(PeerCodec, AppendEntriesWithEveryKindOfEntry) {
  raft::AppendEntries m;
  m.term = 9;
  m.prevLogIndex = 10;
  m.prevLogTerm = 8;
  m.leaderCommit = 10;
  m.readRound = kHuge;
  const auto data = std::make_shared<const std::string>(std::string("\0\xff bytes", 8));
  m.entries.push_back({9, 11, raft::EntryKind::kNoop, kHuge, nullptr});
  m.entries.push_back({9, 12, raft::EntryKind::kConfig, 1, data});
  m.entries.push_back({9, 13, raft::EntryKind::kCommand, 2, data});
  const auto back = TravelRaft(m);
  EXPECT_EQ(back.term, 9U);
  EXPECT_EQ(back.prevLogIndex, 10U);
  EXPECT_EQ(back.prevLogTerm, 8U);
  EXPECT_EQ(back.leaderCommit, 10U);
  EXPECT_EQ(back.readRound, kHuge);
  ASSERT_EQ(back.entries.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(back.entries[i].id(), m.entries[i].id());
    EXPECT_EQ(back.entries[i].kind, m.entries[i].kind);
    EXPECT_EQ(back.entries[i].chain, m.entries[i].chain);
  }
  EXPECT_EQ(back.entries[0].data, nullptr);
  EXPECT_EQ(*back.entries[1].data, *data);
  EXPECT_EQ(*back.entries[2].data, *data);
}

TEST(PeerCodec, AppendEntriesReply) {
  raft::AppendEntriesReply m;
  m.term = 1;
  m.success = true;
  m.matched = {2, 3};
  m.rejectedIndex = 4;
  m.hint = {5, 6};
  m.readRound = 7;
  m.incarnation = 8;
  const auto back = TravelRaft(m);
  EXPECT_EQ(back.term, 1U);
  EXPECT_TRUE(back.success);
  EXPECT_EQ(back.matched, (raft::EntryId{2, 3}));
  EXPECT_EQ(back.rejectedIndex, 4U);
  EXPECT_EQ(back.hint, (raft::EntryId{5, 6}));
  EXPECT_EQ(back.readRound, 7U);
  EXPECT_EQ(back.incarnation, 8U);
}

TEST(PeerCodec, ReadIndex) {
  const auto request = TravelRaft(raft::ReadIndexRequest{3, kHuge});
  EXPECT_EQ(request.term, 3U);
  EXPECT_EQ(request.requestId, kHuge);
  const auto reply = TravelRaft(raft::ReadIndexReply{4, kHuge, true, 99});
  EXPECT_EQ(reply.term, 4U);
  EXPECT_EQ(reply.requestId, kHuge);
  EXPECT_TRUE(reply.success);
  EXPECT_EQ(reply.readIndex, 99U);
}

TEST(PeerCodec, TimeoutNow) { EXPECT_EQ(TravelRaft(raft::TimeoutNow{kHuge}).term, kHuge); }

TEST(PeerCodec, ForwardKeepsOrder) {
  server::Forward m;
  for (std::uint64_t i = 0; i < 5; ++i) {
    m.entries.push_back({kHuge + i, std::make_shared<std::string>(i, 'x')});
  }
  const auto back = TravelServer(m);
  ASSERT_EQ(back.entries.size(), 5U);
  for (std::uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(back.entries[i].request_id, kHuge + i);
    EXPECT_EQ(*back.entries[i].entry, std::string(i, 'x'));
  }
}

TEST(PeerCodec, ForwardRejectedWithEveryReason) {
  for (const auto reason : {server::RejectReason::kNotLeader, server::RejectReason::kOverloaded,
                            server::RejectReason::kNoSpace}) {
    const auto back = TravelServer(server::ForwardRejected{{1, kHuge}, reason, "why"});
    EXPECT_EQ(back.request_ids, (std::vector<std::uint64_t>{1, kHuge}));
    EXPECT_EQ(back.reason, reason);
    EXPECT_EQ(back.message, "why");
  }
}

TEST(PeerCodec, TouchesAndDigests) {
  const auto batch = TravelServer(server::TouchBatch{kHuge, {1, 2, 1LL << 52}});
  EXPECT_EQ(batch.batch, kHuge);
  EXPECT_EQ(batch.sessions, (std::vector<std::int64_t>{1, 2, 1LL << 52}));
  const auto ack = TravelServer(server::TouchAck{.batch = kHuge, .over = {3, 7}});
  EXPECT_EQ(ack.batch, kHuge);
  EXPECT_EQ(ack.over, (std::vector<std::int64_t>{3, 7}));
  const auto digest = TravelServer(server::DigestReport{12, kHuge});
  EXPECT_EQ(digest.index, 12U);
  EXPECT_EQ(digest.digest, kHuge);
}

TEST(PeerCodec, MemberReportWithEveryRole) {
  for (const auto role : {server::MemberRole::kFollower, server::MemberRole::kCandidate,
                          server::MemberRole::kLeader, server::MemberRole::kLearner}) {
    server::MemberReport m;
    m.role = role;
    m.term = 1;
    m.commit_index = 2;
    m.applied_index = 3;
    m.leader = 4;
    m.window_begin = {5, 6};
    m.feature_level_max = 7;
    m.problem = "the disk is full";
    m.room = role == server::MemberRole::kLeader ? server::Room::kShort : server::Room::kFull;
    const auto back = TravelServer(m);
    EXPECT_EQ(back.role, role);
    EXPECT_EQ(back.term, 1U);
    EXPECT_EQ(back.commit_index, 2U);
    EXPECT_EQ(back.applied_index, 3U);
    EXPECT_EQ(back.leader, 4U);
    EXPECT_EQ(back.window_begin, (tree::Cursor{5, 6}));
    EXPECT_EQ(back.feature_level_max, 7);
    EXPECT_EQ(back.room, m.room);
    EXPECT_EQ(back.problem, "the disk is full");
  }
}

TEST(PeerCodec, CommandsAboutMembersOfEveryKind) {
  using Kind = raft::ConfigChange::Kind;
  for (const auto kind : {Kind::kAddLearner, Kind::kAddObserver, Kind::kPromote, Kind::kRemove,
                          Kind::kReadmit, Kind::kUpdateAddress}) {
    const auto back =
        TravelServer(server::MemberRequest{kHuge, raft::ConfigChange{kind, 4, "host:9104"}});
    EXPECT_EQ(back.request, kHuge);
    const auto& change = std::get<raft::ConfigChange>(back.command);
    EXPECT_EQ(change.kind, kind);
    EXPECT_EQ(change.id, 4U);
    EXPECT_EQ(change.peer_address, "host:9104");
  }
  const auto transfer =
      TravelServer(server::MemberRequest{7, server::LeaderTransfer{.to = 3, .from = 2}});
  EXPECT_EQ(std::get<server::LeaderTransfer>(transfer.command).to, 3U);
  EXPECT_EQ(std::get<server::LeaderTransfer>(transfer.command).from, 2U);
  idl::PeerMessage unknown = ToWire(server::MemberRequest{1, raft::ConfigChange{}});
  unknown.memberRequest.kind = Unknown<idl::MemberChangeKind::type>(77);
  EXPECT_FALSE(FromWire(std::move(unknown)).has_value());
}

TEST(PeerCodec, AnswersToCommandsAboutMembers) {
  server::MemberAnswer m;
  m.request = kHuge;
  m.code = tree::Code::kRefused;
  m.message = "no majority";
  m.reply = {.configuration_index = 12, .changed = true, .leader = 3};
  const auto back = TravelServer(m);
  EXPECT_EQ(back.request, kHuge);
  EXPECT_EQ(back.code, tree::Code::kRefused);
  EXPECT_EQ(back.message, "no majority");
  EXPECT_EQ(back.reply.configuration_index, 12U);
  EXPECT_TRUE(back.reply.changed);
  EXPECT_EQ(back.reply.leader, 3U);
  idl::PeerMessage unknown = ToWire(m);
  unknown.memberAnswer.code = Unknown<idl::ErrorCode::type>(99);
  EXPECT_FALSE(FromWire(std::move(unknown)).has_value());
}

TEST(PeerCodec, AMessageOfANewerVersionIsIgnored) {
  EXPECT_FALSE(FromWire(idl::PeerMessage{}).has_value());
}

TEST(PeerCodec, AnUnknownKindOfEntryRefusesTheMessage) {
  raft::AppendEntries m;
  m.entries.push_back({1, 1, raft::EntryKind::kNoop, 0, nullptr});
  idl::PeerMessage wire = ToWire(raft::Message(m));
  wire.appendEntries.entries[16] = 77;
  EXPECT_FALSE(FromWire(std::move(wire)).has_value());
}

TEST(PeerCodec, EntriesCutShortRefuseTheMessage) {
  raft::AppendEntries m;
  m.entries.push_back(
      {1, 1, raft::EntryKind::kCommand, 5, std::make_shared<const std::string>("command")});
  const idl::PeerMessage whole = ToWire(raft::Message(m));
  for (std::size_t size = 1; size < whole.appendEntries.entries.size(); ++size) {
    idl::PeerMessage wire = whole;
    wire.appendEntries.entries.resize(size);
    EXPECT_FALSE(FromWire(std::move(wire)).has_value()) << size;
  }
  EXPECT_TRUE(FromWire(idl::PeerMessage(whole)).has_value());
}

TEST(PeerCodec, ForwardedEntriesCutShortRefuseTheMessage) {
  server::Forward m;
  m.entries.push_back({1, std::make_shared<std::string>("entry")});
  const idl::PeerMessage whole = ToWire(m);
  for (std::size_t size = 1; size < whole.forward.entries.size(); ++size) {
    idl::PeerMessage wire = whole;
    wire.forward.entries.resize(size);
    EXPECT_FALSE(FromWire(std::move(wire)).has_value()) << size;
  }
  EXPECT_TRUE(FromWire(idl::PeerMessage(whole)).has_value());
}

TEST(PeerCodec, AnUnknownReasonRefusesTheMessage) {
  idl::PeerMessage wire = ToWire(server::ForwardRejected{{1}, server::RejectReason::kNoSpace, ""});
  wire.forwardRejected.reason = Unknown<idl::RejectReason::type>(77);
  EXPECT_FALSE(FromWire(std::move(wire)).has_value());
}

TEST(PeerCodec, Hellos) {
  server::PeerHello self;
  self.member = 2;
  self.incarnation = kHuge;
  self.cluster_name = "name";
  self.cluster.fill(0xab);
  self.cluster_started = true;
  self.feature_level_max = 4;
  const idl::Hello wire = HelloToWire(self, 3);
  EXPECT_EQ(wire.targetMemberId, 3);
  const auto back = HelloFromWire(wire);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->member, 2U);
  EXPECT_EQ(back->incarnation, kHuge);
  EXPECT_EQ(back->cluster_name, "name");
  EXPECT_EQ(back->cluster, self.cluster);
  EXPECT_TRUE(back->cluster_started);
  EXPECT_EQ(back->feature_level_max, 4);
  const auto reply = HelloReplyFromWire(HelloReplyToWire(self), "name");
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->member, 2U);
  EXPECT_EQ(reply->cluster, self.cluster);
}

TEST(PeerCodec, HelloWithoutAClusterAndWithHalfOfOne) {
  const idl::Hello none = HelloToWire(server::PeerHello{}, 1);
  EXPECT_FALSE(none.__isset.clusterId);
  EXPECT_EQ(HelloFromWire(none)->cluster, raft::ClusterId{});
  idl::Hello half = none;
  half.__set_clusterId("12345678");
  EXPECT_FALSE(HelloFromWire(half).has_value());
}

TEST(PeerCodec, ClusterIdFromHex) {
  const auto id = ClusterIdFromHex("000102030405060708090a0b0c0d0eff");
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ((*id)[1], 1);
  EXPECT_EQ((*id)[15], 255);
  EXPECT_FALSE(ClusterIdFromHex("").has_value());
  EXPECT_FALSE(ClusterIdFromHex("000102030405060708090a0b0c0d0e").has_value());
  EXPECT_FALSE(ClusterIdFromHex("000102030405060708090a0b0c0d0exx").has_value());
}

}  // namespace
}  // namespace conclave::doors
