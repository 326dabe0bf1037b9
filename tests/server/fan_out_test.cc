// A change that many watch: who made it does not wait for them, nobody sees the state before the
// event, and nobody is forgotten.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "coord/server/homes.h"
#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

constexpr int kWatchers = 1'500;

class FanOutTest : public ::testing::Test {
 protected:
  FanOutTest() : cluster_(OneMember()), writer_(&cluster_, 1, 1) {
    cluster_.StartAll();
    EXPECT_EQ(cluster_.AwaitLeader(), 1U);
    EXPECT_TRUE(writer_.Open(60'000));
    EXPECT_TRUE(writer_.Create("/a", "0").ok());
    for (int i = 0; i < kWatchers; ++i) {
      auto& watcher =
          watchers_.emplace_back(std::make_unique<Client>(&cluster_, 1, std::uint64_t{2} + i));
      EXPECT_TRUE(watcher->Open(60'000));
      EXPECT_TRUE(watcher->AddWatch(1, "/a", tree::WatchMode::kPersistent).ok());
      Park(*watcher);
    }
  }

  static ClusterOptions OneMember() {
    ClusterOptions options;
    options.members = 1;
    return options;
  }

  void Park(Client& watcher) {
    PollRequest request;
    request.cursor = watcher.cursor();
    request.wait_ms = 50'000;
    cluster_.server(1).Poll(watcher.MakeCaller(false), request,
                            [this, session = watcher.session()](const ReplyHead& head,
                                                                const Answer<PollReply>& answer) {
                              EXPECT_TRUE(answer.has_value());
                              EXPECT_EQ(head.events.size(), 1U);
                              told_.push_back(session);
                            });
  }

  std::vector<std::int64_t> told_;  // sessions, in the order of the answers
  Cluster cluster_;
  Client writer_;
  std::vector<std::unique_ptr<Client>> watchers_;
};

TEST_F(FanOutTest, TheWriterIsAnsweredBeforeMostOthersAreTold) {
  bool answered = false;
  std::size_t parked = 0;
  writer_.SendWrite(tree::SetData{.path = "/a", .data = "1"},
                    [&](const ReplyHead&, const Answer<WriteReply>& answer) {
                      EXPECT_TRUE(answer.has_value());
                      answered = true;
                      parked = cluster_.server(1).status().polls_parked;
                    });
  ASSERT_TRUE(cluster_.Until([&] { return answered; }));
  EXPECT_GE(parked, kWatchers - 100U) << "they are told when the answer is on its way";
  ASSERT_TRUE(cluster_.Until([&] { return told_.size() == kWatchers; }));
  std::sort(told_.begin(), told_.end());
  EXPECT_EQ(std::unique(told_.begin(), told_.end()), told_.end()) << "each once";
}

TEST_F(FanOutTest, WhoHasNotBeenToldIsToldBeforeAReplyThatShowsTheState) {
  Client& late = *watchers_.back();
  std::vector<std::string> order;
  writer_.SendWrite(tree::SetData{.path = "/a", .data = "1"}, [&](const ReplyHead&,
                                                                  const Answer<WriteReply>&) {
    ASSERT_EQ(std::count(told_.begin(), told_.end(), late.session()), 0);
    ReadRequest request;
    request.op = GetRequest{"/a"};
    request.mode = ReadMode::kSession;
    cluster_.server(1).Read(late.MakeCaller(false), request,
                            [&](const ReplyHead& head, const Answer<ReadReply>& answer) {
                              ASSERT_TRUE(answer.has_value());
                              EXPECT_EQ(answer->value->data(), "1");
                              EXPECT_TRUE(head.events.empty()) << "the parked poll has taken them";
                              EXPECT_EQ(std::count(told_.begin(), told_.end(), late.session()), 1);
                              order.emplace_back("read");
                            });
  });
  ASSERT_TRUE(cluster_.Until([&] { return told_.size() == kWatchers && order.size() == 1; }));
}

TEST_F(FanOutTest, TellingWorksWhileOthersComeAndGo) {
  // Half of the sessions end while the change is being told; the other half is told all the same.
  bool answered = false;
  writer_.SendWrite(tree::SetData{.path = "/a", .data = "1"},
                    [&](const ReplyHead&, const Answer<WriteReply>&) { answered = true; });
  int closed = 0;
  for (int i = 0; i < kWatchers; i += 2) {
    cluster_.server(1).CloseSession(
        watchers_[i]->MakeCaller(true),
        [&closed](const ReplyHead&, const Answer<Nothing>&) { ++closed; });
  }
  ASSERT_TRUE(cluster_.Until(
      [&] { return answered && closed == kWatchers / 2 && told_.size() == kWatchers; }, 60'000));
  EXPECT_EQ(cluster_.server(1).status().polls_parked, 0U);
}

// --- the homes alone -----------------------------------------------------------------------------

struct LoneHomes {
  LoneHomes() : homes(MakeLinks(), {}, 0) {}

  Homes::Links MakeLinks() {
    Homes::Links links;
    links.counters = &counters;
    links.poll_wait_ms_max = 60'000;
    links.head = [](std::int64_t) { return ReplyHead{}; };
    links.timeout_ms = [](std::int64_t) { return 10'000; };
    links.elsewhere = [](tree::Cursor) { return std::vector<std::string>{}; };
    links.deliver = [](auto answer) { answer(); };
    return links;
  }

  void Watch(std::int64_t session, const std::string& path) {
    homes.Register(session, {.id = 1, .path = path, .mode = tree::WatchMode::kPersistent}, {}, 0);
    homes.Wake(100);  // what a registration asks to look at
  }

  void Park(std::int64_t session) {
    PollRequest request;
    request.cursor = homes.hub().window().end();
    request.wait_ms = 1'000;
    homes.Poll(session, request, 0, [this, session](const ReplyHead&, const Answer<PollReply>&) {
      told.push_back(session);
    });
  }

  void Change(const std::string& path) {
    tree::Change change;
    change.type = tree::ChangeType::kDataChanged;
    change.path = path;
    change.value = tree::Value::Make({}, path.substr(1), "v");
    change.zxid = ++zxid;
    homes.Apply(zxid, {change});
  }

  Counters counters;
  Homes homes;
  std::vector<std::int64_t> told;
  std::int64_t zxid = 0;
};

TEST(HomesTest, ASliceTellsSoManyAndTheRestIsNext) {
  LoneHomes lone;
  for (std::int64_t session = 1; session <= 10; ++session) {
    lone.Watch(session, "/a");
    lone.Park(session);
  }
  lone.Change("/a");
  EXPECT_TRUE(lone.homes.Wake(4));
  EXPECT_EQ(lone.told.size(), 4U);
  EXPECT_TRUE(lone.homes.Wake(4));
  EXPECT_FALSE(lone.homes.Wake(4));
  EXPECT_EQ(lone.told.size(), 10U);
}

TEST(HomesTest, NobodyWaitsBehindThoseThatAreToldAllTheTime) {
  LoneHomes lone;
  for (const std::int64_t session : {1, 2, 3}) {
    lone.Watch(session, "/busy");
  }
  lone.Watch(9, "/calm");
  lone.Park(9);
  lone.Change("/calm");
  for (int i = 0; i < 6; ++i) {
    for (const std::int64_t session : {1, 2, 3}) {
      lone.Park(session);
    }
    lone.Change("/busy");
    lone.homes.Wake(1);
  }
  EXPECT_EQ(std::count(lone.told.begin(), lone.told.end(), 9), 1);
}

}  // namespace
}  // namespace conclave::server::testing
