// Closed loops: each answer is followed by another call on the same connection.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"

namespace conclave::bench {
namespace {

constexpr double kHeartbeatSeconds = 5;
constexpr unsigned kReadsPercent = 80;

std::size_t ConnectionsOf(const Options& options) {
  return options.connections != 0 ? options.connections
                                  : std::min<std::size_t>(options.outstanding, 64);
}

void AddCost(Json& json, const Interval& interval, double calls) {
  calls = std::max(calls, 1.0);
  json["seconds"] = interval.seconds();
  json["ops_per_s"] = calls / interval.seconds();
  json["server_us_per_op"] = interval.server_cpu() / calls * 1e6;
  json["client_us_per_op"] = interval.client_cpu() / calls * 1e6;
  json["server_cores"] = interval.server_cpu() / interval.seconds();
  json["client_cores"] = interval.client_cpu() / interval.seconds();
  json["other_cores"] = interval.other_cores();
  json["stolen_cores"] = interval.stolen_cores();
  json["resident_mb"] = interval.after().resident_mb;
  json["write_calls_per_op"] =
      static_cast<double>(interval.after().write_calls - interval.before().write_calls) / calls;
  json["read_calls_per_op"] =
      static_cast<double>(interval.after().read_calls - interval.before().read_calls) / calls;
  json["flushes_per_s"] = interval.flushes_per_second();
  json["disk_writes_per_s"] = interval.disk_writes_per_second();
}

class Loop : public Figure {
 public:
  explicit Loop(const Options& options)
      : Figure(options, TargetOptions{}), value_(options.value_bytes, 'v') {}

  void Answered(Connection& connection, std::uint64_t tag, Outcome outcome) override {
    --under_way_;
    ++done_;
    errors_ += outcome == Outcome::kOk ? 0 : 1;
    if (recording_) {
      histogram_.Add(NowNs() - sent_ns_[tag]);
    }
    if (!over_) {
      Issue(connection, tag);
    }
  }

 protected:
  virtual Request Next() = 0;  // REQUIRES: there is one

  [[nodiscard]] virtual bool Exhausted() const { return false; }

  void Start() {
    sent_ns_.resize(options().outstanding);
    for (std::size_t i = 0; i < options().outstanding; ++i) {
      Issue(*connections()[i % connections().size()], i);
    }
  }

  void PollAndBeat(int timeout_ms) {
    engine().Poll(timeout_ms);
    if (SecondsSince(beaten_ns_) > kHeartbeatSeconds) {
      beaten_ns_ = NowNs();
      HeartbeatAll();
    }
  }

  void Finish(double seconds) {
    over_ = true;
    const std::uint64_t begun_ns = NowNs();
    while (under_way_ > 0 && SecondsSince(begun_ns) < seconds) {
      PollAndBeat(50);
    }
  }

  std::string value_;
  Histogram histogram_;
  bool recording_ = false;
  std::uint64_t done_ = 0;
  std::size_t under_way_ = 0;

 private:
  void Issue(Connection& connection, std::uint64_t tag) {
    if (Exhausted()) {
      over_ = true;
      return;
    }
    Request request = Next();
    request.tag = tag;
    sent_ns_[tag] = NowNs();
    ++under_way_;
    engine().Send(connection, request);
  }

  std::vector<std::uint64_t> sent_ns_;
  std::uint64_t beaten_ns_ = NowNs();
  bool over_ = false;
};

class Load final : public Loop {
 public:
  using Loop::Loop;

  Json Run() override {
    Connect(ConnectionsOf(options()));
    for (std::size_t i = 0; i < options().keys; ++i) {
      paths_.push_back(PathOf(i));
    }
    Start();
    const std::uint64_t begun_ns = NowNs();
    while (SecondsSince(begun_ns) < options().warmup_seconds) {
      PollAndBeat(10);
    }
    Interval interval(options().processes);
    const std::uint64_t done_before = done_;
    recording_ = true;
    interval.Begin();
    const std::uint64_t measured_ns = NowNs();
    while (SecondsSince(measured_ns) < options().seconds) {
      PollAndBeat(10);
    }
    recording_ = false;
    const std::uint64_t calls = done_ - done_before;
    interval.End();
    Finish(5);
    Json json;
    json["op"] = options().op;
    json["outstanding"] = options().outstanding;
    json["connections"] = connections().size();
    json["value_bytes"] = options().value_bytes;
    json["errors"] = errors_;
    AddCost(json, interval, static_cast<double>(calls));
    AddHistogram(json, histogram_);
    return json;
  }

 protected:
  Request Next() override {
    Request request;
    request.kind = Kind();
    request.path = paths_[Random() % paths_.size()];
    if (request.kind == OpKind::kSet) {
      request.value = value_;
    }
    return request;
  }

 private:
  OpKind Kind() {
    if (options().op == "mixed") {
      return Random() % 100 < kReadsPercent ? OpKind::kGet : OpKind::kSet;
    }
    if (options().op == "get") {
      return OpKind::kGet;
    }
    return options().op == "localget" ? OpKind::kLocalGet : OpKind::kSet;
  }

  std::uint64_t Random() {
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 7U;
    random_ ^= random_ << 17U;
    return random_;
  }

  std::vector<std::string> paths_;
  std::uint64_t random_ = 88172645463325252ULL;
};

// Makes every znode once, one call each.
class Populate final : public Loop {
 public:
  using Loop::Loop;

  Json Run() override {
    Connect(ConnectionsOf(options()));
    MakeDirectories(options().keys);
    Interval interval(options().processes);
    recording_ = true;
    interval.Begin();
    const std::uint64_t begun_ns = NowNs();
    Start();
    while (under_way_ > 0 && SecondsSince(begun_ns) < options().limit_seconds) {
      PollAndBeat(100);
    }
    interval.End();
    Json json;
    json["op"] = "create";
    json["outstanding"] = options().outstanding;
    json["connections"] = connections().size();
    json["value_bytes"] = options().value_bytes;
    json["keys"] = options().keys;
    json["missing"] = options().keys - done_;
    json["errors"] = errors_;
    AddCost(json, interval, static_cast<double>(done_));
    json["resident_before_mb"] = interval.before().resident_mb;
    AddHistogram(json, histogram_);
    return json;
  }

 protected:
  Request Next() override {
    path_ = PathOf(made_++);
    Request request;
    request.kind = OpKind::kCreate;
    request.path = path_;
    request.value = value_;
    return request;
  }

  [[nodiscard]] bool Exhausted() const override { return made_ >= options().keys; }

 private:
  std::uint64_t made_ = 0;
  std::string path_;
};

}  // namespace

std::unique_ptr<Figure> MakeLoad(const Options& options) { return std::make_unique<Load>(options); }

std::unique_ptr<Figure> MakePopulate(const Options& options) {
  return std::make_unique<Populate>(options);
}

}  // namespace conclave::bench
