// Every bound that the wire keeps, with the defaults of the client port.
#pragma once

#include <cstddef>
#include <cstdint>

namespace conclave::wire {

/// What one side accepts from the other. Sizes in bytes, times in milliseconds; 0 of a time: never.
struct Limits {
  /// Payload of one frame, both directions. Thrift's own clients take at most 16,384,000.
  std::uint32_t frame_bytes_max = 4 << 20;

  /// Elements of one list, set or map. Strings are bounded by the frame that they come in.
  std::uint32_t container_size_max = 10'000;

  /// Calls of one connection that have no reply yet, and the bytes of their frames. At either bound
  /// the connection is not read from until replies have left (one call is always let in).
  std::uint32_t calls_in_flight_max = 1'024;
  std::size_t calls_in_flight_bytes_max = 8 << 20;

  /// Bytes that wait to be sent to one connection. Past it the connection is dropped: its owner is
  /// too slow. The session that it served stays.
  std::size_t output_bytes_max = 16 << 20;

  /// From accept to the first whole frame.
  std::int64_t first_frame_ms = 10'000;

  /// From the first byte of a frame to its last.
  std::int64_t frame_completion_ms = 10'000;

  /// No byte leaves though bytes wait: the other side does not read.
  std::int64_t output_stall_ms = 15'000;

  /// No call in flight and nothing received.
  std::int64_t idle_ms = 900'000;
};

/// What all connections of a server share, over all its loops; see ServerBudget.
struct ServerLimits {
  std::uint32_t connections_max = 20'000;
  /// From one address (without port). 0: no limit but the total.
  std::uint32_t connections_per_address_max = 0;
  /// Bytes that wait to be sent, over all connections. Past it the one that waits for most is
  /// dropped, until the rest fits.
  std::size_t output_bytes_max = 48 << 20;
};

}  // namespace conclave::wire
