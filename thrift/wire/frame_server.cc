#include "thrift/wire/frame_server.h"

#include <algorithm>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <event2/event.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <sys/socket.h>
#include <unistd.h>

#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_socket.h"
#include "thrift/wire/refusal_log.h"

namespace conclave::wire {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr int kListenBacklog = 4'096;  // the kernel cuts it to net.core.somaxconn
constexpr int kAcceptsPerTurn = 64;

constexpr std::string_view kHttpAnswer =
    "HTTP/1.1 400 Bad Request\r\n"
    "Content-Type: text/plain\r\n"
    "Connection: close\r\n"
    "\r\n"
    "This port speaks framed Thrift, not HTTP. Status and metrics are on the admin port.\n";

std::string ErrorText(int error) { return std::system_category().message(error); }

std::uint64_t NextConnectionId() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

// How often time limits are looked at: often enough for the shortest, seldom enough to cost
// nothing.
std::int64_t SweepIntervalNs(const Limits& limits) {
  std::int64_t shortest_ms = 10'000;
  for (const std::int64_t limit_ms : {limits.first_frame_ms, limits.frame_completion_ms,
                                      limits.output_stall_ms, limits.idle_ms}) {
    if (limit_ms > 0) {
      shortest_ms = std::min(shortest_ms, limit_ms);
    }
  }
  return std::max<std::int64_t>(shortest_ms / 4, 5) * kNsPerMs;
}

}  // namespace

tl::expected<void, Refusal> ServerBudget::Admit(const std::string& host) {
  const std::lock_guard lock(mu_);
  if (connections_ >= limits_.connections_max) {
    return tl::make_unexpected(Refusal::kTooManyConnections);
  }
  std::uint32_t& from_host = per_address_[host];
  if (limits_.connections_per_address_max > 0 && from_host >= limits_.connections_per_address_max) {
    return tl::make_unexpected(Refusal::kTooManyFromAddress);
  }
  ++from_host;
  ++connections_;
  return {};
}

void ServerBudget::Release(const std::string& host) {
  const std::lock_guard lock(mu_);
  const auto found = per_address_.find(host);
  CHECK(found != per_address_.end() && found->second > 0 && connections_ > 0);
  --connections_;
  if (--found->second == 0) {
    per_address_.erase(found);
  }
}

void ServerBudget::AddOutput(std::int64_t delta) { output_bytes_.fetch_add(delta); }

bool ServerBudget::OverOutput() const {
  return output_bytes_.load(std::memory_order_relaxed) >
         static_cast<std::int64_t>(limits_.output_bytes_max);
}

struct FrameServer::Impl : std::enable_shared_from_this<FrameServer::Impl> {
  class Connection;

  struct Listener {
    int socket = -1;
    event* accept_event = nullptr;
  };

  Impl(EventLoop& loop_in, ServerBudget& budget_in, Counters& counters_in, Options options_in,
       ServiceFactory factory_in)
      : loop(loop_in),
        budget(budget_in),
        counters(counters_in),
        options(std::move(options_in)),
        factory(std::move(factory_in)),
        buffers(MakeCallBuffers(options.limits)),
        refusal_log(options.name) {}

  void Accept(int listener);
  int AcceptWithoutDescriptors(int listener);
  void Admitted(int socket, const SocketAddress& remote);
  void Add(int socket, const SocketAddress& remote);
  void Remove(std::uint64_t id);
  void Refuse(Refusal refusal, std::string_view from, std::string_view detail);
  void DropWorst();
  void Sweep();
  void CloseListeners();
  void FinishDrain();
  void Shutdown();

  EventLoop& loop;
  ServerBudget& budget;
  Counters& counters;
  const Options options;
  const ServiceFactory factory;
  const std::shared_ptr<CallBuffers> buffers;
  RefusalLog refusal_log;
  std::function<FrameServer&()> placement;
  std::vector<Listener> listeners;
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections;
  TimerId sweep_timer = kNoTimer;
  TimerId drain_timer = kNoTimer;
  std::function<void()> drained;
  bool draining = false;
  bool stopped = false;
  // Held so that one connection can be taken and refused when the process is out of descriptors;
  // otherwise the listener stays readable and the loop spins.
  int spare_fd = -1;
};

