// What the wire counts. Only ever rising but the gauges; read from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace conclave::wire {

/// Why a connection or a frame was refused. Names for logs and metrics: RefusalName.
enum class Refusal : std::uint8_t {
  kTooManyConnections,
  kTooManyFromAddress,
  kFrameTooLarge,
  kNotFramed,        // unframed Thrift, or a negative length
  kHttp,             // an HTTP request on this port
  kTls,              // a TLS hello on this port
  kUnknownProtocol,  // a frame that is neither binary nor compact
  kMalformed,        // does not decode, or over a limit inside
  kFirstFrameLate,
  kFrameIncomplete,  // slow loris
  kIdle,
  kOutputOverLimit,   // one connection's output
  kOutputOverBudget,  // the worst of all when their sum was over the budget
  kOutputStalled,     // never reads
};
inline constexpr std::size_t kRefusals = 14;

/// "frame_too_large" and the like: stable, for metrics and logs.
std::string_view RefusalName(Refusal refusal);

/// Relaxed: each number is right, several together are of about the same time.
struct Counters {
  using Count = std::atomic<std::uint64_t>;

  Count connections_accepted{0};
  Count connections_open{0};  // gauge
  Count frames_received{0};
  Count frames_sent{0};
  Count bytes_received{0};
  Count bytes_sent{0};
  Count receive_calls{0};  // system calls
  Count send_calls{0};     // system calls, also those that would have blocked
  Count calls{0};          // dispatched to a service
  Count replies{0};
  Count read_pauses{0};   // back-pressure began on a connection
  Count output_bytes{0};  // gauge: bytes that wait to be sent
  std::array<Count, kRefusals> refusals{};

  void Refuse(Refusal refusal) { ++refusals.at(static_cast<std::size_t>(refusal)); }

  [[nodiscard]] std::uint64_t refused(Refusal refusal) const {
    return refusals.at(static_cast<std::size_t>(refusal)).load(std::memory_order_relaxed);
  }
};

}  // namespace conclave::wire
