// From the bytes of one call to the generated code and back, without a socket: what the frame
// server does with each frame, and what a simulation drives directly.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <thrift/async/TAsyncDispatchProcessor.h>
#include <tl/expected.hpp>

#include "thrift/wire/counters.h"
#include "thrift/wire/limits.h"

namespace conclave::wire {

/// The connection that calls come from, as their handler sees it.
///
/// Thread: that of its loop.
class Caller {
 public:
  Caller() = default;
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  Caller(Caller&&) = delete;
  Caller& operator=(Caller&&) = delete;
  virtual ~Caller() = default;

  /// Unique in this process, never reused.
  [[nodiscard]] virtual std::uint64_t id() const = 0;
  /// HOST:PORT of the other side. The identity until TLS is on.
  [[nodiscard]] virtual const std::string& address() const = 0;
  /// When the frame of the call now being dispatched was complete, on the loop's clock. A handler's
  /// deadline counts from here. Meaningful inside a handler's method only.
  [[nodiscard]] virtual std::int64_t received_ns() const = 0;
  /// Dispatches no further call and closes at the end of the turn, or when the replies given until
  /// then have been handed to the network, or at the latest after the stall limit.
  virtual void Close(std::string_view reason) = 0;
};

/// What serves one connection. It is made when the connection opens and destroyed when it is gone.
///
/// The generated handler that processor() wraps is told of a call by a method, and answers by one
/// of the two callbacks of that call: at once or later, in any order, on the loop's thread, exactly
/// once. (Arguments are valid during the method only.) Callbacks may be called after the connection
/// has closed, and even after the Service is gone: nothing happens then. A callback that is dropped
/// without being called leaves the call without a reply and in flight: do not do that.
/// A handler that throws is answered with a TApplicationException.
class Service {
 public:
  Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  Service(Service&&) = delete;
  Service& operator=(Service&&) = delete;
  virtual ~Service() = default;

  /// The generated CoordAsyncProcessor, PeerAsyncProcessor, ... around the handler.
  virtual std::shared_ptr<apache::thrift::async::TAsyncDispatchProcessor> processor() = 0;

  /// The connection is gone: no call will be dispatched any more, no reply will arrive. Parked
  /// calls should be forgotten (or answered; it makes no difference). Destroyed right after.
  virtual void OnClosed() {}
};

/// Called on the connection's loop. `caller` outlives the Service.
using ServiceFactory = std::function<std::unique_ptr<Service>(Caller& caller)>;

/// Protocol objects and buffers. The connections of one loop share one, so that an idle connection
/// holds none.
struct CallBuffers;
std::shared_ptr<CallBuffers> MakeCallBuffers(const Limits& limits);

/// Dispatches the frames of one connection.
///
/// Thread: one. The sink may be called inside OnFrame or later.
class CallDispatcher {
 public:
  /// Takes the payload of one reply frame; the bytes are valid during the call only.
  using Sink = std::function<void(std::string_view reply)>;

  struct Refused {
    Refusal refusal;
    std::string message;
  };

  /// `counters` must outlive it and every callback of its calls. Without `buffers` it makes its
  /// own.
  CallDispatcher(std::shared_ptr<apache::thrift::async::TAsyncDispatchProcessor> processor,
                 const Limits& limits, Counters& counters, Sink sink,
                 std::shared_ptr<CallBuffers> buffers = nullptr);
  /// Replies that come later go nowhere.
  ~CallDispatcher();
  CallDispatcher(const CallDispatcher&) = delete;
  CallDispatcher& operator=(const CallDispatcher&) = delete;
  CallDispatcher(CallDispatcher&&) = delete;
  CallDispatcher& operator=(CallDispatcher&&) = delete;

  /// One whole frame without its length. Refused: the connection should be closed; nothing was
  /// executed.
  tl::expected<void, Refused> OnFrame(std::string_view frame);

  /// The reply to a call whose frame was too large to be read: `head` is how it begins. Empty if
  /// the beginning names no call.
  [[nodiscard]] std::string TooLargeReply(std::string_view head,
                                          std::uint64_t declared_bytes) const;

  /// Calls without a reply, and the bytes of their frames.
  [[nodiscard]] std::size_t calls_in_flight() const;
  [[nodiscard]] std::size_t bytes_in_flight() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::wire
