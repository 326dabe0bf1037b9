// One connection as its user sees it: whole frames in, whole frames out. A socket in production, a
// link of the simulated network in a simulation.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace conclave::wire {

enum class CloseKind : std::uint8_t {
  kLocal,    // this side asked for it
  kRemote,   // the other side closed in order
  kResolve,  // the name has no address
  kConnect,  // nobody listens, no route
  kConnectTimeout,
  kReset,    // broken off by the network or the other side
  kRefused,  // this side refused what it received, or the other side was too slow
};

struct CloseReason {
  CloseKind kind = CloseKind::kLocal;
  std::string message;  // for people: what, to whom, and the system's reason
};

/// Destroying it closes it; no callback comes afterwards.
///
/// Thread: one, that of its callbacks.
class FrameStream {
 public:
  struct Callbacks {
    std::function<void()> on_open;  // at most once, before any frame
    /// A whole frame without its length; the bytes are valid during the call only.
    std::function<void(std::string_view)> on_frame;
    /// At most once and last. The stream may be destroyed inside it, and inside the others.
    std::function<void(const CloseReason&)> on_closed;
  };

  FrameStream() = default;
  FrameStream(const FrameStream&) = delete;
  FrameStream& operator=(const FrameStream&) = delete;
  FrameStream(FrameStream&&) = delete;
  FrameStream& operator=(FrameStream&&) = delete;
  virtual ~FrameStream() = default;

  /// Queues one frame; its length is put before it here. Before the stream is open frames wait.
  /// Never calls back. After on_closed it does nothing.
  virtual void Send(std::string_view frame) = 0;

  /// Bytes queued that have not been handed to the network. For back-pressure of the sender.
  [[nodiscard]] virtual std::size_t output_bytes() const = 0;
};

/// Begins to open a stream; callbacks never come inside. Names are resolved anew each time.
using StreamFactory = std::function<std::unique_ptr<FrameStream>(FrameStream::Callbacks)>;

}  // namespace conclave::wire
