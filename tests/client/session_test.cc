// The session over its life: opening, keeping, moving, losing, ending.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace conclave::client_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using enum SessionState;

class SessionTest : public ClientTest {};

TEST_F(SessionTest, IsOpenedOnceThoughTheAnswerIsLost) {
  int asked = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "openSession" && asked++ < 2 ? Break(true) : Fault{};
  };
  Client& client = OpenClient();
  EXPECT_EQ(cluster.sessions.size(), 1U);
  EXPECT_TRUE(cluster.sessions.contains(client.session_id()));
  EXPECT_THAT(states(), ElementsAre(kConnected));
}

TEST_F(SessionTest, TriesTheOthersWhenOneMemberIsDown) {
  cluster.Stop(1);
  cluster.Mute(2);
  Client& client = OpenClient();
  EXPECT_EQ(Home(client), 3);
}

TEST_F(SessionTest, ClientsSpreadOverTheMembers) {
  std::set<int> homes;
  for (int i = 0; i < 20; ++i) {
    homes.insert(Home(OpenClient()));
  }
  EXPECT_EQ(homes.size(), 3U);
}

TEST_F(SessionTest, StaysAliveByParkedPollsAlone) {
  Client& client = OpenClient();
  executor.Advance(seconds(60));
  EXPECT_THAT(states(), ElementsAre(kConnected));
  EXPECT_GT(client.valid_until(), executor.Now() + seconds(4)) << "half of the timeout is left";
  const int polls = cluster.CountCalls("poll");
  EXPECT_GE(polls, 30);
  EXPECT_LE(polls, 40) << "six per timeout";
}

TEST_F(SessionTest, MovesAtOnceToAnotherMember) {
  Client& client = OpenClient();
  const std::int64_t session = client.session_id();
  const int home = Home(client);
  executor.Advance(seconds(1));
  const BootTime before = executor.Now();
  cluster.Stop(home);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kReconnected; }));
  EXPECT_EQ(executor.Now(), before) << "without a pause";
  EXPECT_EQ(client.session_id(), session);
  EXPECT_NE(Home(client), home);
  EXPECT_THAT(states(), ElementsAre(kConnected, kSuspended, kReconnected));
}

TEST_F(SessionTest, LeavesAMemberThatFallsSilent) {
  Client& client = OpenClient();
  const int home = Home(client);
  executor.Advance(seconds(2));
  cluster.Mute(home);
  const BootTime before = executor.Now();
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kReconnected; }));
  EXPECT_LT(executor.Now() - before, seconds(6)) << "well within the session's timeout";
  EXPECT_LT(executor.Now(), client.valid_until());
}

TEST_F(SessionTest, LeavesAMemberThatIsCutOffFromTheOthers) {
  Client& client = OpenClient();
  const int home = Home(client);
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int member) {
    return method == "poll" && member == home ? Fail(idl::ErrorCode::UNAVAILABLE) : Fault{};
  };
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kReconnected; }));
  EXPECT_NE(Home(client), home);
}

TEST_F(SessionTest, FollowsTheHintOfAMemberThatCannotForward) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  const int home = Home(client);
  const int leader = home == 3 ? 1 : home + 1;
  executor.Advance(seconds(1));
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int member) {
    return method == "setData" && member != leader
               ? Fail(idl::ErrorCode::NOT_LEADER, "m" + std::to_string(leader) + ":1")
               : Fault{};
  };
  EXPECT_TRUE(Set(client, "/a", "2").ok());
  EXPECT_EQ(Home(client), leader);
}

TEST_F(SessionTest, IsLostBeforeTheClusterMayEndItAndComesBackIfItDidNot) {
  Client& client = OpenClient();
  executor.Advance(seconds(1));
  const BootTime last_contact = executor.Now();
  for (int member = 1; member <= 3; ++member) {
    cluster.Stop(member);
  }
  BootTime lost_at{};
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kLost; }));
  lost_at = executor.Now();
  EXPECT_GE(lost_at, client.valid_until());
  EXPECT_LT(lost_at, last_contact + seconds(10)) << "the session's timeout";
  executor.Advance(seconds(30));
  cluster.Start(2);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kReconnected; }));
  EXPECT_THAT(states(), ElementsAre(kConnected, kSuspended, kLost, kReconnected));
  EXPECT_GT(client.valid_until(), executor.Now());
}