// One client: the socket below, the dispatcher beside, the service above.
class FrameServer::Impl::Connection final : public Caller, public FrameSocket::Handler {
 public:
  Connection(Impl& server, std::unique_ptr<Stream> stream, const SocketAddress& remote)
      : server_(server),
        id_(NextConnectionId()),
        host_(remote.HostText()),
        address_(remote.ToString()),
        socket_(std::make_shared<FrameSocket>(server.loop, std::move(stream), server.options.limits,
                                              server.counters, &server.budget)) {}

  ~Connection() override { Gone(); }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  Connection(Connection&&) = delete;
  Connection& operator=(Connection&&) = delete;

  void Start() {
    service_ = server_.factory(*this);
    dispatcher_ = std::make_unique<CallDispatcher>(
        service_->processor(), server_.options.limits, server_.counters,
        [this](std::string_view reply) { OnReply(reply); }, server_.buffers);
    socket_->Start(this);
  }

  [[nodiscard]] std::uint64_t id() const override { return id_; }

  [[nodiscard]] const std::string& address() const override { return address_; }

  [[nodiscard]] std::int64_t received_ns() const override { return socket_->received_ns(); }

  void Close(std::string_view reason) override {
    socket_->CloseAfterOutput({CloseKind::kLocal, std::string(reason)});
  }

  void OnFrame(std::string_view payload) override {
    const auto dispatched = dispatcher_->OnFrame(payload);
    if (!dispatched) {
      OnRefused(dispatched.error().refusal, dispatched.error().message);
      return;
    }
    const Limits& limits = server_.options.limits;
    if (dispatcher_->calls_in_flight() >= limits.calls_in_flight_max ||
        dispatcher_->bytes_in_flight() >= limits.calls_in_flight_bytes_max) {
      socket_->Pause();
    }
  }

  void OnTooLarge(std::string_view head, std::uint64_t declared_bytes) override {
    const std::string reply = dispatcher_->TooLargeReply(head, declared_bytes);
    const std::string detail = "a frame of " + std::to_string(declared_bytes) +
                               " bytes, the limit is " +
                               std::to_string(server_.options.limits.frame_bytes_max);
    if (reply.empty()) {
      OnRefused(Refusal::kFrameTooLarge, detail);
      return;
    }
    server_.Refuse(Refusal::kFrameTooLarge, address_, detail);
    socket_->Send(reply);
  }

  void OnRefused(Refusal refusal, const std::string& detail) override {
    if (socket_->closing()) {
      return;
    }
    server_.Refuse(refusal, address_, detail);
    const CloseReason reason{CloseKind::kRefused, std::string(RefusalName(refusal))};
    if (refusal == Refusal::kHttp) {
      socket_->SendRaw(kHttpAnswer);
      socket_->CloseAfterOutput(reason);
    } else {
      socket_->Close(reason);
    }
  }

  void OnOutputOverBudget() override { server_.DropWorst(); }

  void OnClosed(const CloseReason& reason) override {
    VLOG(1) << "wire.closed port=" << server_.options.name << " from=" << address_ << " reason=\""
            << reason.message << '"';
    server_.Remove(id_);  // destroys this
  }

  void CheckTimeLimits(std::int64_t now_ns) {
    Refusal refusal{};
    if (socket_->Overdue(now_ns, dispatcher_->calls_in_flight() > 0, refusal)) {
      if (socket_->closing()) {
        socket_->Close({CloseKind::kLocal, "lingered"});
      } else {
        OnRefused(refusal, "");
      }
    }
  }

  void CloseWhenIdle() {
    if (dispatcher_->calls_in_flight() == 0) {
      socket_->CloseAfterOutput({CloseKind::kLocal, "the server is stopping"});
    }
  }

  // Closes at once; the service is told. Safe to repeat.
  void Gone() {
    if (service_ == nullptr) {
      return;
    }
    socket_->Abandon();
    // The dispatcher first: what the service answers now must go nowhere.
    dispatcher_.reset();
    const std::unique_ptr<Service> service = std::move(service_);
    service->OnClosed();
  }

