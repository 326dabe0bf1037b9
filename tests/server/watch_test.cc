// Events: before any reply that shows their state, each once, none lost, also across members.
#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::EventType;
using tree::WatchMode;

class WatchTest : public ::testing::Test {
 protected:
  WatchTest() : cluster_(ClusterOptions{}) {
    cluster_.StartAll();
    leader_ = cluster_.AwaitLeader();
  }

  static std::vector<std::string> Values(const Client& client) {
    std::vector<std::string> values;
    for (const Seen& seen : client.seen()) {
      values.push_back(seen.value.value_or("-"));
    }
    return values;
  }

  Cluster cluster_;
  raft::MemberId leader_ = 0;
};

TEST_F(WatchTest, AWriterThatWatchesGetsTheEventInFrontOfItsReply) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "0").ok());
  ASSERT_TRUE(client
                  .Get("/a", ReadMode::kLinearizable,
                       ReadWatch{.watch_id = 3, .mode = {}, .with_value = false})
                  .ok());
  const auto set = client.Set("/a", "1");
  ASSERT_TRUE(set.ok());
  ASSERT_EQ(set.head.events.size(), 1U);
  EXPECT_EQ(set.head.events[0].type, EventType::kDataChanged);
  EXPECT_EQ(set.head.events[0].cursor.zxid, set.head.zxid);
  // One-shot: the next change is not told.
  EXPECT_TRUE(client.Set("/a", "2").head.events.empty());
}

TEST_F(WatchTest, AParkedPollIsAnsweredBeforeTheReply) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "0").ok());
  ASSERT_TRUE(client.AddWatch(1, "/a", WatchMode::kPersistent).ok());
  std::vector<std::string> order;
  PollRequest request;
  request.cursor = client.cursor();
  request.wait_ms = 5000;
  cluster_.server(client.member())
      .Poll(client.MakeCaller(false), request,
            [&order](const ReplyHead& head, const Answer<PollReply>&) {
              order.push_back("poll with " + std::to_string(head.events.size()));
            });
  client.SendWrite(tree::SetData{.path = "/a", .data = "1"},
                   [&order](const ReplyHead& head, const Answer<WriteReply>&) {
                     order.push_back("reply with " + std::to_string(head.events.size()));
                   });
  ASSERT_TRUE(cluster_.Until([&] { return order.size() == 2; }));
  EXPECT_EQ(order, (std::vector<std::string>{"poll with 1", "reply with 0"}));
}

TEST_F(WatchTest, ChangesOfOthersArriveInOrderWithTheirValues) {
  Client watcher(&cluster_, cluster_.Follower(0), 1);
  Client writer(&cluster_, cluster_.Follower(1), 2);
  ASSERT_TRUE(watcher.Open());
  ASSERT_TRUE(writer.Open());
  ASSERT_TRUE(writer.Create("/c", "0").ok());
  ASSERT_TRUE(cluster_.AwaitConverged());  // a watch tells of what its member applies from now on
  ASSERT_TRUE(watcher.AddWatch(1, "/c", WatchMode::kPersistentRecursive, true).ok());
  watcher.StartPolling();
  std::vector<std::string> wanted;
  for (int i = 1; i <= 10; ++i) {
    wanted.push_back(std::to_string(i));
    ASSERT_TRUE(writer.Set("/c", wanted.back()).ok());
  }
  ASSERT_TRUE(cluster_.Until([&] { return watcher.seen().size() >= 10; }));
  EXPECT_EQ(Values(watcher), wanted);
}

TEST_F(WatchTest, ResumedElsewhereItSeesExactlyWhatItMissed) {
  Client watcher(&cluster_, cluster_.Follower(0), 1);
  Client writer(&cluster_, leader_, 2);
  ASSERT_TRUE(watcher.Open());
  ASSERT_TRUE(writer.Open());
  ASSERT_TRUE(writer.Create("/c", "0").ok());
  ASSERT_TRUE(cluster_.AwaitConverged());  // a watch tells of what its member applies from now on
  ASSERT_TRUE(watcher.AddWatch(1, "/c", WatchMode::kPersistent, true).ok());
  ASSERT_TRUE(writer.Set("/c", "1").ok());
  ASSERT_TRUE(watcher.Poll(1000).ok());
  ASSERT_EQ(Values(watcher), (std::vector<std::string>{"1"}));

  cluster_.Kill(watcher.member());
  ASSERT_TRUE(writer.Set("/c", "2").ok());
  ASSERT_TRUE(writer.Delete("/c").ok());
  ASSERT_TRUE(writer.Create("/c", "3").ok());
  watcher.MoveTo(leader_);
  ASSERT_TRUE(
      watcher.Resume({{.id = 1, .path = "/c", .mode = WatchMode::kPersistent, .with_value = true}})
          .ok());
  watcher.StartPolling();
  ASSERT_TRUE(writer.Set("/c", "4").ok());
  ASSERT_TRUE(cluster_.Until([&] { return watcher.seen().size() >= 5; }));
  EXPECT_FALSE(watcher.resync());
  std::vector<EventType> types;
  for (const Seen& seen : watcher.seen()) {
    types.push_back(seen.type);
  }
  EXPECT_EQ(types, (std::vector<EventType>{EventType::kDataChanged, EventType::kDataChanged,
                                           EventType::kDeleted, EventType::kCreated,
                                           EventType::kDataChanged}));
  EXPECT_EQ(watcher.seen().back().value, "4");
}

