// The client as applications have it: threads, sockets, blocking calls.
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <conclave/client.h>
#include <conclave/election.h>
#include <conclave/lock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/fake_cluster.h"
#include "tests/client/fake_handler.h"
#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_server.h"

namespace conclave::client_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class LoopExecutor final : public Executor {
 public:
  explicit LoopExecutor(wire::EventLoop& loop) : loop_(loop) {}

  void Post(Task task) override { loop_.Post(std::move(task)); }

  bool RunsHere() const override { return loop_.OnLoopThread(); }

  TimerId PostAfter(std::chrono::nanoseconds delay, Task task) override {
    return loop_.PostAfter(delay.count(), std::move(task));
  }

  void Cancel(TimerId id) override { loop_.Cancel(id); }

  BootTime Now() const override { return BootTime(std::chrono::nanoseconds(loop_.NowNs())); }

 private:
  wire::EventLoop& loop_;
};

// One connection of a frame server, served by the fake cluster.
class FakeService final : public wire::Service {
 public:
  FakeService(FakeCluster& cluster, int member, wire::Caller& caller)
      : cluster_(cluster),
        link_(cluster.Attach(member, [&caller] { caller.Close("the test says so"); })) {}

  std::shared_ptr<wire::Processor> processor() override {
    return wire::Generated(FakeCluster::ProcessorFor(cluster_, link_));
  }

  void OnClosed() override { FakeCluster::Detach(*link_); }

 private:
  FakeCluster& cluster_;
  std::shared_ptr<FakeCluster::Link> link_;
};

class RuntimeTest : public ::testing::Test {
 protected:
  RuntimeTest() {
    loop_.Await([this] {
      executor_ = std::make_unique<LoopExecutor>(loop_.loop());
      cluster_ = std::make_unique<FakeCluster>(*executor_, kMembers);
      for (int member = 1; member <= kMembers; ++member) {
        servers_.push_back(std::make_unique<wire::FrameServer>(
            loop_.loop(), budget_, counters_, wire::FrameServer::Options{},
            [this, member](wire::Caller& caller) {
              return std::make_unique<FakeService>(*cluster_, member, caller);
            }));
        const auto address =
            servers_.back()->Listen(*wire::NumericAddress({.host = "127.0.0.1", .port = 0}));
        ASSERT_TRUE(address) << address.error();
        options.endpoints += (member == 1 ? "" : ",") + address->ToString();
      }
    });
  }

  ~RuntimeTest() override {
    loop_.Await([this] {
      servers_.clear();
      cluster_.reset();
    });
  }

  // The fake cluster lives on its loop.
  void OnCluster(const std::function<void(FakeCluster&)>& task) {
    loop_.Await([&] { task(*cluster_); });
  }

  std::unique_ptr<Client> Connect() {
    auto client = Client::Connect(options);
    EXPECT_TRUE(client.ok()) << client.error().ToString();
    return client.ok() ? std::move(*client) : nullptr;
  }

  Options options;

 private:
  static constexpr int kMembers = 3;
  wire::LoopThread loop_{"fake"};
  std::unique_ptr<LoopExecutor> executor_;
  wire::ServerBudget budget_{wire::ServerLimits{}};
  wire::Counters counters_;
  std::unique_ptr<FakeCluster> cluster_;
  std::vector<std::unique_ptr<wire::FrameServer>> servers_;
};

TEST_F(RuntimeTest, BlockingCallsWork) {
  const auto client = Connect();
  ASSERT_TRUE(client->CreatePath("/a/b").ok());
  ASSERT_TRUE(client->Create("/a/b/c", "1").ok());
  EXPECT_EQ(client->Set("/a/b/c", "2")->stat.version, 1);
  EXPECT_EQ(client->Get("/a/b/c")->data, "2");
  EXPECT_EQ(client->Children("/a/b")->names, std::vector<std::string>{"c"});
  EXPECT_TRUE(client->Exists("/a")->stat.has_value());
  EXPECT_EQ(client->Multi({Op::Check("/a"), Op::Remove("/a/b/c")})->results.size(), 2U);
  EXPECT_TRUE(client->Sync().ok());
  EXPECT_EQ(client->GetClusterStatus()->members.size(), 3U);
  EXPECT_EQ(client->Remove("/none").code(), Code::kNoNode);
  EXPECT_GT(client->valid_until(), BootClock::now());
  EXPECT_TRUE(client->Close().ok());
  EXPECT_EQ(client->Get("/a").code(), Code::kSessionExpired);
  OnCluster([](FakeCluster& cluster) { EXPECT_TRUE(cluster.sessions.empty()); });
}

TEST_F(RuntimeTest, ConnectingToNobodySaysSoInTime) {
  options.endpoints = "127.0.0.1:1,localhost:1";
  options.call_timeout = milliseconds(300);
  const BootTime before = BootClock::now();
  const auto client = Client::Connect(options);
  EXPECT_EQ(client.code(), Code::kUnavailable);
  EXPECT_THAT(client.error().message, HasSubstr(":1"));
  EXPECT_LT(BootClock::now() - before, seconds(20));
}

