// create, get, set, rm, ls, tree, stat.

#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <libsmartcols/libsmartcols.h>
#include <unistd.h>

#include "client/command/context.h"
#include "client/command/main_loop.h"
#include "client/command/output.h"
#include "client/command/paths.h"
#include "client/command/transfer.h"

namespace conclave::command {
namespace {

// Where a value comes from: the command line, a file, standard input, or nowhere (null).
struct ValueSource {
  std::optional<std::string> text;  // "-" stands for standard input
  std::string file;

  void AddTo(CLI::App& command) {
    auto* value =
        command.add_option("VALUE", text, "the data; - reads standard input; left out: null");
    command.add_option("--value-file", file, "read the data from this file")->excludes(value);
  }

  Result<Data> Read() const {
    if (!file.empty()) {
      std::ifstream in(file, std::ios::binary);
      std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
      if (!in.is_open() || in.bad()) {
        Error error;
        error.code = Code::kInvalidArgument;
        error.message = fmt::format("--value-file: {} cannot be read", file);
        return error;
      }
      return Data(std::move(bytes));
    }
    if (text == "-") {
      return Data(std::string((std::istreambuf_iterator<char>(std::cin)),
                              std::istreambuf_iterator<char>()));
    }
    return Data(text);
  }
};

// --- create, set, rm ----------------------------------------------------------------------------

struct CreateArguments {
  std::string path;
  ValueSource value;
  bool parents = false;
  bool sequential = false;
  bool ephemeral = false;
};

int RunCreate(const Context& context, const CreateArguments& arguments) {
  const auto data = arguments.value.Read();
  if (!data) {
    return Fail("create", data.error());
  }
  MainLoop loop;
  std::unique_ptr<Client> client;
  if (const int failed = loop.Connect(context.ClientOptions(), client); failed != 0) {
    return failed;
  }
  const std::string parent = ParentOf(arguments.path);
  if (arguments.parents && parent != "/" && !parent.empty()) {
    if (const auto made = client->CreatePath(parent); !made) {
      return Fail("create " + parent, made.error());
    }
  }
  const CreateMode mode =
      arguments.ephemeral
          ? (arguments.sequential ? CreateMode::kEphemeralSequential : CreateMode::kEphemeral)
          : (arguments.sequential ? CreateMode::kPersistentSequential : CreateMode::kPersistent);
  const auto created = client->Create(arguments.path, *data, mode);
  if (!created) {
    return Fail("create " + arguments.path, created.error());
  }
  if (context.json()) {
    Json json = {{"path", created->path}, {"zxid", created->zxid}};
    json["stat"] = StatJson(created->stat);
    PrintJson(context, json);
  } else {
    fmt::print("{}\n", created->path);
    std::fflush(stdout);
  }
  if (!arguments.ephemeral) {
    return kExitOk;
  }
  return loop.Run();  // until a signal or the end of the session; it lives as long
}

struct SetArguments {
  std::string path;
  ValueSource value;
  std::int32_t version = kAnyVersion;
};

int RunSet(const Context& context, const SetArguments& arguments) {
  const auto data = arguments.value.Read();
  if (!data) {
    return Fail("set", data.error());
  }
  auto client = context.Connect();
  if (!client) {
    return Fail("set", client.error());
  }
  const auto written = (*client)->Set(arguments.path, *data, arguments.version);
  if (!written) {
    return Fail("set " + arguments.path, written.error());
  }
  if (context.json()) {
    Json json = {{"path", arguments.path}, {"zxid", written->zxid}};
    json["stat"] = StatJson(written->stat);
    PrintJson(context, json);
  }
  return kExitOk;
}

struct RemoveArguments {
  std::string path;
  bool recursive = false;
  std::int32_t version = kAnyVersion;
};

// Removes all children of `path`, many at a time, and returns those that have children themselves.
Result<std::vector<std::string>> RemoveLeaves(Client& client, const std::string& path) {
  const auto children = client.Children(path);
  if (!children) {
    return children.error();
  }
  constexpr std::size_t kCallsMax = 256;
  constexpr std::size_t kBytesMax = std::size_t{16} << 20;
  Window window(kCallsMax, kBytesMax);
  std::mutex mutex;
  std::vector<std::string> inner;
  Status status;
  for (const std::string& name : children->names) {
    const std::string child = JoinPath(path, name);
    window.Take(child.size());
    client.RemoveAsync(child, kAnyVersion, {}, [&, child](const Result<Written>& removed) {
      {
        const std::lock_guard lock(mutex);
        if (removed.code() == Code::kNotEmpty) {
          inner.push_back(child);
        } else if (!removed && removed.code() != Code::kNoNode) {
          status = removed.error();
        }
      }
      window.Give(child.size());
    });
  }
  window.Drain();
  if (!status) {
    return status.error();
  }
  return inner;
}

// Children first. Not atomic: others may create below it meanwhile, which ends it with NotEmpty.
Status RemoveTree(Client& client, const std::string& path) {
  const auto inner = RemoveLeaves(client, path);
  if (!inner) {
    return inner.error();
  }
  for (const std::string& child : *inner) {
    if (auto removed = RemoveTree(client, child); !removed && removed.code() != Code::kNoNode) {
      return removed;
    }
  }
  const auto removed = client.Remove(path);
  return removed ? Status() : Status(removed.error());
}

int RunRemove(const Context& context, const RemoveArguments& arguments) {
  if (arguments.recursive && arguments.version != kAnyVersion) {
    return FailUsage("rm: --version and --recursive do not go together");
  }
  auto client = context.Connect();
  if (!client) {
    return Fail("rm", client.error());
  }
  Status removed;
  if (arguments.recursive) {
    removed = RemoveTree(**client, arguments.path);
  } else if (const auto one = (*client)->Remove(arguments.path, arguments.version); !one) {
    removed = one.error();
  }
  if (!removed) {
    return Fail("rm " + arguments.path, removed.error());
  }
  if (context.json()) {
    PrintJson(context, {{"path", arguments.path}, {"removed", true}});
  }
  return kExitOk;
}

// --- get, stat ----------------------------------------------------------------------------------

struct ReadArguments {
  std::string path;
  ReadOptions read;
};

int RunGet(const Context& context, const ReadArguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("get", client.error());
  }
  const auto node = (*client)->Get(arguments.path, arguments.read);
  if (!node) {
    return Fail("get " + arguments.path, node.error());
  }
  if (context.json()) {
    Json json = {{"path", arguments.path}, {"zxid", node->zxid}, {"value", ValueJson(node->data)}};
    json["stat"] = StatJson(node->stat);
    PrintJson(context, json);
    return kExitOk;
  }
  const std::string bytes = node->data.value_or("");
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  if (context.output == OutputFormat::kTable && !bytes.empty() && bytes.back() != '\n') {
    std::fputc('\n', stdout);
  }
  return std::fflush(stdout) == 0 ? kExitOk : kExitFailed;
}

std::vector<std::vector<std::string>> StatRows(const Stat& s) {
  const auto text = [](std::int64_t value) { return std::to_string(value); };
  return {{"czxid", text(s.czxid)},
          {"mzxid", text(s.mzxid)},
          {"pzxid", text(s.pzxid)},
          {"ctime", TimeText(s.ctime_ms)},
          {"mtime", TimeText(s.mtime_ms)},
          {"version", text(s.version)},
          {"cversion", text(s.cversion)},
          {"aversion", text(s.aversion)},
          {"ephemeral owner", s.ephemeral_owner == 0 ? "-" : text(s.ephemeral_owner)},
          {"data length", text(s.data_length)},
          {"children", text(s.num_children)}};
}

int RunStat(const Context& context, const ReadArguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("stat", client.error());
  }
  const auto found = (*client)->Exists(arguments.path, arguments.read);
  if (!found) {
    return Fail("stat " + arguments.path, found.error());
  }
  if (!found->stat) {
    Error error;
    error.code = Code::kNoNode;
    error.path = arguments.path;
    return Fail("stat", error);
  }
  if (context.json()) {
    Json json = {{"path", arguments.path}, {"zxid", found->zxid}};
    json["stat"] = StatJson(*found->stat);
    PrintJson(context, json);
  } else {
    PrintTable({{"FIELD"}, {"VALUE"}}, StatRows(*found->stat));
  }
  return kExitOk;
}

