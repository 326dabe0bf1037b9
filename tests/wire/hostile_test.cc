// The frame server with clients that are broken or mean harm: each is refused with a counter and a
// log line, memory stays small, and everybody else is served.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <thrift/TApplicationException.h>

#include "tests/wire/testing.h"
#include "thrift/wire/frame_server.h"

namespace conclave::wire::testing {
namespace {

// True once the server has closed the connection.
bool AwaitEnd(TestServer& server, RawClient& client) {
  return RunUntil(server.loop, [&] {
    client.Receive();
    return client.ended();
  });
}

void ExpectServes(TestServer& server) {
  RawClient client(server.address);
  client.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  EXPECT_TRUE(RunUntil(server.loop, [&] {
    client.Receive();
    return client.frames().size() == 1;
  }));
}

TEST(HostileTest, RefusesEachKindOfGarbage) {
  const std::vector<std::pair<std::string, Refusal>> cases = {
      {GetCall(Protocol::kBinary, 1, "/unframed"), Refusal::kNotFramed},
      {std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), Refusal::kTls},
      {std::string("\xff\xff\xff\xff", 4), Refusal::kNotFramed},
      {std::string("\x7f\xff\xff\xff", 4), Refusal::kFrameTooLarge},
      {std::string("\0\0\0\0", 4), Refusal::kMalformed},
      {Framed("[1,\"getData\",1,0,{}]"), Refusal::kUnknownProtocol},
      {Framed(std::string("\x80\x01\x00\x01\x7f\xff\xff\xff", 8)), Refusal::kMalformed},
      {Framed(std::string("\x82\x21\x01\xff\xff\xff\xff\x07", 8)), Refusal::kMalformed},
      {Framed(GetCall(Protocol::kBinary, 1, "/cut").substr(0, 30)), Refusal::kMalformed},
      {std::string("SSH-2.0-OpenSSH_9.2p1\r\n"), Refusal::kFrameTooLarge},
  };
  TestServer server;
  const std::size_t before = PeakResidentBytes();
  for (const auto& [bytes, refusal] : cases) {
    const std::uint64_t count = server.refused(refusal);
    RawClient client(server.address);
    client.Write(bytes);
    EXPECT_TRUE(AwaitEnd(server, client)) << RefusalName(refusal);
    EXPECT_EQ(server.refused(refusal), count + 1) << RefusalName(refusal);
    EXPECT_TRUE(client.received().empty());
  }
  EXPECT_LT(PeakResidentBytes(), before + kMemorySlack);
  EXPECT_EQ(server.state.handled, 0);
  ExpectServes(server);
}

// A string says how long it is before it comes: nobody may be made to hold room for what it says.
TEST(HostileTest, AStringCostsWhatHasArrivedAndNotWhatItDeclares) {
  const std::string path = "/declared";
  // A length of 512 MiB instead of the path's own: as 32 bits, and as a variable-length number.
  std::string binary = GetCall(Protocol::kBinary, 1, path);
  binary.replace(binary.find(path) - 4, 4, std::string("\x20\x00\x00\x00", 4));
  std::string compact = GetCall(Protocol::kCompact, 1, path);
  compact.replace(compact.find(path) - 1, 1, "\x80\x80\x80\x80\x02");
  TestServer server;
  const std::size_t before = PeakResidentBytes();
  for (const std::string& call : {binary, compact}) {
    RawClient client(server.address);
    client.Write(Framed(call));
    EXPECT_TRUE(AwaitEnd(server, client));
  }
  EXPECT_EQ(server.refused(Refusal::kMalformed), 2U);
  EXPECT_EQ(server.state.handled, 0);
  EXPECT_LT(PeakResidentBytes(), before + kMemorySlack);
  ExpectServes(server);
}

TEST(HostileTest, AnswersHttpInAWayThatAPersonCanRead) {
  TestServer server;
  for (const std::string method : {"GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE"}) {
    RawClient client(server.address);
    client.Write(method + " /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(AwaitEnd(server, client)) << method;
    EXPECT_TRUE(client.received().starts_with("HTTP/1.1 400 Bad Request\r\n")) << method;
    EXPECT_NE(client.received().find("framed Thrift, not HTTP"), std::string::npos);
  }
  EXPECT_EQ(server.refused(Refusal::kHttp), 6U);
}

TEST(HostileTest, AFrameOverTheLimitIsAnErrorOfThatCall) {
  Limits limits;
  limits.frame_bytes_max = 10'000;
  TestServer server(limits);
  const auto call = [](std::size_t frame_bytes, std::int32_t seqid) {
    const std::size_t overhead = GetCall(Protocol::kBinary, seqid, "").size();
    return Framed(GetCall(Protocol::kBinary, seqid, std::string(frame_bytes - overhead, 'p')));
  };
  RawClient client(server.address);
  // The path is echoed, so the reply to a frame near the limit may be over it by itself: what
  // counts here is whether the call was handled.
  client.Write(call(9'999, 1) + call(10'000, 2) + call(10'001, 3) +
               Framed(GetCall(Protocol::kBinary, 4, "/after")));
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    client.Receive();
    return client.frames().size() == 4;
  }));
  EXPECT_EQ(server.state.handled, 3);
  const Answer refused = DecodeAnswer(client.frames()[2]);
  EXPECT_EQ(refused.header.seqid, 3);
  EXPECT_EQ(refused.application_type, apache::thrift::TApplicationException::PROTOCOL_ERROR);
  EXPECT_NE(refused.application_error.find("10001 bytes is over the limit of 10000"),
            std::string::npos);
  EXPECT_EQ(DecodeAnswer(client.frames()[3]).data, "/after");
  EXPECT_EQ(server.refused(Refusal::kFrameTooLarge), 1U);
}

