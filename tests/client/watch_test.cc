// Watches: every event once, in order, before what shows it, over reconnects; or an explicit
// resync.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace conclave::client_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WatchTest : public ClientTest {
 protected:
  // A line for each event: "data_changed /a 2".
  WatchCallback Log() {
    return [this](const Event& event) {
      std::string line = std::string(EventTypeName(event.type)) + " " + event.path;
      if (event.has_value && event.data) {
        line += " " + *event.data;
      }
      log.push_back(line);
      last = event.cursor;
    };
  }

  Result<std::int64_t> Watch(Client& client, const std::string& path, WatchMode mode,
                             WatchOptions options = {}) {
    return Await<std::int64_t>(
        [&](auto done) { id = client.WatchAsync(path, mode, Log(), options, done); });
  }

  WatchId id = 0;
  std::vector<std::string> log;
  Cursor last;
};

TEST_F(WatchTest, EachModeTellsWhatItShould) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistentRecursive).ok());
  cluster.ForeignSet("/a", "2");
  cluster.ForeignCreate("/a/b", "x");
  cluster.ForeignRemove("/a/b");
  cluster.ForeignRemove("/a");
  executor.Settle();
  EXPECT_THAT(log,
              ElementsAre("data_changed /a 2", "created /a/b x", "deleted /a/b", "deleted /a"));

  log.clear();
  ASSERT_TRUE(Watch(client, "/c", WatchMode::kPersistent).ok());
  cluster.ForeignCreate("/c", "1");
  cluster.ForeignCreate("/c/d", "1");
  executor.Settle();
  EXPECT_THAT(log, ElementsAre("created /c 1", "children_changed /c"));
}

TEST_F(WatchTest, AOneShotWatchFiresOnce) {
  Client& client = OpenClient();
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kExistsOnce).ok());
  cluster.ForeignCreate("/a", "1");
  cluster.ForeignSet("/a", "2");
  executor.Settle();
  EXPECT_THAT(log, ElementsAre("created /a 1"));
  EXPECT_EQ(cluster.WatchesAt(Home(client), client.session_id()), 0U);
}

TEST_F(WatchTest, TheEventComesBeforeTheReplyThatShowsIt) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  std::vector<std::string> order;
  client.GetAsync("/a", {}, [&](const Result<Node>& node) {
    order = log;
    order.push_back("read " + *node->data);
  });
  cluster.ForeignSet("/a", "2");  // Before the read is served, behind the poll's wake-up.
  executor.Settle();
  EXPECT_THAT(order, ElementsAre("data_changed /a 2", "read 2"));

  std::optional<Result<Written>> set;
  log.clear();
  client.SetAsync("/a", "3", kAnyVersion, {}, [&](const Result<Written>&) { order = log; });
  executor.Settle();
  EXPECT_THAT(order, ElementsAre("data_changed /a 3")) << "also of the own write";
}

TEST_F(WatchTest, NothingIsLostOrDoubledOverAReconnect) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "-");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  int number = 0;
  for (int round = 0; round < 6; ++round) {
    cluster.ForeignSet("/a", std::to_string(number++));
    executor.Settle();
    const int home = Home(client);
    // The answer that brings the next event is lost with the connection.
    cluster.on_call = [home](const std::string& method, const idl::Ctx&, int member) {
      return method == "poll" && member == home ? Break(true) : Fault{};
    };
    cluster.ForeignSet("/a", std::to_string(number++));
    executor.Settle();
    cluster.Stop(home);
    cluster.ForeignSet("/a", std::to_string(number++));
    ASSERT_TRUE(executor.AdvanceUntil([&] {
      return log.size() == static_cast<std::size_t>(number);
    })) << log.size();
    cluster.on_call = nullptr;
    cluster.Start(home);
    executor.Advance(seconds(1));
  }
  std::vector<std::string> expected;
  for (int i = 0; i < number; ++i) {
    expected.push_back("data_changed /a " + std::to_string(i));
  }
  EXPECT_EQ(log, expected);
}

