#include "coord/doors/peer_links.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <conclave_idl/Peer.h>
#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/doors/peer_codec.h"
#include "thrift/wire/channel.h"
#include "thrift/wire/tcp_stream.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;
using apache::thrift::TDelayedException;

constexpr std::int64_t kNsPerMs = 1'000'000;
// Attempts to dial a peer: at once, then with pauses that double. Short, because a member that has
// just been restarted should not wait for its cluster; a peer's own hello ends the pause anyway.
constexpr std::int64_t kRetryMsMin = 20;
constexpr std::int64_t kRetryMsMax = 1'000;
constexpr std::int64_t kHelloTimeoutMs = 3'000;
// A peer is given up when it has not read so much; Raft will send it anew.
constexpr std::size_t kOutputBytesMax = std::size_t{64} << 20;
// A frame is cut here and goes on in the next; a single message may be larger.
constexpr std::size_t kFrameBytesSoftMax = std::size_t{1} << 20;
constexpr std::uint32_t kFrameBytesMax = 32U << 20;
constexpr std::uint32_t kContainerSizeMax = 1U << 20;
constexpr std::uint32_t kConnectionsMax = 256;

// Messages kept from a peer until this side's hello has been answered: milliseconds' worth.
constexpr std::size_t kEarlyMessagesMax = 10'000;
// How long a refusal by the server stands before a peer's hello is judged anew.
constexpr std::int64_t kRefusalNs = 5'000 * kNsPerMs;

wire::Limits PeerLimits() {
  wire::Limits limits;
  limits.frame_bytes_max = kFrameBytesMax;
  limits.container_size_max = kContainerSizeMax;
  // The channel refuses at kOutputBytesMax; what it has let in must not break the stream.
  limits.output_bytes_max = kOutputBytesMax + 2 * std::size_t{kFrameBytesMax};
  limits.idle_ms = 0;  // a follower has nothing to say to another follower
  return limits;
}

wire::ServerLimits PeerServerLimits() {
  wire::ServerLimits limits;
  limits.connections_max = kConnectionsMax;
  limits.output_bytes_max = kOutputBytesMax;
  return limits;
}

// About what a message takes on the wire; for cutting frames only.
std::size_t BytesOf(const server::PeerMessage& message) {
  constexpr std::size_t kSmall = 64;
  std::size_t bytes = kSmall;
  if (const auto* raft_message = std::get_if<raft::Message>(&message)) {
    if (const auto* append = std::get_if<raft::AppendEntries>(raft_message)) {
      for (const raft::Entry& entry : append->entries) {
        bytes += raft::EntryBytes(entry);
      }
    }
  } else if (const auto* forward = std::get_if<server::Forward>(&message)) {
    for (const server::ForwardedEntry& entry : forward->entries) {
      bytes += kSmall + entry.entry->size();
    }
  } else if (const auto* chunk = std::get_if<server::SnapshotChunk>(&message)) {
    bytes += chunk->after_key.size() + chunk->rows.size();
  }
  return bytes;
}

}  // namespace

// One peer: the connection dialled here, and the one of its own that has said hello.
class PeerLinks::Link final : public wire::TurnEndHook {
 public:
  Link(PeerLinks* owner, raft::MemberId peer, const wire::HostPort& address)
      : owner_(owner), peer_(peer), address_(address) {}

  ~Link() {
    owner_->loop_->CancelTurnEnd(this);
    owner_->loop_->Cancel(retry_timer_);
  }

  void Dial() {
    owner_->loop_->Cancel(retry_timer_);
    retry_timer_ = wire::kNoTimer;
    if (channel_ != nullptr || owner_->handler_ == nullptr) {
      return;
    }
    wire::ChannelOptions options;
    options.limits = PeerLimits();
    options.output_bytes_max = kOutputBytesMax;
    channel_ = std::make_unique<wire::Channel>(
        *owner_->loop_,
        [this](wire::FrameStream::Callbacks callbacks) {
          wire::TcpStreamOptions tcp;
          tcp.to = address_;
          tcp.limits = PeerLimits();
          tcp.counters = &owner_->counters_;
          return wire::DialTcp(*owner_->loop_, *owner_->resolver_, tcp, std::move(callbacks));
        },
        options);
    channel_->OnClosed([this](const wire::CloseReason& reason) {
      Break(fmt::format("connection to {}: {}", address_.ToString(), reason.message));
    });
    channel_->Open();
    SayHello();
  }

