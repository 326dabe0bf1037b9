// status, session.

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/command/main_loop.h"
#include "client/command/output.h"

namespace conclave::command {
namespace {

// --- status -------------------------------------------------------------------------------------

constexpr std::chrono::milliseconds kAskTimeout{2'000};

// Asks members for what they know, each directly, all at once: only a member itself knows how far
// it has applied right now.
class Inquiry {
 public:
  explicit Inquiry(const Context& context) : context_(context) {}

  // Asks at every address that has not been asked yet; waits for all answers.
  void Ask(const std::vector<std::string>& endpoints) {
    std::vector<std::unique_ptr<Client>> clients;
    for (const std::string& endpoint : endpoints) {
      if (asked_.insert(endpoint).second) {
        AskOne(endpoint, clients);
      }
    }
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [this] { return waiting_ == 0; });
  }

  // The answer of each member that gave one.
  const std::map<std::uint64_t, ClusterStatus>& answers() const { return answers_; }

  const std::optional<Error>& error() const { return error_; }

 private:
  void AskOne(const std::string& endpoint, std::vector<std::unique_ptr<Client>>& clients) {
    Options options = context_.ClientOptions();
    options.endpoints = endpoint;
    options.open_session = false;
    options.call_timeout = std::min(context_.timeout, kAskTimeout);
    options.connect_timeout = options.call_timeout;
    auto client = Client::Start(std::move(options));
    const std::lock_guard lock(mutex_);
    if (!client) {
      error_ = client.error();
      return;
    }
    ++waiting_;
    (*client)->GetClusterStatusAsync({}, [this](Result<ClusterStatus> status) {
      const std::lock_guard inner(mutex_);
      if (status) {
        answers_.emplace(status->answered_by, *status);
      } else {
        error_ = status.error();
      }
      --waiting_;
      answered_.notify_all();
    });
    clients.push_back(std::move(*client));
  }

  const Context& context_;
  std::set<std::string> asked_;
  std::mutex mutex_;
  std::condition_variable answered_;
  int waiting_ = 0;
  std::map<std::uint64_t, ClusterStatus> answers_;
  std::optional<Error> error_;
};

std::vector<std::string> SplitEndpoints(const std::string& endpoints) {
  std::vector<std::string> list;
  std::stringstream in(endpoints);
  for (std::string endpoint; std::getline(in, endpoint, ',');) {
    list.push_back(endpoint);
  }
  return list;
}

struct Picture {
  ClusterStatus cluster;  // as the member with the highest term has it
  std::vector<MemberStatus> members;
  std::uint64_t leader = 0;  // 0: no member that answered leads
};

// Every member by its own words; of one that did not answer, what the others have last heard of it,
// without a role: it may be another's by now.
Picture Assemble(const std::map<std::uint64_t, ClusterStatus>& answers) {
  std::map<std::uint64_t, MemberStatus> members;
  Picture picture;
  std::int64_t term = -1;
  std::int64_t leader_term = -1;
  for (const auto& [id, status] : answers) {
    for (const MemberStatus& member : status.members) {
      if (member.id == id) {
        members[id] = member;
        members[id].reachable = true;
        if (member.term > term) {
          term = member.term;
          picture.cluster = status;
        }
        if (member.role == "leader" && member.term > leader_term) {
          leader_term = member.term;
          picture.leader = id;
        }
      } else if (!answers.contains(member.id)) {
        MemberStatus& told = members[member.id];
        if (told.id == 0 || member.applied_index > told.applied_index) {
          told = member;
        }
        told.role.clear();
        told.reachable = false;
      }
    }
  }
  for (auto& [id, member] : members) {
    picture.members.push_back(std::move(member));
  }
  return picture;
}

Json MemberJson(const MemberStatus& member) {
  Json json = {{"id", member.id}, {"role", nullptr}};
  if (!member.role.empty()) {
    json["role"] = member.role;
  }
  json["term"] = member.term;
  json["commit_index"] = member.commit_index;
  json["applied_index"] = member.applied_index;
  json["reachable"] = member.reachable;
  json["client_address"] = member.client_address;
  json["peer_address"] = member.peer_address;
  json["admin_address"] = member.admin_address;
  json["version"] = member.version;
  json["kind"] = member.kind;
  json["problem"] = member.problem;
  return json;
}

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  }
  return text;
}

void PrintPicture(const Context& context, const Picture& picture) {
  if (context.json()) {
    Json json = {{"cluster_name", picture.cluster.cluster_name},
                 {"cluster_id", Hex(picture.cluster.cluster_id)},
                 {"leader", nullptr},
                 {"members", Json::array()}};
    if (picture.leader != 0) {
      json["leader"] = picture.leader;
    }
    for (const MemberStatus& member : picture.members) {
      json["members"].push_back(MemberJson(member));
    }
    PrintJson(context, json);
    return;
  }
  const auto text = [](const std::string& s) { return s.empty() ? "-" : s; };
  std::vector<std::vector<std::string>> rows;
  for (const MemberStatus& member : picture.members) {
    rows.push_back({std::to_string(member.id), member.reachable ? text(member.role) : "unreachable",
                    std::to_string(member.term), std::to_string(member.commit_index),
                    std::to_string(member.applied_index), text(member.client_address),
                    text(member.admin_address)});
  }
  fmt::print("cluster {} ({})\n", text(picture.cluster.cluster_name),
             text(Hex(picture.cluster.cluster_id)));
  PrintTable({{"ID", true},
              {"ROLE"},
              {"TERM", true},
              {"COMMIT", true},
              {"APPLIED", true},
              {"CLIENTS"},
              {"ADMIN"}},
             rows);
  for (const MemberStatus& member : picture.members) {
    if (!member.problem.empty()) {
      fmt::print("member {}: {}\n", member.id, member.problem);
    }
  }
}

