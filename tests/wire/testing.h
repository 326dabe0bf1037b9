// Frames made by the generated code, a blocking client on a raw socket, and a way to wait that is
// not a sleep: turns of the loop under test until a condition holds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/wire/test_service.h"
#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_buffer.h"
#include "thrift/wire/frame_server.h"
#include "thrift/wire/protocol.h"

namespace conclave::wire::testing {

/// A call of Coord without its frame length.
std::string GetCall(Protocol protocol, std::int32_t seqid, const std::string& path);
std::string PollCall(Protocol protocol, std::int32_t seqid, std::int32_t wait_ms);
std::string WakeCall(Protocol protocol, std::int32_t seqid);
std::string MultiCall(Protocol protocol, std::int32_t seqid, std::size_t ops);

/// With the length before it.
std::string Framed(std::string_view payload);

/// An answer, decoded as far as tests want to see it.
struct Answer {
  MessageHeader header;
  std::string data;       // of a getData
  std::int64_t zxid = 0;  // of a getData or poll
  bool has_declared_error = false;
  idl::v1::CoordError error;
  std::string application_error;  // of a TApplicationException
  int application_type = 0;
};

Answer DecodeAnswer(std::string_view payload);

/// Runs turns until the condition holds; false after ten seconds.
bool RunUntil(EventLoop& loop, const std::function<bool()>& condition);

/// A non-blocking raw socket, driven from the thread that runs the loop.
class RawClient {
 public:
  explicit RawClient(const SocketAddress& to, int receive_buffer_bytes = 0);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  RawClient(RawClient&& other) noexcept;
  RawClient& operator=(RawClient&&) = delete;

  /// Sends what the kernel takes now; returns how much that was.
  std::size_t Write(std::string_view bytes);

  /// Takes what has arrived. After that see `received`, `frames` and `ended`.
  void Receive();

  [[nodiscard]] const std::string& received() const { return received_; }

  /// Whole frames received so far.
  [[nodiscard]] std::vector<std::string> frames() const;

  /// The other side has closed (or reset).
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  int socket_ = -1;
  std::string received_;
  bool ended_ = false;
};

/// A loop, a server with TestService behind it, and what they count.
struct TestServer {
  explicit TestServer(const Limits& limits = {}, const ServerLimits& server_limits = {});

  [[nodiscard]] std::uint64_t refused(Refusal refusal) const { return counters.refused(refusal); }

  SharedState state;
  Counters counters;
  EventLoop loop;
  ServerBudget budget;
  FrameServer server;
  SocketAddress address;
};

/// Resident bytes of this process.
std::size_t ResidentBytes();

/// The most resident bytes that this process has had, or the one that started it.
std::size_t PeakResidentBytes();

/// What a test may allocate besides what it measures: far below what hostile bytes declare.
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kMemorySlack = 1U << 30;  // freed memory stays in quarantine
#else
constexpr std::size_t kMemorySlack = 8U << 20;
#endif

/// Threads of this process.
std::size_t ThreadCount();

}  // namespace conclave::wire::testing
