// Two ends of a link between members, on real sockets of one loop.

#include "coord/doors/peer_links.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace conclave::doors {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

wire::SocketAddress Loopback(std::uint16_t port) {
  return *wire::NumericAddress({"127.0.0.1", port});
}

// What a server would be told.
class Recorder final : public server::PeerTransport::Handler {
 public:
  void OnPeerMessage(raft::MemberId from, server::PeerMessage message) override {
    ASSERT_TRUE(connected) << "a message outside of a span";
    last_from = from;
    messages.push_back(std::move(message));
  }

  void OnPeerConnected(const server::PeerHello& peer) override {
    ASSERT_FALSE(connected);
    connected = true;
    ++spans;
    hello = peer;
  }

  void OnPeerDisconnected(raft::MemberId peer) override {
    ASSERT_TRUE(connected);
    connected = false;
    last_from = peer;
  }

  void OnPeerRefused(raft::MemberId peer, std::string_view reason) override {
    refusals.emplace_back(reason);
    last_from = peer;
  }

  void OnNotMember(raft::MemberId peer, std::string_view reason) override {
    denials.emplace_back(reason);
    last_from = peer;
  }

  std::optional<std::string> OnStranger(const server::PeerHello& peer) override {
    strangers.push_back(peer);
    return refuse_strangers ? std::optional<std::string>("who are you?") : std::nullopt;
  }

  bool connected = false;
  bool refuse_strangers = true;
  std::vector<server::PeerHello> strangers;
  std::vector<std::string> denials;
  int spans = 0;
  raft::MemberId last_from = 0;
  server::PeerHello hello;
  std::vector<server::PeerMessage> messages;
  std::vector<std::string> refusals;
};

// A member's end of its links. Ports are found by binding port 0 and letting go again; what takes
// the port in between makes Listen fail, which is an error of the test and never a wrong pass.
struct End {
  End(wire::EventLoop* loop, wire::Resolver* resolver, raft::MemberId id, std::uint16_t port,
      const std::map<raft::MemberId, std::uint16_t>& peers)
      : links(loop, resolver, {.listen = Loopback(port)}) {
    for (const auto& [peer, peer_port] : peers) {
      links.SetPeer(peer, "127.0.0.1:" + std::to_string(peer_port));
    }
    self.peer_address = "127.0.0.1:" + std::to_string(port);
    self.member = id;
    self.incarnation = 100 + id;
    self.cluster_name = "test";
  }

  void Start() {
    const auto listening = links.Listen();
    ASSERT_TRUE(listening) << listening.error();
    links.Start(&recorder, self);
  }

  Recorder recorder;
  server::PeerHello self;
  PeerLinks links;
};

std::uint16_t FreePort() {
  wire::SocketAddress address = Loopback(0);
  const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(bind(probe, address.get(), address.size), 0);
  EXPECT_EQ(getsockname(probe, reinterpret_cast<sockaddr*>(&address.storage), &address.size), 0);
  close(probe);
  return address.port();
}

class PeerLinksTest : public ::testing::Test {
 protected:
  PeerLinksTest() : resolver_(loop_) {
    a_ = MakeA();
    b_ = std::make_unique<End>(&loop_, &resolver_, 2, port_b_,
                               std::map<raft::MemberId, std::uint16_t>{{1, port_a_}});
  }

  std::unique_ptr<End> MakeA() {
    return std::make_unique<End>(&loop_, &resolver_, 1, port_a_,
                                 std::map<raft::MemberId, std::uint16_t>{{2, port_b_}});
  }

  // Runs the loop until the condition holds; fails after ten seconds.
  template <typename Condition>
  void RunUntil(Condition condition) {
    const std::int64_t deadline_ns = loop_.NowNs() + 10 * kNsPerSecond;
    const wire::TimerId wake = loop_.PostAfter(10 * kNsPerSecond, [] {});
    while (!condition()) {
      ASSERT_LT(loop_.NowNs(), deadline_ns) << "waited in vain";
      loop_.RunTurn(true);
    }
    loop_.Cancel(wake);
  }

  void StartBoth() {
    a_->Start();
    b_->Start();
    RunUntil([&] { return a_->recorder.connected && b_->recorder.connected; });
  }

  wire::EventLoop loop_;
  wire::SystemResolver resolver_;
  std::uint16_t port_a_ = FreePort();
  std::uint16_t port_b_ = FreePort();
  std::unique_ptr<End> a_;
  std::unique_ptr<End> b_;
};

