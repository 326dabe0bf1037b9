// The links between simulated members: delayed, broken, cut, and hashed as they deliver.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coord/server/peer_transport.h"
#include "tests/server/sim_loop.h"

namespace conclave::server::testing {

// Folds numbers into one; what two runs of a seed are compared by.
class TraceHash {
 public:
  void Add(std::uint64_t number);
  void Add(std::string_view bytes);

  std::uint64_t value() const { return value_; }

  std::uint64_t count() const { return count_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
  std::uint64_t count_ = 0;
};

class SimNetwork;

// The transport of one life of one member. What arrives runs on the member's executor, so that a
// member that is paused hears nothing.
class SimTransport final : public PeerTransport, private PeerTransport::Handler {
 public:
  using Handler = PeerTransport::Handler;

  SimTransport(SimNetwork* network, Executor* core, raft::MemberId self)
      : network_(network), core_(core), self_(self) {}

  ~SimTransport() override;

  void SetPeer(raft::MemberId peer, const std::string& address) override;
  void RemovePeer(raft::MemberId peer) override;
  void Start(Handler* handler, PeerHello self) override;
  void SetHello(PeerHello self) override;
  void Refuse(raft::MemberId peer, std::string_view reason) override;
  void Send(raft::MemberId to, PeerMessage message) override;
  void Stop() override;

 private:
  void OnPeerMessage(raft::MemberId from, PeerMessage message) override;
  void OnPeerConnected(const PeerHello& peer) override;
  void OnPeerDisconnected(raft::MemberId peer) override;
  void OnPeerRefused(raft::MemberId peer, std::string_view reason) override;
  void OnNotMember(raft::MemberId peer, std::string_view reason) override;
  std::optional<std::string> OnStranger(const PeerHello& peer) override;
  void Post(std::function<void(Handler*)> what);

  SimNetwork* const network_;
  Executor* const core_;
  const raft::MemberId self_;
  std::set<raft::MemberId> peers_;
  // Empty after Stop: what was posted before reaches nobody.
  std::shared_ptr<Handler*> handler_;
};

struct SimNetworkOptions {
  std::int64_t delay_min_ns = 100'000;
  std::int64_t delay_max_ns = 1'000'000;
  // With this chance, in millionths, a delay is drawn from up to `tail_ns` instead.
  std::uint32_t tail_millionths = 0;
  std::int64_t tail_ns = 0;
  // A link breaks with this chance per message, in millionths; what is under way on it is lost.
  std::uint32_t break_millionths = 0;
  std::int64_t reconnect_ns = 20 * kMs;
  // Between two attempts of a member that is none for the one it asks.
  std::int64_t stranger_retry_ns = 500 * kMs;
  // A message of Raft arrives a second time with this chance, in millionths, up to `repeat_ns`
  // later, whatever became of its link: doubled, overtaken, and from before a reconnect. More than
  // the transport's contract allows, and nothing that Raft may mind.
  std::uint32_t repeat_millionths = 0;
  std::int64_t repeat_ns = 0;
  // How long a cut goes unnoticed by those who hold the link.
  std::int64_t detect_ns = 1'500 * kMs;
  // Sees each message as it leaves, whatever becomes of it, and may replace it. May be empty.
  std::function<void(raft::MemberId from, raft::MemberId to, PeerMessage& message)> tap;
};

// Thread: one.
class SimNetwork {
 public:
  SimNetwork(SimLoop* loop, SimNetworkOptions options, std::uint64_t seed)
      : loop_(loop), options_(options), random_(seed) {}

  // Nothing passes between the two any more, in either direction, until healed. The link stands
  // for a while before anyone notices.
  void Cut(raft::MemberId a, raft::MemberId b);
  void Heal(raft::MemberId a, raft::MemberId b);
  // Messages from `from` to `to` vanish; the other direction works.
  void CutOneWay(raft::MemberId from, raft::MemberId to);
  void Isolate(raft::MemberId member);
  void HealAll();
  // From now on no link breaks by chance and no delay has a long tail.
  void Calm();

  TraceHash& trace() { return trace_; }

  std::uint64_t delivered() const { return delivered_; }

  std::uint64_t repeated() const { return repeated_; }

 private:
  friend class SimTransport;
  using Pair = std::pair<raft::MemberId, raft::MemberId>;

  struct Endpoint {
    PeerTransport::Handler* handler = nullptr;
    PeerHello hello;
    std::uint64_t life = 0;  // rises with every start
    std::set<raft::MemberId> peers;
  };

  struct Link {
    std::uint64_t generation = 0;                    // 0: none; otherwise of this connection
    std::map<raft::MemberId, std::int64_t> last_ns;  // by sender: keeps the order
  };

  static Pair Key(raft::MemberId a, raft::MemberId b) { return {std::min(a, b), std::max(a, b)}; }

  void Up(raft::MemberId member, PeerTransport::Handler* handler, PeerHello hello,
          std::set<raft::MemberId> peers);
  void Forget(raft::MemberId member, raft::MemberId peer);
  bool Known(raft::MemberId to, raft::MemberId from);
  void Down(raft::MemberId member);
  void Transmit(raft::MemberId from, raft::MemberId to, PeerMessage message);
  void Break(raft::MemberId a, raft::MemberId b, const std::string& refused_by_a);
  void ConnectLater(raft::MemberId a, raft::MemberId b, std::int64_t delay_ns);
  void Connect(raft::MemberId a, raft::MemberId b);
  void Tell(raft::MemberId member, std::function<void(PeerTransport::Handler*)> what);
  void RepeatLater(raft::MemberId from, raft::MemberId to, const PeerMessage& message);
  std::int64_t Delay();

  SimLoop* const loop_;
  SimNetworkOptions options_;
  SimRandom random_;
  std::map<raft::MemberId, Endpoint> endpoints_;
  std::map<Pair, Link> links_;
  std::set<Pair> cut_;        // (from, to)
  std::set<Pair> strangers_;  // pairs that will be tried again
  std::uint64_t next_generation_ = 1;
  std::uint64_t delivered_ = 0;
  std::uint64_t repeated_ = 0;
  std::uint64_t next_life_ = 1;
  TraceHash trace_;
};

}  // namespace conclave::server::testing
