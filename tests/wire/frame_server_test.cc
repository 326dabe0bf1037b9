// The frame server with honest clients: both protocols, pipelining, parked calls, back-pressure.
#include "thrift/wire/frame_server.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/wire/testing.h"

namespace conclave::wire::testing {
namespace {

// Runs the server until the client has `count` whole answers.
std::vector<std::string> AwaitFrames(TestServer& server, RawClient& client, std::size_t count) {
  EXPECT_TRUE(RunUntil(server.loop, [&] {
    client.Receive();
    return client.frames().size() >= count || client.ended();
  }));
  EXPECT_EQ(client.frames().size(), count);
  return client.frames();
}

TEST(FrameServerTest, SpeaksBothProtocolsOnOneConnection) {
  TestServer server;
  RawClient client(server.address);
  client.Write(Framed(GetCall(Protocol::kBinary, 1, "/b")) +
               Framed(GetCall(Protocol::kCompact, 2, "/c")));
  const auto frames = AwaitFrames(server, client, 2);
  EXPECT_EQ(DetectProtocol(frames[0]), Protocol::kBinary);
  EXPECT_EQ(DecodeAnswer(frames[0]).data, "/b");
  EXPECT_EQ(DetectProtocol(frames[1]), Protocol::kCompact);
  EXPECT_EQ(DecodeAnswer(frames[1]).data, "/c");
}

TEST(FrameServerTest, TakesACallInPiecesOfAnySize) {
  TestServer server;
  const std::string bytes = Framed(GetCall(Protocol::kCompact, 1, "/pieces"));
  RawClient client(server.address);
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    client.Write(bytes.substr(0, cut));
    const auto before = server.counters.bytes_received.load();
    ASSERT_TRUE(RunUntil(server.loop, [&] {
      return server.counters.bytes_received.load() >= before + cut ||
             server.counters.bytes_received.load() >= (cut - 1) * bytes.size() + cut;
    }));
    client.Write(bytes.substr(cut));
    AwaitFrames(server, client, cut);
  }
}

TEST(FrameServerTest, AParkedCallDoesNotHoldUpTheOthers) {
  TestServer server;
  RawClient client(server.address);
  std::string calls = Framed(PollCall(Protocol::kBinary, 1, 60'000));
  for (int i = 2; i < 100; ++i) {
    calls += Framed(GetCall(Protocol::kBinary, i, "/a"));
  }
  client.Write(calls);
  AwaitFrames(server, client, 98);
  EXPECT_EQ(server.state.parked.size(), 1U);
  client.Write(Framed(WakeCall(Protocol::kBinary, 200)));
  const auto frames = AwaitFrames(server, client, 100);
  EXPECT_EQ(DecodeAnswer(frames[98]).header.seqid, 1);
  EXPECT_EQ(DecodeAnswer(frames[98]).zxid, 77);
}

TEST(FrameServerTest, RepliesOfATurnLeaveInOneSystemCall) {
  TestServer server;
  RawClient client(server.address);
  std::string calls;
  for (int i = 0; i < 256; ++i) {
    calls += Framed(GetCall(Protocol::kCompact, i, "/a"));
  }
  client.Write(calls);
  AwaitFrames(server, client, 256);
  EXPECT_EQ(server.counters.replies.load(), 256U);
  EXPECT_LE(server.counters.send_calls.load(), 5U);
  EXPECT_LE(server.counters.receive_calls.load(), 5U);
}

TEST(FrameServerTest, TellsHandlersWhoCallsAndSince) {
  TestServer server;
  RawClient client(server.address);
  const std::int64_t before_ns = server.loop.NowNs();
  client.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  AwaitFrames(server, client, 1);
  EXPECT_TRUE(server.state.last_address.starts_with("127.0.0.1:"));
  EXPECT_GE(server.state.last_received_ns, before_ns);
  EXPECT_LE(server.state.last_received_ns, server.loop.NowNs());
}

TEST(FrameServerTest, AClientThatLeavesIsForgotten) {
  TestServer server;
  {
    RawClient client(server.address);
    client.Write(Framed(PollCall(Protocol::kBinary, 1, 60'000)));
    ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.parked.size() == 1; }));
  }
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.closed == 1; }));
  EXPECT_EQ(server.server.connections(), 0U);
  EXPECT_EQ(server.counters.connections_open.load(), 0U);
  server.state.WakeAll(1);  // answers nobody
  EXPECT_EQ(server.counters.replies.load(), 0U);
}

