// What every figure has in common: connections to a target, one synchronous call, one line of JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/types.h>

#include "tests/bench/load/engine.h"
#include "tests/bench/load/histogram.h"
#include "tests/bench/load/target.h"

namespace conclave::bench {

using Json = nlohmann::ordered_json;

struct Options {
  std::string figure;
  std::string target;
  std::vector<std::uint16_t> ports;  // of the members, in the order of their numbers
  std::vector<pid_t> processes;      // of the members

  std::string op = "set";  // set, get, localget, mixed
  std::size_t outstanding = 64;
  std::size_t connections = 0;  // 0: min(outstanding, 64)
  std::size_t value_bytes = 100;
  std::size_t keys = 1'000;
  double seconds = 3;
  double warmup_seconds = 0.5;
  double limit_seconds = 300;  // of a populate or a probe

  std::size_t watchers = 1'000;
  int rounds = 11;  // the first one warms up
  std::size_t sessions = 1'000;
  std::size_t watches = 0;

  double rate = 0;  // calls a second of an open loop

  pid_t victim = 0;
  int signal = 9;
  double tick_ms = 5;

  std::uint64_t exec_wall_ns = 0;
  std::string path = "/";
  int retry_ms = 100;
};

/// A mistake of the caller or a target that does not answer; main prints it and exits with 3.
class Failure : public std::exception {
 public:
  explicit Failure(std::string what) : what_(std::move(what)) {}

  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

/// Names of the znodes that loads work on: a thousand directories.
std::string DirectoryOf(std::uint64_t key);
std::string PathOf(std::uint64_t key);

/// Seconds since a moment of NowNs.
double SecondsSince(std::uint64_t begun_ns);

/// p50 to max in microseconds, n.
void AddHistogram(Json& json, const Histogram& histogram);

class Figure : public Listener {
 public:
  Figure(const Options& options, const TargetOptions& target);

  /// Measures; what it found, without the fields that all figures have.
  virtual Json Run() = 0;

  void OnReady(Connection& connection) override;
  void OnAnswer(Connection& connection, std::uint64_t tag, Outcome outcome) override;
  void OnEvent(Connection& connection) override;
  void OnClosed(Connection& connection) override;

 protected:
  /// Opens so many connections, spread over the members, and waits until all are ready.
  void Connect(std::size_t count);

  /// One call, waited for. Throws after 20 seconds.
  Outcome Call(Connection& connection, OpKind kind, std::string_view path, std::string_view value);

  /// Makes the directories that the first `keys` znodes lie in.
  void MakeDirectories(std::uint64_t keys);

  /// An answer to a call that is not Call's.
  virtual void Answered(Connection& connection, std::uint64_t tag, Outcome outcome);

  void HeartbeatAll();

  [[nodiscard]] const Options& options() const { return options_; }

  [[nodiscard]] Engine& engine() { return engine_; }

  [[nodiscard]] Target& target() { return *target_; }

  [[nodiscard]] const std::vector<Connection*>& connections() const { return connections_; }

  [[nodiscard]] std::size_t ready() const { return ready_; }

  std::uint64_t errors_ = 0;

 private:
  void Await(std::string_view path);

  const Options options_;
  const std::unique_ptr<Target> target_;
  Engine engine_;
  std::vector<Connection*> connections_;
  std::size_t ready_ = 0;
  std::size_t awaited_ = 0;  // answers to Call and MakeDirectories
  Outcome outcome_ = Outcome::kOk;
};

std::unique_ptr<Figure> MakeLoad(const Options& options);
std::unique_ptr<Figure> MakePopulate(const Options& options);
std::unique_ptr<Figure> MakeFanout(const Options& options);
std::unique_ptr<Figure> MakeSessions(const Options& options);
std::unique_ptr<Figure> MakeHold(const Options& options);
std::unique_ptr<Figure> MakeFailover(const Options& options);
std::unique_ptr<Figure> MakeProbe(const Options& options);
std::unique_ptr<Figure> MakeOverload(const Options& options);

}  // namespace conclave::bench
