// conclave-load: one figure of one target, one line of JSON on standard output.
//
//   conclave-load FIGURE --target conclave|zookeeper|etcd --ports P1,P2,.. --pids A,B,.. [options]
//
// Exit status: 0 measured, 2 usage, 3 the target did not do what was asked of it.
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"

namespace {

using conclave::bench::Figure;
using conclave::bench::Json;
using conclave::bench::Options;

constexpr int kExitUsage = 2;
constexpr int kExitFailed = 3;

using Maker = std::function<std::unique_ptr<Figure>(const Options&)>;

const std::map<std::string, Maker>& Makers() {
  static const std::map<std::string, Maker> makers{
      {"load", conclave::bench::MakeLoad},         {"populate", conclave::bench::MakePopulate},
      {"fanout", conclave::bench::MakeFanout},     {"sessions", conclave::bench::MakeSessions},
      {"failover", conclave::bench::MakeFailover}, {"probe", conclave::bench::MakeProbe},
      {"overload", conclave::bench::MakeOverload}, {"hold", conclave::bench::MakeHold},
  };
  return makers;
}

void AddOptions(CLI::App& app, Options& options) {
  std::vector<std::string> names;
  for (const auto& [name, maker] : Makers()) {
    names.push_back(name);
  }
  app.add_option("figure", options.figure, "what to measure")
      ->required()
      ->check(CLI::IsMember(names));
  app.add_option("--target", options.target)
      ->required()
      ->check(CLI::IsMember({"conclave", "zookeeper", "etcd"}));
  app.add_option("--ports", options.ports, "client ports of the members")
      ->required()
      ->delimiter(',');
  app.add_option("--pids", options.processes, "processes of the members")->delimiter(',');
  app.add_option("--op", options.op, "of load: set, get, localget, mixed; of probe: set, get")
      ->check(CLI::IsMember({"set", "get", "localget", "mixed"}));
  app.add_option("--outstanding", options.outstanding)->check(CLI::PositiveNumber);
  app.add_option("--connections", options.connections, "default: min(outstanding, 64)");
  app.add_option("--value-bytes", options.value_bytes);
  app.add_option("--keys", options.keys)->check(CLI::PositiveNumber);
  app.add_option("--seconds", options.seconds, "how long to measure");
  app.add_option("--warmup-seconds", options.warmup_seconds);
  app.add_option("--limit-seconds", options.limit_seconds, "when to give up");
  app.add_option("--watchers", options.watchers)->check(CLI::PositiveNumber);
  app.add_option("--rounds", options.rounds, "of fanout; the first one warms up")
      ->check(CLI::Range(2, 100'000));
  app.add_option("--sessions", options.sessions)->check(CLI::PositiveNumber);
  app.add_option("--watches", options.watches, "of hold: over all sessions");
  app.add_option("--rate", options.rate, "of overload: calls a second");
  app.add_option("--victim", options.victim, "of failover: the process to signal after a second");
  app.add_option("--signal", options.signal, "of failover: 9 (KILL) or 19 (STOP)");
  app.add_option("--tick-ms", options.tick_ms, "of failover: between two writes");
  app.add_option("--exec-wall-ns", options.exec_wall_ns, "of probe: when the server was started");
  app.add_option("--path", options.path, "of probe");
  app.add_option("--retry-ms", options.retry_ms, "of probe: a silent connection is given up");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Loads one target and measures one figure");
  AddOptions(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  // A probe has no time to spare before it begins.
  const bool calibrated = options.figure != "probe";
  try {
    const double before_ms = calibrated ? conclave::bench::CalibrateMs() : 0;
    Json found = Makers().at(options.figure)(options)->Run();
    Json line;
    line["figure"] = options.figure;
    line["target"] = options.target;
    line["members"] = options.ports.size();
    line.update(found);
    if (calibrated) {
      line["calibration_ms"] = (before_ms + conclave::bench::CalibrateMs()) / 2;
    }
    std::printf("%s\n", line.dump().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "conclave-load: %s\n", error.what());
    return kExitFailed;
  }
  return 0;
}