TEST_F(WatchTest, PastTheWindowThereIsAResyncAndNeverSilence) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  ASSERT_TRUE(Watch(client, "/b", WatchMode::kExistsOnce).ok());
  for (int member = 1; member <= 3; ++member) {
    cluster.Stop(member);
  }
  executor.Settle();
  cluster.ForeignSet("/a", "2");
  cluster.ForeignCreate("/b", "1");
  cluster.ForgetChanges();
  for (int member = 1; member <= 3; ++member) {
    cluster.Start(member);
  }
  ASSERT_TRUE(executor.AdvanceUntil([&] { return log.size() == 2; }));
  EXPECT_THAT(log, ElementsAre("resync /a", "resync /b"));
  log.clear();
  cluster.ForeignSet("/a", "3");
  cluster.ForeignSet("/b", "2");
  executor.Settle();
  EXPECT_THAT(log, ElementsAre("data_changed /a 3")) << "the persistent one goes on";
}

TEST_F(WatchTest, AMemberThatRemembersTooLittleSendsTheClientOn) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  executor.Advance(seconds(1));
  const int home = Home(client);
  const int good = home == 3 ? 1 : home + 1;
  cluster.elsewhere["m" + std::to_string(6 - home - good) + ":1"] =
      "m" + std::to_string(good) + ":1";
  cluster.Stop(home);
  cluster.ForeignSet("/a", "2");
  ASSERT_TRUE(executor.AdvanceUntil([&] { return !log.empty(); }));
  EXPECT_THAT(log, ElementsAre("data_changed /a 2"));
  EXPECT_EQ(Home(client), good);
}

// A member forgets the watches of a session that has not called for long, and the session may live.
TEST_F(WatchTest, AHomeThatHasForgottenTheWatchesIsTakenUpAnew) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  executor.Settle();
  cluster.ForgetWatches(client.session_id());
  cluster.ForeignSet("/a", "2");
  // Not even a reply that comes before the next poll may show what the watch has not told of.
  auto got = Get(client, "/a");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->data, "2");
  EXPECT_THAT(log, ElementsAre("data_changed /a 2"));
  cluster.ForeignSet("/a", "3");
  executor.Advance(seconds(1));
  EXPECT_THAT(log, ElementsAre("data_changed /a 2", "data_changed /a 3"));
}

TEST_F(WatchTest, NorDoesAnAnswerThatThereIsNoSuchZnodeOvertakeItsEvent) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  executor.Settle();
  cluster.ForgetWatches(client.session_id());
  cluster.ForeignRemove("/a");
  EXPECT_EQ(Get(client, "/a").code(), Code::kNoNode);
  EXPECT_THAT(log, ElementsAre("deleted /a"));
}

// What members know of each other's windows is a second old: each may believe that the other
// remembers.
TEST_F(WatchTest, MembersThatSendTheClientToEachOtherAreLeftOffSoonAndOnce) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  executor.Advance(seconds(1));
  const int home = Home(client);
  const int one = home == 1 ? 2 : 1;
  const int other = 6 - home - one;
  cluster.elsewhere["m" + std::to_string(one) + ":1"] = "m" + std::to_string(other) + ":1";
  cluster.elsewhere["m" + std::to_string(other) + ":1"] = "m" + std::to_string(one) + ":1";
  cluster.Stop(home);
  cluster.ForeignSet("/a", "2");
  const int connects = cluster.connects;
  executor.Advance(seconds(5));
  EXPECT_THAT(log, ElementsAre("resync /a")) << "and nothing of what the resync covers";
  EXPECT_LE(cluster.connects - connects, 8);
  EXPECT_NE(Home(client), 0);
  log.clear();
  cluster.ForeignSet("/a", "3");
  executor.Settle();
  EXPECT_THAT(log, ElementsAre("data_changed /a 3"));
}

