// member: who belongs to the cluster, and how that is changed.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <poll.h>

#include "client/command/output.h"
#include "client/command/progress.h"

namespace conclave::command {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = MemberChangeKind;

struct Arguments {
  std::uint64_t id = 0;
  std::string address;  // HOST:PORT
  std::string with;     // replace: NEWID=HOST:PORT
  bool observer = false;
  bool wait = false;
  bool no_wait = false;
  std::chrono::milliseconds within{600'000};
};

struct Named {
  std::uint64_t id = 0;
  std::string address;
};

std::optional<Named> ParseNamed(const std::string& text) {
  Named named;
  const std::size_t equals = text.find('=');
  const char* const end = text.data() + std::min(equals, text.size());
  const auto [parsed_end, error] = std::from_chars(text.data(), end, named.id);
  if (equals == std::string::npos || error != std::errc() || parsed_end != end || named.id == 0 ||
      text.find(':', equals) == std::string::npos) {
    return std::nullopt;
  }
  named.address = text.substr(equals + 1);
  return named;
}

std::string CheckNamed(const std::string& text) {
  return ParseNamed(text) ? std::string()
                          : fmt::format("\"{}\" is not ID=HOST:PEERPORT with an ID from 1", text);
}

const MemberStatus* Find(const MemberList& list, std::uint64_t id) {
  const auto at = std::find_if(list.members.begin(), list.members.end(),
                               [id](const MemberStatus& member) { return member.id == id; });
  return at == list.members.end() ? nullptr : &*at;
}

// --- list ---------------------------------------------------------------------------------------

Json ListJson(const MemberList& list) {
  Json json = {{"configuration_index", list.configuration_index},
               {"commit_index", list.commit_index},
               {"leader", nullptr},
               {"members", Json::array()}};
  if (list.leader != 0) {
    json["leader"] = list.leader;
  }
  for (const MemberStatus& member : list.members) {
    Json one = {{"id", member.id}, {"kind", member.kind}, {"role", nullptr}};
    if (!member.role.empty()) {
      one["role"] = member.role;
    }
    one["reachable"] = member.reachable;
    one["applied_index"] = member.applied_index;
    one["peer_address"] = member.peer_address;
    one["client_address"] = member.client_address;
    one["incarnation"] = fmt::format("{:016x}", member.incarnation);
    one["problem"] = member.problem;
    json["members"].push_back(std::move(one));
  }
  return json;
}

// How far a member has come, for people: "-" if nobody knows.
std::string ProgressText(const MemberStatus& member, std::int64_t commit_index) {
  if (member.applied_index <= 0 || commit_index <= 0) {
    return "-";
  }
  const double part = static_cast<double>(member.applied_index) / static_cast<double>(commit_index);
  return fmt::format("{:.0f} %", std::min(1.0, part) * 100);
}

void PrintList(const Context& context, const MemberList& list) {
  if (context.json()) {
    PrintJson(context, ListJson(list));
    return;
  }
  const auto text = [](const std::string& s) { return s.empty() ? "-" : s; };
  std::vector<std::vector<std::string>> rows;
  for (const MemberStatus& member : list.members) {
    rows.push_back({std::to_string(member.id), text(member.kind),
                    member.reachable ? text(member.role) : "unreachable",
                    std::to_string(member.applied_index), ProgressText(member, list.commit_index),
                    text(member.peer_address), text(member.client_address)});
  }
  PrintTable({{"ID", true},
              {"KIND"},
              {"ROLE"},
              {"APPLIED", true},
              {"OF LOG", true},
              {"PEERS"},
              {"CLIENTS"}},
             rows);
  for (const MemberStatus& member : list.members) {
    if (!member.problem.empty()) {
      fmt::print("member {}: {}\n", member.id, member.problem);
    }
  }
}

int RunList(const Context& context) {
  auto client = context.Look();
  if (!client) {
    return Fail("member list", client.error());
  }
  const auto list = (*client)->ListMembers();
  if (list) {
    PrintList(context, *list);
    return kExitOk;
  }
  // Without a majority there is nobody to confirm it; what one member knows is still of use.
  const auto status = (*client)->GetClusterStatus();
  if (!status) {
    return Fail("member list", list.error());
  }
  MemberList known;
  known.leader = status->leader;
  known.members = status->members;
  for (const MemberStatus& member : known.members) {
    known.commit_index = std::max(known.commit_index, member.commit_index);
  }
  PrintList(context, known);
  fmt::print(stderr, "conclave: member list: as member {} knows them; {}\n", status->answered_by,
             list.error().ToString());
  return ExitCodeOf(list.error());
}

// --- changes ------------------------------------------------------------------------------------

Result<MemberChanged> Change(Client& client, Kind kind, std::uint64_t id, std::string address) {
  MemberChange change;
  change.kind = kind;
  change.id = id;
  change.peer_address = std::move(address);
  return client.ChangeMember(change);
}

void Say(const Context& context, const MemberChanged& changed, const std::string& done) {
  if (context.json()) {
    PrintJson(context,
              {{"changed", changed.changed}, {"configuration_index", changed.configuration_index}});
  } else if (changed.changed) {
    fmt::print("{}\n", done);
  } else {
    fmt::print("nothing to do: {}\n", done);
  }
}

// What a member that is waited for still lacks.
std::string Missing(const MemberList& list, const MemberStatus* member, std::uint64_t id) {
  if (member == nullptr) {
    return fmt::format("member {} does not belong to the cluster any more", id);
  }
  if (member->applied_index <= 0 || !member->reachable) {
    return fmt::format("member {} is a {}: {}", id, member->kind,
                       member->problem.empty() ? "waiting for it" : member->problem);
  }
  return fmt::format("member {} is a {}: {} of {} entries ({})", id, member->kind,
                     member->applied_index, list.commit_index,
                     ProgressText(*member, list.commit_index));
}

// Waits until the member has its vote. Progress goes to standard error.
int AwaitVoter(Client& client, std::uint64_t id, std::chrono::milliseconds within) {
  constexpr int kPauseMs = 200;
  const Clock::time_point deadline = Clock::now() + within;
  Progress progress;
  std::string last = "the cluster does not answer";
  while (true) {
    const auto list = client.ListMembers();
    if (list) {
      const MemberStatus* member = Find(*list, id);
      if (member != nullptr && member->kind == "voter" && member->incarnation != 0) {
        return kExitOk;
      }
      last = Missing(*list, member, id);
      if (member == nullptr) {
        fmt::print(stderr, "conclave: {}\n", last);
        return kExitFailed;
      }
    }
    if (Clock::now() >= deadline) {
      fmt::print(stderr,
                 "conclave: gave up waiting: {}. It goes on by itself; \"conclave member list\" "
                 "shows how far it is\n",
                 last);
      return kExitTimeout;
    }
    if (progress.Due()) {
      progress.Show(last);
    }
    poll(nullptr, 0, kPauseMs);
  }
}

int RunAdd(const Context& context, const Arguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("member add", client.error());
  }
  const Kind kind = arguments.observer ? Kind::kAddObserver : Kind::kAddLearner;
  const auto changed = Change(**client, kind, arguments.id, arguments.address);
  if (!changed) {
    return Fail("member add", changed.error());
  }
  Say(context, *changed,
      fmt::format("member {} at {} is {}", arguments.id, arguments.address,
                  arguments.observer
                      ? "an observer"
                      : (arguments.wait || !changed->changed
                             ? "added"
                             : "a learner; it becomes a voter once it has caught up")));
  if (!arguments.wait || arguments.observer) {
    return kExitOk;
  }
  const int waited = AwaitVoter(**client, arguments.id, arguments.within);
  if (waited == kExitOk && !context.json()) {
    fmt::print("member {} is a voter\n", arguments.id);
  }
  return waited;
}

// remove, promote, update.
int RunChange(const Context& context, Kind kind, const Arguments& arguments,
              const std::string& verb, const std::string& done) {
  auto client = context.Look();
  if (!client) {
    return Fail("member " + verb, client.error());
  }
  const auto changed = Change(**client, kind, arguments.id, arguments.address);
  if (!changed) {
    return Fail("member " + verb, changed.error());
  }
  Say(context, *changed, fmt::format("member {} {}", arguments.id, done));
  return kExitOk;
}

int RunTransfer(const Context& context, const Arguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("member transfer-leader", client.error());
  }
  const auto moved = (*client)->TransferLeader(arguments.id);
  if (!moved) {
    return Fail("member transfer-leader", moved.error());
  }
  if (context.json()) {
    PrintJson(context, {{"changed", moved->changed}, {"leader", moved->leader}});
  } else {
    fmt::print("member {} leads{}\n", moved->leader, moved->changed ? "" : " already");
  }
  return kExitOk;
}

