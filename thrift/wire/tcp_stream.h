// Framed TCP, dialled from here.
#pragma once

#include <cstdint>
#include <memory>

#include "thrift/wire/address.h"
#include "thrift/wire/counters.h"
#include "thrift/wire/frame_stream.h"
#include "thrift/wire/limits.h"

namespace conclave::wire {

class EventLoop;
class Resolver;

struct TcpStreamOptions {
  HostPort to;
  /// For all addresses of the name together, lookup included.
  std::int64_t connect_timeout_ms = 3'000;
  /// What is accepted from the other side, and how much output may wait.
  Limits limits{};
  /// Shared with others if given; must outlive the stream.
  Counters* counters = nullptr;
};

/// Begins to connect: addresses are tried in the resolver's order. `loop` and `resolver` must
/// outlive the stream. Callbacks come on the loop.
std::unique_ptr<FrameStream> DialTcp(EventLoop& loop, Resolver& resolver,
                                     const TcpStreamOptions& options,
                                     FrameStream::Callbacks callbacks);

}  // namespace conclave::wire
