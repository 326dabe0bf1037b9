// Who is alive: heartbeats that count, expiry by the leader alone, and never early.
#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::Code;
using tree::CreateMode;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() : cluster_(ClusterOptions{}) {
    cluster_.StartAll();
    leader_ = cluster_.AwaitLeader();
  }

  // Virtual milliseconds until the cluster has no session any more.
  std::int64_t MsUntilExpired(std::int64_t limit_ms = 30'000) {
    const std::int64_t begun_ns = cluster_.loop().now_ns();
    const bool gone = cluster_.Until(
        [this] {
          const raft::MemberId leading = cluster_.leader();
          return leading != 0 && cluster_.server(leading).status().sessions == 0;
        },
        limit_ms);
    EXPECT_TRUE(gone) << "the session outlives its client";
    return (cluster_.loop().now_ns() - begun_ns) / kMs;
  }

  Cluster cluster_;
  raft::MemberId leader_ = 0;
};

TEST_F(SessionTest, ASilentSessionEndsAfterItsTimeoutAndItsEphemeralsWithIt) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open(2000));
  ASSERT_TRUE(client.Create("/e", "", CreateMode::kEphemeral).ok());
  Client witness(&cluster_, leader_, 99);
  const std::int64_t waited_ms = MsUntilExpired();
  EXPECT_GE(waited_ms, 1900) << "early";
  EXPECT_LE(waited_ms, 2600) << "late";
  ASSERT_TRUE(cluster_.AwaitConverged());
  EXPECT_FALSE(witness.Exists("/e").answer->exists);
  EXPECT_EQ(cluster_.server(leader_).status().counters.sessions_expired, 1U);
  for (const auto& call : {client.Create("/x").code(), client.Get("/").code(),
                           client.Poll(10).code(), client.Ping().code()}) {
    EXPECT_EQ(call, Code::kSessionExpired);
  }
}

TEST_F(SessionTest, EphemeralsGoAtTheZxidOfTheClose) {
  Client owner(&cluster_, cluster_.Follower(0), 1);
  Client witness(&cluster_, cluster_.Follower(1), 2);
  ASSERT_TRUE(owner.Open());
  ASSERT_TRUE(witness.Open());
  ASSERT_TRUE(owner.Create("/e1", "", CreateMode::kEphemeral).ok());
  ASSERT_TRUE(owner.Create("/e2", "", CreateMode::kEphemeral).ok());
  ASSERT_TRUE(cluster_.AwaitConverged());
  ASSERT_TRUE(witness.AddWatch(1, "/", tree::WatchMode::kPersistentRecursive).ok());
  witness.StartPolling();
  const auto closed = owner.Close();
  ASSERT_TRUE(closed.ok()) << closed.message();
  ASSERT_TRUE(cluster_.Until([&] { return witness.seen().size() >= 2; }));
  EXPECT_EQ(witness.seen()[0].path, "/e1");
  EXPECT_EQ(witness.seen()[1].path, "/e2");
  EXPECT_EQ(witness.seen()[0].cursor.zxid, closed.head.zxid);
  EXPECT_EQ(witness.seen()[1].cursor.zxid, closed.head.zxid);
}

TEST_F(SessionTest, HeartbeatsAtAFollowerKeepASessionAndAreConfirmed) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open(1500));
  client.StartPolling(400);
  cluster_.RunMs(10'000);
  EXPECT_EQ(cluster_.server(leader_).status().sessions, 1U);
  ASSERT_TRUE(client.confirmed_age_ms().has_value());
  EXPECT_LT(*client.confirmed_age_ms(), 1000);
  EXPECT_EQ(client.polls_failed(), 0U);
}

TEST_F(SessionTest, ANewLeaderGivesEverySessionItsFullTimeout) {
  Client client(&cluster_, cluster_.Follower());
  ASSERT_TRUE(client.Open(3000));
  cluster_.RunMs(2500);
  cluster_.Kill(leader_);
  ASSERT_NE(cluster_.AwaitLeader(), 0U);
  const std::int64_t waited_ms = MsUntilExpired();
  EXPECT_GE(waited_ms, 2800) << "a session was expired early after a fail-over";
  EXPECT_LE(waited_ms, 3800);
}

