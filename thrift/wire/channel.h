// Many outstanding calls over one connection, each with a deadline of its own.
//
// Thrift's own asynchronous clients hold one call at a time, or a thread per call. This one uses
// the generated pargs and presult structs and seqids of its own:
//
//   Channel channel(loop, factory, options);
//   channel.Open();
//   Coord_getData_pargs args;  args.ctx = &ctx;  args.request = &request;
//   Invoke<Coord_getData_presult, GetResult, CoordError>(
//       channel, {.method = "getData", .timeout_ns = 1'000'000'000}, args,
//       [](CallResult<GetResult, CoordError> result) { ... });
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include <thrift/protocol/TProtocol.h>
#include <tl/expected.hpp>

#include "thrift/wire/frame_stream.h"
#include "thrift/wire/limits.h"
#include "thrift/wire/protocol.h"
#include "thrift/wire/scheduler.h"

namespace conclave::wire {

/// Why a call has no answer.
struct CallFailure {
  enum class Kind : std::uint8_t {
    kClosed,       // the connection ended or was never made
    kTimeout,      // no answer in time; the connection goes on
    kTooLarge,     // over the limit of frames: not sent
    kOverloaded,   // too many calls or bytes outstanding: not sent
    kApplication,  // a TApplicationException: the server does not know the call, or has failed
    kMalformed,    // the answer does not decode; the connection is closed
  };
  Kind kind = Kind::kClosed;
  /// False: no byte of the call can have reached the server, so it was not executed.
  bool may_have_been_sent = false;
  std::string message;
  /// With kClosed: how the connection ended.
  CloseKind close_kind = CloseKind::kLocal;
};

/// An answer, the call's declared error, or no answer at all.
template <class Result, class DeclaredError>
using CallResult = tl::expected<Result, std::variant<DeclaredError, CallFailure>>;

struct ChannelOptions {
  Protocol protocol = Protocol::kCompact;
  /// frame_bytes_max and container_size_max hold for answers, frame_bytes_max for calls too.
  Limits limits{};
  std::uint32_t calls_max = 100'000;
  /// Calls are refused as overloaded while more bytes than this wait to be sent. With the largest
  /// frame on top it has to stay below Limits::output_bytes_max, at which the stream gives up.
  std::size_t output_bytes_max = 8 << 20;
};

struct CallOptions {
  std::string_view method;      // a literal: not copied
  std::int64_t timeout_ns = 0;  // from now, waiting for the connection included; 0: none
};

using CallId = std::uint64_t;

/// Thread: the scheduler's own, for calls and callbacks.
/// Invariants:
///   1. Every call's callback comes exactly once, never inside Call; none after Cancel or after the
///      channel is gone.
///   2. A late or unknown answer is dropped; an answer that does not decode closes the connection.
class Channel {
 public:
  /// Writes the arguments struct.
  using Encode = std::function<void(apache::thrift::protocol::TProtocol&)>;
  /// Reads the result struct from the protocol, or learns why there is none. What it throws while
  /// reading closes the channel and is reported to it once more, as kMalformed.
  using Answer =
      std::function<void(tl::expected<apache::thrift::protocol::TProtocol*, CallFailure>)>;

  /// `scheduler` must outlive the channel.
  Channel(Scheduler& scheduler, StreamFactory factory, ChannelOptions options);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  Channel(Channel&&) = delete;
  Channel& operator=(Channel&&) = delete;

  /// Begins to connect, anew after a close. REQUIRES: closed.
  void Open();

  /// Closes; outstanding calls fail with `message`.
  void Close(std::string_view message);

  enum class State : std::uint8_t { kClosed, kOpening, kOpen };
  [[nodiscard]] State state() const;

  /// At most one of each; set them before Open. The channel may be destroyed or opened inside.
  void OnOpen(std::function<void()> callback);
  void OnClosed(std::function<void(const CloseReason&)> callback);

  /// Sends a call; if the channel is closed it fails (through the callback) as not sent.
  CallId Call(const CallOptions& options, const Encode& encode, Answer answer);

  /// Sends a one-way call. False: not sent (closed or overloaded or too large), with the reason.
  tl::expected<void, CallFailure> Notify(std::string_view method, const Encode& encode);

  /// Forgets a call: its callback will not come. The server still runs it.
  bool Cancel(CallId call);

  [[nodiscard]] std::size_t outstanding() const;
  [[nodiscard]] std::size_t output_bytes() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

namespace internal {
/// Presult of a call with a declared error has a member of this name; of one without, none.
template <class Presult, class DeclaredError>
bool TakeDeclaredError(Presult& presult, DeclaredError& error) {
  if (presult.__isset.error) {
    error = std::move(presult.error);
    return true;
  }
  return false;
}
}  // namespace internal

/// A call by its generated structs. REQUIRES: the declared exception's field is named `error`.
template <class Presult, class Result, class DeclaredError, class Pargs, class Done>
CallId Invoke(Channel& channel, const CallOptions& options, const Pargs& pargs, Done done) {
  using Outcome = CallResult<Result, DeclaredError>;
  auto encode = [&pargs](apache::thrift::protocol::TProtocol& protocol) { pargs.write(&protocol); };
  return channel.Call(
      options, encode,
      [done = std::move(done)](
          tl::expected<apache::thrift::protocol::TProtocol*, CallFailure> in) mutable {
        if (!in) {
          done(Outcome(tl::unexpect, std::move(in.error())));
          return;
        }
        Result result;
        Presult presult;
        presult.success = &result;
        presult.read(*in);
        DeclaredError error;
        if (internal::TakeDeclaredError(presult, error)) {
          done(Outcome(tl::unexpect, std::move(error)));
        } else if (presult.__isset.success) {
          done(Outcome(std::move(result)));
        } else {
          done(Outcome(tl::unexpect, CallFailure{.kind = CallFailure::Kind::kMalformed,
                                                 .may_have_been_sent = true,
                                                 .message = "an answer without a result"}));
        }
      });
}

}  // namespace conclave::wire
