#include "thrift/wire/event_loop.h"

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "thrift/wire/address.h"
#include "thrift/wire/resolver.h"

namespace conclave::wire {
namespace {

constexpr std::int64_t kMs = 1'000'000;

class Recorder final : public TurnEndHook {
 public:
  Recorder(std::vector<std::string>& log, std::string name) : log_(log), name_(std::move(name)) {}

  void OnTurnEnd() override {
    log_.push_back(name_);
    if (const auto also = std::exchange(also_, nullptr)) {
      also();
    }
  }

  std::function<void()> also_;

 private:
  std::vector<std::string>& log_;
  const std::string name_;
};

TEST(EventLoopTest, RunsTasksInOrderAndNeverInsidePost) {
  EventLoop loop;
  std::vector<int> order;
  bool inside = false;
  for (int i = 0; i < 5; ++i) {
    loop.Post([&, i] {
      EXPECT_FALSE(inside);
      inside = true;
      loop.Post([&order, i] { order.push_back(10 + i); });
      inside = false;
      order.push_back(i);
    });
  }
  EXPECT_TRUE(order.empty());
  loop.RunTurn(false);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 10, 11, 12, 13, 14}));
}

TEST(EventLoopTest, TimersFireInOrderOfTimeAndNotBefore) {
  EventLoop loop;
  std::vector<int> order;
  const std::int64_t begin_ns = loop.NowNs();
  loop.PostAfter(6 * kMs, [&] {
    EXPECT_GE(loop.NowNs() - begin_ns, 6 * kMs);
    order.push_back(6);
    loop.Stop();
  });
  loop.PostAfter(2 * kMs, [&] { order.push_back(2); });
  loop.PostAfter(2 * kMs, [&] { order.push_back(3); });
  const TimerId cancelled = loop.PostAfter(3 * kMs, [&] { order.push_back(99); });
  EXPECT_TRUE(loop.Cancel(cancelled));
  EXPECT_FALSE(loop.Cancel(cancelled));
  EXPECT_FALSE(loop.Cancel(kNoTimer));
  loop.Run();
  EXPECT_EQ(order, (std::vector<int>{2, 3, 6}));
}

