// watch: changes as they come, printed or given to a program.

#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/command/guard.h"
#include "client/command/main_loop.h"
#include "client/command/output.h"

extern char** environ;

namespace conclave::command {
namespace {

struct WatchArguments {
  std::string path;
  bool recursive = false;
  bool no_values = false;
  std::optional<Cursor> from;
  std::int64_t count = 0;  // 0: no limit
};

// "ZXID" stands behind all of that zxid's changes, "ZXID:ORDINAL" behind one of them.
std::optional<Cursor> ParseCursor(const std::string& text) {
  Cursor cursor{0, std::numeric_limits<std::int32_t>::max()};
  const char* const end = text.data() + text.size();
  auto parsed = std::from_chars(text.data(), end, cursor.zxid);
  if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == ':') {
    parsed = std::from_chars(parsed.ptr + 1, end, cursor.ordinal);
  }
  if (parsed.ec != std::errc() || parsed.ptr != end || cursor.zxid < 0 || cursor.ordinal < 0) {
    return std::nullopt;
  }
  return cursor;
}

// Runs a program for one event after the other. Thread: Run that of callbacks, Signal any.
class Handler {
 public:
  explicit Handler(std::vector<std::string> command) : command_(std::move(command)) {}

  // Waits for the program's end. Returns 0, or the exit status for a program that cannot be run.
  int Run(const Event& event) {
    const int input = EventFile(event);
    std::vector<std::string> variables = {
        fmt::format("CONCLAVE_WATCH_TYPE={}", EventTypeName(event.type)),
        fmt::format("CONCLAVE_WATCH_PATH={}", event.path),
        fmt::format("CONCLAVE_WATCH_ZXID={}", event.cursor.zxid)};
    std::vector<char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      if (std::strncmp(*variable, "CONCLAVE_WATCH_", std::strlen("CONCLAVE_WATCH_")) != 0) {
        environment.push_back(*variable);
      }
    }
    for (std::string& variable : variables) {
      environment.push_back(variable.data());
    }
    environment.push_back(nullptr);
    std::vector<char*> argv;
    for (std::string& argument : command_) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int error =
        posix_spawnp(&pid, argv[0], &files, &attributes, argv.data(), environment.data());
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    close(input);
    if (error != 0) {
      fmt::print(stderr, "conclave: {}: {}\n", command_.front(), std::strerror(error));
      return error == ENOENT || error == ENOTDIR ? kExitNotFound : kExitCannotExecute;
    }
    Await(pid);
    return kExitOk;
  }

  // To the program that runs at the moment, if one does.
  void Signal(int number) {
    const std::lock_guard lock(mutex_);
    if (running_ > 0) {
      kill(running_, number);
    }
  }

 private:
  // The event, as a file to read from: a program that does not read it holds up nothing.
  static int EventFile(const Event& event) {
    const int file = memfd_create("conclave-event", MFD_CLOEXEC);
    const std::string text =
        EventJson(event).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    [[maybe_unused]] const ssize_t written = write(file, text.data(), text.size());
    lseek(file, 0, SEEK_SET);
    return file;
  }

  void Await(pid_t pid) {
    {
      const std::lock_guard lock(mutex_);
      running_ = pid;
    }
    // Waits without reaping first, so that Signal never meets a pid that is another's by now.
    siginfo_t info{};
    while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
    int status = 0;
    {
      const std::lock_guard lock(mutex_);
      running_ = 0;
      waitpid(pid, &status, 0);
    }
    if (const int exit_code = ExitCodeOfWaitStatus(status); exit_code != 0) {
      fmt::print(stderr, "conclave: {} ended with status {}\n", command_.front(), exit_code);
    }
  }

  std::vector<std::string> command_;
  std::mutex mutex_;
  pid_t running_ = 0;  // under mutex_
};

void PrintEvent(const Context& context, const Event& event) {
  if (context.json()) {
    Context lines = context;
    lines.output = OutputFormat::kJsonLines;  // a stream has no end to close a bracket at
    PrintJson(lines, EventJson(event));
    return;
  }
  fmt::print("{} {} {}{}\n", event.cursor.zxid, EventTypeName(event.type), event.path,
             event.has_value ? " " + ValueText(event.data) : "");
  std::fflush(stdout);
}

// What the two threads share; outlives the client.
struct Watching {
  MainLoop loop;
  std::optional<Handler> handler;
  std::int64_t left = 0;  // events until the end; negative: no limit
  bool over = false;      // thread of callbacks
  std::atomic<bool> ending = false;
};

void OnEvent(const Context& context, Watching& watching, const Event& event) {
  if (watching.over || watching.ending) {
    return;
  }
  int failed = kExitOk;
  if (watching.handler) {
    failed = watching.handler->Run(event);
  } else {
    PrintEvent(context, event);
    failed = std::ferror(stdout) != 0 ? kExitFailed : kExitOk;
  }
  if (failed != kExitOk || --watching.left == 0) {
    watching.over = true;
    watching.loop.Stop(failed);
  }
}

int RunWatch(const Context& context, const WatchArguments& arguments) {
  Watching watching;
  watching.left = arguments.count == 0 ? -1 : arguments.count;
  if (!context.child.empty()) {
    watching.handler.emplace(context.child);
  }
  std::unique_ptr<Client> client;
  if (const int failed = watching.loop.Connect(context.ClientOptions(), client); failed != 0) {
    return failed;
  }
  WatchOptions options;
  options.with_values = !arguments.no_values;
  options.from = arguments.from;
  const WatchMode mode =
      arguments.recursive ? WatchMode::kPersistentRecursive : WatchMode::kPersistent;
  watching.loop.OnSignal([&](int number) {
    // The program is in this process's group: a terminal's signals it gets by itself.
    if (number == SIGTERM && watching.handler) {
      watching.handler->Signal(number);
    }
    if (MainLoop::AsksForEnd(number)) {
      watching.ending = true;
      watching.loop.Stop(kExitOk);
    } else if (number == SIGTSTP) {
      raise(SIGSTOP);
    }
  });
  // Not waited for: an event, and the program that it starts, may come before the answer.
  client->WatchAsync(
      arguments.path, mode, [&](const Event& event) { OnEvent(context, watching, event); }, options,
      [&](const Result<std::int64_t>& watch) {
        if (!watch) {
          watching.loop.Stop(Fail("watch " + arguments.path, watch.error()));
        }
      });
  return watching.loop.Run();
}

}  // namespace

void AddWatchCommand(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand(
      "watch",
      "print changes as they come, or run a program for each: watch PATH [-- PROGRAM ...]");
  auto arguments = std::make_shared<WatchArguments>();
  command->add_option("PATH", arguments->path, "the znode; it need not exist")->required();
  command->add_flag("-r,--recursive,-R", arguments->recursive, "and all below it");
  command->add_flag("--no-values", arguments->no_values, "without the new values");
  command
      ->add_option_function<std::string>(
          "--from", [arguments](const std::string& text) { arguments->from = ParseCursor(text); },
          "also what came after this zxid (or ZXID:ORDINAL)")
      ->check([](const std::string& text) {
        return ParseCursor(text) ? std::string() : "\"" + text + "\" is no zxid";
      })
      ->type_name("ZXID");
  command->add_option("--count", arguments->count, "end after so many events")
      ->check(CLI::PositiveNumber);
  command->callback([&context, arguments] {
    context.run = [&context, arguments] { return RunWatch(context, *arguments); };
  });
}

}  // namespace conclave::command
