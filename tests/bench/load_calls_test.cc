// The calls that the load generator writes by hand, read by the code that Thrift generates; and
// what that code answers, read by hand.
#include <memory>
#include <string>
#include <string_view>

#include <conclave_idl/Coord.h>
#include <gtest/gtest.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include "tests/bench/load/bytes.h"
#include "tests/bench/load/conclave_calls.h"

namespace conclave::bench::calls {
namespace {

namespace idl = conclave::idl::v1;
using apache::thrift::protocol::TBinaryProtocol;
using apache::thrift::protocol::TMessageType;
using apache::thrift::transport::TMemoryBuffer;

constexpr std::int32_t kSeqid = 77;
const std::string kSecret(16, 's');

Context WriteContext() {
  return {.session = 42,
          .secret = kSecret,
          .seq = 9,
          .acked_through = 7,
          .after_seq = 0,
          .min_zxid = 0};
}

Context ReadContext() {
  return {.session = 42,
          .secret = kSecret,
          .seq = 0,
          .acked_through = 7,
          .after_seq = 8,
          .min_zxid = 1'000};
}

// The arguments of one frame.
template <class Arguments>
Arguments Decode(const std::string& frame, const std::string& name) {
  EXPECT_EQ(frame.size() - 4, GetU32(frame.data()));
  auto buffer = std::make_shared<TMemoryBuffer>();
  buffer->write(reinterpret_cast<const std::uint8_t*>(frame.data() + 4),
                static_cast<std::uint32_t>(frame.size() - 4));
  TBinaryProtocol protocol(buffer);
  std::string called;
  TMessageType type{};
  std::int32_t seqid = 0;
  protocol.readMessageBegin(called, type, seqid);
  EXPECT_EQ(name, called);
  EXPECT_EQ(apache::thrift::protocol::T_CALL, type);
  EXPECT_EQ(kSeqid, seqid);
  Arguments arguments;
  arguments.read(&protocol);
  EXPECT_EQ(0U, buffer->available_read());
  return arguments;
}

// The payload of a reply with this result struct.
template <class Result>
std::string Encode(const Result& result, const std::string& name,
                   TMessageType type = apache::thrift::protocol::T_REPLY) {
  auto buffer = std::make_shared<TMemoryBuffer>();
  TBinaryProtocol protocol(buffer);
  protocol.writeMessageBegin(name, type, kSeqid);
  result.write(&protocol);
  protocol.writeMessageEnd();
  return buffer->getBufferAsString();
}

void ExpectWriteContext(const idl::Ctx& context) {
  EXPECT_EQ(42, context.session);
  EXPECT_EQ(kSecret, context.secret);
  EXPECT_EQ(9, context.seq);
  EXPECT_EQ(7, context.ackedThrough);
  EXPECT_TRUE(context.noEvents);
}

TEST(ConclaveCalls, Writes) {
  std::string frame;
  AppendSetData(frame, kSeqid, WriteContext(), "/a", "value");
  const auto set = Decode<idl::Coord_setData_args>(frame, "setData");
  ExpectWriteContext(set.ctx);
  EXPECT_EQ("/a", set.request.path);
  EXPECT_TRUE(set.request.__isset.data);
  EXPECT_EQ("value", set.request.data);
  EXPECT_EQ(-1, set.request.expectedVersion);

  frame.clear();
  AppendCreate(frame, kSeqid, WriteContext(), "/b", "");
  const auto create = Decode<idl::Coord_create_args>(frame, "create");
  ExpectWriteContext(create.ctx);
  EXPECT_EQ("/b", create.request.path);
  EXPECT_TRUE(create.request.__isset.data);
  EXPECT_EQ(idl::CreateMode::PERSISTENT, create.request.mode);
}

TEST(ConclaveCalls, Reads) {
  std::string frame;
  AppendGetData(frame, kSeqid, ReadContext(), "/a", ReadMode::kSession);
  const auto get = Decode<idl::Coord_getData_args>(frame, "getData");
  EXPECT_EQ(42, get.ctx.session);
  EXPECT_EQ(0, get.ctx.seq);
  EXPECT_EQ(8, get.ctx.afterSeq);
  EXPECT_EQ(1'000, get.ctx.minZxid);
  EXPECT_EQ("/a", get.request.path);
  EXPECT_EQ(idl::ReadMode::SESSION, get.request.mode);
  EXPECT_FALSE(get.request.__isset.watch);

  frame.clear();
  AppendGetData(frame, kSeqid, ReadContext(), "/a", ReadMode::kLinearizable);
  EXPECT_EQ(idl::ReadMode::LINEARIZABLE,
            Decode<idl::Coord_getData_args>(frame, "getData").request.mode);
}

TEST(ConclaveCalls, SessionsWatchesAndPolls) {
  std::string frame;
  AppendOpenSession(frame, kSeqid, 30'000, std::string(16, 'n'));
  const auto open = Decode<idl::Coord_openSession_args>(frame, "openSession");
  EXPECT_EQ(30'000, open.request.timeoutMs);
  EXPECT_EQ(std::string(16, 'n'), open.request.nonce);

  frame.clear();
  AppendAddWatch(frame, kSeqid, ReadContext(), 5, "/w");
  const auto watch = Decode<idl::Coord_addWatch_args>(frame, "addWatch");
  EXPECT_EQ(5, watch.request.watch.watchId);
  EXPECT_EQ("/w", watch.request.watch.path);
  EXPECT_EQ(idl::WatchMode::PERSISTENT, watch.request.watch.mode);
  EXPECT_FALSE(watch.request.watch.withValue);

  frame.clear();
  AppendPoll(frame, kSeqid, ReadContext(), {.zxid = 3, .ordinal = 4}, 10'000);
  const auto poll = Decode<idl::Coord_poll_args>(frame, "poll");
  EXPECT_EQ(3, poll.request.cursor.zxid);
  EXPECT_EQ(4, poll.request.cursor.ordinal);
  EXPECT_EQ(10'000, poll.request.waitMs);

  frame.clear();
  AppendPing(frame, kSeqid, ReadContext());
  EXPECT_EQ(42, Decode<idl::Coord_ping_args>(frame, "ping").ctx.session);
}

TEST(ConclaveCalls, AResultSaysItsZxid) {
  idl::Coord_setData_result result;
  result.__isset.success = true;
  result.success.head.zxid = 123;
  result.success.head.clusterId = std::string(16, 'c');
  const Reply reply = ReadReply(Encode(result, "setData"));
  EXPECT_TRUE(reply.valid);
  EXPECT_EQ(kSeqid, reply.seqid);
  EXPECT_EQ(0, reply.error);
  EXPECT_EQ(123, reply.zxid);
}

TEST(ConclaveCalls, AnErrorSaysItsCode) {
  idl::Coord_setData_result result;
  result.__isset.error = true;
  result.error.code = idl::ErrorCode::OVERLOADED;
  result.error.message = "full";
  const Reply reply = ReadReply(Encode(result, "setData"));
  EXPECT_TRUE(reply.valid);
  EXPECT_EQ(kErrorOverloaded, reply.error);
  const Reply broken = ReadReply(Encode(result, "setData", apache::thrift::protocol::T_EXCEPTION));
  EXPECT_TRUE(broken.valid);
  EXPECT_EQ(kErrorApplication, broken.error);
}

TEST(ConclaveCalls, ErrorCodesAreTheContracts) {
  EXPECT_EQ(idl::ErrorCode::SEQUENCE_GAP, kErrorSequenceGap);
  EXPECT_EQ(idl::ErrorCode::NOT_LEADER, kErrorNotLeader);
  EXPECT_EQ(idl::ErrorCode::UNAVAILABLE, kErrorUnavailable);
  EXPECT_EQ(idl::ErrorCode::OVERLOADED, kErrorOverloaded);
  EXPECT_EQ(idl::ErrorCode::NO_SPACE, kErrorNoSpace);
  EXPECT_EQ(idl::ErrorCode::UNKNOWN_OUTCOME, kErrorUnknownOutcome);
}

TEST(ConclaveCalls, ASessionThatWasOpened) {
  idl::Coord_openSession_result result;
  result.__isset.success = true;
  result.success.session = 42;
  result.success.secret = kSecret;
  const auto opened = ReadOpened(Encode(result, "openSession"));
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(42, opened->session);
  EXPECT_EQ(kSecret, opened->secret);
}

TEST(ConclaveCalls, EventsAndCursorOfAPoll) {
  idl::Coord_poll_result result;
  result.__isset.success = true;
  idl::Event event;
  event.watchIds = {1, 2};
  event.change.path = "/w";
  result.success.head.__set_events({event, event, event});
  idl::Cursor cursor;
  cursor.zxid = 8;
  cursor.ordinal = 1;
  result.success.head.__set_cursor(cursor);
  const std::string payload = Encode(result, "poll");
  const auto polled = ReadPolled(payload);
  ASSERT_TRUE(polled.has_value());
  EXPECT_EQ(3U, polled->events);
  ASSERT_TRUE(polled->cursor.has_value());
  EXPECT_EQ(8, polled->cursor->zxid);
  EXPECT_EQ(1, polled->cursor->ordinal);
}

TEST(ConclaveCalls, WhatIsCutOffIsNotTakenForAnAnswer) {
  idl::Coord_openSession_result result;
  result.__isset.success = true;
  result.success.session = 42;
  result.success.secret = kSecret;
  const std::string payload = Encode(result, "openSession");
  const std::size_t head_end = payload.find(kSecret);
  ASSERT_NE(std::string::npos, head_end);
  for (std::size_t size = 0; size < head_end; ++size) {
    EXPECT_FALSE(ReadOpened(std::string_view(payload).substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(ReadReply("").valid);
  EXPECT_FALSE(ReadReply("not thrift at all, not at all").valid);
}

}  // namespace
}  // namespace conclave::bench::calls