TEST(EventLoopTest, ATimerMaySetAndCancelOthers) {
  EventLoop loop;
  std::vector<int> order;
  TimerId later = kNoTimer;
  loop.PostAfter(0, [&] {
    order.push_back(1);
    loop.Cancel(later);
    loop.PostAfter(0, [&] {
      order.push_back(2);
      loop.Stop();
    });
  });
  later = loop.PostAfter(0, [&] { order.push_back(99); });
  loop.Run();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(EventLoopTest, ManyCancelledTimersCostNoTurn) {
  EventLoop loop;
  for (int i = 0; i < 100'000; ++i) {
    loop.Cancel(loop.PostAfter(3'600'000 * kMs, [] { ADD_FAILURE(); }));
  }
  bool fired = false;
  loop.PostAfter(kMs, [&] { fired = true; });
  loop.RunTurn(true);
  EXPECT_TRUE(fired);
}

TEST(EventLoopTest, WhatATaskPostsRunsInItsTurnDownAFewSteps) {
  EventLoop loop;
  std::vector<std::string> log;
  Recorder hook(log, "end");
  int steps = 0;
  std::function<void()> chain = [&] {
    ++steps;
    loop.Post(chain);
  };
  loop.Post(chain);
  loop.Post([&] {
    loop.Post([&] {
      log.emplace_back("reply");
      loop.RequestTurnEnd(&hook);
    });
  });
  loop.RunTurn(false);
  EXPECT_EQ(log, (std::vector<std::string>{"reply", "end"}));
  EXPECT_GE(steps, 3);   // received, judged, answered: one turn
  EXPECT_LE(steps, 10);  // but sockets and timers do not wait for ever
}

TEST(EventLoopTest, TurnEndRunsAfterTheInboxAndOncePerRequest) {
  EventLoop loop;
  std::vector<std::string> log;
  Recorder hook(log, "end");
  Recorder cancelled(log, "cancelled");
  loop.Post([&] {
    loop.RequestTurnEnd(&hook);
    loop.RequestTurnEnd(&hook);
    loop.RequestTurnEnd(&cancelled);
    log.emplace_back("first");
  });
  loop.Post([&] {
    loop.CancelTurnEnd(&cancelled);
    log.emplace_back("second");
  });
  loop.RunTurn(false);
  EXPECT_EQ(log, (std::vector<std::string>{"first", "second", "end"}));
  loop.RunTurn(false);
  EXPECT_EQ(log.size(), 3U);
}

TEST(EventLoopTest, AHookMayDestroyAnotherAndAskAgain) {
  EventLoop loop;
  std::vector<std::string> log;
  Recorder first(log, "first");
  auto second = std::make_unique<Recorder>(log, "second");
  first.also_ = [&] {
    loop.CancelTurnEnd(second.get());
    second.reset();
    loop.RequestTurnEnd(&first);
    loop.CancelTurnEnd(&first);
    loop.RequestTurnEnd(&first);
  };
  loop.RequestTurnEnd(&first);
  loop.RequestTurnEnd(second.get());
  loop.RunTurn(false);
  EXPECT_EQ(log, (std::vector<std::string>{"first"}));
  loop.RunTurn(true);  // does not wait: a hook waits
  EXPECT_EQ(log, (std::vector<std::string>{"first", "first"}));
}

TEST(EventLoopTest, OtherThreadsWakeItAndPayOnceForAll) {
  LoopThread thread("test-loop");
  constexpr int kPosts = 20'000;
  std::atomic<int> ran{0};
  std::vector<int> order;
  std::thread poster([&] {
    for (int i = 0; i < kPosts; ++i) {
      thread.loop().Post([&, i] {
        order.push_back(i);
        ++ran;
      });
    }
  });
  poster.join();
  thread.Await([] {});
  EXPECT_EQ(ran.load(), kPosts);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_LE(thread.loop().wakeups(), thread.loop().turns());
}

TEST(EventLoopTest, KnowsItsThread) {
  LoopThread thread("test-loop");
  EXPECT_FALSE(thread.loop().OnLoopThread());
  thread.Await([&] { EXPECT_TRUE(thread.loop().OnLoopThread()); });
}

TEST(EventLoopTest, StopBeforeRunIsNotLost) {
  EventLoop loop;
  loop.Stop();
  loop.Run();
  SUCCEED();
}

TEST(EventLoopTest, DestroysWaitingTasksThatOwnUsersOfTheLoop) {
  auto loop = std::make_unique<EventLoop>();

  struct CancelsWhenGone {
    EventLoop& loop;
    TimerId timer;

    ~CancelsWhenGone() { loop.Cancel(timer); }
  };

  const TimerId timer = loop->PostAfter(kMs, [] {});
  auto owned = std::make_shared<CancelsWhenGone>(*loop, timer);
  loop->Post([owned] {});
  loop->PostAfter(kMs, [owned] {});
  owned.reset();
  loop.reset();
  SUCCEED();
}

TEST(AddressTest, ReadsAndWritesHostPort) {
  for (const std::string text : {"127.0.0.1:9001", "[::1]:0", "host.example:65535"}) {
    const auto parsed = ParseHostPort(text);
    ASSERT_TRUE(parsed.has_value()) << parsed.error();
    EXPECT_EQ(parsed->ToString(), text);
  }
  for (const std::string text : {"", "host", "host:", ":1", "host:65536", "host:-1", "host:1x",
                                 "::1:9001", "[::1]", "[::1:9"}) {
    EXPECT_FALSE(ParseHostPort(text).has_value()) << text;
  }
  EXPECT_EQ(ParseHostPort("[::1]:7")->host, "::1");
}

TEST(AddressTest, KnowsLoopback) {
  for (const std::string host : {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(NumericAddress({host, 1})->IsLoopback()) << host;
  }
  for (const std::string host : {"0.0.0.0", "10.0.0.1", "::", "fe80::1"}) {
    EXPECT_FALSE(NumericAddress({host, 1})->IsLoopback()) << host;
  }
  EXPECT_FALSE(NumericAddress({"localhost", 1}).has_value());
}

TEST(ResolverTest, ResolvesNamesAndReportsUnknownOnes) {
  EventLoop loop;
  SystemResolver resolver(loop);
  int answers = 0;
  const auto count = [&] {
    if (++answers == 3) {
      loop.Stop();
    }
  };
  resolver.Resolve({"127.0.0.1", 7}, [&](const auto& addresses) {
    EXPECT_EQ(addresses->at(0).ToString(), "127.0.0.1:7");
    count();
  });
  resolver.Resolve({"localhost", 7}, [&](const auto& addresses) {
    ASSERT_TRUE(addresses.has_value());
    EXPECT_TRUE(addresses->at(0).IsLoopback());
    EXPECT_EQ(addresses->at(0).port(), 7);
    count();
  });
  resolver.Resolve({"no such host", 7}, [&](const auto& addresses) {
    ASSERT_FALSE(addresses.has_value());
    EXPECT_NE(addresses.error().find("no such host"), std::string::npos);
    count();
  });
  EXPECT_EQ(answers, 0) << "a callback inside Resolve";
  loop.Run();
  EXPECT_EQ(answers, 3);
}

TEST(ResolverTest, CallsNobodyAfterItsEnd) {
  EventLoop loop;
  {
    SystemResolver resolver(loop);
    resolver.Resolve({"127.0.0.1", 7}, [](const auto&) { ADD_FAILURE(); });
  }
  loop.RunTurn(false);
}

}  // namespace
}  // namespace conclave::wire
