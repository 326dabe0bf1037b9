// From the bytes of one call to the generated code and back, without a socket: what the frame
// server does with each frame, and what a simulation drives directly.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <thrift/async/TAsyncDispatchProcessor.h>
#include <thrift/protocol/TProtocol.h>
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

/// A call that has come in, with the one answer that is owed to it: at once or later, in any order
/// with others, exactly once. The answer may come after the connection has closed, and even after
/// the Service is gone: nothing happens then. A call that is let go of without an answer stays
/// without a reply: do not do that.
///
/// Thread: that of the loop; it may be carried by others in between.
class Call {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  Call(Call&&) = default;
  Call& operator=(Call&&) = default;
  ~Call() = default;

  [[nodiscard]] const std::string& method() const;

  /// Answers with a struct of the generated code: field 0 is the result, any other the exception
  /// that the method declares with this number.
  template <typename Struct>
  void Reply(std::int16_t field, const Struct& value) {
    using apache::thrift::protocol::T_STRUCT;
    apache::thrift::protocol::TProtocol& out = BeginReply();
    out.writeStructBegin("result");
    out.writeFieldBegin("value", T_STRUCT, field);
    value.write(&out);
    out.writeFieldEnd();
    out.writeFieldStop();
    out.writeStructEnd();
    EndReply();
  }

  /// Answers with a TApplicationException of this `type`.
  void Fail(int type, const std::string& message);

 private:
  friend class CallDispatcher;
  friend class GeneratedProcessor;
  struct State;

  explicit Call(std::shared_ptr<State> state) : state_(std::move(state)) {}

  apache::thrift::protocol::TProtocol& BeginReply();
  void EndReply();

  std::shared_ptr<State> state_;
};

/// What a connection's calls are handed to.
class Processor {
 public:
  Processor() = default;
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;
  Processor(Processor&&) = delete;
  Processor& operator=(Processor&&) = delete;
  virtual ~Processor() = default;

  /// Reads the arguments, which end with the message, from `in`; whatever Thrift throws then may
  /// pass, and closes the connection. What a handler throws later is answered with a
  /// TApplicationException.
  virtual void Dispatch(Call call, apache::thrift::protocol::TProtocol& in) = 0;
};

/// The generated CoordAsyncProcessor, PeerAsyncProcessor, ... as one. Its handler answers by one of
/// the two callbacks of a method, under the rules of Call; arguments are valid during the method
/// only.
std::shared_ptr<Processor> Generated(
    std::shared_ptr<apache::thrift::async::TAsyncDispatchProcessor> processor);

/// What serves one connection. It is made when the connection opens and destroyed when it is gone.
class Service {
 public:
  Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  Service(Service&&) = delete;
  Service& operator=(Service&&) = delete;
  virtual ~Service() = default;

  /// Asked for once. It is kept until the connection is gone and no call is under way.
  virtual std::shared_ptr<Processor> processor() = 0;

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
  CallDispatcher(std::shared_ptr<Processor> processor, const Limits& limits, Counters& counters,
                 Sink sink, std::shared_ptr<CallBuffers> buffers = nullptr);
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
  friend class Call;
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::wire