// --- replace ------------------------------------------------------------------------------------

// The same member with another disk: it comes back as a learner and gets its vote again.
int ReplaceDisk(const Context& context, Client& client, const Arguments& arguments) {
  const auto changed = Change(client, Kind::kReadmit, arguments.id, arguments.address);
  if (!changed) {
    return Fail("member replace", changed.error());
  }
  if (!context.json()) {
    const char* const what =
        changed->changed ? "re-admitted with whatever data directory it comes with; it becomes a "
                           "voter once it has caught up"
                         : "here with the data directory that counts, or waited for with any";
    fmt::print("member {} is {}\n", arguments.id, what);
    std::fflush(stdout);
  }
  const int waited =
      arguments.no_wait ? kExitOk : AwaitVoter(client, arguments.id, arguments.within);
  if (waited == kExitOk && context.json()) {
    PrintJson(context, {{"changed", changed->changed},
                        {"configuration_index", changed->configuration_index}});
  } else if (waited == kExitOk && !arguments.no_wait) {
    fmt::print("member {} is a voter\n", arguments.id);
  }
  return waited;
}

// Another member in its place: never fewer voters than before.
int ReplaceMember(const Context& context, Client& client, const Arguments& arguments) {
  const Named with = *ParseNamed(arguments.with);
  const auto added = Change(client, Kind::kAddLearner, with.id, with.address);
  if (!added) {
    return Fail("member replace", added.error());
  }
  if (!context.json()) {
    fmt::print("member {} at {} is added; member {} goes once it has caught up\n", with.id,
               with.address, arguments.id);
    std::fflush(stdout);
  }
  if (const int waited = AwaitVoter(client, with.id, arguments.within); waited != kExitOk) {
    fmt::print(stderr, "conclave: member {} has not been removed; run the same command again\n",
               arguments.id);
    return waited;
  }
  const auto removed = Change(client, Kind::kRemove, arguments.id, {});
  if (!removed) {
    return Fail("member replace", removed.error());
  }
  Say(context, *removed,
      fmt::format("member {} is a voter, member {} is removed and can be stopped", with.id,
                  arguments.id));
  return kExitOk;
}

