#include "tests/server/sim_network.h"

#include <algorithm>
#include <type_traits>

namespace conclave::server::testing {
namespace {

void HashRaft(const raft::Message& message, TraceHash* hash) {
  hash->Add(message.index());
  std::visit(
      [hash](const auto& one) {
        using T = std::decay_t<decltype(one)>;
        hash->Add(one.term);
        if constexpr (std::is_same_v<T, raft::AppendEntries>) {
          hash->Add(one.prevLogIndex);
          hash->Add(one.leaderCommit);
          hash->Add(one.readRound);
          for (const raft::Entry& entry : one.entries) {
            hash->Add(entry.chain);
          }
        } else if constexpr (std::is_same_v<T, raft::AppendEntriesReply>) {
          hash->Add(one.matched.index);
          hash->Add(one.hint.index);
          hash->Add(static_cast<std::uint64_t>(one.success));
        } else if constexpr (std::is_same_v<T, raft::RequestVote>) {
          hash->Add(one.lastLogIndex);
          hash->Add(static_cast<std::uint64_t>(one.preVote));
        } else if constexpr (std::is_same_v<T, raft::RequestVoteReply>) {
          hash->Add(static_cast<std::uint64_t>(one.voteGranted));
        } else if constexpr (!std::is_same_v<T, raft::TimeoutNow>) {
          hash->Add(one.requestId);
        }
      },
      message);
}

void HashMessage(const PeerMessage& message, TraceHash* hash) {
  hash->Add(message.index());
  if (const auto* raft = std::get_if<raft::Message>(&message)) {
    HashRaft(*raft, hash);
  } else if (const auto* forward = std::get_if<Forward>(&message)) {
    for (const ForwardedEntry& entry : forward->entries) {
      hash->Add(entry.request_id);
      hash->Add(*entry.entry);
    }
  } else if (const auto* rejected = std::get_if<ForwardRejected>(&message)) {
    for (const std::uint64_t id : rejected->request_ids) {
      hash->Add(id);
    }
  } else if (const auto* batch = std::get_if<TouchBatch>(&message)) {
    hash->Add(batch->batch);
  } else if (const auto* digest = std::get_if<DigestReport>(&message)) {
    hash->Add(digest->digest);
  } else if (const auto* offer = std::get_if<SnapshotOffer>(&message)) {
    hash->Add(offer->info.meta.last.index);
    hash->Add(offer->info.digest);
  } else if (const auto* chunk = std::get_if<SnapshotChunk>(&message)) {
    hash->Add(chunk->after_key);
    hash->Add(chunk->checksum);
  } else if (const auto* snapshot = std::get_if<SnapshotAck>(&message)) {
    hash->Add(static_cast<std::uint64_t>(snapshot->state));
    hash->Add(snapshot->position);
  } else if (const auto* asked = std::get_if<MemberRequest>(&message)) {
    hash->Add(Describe(asked->command));
  } else if (const auto* answer = std::get_if<MemberAnswer>(&message)) {
    hash->Add(static_cast<std::uint64_t>(answer->code));
  }
}

}  // namespace

void TraceHash::Add(std::uint64_t number) {
  ++count_;
  for (int i = 0; i < 8; ++i) {
    value_ = (value_ ^ ((number >> (8 * i)) & 0xFF)) * 0x100000001b3ULL;
  }
}

void TraceHash::Add(std::string_view bytes) {
  Add(bytes.size());
  for (const char byte : bytes) {
    value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
  }
}

SimTransport::~SimTransport() { Stop(); }

void SimTransport::SetPeer(raft::MemberId peer, const std::string& /*address*/) {
  peers_.insert(peer);
  if (handler_ != nullptr) {
    network_->endpoints_[self_].peers.insert(peer);
    network_->ConnectLater(self_, peer, network_->Delay());
  }
}

void SimTransport::RemovePeer(raft::MemberId peer) {
  peers_.erase(peer);
  if (handler_ != nullptr) {
    network_->Forget(self_, peer);
  }
}

void SimTransport::Start(Handler* handler, PeerHello self) {
  handler_ = std::make_shared<Handler*>(handler);
  network_->Up(self_, this, std::move(self), peers_);
}

void SimTransport::SetHello(PeerHello self) { network_->endpoints_[self_].hello = std::move(self); }

void SimTransport::Refuse(raft::MemberId peer, std::string_view reason) {
  network_->Break(self_, peer, std::string(reason));
}

void SimTransport::Send(raft::MemberId to, PeerMessage message) {
  network_->Transmit(self_, to, std::move(message));
}

void SimTransport::Stop() {
  if (handler_) {
    handler_.reset();
    network_->Down(self_);
  }
}

void SimTransport::Post(std::function<void(Handler*)> what) {
  core_->Post([handler = std::weak_ptr<Handler*>(handler_), what = std::move(what)] {
    if (const auto living = handler.lock()) {
      what(*living);
    }
  });
}

void SimTransport::OnPeerMessage(raft::MemberId from, PeerMessage message) {
  Post([from, message = std::make_shared<PeerMessage>(std::move(message))](Handler* handler) {
    handler->OnPeerMessage(from, std::move(*message));
  });
}

void SimTransport::OnPeerConnected(const PeerHello& peer) {
  Post([peer](Handler* handler) { handler->OnPeerConnected(peer); });
}

void SimTransport::OnPeerDisconnected(raft::MemberId peer) {
  Post([peer](Handler* handler) { handler->OnPeerDisconnected(peer); });
}

void SimTransport::OnPeerRefused(raft::MemberId peer, std::string_view reason) {
  Post([peer, reason = std::string(reason)](Handler* handler) {
    handler->OnPeerRefused(peer, reason);
  });
}

void SimTransport::OnNotMember(raft::MemberId peer, std::string_view reason) {
  Post([peer, reason = std::string(reason)](Handler* handler) {
    handler->OnNotMember(peer, reason);
  });
}

// At once, as it is asked in the middle of a hello.
std::optional<std::string> SimTransport::OnStranger(const PeerHello& peer) {
  return handler_ == nullptr ? std::optional<std::string>("not running")
                             : (*handler_)->OnStranger(peer);
}

std::int64_t SimNetwork::Delay() {
  if (options_.tail_millionths > 0 && random_.Uniform(0, 999'999) < options_.tail_millionths) {
    return static_cast<std::int64_t>(
        random_.Uniform(0, static_cast<std::uint64_t>(options_.tail_ns)));
  }
  return static_cast<std::int64_t>(
      random_.Uniform(static_cast<std::uint64_t>(options_.delay_min_ns),
                      static_cast<std::uint64_t>(options_.delay_max_ns)));
}

void SimNetwork::Up(raft::MemberId member, PeerTransport::Handler* handler, PeerHello hello,
                    std::set<raft::MemberId> peers) {
  endpoints_[member] = {.handler = handler,
                        .hello = std::move(hello),
                        .life = next_life_++,
                        .peers = std::move(peers)};
  for (const auto& [other, endpoint] : endpoints_) {
    if (other != member && endpoint.handler != nullptr) {
      ConnectLater(member, other, Delay());
    }
  }
}

void SimNetwork::Down(raft::MemberId member) {
  Endpoint& endpoint = endpoints_[member];
  if (endpoint.handler == nullptr) {
    return;
  }
  endpoint.handler = nullptr;
  endpoint.life = next_life_++;
  std::vector<raft::MemberId> others;
  for (const auto& [other, at] : endpoints_) {
    others.push_back(other);
  }
  for (const raft::MemberId other : others) {
    Link& link = links_[Key(member, other)];
    if (other != member && link.generation != 0) {
      link.generation = 0;
      Tell(other,
           [member](PeerTransport::Handler* handler) { handler->OnPeerDisconnected(member); });
    }
  }
}

void SimNetwork::Forget(raft::MemberId member, raft::MemberId peer) {
  endpoints_[member].peers.erase(peer);
  Link& link = links_[Key(member, peer)];
  if (link.generation != 0) {
    link.generation = 0;
    Tell(peer, [member](PeerTransport::Handler* handler) { handler->OnPeerDisconnected(member); });
    ConnectLater(member, peer, options_.reconnect_ns + 4 * Delay());
  }
}

// Whether `to` takes the hello of `from`.
bool SimNetwork::Known(raft::MemberId to, raft::MemberId from) {
  if (endpoints_[to].peers.contains(from)) {
    return true;
  }
  const raft::ClusterId none{};
  const PeerHello& hello = endpoints_[from].hello;
  const raft::ClusterId& cluster = endpoints_[to].hello.cluster;
  if (hello.cluster != none && cluster != none && hello.cluster != cluster) {
    Tell(from, [to](PeerTransport::Handler* handler) {
      handler->OnPeerRefused(to, "the members are of different clusters");
    });
  } else if (const auto refusal = endpoints_[to].handler->OnStranger(hello); refusal) {
    Tell(from, [to, reason = *refusal](PeerTransport::Handler* handler) {
      handler->OnNotMember(to, reason);
    });
  } else {
    endpoints_[to].peers.insert(from);
    return true;
  }
  if (strangers_.insert(Key(to, from)).second) {
    loop_->At(loop_->now_ns() + options_.stranger_retry_ns, [this, to, from] {
      strangers_.erase(Key(to, from));
      Connect(to, from);
    });
  }
  return false;
}

// Reaches the member as it is now: not a later life of it.
void SimNetwork::Tell(raft::MemberId member, std::function<void(PeerTransport::Handler*)> what) {
  const std::uint64_t life = endpoints_[member].life;
  loop_->At(loop_->now_ns() + Delay(), [this, member, life, what = std::move(what)] {
    const Endpoint& endpoint = endpoints_[member];
    if (endpoint.handler != nullptr && endpoint.life == life) {
      what(endpoint.handler);
    }
  });
}

void SimNetwork::ConnectLater(raft::MemberId a, raft::MemberId b, std::int64_t delay_ns) {
  loop_->At(loop_->now_ns() + delay_ns, [this, a, b] { Connect(a, b); });
}

void SimNetwork::Connect(raft::MemberId a, raft::MemberId b) {
  Link& link = links_[Key(a, b)];
  const Endpoint& first = endpoints_[a];
  const Endpoint& second = endpoints_[b];
  if (link.generation != 0 || first.handler == nullptr || second.handler == nullptr) {
    return;
  }
  if (cut_.contains({a, b}) || cut_.contains({b, a})) {
    return;  // healing tries again
  }
  // Somebody has to dial.
  if ((!first.peers.contains(b) && !second.peers.contains(a)) || !Known(a, b) || !Known(b, a)) {
    return;
  }
  link.generation = next_generation_++;
  link.last_ns.clear();
  trace_.Add(link.generation);
  const std::uint64_t generation = link.generation;
  const std::int64_t at_ns = loop_->now_ns() + Delay();
  for (const auto& [to, from] : {Pair{a, b}, Pair{b, a}}) {
    link.last_ns[from] = at_ns;
    loop_->At(at_ns, [this, to = to, from = from, generation, hello = endpoints_[from].hello] {
      const Endpoint& endpoint = endpoints_[to];
      if (endpoint.handler != nullptr && links_[Key(to, from)].generation == generation) {
        endpoint.handler->OnPeerConnected(hello);
      }
    });
  }
}

void SimNetwork::Transmit(raft::MemberId from, raft::MemberId to, PeerMessage message) {
  if (options_.tap) {
    options_.tap(from, to, message);
  }
  Link& link = links_[Key(from, to)];
  if (link.generation == 0 || cut_.contains({from, to})) {
    return;
  }
  if (options_.repeat_millionths > 0 && random_.Uniform(0, 999'999) < options_.repeat_millionths) {
    RepeatLater(from, to, message);
  }
  if (options_.break_millionths > 0 && random_.Uniform(0, 999'999) < options_.break_millionths) {
    Break(from, to, {});
    return;
  }
  std::int64_t& last_ns = link.last_ns[from];
  last_ns = std::max(last_ns, loop_->now_ns() + Delay());
  loop_->At(last_ns, [this, from, to, generation = link.generation,
                      message = std::make_shared<PeerMessage>(std::move(message))] {
    const Endpoint& endpoint = endpoints_[to];
    if (endpoint.handler == nullptr || links_[Key(from, to)].generation != generation ||
        cut_.contains({from, to})) {
      return;
    }
    ++delivered_;
    trace_.Add(static_cast<std::uint64_t>(loop_->now_ns()));
    trace_.Add(from * 16 + to);
    HashMessage(*message, &trace_);
    endpoint.handler->OnPeerMessage(from, std::move(*message));
  });
}

void SimNetwork::RepeatLater(raft::MemberId from, raft::MemberId to, const PeerMessage& message) {
  if (!std::holds_alternative<raft::Message>(message)) {
    return;
  }
  const auto late_ns =
      static_cast<std::int64_t>(random_.Uniform(0, static_cast<std::uint64_t>(options_.repeat_ns)));
  loop_->At(loop_->now_ns() + late_ns,
            [this, from, to, again = std::make_shared<PeerMessage>(message)] {
              const Endpoint& endpoint = endpoints_[to];
              // Within a span: the server forgets what comes outside of one.
              if (endpoint.handler == nullptr || links_[Key(from, to)].generation == 0) {
                return;
              }
              ++repeated_;
              trace_.Add(from * 16 + to);
              HashMessage(*again, &trace_);
              endpoint.handler->OnPeerMessage(from, std::move(*again));
            });
}

void SimNetwork::Break(raft::MemberId a, raft::MemberId b, const std::string& refused_by_a) {
  Link& link = links_[Key(a, b)];
  if (link.generation == 0) {
    return;
  }
  link.generation = 0;
  Tell(a, [b](PeerTransport::Handler* handler) { handler->OnPeerDisconnected(b); });
  Tell(b, [a, refused_by_a](PeerTransport::Handler* handler) {
    if (refused_by_a.empty()) {
      handler->OnPeerDisconnected(a);
    } else {
      handler->OnPeerRefused(a, refused_by_a);
    }
  });
  ConnectLater(a, b, options_.reconnect_ns + 4 * Delay());
}

void SimNetwork::Cut(raft::MemberId a, raft::MemberId b) {
  CutOneWay(a, b);
  CutOneWay(b, a);
}

void SimNetwork::CutOneWay(raft::MemberId from, raft::MemberId to) {
  cut_.insert({from, to});
  const std::uint64_t generation = links_[Key(from, to)].generation;
  loop_->At(loop_->now_ns() + options_.detect_ns, [this, from, to, generation] {
    if (generation != 0 && links_[Key(from, to)].generation == generation) {
      Break(from, to, {});
    }
  });
}

void SimNetwork::Heal(raft::MemberId a, raft::MemberId b) {
  const bool was_cut = cut_.erase({a, b}) + cut_.erase({b, a}) > 0;
  if (!was_cut) {
    return;
  }
  // What was lost meanwhile left a gap: the connection does not survive it.
  Break(a, b, {});
  ConnectLater(a, b, options_.reconnect_ns);
}

void SimNetwork::Isolate(raft::MemberId member) {
  for (const auto& [other, endpoint] : endpoints_) {
    if (other != member) {
      Cut(member, other);
    }
  }
}

void SimNetwork::Calm() {
  options_.break_millionths = 0;
  options_.tail_millionths = 0;
  options_.repeat_millionths = 0;
}

void SimNetwork::HealAll() {
  const std::set<Pair> cut = cut_;
  for (const auto& [a, b] : cut) {
    Heal(a, b);
  }
}

}  // namespace conclave::server::testing
