// What checkpoints cost a serving member, and what a restart takes: one production server on a real
// disk, with its threads, without sockets.
//
//   server_bench [ZNODES] [SECONDS] [DIR]   default: 1000000, 30, a directory below TMPDIR
//
// Fills the tree (100 bytes of data, directories of 1,000), takes a full checkpoint, changes 1,000
// znodes and takes another, measures writes without and with one checkpoint a second, stops, and
// starts again.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <leveldb/env.h>
#include <stdlib.h>

#include "coord/doors/peer_links.h"
#include "coord/doors/system.h"
#include "coord/server/server.h"
#include "persist/disk.h"
#include "thrift/wire/event_loop.h"
#include "thrift/wire/resolver.h"

namespace {

using namespace conclave;  // NOLINT(google-build-using-namespace): a program of one file
using server::Answer;
using server::ReplyHead;
using server::WriteReply;

constexpr std::size_t kPerDirectory = 1'000;
constexpr std::size_t kPerMulti = 100;
constexpr int kOutstanding = 16;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

double SecondsSince(std::int64_t begun_ns, const wire::EventLoop& loop) {
  return static_cast<double>(loop.NowNs() - begun_ns) / 1e9;
}

std::string PathOf(std::size_t znode) {
  return "/d" + std::to_string(znode / kPerDirectory) + "/n" +
         std::to_string(znode % kPerDirectory);
}

// One member as conclaved builds it, without clients.
class Member {
 public:
  explicit Member(std::string directory) : directory_(std::move(directory)) {
    resolver_ = std::make_unique<wire::SystemResolver>(core_.loop());
    links_ = std::make_unique<doors::PeerLinks>(&core_.loop(), resolver_.get(),
                                                doors::PeerLinksOptions{});
    server::Options options;
    options.id = 1;
    options.data_dir = directory_;
    options.members = {{1, "127.0.0.1:0"}};
    options.free_space_min_bytes = 0;
    options.free_space_reserve_bytes = 0;
    options.log_tail_entries = 1'000;
    server::Seams seams;
    seams.core = &core_executor_;
    seams.log = &log_executor_;
    seams.background = &background_executor_;
    seams.transport = links_.get();
    seams.env = leveldb::Env::Default();
    seams.disk = persist::PosixDisk();
    seams.wall_clock = &wall_clock_;
    seams.random = &random_;
    seams.fatal = [](std::string_view reason) {
      std::fprintf(stderr, "fatal: %.*s\n", static_cast<int>(reason.size()), reason.data());
      std::_Exit(3);
    };
    seams.free_space = [] { return UINT64_MAX; };
    core_.Await([&] {
      const std::int64_t begun_ns = core_.loop().NowNs();
      server_ = std::make_unique<server::Server>(options, seams);
      const auto started = server_->Start();
      if (!started) {
        std::fprintf(stderr, "%s\n", started.error().c_str());
        std::exit(1);
      }
      start_seconds_ = SecondsSince(begun_ns, core_.loop());
    });
    const std::int64_t begun_ns = core_.loop().NowNs();
    while (!status().ready) {
      std::promise<void> later;
      core_.loop().PostAfter(1'000'000, [&later] { later.set_value(); });
      later.get_future().wait();
    }
    ready_seconds_ = SecondsSince(begun_ns, core_.loop());
  }

  ~Member() {
    std::promise<void> stopped;
    core_.loop().Post([&] { server_->Stop([&] { stopped.set_value(); }); });
    stopped.get_future().wait();
    core_.Await([this] {
      server_.reset();
      links_.reset();
      resolver_.reset();
    });
  }

  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  server::Status status() {
    server::Status status;
    core_.Await([&] { status = server_->status(); });
    return status;
  }

  server::Server& server() { return *server_; }

  wire::LoopThread& core() { return core_; }

  double start_seconds() const { return start_seconds_; }

  double ready_seconds() const { return ready_seconds_; }