// --- ls, tree -----------------------------------------------------------------------------------

struct ListArguments : ReadArguments {
  bool recursive = false;
  bool details = false;
};

// Calls `visit` for everything below `path`, parents first, in order of names. A znode that goes
// away meanwhile is left out.
Status Walk(Client& client, const std::string& path, const ReadOptions& options, bool recursive,
            const std::function<Status(const std::string& path, int depth)>& visit, int depth = 0) {
  ChildrenOptions children_options;
  children_options.mode = options.mode;
  const auto children = client.Children(path, children_options);
  if (!children) {
    return depth > 0 && children.code() == Code::kNoNode ? Status() : Status(children.error());
  }
  for (const std::string& name : children->names) {
    const std::string child = JoinPath(path, name);
    if (auto visited = visit(child, depth); !visited) {
      return visited;
    }
    if (recursive) {
      if (auto walked = Walk(client, child, options, true, visit, depth + 1); !walked) {
        return walked;
      }
    }
  }
  return {};
}

int RunList(const Context& context, const ListArguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("ls", client.error());
  }
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  const std::size_t cut = arguments.path == "/" ? 1 : arguments.path.size() + 1;
  const auto visit = [&](const std::string& path, int /*depth*/) -> Status {
    const std::string name = path.substr(cut);
    if (!arguments.details) {
      context.json() ? list.push_back(name) : void(fmt::print("{}\n", name));
      return {};
    }
    const auto node = (*client)->Get(path, arguments.read);
    if (!node) {
      return node.code() == Code::kNoNode ? Status() : Status(node.error());
    }
    if (context.json()) {
      Json json = {{"name", name}, {"value", ValueJson(node->data)}};
      json["stat"] = StatJson(node->stat);
      list.push_back(std::move(json));
    } else {
      rows.push_back({name, std::to_string(node->stat.version),
                      std::to_string(node->stat.num_children),
                      std::to_string(node->stat.data_length), TimeText(node->stat.mtime_ms),
                      node->stat.ephemeral_owner == 0 ? "-" : "yes", ValueText(node->data)});
    }
    return {};
  };
  const Status walked = Walk(**client, arguments.path, arguments.read, arguments.recursive, visit);
  if (!walked) {
    return Fail("ls " + arguments.path, walked.error());
  }
  if (context.json()) {
    PrintJson(context, list);
  } else if (arguments.details) {
    PrintTable({{"NAME"},
                {"VERSION", true},
                {"CHILDREN", true},
                {"BYTES", true},
                {"CHANGED"},
                {"EPHEMERAL"},
                {"VALUE"}},
               rows);
  }
  return std::fflush(stdout) == 0 ? kExitOk : kExitFailed;
}

