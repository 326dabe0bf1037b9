#include "client/command/context.h"

#include <charconv>
#include <cstdio>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

namespace conclave::command {

Options Context::ClientOptions() const {
  Options options;
  options.endpoints = endpoints;
  options.call_timeout = timeout;
  options.session_timeout = session_timeout;
  options.client_name = fmt::format("conclave pid {}", getpid());
  if (verbose) {
    options.log = [](const std::string& line) { fmt::print(stderr, "conclave: {}\n", line); };
  }
  return options;
}

Result<std::unique_ptr<Client>> Context::Connect() const {
  return Client::Connect(ClientOptions());
}

Result<std::unique_ptr<Client>> Context::Look() const {
  Options options = ClientOptions();
  options.open_session = false;
  return Client::Connect(std::move(options));
}

int Fail(std::string_view what, const Error& error) {
  fmt::print(stderr, "conclave: {}: {}\n", what, error.ToString());
  return ExitCodeOf(error);
}

int FailToConnect(std::string_view endpoints, std::chrono::milliseconds timeout) {
  fmt::print(stderr, "conclave: no session within {} s: is {} right, and is there a leader?\n",
             static_cast<double>(timeout.count()) / 1e3, endpoints);
  return kExitUnreachable;
}

int FailUsage(std::string_view what) {
  fmt::print(stderr, "conclave: {}\nTry conclave --help.\n", what);
  return kExitUsage;
}

Result<std::chrono::milliseconds> ParseDuration(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  double factor = 0;
  if (unit == "ms") {
    factor = 1;
  } else if (unit.empty() || unit == "s") {
    factor = 1e3;
  } else if (unit == "m") {
    factor = 60e3;
  } else if (unit == "h") {
    factor = 3600e3;
  }
  constexpr double kMaxMs = 1e12;
  if (error != std::errc() || factor == 0 || !(number >= 0 && number * factor <= kMaxMs)) {
    Error bad;
    bad.code = Code::kInvalidArgument;
    bad.message = fmt::format("\"{}\" is not a duration such as 500ms, 10s, 2m or 1h", text);
    return bad;
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(number * factor));
}

void AddReadMode(CLI::App& app, ReadMode& mode) {
  static const std::map<std::string, ReadMode> kModes = {{"linearizable", ReadMode::kLinearizable},
                                                         {"session", ReadMode::kSession},
                                                         {"stale", ReadMode::kStale}};
  app.add_option("--read", mode, "how fresh: linearizable (default), session or stale")
      ->transform(CLI::CheckedTransformer(kModes).description("MODE"));
}

void AddDuration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value,
                 const std::string& help) {
  app.add_option_function<std::string>(
         name, [&value](const std::string& text) { value = *ParseDuration(text); },
         help + fmt::format(" (default {} s)", static_cast<double>(value.count()) / 1e3))
      ->check([](const std::string& text) {
        const auto parsed = ParseDuration(text);
        return parsed ? std::string() : parsed.error().message;
      })
      ->type_name("DURATION");
}

}  // namespace conclave::command
