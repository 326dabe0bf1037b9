#include "coord/process.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <event2/event.h>
#include <fmt/format.h>
#include <glog/logging.h>
#include <leveldb/env.h>
#include <sys/stat.h>

#include "coord/doors/admin_http.h"
#include "coord/doors/client_door.h"
#include "coord/doors/metrics.h"
#include "coord/doors/peer_links.h"
#include "coord/doors/system.h"
#include "coord/doors/version.h"
#include "coord/server/server.h"
#include "persist/disk.h"
#include "thrift/wire/counters.h"
#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_server.h"
#include "thrift/wire/resolver.h"

namespace conclave {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kPulseMs = 200;
constexpr std::int64_t kDrainMs = 500;
constexpr int kExitStart = 1;
constexpr int kExitFatal = 3;

// When a loop last turned, for /livez.
struct Pulse {
  std::atomic<std::int64_t> last_ns{0};

  [[nodiscard]] std::int64_t AgeMs(std::int64_t now_ns) const {
    return (now_ns - last_ns.load(std::memory_order_relaxed)) / kNsPerMs;
  }
};

// The port for clients: on the core's loop, or spread over loops of their own.
class ClientPort {
 public:
  ClientPort(wire::EventLoop* core, doors::ClientDoor* door, const ProcessOptions& options)
      : core_(core), budget_(options.client_server_limits) {
    for (int i = 0; i < options.io_threads; ++i) {
      threads_.push_back(std::make_unique<wire::LoopThread>(fmt::format("io-{}", i)));
    }
    const wire::FrameServer::Options server_options{"client", options.client_limits};
    const std::size_t loops = threads_.empty() ? 1 : threads_.size();
    servers_.resize(loops);
    for (std::size_t i = 0; i < loops; ++i) {
      OnLoop(i, [&, i] {
        servers_[i] = std::make_unique<wire::FrameServer>(
            LoopOf(i), budget_, counters_, server_options, door->FactoryFor(&LoopOf(i)));
      });
    }
  }

  ~ClientPort() {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      OnLoop(i, [&, i] { servers_[i].reset(); });
    }
  }

  ClientPort(const ClientPort&) = delete;
  ClientPort& operator=(const ClientPort&) = delete;

  tl::expected<wire::SocketAddress, std::string> Listen(const wire::SocketAddress& address) {
    tl::expected<wire::SocketAddress, std::string> bound;
    OnLoop(0, [&] {
      servers_[0]->SetPlacement(
          [this]() -> wire::FrameServer& { return *servers_[next_++ % servers_.size()]; });
      bound = servers_[0]->Listen(address);
    });
    return bound;
  }

  // Lets replies leave; `done` comes on the core loop.
  void Drain(const std::function<void()>& done) {
    auto left = std::make_shared<std::size_t>(servers_.size());
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      LoopOf(i).Post([this, i, left, done] {
        servers_[i]->Drain(kDrainMs, [this, left, done] {
          core_->Post([left, done] {
            if (--*left == 0) {
              done();
            }
          });
        });
      });
    }
  }

  [[nodiscard]] doors::WireCounts Counts() const {
    doors::WireCounts counts;
    counts.connections = counters_.connections_open;
    counts.connections_accepted = counters_.connections_accepted;
    for (std::size_t i = 0; i < wire::kRefusals; ++i) {
      const auto refusal = static_cast<wire::Refusal>(i);
      const bool at_door = refusal == wire::Refusal::kTooManyConnections ||
                           refusal == wire::Refusal::kTooManyFromAddress;
      (at_door ? counts.connections_refused : counts.connections_dropped) +=
          counters_.refused(refusal);
    }
    counts.frames_received = counters_.frames_received;
    counts.frames_sent = counters_.frames_sent;
    counts.send_calls = counters_.send_calls;
    counts.bytes_received = counters_.bytes_received;
    counts.bytes_sent = counters_.bytes_sent;
    return counts;
  }

  [[nodiscard]] std::uint64_t connections() const { return counters_.connections_open; }

 private:
  wire::EventLoop& LoopOf(std::size_t i) { return threads_.empty() ? *core_ : threads_[i]->loop(); }

  // Runs `task` on the loop and waits; on the core's loop it runs here, since that is not running
  // yet or is this thread's.
  void OnLoop(std::size_t i, const std::function<void()>& task) {
    if (threads_.empty()) {
      task();
    } else {
      threads_[i]->Await(task);
    }
  }

  wire::EventLoop* const core_;
  wire::ServerBudget budget_;
  wire::Counters counters_;
  std::vector<std::unique_ptr<wire::LoopThread>> threads_;
  std::vector<std::unique_ptr<wire::FrameServer>> servers_;
  std::size_t next_ = 0;  // on the loop that listens
};

// One member and everything around it. Parts are declared in the order in which they are built;
// each borrows only from those above it.
class Process {
 public:
  explicit Process(const ProcessOptions& options)
      : options_(options),
        log_thread_("log"),
        background_thread_("background"),
        core_executor_(&core_),
        log_executor_(&log_thread_.loop()),
        background_executor_(&background_thread_.loop()),
        resolver_(core_),
        links_(&core_, &resolver_, {options.peer}),
        door_(&server_, &core_, MakeDoorOptions()),
        clients_(&core_, &door_, options) {}