TEST_F(PeerLinksTest, BothSidesConnectAndLearnWhoItIs) {
  StartBoth();
  EXPECT_EQ(a_->recorder.hello.member, 2U);
  EXPECT_EQ(a_->recorder.hello.incarnation, 102U);
  EXPECT_EQ(b_->recorder.hello.member, 1U);
}

TEST_F(PeerLinksTest, AMemberThatStartsLaterIsFoundByItsOwnHello) {
  a_->Start();
  // Long enough for the first attempts to have failed and the pauses to have grown.
  bool later = false;
  loop_.PostAfter(kNsPerSecond / 2, [&] { later = true; });
  RunUntil([&] { return later; });
  const std::int64_t started_ns = loop_.NowNs();
  b_->Start();
  RunUntil([&] { return a_->recorder.connected && b_->recorder.connected; });
  EXPECT_EQ(a_->recorder.spans, 1);
  EXPECT_LT(loop_.NowNs() - started_ns, 5 * kNsPerSecond);
}

TEST_F(PeerLinksTest, MessagesArriveInOrderAlsoWhenTheyFillManyFrames) {
  StartBoth();
  constexpr std::uint64_t kCount = 300;
  const auto large = std::make_shared<std::string>(20'000, 'x');
  for (std::uint64_t i = 0; i < kCount; ++i) {
    server::Forward forward;
    forward.entries.push_back({i, large});
    a_->links.Send(2, forward);
  }
  RunUntil([&] { return b_->recorder.messages.size() == kCount; });
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const auto& forward = std::get<server::Forward>(b_->recorder.messages[i]);
    ASSERT_EQ(forward.entries.at(0).request_id, i);
    ASSERT_EQ(*forward.entries[0].entry, *large);
  }
}

TEST_F(PeerLinksTest, WhatIsSentInTheMomentOfConnectingIsNotLost) {
  // a counts itself connected at some turn; whatever it sends right then must reach b, although b
  // may hear the answer to its own hello later.
  a_->Start();
  b_->Start();
  RunUntil([&] { return a_->recorder.connected; });
  a_->links.Send(2, server::TouchAck{77});
  RunUntil([&] { return !b_->recorder.messages.empty(); });
  EXPECT_EQ(std::get<server::TouchAck>(b_->recorder.messages[0]).batch, 77U);
  EXPECT_EQ(b_->recorder.spans, 1);
}

TEST_F(PeerLinksTest, WhenOneSideStopsTheOtherHearsOfItAndFindsItAgain) {
  StartBoth();
  a_->links.Stop();
  RunUntil([&] { return !b_->recorder.connected; });
  EXPECT_EQ(b_->recorder.last_from, 1U);
  a_ = MakeA();
  a_->Start();
  RunUntil([&] { return a_->recorder.connected && b_->recorder.connected; });
  EXPECT_EQ(b_->recorder.spans, 2);
}

TEST_F(PeerLinksTest, SendingWithoutALinkIsNothing) {
  a_->Start();
  a_->links.Send(2, server::TouchAck{1});
  a_->links.Send(9, server::TouchAck{1});
  loop_.RunTurn(false);
  EXPECT_FALSE(a_->recorder.connected);
}

// Each refusal is told to both sides in words that name the flag.
TEST_F(PeerLinksTest, AnotherClusterIsRefusedByName) {
  b_->self.cluster_name = "other";
  a_->Start();
  b_->Start();
  RunUntil([&] { return !a_->recorder.refusals.empty() && !b_->recorder.refusals.empty(); });
  EXPECT_NE(a_->recorder.refusals[0].find("--cluster_name"), std::string::npos);
  EXPECT_NE(b_->recorder.refusals[0].find("\"other\""), std::string::npos);
  EXPECT_EQ(a_->recorder.spans, 0);
}

TEST_F(PeerLinksTest, AnotherClusterIdIsRefused) {
  a_->self.cluster.fill(1);
  b_->self.cluster.fill(2);
  a_->Start();
  b_->Start();
  RunUntil([&] { return !a_->recorder.refusals.empty() && !b_->recorder.refusals.empty(); });
  EXPECT_NE(a_->recorder.refusals[0].find("different clusters"), std::string::npos);
  EXPECT_EQ(a_->recorder.spans + b_->recorder.spans, 0);
}

