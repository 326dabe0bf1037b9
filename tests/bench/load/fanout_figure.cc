// One znode, many sessions that watch it, one that sets it.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"

namespace conclave::bench {
namespace {

constexpr std::uint64_t kArmTag = 1;
constexpr std::uint64_t kSetTag = 2;
constexpr double kRoundSeconds = 30;
constexpr double kSettleSeconds = 0.1;
constexpr std::size_t kArmBatch = 256;
constexpr std::string_view kPath = "/fan";

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

TargetOptions WithPolls() {
  TargetOptions options;
  options.park_poll = true;
  return options;
}

class Fanout final : public Figure {
 public:
  explicit Fanout(const Options& options) : Figure(options, WithPolls()) {}

  void Answered(Connection& connection, std::uint64_t tag, Outcome outcome) override {
    (void)connection;
    errors_ += outcome == Outcome::kOk ? 0 : 1;
    if (tag == kArmTag) {
      ++armed_;
    } else {
      answered_us_ = Microseconds();
    }
  }

  void OnEvent(Connection& connection) override {
    (void)connection;
    ++events_;
    each_.Add(NowNs() - set_ns_);
  }

  Json Run() override {
    Connect(options().watchers + 1);
    Connection& setter = *connections().front();
    Call(setter, OpKind::kCreate, kPath, "x");
    std::vector<double> last_us;
    std::vector<double> answer_us;
    Interval all(options().processes);
    for (int round = 0; round < options().rounds; ++round) {
      if (round == 0 || target().one_shot_watches()) {
        Arm();
      }
      Settle();
      if (round == 1) {
        each_ = Histogram();
        all.Begin();
      }
      Round(setter, round);
      if (round > 0) {
        last_us.push_back(last_us_);
        answer_us.push_back(answered_us_);
      }
    }
    all.End();
    Json json;
    json["watchers"] = options().watchers;
    json["rounds"] = last_us.size();
    json["errors"] = errors_;
    json["last_p50_us"] = Median(last_us);
    json["last_min_us"] = *std::min_element(last_us.begin(), last_us.end());
    json["last_max_us"] = *std::max_element(last_us.begin(), last_us.end());
    json["set_p50_us"] = Median(answer_us);
    json["other_cores"] = all.other_cores();
    json["resident_mb"] = all.after().resident_mb;
    AddHistogram(json, each_);
    return json;
  }

 private:
  [[nodiscard]] double Microseconds() const { return static_cast<double>(NowNs() - set_ns_) / 1e3; }

  void Arm() {
    armed_ = 0;
    for (std::size_t i = 1; i <= options().watchers; ++i) {
      engine().Send(*connections()[i],
                    {.kind = OpKind::kWatch, .path = kPath, .value = {}, .tag = kArmTag});
      if (i % kArmBatch == 0) {
        engine().Poll(0);
      }
    }
    const std::uint64_t begun_ns = NowNs();
    while (armed_ < options().watchers) {
      engine().Poll(100);
      if (SecondsSince(begun_ns) > kRoundSeconds) {
        throw Failure("only " + std::to_string(armed_) + " watches stand");
      }
    }
  }

  void Settle() {
    const std::uint64_t begun_ns = NowNs();
    while (SecondsSince(begun_ns) < kSettleSeconds) {
      engine().Poll(20);
    }
  }

  void Round(Connection& setter, int round) {
    events_ = 0;
    answered_us_ = 0;
    set_ns_ = NowNs();
    const std::string value = "v" + std::to_string(round);
    engine().Send(setter, {.kind = OpKind::kSet, .path = kPath, .value = value, .tag = kSetTag});
    while (events_ < options().watchers) {
      engine().Poll(100);
      if (SecondsSince(set_ns_) > kRoundSeconds) {
        throw Failure("only " + std::to_string(events_) + " watchers were told");
      }
    }
    last_us_ = Microseconds();
    while (answered_us_ == 0) {
      engine().Poll(100);
      if (SecondsSince(set_ns_) > kRoundSeconds) {
        throw Failure("the set was not answered");
      }
    }
  }

  std::size_t armed_ = 0;
  std::size_t events_ = 0;
  std::uint64_t set_ns_ = 0;
  double answered_us_ = 0;
  double last_us_ = 0;
  Histogram each_;
};

}  // namespace

std::unique_ptr<Figure> MakeFanout(const Options& options) {
  return std::make_unique<Fanout>(options);
}

}  // namespace conclave::bench