// A drawing of the tree by libsmartcols, or nested JSON objects.
int RunTree(const Context& context, const ReadArguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("tree", client.error());
  }
  const auto root = (*client)->Get(arguments.path, arguments.read);
  if (!root) {
    return Fail("tree " + arguments.path, root.error());
  }
  Json json = {{"name", arguments.path}, {"value", ValueJson(root->data)}};
  std::vector<Json*> nested = {&json};
  UseUtf8();
  const std::unique_ptr<libscols_table, void (*)(libscols_table*)> table(scols_new_table(),
                                                                         scols_unref_table);
  scols_table_new_column(table.get(), "NAME", 0, SCOLS_FL_TREE);
  scols_table_new_column(table.get(), "VALUE", 0, 0);
  if (isatty(STDOUT_FILENO) == 0) {
    scols_table_set_termforce(table.get(), SCOLS_TERMFORCE_NEVER);
  }
  std::vector<libscols_line*> lines = {scols_table_new_line(table.get(), nullptr)};
  scols_line_set_data(lines[0], 0, arguments.path.c_str());
  scols_line_set_data(lines[0], 1, ValueText(root->data).c_str());
  const auto visit = [&](const std::string& path, int depth) -> Status {
    const auto node = (*client)->Get(path, arguments.read);
    const auto at = static_cast<std::size_t>(depth);
    nested.resize(at + 1);
    lines.resize(at + 1);
    const std::string name = path.substr(path.rfind('/') + 1);
    Json& children = (*nested[at])["children"];
    children.push_back({{"name", name}});
    if (node) {
      children.back()["value"] = ValueJson(node->data);
    }
    nested.push_back(&children.back());
    lines.push_back(scols_table_new_line(table.get(), lines[at]));
    scols_line_set_data(lines.back(), 0, name.c_str());
    scols_line_set_data(lines.back(), 1, node ? ValueText(node->data).c_str() : "(gone)");
    return {};
  };
  const Status walked = Walk(**client, arguments.path, arguments.read, true, visit);
  if (!walked) {
    return Fail("tree " + arguments.path, walked.error());
  }
  if (context.json()) {
    PrintJson(context, json);
  } else {
    scols_print_table(table.get());
  }
  return kExitOk;
}