TEST_F(SessionTest, IsLostWhenOnlyTheQuorumIsGone) {
  Client& client = OpenClient();
  executor.Advance(seconds(1));
  cluster.confirmed_age_ms.reset();  // The home answers, but no leader has confirmed the session.
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kLost; }));
  EXPECT_LT(executor.Now(), BootTime(seconds(1'000)) + seconds(12));
  cluster.confirmed_age_ms = 100;
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kReconnected; }));
}

TEST_F(SessionTest, ValidityCountsFromTheSendingOfTheConfirmedHeartbeat) {
  Client& client = OpenClient();
  cluster.confirmed_age_ms = 2'000;
  executor.Advance(seconds(20));
  // At best: just sent, confirmed 2 s before, 10 s timeout, 5 % margin.
  EXPECT_LE(client.valid_until(), executor.Now() + milliseconds(10'000 - 2'000 - 500));
  EXPECT_GT(client.valid_until(), executor.Now());
}

TEST_F(SessionTest, ExpiryIsLoudAndSticky) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/e", "1", CreateMode::kEphemeral).ok());
  cluster.ExpireSession(client.session_id());
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kExpired; }));
  EXPECT_THAT(states(), ElementsAre(kConnected, kSuspended, kLost, kExpired));
  const int connects = cluster.connects;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Get(client, "/").code(), Code::kSessionExpired);
    EXPECT_EQ(Set(client, "/e", "2").code(), Code::kSessionExpired);
    EXPECT_EQ(Await<std::int64_t>([&](auto done) {
                client.WatchAsync(
                    "/", WatchMode::kPersistent, [](const Event&) {}, {}, done);
              }).code(),
              Code::kSessionExpired);
  }
  executor.Advance(seconds(60));
  EXPECT_EQ(cluster.connects, connects) << "it does not come back by itself";
  EXPECT_EQ(cluster.sessions.size(), 0U) << "and no other session takes its place";
  EXPECT_FALSE(client.Save().ok());
  EXPECT_LT(client.valid_until(), executor.Now());
}

TEST_F(SessionTest, ARetryThatMeetsExpiryIsOfUnknownOutcome) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "setData" ? Mute(true) : Fault{};
  };
  std::optional<Result<Written>> sent;
  client.SetAsync("/a", "2", kAnyVersion, {}, Into(sent));
  executor.Settle();
  cluster.ExpireSession(client.session_id());
  cluster.BreakConnections();
  ASSERT_TRUE(executor.AdvanceUntil([&] { return sent.has_value(); }));
  EXPECT_EQ(sent->code(), Code::kUnknownOutcome);
  EXPECT_EQ(client.state(), kExpired);
}

TEST_F(SessionTest, AnotherClusterBehindTheEndpointsIsAnEnd) {
  Client& client = OpenClient();
  executor.Advance(seconds(1));
  cluster.cluster_id = std::string(16, 'X');
  const auto got = Get(client, "/");
  EXPECT_EQ(got.code(), Code::kSessionExpired);
  EXPECT_THAT(got.error().message, HasSubstr("another cluster"));
  EXPECT_EQ(client.state(), kExpired);
}

TEST_F(SessionTest, IsResumedByAnotherClientWithItsNumbers) {
  Client& first = OpenClient();
  ASSERT_TRUE(Create(first, "/e", "1", CreateMode::kEphemeral).ok());
  ASSERT_TRUE(Set(first, "/e", "2").ok());
  const auto saved = first.Save();
  ASSERT_TRUE(saved.ok());
  first.Detach();
  Destroy(first);
  ASSERT_TRUE(cluster.tree.contains("/e"));

  const auto parsed = SavedSession::Parse(saved->Serialize());
  ASSERT_TRUE(parsed.ok());
  Options options;
  options.resume = *parsed;
  Client& second = OpenClient(options);
  EXPECT_EQ(second.session_id(), saved->id);
  const auto set = Set(second, "/e", "3");
  ASSERT_TRUE(set.ok()) << set.error().ToString();
  EXPECT_EQ(cluster.tree.at("/e").data, "3");
  EXPECT_EQ(cluster.CountCalls("openSession"), 1);
}

