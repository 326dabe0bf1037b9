// The operators' HTTP port: /livez, /readyz, /status and /metrics.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <tl/expected.hpp>

#include "coord/doors/metrics.h"
#include "coord/server/status.h"

namespace conclave::doors {

// What one page is made of.
struct AdminSnapshot {
  server::Status status;
  WireCounts wire;
};

// Where the port gets its facts.
struct AdminSources {
  // Asks for a snapshot. Called on the port's thread; `done` may be called on any thread, once or,
  // if the server is stuck, never.
  std::function<void(std::function<void(AdminSnapshot)> done)> snapshot;
  // Milliseconds since the core loop last turned. Called on the port's thread.
  std::function<std::int64_t()> core_age_ms;
  // Milliseconds that the log write under way has taken so far; 0: none is. Same thread.
  std::function<std::int64_t()> log_age_ms;
};

// An HTTP server with a thread of its own, so that it can tell of loops that are stuck.
//
//   /livez    200 while the core loop and the log turn; 503 with the reason otherwise: a restart
//             would help. Does not depend on a quorum.
//   /readyz   200 while this member serves linearizable requests; else 503 with the reason.
//             ?verbose lists every check.
//   /status   the member's status as JSON (coord/doors/status_json.h).
//   /metrics  Prometheus' text format.
//
// It has no authentication; it belongs on loopback or behind a firewall.
//
// Thread: constructor and destructor anywhere; owns its thread. The sources must stay valid until
// the destructor has returned.
class AdminHttp {
 public:
  // Opens `address` (HOST:PORT, port 0 picks one). The error names the address and the reason.
  static tl::expected<std::unique_ptr<AdminHttp>, std::string> Listen(const std::string& address,
                                                                      const Metrics* metrics,
                                                                      AdminSources sources);
  AdminHttp(const AdminHttp&) = delete;
  AdminHttp& operator=(const AdminHttp&) = delete;
  ~AdminHttp();

  // Where it listens: HOST:PORT with the port in force.
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  struct Loop;
  AdminHttp(std::unique_ptr<Loop> loop, std::string address);

  std::unique_ptr<Loop> loop_;
  std::string address_;
};

}  // namespace conclave::doors