// --- the command line ---------------------------------------------------------------------------

void AddPath(CLI::App& command, std::string& path) {
  command.add_option("PATH", path, "path of a znode, such as /app/config")->required();
}

// Adds a subcommand whose arguments live as long as the command line.
template <typename Arguments>
CLI::App* Add(CLI::App& app, Context& context, const std::string& name, const std::string& help,
              int (*run)(const Context&, const Arguments&),
              const std::function<void(CLI::App&, Arguments&)>& options) {
  CLI::App* command = app.add_subcommand(name, help);
  auto arguments = std::make_shared<Arguments>();
  options(*command, *arguments);
  command->callback([&context, run, arguments] {
    context.run = [&context, run, arguments] { return run(context, *arguments); };
  });
  return command;
}

}  // namespace

void AddTreeCommands(CLI::App& app, Context& context) {
  Add<CreateArguments>(app, context, "create", "create a znode and print its path", RunCreate,
                       [](CLI::App& command, CreateArguments& a) {
                         AddPath(command, a.path);
                         a.value.AddTo(command);
                         command.add_flag("-p,--parents", a.parents,
                                          "create missing parents, with null data");
                         command.add_flag("-s,--sequential", a.sequential,
                                          "append a rising ten-digit number to the name");
                         command.add_flag("-e,--ephemeral", a.ephemeral,
                                          "keep it until this command is ended by a signal");
                       });
  Add<ReadArguments>(app, context, "get", "print the data of a znode (-o raw: nothing else)",
                     RunGet, [](CLI::App& command, ReadArguments& a) {
                       AddPath(command, a.path);
                       AddReadMode(command, a.read.mode);
                     });
  Add<SetArguments>(app, context, "set", "replace the data of a znode", RunSet,
                    [](CLI::App& command, SetArguments& a) {
                      AddPath(command, a.path);
                      a.value.AddTo(command);
                      command.add_option("--version", a.version,
                                         "only if the znode has this version");
                    });
  Add<RemoveArguments>(
      app, context, "rm", "remove a znode", RunRemove, [](CLI::App& command, RemoveArguments& a) {
        AddPath(command, a.path);
        command.add_flag("-r,--recursive", a.recursive, "and all below it");
        command.add_option("--version", a.version, "only if the znode has this version");
      });
  Add<ListArguments>(app, context, "ls", "list the children of a znode", RunList,
                     [](CLI::App& command, ListArguments& a) {
                       AddPath(command, a.path);
                       AddReadMode(command, a.read.mode);
                       command.add_flag("-R,--recursive", a.recursive, "and all below them");
                       command.add_flag("-l,--long", a.details, "with their state and value");
                     });
  Add<ReadArguments>(app, context, "tree", "draw a znode and all below it", RunTree,
                     [](CLI::App& command, ReadArguments& a) {
                       AddPath(command, a.path);
                       AddReadMode(command, a.read.mode);
                     });
  Add<ReadArguments>(app, context, "stat", "print the state of a znode", RunStat,
                     [](CLI::App& command, ReadArguments& a) {
                       AddPath(command, a.path);
                       AddReadMode(command, a.read.mode);
                     });
}

}  // namespace conclave::command
