// The door for applications and operators: Thrift calls in, calls of the server out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "coord/server/server.h"
#include "thrift/wire/scheduler.h"
#include "thrift/wire/service.h"

namespace conclave::doors {

// What the door needs of the process around it.
struct ClientDoorOptions {
  // Milliseconds on a clock that only rises; for memberStatus' uptime.
  std::int64_t started_ns = 0;
  // Open client connections, for memberStatus. Any thread.
  std::function<std::uint64_t()> connections;
};

// Makes the services of connections. Each connection's calls are decoded and encoded on its own
// loop; the server is called, and calls back, on the core loop. If the two are one, nothing is
// posted in between.
//
// Thread: NewService on the connection's loop; the rest anywhere.
// Borrows: the server and the core loop, which must outlive every service. The server may be made
// after the door (it publishes the port that the door's socket was given): `*server` is read on the
// core loop only, when a call comes.
class ClientDoor {
 public:
  ClientDoor(const std::unique_ptr<server::Server>* server, wire::Scheduler* core,
             ClientDoorOptions options);

  // For wire::FrameServer of a loop `io` (perhaps the core's own).
  [[nodiscard]] wire::ServiceFactory FactoryFor(wire::Scheduler* io) const;

 private:
  const std::unique_ptr<server::Server>* const server_;
  wire::Scheduler* const core_;
  const ClientDoorOptions options_;
};

}  // namespace conclave::doors
