// How long no write succeeds when a member is killed or stopped: a light open loop of writes, one
// connection to each member.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/bench/load/figure.h"

namespace conclave::bench {
namespace {

constexpr double kSignalAfterSeconds = 1;
constexpr std::uint64_t kRedialNs = 5'000'000;
constexpr std::size_t kUnderWayMax = 3'000;  // of one connection
constexpr std::string_view kPath = "/failover";

TargetOptions WithRetries() {
  TargetOptions options;
  options.retry = true;
  return options;
}

class Failover final : public Figure {
 public:
  explicit Failover(const Options& options)
      : Figure(options, WithRetries()),
        closed_ns_(options.ports.size()),
        under_way_(options.ports.size()) {}

  void OnClosed(Connection& connection) override {
    closed_ns_[connection.index] = NowNs();
    // Whatever was under way has an unknown fate; Conclave's is repeated and still counts.
    under_way_[connection.index] = 0;
  }

  void Answered(Connection& connection, std::uint64_t tag, Outcome outcome) override {
    std::size_t& under_way = under_way_[connection.index];
    under_way -= under_way > 0 ? 1 : 0;
    sent_ns_.erase(tag);
    if (outcome == Outcome::kOk) {
      succeeded_ns_.push_back(NowNs());
    } else {
      ++errors_;
    }
  }

  Json Run() override {
    Connect(options().ports.size());
    Call(*connections().front(), OpKind::kCreate, kPath, "x");
    const std::uint64_t begun_ns = NowNs();
    const auto tick_ns = static_cast<std::uint64_t>(options().tick_ms * 1e6);
    std::uint64_t next_ns = begun_ns;
    std::uint64_t signalled_ns = 0;
    while (SecondsSince(begun_ns) < options().seconds) {
      if (signalled_ns == 0 && SecondsSince(begun_ns) >= kSignalAfterSeconds) {
        signalled_ns = NowNs();
        if (options().victim > 0) {
          kill(options().victim, options().signal);
        }
      }
      if (NowNs() >= next_ns) {
        next_ns = NowNs() + tick_ns;
        Tick();
      }
      engine().Poll(1);
    }
    return Result(signalled_ns);
  }

 private:
  void Tick() {
    for (Connection* connection : connections()) {
      if (connection->closed && NowNs() - closed_ns_[connection->index] > kRedialNs) {
        engine().Redial(*connection);
      }
      engine().Retry(*connection);
    }
    Connection& connection = *connections()[turn_++ % connections().size()];
    std::size_t& under_way = under_way_[connection.index];
    if (connection.ready && under_way < kUnderWayMax) {
      ++under_way;
      sent_ns_.emplace(++tag_, NowNs());
      engine().Send(connection, {.kind = OpKind::kSet, .path = kPath, .value = "y", .tag = tag_});
    }
  }

  Json Result(std::uint64_t signalled_ns) {
    // The longest time without a success that ends after the signal.
    std::uint64_t longest = 0;
    std::uint64_t ended_ns = 0;
    for (std::size_t i = 1; i < succeeded_ns_.size(); ++i) {
      const std::uint64_t gap = succeeded_ns_[i] - succeeded_ns_[i - 1];
      if (succeeded_ns_[i] > signalled_ns && gap > longest) {
        longest = gap;
        ended_ns = succeeded_ns_[i];
      }
    }
    constexpr std::uint64_t kRightAfterNs = 10'000'000;
    const bool recovered =
        !succeeded_ns_.empty() && succeeded_ns_.back() > signalled_ns + kRightAfterNs;
    Json json;
    json["signal"] = options().signal;
    json["recovered"] = recovered;
    if (recovered) {
      json["outage_ms"] = static_cast<double>(longest) / 1e6;
      json["first_success_ms"] = static_cast<double>(ended_ns - signalled_ns) / 1e6;
    }
    json["errors"] = errors_;
    json["unanswered"] = sent_ns_.size();
    json["succeeded"] = succeeded_ns_.size();
    return json;
  }

  std::vector<std::uint64_t> closed_ns_;
  std::vector<std::size_t> under_way_;
  std::unordered_map<std::uint64_t, std::uint64_t> sent_ns_;
  std::vector<std::uint64_t> succeeded_ns_;
  std::size_t turn_ = 0;
  std::uint64_t tag_ = 0;
};

}  // namespace

std::unique_ptr<Figure> MakeFailover(const Options& options) {
  return std::make_unique<Failover>(options);
}

}  // namespace conclave::bench