  void Checkpoint() {
    std::promise<void> taken;
    core_.loop().Post([&] { server_->Checkpoint([&] { taken.set_value(); }); });
    taken.get_future().wait();
  }

 private:
  const std::string directory_;
  wire::LoopThread core_{"core"};
  wire::LoopThread log_{"log"};
  wire::LoopThread background_{"background"};
  doors::LoopExecutor core_executor_{&core_.loop()};
  doors::LoopExecutor log_executor_{&log_.loop()};
  doors::LoopExecutor background_executor_{&background_.loop()};
  doors::SystemWallClock wall_clock_;
  doors::SystemRandom random_;
  std::unique_ptr<wire::SystemResolver> resolver_;
  std::unique_ptr<doors::PeerLinks> links_;
  std::unique_ptr<server::Server> server_;
  double start_seconds_ = 0;
  double ready_seconds_ = 0;
};

// A session that keeps a number of writes under way until it is told that there are no more.
class Load {
 public:
  using Next = std::function<bool(tree::Command* command)>;

  Load(Member* member, Next next) : member_(member), next_(std::move(next)) {}

  // Returns the durations of all writes in nanoseconds, in no order.
  std::vector<std::int64_t> Run() {
    std::promise<void> over;
    over_ = &over;
    member_->core().loop().Post([this] {
      server::OpenSessionRequest open;
      open.timeout_ms = 600'000;
      open.nonce[0] = static_cast<std::uint8_t>(member_->core().loop().NowNs());
      open.nonce[1] = 1;
      member_->server().OpenSession(
          open, [this](const ReplyHead&, Answer<server::OpenSessionReply> reply) {
            caller_.session = reply->session;
            caller_.secret = reply->secret;
            for (int i = 0; i < kOutstanding; ++i) {
              Write();
            }
          });
    });
    over.get_future().wait();
    return std::move(durations_);
  }

 private:
  void Write() {
    tree::Command command;
    if (!next_(&command)) {
      if (running_ == 0 && over_ != nullptr) {
        std::exchange(over_, nullptr)->set_value();
      }
      return;
    }
    ++running_;
    ++caller_.seq;
    caller_.acked_through = std::max<std::int64_t>(caller_.seq - kOutstanding - 1, 0);
    const std::int64_t begun_ns = member_->core().loop().NowNs();
    member_->server().Write(caller_, std::move(command),
                            [this, begun_ns](const ReplyHead&, const Answer<WriteReply>& reply) {
                              if (!reply) {
                                std::fprintf(stderr, "%s\n", reply.error().error.message.c_str());
                                std::_Exit(1);
                              }
                              durations_.push_back(member_->core().loop().NowNs() - begun_ns);
                              --running_;
                              Write();
                            });
  }

