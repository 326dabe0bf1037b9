#include "tests/sim/client_port.h"

#include <utility>

#include "thrift/wire/limits.h"

namespace conclave::sim {

ClientPort::Connection::Connection(ClientPort* port, std::uint64_t id, std::string address,
                                   Reply reply, Closed closed)
    : port_(port),
      id_(id),
      address_(std::move(address)),
      reply_(std::move(reply)),
      closed_(std::move(closed)) {}

ClientPort::Connection::~Connection() { End(); }

void ClientPort::Connection::Receive(std::string frame) {
  if (port_ == nullptr) {
    return;
  }
  port_->core_.Post([weak = weak_from_this(), frame = std::move(frame)] {
    if (const auto self = weak.lock()) {
      self->OnFrame(frame);
    }
  });
}

void ClientPort::Connection::OnFrame(const std::string& frame) {
  if (port_ == nullptr) {
    return;
  }
  received_ns_ = port_->core_.NowNs();
  if (const auto taken = dispatcher_->OnFrame(frame); !taken) {
    Close(taken.error().message);
  }
}

void ClientPort::Connection::Gone() {
  if (port_ == nullptr) {
    return;
  }
  port_->core_.Post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->End();
    }
  });
}

void ClientPort::Connection::Close(std::string_view reason) {
  if (port_ == nullptr) {
    return;
  }
  // At the end of the turn: it may be one of its own calls that wants it.
  port_->core_.Post([weak = weak_from_this(), reason = std::string(reason)] {
    const auto self = weak.lock();
    if (self && self->port_ != nullptr) {
      const Closed closed = self->closed_;
      self->End();
      closed(reason);
    }
  });
}

void ClientPort::Connection::End() {
  if (port_ == nullptr) {
    return;
  }
  port_->connections_.erase(id_);
  port_ = nullptr;
  service_->OnClosed();
  dispatcher_.reset();
  service_.reset();
}

ClientPort::ClientPort(server::Executor* core, const std::unique_ptr<server::Server>* server)
    : core_(core),
      door_(server, &core_, {.started_ns = core->NowNs(), .connections = [] { return 0; }}),
      factory_(door_.FactoryFor(&core_)),
      buffers_(wire::MakeCallBuffers(wire::Limits{})) {}

ClientPort::~ClientPort() {
  while (!connections_.empty()) {
    const auto connection = connections_.begin()->second.lock();
    if (!connection) {
      connections_.erase(connections_.begin());
      continue;
    }
    const Connection::Closed closed = connection->closed_;
    connection->End();
    closed("the member has ended");
  }
}

std::shared_ptr<ClientPort::Connection> ClientPort::Accept(std::string address,
                                                           Connection::Reply reply,
                                                           Connection::Closed closed) {
  const std::uint64_t id = next_id_++;
  auto connection = std::make_shared<Connection>(this, id, std::move(address), std::move(reply),
                                                 std::move(closed));
  connection->service_ = factory_(*connection);
  connection->dispatcher_ = std::make_unique<wire::CallDispatcher>(
      connection->service_->processor(), wire::Limits{}, counters_,
      [weak = std::weak_ptr<Connection>(connection)](std::string_view bytes) {
        if (const auto open = weak.lock(); open && open->port_ != nullptr) {
          open->reply_(std::string(bytes));
        }
      },
      buffers_);
  connections_[id] = connection;
  return connection;
}

}  // namespace conclave::sim
