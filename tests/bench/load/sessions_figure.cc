// Many sessions: opened in a burst, then idle, a connection each, kept alive every third of the
// timeout (Conclave: by a parked poll that runs out in that time). And sessions that are there
// while something else is measured.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include <poll.h>
#include <unistd.h>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"

namespace conclave::bench {
namespace {

constexpr double kBeatsPerTimeout = 3;
constexpr std::int32_t kTimeoutMs = 30'000;
// Of those in the background: they should not be what is measured.
constexpr std::int32_t kHeldTimeoutMs = 120'000;

TargetOptions WithSessions(std::int32_t timeout_ms) {
  TargetOptions options;
  options.session = true;
  options.session_timeout_ms = timeout_ms;
  options.park_poll = true;
  options.poll_wait_ms = static_cast<std::int32_t>(timeout_ms / kBeatsPerTimeout);
  return options;
}

class Sessions final : public Figure {
 public:
  explicit Sessions(const Options& options) : Figure(options, WithSessions(kTimeoutMs)) {}

  Json Run() override {
    Interval opening(options().processes);
    opening.Begin();
    Connect(options().sessions);
    opening.End();
    idle_ns_ = NowNs();
    const double settled_seconds = options().seconds / 4;
    KeepAlive(settled_seconds);
    Interval idle(options().processes);
    idle.Begin();
    KeepAlive(settled_seconds + options().seconds);
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

// Holds sessions, with watches on znodes that nobody touches, until standard input ends.
class Hold final : public Figure {
 public:
  explicit Hold(const Options& options) : Figure(options, WithSessions(kHeldTimeoutMs)) {}

  void Answered(Connection& connection, std::uint64_t tag, Outcome outcome) override {
    (void)connection, (void)tag;
    errors_ += outcome == Outcome::kOk ? 0 : 1;
    --arming_;
  }

  Json Run() override {
    Connect(options().sessions);
    for (std::size_t i = 0; i < options().watches; ++i) {
      const std::string path = "/watched" + std::to_string(i);
      ++arming_;
      engine().Send(*connections()[i % connections().size()],
                    {.kind = OpKind::kWatch, .path = path, .value = {}, .tag = 1});
      while (arming_ > kArmingMax) {
        engine().Poll(100);
      }
    }
    while (arming_ > 0) {
      engine().Poll(100);
    }
    // Said at once, and not at the end: whoever reads it goes on then.
    std::printf("holding\n");
    std::fflush(stdout);
    std::uint64_t beaten_ns = NowNs();
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    while (poll(&input, 1, 0) == 0) {
      engine().Poll(50);
      if (SecondsSince(beaten_ns) * 1e3 > kHeldTimeoutMs / kBeatsPerTimeout) {
        beaten_ns = NowNs();
        HeartbeatAll();
      }
    }
    Json json;
    json["sessions"] = options().sessions;
    json["watches"] = options().watches;
    json["errors"] = errors_;
    return json;
  }

 private:
  static constexpr std::size_t kArmingMax = 1'024;

  std::size_t arming_ = 0;
};

}  // namespace

std::unique_ptr<Figure> MakeSessions(const Options& options) {
  return std::make_unique<Sessions>(options);
}

std::unique_ptr<Figure> MakeHold(const Options& options) { return std::make_unique<Hold>(options); }

}  // namespace conclave::bench
