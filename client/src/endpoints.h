// Whom to try next, and how long to wait before.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <conclave/error.h>
#include <conclave/transport.h>

namespace conclave::internal {

// "host:port,[::1]:port": at least one. The error names the part that is wrong.
Result<std::vector<Endpoint>> ParseEndpoints(std::string_view text);
std::optional<Endpoint> ParseEndpoint(std::string_view text);

// Full jitter: uniform in [0, b], where b doubles from `min` to `max`. All clients of a member that
// dies wake at the same moment; spreading them over the whole interval is what keeps the next
// member alive.
class Backoff {
 public:
  Backoff(std::chrono::nanoseconds min, std::chrono::nanoseconds max,
          std::function<std::uint64_t()> random);

  std::chrono::nanoseconds Next();

  void Reset() { bound_ = min_; }

 private:
  std::chrono::nanoseconds min_;
  std::chrono::nanoseconds max_;
  std::chrono::nanoseconds bound_;
  std::function<std::uint64_t()> random_;
};

// All endpoints in random order, round after round.
class EndpointRounds {
 public:
  EndpointRounds(std::vector<Endpoint> endpoints, std::function<std::uint64_t()> random);

  // The next one to try; empty when the round is over (the call after that begins a new one).
  std::optional<Endpoint> Next();
  // These go first, once: hints of members. They need not be among the endpoints.
  void Prefer(const std::vector<Endpoint>& preferred);
  // A connection has been good: all others are tried once before the next pause.
  void StartRound(const std::optional<Endpoint>& last);

 private:
  void Shuffle();

  std::vector<Endpoint> all_;
  std::vector<Endpoint> round_;  // Still to be tried, the next one last.
  std::vector<Endpoint> preferred_;
  std::function<std::uint64_t()> random_;
};

}  // namespace conclave::internal