int RunReplace(const Context& context, const Arguments& arguments) {
  auto client = context.Look();
  if (!client) {
    return Fail("member replace", client.error());
  }
  const auto list = (*client)->ListMembers();
  if (!list) {
    return Fail("member replace", list.error());
  }
  // With --with the old one may be gone already: the command is being repeated.
  if (Find(*list, arguments.id) == nullptr && arguments.with.empty()) {
    fmt::print(stderr, "conclave: member replace: no member has the id {}; see: member list\n",
               arguments.id);
    return kExitUsage;
  }
  return arguments.with.empty() ? ReplaceDisk(context, **client, arguments)
                                : ReplaceMember(context, **client, arguments);
}

// --- command line -------------------------------------------------------------------------------

using Shared = std::shared_ptr<Arguments>;

CLI::App* Add(CLI::App& member, Context& context, const std::string& name, const std::string& help,
              const Shared& arguments, int (*run)(const Context&, const Arguments&)) {
  CLI::App* command = member.add_subcommand(name, help);
  command->callback([&context, arguments, run] {
    context.run = [&context, arguments, run] { return run(context, *arguments); };
  });
  return command;
}

void AddId(CLI::App* command, const Shared& arguments, const std::string& help) {
  command->add_option("ID", arguments->id, help)->required()->check(CLI::PositiveNumber);
}

