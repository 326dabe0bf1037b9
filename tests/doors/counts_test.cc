// The shape that speed rests on, as counts and not as times: at 256 outstanding writes a sync and a
// send call serve many of them, a connection costs no thread, and a write costs a bounded number of
// allocations.

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <conclave_idl/Coord.h>
#include <gtest/gtest.h>
#include <leveldb/env.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coord/doors/client_door.h"
#include "coord/doors/peer_links.h"
#include "coord/doors/system.h"
#include "coord/server/server.h"
#include "persist/disk.h"
#include "thrift/wire/channel.h"
#include "thrift/wire/frame_server.h"
#include "thrift/wire/tcp_stream.h"

namespace {

// Allocations made by the threads that have set `counted`: the member's own.
std::atomic<std::uint64_t> allocations{0};
thread_local bool counted = false;

void* Allocate(std::size_t size) {
  if (counted) {
    allocations.fetch_add(1, std::memory_order_relaxed);
  }
  void* block = std::malloc(size);
  if (block == nullptr) {
    std::abort();
  }
  return block;
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }

void* operator new[](std::size_t size) { return Allocate(size); }

void operator delete(void* block) noexcept { std::free(block); }

void operator delete[](void* block) noexcept { std::free(block); }

void operator delete(void* block, std::size_t /*size*/) noexcept { std::free(block); }

void operator delete[](void* block, std::size_t /*size*/) noexcept { std::free(block); }

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;

constexpr int kConnections = 8;
constexpr int kOutstanding = 256;
constexpr int kWarmUp = 2'000;
constexpr int kWrites = 20'000;

// What a set may cost the member's threads: decoding, the entry, waiters and lanes, Raft, the batch
// of the log, the znode's new value, the reply. A change that needs more says why in its commit.
constexpr double kAllocationsPerSetMax = 75;

// What telling one session of an event may cost, once it is matched: the answer to its poll.
constexpr double kAllocationsPerEventMax = 20;

std::string TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "conclave-counts-XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  return name;
}

std::size_t Threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

// One member as conclaved builds it, clients on the core's loop, on a real disk.
class Member {
 public:
  Member() : directory_(TemporaryDirectory()) {
    core_.Await([this] {
      counted = true;
      Build();
    });
    log_.Await([] { counted = true; });
  }

  ~Member() {
    std::promise<void> stopped;
    core_.loop().Post([&] { server_->Stop([&] { stopped.set_value(); }); });
    stopped.get_future().wait();
    core_.Await([this] {
      frames_.reset();
      server_.reset();
      links_.reset();
      resolver_.reset();
    });
    std::filesystem::remove_all(directory_);
  }

  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  [[nodiscard]] wire::SocketAddress address() const { return address_; }

  [[nodiscard]] const wire::Counters& counters() const { return counters_; }

  server::Status Status() {
    server::Status status;
    core_.Await([&] { status = server_->status(); });
    return status;
  }

 private:
  void Build() {
    resolver_ = std::make_unique<wire::SystemResolver>(core_.loop());
    links_ = std::make_unique<PeerLinks>(&core_.loop(), resolver_.get(), PeerLinksOptions{});
    server::Options options;
    options.id = 1;
    options.data_dir = directory_;
    options.members = {{1, "127.0.0.1:0"}};
    // A machine so busy that a sync takes a second must not make this leader stand down.
    options.election_ticks_min = 1'000;
    options.election_ticks_max = 2'000;
    server::Seams seams;
    seams.core = &core_executor_;
    seams.log = &log_executor_;
    seams.background = &log_executor_;
    seams.transport = links_.get();
    seams.env = leveldb::Env::Default();
    seams.disk = persist::PosixDisk();
    seams.wall_clock = &wall_clock_;
    seams.random = &random_;
    seams.fatal = [](std::string_view reason) { FAIL() << reason; };
    seams.free_space = [] { return UINT64_MAX; };
    server_ = std::make_unique<server::Server>(options, seams);
    const auto started = server_->Start();
    ASSERT_TRUE(started) << started.error();
    ClientDoorOptions door_options;
    door_options.connections = [this] { return counters_.connections_open.load(); };
    const ClientDoor door(&server_, &core_.loop(), door_options);
    frames_ = std::make_unique<wire::FrameServer>(core_.loop(), budget_, counters_,
                                                  wire::FrameServer::Options{},
                                                  door.FactoryFor(&core_.loop()));
    address_ = *frames_->Listen(*wire::NumericAddress({"127.0.0.1", 0}));
  }