TEST(FrameServerTest, StopsReadingAtTheBoundOfCallsInFlight) {
  Limits limits;
  limits.calls_in_flight_max = 8;
  TestServer server(limits);
  RawClient client(server.address);
  std::string polls;
  for (int i = 0; i < 100; ++i) {
    polls += Framed(PollCall(Protocol::kBinary, i, 60'000));
  }
  client.Write(polls);
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.counters.read_pauses.load() == 1; }));
  EXPECT_EQ(server.state.parked.size(), 8U);
  // Another client is not held up.
  RawClient other(server.address);
  other.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  AwaitFrames(server, other, 1);
  EXPECT_EQ(server.state.parked.size(), 8U);
  // Each answer to all that waits lets eight more in, and none is lost.
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    EXPECT_LE(server.state.parked.size(), 8U);
    server.state.WakeAll(5);
    client.Receive();
    return client.frames().size() == 100;
  }));
  std::set<std::int32_t> seqids;
  for (const std::string& frame : client.frames()) {
    seqids.insert(DecodeAnswer(frame).header.seqid);
  }
  EXPECT_EQ(seqids.size(), 100U);
}

TEST(FrameServerTest, StopsReadingAtTheBoundOfBytesInFlight) {
  Limits limits;
  limits.calls_in_flight_bytes_max = 1'000;
  TestServer server(limits);
  RawClient client(server.address);
  const std::string poll = PollCall(Protocol::kBinary, 1, 60'000);
  std::string polls;
  for (int i = 0; i < 100; ++i) {
    polls += Framed(poll);
  }
  client.Write(polls);
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.counters.read_pauses.load() == 1; }));
  EXPECT_EQ(server.state.parked.size(), (1'000 + poll.size() - 1) / poll.size());
}

TEST(FrameServerTest, ReadsAgainAfterAPauseThoughItsOutputIsBlocked) {
  Limits limits;
  limits.calls_in_flight_max = 4;
  TestServer server(limits);
  RawClient client(server.address, 4'096);
  const std::string large = Framed(GetCall(Protocol::kBinary, 1, "/size/4000000"));
  client.Write(large + large + large);
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.handled == 3; }));
  ASSERT_GT(server.counters.output_bytes.load(), 0U) << "the kernel has taken it all";
  for (int i = 0; i < 4; ++i) {
    client.Write(Framed(PollCall(Protocol::kBinary, i, 60'000)));
  }
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.counters.read_pauses.load() == 1; }));
  server.state.WakeAll(1);
  client.Write(Framed(GetCall(Protocol::kBinary, 9, "/a")));
  EXPECT_TRUE(RunUntil(server.loop, [&] { return server.state.handled == 8; }));
}

TEST(FrameServerTest, LimitsConnectionsInTotalAndPerAddress) {
  for (const bool per_address : {false, true}) {
    ServerLimits server_limits;
    (per_address ? server_limits.connections_per_address_max : server_limits.connections_max) = 3;
    TestServer server({}, server_limits);
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(std::make_unique<RawClient>(server.address));
      clients.back()->Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
      AwaitFrames(server, *clients.back(), 1);
    }
    RawClient refused(server.address);
    ASSERT_TRUE(RunUntil(server.loop, [&] {
      refused.Receive();
      return refused.ended();
    }));
    EXPECT_EQ(
        server.refused(per_address ? Refusal::kTooManyFromAddress : Refusal::kTooManyConnections),
        1U);
    clients.pop_back();
    ASSERT_TRUE(RunUntil(server.loop, [&] { return server.server.connections() == 2; }));
    RawClient again(server.address);
    again.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
    AwaitFrames(server, again, 1);
  }
}