TEST_F(SessionTest, ALeaderThatWasStoppedExpiresNobodyForIt) {
  ClusterOptions options;
  options.members = 1;
  Cluster one(std::move(options));
  one.StartAll();
  ASSERT_EQ(one.AwaitLeader(), 1U);
  Client client(&one, 1);
  ASSERT_TRUE(client.Open(2000));
  one.Pause(1, 5000 * kMs);
  one.RunMs(5001);
  one.RunMs(1500);
  EXPECT_EQ(one.server(1).status().sessions, 1U) << "expired for the server's own absence";
  EXPECT_TRUE(client.Ping().ok());
  one.RunMs(4000);
  EXPECT_EQ(one.server(1).status().sessions, 0U);
}

TEST_F(SessionTest, ALaggingMemberDoesNotCallANewSessionExpired) {
  const raft::MemberId lagging = cluster_.Follower(0);
  ASSERT_TRUE(cluster_.AwaitConverged());
  cluster_.network().Isolate(lagging);
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  client.MoveTo(lagging);
  cluster_.loop().At(cluster_.loop().now_ns() + 700 * kMs,
                     [this] { cluster_.network().HealAll(); });
  const auto created = client.Create("/a");
  EXPECT_TRUE(created.ok()) << created.message();
}

TEST_F(SessionTest, ACutOffMemberSaysSoInsteadOfExpired) {
  const raft::MemberId lagging = cluster_.Follower(0);
  ASSERT_TRUE(cluster_.AwaitConverged());
  cluster_.network().Isolate(lagging);
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  client.MoveTo(lagging);
  EXPECT_EQ(client.Create("/a").code(), Code::kUnavailable);
}

TEST_F(SessionTest, AWrongSecretIsNotTheSession) {
  Client client(&cluster_, leader_);
  ASSERT_TRUE(client.Open());
  Client thief(&cluster_, leader_, 3);
  thief.Impersonate(client.session(), tree::Bytes16{1});
  EXPECT_EQ(thief.Create("/a").code(), Code::kSessionExpired);
  EXPECT_TRUE(client.Create("/a").ok());
}

TEST_F(SessionTest, AFollowerCutOffDropsItsPolls) {
  const raft::MemberId cut = cluster_.Follower(0);
  Client client(&cluster_, cut);
  ASSERT_TRUE(client.Open(3000));
  std::optional<Code> code;
  PollRequest request;
  request.wait_ms = 60'000;
  cluster_.server(cut).Poll(client.MakeCaller(false), request,
                            [&code](const ReplyHead&, const Answer<PollReply>& answer) {
                              code = answer ? Code::kOk : answer.error().error.code;
                            });
  cluster_.RunMs(200);
  ASSERT_FALSE(code.has_value());
  cluster_.network().Isolate(cut);
  const std::int64_t begun_ns = cluster_.loop().now_ns();
  ASSERT_TRUE(cluster_.Until([&] { return code.has_value(); }));
  EXPECT_EQ(*code, Code::kUnavailable);
  // A third of the shortest timeout, and before the session itself can be over.
  EXPECT_LE((cluster_.loop().now_ns() - begun_ns) / kMs, 1300);
  EXPECT_EQ(client.Poll(1000).code(), Code::kUnavailable);
  EXPECT_EQ(cluster_.server(cut).status().polls_parked, 0U);
}

TEST_F(SessionTest, ASessionGoesOnAtAnotherMemberWithItsSecret) {
  Client client(&cluster_, cluster_.Follower(0));
  ASSERT_TRUE(client.Open(3000));
  ASSERT_TRUE(client.Create("/e", "", CreateMode::kEphemeral).ok());
  cluster_.Kill(client.member());
  client.MoveTo(leader_);
  const auto ping = client.Ping();
  ASSERT_TRUE(ping.ok()) << ping.message();
  EXPECT_EQ(ping.answer->timeout_ms, 3000);
  EXPECT_TRUE(client.Exists("/e").answer->exists);
}