  const std::string directory_;
  wire::LoopThread core_{"core"};
  wire::LoopThread log_{"log"};
  LoopExecutor core_executor_{&core_.loop()};
  LoopExecutor log_executor_{&log_.loop()};
  SystemWallClock wall_clock_;
  SystemRandom random_;
  std::unique_ptr<wire::SystemResolver> resolver_;
  std::unique_ptr<PeerLinks> links_;
  std::unique_ptr<server::Server> server_;
  wire::ServerBudget budget_{wire::ServerLimits{}};
  wire::Counters counters_;
  std::unique_ptr<wire::FrameServer> frames_;
  wire::SocketAddress address_;
};

// One connection with one session that keeps a number of sets outstanding.
class Writer {
 public:
  Writer(wire::EventLoop* loop, wire::Resolver* resolver, wire::SocketAddress to)
      : channel_(*loop,
                 [loop, resolver, to](wire::FrameStream::Callbacks callbacks) {
                   wire::TcpStreamOptions options;
                   options.to = {to.HostText(), to.port()};
                   return wire::DialTcp(*loop, *resolver, options, std::move(callbacks));
                 },
                 {}) {}

  void Open(int number, std::function<void()> done) {
    channel_.Open();
    request_.path = "/counts-" + std::to_string(number);
    idl::OpenRequest open;
    open.nonce = std::string(16, static_cast<char>('a' + number));
    open.timeoutMs = 60'000;
    idl::Coord_openSession_pargs args;
    args.request = &open;
    wire::Invoke<idl::Coord_openSession_presult, idl::OpenResult, idl::CoordError>(
        channel_, {.method = "openSession"}, args,
        [this,
         done = std::move(done)](const wire::CallResult<idl::OpenResult, idl::CoordError>& opened) {
          ASSERT_TRUE(opened.has_value());
          ctx_.session = opened->session;
          ctx_.secret = opened->secret;
          Create(done);
        });
  }

  // Makes `count` sets, `outstanding` of them at a time.
  void Run(int count, int outstanding, std::function<void()> done) {
    left_to_send_ = count;
    left_to_hear_ = count;
    done_ = std::move(done);
    for (int i = 0; i < outstanding; ++i) {
      SendNext();
    }
  }

 private:
  void Create(const std::function<void()>& done) {
    idl::CreateRequest create;
    create.path = request_.path;
    idl::Coord_create_pargs args;
    ctx_.seq = ++seq_;
    args.ctx = &ctx_;
    args.request = &create;
    wire::Invoke<idl::Coord_create_presult, idl::CreateResult, idl::CoordError>(
        channel_, {.method = "create"}, args,
        [done](const wire::CallResult<idl::CreateResult, idl::CoordError>& created) {
          ASSERT_TRUE(created.has_value());
          done();
        });
  }

  void SendNext() {
    if (left_to_send_-- <= 0) {
      return;
    }
    ctx_.seq = ++seq_;
    ctx_.ackedThrough = acked_;
    request_.__set_data(std::string(100, 'x'));
    idl::Coord_setData_pargs args;
    args.ctx = &ctx_;
    args.request = &request_;
    wire::Invoke<idl::Coord_setData_presult, idl::SetDataResult, idl::CoordError>(
        channel_, {.method = "setData"}, args,
        [this](const wire::CallResult<idl::SetDataResult, idl::CoordError>& set) {
          ASSERT_TRUE(set.has_value());
          ++acked_;
          SendNext();
          if (--left_to_hear_ == 0) {
            done_();
          }
        });
  }

  wire::Channel channel_;
  idl::Ctx ctx_;
  idl::SetDataRequest request_;
  std::int64_t seq_ = 0;
  std::int64_t acked_ = 1;  // the create
  int left_to_send_ = 0;
  int left_to_hear_ = 0;
  std::function<void()> done_;
};