TEST_F(RuntimeTest, ABlockedWriterSeesItsEventFirst) {
  const auto client = Connect();
  ASSERT_TRUE(client->Create("/a", "0").ok());
  std::atomic<int> events{0};
  ASSERT_TRUE(client->Watch("/a", WatchMode::kPersistent, [&](const Event&) { events += 1; }).ok());
  for (int i = 1; i <= 200; ++i) {
    ASSERT_TRUE(client->Set("/a", std::to_string(i)).ok());
    ASSERT_EQ(events, i);
  }
}

TEST_F(RuntimeTest, CallbacksMayBlockAndDestroyTheClient) {
  auto client = Connect();
  ASSERT_TRUE(client->Create("/a", "1").ok());
  std::promise<std::string> read;
  Client* const raw = client.get();
  raw->GetAsync("/a", {}, [&](const Result<Node>&) {
    const auto again = raw->Get("/a");
    const auto grant = Lock(*raw, "/lock").Acquire(seconds(5));
    client.reset();
    read.set_value(again.ok() && grant.ok() ? *again->data : "failed");
  });
  EXPECT_EQ(read.get_future().get(), "1");
}

TEST_F(RuntimeTest, ManyThreadsThroughManyReconnectsWriteEachOnce) {
  const auto client = Connect();
  constexpr int kThreads = 6;
  constexpr int kWrites = 100;
  ASSERT_TRUE(client->Create("/a", "-").ok());
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kWrites; ++i) {
        const auto set = client->Set("/a", std::to_string(thread) + "/" + std::to_string(i));
        EXPECT_TRUE(set.ok()) << set.error().ToString();
        if ((done += 1) % 50 == 0) {
          OnCluster([](FakeCluster& cluster) { cluster.BreakConnections(); });
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  OnCluster([](FakeCluster& cluster) {
    std::set<std::string> distinct(cluster.applied.begin(), cluster.applied.end());
    EXPECT_EQ(distinct.size(), cluster.applied.size()) << "none twice";
    EXPECT_EQ(cluster.tree.at("/a").stat.version, kThreads * kWrites);
  });
}

TEST_F(RuntimeTest, EveryCallbackHasComeWhenTheDestructorReturns) {
  auto client = Connect();
  ASSERT_TRUE(client->Create("/a", "1").ok());
  std::atomic<int> called{0};
  for (int i = 0; i < 500; ++i) {
    client->SetAsync("/a", "x", kAnyVersion, {}, [&](const Result<Written>&) { called += 1; });
    client->GetAsync("/a", {}, [&](const Result<Node>&) { called += 1; });
  }
  client.reset();
  EXPECT_EQ(called, 1'000);
}

TEST_F(RuntimeTest, LocksAndElectionsHandOverBetweenClients) {
  const auto first = Connect();
  const auto second = Connect();
  Lock lock(*first, "/lock");
  auto grant = lock.Acquire(seconds(5));
  ASSERT_TRUE(grant.ok());
  EXPECT_EQ(Lock(*second, "/lock").Acquire(milliseconds(100)).code(), Code::kDeadlineExceeded);
  auto next =
      std::async(std::launch::async, [&] { return Lock(*second, "/lock").Acquire(seconds(10)); });
  ASSERT_TRUE(grant->Release().ok());
  const auto taken = next.get();
  ASSERT_TRUE(taken.ok());
  EXPECT_GT(taken->token(), grant->token());

  Election election(*first, "/election");
  std::promise<std::string> leader;
  std::atomic<bool> told{false};
  const auto observation = election.Observe([&](const std::optional<Leader>& now) {
    if (now && !told.exchange(true)) {
      leader.set_value(now->value);
    }
  });
  ASSERT_TRUE(observation.ok());
  const auto elected = Election(*second, "/election").Campaign("me", seconds(5));
  ASSERT_TRUE(elected.ok());
  EXPECT_EQ(leader.get_future().get(), "me");
  EXPECT_EQ((*election.GetLeader())->token, elected->token());
}

TEST_F(RuntimeTest, LossOfTheSessionReachesHolderAndWaiter) {
  const auto first = Connect();
  const auto second = Connect();
  auto grant = Lock(*first, "/lock").Acquire(seconds(5));
  ASSERT_TRUE(grant.ok());
  std::promise<Code> lost;
  grant->OnLost([&](const Error& reason) { lost.set_value(reason.code); });
  auto waiting =
      std::async(std::launch::async, [&] { return Lock(*second, "/lock").Acquire(seconds(30)); });
  const std::int64_t session = first->session_id();
  OnCluster([session](FakeCluster& cluster) { cluster.ExpireSession(session); });
  EXPECT_EQ(lost.get_future().get(), Code::kSessionExpired);
  EXPECT_TRUE(waiting.get().ok());
  EXPECT_FALSE(grant->valid());
}

}  // namespace
}  // namespace conclave::client_test