TEST_F(PeerLinksTest, AClusterIdAndNoneGoTogether) {
  a_->self.cluster.fill(1);
  StartBoth();
  EXPECT_EQ(b_->recorder.hello.cluster, a_->self.cluster);
}

TEST_F(PeerLinksTest, TheWrongMemberAtAnAddressIsRefused) {
  b_->self.member = 3;  // a dials port b for member 2
  a_->Start();
  b_->Start();
  RunUntil([&] { return !a_->recorder.refusals.empty(); });
  EXPECT_NE(a_->recorder.refusals[0].find("is member 3, not member 2"), std::string::npos);
  EXPECT_EQ(a_->recorder.spans, 0);
}

TEST_F(PeerLinksTest, TwoProcessesWithOneIdAreRefused) {
  b_->self.member = 1;
  a_->Start();
  b_->Start();
  RunUntil([&] { return !b_->recorder.refusals.empty(); });
  EXPECT_EQ(a_->recorder.spans, 0);
}

TEST_F(PeerLinksTest, WhatTheServerRefusesIsToldItsReason) {
  StartBoth();
  a_->links.Refuse(2, "member 2 has lost its directory");
  RunUntil([&] { return !b_->recorder.refusals.empty() && !b_->recorder.connected; });
  EXPECT_EQ(b_->recorder.refusals[0], "member 2 has lost its directory");
  RunUntil([&] { return !a_->recorder.connected; });
}

TEST_F(PeerLinksTest, AStrangerIsTakenWhenTheServerSaysSoAndDialledAtItsOwnAddress) {
  a_->links.RemovePeer(2);
  b_->self.configuration_index = 77;
  a_->Start();
  b_->Start();
  RunUntil([&] { return !b_->recorder.denials.empty(); });
  EXPECT_EQ(b_->recorder.denials[0], "who are you?");
  EXPECT_EQ(a_->recorder.spans, 0);
  ASSERT_FALSE(a_->recorder.strangers.empty());
  EXPECT_EQ(a_->recorder.strangers[0].member, 2U);
  EXPECT_EQ(a_->recorder.strangers[0].configuration_index, 77U);
  EXPECT_EQ(a_->recorder.strangers[0].peer_address, "127.0.0.1:" + std::to_string(port_b_));
  a_->recorder.refuse_strangers = false;
  RunUntil([&] { return a_->recorder.connected && b_->recorder.connected; });
}

TEST_F(PeerLinksTest, APeerThatIsRemovedIsAStrangerUntilItIsSetAgain) {
  StartBoth();
  a_->links.RemovePeer(2);
  RunUntil([&] { return !b_->recorder.connected && !b_->recorder.denials.empty(); });
  EXPECT_TRUE(a_->recorder.connected) << "who removes a peer is not told of it";
  a_->recorder.connected = false;
  a_->links.Send(2, server::TouchAck{1});  // nowhere
  a_->links.SetPeer(2, "127.0.0.1:" + std::to_string(port_b_));
  RunUntil([&] { return a_->recorder.connected && b_->recorder.connected; });
  EXPECT_EQ(b_->recorder.spans, 2);
  EXPECT_TRUE(b_->recorder.messages.empty());
}

TEST_F(PeerLinksTest, APeerIsFoundAtItsNewAddress) {
  const std::uint16_t nowhere = FreePort();
  a_->links.SetPeer(2, "127.0.0.1:" + std::to_string(nowhere));
  a_->Start();
  b_->Start();
  RunUntil([&] { return !a_->recorder.connected && loop_.NowNs() > 0; });
  a_->links.SetPeer(2, "not an address");
  a_->links.SetPeer(2, "127.0.0.1:" + std::to_string(port_b_));
  RunUntil([&] { return a_->recorder.connected && b_->recorder.connected; });
  // Away again: the link stood on the old address.
  a_->links.SetPeer(2, "127.0.0.1:" + std::to_string(nowhere));
  RunUntil([&] { return !a_->recorder.connected && !b_->recorder.connected; });
}

TEST_F(PeerLinksTest, APortInUseIsNamed) {
  a_->Start();
  End second(&loop_, &resolver_, 1, port_a_, {});
  const auto listening = second.links.Listen();
  ASSERT_FALSE(listening);
  EXPECT_NE(listening.error().find("127.0.0.1:" + std::to_string(port_a_)), std::string::npos);
  EXPECT_NE(listening.error().find("in use"), std::string::npos);
}

}  // namespace
}  // namespace conclave::doors