TEST(HostileTest, ALargeFrameUnderWayCostsWhatHasArrived) {
  TestServer server;
  constexpr int kClients = 500;
  const std::size_t before = ResidentBytes();
  std::vector<RawClient> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back(server.address);
    clients.back().Write(std::string("\x00\x40\x00\x00\x80\x01", 6));  // 4 MiB, two bytes of it
    server.loop.RunTurn(false);
  }
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    return server.counters.bytes_received.load() == std::uint64_t{kClients} * 6;
  }));
  // 500 x 4 MiB were declared.
  EXPECT_LT(ResidentBytes(), before + 2 * kMemorySlack);
  EXPECT_EQ(server.server.connections(), std::size_t{kClients});
}

TEST(HostileTest, ClosesWhoeverSendsNoFrameInTime) {
  Limits limits;
  limits.first_frame_ms = 30;
  TestServer server(limits);
  RawClient honest(server.address);
  honest.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  RawClient silent(server.address);
  EXPECT_TRUE(AwaitEnd(server, silent));
  EXPECT_EQ(server.refused(Refusal::kFirstFrameLate), 1U);
  honest.Receive();
  EXPECT_FALSE(honest.ended());
}

TEST(HostileTest, ClosesASlowLoris) {
  Limits limits;
  limits.frame_completion_ms = 60;
  TestServer server(limits);
  RawClient loris(server.address);
  loris.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  const std::string frame =
      Framed(GetCall(Protocol::kBinary, 2, "/" + std::string(2'000'000, 'a')));
  std::size_t sent = 0;
  // A byte at every look: never silent, never done.
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    loris.Receive();
    sent += loris.ended() || sent == frame.size() ? 0 : loris.Write(frame.substr(sent, 1));
    return loris.ended();
  }));
  EXPECT_LT(sent, frame.size());
  EXPECT_EQ(server.refused(Refusal::kFrameIncomplete), 1U);
  EXPECT_EQ(server.state.handled, 1);
}

TEST(HostileTest, ClosesTheIdleButNotTheParked) {
  Limits limits;
  limits.idle_ms = 60;
  TestServer server(limits);
  RawClient parked(server.address);
  parked.Write(Framed(PollCall(Protocol::kBinary, 1, 60'000)));
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.parked.size() == 1; }));
  RawClient idle(server.address);
  idle.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  EXPECT_TRUE(AwaitEnd(server, idle));
  EXPECT_EQ(idle.frames().size(), 1U);
  EXPECT_EQ(server.refused(Refusal::kIdle), 1U);
  parked.Receive();
  EXPECT_FALSE(parked.ended());
}