TEST(FrameServerTest, APortInUseIsAnErrorThatNamesIt) {
  TestServer server;
  TestServer other;
  const auto bound = other.server.Listen(server.address);
  ASSERT_FALSE(bound.has_value());
  EXPECT_EQ(bound.error(),
            "cannot listen on " + server.address.ToString() + ": Address already in use");
}

TEST(FrameServerTest, DrainLetsRepliesLeave) {
  TestServer server;
  RawClient busy(server.address);
  busy.Write(Framed(PollCall(Protocol::kBinary, 1, 60'000)));
  RawClient idle(server.address);
  idle.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  AwaitFrames(server, idle, 1);
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.parked.size() == 1; }));
  bool drained = false;
  server.server.Drain(60'000, [&] { drained = true; });
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    idle.Receive();
    return idle.ended();
  }));
  EXPECT_FALSE(drained);
  server.state.WakeAll(3);
  AwaitFrames(server, busy, 1);
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    busy.Receive();
    return busy.ended();
  }));
  EXPECT_TRUE(RunUntil(server.loop, [&] { return drained || server.server.connections() > 0; }));
}

TEST(FrameServerTest, DrainEndsWhenItsGraceIsOver) {
  TestServer server;
  RawClient busy(server.address);
  busy.Write(Framed(PollCall(Protocol::kBinary, 1, 60'000)));
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.parked.size() == 1; }));
  bool drained = false;
  server.server.Drain(10, [&] { drained = true; });
  EXPECT_TRUE(RunUntil(server.loop, [&] { return drained; }));
}

TEST(FrameServerTest, PassesConnectionsToAnotherLoop) {
  TestServer server;
  LoopThread thread("io-1");
  std::unique_ptr<FrameServer> other;
  SharedState state;
  thread.Await([&] {
    other = std::make_unique<FrameServer>(
        thread.loop(), server.budget, server.counters, FrameServer::Options{.name = "io-1"},
        [&](Caller& caller) { return std::make_unique<TestService>(state, &caller); });
  });
  server.server.SetPlacement([&]() -> FrameServer& { return *other; });
  RawClient client(server.address);
  client.Write(Framed(GetCall(Protocol::kBinary, 1, "/a")));
  AwaitFrames(server, client, 1);
  EXPECT_EQ(server.state.handled, 0);
  thread.Await([&] {
    EXPECT_EQ(state.handled, 1);
    other.reset();
  });
}

TEST(FrameServerTest, TwoThousandParkedCallsOnOneThread) {
  constexpr std::size_t kClients = 2'000;
  TestServer server;
  std::vector<RawClient> clients;
  clients.reserve(kClients);
  const std::size_t threads = ThreadCount();
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.emplace_back(server.address);
    clients.back().Write(
        Framed(PollCall(Protocol::kCompact, static_cast<std::int32_t>(i), 60'000)));
    if (i % 100 == 0) {
      server.loop.RunTurn(false);  // the backlog is bounded
    }
  }
  ASSERT_TRUE(RunUntil(server.loop, [&] { return server.state.parked.size() == kClients; }));
  EXPECT_EQ(server.server.connections(), kClients);
  EXPECT_EQ(ThreadCount(), threads) << "a connection costs a thread";
  clients[7].Write(Framed(WakeCall(Protocol::kCompact, 5'000)));
  std::size_t answered = 0;
  ASSERT_TRUE(
      RunUntil(server.loop, [&] { return server.counters.replies.load() == kClients + 1; }));
  ASSERT_TRUE(RunUntil(server.loop, [&] {
    answered = 0;
    for (RawClient& client : clients) {
      client.Receive();
      answered += client.frames().empty() ? 0 : 1;
    }
    return answered == kClients;
  }));
  EXPECT_EQ(DecodeAnswer(clients[1'234].frames().at(0)).header.seqid, 1'234);
}

}  // namespace
}  // namespace conclave::wire::testing
