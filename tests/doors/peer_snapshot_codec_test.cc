// The messages of a snapshot transfer survive the wire, and what no correct peer sends is refused.
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include "coord/doors/peer_codec.h"

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

constexpr std::uint64_t kHuge = 0xfedcba9876543210U;  // negative in an i64

idl::PeerMessage ThroughBytes(const PeerMessage& message) {
  auto buffer = std::make_shared<TMemoryBuffer>();
  TCompactProtocol protocol(buffer);
  ToWire(message).write(&protocol);
  idl::PeerMessage wire;
  wire.read(&protocol);
  return wire;
}

template <typename T>
T Travel(const T& message) {
  const auto back = FromWire(ThroughBytes(message));
  EXPECT_TRUE(back.has_value());
  return std::get<T>(*back);
}

server::SnapshotOffer SomeOffer() {
  server::SnapshotOffer offer;
  offer.term = kHuge;
  offer.transfer = kHuge - 1;
  offer.info.meta.last = {7, kHuge - 2};
  offer.info.meta.chain = kHuge - 3;
  offer.info.meta.configuration.index = 5;
  offer.info.meta.configuration.configuration.clusterId.fill(0xab);
  offer.info.meta.configuration.configuration.members = {
      {.id = 1, .incarnation = kHuge, .kind = raft::MemberKind::kVoter, .peer_address = "a:1"},
      {.id = 4, .incarnation = 0, .kind = raft::MemberKind::kLearner, .peer_address = "b:2"}};
  offer.info.digest = std::string("\0\xff digest", 9);
  offer.info.totals = {.rows = 11, .bytes = kHuge - 4, .sum = kHuge - 5};
  return offer;
}

TEST(PeerSnapshotCodec, AnOffer) {
  const server::SnapshotOffer offer = SomeOffer();
  const auto back = Travel(offer);
  EXPECT_EQ(back.term, offer.term);
  EXPECT_EQ(back.transfer, offer.transfer);
  EXPECT_EQ(back.info, offer.info);
}

TEST(PeerSnapshotCodec, AChunk) {
  server::SnapshotChunk chunk;
  chunk.term = kHuge;
  chunk.transfer = 2;
  chunk.after_key = std::string("\0key", 4);
  chunk.rows = std::string(300'000, '\0');
  chunk.last = true;
  chunk.checksum = kHuge - 1;
  const auto back = Travel(chunk);
  EXPECT_EQ(back.term, kHuge);
  EXPECT_EQ(back.transfer, 2U);
  EXPECT_EQ(back.after_key, chunk.after_key);
  EXPECT_EQ(back.rows, chunk.rows);
  EXPECT_TRUE(back.last);
  EXPECT_EQ(back.checksum, kHuge - 1);
}

TEST(PeerSnapshotCodec, EveryStateOfAnAck) {
  for (const auto state : {server::SnapshotState::kStored, server::SnapshotState::kVerifying,
                           server::SnapshotState::kInstalled, server::SnapshotState::kRefused}) {
    const auto back = Travel(server::SnapshotAck{
        .transfer = kHuge, .state = state, .position = std::string("\0x", 2), .message = "why"});
    EXPECT_EQ(back.transfer, kHuge);
    EXPECT_EQ(back.state, state);
    EXPECT_EQ(back.position, std::string("\0x", 2));
    EXPECT_EQ(back.message, "why");
  }
}

TEST(PeerSnapshotCodec, WhatNoCorrectPeerSendsIsRefused) {
  idl::PeerMessage offer = ThroughBytes(SomeOffer());
  offer.snapshotOffer.meta.configuration += "x";
  EXPECT_FALSE(FromWire(std::move(offer)).has_value());
  offer = ThroughBytes(SomeOffer());
  offer.snapshotOffer.digest = std::string(256, 'x');
  EXPECT_FALSE(FromWire(std::move(offer)).has_value());
  idl::PeerMessage ack = ThroughBytes(server::SnapshotAck{});
  ack.snapshotAck.state = Unknown<idl::SnapshotState::type>(9);
  EXPECT_FALSE(FromWire(std::move(ack)).has_value());
}

}  // namespace
}  // namespace conclave::doors
