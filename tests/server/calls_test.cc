// What a caller may rely on, whichever member it calls.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::Code;
using tree::CreateMode;

class CallsTest : public ::testing::Test {
 protected:
  CallsTest() : cluster_(ClusterOptions{}) {
    cluster_.StartAll();
    leader_ = cluster_.AwaitLeader();
  }

  Cluster cluster_;
  raft::MemberId leader_ = 0;
};

TEST_F(CallsTest, AWriteAtAFollowerIsForwardedAndAnsweredThere) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  const auto created = client.Create("/a", "1");
  ASSERT_TRUE(created.ok()) << created.message();
  EXPECT_EQ(created.head.member, client.member());
  EXPECT_EQ(created.answer->path, "/a");
  EXPECT_GT(cluster_.server(client.member()).status().counters.writes_forwarded, 0U);
  // Answered means applied here: a stale read at the same member shows it.
  const auto got = client.Get("/a", ReadMode::kStale);
  ASSERT_TRUE(got.ok()) << got.message();
  EXPECT_EQ(got.answer->value->data(), "1");
  EXPECT_GE(got.head.zxid, created.head.zxid);
}

TEST_F(CallsTest, ErrorsOfTheTreeAreAnswersWithTheirPath) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  const auto missing = client.Set("/none", "1");
  EXPECT_EQ(missing.code(), Code::kNoNode);
  EXPECT_EQ(missing.answer.error().error.path, "/none");
  ASSERT_TRUE(client.Create("/a").ok());
  EXPECT_EQ(client.Create("/a").code(), Code::kNodeExists);
  EXPECT_EQ(client.Get("/none").code(), Code::kNoNode);
  const auto exists = client.Exists("/none");
  ASSERT_TRUE(exists.ok());
  EXPECT_FALSE(exists.answer->exists);
  const auto multi = client.Write(
      tree::Multi{{tree::Create{.path = "/b", .data = "", .mode = {}}, tree::Check{"/a", 7}}});
  ASSERT_TRUE(multi.ok()) << multi.message();
  EXPECT_EQ(multi.answer->code, Code::kBadVersion);
  EXPECT_FALSE(client.Exists("/b").answer->exists);
}

TEST_F(CallsTest, ALinearizableReadAtAnyMemberSeesTheNewestWrite) {
  Client writer(&cluster_, leader_, 1);
  ASSERT_TRUE(writer.Open());
  ASSERT_TRUE(writer.Create("/a", "0").ok());
  for (int i = 1; i <= 20; ++i) {
    ASSERT_TRUE(writer.Set("/a", std::to_string(i)).ok());
    for (raft::MemberId member = 1; member <= 3; ++member) {
      Client reader(&cluster_, member, 100);  // without a session, so with no memory of zxids
      const auto got = reader.Get("/a");
      ASSERT_TRUE(got.ok()) << got.message();
      EXPECT_EQ(got.answer->value->data(), std::to_string(i)) << "at member " << member;
    }
  }
}

TEST_F(CallsTest, ReadsOfOneTurnShareARound) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  Server& server = cluster_.server(client.member());
  const std::uint64_t rounds = server.status().counters.read_rounds;
  int answered = 0;
  for (int i = 0; i < 100; ++i) {
    server.Read(Caller{}, ReadRequest{.op = ExistsRequest{"/"}, .mode = {}, .watch = {}},
                [&answered](const ReplyHead&, const Answer<ReadReply>& answer) {
                  answered += answer ? 1 : 0;
                });
  }
  ASSERT_TRUE(cluster_.Until([&] { return answered == 100; }));
  EXPECT_LE(server.status().counters.read_rounds - rounds, 2U);
}

TEST_F(CallsTest, ASessionReadNeverGoesBackAfterAMove) {
  const raft::MemberId lagging = cluster_.Follower(0);
  const raft::MemberId other = cluster_.Follower(1);
  Client client(&cluster_, other);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "old").ok());
  ASSERT_TRUE(cluster_.AwaitConverged());
  cluster_.network().Isolate(lagging);
  ASSERT_TRUE(client.Set("/a", "new").ok());

  // Stale shows what the lagging member has; session waits for what this session has seen.
  client.MoveTo(lagging);
  const auto stale = client.Get("/a", ReadMode::kStale);
  ASSERT_TRUE(stale.ok()) << stale.message();
  EXPECT_EQ(stale.answer->value->data(), "old");
  EXPECT_LT(stale.head.zxid, client.last_zxid());
  cluster_.loop().At(cluster_.loop().now_ns() + 500 * kMs,
                     [this] { cluster_.network().HealAll(); });
  const auto session = client.Get("/a", ReadMode::kSession);
  ASSERT_TRUE(session.ok()) << session.message();
  EXPECT_EQ(session.answer->value->data(), "new");
}

