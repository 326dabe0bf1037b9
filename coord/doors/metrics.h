// What a member counts, in the text format that Prometheus reads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "coord/server/seams.h"
#include "coord/server/status.h"

namespace conclave::doors {

// What the client door counts besides the server: connections and frames.
struct WireCounts {
  std::uint64_t connections = 0;  // open now
  std::uint64_t connections_accepted = 0;
  std::uint64_t connections_refused = 0;  // over a limit
  std::uint64_t connections_dropped = 0;  // for what they sent, or for not reading
  std::uint64_t frames_received = 0;
  std::uint64_t frames_sent = 0;
  std::uint64_t send_calls = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
};

// Histograms that the server feeds as it runs, and a page made of them and of a status.
//
// Names follow Prometheus' rules: conclave_ first, base units, _total for what only grows. No path,
// session or client address is ever a label.
//
// Thread: any.
class Metrics final : public server::MetricsSink {
 public:
  Metrics();
  ~Metrics() override;

  void Observe(server::Timing what, std::int64_t duration_ns) override;

  // The whole page, text format 0.0.4.
  [[nodiscard]] std::string Render(const server::Status& status, const WireCounts& wire) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::doors