// What the process before has sent may come after what this one sends.
TEST_F(SessionTest, AProcessThatHasLostItsSessionToAnotherIsToldSo) {
  Client& first = OpenClient();
  ASSERT_TRUE(Create(first, "/e", "1").ok());
  Options options;
  options.resume = *first.Save();
  Client& second = OpenClient(options);
  const auto late = Set(first, "/e", "2");
  EXPECT_EQ(late.code(), Code::kSessionExpired);
  EXPECT_EQ(first.state(), kExpired);
  EXPECT_EQ(cluster.tree.at("/e").data, "1");
  EXPECT_TRUE(Set(second, "/e", "3").ok());
  EXPECT_EQ(cluster.tree.at("/e").data, "3");
}

TEST_F(SessionTest, TakingOverGoesOnUntilItsOwnAnswerIsThere) {
  Client& first = OpenClient();
  ASSERT_TRUE(Create(first, "/e", "1").ok());
  Options options;
  options.resume = *first.Save();
  int asked = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx& ctx, int) {
    if (method != "takeOver") {
      return Fault{};
    }
    switch (++asked) {
      case 2:  // The number is known, and a write of the first process comes before it.
        ++cluster.sessions.at(ctx.session).last_seq;
        return Fault{};
      case 3:
        return Break(true);
      default:
        return Fault{};
    }
  };
  Client& second = OpenClient(options);
  EXPECT_EQ(asked, 5) << "a gap, another one, a lost answer, a gap, done";
  EXPECT_TRUE(Set(second, "/e", "3").ok());
  EXPECT_EQ(Set(first, "/e", "4").code(), Code::kSessionExpired);
}

TEST_F(SessionTest, AMemberThatNamesAnOldNumberIsLeft) {
  Client& first = OpenClient();
  Options options;
  options.resume = *first.Save();
  cluster.on_call = [](const std::string& method, const idl::Ctx& ctx, int) {
    if (method != "takeOver" || ctx.seq == 1) {
      return Fault{};
    }
    Fault gap = Fail(idl::ErrorCode::SEQUENCE_GAP);
    gap.error.__set_expectedSeq(ctx.seq);
    return gap;
  };
  Client& second = NewClient(options);
  executor.Advance(seconds(30));
  EXPECT_EQ(second.state(), kConnecting);
  EXPECT_LT(cluster.connects, 500);
}

TEST_F(SessionTest, AResumedSessionIsAsLongAsItWasGranted) {
  Options options;
  options.session_timeout = seconds(2);
  Client& first = OpenClient(options);
  options.session_timeout = seconds(100);
  options.resume = *first.Save();
  first.Detach();
  Destroy(first);
  Client& second = NewClient(options);
  const BootTime start = executor.Now();
  ASSERT_TRUE(executor.AdvanceUntil([&] { return second.state() == SessionState::kConnected; }));
  executor.Settle();
  EXPECT_EQ(second.session_timeout(), seconds(2));
  EXPECT_LE(second.valid_until(), start + seconds(2));
  EXPECT_GT(second.valid_until(), executor.Now());
}

TEST_F(SessionTest, ACloseThatIsNotAnsweredStopsTheHeartbeats) {
  Client& client = OpenClient();
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "closeSession" ? Mute(false) : Fault{};
  };
  std::optional<Result<void>> closed;
  client.CloseAsync({seconds(1)}, [&](Status status) { closed.emplace(std::move(status)); });
  ASSERT_TRUE(executor.AdvanceUntil([&] { return closed.has_value(); }));
  EXPECT_EQ(closed->code(), Code::kUnknownOutcome);
  EXPECT_EQ(client.state(), kClosed);
  const std::size_t calls = cluster.calls.size();
  executor.Advance(seconds(30));
  EXPECT_LE(cluster.calls.size(), calls + 1) << "a poll that was parked may be answered yet";
}

TEST_F(SessionTest, MembersThatNameEachOtherMakeNoStorm) {
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int member) {
    return method == "poll" || method == "clusterStatus"
               ? Fault{}
               : Fail(idl::ErrorCode::NOT_LEADER, "m" + std::to_string(member % 3 + 1) + ":1");
  };
  NewClient();
  executor.Advance(seconds(30));
  EXPECT_LT(cluster.connects, 500);
}

