// What all subcommands share: the options in front of them, a client, and how to fail.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <conclave/client.h>

#include "client/command/exit_codes.h"

namespace CLI {
class App;
}

namespace conclave::command {

enum class OutputFormat { kTable, kJson, kJsonLines, kRaw };

// Filled by CLI11 before a subcommand runs.
struct Context {
  std::string endpoints;
  OutputFormat output = OutputFormat::kTable;
  std::chrono::milliseconds timeout{10'000};
  std::chrono::milliseconds session_timeout{10'000};
  bool verbose = false;
  // What follows "--" on the command line, untouched; a child process's argv.
  std::vector<std::string> child;
  // Set by the subcommand that was chosen.
  std::function<int()> run;

  [[nodiscard]] bool json() const {
    return output == OutputFormat::kJson || output == OutputFormat::kJsonLines;
  }

  // With a session: for writes, watches and locks. Blocks until it is open.
  [[nodiscard]] Result<std::unique_ptr<Client>> Connect() const;
  // Without one: for looks, which then write nothing to the cluster's log.
  [[nodiscard]] Result<std::unique_ptr<Client>> Look() const;
  // For commands that need more of the library's options.
  [[nodiscard]] Options ClientOptions() const;
};

// Says on standard error what could not be done and why; returns the exit status.
int Fail(std::string_view what, const Error& error);
// The same for a session that could not be opened in time.
int FailToConnect(std::string_view endpoints, std::chrono::milliseconds timeout);
// A mistake on the command line.
int FailUsage(std::string_view what);

// "500ms", "10s", "2m", "1h"; a plain number counts seconds. For CLI11's check and transform.
[[nodiscard]] Result<std::chrono::milliseconds> ParseDuration(const std::string& text);

// One function for each group of subcommands: adds them to the command line.
void AddTreeCommands(CLI::App& app, Context& context);
void AddWatchCommand(CLI::App& app, Context& context);
void AddLockCommands(CLI::App& app, Context& context);
void AddClusterCommands(CLI::App& app, Context& context);
void AddMemberCommands(CLI::App& app, Context& context);
void AddTransferCommands(CLI::App& app, Context& context);
void AddBenchCommand(CLI::App& app, Context& context);

// Adds --read, for how fresh the answer has to be.
void AddReadMode(CLI::App& app, ReadMode& mode);

// Adds an option whose value is a duration.
void AddDuration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value,
                 const std::string& help);

}  // namespace conclave::command