  Member* const member_;
  const Next next_;
  server::Caller caller_;
  int running_ = 0;
  std::promise<void>* over_ = nullptr;
  std::vector<std::int64_t> durations_;
};

void Fill(Member& member, std::size_t znodes) {
  std::size_t made = 0;
  const std::string data(100, 'x');
  Load load(&member, [&](tree::Command* command) {
    if (made >= znodes) {
      return false;
    }
    tree::Multi multi;
    if (made % kPerDirectory == 0) {
      multi.ops.push_back(tree::Create{
          .path = "/d" + std::to_string(made / kPerDirectory), .data = "", .mode = {}});
    }
    for (std::size_t i = 0; i < kPerMulti && made < znodes; ++i) {
      multi.ops.push_back(tree::Create{.path = PathOf(made++), .data = data, .mode = {}});
    }
    *command = std::move(multi);
    return true;
  });
  load.Run();
}

// Sets of random znodes, for so long or so many.
std::vector<std::int64_t> Change(Member& member, std::size_t znodes, std::size_t count,
                                 double seconds) {
  std::uint64_t state = 88172645463325252ULL;
  const std::int64_t begun_ns = member.core().loop().NowNs();
  Load load(&member, [&](tree::Command* command) {
    if (count == 0 || SecondsSince(begun_ns, member.core().loop()) > seconds) {
      return false;
    }
    --count;
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    *command = tree::SetData{.path = PathOf(state % znodes), .data = std::string(100, 'y')};
    return true;
  });
  return load.Run();
}

void Report(const char* what, std::vector<std::int64_t> durations, double seconds) {
  std::sort(durations.begin(), durations.end());
  const auto at = [&](double quantile) {
    const auto index = static_cast<std::size_t>(quantile * static_cast<double>(durations.size()));
    return static_cast<double>(durations[std::min(index, durations.size() - 1)]) / 1e6;
  };
  std::printf("%-28s %9.0f writes/s  p50 %.3f ms  p99 %.3f ms  p99.9 %.3f ms  max %.1f ms\n", what,
              static_cast<double>(durations.size()) / seconds, at(0.5), at(0.99), at(0.999),
              static_cast<double>(durations.back()) / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t znodes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  const double seconds = argc > 2 ? std::strtod(argv[2], nullptr) : 30;
  std::string directory =
      argc > 3 ? argv[3]
               : (std::filesystem::temp_directory_path() / "server-bench-XXXXXX").string();
  if (argc <= 3 && mkdtemp(directory.data()) == nullptr) {
    std::perror("mkdtemp");
    return 1;
  }
  constexpr std::size_t kEndless = SIZE_MAX;
  {
    Member member(directory);
    std::int64_t begun_ns = member.core().loop().NowNs();
    Fill(member, znodes);
    std::printf("filled with %zu znodes in %.1f s\n", znodes,
                SecondsSince(begun_ns, member.core().loop()));
    member.Checkpoint();
    const server::Status full = member.status();
    std::printf("after %llu checkpoints while filling, the last of %llu rows\n",
                static_cast<unsigned long long>(full.counters.checkpoints),
                static_cast<unsigned long long>(full.checkpoint.rows));
    Change(member, znodes, 1'000, 1e9);
    begun_ns = member.core().loop().NowNs();
    member.Checkpoint();
    const server::Status small = member.status();
    std::printf("checkpoint of 1,000 changes: %.1f ms, %llu rows, %llu bytes\n",
                1e3 * SecondsSince(begun_ns, member.core().loop()),
                static_cast<unsigned long long>(small.checkpoint.rows),
                static_cast<unsigned long long>(small.checkpoint.bytes));
    Change(member, znodes, kEndless, seconds / 10);
    Report("without checkpoints", Change(member, znodes, kEndless, seconds), seconds);
    bool over = false;
    std::function<void()> every_second = [&] {
      if (!over) {
        member.server().Checkpoint([] {});
        member.core().loop().PostAfter(kNsPerSecond, every_second);
      }
    };
    const std::uint64_t before = member.status().counters.checkpoints;
    member.core().loop().Post(every_second);
    Report("with one every second", Change(member, znodes, kEndless, seconds), seconds);
    std::printf("(%llu of them)\n",
                static_cast<unsigned long long>(member.status().counters.checkpoints - before));
    member.core().Await([&] { over = true; });
    member.Checkpoint();
    Change(member, znodes, 1'000, 1e9);
    std::promise<void> last;
    member.core().loop().PostAfter(2 * kNsPerSecond, [&last] { last.set_value(); });
    last.get_future().wait();  // the timer of every_second has fired
  }
  {
    Member member(directory);
    const server::Status status = member.status();
    std::printf(
        "restart with %llu znodes: %.2f s to open and load, %.2f s more until it serves; %llu "
        "entries replayed\n",
        static_cast<unsigned long long>(status.znodes), member.start_seconds(),
        member.ready_seconds(),
        static_cast<unsigned long long>(status.applied_index - status.checkpoint.index));
  }
  std::filesystem::remove_all(directory);
  return 0;
}