TEST_F(SessionTest, AReadWithoutASessionBacksOff) {
  Options options;
  options.open_session = false;
  Client& client = OpenClient(options);
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "getData" ? Fail(idl::ErrorCode::UNAVAILABLE) : Fault{};
  };
  EXPECT_EQ(Get(client, "/", {.timeout = seconds(5)}).code(), Code::kUnavailable);
  EXPECT_LT(cluster.CountCalls("getData"), 200);
}

TEST_F(SessionTest, ResumingASessionThatIsGoneIsLoud) {
  Options options;
  options.resume = SavedSession{.id = 77, .secret = std::string(16, 'z'), .cluster_id = {}};
  Client& client = NewClient(options);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return client.state() == kExpired; }));
  EXPECT_EQ(cluster.CountCalls("openSession"), 0);
}

TEST_F(SessionTest, CloseEndsItAtOnceAndForGood) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/e", "1", CreateMode::kEphemeral).ok());
  bool lost = false;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "closeSession" && !std::exchange(lost, true) ? Break(true) : Fault{};
  };
  std::optional<Result<void>> closed;
  std::optional<Result<Node>> later;
  client.CloseAsync({}, [&](Status status) { closed.emplace(std::move(status)); });
  client.GetAsync("/", {}, Into(later));
  ASSERT_TRUE(executor.AdvanceUntil([&] { return closed && later; }));
  EXPECT_TRUE(closed->ok()) << "though the first answer was lost";
  EXPECT_EQ(later->code(), Code::kSessionExpired);
  EXPECT_FALSE(cluster.tree.contains("/e"));
  EXPECT_EQ(states().back(), kClosed);
}

TEST_F(SessionTest, BacksOffWithJitterWhileNobodyAnswers) {
  for (int member = 1; member <= 3; ++member) {
    cluster.Stop(member);
  }
  Client& client = NewClient();
  executor.Advance(seconds(60));
  EXPECT_EQ(client.state(), kConnecting);
  EXPECT_GT(cluster.connects, 60) << "about a round of three each second";
  EXPECT_LT(cluster.connects, 500) << "no storm";
}

TEST_F(SessionTest, WithoutASessionOnlyReadsAreMade) {
  Options options;
  options.open_session = false;
  Client& client = OpenClient(options);
  cluster.ForeignCreate("/a", "1");
  EXPECT_EQ(Get(client, "/a")->data, "1");
  EXPECT_EQ(Set(client, "/a", "2").code(), Code::kInvalidArgument);
  EXPECT_EQ(cluster.CountCalls("openSession"), 0);
  EXPECT_EQ(cluster.CountCalls("poll"), 0);
}

TEST_F(SessionTest, StatusNeedsNoSession) {
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "openSession" ? Fail(idl::ErrorCode::UNAVAILABLE) : Fault{};
  };
  Client& client = NewClient();
  const auto status =
      Await<ClusterStatus>([&](auto done) { client.GetClusterStatusAsync({}, done); });
  ASSERT_TRUE(status.ok()) << status.error().ToString();
  EXPECT_EQ(status->members.size(), 3U);
  EXPECT_EQ(status->members[0].role, "leader");
  EXPECT_EQ(client.session_id(), 0);
}

}  // namespace

// The session may be as old as the attempt whose answer was lost.
TEST_F(SessionTest, ASessionOpenedByAnEarlierAttemptIsValidOnceItIsConfirmed) {
  cluster.confirmed_age_ms.reset();
  int opens = 0;
  cluster.on_call = [&opens](const std::string& method, const idl::Ctx&, int) {
    return method == "openSession" && ++opens == 1 ? Break(true) : Fault{};
  };
  Client& client = OpenClient();
  EXPECT_EQ(opens, 2);
  EXPECT_LE(client.valid_until(), executor.Now());
  cluster.confirmed_age_ms = 0;
  executor.Advance(seconds(3));
  EXPECT_GT(client.valid_until(), executor.Now());
}

TEST_F(SessionTest, ASessionOpenedAtTheFirstAttemptIsValidAtOnce) {
  cluster.confirmed_age_ms.reset();
  EXPECT_GT(OpenClient().valid_until(), executor.Now());
}

}  // namespace conclave::client_test