  ~Process() {
    admin_.reset();  // its thread asks the parts above
    for (event* signal : signals_) {
      event_free(signal);
    }
  }

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int Run() {
    if (const auto started = Start(); !started) {
      LOG(ERROR) << "cannot start: " << started.error();
      fmt::print(stderr, "conclaved: {}\n", started.error());
      return kExitStart;
    }
    Beat();
    core_.Run();
    LOG(INFO) << "process.stopped member=" << options_.server.id;
    return 0;
  }

 private:
  tl::expected<void, std::string> Start() {
    // Ports first: a mistake there should be found before the log is touched.
    if (options_.peer.size != 0) {
      if (auto listening = links_.Listen(); !listening) {
        return tl::unexpected(listening.error());
      }
    }
    const auto client = clients_.Listen(options_.client);
    if (!client) {
      return tl::unexpected(client.error());
    }
    std::string admin = "none";
    if (!options_.admin.empty()) {
      auto listening = doors::AdminHttp::Listen(options_.admin, &metrics_, MakeAdminSources());
      if (!listening) {
        return tl::unexpected(listening.error());
      }
      admin_ = std::move(*listening);
      admin = admin_->address();
    }
    server::Options server_options = options_.server;
    server_options.client_address = client->ToString();
    server_options.admin_address = admin_ != nullptr ? admin : "";
    server_ = std::make_unique<server::Server>(server_options, MakeSeams());
    if (auto started = server_->Start(); !started) {
      return tl::unexpected(started.error());
    }
    signals_ = {AddSignal(SIGTERM), AddSignal(SIGINT)};
    LOG(INFO) << "process.started version=" << doors::kVersion << " member=" << options_.server.id
              << " cluster=" << options_.server.cluster_name << " clients=" << client->ToString()
              << " admin=" << admin << " data_dir=" << options_.server.data_dir
              << " io_threads=" << options_.io_threads;
    return {};
  }

  event* AddSignal(int number) {
    event* added = evsignal_new(
        core_.base(), number,
        [](evutil_socket_t signal, short /*what*/, void* self) {
          static_cast<Process*>(self)->OnSignal(static_cast<int>(signal));
        },
        this);
    event_add(added, nullptr);
    return added;
  }

  void OnSignal(int number) {
    if (stopping_) {
      LOG(WARNING) << "signal " << number << " again: ending at once";
      google::FlushLogFiles(google::INFO);
      std::_Exit(kExitFatal);
    }
    stopping_ = true;
    LOG(INFO) << "process.stopping signal=" << number;
    server_->Stop([this] { clients_.Drain([this] { core_.Stop(); }); });
  }

  // Both loops show that they turn; /livez looks.
  void Beat() {
    core_pulse_.last_ns = core_.NowNs();
    log_thread_.loop().Post([this] { log_pulse_.last_ns = log_thread_.loop().NowNs(); });
    core_.PostAfter(kPulseMs * kNsPerMs, [this] { Beat(); });
  }

  server::Seams MakeSeams() {
    server::Seams seams;
    seams.core = &core_executor_;
    seams.log = &log_executor_;
    seams.background = &background_executor_;
    seams.transport = &links_;
    seams.env = leveldb::Env::Default();
    seams.disk = persist::PosixDisk();
    seams.wall_clock = &wall_clock_;
    seams.random = &random_;
    seams.metrics = &metrics_;
    seams.fatal = [](std::string_view reason) {
      LOG(ERROR) << "fatal: " << reason;
      google::FlushLogFiles(google::INFO);
      std::_Exit(kExitFatal);
    };
    seams.free_space = [directory = options_.server.data_dir] {
      return doors::FreeSpace(directory);
    };
    return seams;
  }

  doors::ClientDoorOptions MakeDoorOptions() {
    doors::ClientDoorOptions options;
    options.started_ns = core_.NowNs();
    options.connections = [this] { return clients_.connections(); };
    return options;
  }

  doors::AdminSources MakeAdminSources() {
    core_pulse_.last_ns = core_.NowNs();
    log_pulse_.last_ns = core_.NowNs();
    doors::AdminSources sources;
    sources.snapshot = [this](std::function<void(doors::AdminSnapshot)> done) {
      core_.Post([this, done = std::move(done)] { done({server_->status(), clients_.Counts()}); });
    };
    sources.core_age_ms = [this] { return core_pulse_.AgeMs(core_.NowNs()); };
    sources.log_age_ms = [this] { return log_pulse_.AgeMs(core_.NowNs()); };
    return sources;
  }

  const ProcessOptions options_;
  wire::EventLoop core_;
  wire::LoopThread log_thread_;
  wire::LoopThread background_thread_;
  doors::LoopExecutor core_executor_;
  doors::LoopExecutor log_executor_;
  doors::LoopExecutor background_executor_;
  doors::SystemWallClock wall_clock_;
  doors::SystemRandom random_;
  doors::Metrics metrics_;
  Pulse core_pulse_;
  Pulse log_pulse_;
  wire::SystemResolver resolver_;
  doors::PeerLinks links_;
  std::unique_ptr<server::Server> server_;
  doors::ClientDoor door_;
  ClientPort clients_;
  std::unique_ptr<doors::AdminHttp> admin_;
  std::vector<event*> signals_;
  bool stopping_ = false;
};

}  // namespace

int RunProcess(const ProcessOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  umask(S_IRWXG | S_IRWXO);  // the log holds secrets of sessions
  int code = 0;
  {
    Process process(options);
    code = process.Run();
  }
  if (options.dev) {
    std::error_code ignored;
    std::filesystem::remove_all(options.server.data_dir, ignored);
  }
  return code;
}

}  // namespace conclave
