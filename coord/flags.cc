#include "coord/flags.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gflags/gflags.h>
#include <glog/logging.h>
#include <netdb.h>
#include <unistd.h>

#include "coord/doors/version.h"

// One line each: --help prints them as they stand. Bounds are checked by server::Options::Validate,
// whose messages name the flag.
DEFINE_uint64(id, 0, "number of this member, from 1; one of --members");
DEFINE_string(cluster_name, "conclave", "name of the cluster; all members must agree");
DEFINE_string(data_dir, "", "directory of this member's log; made if it does not exist");
DEFINE_string(members, "",
              "all members as ID=HOST:PEERPORT, separated by commas; counts at the first start of "
              "the cluster, then its log does");
DEFINE_bool(join, false,
            "this member is to be added to a cluster that runs (conclave member add); it starts "
            "none, and --members names it and some of the others");
DEFINE_string(client_address, "127.0.0.1:9001", "HOST:PORT to serve clients on");
DEFINE_string(admin_address, "127.0.0.1:9201",
              "HOST:PORT for /livez, /readyz, /status and /metrics; empty: none");
DEFINE_bool(
    insecure, false,
    "allow addresses other than loopback although nothing is encrypted or authenticated yet");
DEFINE_bool(dev, false,
            "run one member on loopback with a directory that is thrown away at the end");

DEFINE_bool(recover_lost_majority, false,
            "the other members are lost for good: make a new cluster of this member's directory "
            "alone, and end; says first what that means and asks for --confirm_recovery");
DEFINE_string(confirm_recovery, "",
              "with --recover_lost_majority: the cluster's name, to go on with it");

