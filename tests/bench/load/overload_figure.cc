// An open loop far beyond what the target can do: what is served, what is refused, and how soon all
// is well again afterwards.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load/figure.h"
#include "tests/bench/load/machine.h"
#include "tests/bench/load/schedule.h"

namespace conclave::bench {
namespace {

// Calls under way on one connection; a member takes 1,024. What comes when all connections have so
// many is not sent: that it is not is the client's own bound.
constexpr std::size_t kUnderWayMax = 512;
constexpr std::size_t kConnections = 256;
constexpr std::size_t kBatch = 4'096;
constexpr double kSampleSeconds = 0.25;
constexpr double kRecoverySecondsMax = 60;
constexpr double kUnloadedSecondsMax = 1;
// Recovered: a call alone takes no longer than so many times what it took before.
constexpr double kRecoveredFactor = 2;

class Overload final : public Figure {
 public:
  explicit Overload(const Options& options)
      : Figure(options, TargetOptions{}), value_(options.value_bytes, 'v') {}

  void Answered(Connection& connection, std::uint64_t tag, Outcome outcome) override {
    --under_way_of_[connection.index];
    const std::uint64_t now_ns = NowNs();
    const std::uint64_t sent_ns = sent_ns_[tag];
    if (outcome == Outcome::kOk) {
      served_ += flooding_ ? 1 : 0;
      (flooding_ ? served_ns_ : single_ns_).Add(now_ns - sent_ns);
    } else if (outcome == Outcome::kOverloaded) {
      ++refused_;
      refused_ns_.Add(now_ns - sent_ns);
    } else if (outcome == Outcome::kUnknown) {
      ++late_;
    } else {
      ++errors_;
    }
    --under_way_;
    free_.push_back(tag);
  }

  Json Run() override {
    Connect(options().connections != 0 ? options().connections : kConnections);
    under_way_of_.resize(connections().size());
    for (std::size_t i = 0; i < options().keys; ++i) {
      paths_.push_back(PathOf(i));
    }
    const double unloaded_us = Single(std::min(kUnloadedSecondsMax, options().seconds)) / 1e3;
    Interval interval(options().processes);
    flooding_ = true;
    interval.Begin();
    Flood();
    interval.End();
    const std::uint64_t over_ns = NowNs();
    const double drain_seconds = Drain();
    flooding_ = false;
    const double recovery_seconds = Recover(over_ns, unloaded_us);
    Json json;
    json["rate"] = options().rate;
    json["connections"] = connections().size();
    json["seconds"] = interval.seconds();
    json["due"] = due_;
    json["sent"] = sent_;
    json["not_sent"] = due_ - sent_;
    json["served"] = served_;
    json["served_per_s"] = static_cast<double>(served_) / interval.seconds();
    json["refused"] = refused_;
    json["past_deadline"] = late_;
    json["errors"] = errors_;
    json["refused_p99_us"] = refused_ns_.Quantile(0.99) / 1e3;
    json["unloaded_p99_us"] = unloaded_us;
    json["resident_before_mb"] = interval.before().resident_mb;
    json["resident_max_mb"] = std::max(resident_max_mb_, interval.after().resident_mb);
    json["drain_seconds"] = drain_seconds;
    json["recovery_seconds"] = recovery_seconds;
    json["other_cores"] = interval.other_cores();
    AddHistogram(json, served_ns_);
    return json;
  }

 private:
  void Issue(Connection& connection) {
    if (free_.empty()) {
      free_.push_back(sent_ns_.size());
      sent_ns_.emplace_back();
    }
    const std::uint64_t tag = free_.back();
    free_.pop_back();
    sent_ns_[tag] = NowNs();
    ++under_way_;
    ++under_way_of_[connection.index];
    engine().Send(connection, {.kind = options().op == "set" ? OpKind::kSet : OpKind::kGet,
                               .path = paths_[sent_ % paths_.size()],
                               .value = value_,
                               .tag = tag});
  }

  // One call at a time for so long; the p99 in nanoseconds.
  double Single(double seconds) {
    single_ns_ = Histogram();
    const std::uint64_t begun_ns = NowNs();
    while (SecondsSince(begun_ns) < seconds) {
      Issue(*connections().front());
      while (under_way_ > 0) {
        engine().Poll(100);
        if (SecondsSince(begun_ns) > kRecoverySecondsMax) {
          throw Failure("a call alone was not answered");
        }
      }
    }
    return single_ns_.Quantile(0.99);
  }

  // Whatever is due is sent on the next connection that takes more; what none takes is not sent.
  void Flood() {
    const std::uint64_t begun_ns = NowNs();
    Schedule schedule(begun_ns, options().rate);
    std::uint64_t sampled_ns = begun_ns;
    while (SecondsSince(begun_ns) < options().seconds) {
      const std::uint64_t due = std::min<std::uint64_t>(schedule.Due(NowNs()), kBatch);
      for (std::uint64_t i = 0; i < due; ++i) {
        schedule.Take();
        Connection& connection = *connections()[turn_++ % connections().size()];
        if (under_way_of_[connection.index] < kUnderWayMax && target().Accepts(connection)) {
          Issue(connection);
          ++sent_;
        }
      }
      due_ = schedule.taken();
      engine().Poll(0);
      if (SecondsSince(sampled_ns) > kSampleSeconds) {
        sampled_ns = NowNs();
        resident_max_mb_ = std::max(resident_max_mb_, UseOf(options().processes).resident_mb);
      }
    }
  }

  double Drain() {
    const std::uint64_t begun_ns = NowNs();
    while (under_way_ > 0 && SecondsSince(begun_ns) < kRecoverySecondsMax) {
      engine().Poll(10);
    }
    return SecondsSince(begun_ns);
  }

  double Recover(std::uint64_t over_ns, double unloaded_us) {
    while (SecondsSince(over_ns) < kRecoverySecondsMax) {
      const double seconds = SecondsSince(over_ns);
      if (Single(0.2) / 1e3 <= unloaded_us * kRecoveredFactor) {
        return seconds;
      }
    }
    return kRecoverySecondsMax;
  }

  std::string value_;
  std::vector<std::string> paths_;
  std::vector<std::uint64_t> sent_ns_;  // by tag
  std::vector<std::uint64_t> free_;
  Histogram served_ns_;
  Histogram refused_ns_;
  Histogram single_ns_;
  std::size_t under_way_ = 0;
  std::vector<std::size_t> under_way_of_;  // by connection
  std::size_t turn_ = 0;
  std::uint64_t due_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t served_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t late_ = 0;
  double resident_max_mb_ = 0;
  bool flooding_ = false;
};

}  // namespace

std::unique_ptr<Figure> MakeOverload(const Options& options) {
  return std::make_unique<Overload>(options);
}

}  // namespace conclave::bench
