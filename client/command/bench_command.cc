// bench: how fast the cluster is, seen from here.

#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "client/command/load.h"
#include "client/command/output.h"

namespace conclave::command {
namespace {

const std::map<std::string, LoadOp>& OpNames() {
  static const std::map<std::string, LoadOp> kNames = {{"set", LoadOp::kSet},
                                                       {"get", LoadOp::kGet},
                                                       {"mixed", LoadOp::kMixed},
                                                       {"watch", LoadOp::kWatch}};
  return kNames;
}

std::string OpName(LoadOp op) {
  for (const auto& [name, value] : OpNames()) {
    if (value == op) {
      return name;
    }
  }
  return "?";
}

double Milliseconds(std::chrono::nanoseconds duration) {
  return static_cast<double>(duration.count()) / 1e6;
}

Json HistogramJson(const Histogram& histogram, double seconds) {
  const double throughput = static_cast<double>(histogram.count()) / seconds;
  return {{"count", histogram.count()},
          {"throughput", throughput},
          {"latency_ms",
           {{"mean", Milliseconds(histogram.mean())},
            {"p50", Milliseconds(histogram.Quantile(0.5))},
            {"p90", Milliseconds(histogram.Quantile(0.9))},
            {"p99", Milliseconds(histogram.Quantile(0.99))},
            {"p99_9", Milliseconds(histogram.Quantile(0.999))},
            {"max", Milliseconds(histogram.max())}}}};
}

std::vector<std::pair<std::string, const Histogram*>> Parts(const LoadResult& result) {
  std::vector<std::pair<std::string, const Histogram*>> parts;
  for (const auto& [name, histogram] :
       {std::pair("get", &result.gets), std::pair("set", &result.sets),
        std::pair("event", &result.events)}) {
    if (histogram->count() > 0) {
      parts.emplace_back(name, histogram);
    }
  }
  return parts;
}

void PrintResult(const Context& context, const LoadOptions& options, const LoadResult& result) {
  const double operations = static_cast<double>(result.operations());
  const double seconds = result.seconds > 0 ? result.seconds : 1;
  const double cpu_us = operations > 0 ? result.cpu_seconds * 1e6 / operations : 0;
  std::uint64_t errors = 0;
  for (const auto& [code, count] : result.errors) {
    errors += count;
  }
  if (context.json()) {
    Json json = {{"op", OpName(options.op)},
                 {"connections", options.connections},
                 {"outstanding", options.outstanding},
                 {"value_bytes", options.value_bytes},
                 {"keys", options.keys},
                 {"seconds", result.seconds},
                 {"operations", result.operations()},
                 {"throughput", operations / seconds},
                 {"client_cpu_us_per_operation", cpu_us},
                 {"interrupted", result.interrupted},
                 {"errors", Json::object()}};
    for (const auto& [code, count] : result.errors) {
      json["errors"][code] = count;
    }
    for (const auto& [name, histogram] : Parts(result)) {
      json[name] = HistogramJson(*histogram, seconds);
    }
    PrintJson(context, json);
    return;
  }
  const auto ms = [](std::chrono::nanoseconds d) { return fmt::format("{:.3f}", Milliseconds(d)); };
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, h] : Parts(result)) {
    rows.push_back({name, std::to_string(h->count()),
                    fmt::format("{:.0f}", static_cast<double>(h->count()) / seconds),
                    ms(h->Quantile(0.5)), ms(h->Quantile(0.9)), ms(h->Quantile(0.99)),
                    ms(h->Quantile(0.999)), ms(h->max())});
  }
  PrintTable({{"OP"},
              {"COUNT", true},
              {"PER SECOND", true},
              {"P50 MS", true},
              {"P90", true},
              {"P99", true},
              {"P99.9", true},
              {"MAX", true}},
             rows);
  fmt::print("{} connections, {} outstanding calls, values of {} bytes, {} keys, {:.2f} s{}\n",
             options.connections, options.outstanding, options.value_bytes, options.keys,
             result.seconds, result.interrupted ? " (interrupted)" : "");
  fmt::print("{:.1f} us of this process's CPU for each, {} errors\n", cpu_us, errors);
  for (const auto& [code, count] : result.errors) {
    fmt::print("  {} {}\n", count, code);
  }
}

int RunBench(const Context& context, const LoadOptions& options) {
  if (options.outstanding < options.connections && options.op != LoadOp::kWatch) {
    return FailUsage("bench: fewer --outstanding calls than --connections leave some idle");
  }
  LoadResult result;
  if (const int failed = RunLoad(context, options, result); failed != 0) {
    return failed;
  }
  PrintResult(context, options, result);
  if (!result.errors.empty()) {
    fmt::print(stderr, "conclave: bench: some calls failed, the first with: {}\n",
               result.first_error.empty() ? "missed events" : result.first_error);
    return kExitFailed;
  }
  return kExitOk;
}

}  // namespace

void AddBenchCommand(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("bench", "measure throughput and latency");
  auto options = std::make_shared<LoadOptions>();
  command->add_option("--op", options->op, "set (default), get, mixed, or watch: fan-out of sets")
      ->transform(CLI::CheckedTransformer(OpNames()).description("OP"));
  command
      ->add_option("--outstanding", options->outstanding, "calls under way, over all connections")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_option("--connections", options->connections, "sessions; of watchers for watch")
      ->check(CLI::Range(1, 1'000))
      ->capture_default_str();
  command->add_option("--value-bytes", options->value_bytes)
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--keys", options->keys, "znodes, chosen at random for each call")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command->add_option("--reads", options->reads_percent, "of mixed: gets in a hundred calls")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  AddReadMode(*command, options->mode);
  AddDuration(*command, "--warmup", options->warmup, "calls that do not count go before");
  AddDuration(*command, "--seconds", options->duration, "measure for so long");
  command->add_option("--count", options->count, "measure so many calls instead")
      ->check(CLI::PositiveNumber);
  command->add_option("--path", options->path, "make the znodes below this")->capture_default_str();
  command->add_flag("--keep", options->keep, "leave the znodes there");
  command->callback([&context, options] {
    context.run = [&context, options] { return RunBench(context, *options); };
  });
}

}  // namespace conclave::command