  [[nodiscard]] std::size_t output_bytes() const { return socket_->output_bytes(); }

  [[nodiscard]] const std::string& host() const { return host_; }

 private:
  void OnReply(std::string_view reply) {
    socket_->Send(reply);
    const Limits& limits = server_.options.limits;
    // At half of the bound, so that a client at the bound does not pause and resume at every call.
    if (socket_->paused() && dispatcher_->calls_in_flight() <= limits.calls_in_flight_max / 2 &&
        dispatcher_->bytes_in_flight() <= limits.calls_in_flight_bytes_max / 2) {
      socket_->Resume();
    }
    if (server_.draining) {
      CloseWhenIdle();
    }
  }

  Impl& server_;
  const std::uint64_t id_;
  const std::string host_;
  const std::string address_;
  const std::shared_ptr<FrameSocket> socket_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<CallDispatcher> dispatcher_;
};

void FrameServer::Impl::Accept(int listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    SocketAddress remote;
    remote.size = sizeof(remote.storage);
    auto* const address = reinterpret_cast<sockaddr*>(&remote.storage);  // NOLINT
    const int socket = accept4(listener, address, &remote.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket >= 0) {
      Admitted(socket, remote);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE) {
      if (AcceptWithoutDescriptors(listener) < 0) {
        return;
      }
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) {
      continue;
    }
    LOG_IF(ERROR, errno != EAGAIN)
        << "wire.accept_failed port=" << options.name << " error=\"" << ErrorText(errno) << '"';
    return;
  }
}

// Takes a connection with the spare descriptor and closes it, so that it does not wait for ever.
int FrameServer::Impl::AcceptWithoutDescriptors(int listener) {
  if (spare_fd >= 0) {
    close(std::exchange(spare_fd, -1));
  }
  const int socket = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket >= 0) {
    close(socket);
    Refuse(Refusal::kTooManyConnections, "?", "the process is out of file descriptors");
  }
  spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return socket;
}

void FrameServer::Impl::Admitted(int socket, const SocketAddress& remote) {
  const auto admitted = budget.Admit(remote.HostText());
  if (!admitted) {
    close(socket);
    Refuse(admitted.error(), remote.ToString(), "");
    return;
  }
  ++counters.connections_accepted;
  if (placement) {
    placement().Adopt(socket, remote);
  } else {
    Add(socket, remote);
  }
}

void FrameServer::Impl::Add(int socket, const SocketAddress& remote) {
  auto connection = std::make_shared<Connection>(*this, MakePlainStream(socket), remote);
  ++counters.connections_open;
  connections.emplace(connection->id(), connection);
  connection->Start();
}

void FrameServer::Impl::Remove(std::uint64_t id) {
  const auto found = connections.find(id);
  CHECK(found != connections.end());
  const std::shared_ptr<Connection> connection = std::move(found->second);
  connections.erase(found);
  --counters.connections_open;
  budget.Release(connection->host());
  connection->Gone();
  if (draining && connections.empty()) {
    loop.Post([weak = weak_from_this()] {
      if (const auto self = weak.lock()) {
        self->FinishDrain();
      }
    });
  }
}

void FrameServer::Impl::Refuse(Refusal refusal, std::string_view from, std::string_view detail) {
  counters.Refuse(refusal);
  refusal_log.Write(loop.NowNs(), refusal, from, detail);
}

// A scan, because it is needed only when somebody is about to be dropped, which frees the most that
// one connection can.
void FrameServer::Impl::DropWorst() {
  while (budget.OverOutput()) {
    Connection* worst = nullptr;
    for (const auto& [id, connection] : connections) {
      if (worst == nullptr || connection->output_bytes() > worst->output_bytes()) {
        worst = connection.get();
      }
    }
    if (worst == nullptr || worst->output_bytes() == 0) {
      return;  // what is over the budget waits on other loops
    }
    worst->OnRefused(Refusal::kOutputOverBudget, "");
  }
}

