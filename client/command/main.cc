// conclave: the command line of a Conclave cluster.

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <conclave/version.h>
#include <fmt/format.h>

#include "client/command/context.h"

namespace conclave::command {
namespace {

constexpr char kDefaultEndpoints[] = "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003";

constexpr char kFooter[] =
    "Examples:\n"
    "  conclave create -p /app/config '{\"color\": \"red\"}'\n"
    "  conclave get /app/config -o raw > config.json\n"
    "  conclave watch --recursive /app\n"
    "  conclave lock /locks/backup -- rsync -a /data backup:/data\n"
    "  conclave elect /app/leader --value \"$HOSTNAME\" -- ./serve\n"
    "  conclave status -o json\n"
    "  conclave member add 4=10.0.0.4:9101 --wait\n"
    "\n"
    "Exit status: 0 ok, 1 failed, 2 cannot reach the cluster, 3 usage, 4 no such znode, 5 version\n"
    "conflict, 6 timed out, 7 session or lock lost, 8 outcome of a write unknown, 126 and 127 the\n"
    "child could not be run; lock and elect else hand back the child's status.\n";

void AddGlobalOptions(CLI::App& app, Context& context) {
  app.add_option("--endpoints", context.endpoints,
                 "client addresses of members, HOST:PORT separated by commas")
      ->envname("CONCLAVE_ENDPOINTS")
      ->default_val(kDefaultEndpoints);
  static const std::map<std::string, OutputFormat> kFormats = {{"table", OutputFormat::kTable},
                                                               {"json", OutputFormat::kJson},
                                                               {"jsonl", OutputFormat::kJsonLines},
                                                               {"raw", OutputFormat::kRaw}};
  app.add_option("-o,--output", context.output, "table, json, jsonl (a document a line) or raw")
      ->transform(CLI::CheckedTransformer(kFormats).description("FORMAT"))
      ->envname("CONCLAVE_OUTPUT");
  AddDuration(app, "--timeout", context.timeout, "give up after this");
  AddDuration(app, "--session-timeout", context.session_timeout,
              "the cluster ends a session that has been silent for this long");
  app.add_flag("-v,--verbose", context.verbose, "say on standard error what the library does");
}

// Whether the first subcommand named is one of those that run a program.
bool RunsProgram(char** begin, char** end) {
  static constexpr std::array<std::string_view, 3> kRunning = {"lock", "elect", "watch"};
  static constexpr std::array<std::string_view, 14> kOthers = {
      "create", "get",     "set",    "rm",     "ls",     "tree",  "stat",
      "status", "session", "member", "import", "export", "bench", "--"};
  const auto is_one_of = [](const auto& names, std::string_view argument) {
    return std::find(names.begin(), names.end(), argument) != names.end();
  };
  char** const first = std::find_if(begin, end, [&](std::string_view argument) {
    return is_one_of(kRunning, argument) || is_one_of(kOthers, argument);
  });
  return first != end && is_one_of(kRunning, *first);
}

int Run(int argc, char** argv) {
  Context context;
  char** const end = argv + argc;
  // Behind "--" stands the program of those that run one: cut off before anything can take its
  // options for its own. For the others it ends the options, as everywhere.
  char** const dashes =
      RunsProgram(argv + 1, end)
          ? std::find_if(argv + 1, end, [](std::string_view a) { return a == "--"; })
          : end;
  if (dashes != end) {
    context.child.assign(dashes + 1, end);
  }
  CLI::App app("The command line of a Conclave cluster: znodes, watches, locks, elections.",
               "conclave");
  app.set_version_flag("--version", fmt::format("conclave {}", Version()));
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  AddGlobalOptions(app, context);
  AddTreeCommands(app, context);
  AddWatchCommand(app, context);
  AddLockCommands(app, context);
  AddClusterCommands(app, context);
  AddMemberCommands(app, context);
  AddTransferCommands(app, context);
  AddBenchCommand(app, context);
  try {
    app.parse(static_cast<int>(std::distance(argv, dashes)), argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    return FailUsage(error.what());
  }
  return context.run();
}

}  // namespace
}  // namespace conclave::command

int main(int argc, char** argv) { return conclave::command::Run(argc, argv); }
