// What stands over replies: as many events as one answer takes, and an honest word on the rest.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

ClusterOptions OneMember() {
  ClusterOptions options;
  options.members = 1;
  return options;
}

class HeadTest : public ::testing::Test {
 protected:
  HeadTest() : cluster_(OneMember()), watcher_(&cluster_, 1, 1) {
    cluster_.StartAll();
    EXPECT_EQ(cluster_.AwaitLeader(), 1U);
    EXPECT_TRUE(watcher_.Open(60'000));
    EXPECT_TRUE(watcher_.AddWatch(1, "/", tree::WatchMode::kPersistentRecursive, true).ok());
  }

  // Changes by somebody else.
  void Change(int count) {
    Client writer(&cluster_, 1, 2);
    ASSERT_TRUE(writer.Open(60'000));
    int left = count;
    for (int i = 0; i < count; ++i) {
      writer.SendWrite(tree::Create{.path = "/n" + std::to_string(i),
                                    .data = std::to_string(i),
                                    .mode = tree::CreateMode::kPersistent},
                       [&left](const ReplyHead&, const Answer<WriteReply>& answer) {
                         EXPECT_TRUE(answer.has_value());
                         --left;
                       });
    }
    ASSERT_TRUE(cluster_.Until([&left] { return left == 0; }));
  }

  Called<ReadReply> Read(bool no_events) {
    Called<ReadReply> called;
    Caller caller = watcher_.MakeCaller(false);
    caller.no_events = no_events;
    ReadRequest request;
    request.op = GetRequest{"/n0"};
    cluster_.server(1).Read(caller, request, [&called](ReplyHead head, Answer<ReadReply> answer) {
      called.answered = true;
      called.head = std::move(head);
      called.answer = std::move(answer);
    });
    EXPECT_TRUE(cluster_.Until([&called] { return called.answered; }));
    return called;
  }

  Cluster cluster_;
  Client watcher_;
};

TEST_F(HeadTest, AReplyTakesNoMoreEventsThanAPollAndSaysThatThereAreMore) {
  constexpr int kChanges = 3'000;
  Change(kChanges);
  const auto got = watcher_.Get("/n0");
  ASSERT_TRUE(got.ok());
  EXPECT_LE(got.head.events.size(), 1'000U);
  ASSERT_TRUE(got.head.cursor.has_value());
  EXPECT_LT(got.head.cursor->zxid, got.head.zxid) << "nothing says that there is more";
  // What the contract tells a client to do then.
  int polls = 0;
  while (watcher_.cursor().zxid < got.head.zxid && polls++ < 10) {
    ASSERT_TRUE(watcher_.Poll(0).ok());
  }
  ASSERT_EQ(watcher_.seen().size(), static_cast<std::size_t>(kChanges));
  for (int i = 0; i < kChanges; ++i) {
    EXPECT_EQ(watcher_.seen()[static_cast<std::size_t>(i)].path, "/n" + std::to_string(i));
  }
  EXPECT_FALSE(watcher_.resync());
}

TEST_F(HeadTest, ACompleteHeadReachesTheStateThatItShows) {
  Change(10);
  const auto got = watcher_.Get("/n0");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.head.events.size(), 10U);
  EXPECT_GE(got.head.cursor->zxid, got.head.zxid);
  Client other(&cluster_, 1, 3);
  ASSERT_TRUE(other.Open());  // an entry that concerns no watch
  const auto again = watcher_.Get("/n0");
  EXPECT_TRUE(again.head.events.empty());
  EXPECT_GE(again.head.cursor->zxid, again.head.zxid);
}

// A queue that is full of what has been told and not acknowledged hides what lies behind it.
TEST_F(HeadTest, WithoutEventsTheHeadNamesTheEndAlsoBehindAFullQueue) {
  Change(3'000);
  PollRequest request;
  request.cursor = watcher_.cursor();
  request.events_max = 10'000;
  bool polled = false;
  cluster_.server(1).Poll(watcher_.MakeCaller(false), request,
                          [&polled](const ReplyHead& head, const Answer<PollReply>& answer) {
                            EXPECT_TRUE(answer.has_value());
                            EXPECT_LT(head.events.size(), 3'000U);
                            polled = true;
                          });
  ASSERT_TRUE(cluster_.Until([&polled] { return polled; }));
  const auto got = Read(/*no_events=*/true);
  ASSERT_TRUE(got.ok());
  EXPECT_TRUE(got.head.events.empty());
  EXPECT_GE(got.head.cursor->zxid, got.head.zxid) << "the client would not wait for the rest";
}

// Ids of sessions can be guessed; whoever does not know the secret gets nothing of theirs.
TEST_F(HeadTest, ARefusalToAStrangerCarriesNoEventsAndTakesNone) {
  bool polled = false;
  PollRequest request;
  request.cursor = watcher_.cursor();
  request.wait_ms = 2'000;
  Change(1);
  Client thief(&cluster_, 1, 6);
  thief.Impersonate(watcher_.session(), tree::Bytes16{1});
  const auto stolen = thief.Create("/mine");
  EXPECT_EQ(stolen.code(), tree::Code::kSessionExpired);
  EXPECT_TRUE(stolen.head.events.empty());
  EXPECT_FALSE(stolen.head.confirmed_age_ms.has_value());
  Caller caller = thief.MakeCaller(false);  // without a number: refused before the secret is seen
  bool refused = false;
  cluster_.server(1).Write(caller, tree::SetData{.path = "/n0", .data = "x"},
                           [&refused](const ReplyHead& head, const Answer<WriteReply>& answer) {
                             EXPECT_FALSE(answer.has_value());
                             EXPECT_TRUE(head.events.empty());
                             refused = true;
                           });
  ASSERT_TRUE(cluster_.Until([&refused] { return refused; }));
  cluster_.server(1).Poll(watcher_.MakeCaller(false), request,
                          [&polled](const ReplyHead& head, const Answer<PollReply>&) {
                            EXPECT_EQ(head.events.size(), 1U);
                            polled = true;
                          });
  ASSERT_TRUE(cluster_.Until([&polled] { return polled; }));
}

// A client whose application is slow stops polling and only shows that it lives.
TEST_F(HeadTest, AClientThatOnlyPingsKeepsItsWatches) {
  Client slow(&cluster_, 1, 4);
  ASSERT_TRUE(slow.Open(1'000));
  ASSERT_TRUE(slow.AddWatch(1, "/x", tree::WatchMode::kPersistent).ok());
  for (int i = 0; i < 20; ++i) {
    Caller caller = slow.MakeCaller(false);
    caller.no_events = true;
    cluster_.server(1).Ping(caller, [](const ReplyHead&, const Answer<PingReply>& answer) {
      EXPECT_TRUE(answer.has_value());
    });
    cluster_.RunMs(300);
  }
  Client writer(&cluster_, 1, 5);
  ASSERT_TRUE(writer.Open());
  ASSERT_TRUE(writer.Create("/x", "1").ok());
  ASSERT_TRUE(slow.Poll(1'000).ok());
  ASSERT_EQ(slow.seen().size(), 1U) << "the watch was forgotten without a word";
}

}  // namespace
}  // namespace conclave::server::testing
