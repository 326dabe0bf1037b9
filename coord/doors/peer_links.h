// The links between members, over Thrift: server::PeerTransport in production.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "coord/server/peer_transport.h"
#include "thrift/wire/address.h"
#include "thrift/wire/counters.h"
#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_server.h"
#include "thrift/wire/resolver.h"

namespace conclave::doors {

struct PeerLinksOptions {
  // Where this member takes its peers. A numeric address.
  wire::SocketAddress listen;
};

// A link to a peer is two connections: the one dialled here carries what this member says, the one
// dialled there what the peer says. It counts as connected while both stand and both have said
// hello; when either breaks the other is closed too, so that both sides see the same breaks and no
// message is lost within a span (PeerTransport's invariant 1).
//
// Messages of one turn of the loop leave in one frame per peer. A peer that does not read is given
// up once kOutputBytesMax wait for it. Names are resolved anew at every attempt to dial.
//
// Thread: the loop's own.
class PeerLinks final : public server::PeerTransport {
 public:
  // `loop` and `resolver` must outlive this.
  PeerLinks(wire::EventLoop* loop, wire::Resolver* resolver, PeerLinksOptions options);
  ~PeerLinks() override;

  // Binds the peer port; before Start, so that a port in use is found before the log is opened.
  // The error names address and reason.
  tl::expected<void, std::string> Listen();

  // An address that is not HOST:PORT is logged, and the peer not dialled.
  void SetPeer(raft::MemberId peer, const std::string& address) override;
  void RemovePeer(raft::MemberId peer) override;
  void Start(Handler* handler, server::PeerHello self) override;
  void SetHello(server::PeerHello self) override;
  void Refuse(raft::MemberId peer, std::string_view reason) override;
  void Send(raft::MemberId to, server::PeerMessage message) override;
  void Stop() override;

 private:
  class Link;
  class Inbound;
  friend class Inbound;

  Link* Find(raft::MemberId peer);
  void DialSoon(raft::MemberId peer);

  // Constant after construction.
  wire::EventLoop* const loop_;
  wire::Resolver* const resolver_;
  const PeerLinksOptions options_;

  wire::ServerBudget budget_;
  wire::Counters counters_;
  std::unique_ptr<wire::FrameServer> server_;
  Handler* handler_ = nullptr;  // null before Start and after Stop
  server::PeerHello self_;
  std::map<raft::MemberId, std::unique_ptr<Link>> links_;
  std::vector<std::unique_ptr<Link>> removed_;  // until the end of the turn
};

}  // namespace conclave::doors
