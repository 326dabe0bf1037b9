// The client door of one life of one member: the production door and its codec, with simulated
// connections in place of sockets.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "coord/doors/client_door.h"
#include "coord/server/executor.h"
#include "coord/server/server.h"
#include "thrift/wire/counters.h"
#include "thrift/wire/scheduler.h"
#include "thrift/wire/service.h"

namespace conclave::sim {

// The member's core executor as the door sees it.
class CoreScheduler final : public wire::Scheduler {
 public:
  explicit CoreScheduler(server::Executor* core) : core_(core) {}

  void Post(Task task) override { core_->Post(std::move(task)); }

  wire::TimerId PostAfter(std::int64_t delay_ns, Task task) override {
    return core_->PostAfter(delay_ns, std::move(task));
  }

  bool Cancel(wire::TimerId timer) override { return core_->Cancel(timer); }

  std::int64_t NowNs() const override { return core_->NowNs(); }

 private:
  server::Executor* const core_;
};

// Thread: one. Borrows the executor and the server, which must outlive it.
class ClientPort {
 public:
  // One connection as the member holds it. Both functions are called on the member's core: `reply`
  // with each frame that goes out, `closed` when the member ends the connection.
  class Connection final : public wire::Caller, public std::enable_shared_from_this<Connection> {
   public:
    using Reply = std::function<void(std::string)>;
    using Closed = std::function<void(std::string reason)>;

    Connection(ClientPort* port, std::uint64_t id, std::string address, Reply reply, Closed closed);
    ~Connection() override;

    // A frame of the client has arrived; it is taken up on the member's core.
    void Receive(std::string frame);
    // The client has gone, or the network has; the member notices now.
    void Gone();

    [[nodiscard]] std::uint64_t id() const override { return id_; }

    [[nodiscard]] const std::string& address() const override { return address_; }

    [[nodiscard]] std::int64_t received_ns() const override { return received_ns_; }

    void Close(std::string_view reason) override;

   private:
    friend class ClientPort;

    void OnFrame(const std::string& frame);
    void End();

    ClientPort* port_;  // null: ended
    const std::uint64_t id_;
    const std::string address_;
    Reply reply_;
    Closed closed_;
    std::int64_t received_ns_ = 0;
    std::unique_ptr<wire::Service> service_;
    std::unique_ptr<wire::CallDispatcher> dispatcher_;
  };

  ClientPort(server::Executor* core, const std::unique_ptr<server::Server>* server);
  // Ends every connection, as the end of a process does: each is told.
  ~ClientPort();
  ClientPort(const ClientPort&) = delete;
  ClientPort& operator=(const ClientPort&) = delete;

  std::shared_ptr<Connection> Accept(std::string address, Connection::Reply reply,
                                     Connection::Closed closed);

 private:
  CoreScheduler core_;
  doors::ClientDoor door_;
  wire::ServiceFactory factory_;
  wire::Counters counters_;
  std::shared_ptr<wire::CallBuffers> buffers_;
  std::map<std::uint64_t, std::weak_ptr<Connection>> connections_;
  std::uint64_t next_id_ = 1;
};

}  // namespace conclave::sim
