// A burst of sessions, and then what they cost while nothing happens: a connection each, kept alive
// every third of the timeout (Conclave: by a parked poll that runs out in that time).
#include <cstdint>
#include <memory>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"

namespace conclave::bench {
namespace {

constexpr double kSettleSeconds = 3;
constexpr double kBeatsPerTimeout = 3;
constexpr std::int32_t kTimeoutMs = 30'000;

TargetOptions WithSessions() {
  TargetOptions options;
  options.session = true;
  options.session_timeout_ms = kTimeoutMs;
  options.park_poll = true;
  options.poll_wait_ms = static_cast<std::int32_t>(kTimeoutMs / kBeatsPerTimeout);
  return options;
}

class Sessions final : public Figure {
 public:
  explicit Sessions(const Options& options) : Figure(options, WithSessions()) {}

  Json Run() override {
    Interval opening(options().processes);
    opening.Begin();
    Connect(options().sessions);
    opening.End();
    idle_ns_ = NowNs();
    KeepAlive(kSettleSeconds);
    Interval idle(options().processes);
    idle.Begin();
    KeepAlive(kSettleSeconds + options().seconds);
    idle.End();
    const auto count = static_cast<double>(options().sessions);
    Json json;
    json["sessions"] = options().sessions;
    json["open_seconds"] = opening.seconds();
    json["opened_per_s"] = count / opening.seconds();
    json["server_us_per_open"] = opening.server_cpu() / count * 1e6;
    json["resident_before_mb"] = opening.before().resident_mb;
    json["resident_mb"] = idle.after().resident_mb;
    json["kb_per_session"] =
        (idle.after().resident_mb - opening.before().resident_mb) * 1024 / count;
    json["idle_cores"] = idle.server_cpu() / idle.seconds();
    json["other_cores"] = idle.other_cores();
    return json;
  }

 private:
  // Until so many seconds after the burst; heartbeats are spread evenly.
  void KeepAlive(double until_seconds) {
    constexpr double kPeriodSeconds = kTimeoutMs / kBeatsPerTimeout / 1e3;
    while (SecondsSince(idle_ns_) < until_seconds) {
      const double due =
          SecondsSince(idle_ns_) / kPeriodSeconds * static_cast<double>(connections().size());
      for (; static_cast<double>(beats_) < due; ++beats_) {
        engine().Heartbeat(*connections()[beats_ % connections().size()]);
      }
      engine().Poll(5);
    }
  }

  std::uint64_t idle_ns_ = 0;
  std::size_t beats_ = 0;
};

}  // namespace

std::unique_ptr<Figure> MakeSessions(const Options& options) {
  return std::make_unique<Sessions>(options);
}

}  // namespace conclave::bench