// One connection with one session that watches a znode and has a poll parked.
class Watcher {
 public:
  Watcher(wire::EventLoop* loop, wire::Resolver* resolver, wire::SocketAddress to)
      : channel_(*loop,
                 [loop, resolver, to](wire::FrameStream::Callbacks callbacks) {
                   wire::TcpStreamOptions options;
                   options.to = {to.HostText(), to.port()};
                   return wire::DialTcp(*loop, *resolver, options, std::move(callbacks));
                 },
                 {}) {}

  // `armed` once the poll is on its way, `told` once it has brought an event.
  void Open(int number, const std::string& path, std::function<void()> armed,
            std::function<void()> told) {
    told_ = std::move(told);
    channel_.Open();
    idl::OpenRequest open;
    open.nonce = std::string(12, 'w') + std::to_string(1'000 + number);
    open.timeoutMs = 60'000;
    idl::Coord_openSession_pargs args;
    args.request = &open;
    wire::Invoke<idl::Coord_openSession_presult, idl::OpenResult, idl::CoordError>(
        channel_, {.method = "openSession"}, args,
        [this, path, armed = std::move(armed)](
            const wire::CallResult<idl::OpenResult, idl::CoordError>& opened) {
          ASSERT_TRUE(opened.has_value());
          ctx_.session = opened->session;
          ctx_.secret = opened->secret;
          Watch(path, armed);
        });
  }

 private:
  void Watch(const std::string& path, const std::function<void()>& armed) {
    idl::AddWatchRequest add;
    add.watch.watchId = 1;
    add.watch.path = path;
    add.watch.mode = idl::WatchMode::PERSISTENT;
    add.watch.withValue = true;
    idl::Coord_addWatch_pargs args;
    args.ctx = &ctx_;
    args.request = &add;
    wire::Invoke<idl::Coord_addWatch_presult, idl::AddWatchResult, idl::CoordError>(
        channel_, {.method = "addWatch"}, args,
        [this, armed](const wire::CallResult<idl::AddWatchResult, idl::CoordError>& added) {
          ASSERT_TRUE(added.has_value());
          Park(added->head.cursor);
          armed();
        });
  }

  void Park(const idl::Cursor& cursor) {
    idl::PollRequest poll;
    poll.cursor = cursor;
    poll.waitMs = 60'000;
    idl::Coord_poll_pargs args;
    args.ctx = &ctx_;
    args.request = &poll;
    wire::Invoke<idl::Coord_poll_presult, idl::PollResult, idl::CoordError>(
        channel_, {.method = "poll"}, args,
        [this](const wire::CallResult<idl::PollResult, idl::CoordError>& polled) {
          ASSERT_TRUE(polled.has_value());
          ASSERT_EQ(polled->head.events.size(), 1U);
          EXPECT_EQ(polled->head.events[0].watchIds, std::vector<std::int64_t>{1});
          EXPECT_EQ(polled->head.events[0].change.data, std::string(100, 'x'));
          told_();
        });
  }

  wire::Channel channel_;
  idl::Ctx ctx_;
  std::function<void()> told_;
};

class CountsTest : public ::testing::Test {
 protected:
  // Runs `start` on the clients' loop; it gets a callback to call `times`.
  void OnClients(const std::function<void(std::function<void()>)>& start,
                 int times = kConnections) {
    std::promise<void> all;
    int left = times;
    clients_.loop().Post([&] {
      start([&] {
        if (--left == 0) {
          all.set_value();
        }
      });
    });
    ASSERT_EQ(all.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  }

  void TearDown() override {
    clients_.Await([this] {
      writers_.clear();
      watchers_.clear();
      resolver_.reset();
    });
  }

  Member member_;
  wire::LoopThread clients_{"clients"};
  std::unique_ptr<wire::SystemResolver> resolver_;
  std::vector<std::unique_ptr<Writer>> writers_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
};

TEST_F(CountsTest, ManyWritesShareASyncAndASendAndCostFewAllocations) {
  OnClients([&](const std::function<void()>& done) {
    resolver_ = std::make_unique<wire::SystemResolver>(clients_.loop());
    for (int i = 0; i < kConnections; ++i) {
      writers_.push_back(
          std::make_unique<Writer>(&clients_.loop(), resolver_.get(), member_.address()));
      writers_.back()->Open(i, done);
    }
  });
  const auto run = [&](int count) {
    OnClients([&](const std::function<void()>& done) {
      for (auto& writer : writers_) {
        writer->Run(count / kConnections, kOutstanding / kConnections, done);
      }
    });
  };
  run(kWarmUp);
  const server::Counters before = member_.Status().counters;
  const std::uint64_t sends_before = member_.counters().send_calls;
  const std::uint64_t allocations_before = allocations;
  run(kWrites);
  const std::uint64_t allocations_after = allocations;
  const std::uint64_t sends_after = member_.counters().send_calls;
  const server::Counters after = member_.Status().counters;

  const auto per_write = [](std::uint64_t count) { return static_cast<double>(count) / kWrites; };
  const double syncs = per_write(after.log_syncs - before.log_syncs);
  const double sends = per_write(sends_after - sends_before);
  const double allocated = per_write(allocations_after - allocations_before);
  RecordProperty("syncs_per_write", std::to_string(syncs));
  RecordProperty("send_calls_per_reply", std::to_string(sends));
  RecordProperty("allocations_per_set", std::to_string(allocated));
  std::printf("per set at %d outstanding: %.4f syncs, %.4f send calls, %.1f allocations\n",
              kOutstanding, syncs, sends, allocated);
  // The member also publishes itself at times.
  EXPECT_GE(after.writes_answered - before.writes_answered, static_cast<std::uint64_t>(kWrites));
  EXPECT_LE(syncs, 0.1);
  EXPECT_LE(sends, 0.2);
  EXPECT_LE(allocated, kAllocationsPerSetMax);
}

TEST_F(CountsTest, AnEventCostsASendForEachWatcherAndFewAllocations) {
  constexpr int kWatchers = 200;
  OnClients(
      [&](const std::function<void()>& done) {
        resolver_ = std::make_unique<wire::SystemResolver>(clients_.loop());
        writers_.push_back(
            std::make_unique<Writer>(&clients_.loop(), resolver_.get(), member_.address()));
        writers_.back()->Open(0, done);
      },
      1);
  std::promise<void> all_told;
  int told = 0;
  OnClients(
      [&](const std::function<void()>& armed) {
        for (int i = 0; i < kWatchers; ++i) {
          watchers_.push_back(
              std::make_unique<Watcher>(&clients_.loop(), resolver_.get(), member_.address()));
          watchers_.back()->Open(i, "/counts-0", armed, [&] {
            if (++told == kWatchers) {
              all_told.set_value();
            }
          });
        }
      },
      kWatchers);
  while (member_.Status().polls_parked < kWatchers) {
  }
  const std::uint64_t sends_before = member_.counters().send_calls;
  const std::uint64_t allocations_before = allocations;
  OnClients([&](const std::function<void()>& done) { writers_[0]->Run(1, 1, done); }, 1);
  ASSERT_EQ(all_told.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  const std::uint64_t sends = member_.counters().send_calls - sends_before;
  const double allocated =
      static_cast<double>(allocations - allocations_before) / static_cast<double>(kWatchers);
  std::printf("per watcher: %.3f send calls, %.1f allocations\n",
              static_cast<double>(sends) / kWatchers, allocated);
  EXPECT_EQ(sends, kWatchers + 1U) << "and one to the writer";
  EXPECT_LE(allocated, kAllocationsPerEventMax);
}

TEST_F(CountsTest, AConnectionCostsNoThread) {
  constexpr std::uint64_t kIdle = 100;
  const std::size_t threads_before = Threads();
  std::vector<int> sockets;
  for (std::uint64_t i = 0; i < kIdle; ++i) {
    sockets.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(sockets.back(), member_.address().get(), member_.address().size), 0);
  }
  while (member_.counters().connections_open < kIdle) {
    member_.Status();  // a turn of the member's loop
  }
  EXPECT_EQ(Threads(), threads_before);
  for (const int idle : sockets) {
    close(idle);
  }
}

}  // namespace
}  // namespace conclave::doors