// A write that is stuck at a member when another process goes on with its session: it must not take
// the number of a write of that process, and the answer to that must not be its own.
TEST_F(SessionTest, AWriteThatIsOvertakenByATakeOverIsNotExecuted) {
  const raft::MemberId cut = cluster_.Follower(0);
  Client old(&cluster_, cut);
  ASSERT_TRUE(old.Open(10'000));
  ASSERT_TRUE(old.Create("/before").ok());
  ASSERT_TRUE(cluster_.AwaitConverged());
  cluster_.network().Isolate(cut);
  std::optional<Code> stuck;
  old.SendWrite(tree::Create{"/stuck"}, [&](const ReplyHead&, const Answer<WriteReply>& answer) {
    stuck = answer ? Code::kOk : answer.error().error.code;
  });
  cluster_.RunMs(20);

  Client fresh(&cluster_, leader_, 3);
  fresh.Impersonate(old.session(), old.secret());
  Caller caller = fresh.MakeCaller(false);
  const auto take_over = [&](std::int64_t seq) {
    caller.seq = seq;
    std::optional<Answer<WriteReply>> taken;
    cluster_.server(leader_).Write(
        caller, tree::TakeOver{},
        [&](const ReplyHead&, Answer<WriteReply> answer) { taken = std::move(answer); });
    EXPECT_TRUE(cluster_.Until([&] { return taken.has_value(); }));
    return *taken;
  };
  const auto gap = take_over(std::int64_t{1} << 52);
  ASSERT_FALSE(gap.has_value());
  EXPECT_EQ(gap.error().error.code, Code::kSequenceGap);
  EXPECT_EQ(gap.error().expected_seq, 2) << "the number of the write that is stuck";
  const auto taken = take_over(2);
  ASSERT_TRUE(taken.has_value());
  EXPECT_GT(taken->expected_seq, 1'000'000);
  const auto again = take_over(2);
  ASSERT_FALSE(again.has_value()) << "it is not known whose the number was";
  EXPECT_EQ(again.error().expected_seq, taken->expected_seq);

  cluster_.network().HealAll();
  ASSERT_TRUE(cluster_.Until([&] { return stuck.has_value(); }));
  EXPECT_NE(*stuck, Code::kOk);
  caller.seq = taken->expected_seq;
  std::optional<Answer<WriteReply>> made;
  cluster_.server(leader_).Write(
      caller, tree::Create{"/fresh"},
      [&](const ReplyHead&, Answer<WriteReply> answer) { made = std::move(answer); });
  ASSERT_TRUE(cluster_.Until([&] { return made.has_value(); }));
  ASSERT_TRUE(made->has_value());
  EXPECT_EQ((*made)->path, "/fresh");
  Client onlooker(&cluster_, leader_, 5);
  ASSERT_TRUE(onlooker.Open());
  EXPECT_FALSE(onlooker.Exists("/stuck").answer->exists);
  EXPECT_EQ(old.Create("/late").code(), Code::kSessionExpired);
}

TEST_F(SessionTest, ARepeatedOpenGetsTheSameSession) {
  OpenSessionRequest request;
  request.timeout_ms = 5000;
  request.nonce = {7, 7};
  std::vector<OpenSessionReply> replies;
  for (const raft::MemberId member : {leader_, cluster_.Follower()}) {
    cluster_.server(member).OpenSession(
        request, [&replies](const ReplyHead&, const Answer<OpenSessionReply>& answer) {
          replies.push_back(answer ? *answer : OpenSessionReply{});
        });
  }
  ASSERT_TRUE(cluster_.Until([&] { return replies.size() == 2; }));
  EXPECT_NE(replies[0].session, 0);
  EXPECT_EQ(replies[0].session, replies[1].session);
  EXPECT_EQ(replies[0].secret, replies[1].secret);
}

}  // namespace
}  // namespace conclave::server::testing