  // The peer has said hello on a connection that it dialled.
  void Accept(Inbound* inbound, const server::PeerHello& hello) {
    if (inbound_ != nullptr && inbound_ != inbound) {
      Break("the peer has dialled anew");
    }
    inbound_ = inbound;
    inbound_hello_ = hello;
    retry_ms_ = kRetryMsMin;
    if (channel_ == nullptr) {
      Dial();  // it is there: do not wait for the pause to end
    }
    MaybeConnected();
  }

  void InboundClosed(const Inbound* inbound) {
    if (inbound_ == inbound) {
      inbound_ = nullptr;
      Break("the peer closed its connection");
    }
  }

  [[nodiscard]] bool IsInbound(const Inbound* inbound) const { return inbound_ == inbound; }

  // The peer may call the link connected a moment before this side does: what it says until then is
  // kept, since dropping it would be a gap in what the peer takes for one span.
  void Receive(server::PeerMessage message) {
    if (connected_) {
      owner_->handler_->OnPeerMessage(peer_, std::move(message));
    } else if (early_.size() < kEarlyMessagesMax) {
      early_.push_back(std::move(message));
    } else {
      Break("the peer sends although this side's hello has not been answered");
    }
  }

  void Send(server::PeerMessage message) {
    if (!connected_) {
      return;
    }
    queued_bytes_ += BytesOf(message);
    queue_.push_back(ToWire(message));
    if (queued_bytes_ >= kFrameBytesSoftMax) {
      Flush();
    } else {
      owner_->loop_->RequestTurnEnd(this);
    }
  }

  void OnTurnEnd() override { Flush(); }

  // The peer is expected at this address: what stood against it does no more.
  void Expect(const wire::HostPort& address) {
    refusal_.clear();
    refused_until_ns_ = 0;
    retry_ms_ = kRetryMsMin;
    if (address_ != address) {
      address_ = address;
      Break(fmt::format("it is at {} now", address.ToString()));
    }
  }

  // No word of it: whoever removes a peer knows.
  void End(const std::string& why) {
    connected_ = false;
    Break(why);
    owner_->loop_->Cancel(retry_timer_);
  }

  void Refuse(std::string_view reason) {
    refusal_ = std::string(reason);
    refused_incarnation_ = inbound_hello_.incarnation;
    refused_until_ns_ = owner_->loop_->NowNs() + kRefusalNs;
    retry_ms_ = kRetryMsMax;
    Break(fmt::format("refused: {}", reason));
  }

  // Why a peer with this incarnation is not let in at the moment; empty: it is.
  [[nodiscard]] std::string_view RefusalFor(std::uint64_t incarnation) const {
    const bool stands = owner_->loop_->NowNs() < refused_until_ns_;
    return stands && incarnation == refused_incarnation_ ? std::string_view(refusal_)
                                                         : std::string_view();
  }

  void NoteRefused(std::string reason, bool not_member = false) {
    retry_ms_ = kRetryMsMax;
    owner_->loop_->Post([owner = owner_, peer = peer_, reason = std::move(reason), not_member] {
      if (owner->handler_ == nullptr || owner->Find(peer) == nullptr) {
        return;
      }
      if (not_member) {
        owner->handler_->OnNotMember(peer, reason);
      } else {
        owner->handler_->OnPeerRefused(peer, reason);
      }
    });
  }

  // Ends both connections; dials again after a pause.
  void Break(const std::string& why);

 private:
  void SayHello() {
    const idl::Hello hello = HelloToWire(owner_->self_, peer_);
    idl::Peer_hello_pargs args;
    args.hello = &hello;
    wire::Invoke<idl::Peer_hello_presult, idl::HelloReply, idl::PeerError>(
        *channel_, {.method = "hello", .timeout_ns = kHelloTimeoutMs * kNsPerMs}, args,
        [this](wire::CallResult<idl::HelloReply, idl::PeerError> result) {
          OnHelloReply(std::move(result));
        });
  }

