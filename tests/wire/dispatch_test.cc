// One call's bytes to the generated code and back, without a socket.
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <thrift/TApplicationException.h>

#include "tests/wire/testing.h"
#include "thrift/wire/service.h"

namespace conclave::wire::testing {
namespace {

using apache::thrift::TApplicationException;
using apache::thrift::protocol::T_CALL;
using apache::thrift::protocol::T_EXCEPTION;
using apache::thrift::protocol::T_ONEWAY;
using apache::thrift::protocol::T_REPLY;
using apache::thrift::protocol::TMessageType;
using apache::thrift::protocol::TProtocol;
using apache::thrift::protocol::TType;

class DispatchTest : public ::testing::TestWithParam<Protocol> {
 protected:
  void Make(const Limits& limits = {}) {
    service_ = std::make_unique<TestService>(state_, nullptr);
    dispatcher_ = std::make_unique<CallDispatcher>(
        service_->processor(), limits, counters_,
        [this](std::string_view reply) { replies_.emplace_back(reply); });
  }

  // The refusal of a frame, or nothing.
  std::optional<Refusal> Feed(std::string_view frame) {
    // Memory of exactly its size, so that asan sees a read past its end.
    const std::vector<char> copy(frame.begin(), frame.end());
    const auto result = dispatcher_->OnFrame({copy.data(), copy.size()});
    return result ? std::nullopt : std::optional(result.error().refusal);
  }

  Answer Last() { return DecodeAnswer(replies_.back()); }