TEST_F(CallsTest, ReadsBehindAWriteSeeItAndWritesBehindAReadDoNotShow) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "0").ok());
  Server& server = cluster_.server(client.member());
  std::vector<std::string> order;
  const auto write = [&](const std::string& data) {
    client.SendWrite(tree::SetData{.path = "/a", .data = data},
                     [&order, data](const ReplyHead&, const Answer<WriteReply>& answer) {
                       order.push_back(answer ? "w" + data : "failed");
                     });
  };
  const auto read = [&](ReadMode mode) {
    server.Read(client.MakeCaller(false),
                ReadRequest{.op = GetRequest{"/a"}, .mode = mode, .watch = {}},
                [&order](const ReplyHead&, const Answer<ReadReply>& answer) {
                  order.push_back(answer ? "r" + std::string(answer->value->data()) : "failed");
                });
  };
  write("1");
  write("2");
  read(ReadMode::kStale);
  read(ReadMode::kLinearizable);
  write("3");
  read(ReadMode::kStale);
  ASSERT_TRUE(cluster_.Until([&] { return order.size() == 6; }));
  EXPECT_EQ(order, (std::vector<std::string>{"w1", "w2", "r2", "r2", "w3", "r3"}));
}

TEST_F(CallsTest, ARetryElsewhereAfterTheLeaderDiedGetsTheIdenticalReply) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/q").ok());
  const tree::Create create{
      .path = "/q/n-", .data = "x", .mode = CreateMode::kPersistentSequential};
  const auto first = client.Write(create);
  ASSERT_TRUE(first.ok()) << first.message();
  cluster_.Kill(leader_);
  for (raft::MemberId member = 1; member <= 3; ++member) {
    if (!cluster_.running(member)) {
      continue;
    }
    client.MoveTo(member);
    const auto again = client.Repeat(create);
    ASSERT_TRUE(again.ok()) << again.message();
    EXPECT_EQ(*again.answer, *first.answer) << "at member " << member;
  }
  EXPECT_EQ(client.Children("/q").answer->names.size(), 1U);
}

TEST_F(CallsTest, AWriteUnderWayWhenTheLeaderDiesIsExecutedOnce) {
  const raft::MemberId home = cluster_.Follower();
  Client client(&cluster_, home);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/q").ok());
  std::vector<std::string> paths;
  for (int i = 0; i < 20; ++i) {
    client.SendWrite(
        tree::Create{.path = "/q/n-", .data = "", .mode = CreateMode::kPersistentSequential},
        [&paths](const ReplyHead&, const Answer<WriteReply>& answer) {
          paths.push_back(answer ? answer->path : answer.error().error.message);
        });
  }
  cluster_.Kill(leader_);
  ASSERT_TRUE(cluster_.Until([&] { return paths.size() == 20; }));
  EXPECT_EQ(std::set<std::string>(paths.begin(), paths.end()).size(), 20U);
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end())) << "a session's writes were reordered";
  EXPECT_EQ(client.Children("/q").answer->names.size(), 20U);
}

TEST_F(CallsTest, AGapIsToldAndHasNoEffect) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open());
  Caller caller = client.MakeCaller(false);
  caller.seq = 5;
  std::optional<Failure> failure;
  cluster_.server(client.member())
      .Write(caller, tree::Create{.path = "/gap", .data = {}, .mode = {}},
             [&failure](const ReplyHead&, const Answer<WriteReply>& answer) {
               failure = answer ? Failure{} : answer.error();
             });
  ASSERT_TRUE(cluster_.Until([&] { return failure.has_value(); }));
  EXPECT_EQ(failure->error.code, Code::kSequenceGap);
  EXPECT_EQ(failure->expected_seq, 1);
  EXPECT_FALSE(client.Exists("/gap").answer->exists);
}

TEST_F(CallsTest, WithoutAMajorityWritesSayWhatIsKnownOfThem) {
  Client at_leader(&cluster_, leader_, 1);
  Client at_follower(&cluster_, cluster_.Follower(), 2);
  ASSERT_TRUE(at_leader.Open());
  ASSERT_TRUE(at_follower.Open());
  cluster_.network().Cut(1, 2);
  cluster_.network().Cut(2, 3);
  cluster_.network().Cut(1, 3);
  // Proposed and never committed: nobody can say.
  EXPECT_EQ(at_leader.Create("/a").code(), Code::kUnknownOutcome);
  // Long after, this member knows that it has no leader and never sent the write anywhere.
  cluster_.RunMs(3000);
  EXPECT_EQ(at_follower.Create("/b").code(), Code::kUnavailable);
  EXPECT_EQ(at_follower.Get("/").code(), Code::kUnavailable);
  EXPECT_TRUE(at_follower.Get("/", ReadMode::kStale).ok());
  cluster_.network().HealAll();
  ASSERT_NE(cluster_.AwaitLeader(), 0U);
  EXPECT_FALSE(at_follower.Exists("/b").answer->exists);
}

TEST_F(CallsTest, AnotherClusterIsRecognised) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  Caller caller = client.MakeCaller(false);
  caller.cluster = raft::ClusterId{1, 2, 3};
  std::optional<Code> code;
  cluster_.server(leader_).Read(caller, ReadRequest{.op = GetRequest{"/"}, .mode = {}, .watch = {}},
                                [&code](const ReplyHead&, const Answer<ReadReply>& answer) {
                                  code = answer ? Code::kOk : answer.error().error.code;
                                });
  ASSERT_TRUE(cluster_.Until([&] { return code.has_value(); }));
  EXPECT_EQ(*code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace conclave::server::testing