  void OnHelloReply(wire::CallResult<idl::HelloReply, idl::PeerError> result) {
    if (!result) {
      if (const auto* refused = std::get_if<idl::PeerError>(&result.error())) {
        NoteRefused(refused->message, refused->code == idl::PeerErrorCode::UNKNOWN_MEMBER);
        Break(fmt::format("{} refuses this member: {}", address_.ToString(), refused->message));
      } else if (channel_ != nullptr) {
        Break(fmt::format("hello to {}: {}", address_.ToString(),
                          std::get<wire::CallFailure>(result.error()).message));
      }
      return;
    }
    const auto peer = HelloReplyFromWire(*result, owner_->self_.cluster_name);
    if (!peer || peer->member != peer_) {
      const std::string why =
          peer ? fmt::format("{} is member {}, not member {}: an address is wrong",
                             address_.ToString(), peer->member, peer_)
               : fmt::format("{} gave a hello that cannot be read", address_.ToString());
      NoteRefused(why);
      Break(why);
      return;
    }
    said_hello_ = true;
    MaybeConnected();
  }

  void MaybeConnected() {
    if (connected_ || inbound_ == nullptr || !said_hello_) {
      return;
    }
    connected_ = true;
    retry_ms_ = kRetryMsMin;
    owner_->handler_->OnPeerConnected(inbound_hello_);
    // The handler may break the link, and with it empty the list, at any message.
    for (std::size_t i = 0; i < early_.size(); ++i) {
      owner_->handler_->OnPeerMessage(peer_, std::move(early_[i]));
    }
    early_.clear();
  }

  void Flush() {
    if (queue_.empty() || channel_ == nullptr) {
      return;
    }
    idl::Peer_deliver_pargs args;
    args.messages = &queue_;
    const auto sent = channel_->Notify(
        "deliver", [&args](apache::thrift::protocol::TProtocol& out) { args.write(&out); });
    queue_.clear();
    queued_bytes_ = 0;
    if (!sent) {
      // Dropping one message would break the order of those behind it. The link starts anew, on
      // the next turn: the caller may be the server in the middle of its work.
      owner_->loop_->Post(
          [owner = owner_, peer = peer_, channel = channel_.get(), why = sent.error().message] {
            Link* link = owner->Find(peer);  // gone after a stop
            if (link != nullptr && link->channel_.get() == channel) {
              link->Break(fmt::format("sending to {}: {}", link->address_.ToString(), why));
            }
          });
    }
  }

  PeerLinks* const owner_;
  const raft::MemberId peer_;
  wire::HostPort address_;

  std::unique_ptr<wire::Channel> channel_;  // null: waiting to dial
  bool said_hello_ = false;                 // on channel_, and was welcomed
  Inbound* inbound_ = nullptr;              // has said hello here
  server::PeerHello inbound_hello_;
  bool connected_ = false;  // the handler knows the link
  std::int64_t retry_ms_ = kRetryMsMin;
  wire::TimerId retry_timer_ = wire::kNoTimer;

  std::vector<idl::PeerMessage> queue_;  // of this turn
  std::size_t queued_bytes_ = 0;
  std::vector<server::PeerMessage> early_;  // came before connected_

  std::string refusal_;
  std::uint64_t refused_incarnation_ = 0;
  std::int64_t refused_until_ns_ = 0;
};

// A connection that somebody dialled to the peer port.
class PeerLinks::Inbound final : public wire::Service, public idl::PeerCobSvIf {
 public:
  Inbound(PeerLinks* owner, wire::Caller& caller)
      : owner_(owner),
        caller_(caller),
        // The processor holds its handler by shared_ptr; this one is owned by the frame server.
        processor_(wire::Generated(std::make_shared<idl::PeerAsyncProcessor>(
            std::shared_ptr<idl::PeerCobSvIf>(std::shared_ptr<void>(), this)))) {}

  std::shared_ptr<wire::Processor> processor() override { return processor_; }

  void OnClosed() override {
    if (Link* link = owner_->Find(peer_); link != nullptr) {
      link->InboundClosed(this);
    }
  }

  void Close(const std::string& reason) { caller_.Close(reason); }