TEST(HostileTest, DropsAReaderThatNeverReadsAtItsLimit) {
  Limits limits;
  limits.output_bytes_max = 1 << 20;
  TestServer server(limits);
  RawClient client(server.address, 4'096);
  std::size_t asked = 0;
  // Each call asks for 200 kB and none of it is read.
  const std::string call = Framed(GetCall(Protocol::kBinary, 1, "/size/200000"));
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    if (!client.ended() && server.server.connections() > 0) {
      asked += client.Write(call) == call.size() ? 1 : 0;
    }
    EXPECT_LE(server.counters.output_bytes.load(), (1U << 20) + 200'100U);
    return server.refused(Refusal::kOutputOverLimit) == 1;
  }));
  EXPECT_GT(asked, 5U);
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.server.connections() == 0; }));
  EXPECT_EQ(server.counters.output_bytes.load(), 0U);
  EXPECT_EQ(server.state.closed, 1);
  ExpectServes(server);
}

TEST(HostileTest, DropsAReaderThatNeverReadsInTime) {
  Limits limits;
  limits.output_stall_ms = 50;
  TestServer server(limits);
  RawClient client(server.address, 4'096);
  const std::string call = Framed(GetCall(Protocol::kBinary, 1, "/size/4000000"));
  client.Write(call + call + call);
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.refused(Refusal::kOutputStalled) == 1; }));
  ExpectServes(server);
}

TEST(HostileTest, ManyThatNeverReadStayWithinTheBudget) {
  constexpr std::size_t kClients = 50;
  ServerLimits server_limits;
  server_limits.output_bytes_max = 8U << 20;
  TestServer server({}, server_limits);
  std::vector<RawClient> clients;
  clients.reserve(kClients);
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.emplace_back(server.address, 4'096);
    server.loop.RunTurn(false);
  }
  const std::string call = Framed(GetCall(Protocol::kBinary, 1, "/size/1000000"));
  const std::size_t before = ResidentBytes();
  std::size_t most = 0;
  std::size_t next = 0;
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    for (int i = 0; i < 10; ++i) {
      clients[next++ % kClients].Write(call);
    }
    most = std::max<std::size_t>(most, server.counters.output_bytes.load());
    return server.refused(Refusal::kOutputOverBudget) >= 10;
  }));
  EXPECT_LE(most, server_limits.output_bytes_max + 1'100'000U);
  EXPECT_LT(ResidentBytes(), before + server_limits.output_bytes_max + 2 * kMemorySlack);
  ExpectServes(server);
}

TEST(HostileTest, TheWorstIsDroppedNotTheOneThatHappensToSend) {
  Limits limits;
  limits.output_bytes_max = 64U << 20;
  ServerLimits server_limits;
  server_limits.output_bytes_max = 15U << 20;
  TestServer server(limits, server_limits);
  RawClient worst(server.address, 4'096);
  const std::string call = Framed(GetCall(Protocol::kBinary, 1, "/size/1000000"));
  // The kernel takes some of it, how much is its own affair.
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    const bool enough = server.counters.output_bytes.load() > (13U << 20);
    return enough || worst.Write(call) != call.size();
  }));
  RawClient other(server.address, 4'096);
  std::size_t asked = 0;
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    const bool dropped = server.refused(Refusal::kOutputOverBudget) == 1;
    asked += !dropped && other.Write(call) == call.size() ? 1 : 0;
    return dropped;
  }));
  EXPECT_TRUE(AwaitEnd(server, worst));
  EXPECT_TRUE(RunUntil(server.loop, [&] {
    other.Receive();
    return other.frames().size() == asked;
  }));
  EXPECT_EQ(server.refused(Refusal::kOutputOverBudget), 1U);
}

}  // namespace
}  // namespace conclave::wire::testing