void AddNamed(CLI::App* command, const Shared& arguments) {
  command
      ->add_option_function<std::string>(
          "ID=HOST:PEERPORT",
          [arguments](const std::string& text) {
            const auto named = ParseNamed(text);
            arguments->id = named->id;
            arguments->address = named->address;
          },
          "its number and where it takes its peers")
      ->required()
      ->check(CheckNamed);
}

void AddChanges(CLI::App& member, Context& context) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* add = Add(member, context, "add",
                      "a new member: a learner that becomes a voter by itself", arguments, RunAdd);
  AddNamed(add, arguments);
  add->add_flag("--observer", arguments->observer, "it receives the log and never votes");
  add->add_flag("--wait", arguments->wait, "until it is a voter, with its progress");
  AddDuration(*add, "--within", arguments->within, "with --wait: give up waiting after this");

  arguments = std::make_shared<Arguments>();
  AddId(Add(member, context, "remove", "a member that belongs to the cluster no longer", arguments,
            [](const Context& c, const Arguments& a) {
              return RunChange(c, Kind::kRemove, a, "remove",
                               "does not belong to the cluster; it can be stopped");
            }),
        arguments, "its number");

  arguments = std::make_shared<Arguments>();
  AddId(Add(member, context, "promote", "gives a vote to a learner or observer that has caught up",
            arguments,
            [](const Context& c, const Arguments& a) {
              return RunChange(c, Kind::kPromote, a, "promote", "is a voter");
            }),
        arguments, "its number");

  arguments = std::make_shared<Arguments>();
  AddNamed(Add(member, context, "update", "a member has moved to another peer address", arguments,
               [](const Context& c, const Arguments& a) {
                 return RunChange(c, Kind::kUpdateAddress, a, "update", "is at " + a.address);
               }),
           arguments);
}

void AddReplace(CLI::App& member, Context& context) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* replace =
      Add(member, context, "replace",
          "brings a member back that has lost its disk, or puts another in its place", arguments,
          RunReplace);
  AddId(replace, arguments, "the member that is lost");
  replace
      ->add_option("--with", arguments->with,
                   "another member, NEWID=HOST:PEERPORT; without it the same one comes back")
      ->check(CheckNamed);
  replace->add_option("--address", arguments->address,
                      "where it takes its peers from now on, if not where it did");
  replace->add_flag("--no-wait", arguments->no_wait, "do not wait until it is a voter again")
      ->excludes("--with");
  AddDuration(*replace, "--within", arguments->within, "give up waiting after this");
}

}  // namespace

void AddMemberCommands(CLI::App& app, Context& context) {
  CLI::App* member = app.add_subcommand("member", "who belongs to the cluster, and changes of it");
  member->require_subcommand(1);
  member->fallthrough();
  member->add_subcommand("list", "the members, their votes, how far each has come")
      ->callback([&context] { context.run = [&context] { return RunList(context); }; });
  AddChanges(*member, context);
  AddReplace(*member, context);
  auto arguments = std::make_shared<Arguments>();
  Add(*member, context, "transfer-leader", "hands leadership over", arguments, RunTransfer)
      ->add_option("ID", arguments->id, "to this member; without it to the one that is furthest")
      ->check(CLI::PositiveNumber);
}

}  // namespace conclave::command