  void hello(std::function<void(const idl::HelloReply&)> done,
             std::function<void(TDelayedException*)> raise, const idl::Hello& hello) override {
    idl::PeerError error;
    const auto peer = Judge(hello, error);
    if (!peer) {
      // One that was removed comes again every second, for ever.
      LOG_IF_EVERY_N(WARNING, error.code == idl::PeerErrorCode::UNKNOWN_MEMBER, 60)
          << "peer.refused address=" << caller_.address() << " member=" << hello.memberId
          << " reason=\"" << error.message << '"';
      LOG_IF(WARNING, error.code != idl::PeerErrorCode::UNKNOWN_MEMBER)
          << "peer.refused address=" << caller_.address() << " member=" << hello.memberId
          << " reason=\"" << error.message << '"';
      if (Link* link = owner_->Find(static_cast<raft::MemberId>(hello.memberId)); link != nullptr) {
        link->NoteRefused(error.message);
      }
      raise(TDelayedException::delayException(error));
      caller_.Close("hello refused");
      return;
    }
    peer_ = peer->member;
    done(HelloReplyToWire(owner_->self_));
    owner_->Find(peer_)->Accept(this, *peer);
  }

  void deliver(std::function<void()> done, const std::vector<idl::PeerMessage>& messages) override {
    done();
    for (const idl::PeerMessage& wire : messages) {
      Link* link = owner_->Find(peer_);
      if (link == nullptr || owner_->handler_ == nullptr) {
        caller_.Close("messages before hello");
        return;
      }
      if (!link->IsInbound(this)) {
        return;  // the link has been broken off and starts anew
      }
      // The generated code passes its own arguments, which nobody reads afterwards: what they hold
      // may be taken, which saves a copy of every entry.
      auto message = FromWire(std::move(const_cast<idl::PeerMessage&>(wire)));
      if (!message) {
        LOG_EVERY_N(WARNING, 100) << "peer.message_ignored member=" << peer_;
        continue;
      }
      link->Receive(std::move(*message));
    }
  }

 private:
  // The peer, if it may stay; else `error` says why not.
  std::optional<server::PeerHello> Judge(const idl::Hello& hello, idl::PeerError& error) const {
    const server::PeerHello& self = owner_->self_;
    const auto refuse = [&error](idl::PeerErrorCode::type code, std::string message) {
      error.code = code;
      error.message = std::move(message);
      return std::nullopt;
    };
    const auto peer = HelloFromWire(hello);
    if (owner_->handler_ == nullptr || !peer) {
      return refuse(idl::PeerErrorCode::UNKNOWN, "this member is not running yet");
    }
    if (hello.versionMin > 1 || hello.versionMax < 1) {
      return refuse(idl::PeerErrorCode::VERSION,
                    fmt::format("no version of the peer protocol in common: this member speaks 1, "
                                "the other {} to {}",
                                hello.versionMin, hello.versionMax));
    }
    if (peer->cluster_name != self.cluster_name) {
      return refuse(idl::PeerErrorCode::WRONG_CLUSTER_NAME,
                    fmt::format("this member belongs to cluster \"{}\", not to \"{}\": compare "
                                "--cluster_name",
                                self.cluster_name, peer->cluster_name));
    }
    if (static_cast<raft::MemberId>(hello.targetMemberId) != self.member) {
      return refuse(idl::PeerErrorCode::WRONG_TARGET,
                    fmt::format("this is member {}, not member {}: an address is wrong",
                                self.member, hello.targetMemberId));
    }
    if (peer->member == self.member) {
      return refuse(
          idl::PeerErrorCode::DUPLICATE_ID,
          fmt::format("two processes have --id={}: each member needs its own", self.member));
    }
    const raft::ClusterId none{};
    if (peer->cluster != none && self.cluster != none && peer->cluster != self.cluster &&
        !CONCLAVE_MUTANT(48)) {
      return refuse(
          idl::PeerErrorCode::WRONG_CLUSTER_ID,
          "the members are of different clusters: a data directory is of another cluster");
    }
    const Link* link = owner_->Find(peer->member);
    if (link == nullptr) {
      if (auto why = owner_->handler_->OnStranger(*peer)) {
        return refuse(idl::PeerErrorCode::UNKNOWN_MEMBER, std::move(*why));
      }
      owner_->SetPeer(peer->member, peer->peer_address);
      link = owner_->Find(peer->member);
      if (link == nullptr) {
        return refuse(idl::PeerErrorCode::UNKNOWN,
                      fmt::format("its peer address \"{}\" is none", peer->peer_address));
      }
    }
    if (const std::string_view why = link->RefusalFor(peer->incarnation); !why.empty()) {
      return refuse(idl::PeerErrorCode::WRONG_INCARNATION, std::string(why));
    }
    return peer;
  }

