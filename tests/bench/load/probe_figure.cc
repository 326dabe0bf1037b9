// From the exec of a server to the first call that it has served.
#include <cstdint>
#include <memory>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"

namespace conclave::bench {
namespace {

constexpr double kPauseMs = 1;  // between two attempts that are refused

class Probe final : public Figure {
 public:
  explicit Probe(const Options& options) : Figure(options, TargetOptions{}) {}

  void OnReady(Connection& connection) override {
    engine().Send(connection, {.kind = options().op == "get" ? OpKind::kGet : OpKind::kSet,
                               .path = options().path,
                               .value = {},
                               .tag = 1});
  }

  void Answered(Connection& connection, std::uint64_t tag, Outcome outcome) override {
    (void)connection, (void)tag;
    served_ = outcome == Outcome::kOk;
    again_ = !served_;
  }

  void OnClosed(Connection& connection) override {
    (void)connection;
    again_ = true;
  }

  Json Run() override {
    const std::uint64_t begun_ns = NowNs();
    Connection& connection = engine().Open(options().ports.front());
    std::uint64_t dialled_ns = NowNs();
    while (!served_) {
      if (SecondsSince(begun_ns) > options().limit_seconds) {
        throw Failure("nothing was served");
      }
      engine().Poll(1);
      // ZooKeeper accepts a connection before it serves and never answers what it got there.
      const double dialled_ms = SecondsSince(dialled_ns) * 1e3;
      const bool silent = dialled_ms > options().retry_ms;
      if (!served_ && (silent || (again_ && dialled_ms > kPauseMs))) {
        again_ = false;
        engine().Redial(connection);
        dialled_ns = NowNs();
      }
    }
    Json json;
    json["op"] = options().op;
    json["ready_ms"] = static_cast<double>(WallNs() - options().exec_wall_ns) / 1e6;
    json["resident_mb"] = UseOf(options().processes).resident_mb;
    return json;
  }

 private:
  bool served_ = false;
  bool again_ = false;
};

}  // namespace

std::unique_ptr<Figure> MakeProbe(const Options& options) {
  return std::make_unique<Probe>(options);
}

}  // namespace conclave::bench
