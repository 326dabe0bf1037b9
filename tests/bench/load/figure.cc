#include "tests/bench/load/figure.h"

#include <cstdio>
#include <utility>

namespace conclave::bench {
namespace {

constexpr std::uint64_t kCallTag = UINT64_MAX;
constexpr std::uint64_t kDirectories = 1'000;
constexpr double kConnectSeconds = 120;
constexpr double kCallSeconds = 20;
constexpr std::size_t kConnectingMax = 512;
constexpr std::size_t kConnectBatch = 64;

}  // namespace

std::string DirectoryOf(std::uint64_t key) {
  char text[16];
  std::snprintf(text, sizeof text, "/b%03u", static_cast<unsigned>(key % kDirectories));
  return text;
}

std::string PathOf(std::uint64_t key) {
  char text[24];
  std::snprintf(text, sizeof text, "/k%07llu", static_cast<unsigned long long>(key));
  return DirectoryOf(key) + text;
}

double SecondsSince(std::uint64_t begun_ns) {
  return static_cast<double>(NowNs() - begun_ns) / 1e9;
}

void AddHistogram(Json& json, const Histogram& histogram) {
  json["n"] = histogram.count();
  json["p50_us"] = histogram.Quantile(0.5) / 1e3;
  json["p90_us"] = histogram.Quantile(0.9) / 1e3;
  json["p99_us"] = histogram.Quantile(0.99) / 1e3;
  json["p999_us"] = histogram.Quantile(0.999) / 1e3;
  json["max_us"] = static_cast<double>(histogram.max()) / 1e3;
  json["mean_us"] = histogram.mean() / 1e3;
}

Figure::Figure(const Options& options, const TargetOptions& target)
    : options_(options), target_(MakeTarget(options.target, target)), engine_(*target_, *this) {}

void Figure::OnReady(Connection& connection) {
  (void)connection;
  ++ready_;
}

void Figure::OnAnswer(Connection& connection, std::uint64_t tag, Outcome outcome) {
  if (tag == kCallTag) {
    outcome_ = outcome;
    --awaited_;
    return;
  }
  Answered(connection, tag, outcome);
}

void Figure::Answered(Connection& connection, std::uint64_t tag, Outcome outcome) {
  (void)connection, (void)tag, (void)outcome;
}

void Figure::OnEvent(Connection& connection) { (void)connection; }

void Figure::OnClosed(Connection& connection) {
  throw Failure("connection " + std::to_string(connection.index) + " to port " +
                std::to_string(connection.port) + " was closed");
}

void Figure::Connect(std::size_t count) {
  const std::uint64_t begun_ns = NowNs();
  const std::size_t wanted = ready_ + count;
  const auto wait = [&](int timeout_ms) {
    engine_.Poll(timeout_ms);
    if (SecondsSince(begun_ns) > kConnectSeconds) {
      throw Failure("only " + std::to_string(ready_) + " connections became ready");
    }
  };
  const std::size_t ready_before = ready_;
  for (std::size_t i = 0; i < count; ++i) {
    connections_.push_back(
        &engine_.Open(options_.ports[connections_.size() % options_.ports.size()]));
    if (i % kConnectBatch == kConnectBatch - 1) {
      wait(0);
    }
    while (i + 1 - (ready_ - ready_before) > kConnectingMax) {
      wait(10);
    }
  }
  while (ready_ < wanted) {
    wait(50);
  }
}

Outcome Figure::Call(Connection& connection, OpKind kind, std::string_view path,
                     std::string_view value) {
  ++awaited_;
  engine_.Send(connection, {.kind = kind, .path = path, .value = value, .tag = kCallTag});
  Await(path);
  return outcome_;
}

void Figure::Await(std::string_view path) {
  const std::uint64_t begun_ns = NowNs();
  while (awaited_ > 0) {
    engine_.Poll(100);
    if (SecondsSince(begun_ns) > kCallSeconds) {
      throw Failure("no answer to a call on " + std::string(path));
    }
  }
}

void Figure::MakeDirectories(std::uint64_t keys) {
  if (!target_->has_directories()) {
    return;
  }
  // All at once: one by one the sessions of the other connections could end meanwhile.
  for (std::uint64_t i = 0; i < std::min(keys, kDirectories); ++i) {
    const std::string path = DirectoryOf(i);
    ++awaited_;
    engine_.Send(*connections_.front(),
                 {.kind = OpKind::kCreate, .path = path, .value = {}, .tag = kCallTag});
  }
  Await("/b...");
}

void Figure::HeartbeatAll() {
  for (Connection* connection : connections_) {
    engine_.Heartbeat(*connection);
  }
}

}  // namespace conclave::bench