  PeerLinks* const owner_;
  wire::Caller& caller_;
  raft::MemberId peer_ = 0;  // 0: no hello yet
  std::shared_ptr<wire::Processor> processor_;
};

void PeerLinks::Link::Break(const std::string& why) {
  if (connected_) {
    LOG(INFO) << "peer.disconnected member=" << peer_ << " reason=\"" << why << '"';
  } else {
    VLOG(1) << "peer.unreachable member=" << peer_ << " reason=\"" << why << '"';
  }
  queue_.clear();
  queued_bytes_ = 0;
  early_.clear();
  said_hello_ = false;
  channel_.reset();
  if (Inbound* inbound = std::exchange(inbound_, nullptr); inbound != nullptr) {
    inbound->Close(why);
  }
  if (retry_timer_ == wire::kNoTimer && owner_->handler_ != nullptr) {
    retry_timer_ = owner_->loop_->PostAfter(retry_ms_ * kNsPerMs, [this] {
      retry_timer_ = wire::kNoTimer;
      Dial();
    });
    retry_ms_ = std::min(2 * retry_ms_, kRetryMsMax);
  }
  if (std::exchange(connected_, false)) {
    owner_->loop_->Post([owner = owner_, peer = peer_] {
      if (owner->handler_ != nullptr) {
        owner->handler_->OnPeerDisconnected(peer);
      }
    });
  }
}

PeerLinks::PeerLinks(wire::EventLoop* loop, wire::Resolver* resolver, PeerLinksOptions options)
    : loop_(loop), resolver_(resolver), options_(std::move(options)), budget_(PeerServerLimits()) {}

PeerLinks::~PeerLinks() { Stop(); }

tl::expected<void, std::string> PeerLinks::Listen() {
  server_ = std::make_unique<wire::FrameServer>(
      *loop_, budget_, counters_, wire::FrameServer::Options{"peer", PeerLimits()},
      [this](wire::Caller& caller) { return std::make_unique<Inbound>(this, caller); });
  const auto bound = server_->Listen(options_.listen);
  if (!bound) {
    server_.reset();
    return tl::unexpected(bound.error());
  }
  return {};
}

void PeerLinks::Start(Handler* handler, server::PeerHello self) {
  handler_ = handler;
  self_ = std::move(self);
  for (const auto& [peer, link] : links_) {
    DialSoon(peer);
  }
}

// Not at once: the handler must not be called inside a call into the transport.
void PeerLinks::DialSoon(raft::MemberId peer) {
  loop_->Post([this, peer] {
    if (Link* link = Find(peer); link != nullptr) {
      link->Dial();
    }
  });
}

void PeerLinks::SetPeer(raft::MemberId peer, const std::string& address) {
  const auto parsed = wire::ParseHostPort(address);
  if (!parsed) {
    LOG(ERROR) << "peer.bad_address member=" << peer << " reason=\"" << parsed.error() << '"';
    return;
  }
  std::unique_ptr<Link>& link = links_[peer];
  if (link == nullptr) {
    link = std::make_unique<Link>(this, peer, *parsed);
  } else {
    link->Expect(*parsed);
  }
  if (handler_ != nullptr) {
    DialSoon(peer);
  }
}

void PeerLinks::RemovePeer(raft::MemberId peer) {
  const auto at = links_.find(peer);
  if (at == links_.end()) {
    return;
  }
  // The caller may be in the middle of what the link does.
  removed_.push_back(std::move(at->second));
  links_.erase(at);
  removed_.back()->End("it is no member any more");
  loop_->Post([this] { removed_.clear(); });
}

void PeerLinks::SetHello(server::PeerHello self) { self_ = std::move(self); }

void PeerLinks::Refuse(raft::MemberId peer, std::string_view reason) {
  if (Link* link = Find(peer); link != nullptr) {
    link->Refuse(reason);
  }
}

void PeerLinks::Send(raft::MemberId to, server::PeerMessage message) {
  if (Link* link = Find(to); link != nullptr) {
    link->Send(std::move(message));
  }
}

void PeerLinks::Stop() {
  handler_ = nullptr;
  links_.clear();
  removed_.clear();
  server_.reset();
}

PeerLinks::Link* PeerLinks::Find(raft::MemberId peer) {
  const auto found = links_.find(peer);
  return found == links_.end() ? nullptr : found->second.get();
}

}  // namespace conclave::doors