int RunStatus(const Context& context) {
  Inquiry inquiry(context);
  inquiry.Ask(SplitEndpoints(context.endpoints));
  // The endpoints given may be some of the members only.
  std::vector<std::string> published;
  for (const auto& [id, status] : inquiry.answers()) {
    for (const MemberStatus& member : status.members) {
      if (!inquiry.answers().contains(member.id) && !member.client_address.empty()) {
        published.push_back(member.client_address);
      }
    }
  }
  inquiry.Ask(published);
  if (inquiry.answers().empty()) {
    return inquiry.error() ? Fail("status", *inquiry.error()) : FailUsage("status: no endpoints");
  }
  const Picture picture = Assemble(inquiry.answers());
  PrintPicture(context, picture);
  if (picture.leader == 0) {
    fmt::print(stderr, "conclave: status: no member that can be reached is the leader\n");
    return kExitUnreachable;
  }
  return kExitOk;
}

// --- session ------------------------------------------------------------------------------------

Result<SavedSession> Load(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  if (!in || !std::getline(in, line)) {
    Error error;
    error.code = Code::kInvalidArgument;
    error.message = file + " cannot be read";
    return error;
  }
  return SavedSession::Parse(line);
}

// Readable by its owner alone: who has the secret has the session. Never replaces a file.
Status Store(const std::string& file, const SavedSession& session) {
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const std::string line = session.Serialize() + "\n";
  const bool written =
      descriptor >= 0 &&
      write(descriptor, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
      fsync(descriptor) == 0;
  const int error_number = errno;
  if (descriptor >= 0) {
    close(descriptor);
  }
  if (written) {
    return {};
  }
  Error error;
  error.code = Code::kInvalidArgument;
  error.message = fmt::format("{}: {}", file, std::strerror(error_number));
  return error;
}

void PrintSession(const Context& context, const Client& client) {
  const std::int64_t valid_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(client.valid_until() - BootClock::now())
          .count();
  if (context.json()) {
    PrintJson(context, {{"session", client.session_id()},
                        {"timeout_ms", client.session_timeout().count()},
                        {"valid_for_ms", std::max<std::int64_t>(0, valid_ms)}});
  } else {
    fmt::print("session {}, timeout {} s\n", client.session_id(),
               static_cast<double>(client.session_timeout().count()) / 1e3);
  }
}

int RunSessionSave(const Context& context, const std::string& file) {
  auto client = context.Connect();
  if (!client) {
    return Fail("session save", client.error());
  }
  const auto saved = (*client)->Save();
  if (!saved) {
    return Fail("session save", saved.error());
  }
  if (const Status stored = Store(file, *saved); !stored) {
    return Fail("session save", stored.error());
  }
  PrintSession(context, **client);
  (*client)->Detach();
  return kExitOk;
}

// Takes a saved session up; heartbeats begin again.
Result<std::unique_ptr<Client>> Resume(const Context& context, const std::string& file) {
  auto saved = Load(file);
  if (!saved) {
    return saved.error();
  }
  Options options = context.ClientOptions();
  options.resume = *saved;
  return Client::Connect(std::move(options));
}

int RunSessionShow(const Context& context, const std::string& file) {
  auto client = Resume(context, file);
  if (!client) {
    return Fail("session show", client.error());
  }
  PrintSession(context, **client);
  (*client)->Detach();
  return kExitOk;
}

int RunSessionClose(const Context& context, const std::string& file) {
  auto client = Resume(context, file);
  if (!client && client.code() != Code::kSessionExpired) {
    return Fail("session close", client.error());
  }
  if (!client) {
    unlink(file.c_str());
    return Fail("session close", client.error());
  }
  if (const Status closed = (*client)->Close(); !closed) {
    return Fail("session close", closed.error());
  }
  unlink(file.c_str());
  return kExitOk;
}

}  // namespace

void AddClusterCommands(CLI::App& app, Context& context) {
  app.add_subcommand("status", "what every member says of itself")->callback([&context] {
    context.run = [&context] { return RunStatus(context); };
  });
  CLI::App* session = app.add_subcommand("session", "sessions that outlive a process");
  session->require_subcommand(1);
  session->fallthrough();
  const auto add = [&](const std::string& name, const std::string& help,
                       int (*run)(const Context&, const std::string&)) {
    CLI::App* command = session->add_subcommand(name, help);
    auto file = std::make_shared<std::string>();
    command->add_option("FILE", *file, "where the session is kept, as secret as a password")
        ->required();
    command->callback([&context, file, run] {
      context.run = [&context, file, run] { return run(context, *file); };
    });
  };
  add("save", "open a session, write it to a file and leave it open", RunSessionSave);
  add("show", "take a saved session up, which renews it, and print it", RunSessionShow);
  add("close", "end a saved session, its ephemeral znodes and locks; removes the file",
      RunSessionClose);
}

}  // namespace conclave::command