void FrameServer::Impl::Sweep() {
  sweep_timer = loop.PostAfter(SweepIntervalNs(options.limits), [this] { Sweep(); });
  const std::int64_t now_ns = loop.NowNs();
  for (const auto& [id, connection] : connections) {
    connection->CheckTimeLimits(now_ns);  // closes at the end of the turn: the table stays as it is
  }
}

void FrameServer::Impl::CloseListeners() {
  for (const Listener& listener : listeners) {
    event_free(listener.accept_event);
    close(listener.socket);
  }
  listeners.clear();
}

void FrameServer::Impl::FinishDrain() {
  loop.Cancel(drain_timer);
  if (const auto done = std::exchange(drained, nullptr)) {
    done();
  }
}

void FrameServer::Impl::Shutdown() {
  stopped = true;
  CloseListeners();
  loop.Cancel(sweep_timer);
  loop.Cancel(drain_timer);
  draining = false;
  while (!connections.empty()) {
    Remove(connections.begin()->first);
  }
  if (spare_fd >= 0) {
    close(std::exchange(spare_fd, -1));
  }
}

FrameServer::FrameServer(EventLoop& loop, ServerBudget& budget, Counters& counters, Options options,
                         ServiceFactory factory)
    : impl_(
          std::make_shared<Impl>(loop, budget, counters, std::move(options), std::move(factory))) {
  impl_->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  impl_->Sweep();
}

FrameServer::~FrameServer() { impl_->Shutdown(); }

tl::expected<SocketAddress, std::string> FrameServer::Listen(const SocketAddress& address) {
  const auto failed = [&address](int error) {
    return tl::make_unexpected("cannot listen on " + address.ToString() + ": " + ErrorText(error));
  };
  const int socket =
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) {
    return failed(errno);
  }
  // A restart may bind while connections of the last run are in TIME_WAIT; a port that is listened
  // on stays refused.
  const int on = 1;
  (void)setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  SetConnectionOptions(socket);  // accepted ones have them from here
  if (bind(socket, address.get(), address.size) != 0 || listen(socket, kListenBacklog) != 0) {
    const int error = errno;
    close(socket);
    return failed(error);
  }
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  auto* const into = reinterpret_cast<sockaddr*>(&bound.storage);  // NOLINT: how sockets are
  PCHECK(getsockname(socket, into, &bound.size) == 0);

  const auto on_accept = [](int listener, short /*what*/, void* impl) {
    static_cast<Impl*>(impl)->Accept(listener);
  };
  event* accept_event =
      event_new(impl_->loop.base(), socket, EV_READ | EV_PERSIST, on_accept, impl_.get());
  CHECK(accept_event != nullptr && event_add(accept_event, nullptr) == 0);
  impl_->listeners.push_back({socket, accept_event});
  return bound;
}

void FrameServer::SetPlacement(std::function<FrameServer&()> placement) {
  impl_->placement = std::move(placement);
}

void FrameServer::Adopt(int socket, const SocketAddress& remote) {
  Impl& impl = *impl_;
  impl.loop.Post([weak = std::weak_ptr<Impl>(impl_), &budget = impl.budget, socket, remote] {
    const auto self = weak.lock();
    if (self == nullptr || self->stopped || self->draining) {
      close(socket);
      budget.Release(remote.HostText());
      return;
    }
    self->Add(socket, remote);
  });
}

void FrameServer::Drain(std::int64_t grace_ms, std::function<void()> done) {
  impl_->CloseListeners();
  impl_->draining = true;
  impl_->drained = std::move(done);
  std::vector<std::shared_ptr<Impl::Connection>> connections;
  for (const auto& [id, connection] : impl_->connections) {
    connections.push_back(connection);
  }
  for (const auto& connection : connections) {
    connection->CloseWhenIdle();
  }
  const std::int64_t wait_ns = impl_->connections.empty() ? 0 : grace_ms * kNsPerMs;
  impl_->drain_timer =
      impl_->loop.PostAfter(wait_ns, [impl = impl_.get()] { impl->FinishDrain(); });
}

std::size_t FrameServer::connections() const { return impl_->connections.size(); }

}  // namespace conclave::wire