DEFINE_int64(tick_ms, 10, "unit of the timeouts of Raft, in milliseconds");
DEFINE_uint32(heartbeat_ticks, 5, "ticks between heartbeats of the leader");
DEFINE_uint32(election_ticks_min, 30, "least ticks without a leader before an election");
DEFINE_uint32(election_ticks_max, 60, "most ticks without a leader before an election");
DEFINE_int64(session_timeout_min_ms, 1'000, "shortest session timeout granted");
DEFINE_int64(session_timeout_max_ms, 600'000, "longest session timeout granted");
DEFINE_int64(
    touch_interval_ms, 100,
    "how often heartbeats of sessions travel to the leader; at most a fifth of the shortest "
    "session timeout");
DEFINE_int64(session_bucket_ms, 100,
             "how often expired sessions are looked for; at most half of the shortest timeout");
DEFINE_uint64(request_bytes_max, std::uint64_t{4} << 20, "largest write a client may make");
DEFINE_uint64(read_bytes_max, std::uint64_t{1} << 20, "largest page of a listing of children");
DEFINE_uint64(log_bytes_max, std::uint64_t{8} << 30,
              "size of the log at which writes are refused, should checkpoints not keep up");
DEFINE_uint64(log_reserve_bytes, std::uint64_t{64} << 20,
              "room past --log_bytes_max for deletes and ends of sessions");
DEFINE_uint64(checkpoint_dirty_bytes, std::uint64_t{8} << 20,
              "a checkpoint is taken when so much of the state has changed");
DEFINE_uint64(checkpoint_dirty_rows, 65'536,
              "a checkpoint is taken when so many znodes, sessions and replies have changed");
DEFINE_uint64(checkpoint_log_bytes, std::uint64_t{64} << 20,
              "a checkpoint is taken when so much of the log would have to be replayed");
DEFINE_uint64(checkpoint_log_entries, 200'000,
              "a checkpoint is taken when so many entries would have to be replayed");
DEFINE_int64(
    checkpoint_interval_ms, 0,
    "a checkpoint is taken so often, if anything has changed; 0: only by the bounds above");
DEFINE_uint64(log_tail_entries, 50'000,
              "entries kept behind a checkpoint for followers that are a little behind");
DEFINE_uint64(log_tail_bytes, std::uint64_t{64} << 20,
              "bytes of them at most; never more than a quarter of --log_bytes_max");
DEFINE_uint64(log_pin_bytes, std::uint64_t{512} << 20,
              "bytes of the log that the transfer of a snapshot may keep");
DEFINE_uint64(snapshot_chunk_bytes, std::uint64_t{256} << 10,
              "size of a message with a part of a snapshot");
DEFINE_uint64(snapshot_bytes_per_second, std::uint64_t{64} << 20,
              "how fast snapshots are sent, all transfers of this member together");
DEFINE_uint64(snapshot_transfers_max, 2, "members that are sent a snapshot at once");
DEFINE_int64(scrub_pass_ms, 600'000,
             "the state in memory is checked against its digest once in this time; 0: never");
DEFINE_uint64(free_space_min_bytes, std::uint64_t{1} << 30,
              "free space on the disk below which creates and sets are refused");
DEFINE_uint64(free_space_reserve_bytes, std::uint64_t{64} << 20,
              "free space on the disk below which all writes are refused");
DEFINE_uint64(pending_bytes_max, std::uint64_t{64} << 20,
              "bytes of unanswered writes at which new ones are refused as overloaded");
DEFINE_uint64(pending_requests_max, 65'536,
              "unanswered writes at which new ones are refused as overloaded; for reads likewise");
DEFINE_int64(write_timeout_ms, 10'000, "deadline of a write that names none");
DEFINE_int64(read_timeout_ms, 10'000, "deadline of a read that names none");
DEFINE_int64(stop_drain_ms, 2'000, "how long an orderly end waits for requests under way");
DEFINE_int64(poll_wait_ms_max, 60'000, "longest wait of a poll for events");
DEFINE_uint64(watch_window_changes, 200'000, "past changes kept at most, whatever their size");
DEFINE_uint64(session_events_max, 1'024,
              "events queued for one session; more are read from the past changes later");
DEFINE_uint64(watch_window_bytes, std::uint64_t{24} << 20,
              "memory for past changes, from which returning clients are told what they missed");
DEFINE_string(
    io_threads, "auto",
    "loops for client sockets besides the core's: a number, or auto: one for a cluster of "
    "one member on a machine of two or more cores, else none");
DEFINE_uint32(connections_max, 20'000, "client connections at most");
DEFINE_uint32(connections_per_address_max, 0, "client connections from one address; 0: no limit");

namespace GFLAGS_NAMESPACE {
extern void (*gflags_exitfunc)(int);  // exported by the library, declared in no header of it
}

namespace conclave {
namespace {

constexpr int kExitUsage = 2;

using Problem = std::string;  // a sentence that names the flag

constexpr char kUsage[] =
    "conclaved: one member of a Conclave cluster\n"
    "\n"
    "  conclaved --dev\n"
    "  conclaved --id=1 --data_dir=DIR --members=1=HOST:PORT,2=HOST:PORT,3=HOST:PORT \\\n"
    "            --client_address=HOST:PORT [--admin_address=HOST:PORT] [--cluster_name=NAME]\n"
    "\n"
    "Flags may also stand one a line in a file (--flagfile=FILE) or in the environment\n"
    "(--fromenv=id reads FLAGS_id). A yes-or-no flag is set by --name and unset by --noname.\n"
    "Logs go to standard error; --v=1 says more, --minloglevel=1 only warnings and errors.\n"
    "Ends in order on SIGTERM and SIGINT. Exit codes: 0 ended in order, 1 could not start,\n"
    "2 wrong command line, 3 ended by a failure (a failed write of the log, a damaged entry).\n"
    "\n";

void PrintHelp() {
  std::vector<gflags::CommandLineFlagInfo> flags;
  gflags::GetAllFlags(&flags);
  std::fputs(kUsage, stdout);
  for (const auto& flag : flags) {
    if (flag.filename.find("coord/flags.cc") == std::string::npos) {
      continue;  // of a library
    }
    fmt::print("  --{} ({}{})\n      {}\n", flag.name, flag.type,
               flag.default_value.empty() ? "" : ", default " + flag.default_value,
               flag.description);
  }
}

// A name is looked up once, at the start: a member cannot serve on an address that it does not
// have.
tl::expected<wire::SocketAddress, Problem> Resolve(const char* flag, const std::string& text) {
  const auto parsed = wire::ParseHostPort(text);
  if (!parsed) {
    return tl::unexpected(fmt::format("--{}: {}", flag, parsed.error()));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(parsed->port);
  if (const int error = getaddrinfo(parsed->host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    return tl::unexpected(
        fmt::format("--{}={}: {}: {}", flag, text, parsed->host, gai_strerror(error)));
  }
  wire::SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  freeaddrinfo(found);
  if (!address.IsLoopback() && !FLAGS_insecure) {
    return tl::unexpected(fmt::format(
        "--{}={}: this is not a loopback address, and nothing is encrypted or authenticated yet; "
        "give --insecure if the network is trusted",
        flag, text));
  }
  return address;
}

tl::expected<std::vector<server::MemberAddress>, Problem> ParseMembers(const std::string& text) {
  std::vector<server::MemberAddress> members;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    std::uint64_t id = 0;
    const char* end = item.data() + std::min(equals, item.size());
    const auto [parsed_end, error] = std::from_chars(item.data(), end, id);
    if (equals == std::string_view::npos || error != std::errc() || parsed_end != end || id == 0) {
      return tl::unexpected(fmt::format(
          "--members: \"{}\" is not ID=HOST:PEERPORT with a number from 1 as ID", item));
    }
    const auto address = wire::ParseHostPort(item.substr(equals + 1));
    if (!address) {
      return tl::unexpected(fmt::format("--members: member {}: {}", id, address.error()));
    }
    members.push_back({id, address->ToString()});
  }
  return members;
}

// One loop besides the core's pays for a single member; three members that share two cores lose by
// it. More of them wait for a measurement on a machine with more cores.
tl::expected<int, Problem> PickIoThreads(std::size_t members) {
  if (FLAGS_io_threads == "auto") {
    return members == 1 && std::thread::hardware_concurrency() >= 2 ? 1 : 0;
  }
  constexpr int kIoThreadsMax = 64;
  int threads = -1;
  const char* const end = FLAGS_io_threads.data() + FLAGS_io_threads.size();
  const auto [parsed_end, error] = std::from_chars(FLAGS_io_threads.data(), end, threads);
  if (error != std::errc() || parsed_end != end || threads < 0 || threads > kIoThreadsMax) {
    return tl::unexpected(fmt::format("--io_threads={}: auto, or a number from 0 to {}",
                                      FLAGS_io_threads, kIoThreadsMax));
  }
  return threads;
}

void FillServerOptions(server::Options& options) {
  options.id = FLAGS_id;
  options.cluster_name = FLAGS_cluster_name;
  options.join = FLAGS_join;
  options.data_dir = FLAGS_data_dir;
  options.client_address = FLAGS_client_address;
  options.admin_address = FLAGS_admin_address;
  options.tick_ms = FLAGS_tick_ms;
  options.heartbeat_ticks = FLAGS_heartbeat_ticks;
  options.election_ticks_min = FLAGS_election_ticks_min;
  options.election_ticks_max = FLAGS_election_ticks_max;
  options.session_timeout_min_ms = FLAGS_session_timeout_min_ms;
  options.session_timeout_max_ms = FLAGS_session_timeout_max_ms;
  options.touch_interval_ms = FLAGS_touch_interval_ms;
  options.session_bucket_ms = FLAGS_session_bucket_ms;
  options.request_bytes_max = FLAGS_request_bytes_max;
  options.read_bytes_max = FLAGS_read_bytes_max;
  options.log_bytes_max = FLAGS_log_bytes_max;
  options.log_reserve_bytes = FLAGS_log_reserve_bytes;
  options.checkpoint_dirty_bytes = FLAGS_checkpoint_dirty_bytes;
  options.checkpoint_dirty_rows = FLAGS_checkpoint_dirty_rows;
  options.checkpoint_log_bytes = FLAGS_checkpoint_log_bytes;
  options.checkpoint_log_entries = FLAGS_checkpoint_log_entries;
  options.checkpoint_interval_ms = FLAGS_checkpoint_interval_ms;
  options.log_tail_entries = FLAGS_log_tail_entries;
  options.log_tail_bytes = FLAGS_log_tail_bytes;
  options.log_pin_bytes = FLAGS_log_pin_bytes;
  options.snapshot_chunk_bytes = FLAGS_snapshot_chunk_bytes;
  options.snapshot_bytes_per_second = FLAGS_snapshot_bytes_per_second;
  options.snapshot_transfers_max = FLAGS_snapshot_transfers_max;
  options.scrub_pass_ms = FLAGS_scrub_pass_ms;
  options.free_space_min_bytes = FLAGS_free_space_min_bytes;
  options.free_space_reserve_bytes = FLAGS_free_space_reserve_bytes;
  options.pending_bytes_max = FLAGS_pending_bytes_max;
  options.pending_requests_max = FLAGS_pending_requests_max;
  options.write_timeout_ms = FLAGS_write_timeout_ms;
  options.read_timeout_ms = FLAGS_read_timeout_ms;
  options.stop_drain_ms = FLAGS_stop_drain_ms;
  options.poll_wait_ms_max = FLAGS_poll_wait_ms_max;
  options.watch_window_changes = FLAGS_watch_window_changes;
  options.session_events_max = FLAGS_session_events_max;
  options.watch_window_bytes = FLAGS_watch_window_bytes;
}

// What a throw-away member keeps free: it should run on a small disk, too.
void FillDevRoom(server::Options& options) {
  constexpr std::uint64_t kDevFreeMin = std::uint64_t{32} << 20;
  constexpr std::uint64_t kDevReserve = std::uint64_t{8} << 20;
  if (gflags::GetCommandLineFlagInfoOrDie("free_space_min_bytes").is_default &&
      gflags::GetCommandLineFlagInfoOrDie("free_space_reserve_bytes").is_default) {
    options.free_space_min_bytes = kDevFreeMin;
    options.free_space_reserve_bytes = kDevReserve;
  }
}

// --dev: what has not been said is filled in for one member on its own.
tl::expected<void, Problem> FillDev(server::Options& options) {
  if (!FLAGS_members.empty() || !FLAGS_data_dir.empty() || FLAGS_id > 1 || FLAGS_join) {
    return tl::unexpected<Problem>(
        "--dev is one member with a directory of its own: leave out --id, --members, --join and "
        "--data_dir");
  }
  options.id = 1;
  options.members = {{1, "127.0.0.1:0"}};
  FillDevRoom(options);
  const char* tmp = std::getenv("TMPDIR");
  std::string name = fmt::format("{}/conclaved-dev-XXXXXX", tmp != nullptr ? tmp : "/tmp");
  if (mkdtemp(name.data()) == nullptr) {
    return tl::unexpected(
        fmt::format("--dev: cannot make a directory like {}: {}", name, std::strerror(errno)));
  }
  options.data_dir = name;
  return {};
}

tl::expected<void, Problem> FillMembers(ProcessOptions& options) {
  if (FLAGS_data_dir.empty()) {
    return tl::unexpected<Problem>(
        "--data_dir is missing: name a directory for this member's log, or try --dev");
  }
  if (FLAGS_members.empty()) {
    return tl::unexpected<Problem>(
        "--members is missing: name all members as ID=HOST:PEERPORT, this one among them");
  }
  auto members = ParseMembers(FLAGS_members);
  if (!members) {
    return tl::unexpected(members.error());
  }
  options.server.members = std::move(*members);
  for (const server::MemberAddress& member : options.server.members) {
    if (member.id != FLAGS_id) {
      continue;
    }
    const auto own = Resolve("members", member.peer_address);
    if (!own) {
      return tl::unexpected(own.error());
    }
    options.peer = *own;
    options.peer_text = member.peer_address;
  }
  return {};
}

tl::expected<ProcessOptions, Problem> OptionsFromFlags() {
  ProcessOptions options;
  FillServerOptions(options.server);
  options.dev = FLAGS_dev;
  options.recover = FLAGS_recover_lost_majority;
  options.confirm_recovery = FLAGS_confirm_recovery;
  if (!options.confirm_recovery.empty() &&
      (!options.recover || options.confirm_recovery != FLAGS_cluster_name)) {
    return tl::unexpected(fmt::format(
        "--confirm_recovery={}: goes with --recover_lost_majority and repeats --cluster_name={}",
        FLAGS_confirm_recovery, FLAGS_cluster_name));
  }
  if (options.recover && (FLAGS_dev || FLAGS_join)) {
    return tl::unexpected<Problem>("--recover_lost_majority goes with neither --dev nor --join");
  }
  const auto members = FLAGS_dev ? FillDev(options.server) : FillMembers(options);
  if (!members) {
    return tl::unexpected(members.error());
  }
  if (const auto valid = options.server.Validate(); !valid) {
    return tl::unexpected(valid.error());
  }
  const auto client = Resolve("client_address", FLAGS_client_address);
  if (!client) {
    return tl::unexpected(client.error());
  }
  options.client = *client;
  if (!FLAGS_admin_address.empty()) {
    if (const auto admin = Resolve("admin_address", FLAGS_admin_address); !admin) {
      return tl::unexpected(admin.error());
    }
    options.admin = FLAGS_admin_address;
  }
  const auto io_threads = PickIoThreads(options.server.members.size());
  if (!io_threads) {
    return tl::unexpected(io_threads.error());
  }
  options.io_threads = *io_threads;
  options.client_server_limits.connections_max = FLAGS_connections_max;
  options.client_server_limits.connections_per_address_max = FLAGS_connections_per_address_max;
  return options;
}

// gflags' own --help lists a hundred flags of libraries and exits with 1.
bool Asks(int argc, char** argv, std::initializer_list<std::string_view> names) {
  return std::any_of(argv + 1, argv + argc, [&](const char* argument) {
    return std::find(names.begin(), names.end(), argument) != names.end();
  });
}

}  // namespace

CommandLine ReadCommandLine(int argc, char** argv) {
  CommandLine line;
  if (Asks(argc, argv, {"--help", "-help", "-h"})) {
    PrintHelp();
    line.action = CommandLine::Action::kExit;
    return line;
  }
  if (Asks(argc, argv, {"--version", "-version"})) {
    fmt::print("conclaved {}\n", doors::kVersion);
    line.action = CommandLine::Action::kExit;
    return line;
  }
  FLAGS_logtostderr = true;
  // gflags ends the process by itself on an unknown flag or a value that is none, with status 1,
  // which scripts would take for "could not start".
  GFLAGS_NAMESPACE::gflags_exitfunc = [](int) { std::exit(kExitUsage); };
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  tl::expected<ProcessOptions, Problem> options =
      argc > 1 ? tl::unexpected(fmt::format("\"{}\" is not a flag: write --name=value, and "
                                            "--name or --noname for yes or no",
                                            argv[1]))
               : OptionsFromFlags();
  if (!options) {
    fmt::print(stderr, "conclaved: {}\nTry conclaved --help.\n", options.error());
    line.action = CommandLine::Action::kExit;
    line.exit_code = kExitUsage;
    return line;
  }
  line.options = std::move(*options);
  return line;
}

}  // namespace conclave