TEST_F(WatchTest, PastTheWindowTheAnswerIsAnExplicitResync) {
  ClusterOptions options;
  options.members = 1;
  options.tune = [](Options& tuned) { tuned.watch_window_changes = 4; };
  Cluster small(std::move(options));
  small.StartAll();
  ASSERT_EQ(small.AwaitLeader(), 1U);
  Client client(&small, 1);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(client.Set("/a", std::to_string(i)).ok());
  }
  const auto resumed = client.Resume({{.id = 1, .path = "/a", .mode = WatchMode::kPersistent}});
  ASSERT_TRUE(resumed.ok());
  EXPECT_TRUE(resumed.head.resync);
  EXPECT_TRUE(resumed.answer->elsewhere.empty());
}

TEST_F(WatchTest, APollWakesAtAZxid) {
  Client client(&cluster_, cluster_.Follower(0), 1);
  Client writer(&cluster_, leader_, 2);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(writer.Open());
  const auto set = writer.Create("/far", "1");
  ASSERT_TRUE(set.ok());
  const std::int64_t begun_ns = cluster_.loop().now_ns();
  const auto polled = client.Poll(30'000, set.head.zxid);
  ASSERT_TRUE(polled.ok());
  EXPECT_GE(polled.head.zxid, set.head.zxid);
  EXPECT_LT(cluster_.loop().now_ns() - begun_ns, 1000 * kMs);
}

TEST_F(WatchTest, AThirdPollAnswersTheOldest) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  std::vector<int> order;
  PollRequest request;
  request.wait_ms = 5000;
  for (int i = 1; i <= 3; ++i) {
    cluster_.server(leader_).Poll(
        client.MakeCaller(false), request,
        [&order, i](const ReplyHead&, const Answer<PollReply>&) { order.push_back(i); });
  }
  ASSERT_TRUE(cluster_.Until([&] { return !order.empty(); }, 100));
  EXPECT_EQ(order, std::vector<int>{1});
  EXPECT_EQ(cluster_.server(leader_).status().polls_parked, 2U);
  ASSERT_TRUE(cluster_.Until([&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_F(WatchTest, AShortPollBehindALongOneIsAnsweredInTime) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open(60'000));
  std::vector<int> order;
  for (const int wait_ms : {50'000, 200}) {
    PollRequest request;
    request.wait_ms = wait_ms;
    cluster_.server(leader_).Poll(client.MakeCaller(false), request,
                                  [&order, wait_ms](const ReplyHead&, const Answer<PollReply>&) {
                                    order.push_back(wait_ms);
                                  });
  }
  ASSERT_TRUE(cluster_.Until([&] { return order.size() == 2; }, 400));
  EXPECT_EQ(order, (std::vector<int>{50'000, 200}));
}

TEST_F(WatchTest, APollIsAnsweredFromItsOwnCursor) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "0").ok());
  ASSERT_TRUE(client.AddWatch(1, "/a", WatchMode::kPersistent).ok());
  PollRequest request;
  request.cursor = client.cursor();
  request.wait_ms = 5000;
  // Two polls of one client, the first of them on a connection that has died meanwhile: what the
  // first was answered with never arrives, so the second has to bring it.
  std::vector<std::size_t> told;
  for (int i = 0; i < 2; ++i) {
    cluster_.server(leader_).Poll(client.MakeCaller(false), request,
                                  [&told](const ReplyHead& head, const Answer<PollReply>&) {
                                    told.push_back(head.events.size());
                                  });
  }
  Client writer(&cluster_, leader_, 9);
  ASSERT_TRUE(writer.Open());
  ASSERT_TRUE(writer.Set("/a", "1").ok());
  ASSERT_TRUE(cluster_.Until([&] { return told.size() == 1; }));
  ASSERT_TRUE(writer.Set("/a", "2").ok());
  ASSERT_TRUE(cluster_.Until([&] { return told.size() == 2; }));
  EXPECT_EQ(told, (std::vector<std::size_t>{1, 2}));
}

TEST_F(WatchTest, ALostPollAnswerIsGivenAgain) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "0").ok());
  ASSERT_TRUE(client.AddWatch(1, "/a", WatchMode::kPersistent).ok());
  const tree::Cursor before = client.cursor();
  ASSERT_TRUE(client.Set("/a", "1").ok());
  ASSERT_EQ(client.seen().size(), 1U);
  // As if that reply had been lost: the poll still names the old place.
  PollRequest request;
  request.cursor = before;
  std::optional<ReplyHead> head;
  cluster_.server(client.member())
      .Poll(client.MakeCaller(false), request,
            [&head](ReplyHead answered, const Answer<PollReply>&) { head = std::move(answered); });
  ASSERT_TRUE(cluster_.Until([&] { return head.has_value(); }));
  ASSERT_EQ(head->events.size(), 1U);
  EXPECT_EQ(head->events[0].path(), "/a");
}

TEST_F(WatchTest, AHomeThatItsSessionLeftIsForgotten) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open(1000));
  ASSERT_TRUE(client.AddWatch(1, "/", WatchMode::kPersistentRecursive).ok());
  EXPECT_EQ(cluster_.server(leader_).status().watches, 1U);
  const raft::MemberId old_home = leader_;
  client.MoveTo(cluster_.Follower());
  client.StartPolling(300);
  EXPECT_TRUE(
      cluster_.Until([&] { return cluster_.server(old_home).status().watches == 0; }, 10'000));
  EXPECT_EQ(cluster_.server(old_home).status().sessions, 1U) << "the session itself lives on";
}

}  // namespace
}  // namespace conclave::server::testing