TEST_F(WatchTest, APollOfAGivenUpConnectionTakesNoEventWithIt) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  std::vector<std::string> expected;
  for (int i = 0; i < 10; ++i) {
    // Writes whose answers are lost, on a connection that breaks under them, to and from one
    // member.
    for (int member = 1; member <= 3; ++member) {
      if (member != Home(client)) {
        cluster.Stop(member);
      }
    }
    cluster.on_call = [](const std::string& method, const idl::Ctx&, int) {
      return method == "setData" ? Break(true) : Fault{};
    };
    std::optional<Result<Written>> set;
    client.SetAsync("/a", std::to_string(2 * i), kAnyVersion, {}, Into(set));
    expected.push_back("data_changed /a " + std::to_string(2 * i));
    executor.Settle();
    cluster.on_call = nullptr;
    cluster.ForeignSet("/a", std::to_string(2 * i + 1));
    expected.push_back("data_changed /a " + std::to_string(2 * i + 1));
    ASSERT_TRUE(
        executor.AdvanceUntil([&] { return set.has_value() && log.size() == expected.size(); }));
    executor.Advance(seconds(1));
  }
  EXPECT_EQ(log, expected);
}

TEST_F(WatchTest, AReplyWaitsForTheEventsItShows) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  // Polls are refused for a while: the reply is there first.
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "poll" ? Fail(idl::ErrorCode::OVERLOADED) : Fault{};
  };
  std::vector<std::string> order;
  cluster.ForeignSet("/a", "2");
  client.GetAsync("/a", {}, [&](const Result<Node>& node) {
    order = log;
    order.push_back(node.ok() ? "read " + *node->data : node.error().ToString());
  });
  executor.Settle();
  EXPECT_THAT(order, IsEmpty());
  cluster.on_call = nullptr;
  ASSERT_TRUE(executor.AdvanceUntil([&] { return !order.empty(); }));
  EXPECT_THAT(order, ElementsAre("data_changed /a 2", "read 2"));
}

// Without a watch there is no cursor in any head, and so none that comes to where the reply waits.
TEST_F(WatchTest, AReplyDoesNotWaitForTheEventsOfForgottenWatches) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  int polls = 0;
  bool refused = true;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    if (method != "poll") {
      return Fault{};
    }
    if (refused) {
      return Fail(idl::ErrorCode::OVERLOADED);
    }
    constexpr int kPollsMax = 100;  // So that a client that asks for ever does not do so here.
    return ++polls > kPollsMax ? Mute(false) : Fault{};
  };
  cluster.ForeignSet("/a", "2");
  std::optional<Result<Node>> got;
  client.GetAsync("/a", {seconds(60)}, Into(got));
  executor.Settle();
  EXPECT_FALSE(got);
  client.Unwatch(id);
  executor.Settle();
  cluster.ForgetWatches(client.session_id());
  refused = false;
  const int connects = cluster.connects;
  ASSERT_TRUE(executor.AdvanceUntil([&] { return got.has_value(); }));
  ASSERT_TRUE(got->ok()) << got->error().ToString();
  EXPECT_EQ((*got)->data, "2");
  EXPECT_LE(polls, 5);
  EXPECT_EQ(cluster.connects, connects) << "nothing is wrong with the member";
}

// A member goes on saying how far it is when the last watch has gone.
TEST_F(WatchTest, AReplyDoesNotWaitForTheEventsOfARemovedWatch) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  bool refused = true;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return refused && method == "poll" ? Fail(idl::ErrorCode::OVERLOADED) : Fault{};
  };
  cluster.ForeignSet("/a", "2");
  std::optional<Result<Node>> got;
  client.GetAsync("/a", {seconds(60)}, Into(got));
  executor.Settle();
  EXPECT_FALSE(got);
  client.Unwatch(id);
  executor.Settle();
  EXPECT_EQ(cluster.WatchesAt(1, client.session_id()) + cluster.WatchesAt(2, client.session_id()) +
                cluster.WatchesAt(3, client.session_id()),
            0U);
  refused = false;
  ASSERT_TRUE(executor.AdvanceUntil([&] { return got.has_value(); }));
  EXPECT_TRUE(got->ok()) << got->error().ToString();
  EXPECT_THAT(log, IsEmpty());
}

