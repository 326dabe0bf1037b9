// How frames reach a member. Passed in like the executor; production has framed TCP on libevent.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace conclave {

struct Endpoint {
  std::string host;  // A name or an address (IPv6 without brackets).
  std::uint16_t port = 0;

  bool operator==(const Endpoint&) const = default;
  std::string ToString() const;  // "host:port", "[::1]:port".
};

// One open or opening connection. Destroying it closes it; no callback comes afterwards.
class FrameConnection {
 public:
  virtual ~FrameConnection() = default;

  // The frame's length is put before it by the transport. Frames go out in order; those sent before
  // the connection is open wait for it. Frames sent in one task may leave in one system call.
  virtual void Send(std::string frame) = 0;
};

// Thread: all methods and callbacks on the executor that the client was given.
class Transport {
 public:
  struct Callbacks {
    std::function<void()> on_open;                   // At most once.
    std::function<void(std::string_view)> on_frame;  // A whole frame, without its length.
    // At most once and last: could not be opened, closed by the other side, or frame over the
    // limit. The callee may destroy the connection inside it (and inside any other callback).
    std::function<void(const std::string& reason)> on_closed;
  };

  virtual ~Transport() = default;

  // Begins to open; names are resolved anew each time. Callbacks never come inside Connect.
  virtual std::unique_ptr<FrameConnection> Connect(const Endpoint& endpoint,
                                                   Callbacks callbacks) = 0;
};

}  // namespace conclave
