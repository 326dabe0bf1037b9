// lock, elect.

#include <cstring>
#include <memory>

#include <CLI/CLI.hpp>
#include <conclave/election.h>
#include <fmt/format.h>

#include "client/command/main_loop.h"
#include "client/command/output.h"
#include "client/command/supervisor.h"

namespace conclave::command {
namespace {

// The number of "TERM", "SIGTERM" or "15"; 0 for anything else.
int SignalNumber(std::string text) {
  if (text.starts_with("SIG")) {
    text.erase(0, 3);
  }
  constexpr int kSignalsEnd = 32;  // real-time signals have numbers alone, and no use here
  for (int number = 1; number < kSignalsEnd; ++number) {
    const char* name = sigabbrev_np(number);
    if (text == std::to_string(number) || (name != nullptr && text == name)) {
      return number;
    }
  }
  return 0;
}

Json LeaderJson(const std::string& election, const std::optional<Leader>& leader) {
  Json json = {{"election", election}, {"leader", nullptr}};
  if (leader) {
    json["leader"] = {
        {"value", ValueJson(leader->value)}, {"token", leader->token}, {"path", leader->path}};
  }
  return json;
}

// A line for the leader of now, and one for every change.
int Observe(const Context& context, const std::string& path) {
  MainLoop loop;
  std::unique_ptr<Client> client;
  if (const int failed = loop.Connect(context.ClientOptions(), client); failed != 0) {
    return failed;
  }
  Context lines = context;
  lines.output = OutputFormat::kJsonLines;
  Election election(*client, path);
  const auto observation = election.Observe([&](const std::optional<Leader>& leader) {
    PrintJson(lines, LeaderJson(path, leader));
    if (std::ferror(stdout) != 0) {
      loop.Stop(kExitFailed);
    }
  });
  if (!observation) {
    return Fail("elect --observe " + path, observation.error());
  }
  return loop.Run();
}

void AddHoldOptions(CLI::App& command, HoldArguments& arguments) {
  command.add_option("PATH", arguments.path, "the znode that stands for it; created if missing")
      ->required();
  AddDuration(command, "--timeout", arguments.timeout, "wait no longer than this; 0: no limit");
  command
      .add_option_function<std::string>(
          "--on-lost",
          [&arguments](const std::string& text) { arguments.on_lost = SignalNumber(text); },
          "what the program gets when the lock is lost (default TERM)")
      ->check([](const std::string& text) {
        return SignalNumber(text) != 0 ? std::string() : "there is no signal " + text;
      })
      ->type_name("SIGNAL");
  AddDuration(command, "--grace", arguments.grace, "SIGKILL so long after that");
}

}  // namespace

void AddLockCommands(CLI::App& app, Context& context) {
  CLI::App* lock = app.add_subcommand(
      "lock", "hold a lock while a program runs: lock PATH -- PROGRAM [ARGUMENT...]");
  auto lock_arguments = std::make_shared<HoldArguments>();
  AddHoldOptions(*lock, *lock_arguments);
  lock->callback([&context, lock_arguments] {
    context.run = [&context, lock_arguments] { return HoldAndRun(context, *lock_arguments); };
  });

  CLI::App* elect = app.add_subcommand(
      "elect", "run a program while this candidate leads: elect PATH --value V -- PROGRAM ...");
  auto elect_arguments = std::make_shared<HoldArguments>();
  elect_arguments->elect = true;
  AddHoldOptions(*elect, *elect_arguments);
  auto observe = std::make_shared<bool>(false);
  CLI::Option* value = elect->add_option("--value", elect_arguments->value,
                                         "what observers are told of this candidate");
  elect->add_flag("--observe", *observe, "print who leads, now and whenever it changes")
      ->excludes(value);
  elect->callback([&context, elect_arguments, observe, value] {
    context.run = [&context, elect_arguments, observe, given = value->count() > 0] {
      if (*observe) {
        return context.child.empty() ? Observe(context, elect_arguments->path)
                                     : FailUsage("elect: --observe runs no program");
      }
      return given ? HoldAndRun(context, *elect_arguments)
                   : FailUsage("elect: a candidate needs a --value");
    };
  });
}

}  // namespace conclave::command