TEST_F(WatchTest, GoesOnBehindAGivenCursor) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  cluster.ForeignSet("/a", "2");
  executor.Settle();
  const WatchOptions behind{.timeout = {}, .with_values = true, .from = last};
  cluster.ForeignSet("/a", "3");
  executor.Settle();
  cluster.ForeignSet("/a", "4");
  executor.Settle();
  log.clear();
  EXPECT_EQ(Watch(client, "/a", WatchMode::kPersistent, behind).code(), Code::kInvalidArgument)
      << "its other watch has had them";
  EXPECT_THAT(log, IsEmpty());
  Client& other = OpenClient();
  executor.Advance(seconds(5));
  ASSERT_TRUE(Watch(other, "/a", WatchMode::kPersistent, behind).ok());
  executor.Advance(seconds(5));
  EXPECT_THAT(log, ElementsAre("data_changed /a 3", "data_changed /a 4"));
}

TEST_F(WatchTest, AWatchTellsOnlyWhatComesAfterIt) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/x", WatchMode::kPersistent).ok());  // Keeps an older cursor alive.
  cluster.ForeignSet("/a", "2");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  cluster.BreakConnections();
  cluster.ForeignSet("/a", "3");
  ASSERT_TRUE(executor.AdvanceUntil([&] { return !log.empty(); }));
  executor.Advance(seconds(5));
  EXPECT_THAT(log, ElementsAre("data_changed /a 3"));
}

TEST_F(WatchTest, UnwatchEndsItHereAndThere) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  ASSERT_TRUE(Watch(client, "/a", WatchMode::kPersistent).ok());
  cluster.ForeignSet("/a", "2");  // Under way when the watch is ended.
  client.Unwatch(id);
  executor.Settle();
  EXPECT_THAT(log, IsEmpty());
  EXPECT_EQ(cluster.WatchesAt(Home(client), client.session_id()), 0U);
  client.Unwatch(id);  // Nothing to be done.
  executor.Settle();
}

TEST_F(WatchTest, AWatchThatCouldNotBeRegisteredIsNotThere) {
  Client& client = OpenClient();
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "addWatch" ? Mute(true) : Fault{};
  };
  EXPECT_EQ(Watch(client, "/a", WatchMode::kPersistent, {.timeout = seconds(1)}).code(),
            Code::kDeadlineExceeded);
  cluster.ForeignCreate("/a", "1");
  executor.Advance(seconds(2));
  EXPECT_THAT(log, IsEmpty());
  EXPECT_EQ(cluster.WatchesAt(Home(client), client.session_id()), 0U);
}

TEST_F(WatchTest, ASlowCallbackStopsTheFetchingNotTheSession) {
  Options options;
  options.events_queued_max = 10;
  Client& client = OpenClient(options, &callbacks);
  cluster.ForeignCreate("/a", "-");
  std::optional<Result<std::int64_t>> watching;
  client.WatchAsync("/a", WatchMode::kPersistent, Log(), {}, Into(watching));
  executor.Settle();
  for (int i = 0; i < 50; ++i) {
    cluster.ForeignSet("/a", std::to_string(i));
    executor.Advance(milliseconds(100));
  }
  EXPECT_LE(callbacks.size(), 13U) << "the others stay with the cluster";
  executor.Advance(seconds(30));
  EXPECT_GT(client.valid_until(), executor.Now());
  while (log.size() < 50) {
    callbacks.Settle();
    executor.Advance(milliseconds(500));
  }
  EXPECT_EQ(log.back(), "data_changed /a 49");
  EXPECT_EQ(log.size(), 50U);
}

TEST_F(WatchTest, CallbacksMayUseTheClient) {
  Client& client = OpenClient();
  cluster.ForeignCreate("/a", "1");
  std::vector<std::string> values;
  std::function<void(const Event&)> rearm = [&](const Event&) {
    client.WatchAsync("/a", WatchMode::kDataOnce, rearm, {}, [](const auto&) {});
    client.GetAsync("/a", {}, [&](const Result<Node>& node) { values.push_back(*node->data); });
  };
  std::optional<Result<std::int64_t>> watching;
  client.WatchAsync("/a", WatchMode::kDataOnce, rearm, {}, Into(watching));
  executor.Settle();
  for (const std::string value : {"2", "3", "4"}) {
    cluster.ForeignSet("/a", value);
    executor.Settle();
  }
  EXPECT_THAT(values, ElementsAre("2", "3", "4"));
}

}  // namespace
}  // namespace conclave::client_test
