// Serves framed Thrift on libevent's loop: binary and compact on one port, told apart by the first
// byte of each frame.
//
// Plain read events, own buffers, one gathered send per connection at the end of a turn, and a
// write event only after the kernel has refused to take more: libevent's bufferevent costs twice as
// much per call. A connection costs no thread and, while idle, no buffer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <tl/expected.hpp>

#include "thrift/wire/address.h"
#include "thrift/wire/counters.h"
#include "thrift/wire/limits.h"
#include "thrift/wire/service.h"

namespace conclave::wire {

class EventLoop;

/// Bounds over all connections of a server, whichever loop they are on. Thread: any.
class ServerBudget {
 public:
  explicit ServerBudget(const ServerLimits& limits) : limits_(limits) {}

  /// Counts a connection in, or says why not.
  tl::expected<void, Refusal> Admit(const std::string& host);
  void Release(const std::string& host);

  /// `delta` bytes more (or less) wait to be sent.
  void AddOutput(std::int64_t delta);
  [[nodiscard]] bool OverOutput() const;

  [[nodiscard]] const ServerLimits& limits() const { return limits_; }

 private:
  const ServerLimits limits_;
  std::atomic<std::int64_t> output_bytes_{0};
  std::mutex mu_;
  std::uint32_t connections_ = 0;                     // guarded by mu_
  std::map<std::string, std::uint32_t> per_address_;  // guarded by mu_
};

/// The connections of one loop, and the sockets it listens on. Several loops share the connections
/// of one port when the one that listens passes some on (SetPlacement).
///
/// Thread: the loop's own, but Adopt, which takes any.
class FrameServer {
 public:
  struct Options {
    std::string name = "client";  // for logs: what the port is for
    Limits limits{};
  };

  /// All must outlive the server.
  FrameServer(EventLoop& loop, ServerBudget& budget, Counters& counters, Options options,
              ServiceFactory factory);
  /// Closes all without waiting for output. Not to be called inside a handler of its own.
  ~FrameServer();
  FrameServer(const FrameServer&) = delete;
  FrameServer& operator=(const FrameServer&) = delete;
  FrameServer(FrameServer&&) = delete;
  FrameServer& operator=(FrameServer&&) = delete;

  /// Binds and listens. Port 0 takes a free one. Returns the address in use; the error names
  /// address and reason ("cannot listen on 127.0.0.1:9001: Address already in use").
  tl::expected<SocketAddress, std::string> Listen(const SocketAddress& address);

  /// Where accepted sockets go: the server chosen, perhaps of another loop. Default: this one.
  void SetPlacement(std::function<FrameServer&()> placement);

  /// Takes a connected socket whose host the budget has admitted.
  void Adopt(int socket, const SocketAddress& remote);

  /// Stops to listen and to read, lets replies leave, and calls `done` (on the loop) once no
  /// connection is left or `grace_ms` have passed.
  void Drain(std::int64_t grace_ms, std::function<void()> done);

  [[nodiscard]] std::size_t connections() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::wire