  SharedState state_;
  Counters counters_;
  std::unique_ptr<TestService> service_;
  std::unique_ptr<CallDispatcher> dispatcher_;
  std::vector<std::string> replies_;
};

INSTANTIATE_TEST_SUITE_P(Protocols, DispatchTest,
                         ::testing::Values(Protocol::kBinary, Protocol::kCompact),
                         [](const auto& param_info) {
                           return param_info.param == Protocol::kBinary ? "Binary" : "Compact";
                         });

// A message whose arguments are written by `body`.
std::string Message(Protocol protocol, const std::string& name, TMessageType type,
                    const std::function<void(TProtocol&)>& body) {
  MessageWriter writer;
  auto& out = writer.Begin(protocol);
  out.writeMessageBegin(name, type, 5);
  body(out);
  out.writeMessageEnd();
  return std::string(writer.bytes());
}

TEST_P(DispatchTest, AnswersInTheProtocolOfTheCallAndEchoesItsNumber) {
  Make();
  for (const std::int32_t seqid : {1, 0, -1, 2147483647, -2147483647 - 1}) {
    ASSERT_EQ(Feed(GetCall(GetParam(), seqid, "/a")), std::nullopt);
    EXPECT_EQ(DetectProtocol(replies_.back()), GetParam());
    EXPECT_EQ(Last().header.seqid, seqid);
    EXPECT_EQ(Last().header.type, T_REPLY);
    EXPECT_EQ(Last().data, "/a");
  }
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
  EXPECT_EQ(dispatcher_->bytes_in_flight(), 0U);
}

TEST_P(DispatchTest, CarriesTheDeclaredError) {
  Make();
  ASSERT_EQ(Feed(GetCall(GetParam(), 3, "/missing")), std::nullopt);
  EXPECT_TRUE(Last().has_declared_error);
  EXPECT_EQ(Last().error.code, idl::v1::ErrorCode::NO_NODE);
  EXPECT_EQ(Last().error.path, "/missing");
}

TEST_P(DispatchTest, AnswersInAnyOrder) {
  Make();
  const std::string poll = PollCall(GetParam(), 1, 1'000);
  ASSERT_EQ(Feed(poll), std::nullopt);
  ASSERT_EQ(Feed(GetCall(GetParam(), 2, "/a")), std::nullopt);
  EXPECT_EQ(dispatcher_->calls_in_flight(), 1U);
  EXPECT_EQ(dispatcher_->bytes_in_flight(), poll.size());
  state_.WakeAll(9);
  ASSERT_EQ(replies_.size(), 2U);
  EXPECT_EQ(DecodeAnswer(replies_[0]).header.seqid, 2);
  EXPECT_EQ(DecodeAnswer(replies_[1]).header.seqid, 1);
  EXPECT_EQ(DecodeAnswer(replies_[1]).zxid, 9);
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
}

TEST_P(DispatchTest, AHandlerThatThrowsIsAnInternalErrorOfThatCallAlone) {
  Make();
  ASSERT_EQ(Feed(GetCall(GetParam(), 4, "/throw")), std::nullopt);
  EXPECT_EQ(Last().header.type, T_EXCEPTION);
  EXPECT_EQ(Last().header.seqid, 4);
  EXPECT_EQ(Last().application_type, TApplicationException::INTERNAL_ERROR);
  EXPECT_EQ(Last().application_error, "internal error") << "what() must not leak";
  ASSERT_EQ(Feed(GetCall(GetParam(), 5, "/a")), std::nullopt);
  EXPECT_EQ(Last().data, "/a");
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
}

TEST_P(DispatchTest, AnUnknownMethodIsAnswered) {
  Make();
  const std::string call = Message(GetParam(), "noSuchCall", T_CALL, [](TProtocol& out) {
    out.writeStructBegin("args");
    out.writeFieldBegin("x", apache::thrift::protocol::T_STRING, 1);
    out.writeString("y");
    out.writeFieldEnd();
    out.writeFieldStop();
    out.writeStructEnd();
  });
  ASSERT_EQ(Feed(call), std::nullopt);
  EXPECT_EQ(Last().application_type, TApplicationException::UNKNOWN_METHOD);
  EXPECT_EQ(Last().header.seqid, 5);
}

TEST_P(DispatchTest, AOneWayCallGetsNoAnswer) {
  Make();
  std::string call = GetCall(GetParam(), 5, "/a");
  const auto body = [](TProtocol& out) {
    const idl::v1::Ctx ctx;
    idl::v1::GetRequest request;
    request.path = "/throw";
    idl::v1::Coord_getData_pargs pargs;
    pargs.ctx = &ctx;
    pargs.request = &request;
    pargs.write(&out);
  };
  ASSERT_EQ(Feed(Message(GetParam(), "getData", T_ONEWAY, body)), std::nullopt);
  EXPECT_EQ(state_.handled, 1);
  EXPECT_TRUE(replies_.empty());
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
}

TEST_P(DispatchTest, ARepliesOverTheFrameLimitBecomesAnError) {
  Limits limits;
  limits.frame_bytes_max = 2'000;
  Make(limits);
  ASSERT_EQ(Feed(GetCall(GetParam(), 1, "/size/1500")), std::nullopt);
  EXPECT_EQ(Last().data.size(), 1'500U);
  ASSERT_EQ(Feed(GetCall(GetParam(), 2, "/size/2000")), std::nullopt);
  EXPECT_EQ(Last().header.seqid, 2);
  EXPECT_NE(Last().application_error.find("frame limit of 2000"), std::string::npos);
}

TEST_P(DispatchTest, TakesContainersUpToTheirLimit) {
  Limits limits;
  limits.container_size_max = 100;
  Make(limits);
  EXPECT_EQ(Feed(MultiCall(GetParam(), 1, 99)), std::nullopt);
  EXPECT_EQ(Feed(MultiCall(GetParam(), 1, 100)), std::nullopt);
  EXPECT_EQ(state_.handled, 2);
  EXPECT_EQ(Feed(MultiCall(GetParam(), 1, 101)), Refusal::kMalformed);
  EXPECT_EQ(state_.handled, 2);
}

TEST_P(DispatchTest, RefusesEveryTruncation) {
  Make();
  const std::string call = GetCall(GetParam(), 1, "/some/path");
  for (std::size_t size = 1; size < call.size(); ++size) {
    EXPECT_NE(Feed(call.substr(0, size)), std::nullopt) << size;
    // What went wrong with one message must not change how the next is read.
    ASSERT_EQ(Feed(call), std::nullopt) << size;
    EXPECT_EQ(Last().data, "/some/path");
  }
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
}

TEST_P(DispatchTest, RefusesWhatIsNotACall) {
  Make();
  for (const TMessageType type : {T_REPLY, T_EXCEPTION, static_cast<TMessageType>(0)}) {
    EXPECT_EQ(
        Feed(Message(GetParam(), "getData", type, [](TProtocol& out) { out.writeFieldStop(); })),
        Refusal::kMalformed);
  }
  EXPECT_EQ(Feed("{\"json\": 1}"), Refusal::kUnknownProtocol);
  EXPECT_EQ(Feed(std::string("\0\0\0\x07getData", 11)), Refusal::kUnknownProtocol);
  EXPECT_EQ(state_.handled, 0);
}

TEST_P(DispatchTest, DeclaredSizesDoNotCostMemory) {
  Make();
  // The start of a getData whose arguments declare sizes that never come.
  const auto bomb = [](TType type, const std::function<void(TProtocol&)>& value) {
    return Message(GetParam(), "getData", T_CALL, [&](TProtocol& out) {
      out.writeFieldBegin("x", type, 2);
      value(out);
    });
  };
  const std::size_t before = ResidentBytes();
  for (const std::uint32_t size : {0x7fffffffU, 0x7ffffff0U, 0x10000000U, 100'000'000U}) {
    std::string name = GetParam() == Protocol::kBinary ? std::string("\x80\x01\x00\x01", 4)
                                                       : std::string("\x82\x21\x05", 3);
    if (GetParam() == Protocol::kBinary) {
      name += {static_cast<char>(size >> 24), static_cast<char>(size >> 16),
               static_cast<char>(size >> 8), static_cast<char>(size)};
    } else {
      name += "\xff\xff\xff\xff\x07";
    }
    EXPECT_EQ(Feed(name), Refusal::kMalformed);
    for (const TType element :
         {apache::thrift::protocol::T_STRUCT, apache::thrift::protocol::T_STRING,
          apache::thrift::protocol::T_BYTE}) {
      EXPECT_EQ(Feed(bomb(apache::thrift::protocol::T_LIST,
                          [&](TProtocol& out) { out.writeListBegin(element, size); })),
                Refusal::kMalformed);
      EXPECT_EQ(Feed(bomb(apache::thrift::protocol::T_MAP,
                          [&](TProtocol& out) { out.writeMapBegin(element, element, size); })),
                Refusal::kMalformed);
    }
  }
  EXPECT_LT(ResidentBytes(), before + kMemorySlack);
}

TEST_P(DispatchTest, RefusesDeepNesting) {
  Make();
  const std::string deep = Message(GetParam(), "getData", T_CALL, [](TProtocol& out) {
    for (int i = 0; i < 200'000; ++i) {
      out.writeStructBegin("s");
      out.writeFieldBegin("x", apache::thrift::protocol::T_STRUCT, 9);
    }
  });
  EXPECT_EQ(Feed(deep), Refusal::kMalformed);
  ASSERT_EQ(Feed(GetCall(GetParam(), 1, "/a")), std::nullopt);
}

TEST_P(DispatchTest, SurvivesRandomDamage) {
  Make();
  std::mt19937 random(11);
  const std::vector<std::string> calls = {GetCall(GetParam(), 1, "/some/path"),
                                          MultiCall(GetParam(), 2, 20), PollCall(GetParam(), 3, 0)};
  for (int round = 0; round < 30'000; ++round) {
    std::string call = calls[random() % calls.size()];
    const int flips = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < flips; ++i) {
      call[random() % call.size()] = static_cast<char>(random());
    }
    Feed(call);
  }
  state_.WakeAll(1);
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
  ASSERT_EQ(Feed(GetCall(GetParam(), 1, "/a")), std::nullopt);
  EXPECT_EQ(Last().data, "/a");
}

TEST_P(DispatchTest, RepliesAfterItsEndGoNowhere) {
  Make();
  ASSERT_EQ(Feed(PollCall(GetParam(), 1, 1'000)), std::nullopt);
  dispatcher_.reset();
  service_.reset();
  state_.WakeAll(9);
  EXPECT_TRUE(replies_.empty());
}

TEST_P(DispatchTest, ADroppedCallIsNoLongerInFlight) {
  Make();
  ASSERT_EQ(Feed(PollCall(GetParam(), 1, 1'000)), std::nullopt);
  state_.parked.clear();
  EXPECT_EQ(dispatcher_->calls_in_flight(), 0U);
  EXPECT_TRUE(replies_.empty());
}

TEST_P(DispatchTest, TellsTheCallThatItsFrameWasTooLarge) {
  Limits limits;
  limits.frame_bytes_max = 1'000;
  Make(limits);
  const std::string call = GetCall(GetParam(), 8, "/" + std::string(5'000, 'a'));
  const std::string reply = dispatcher_->TooLargeReply(call.substr(0, 64), call.size());
  EXPECT_EQ(DecodeAnswer(reply).header.seqid, 8);
  EXPECT_EQ(DecodeAnswer(reply).application_type, TApplicationException::PROTOCOL_ERROR);
  EXPECT_NE(DecodeAnswer(reply).application_error.find("limit of 1000"), std::string::npos);
  EXPECT_TRUE(dispatcher_->TooLargeReply("garbage", 2'000).empty());
  EXPECT_TRUE(dispatcher_->TooLargeReply(call.substr(0, 5), 2'000).empty());
}

}  // namespace
}  // namespace conclave::wire::testing
