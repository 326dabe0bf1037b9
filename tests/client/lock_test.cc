// Locks and elections: one holder at a time, rising tokens, fair order, no herd, loss in time.
#include <conclave/election.h>
#include <conclave/lock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/src/contender.h"
#include "tests/client/client_fixture.h"

namespace conclave::client_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LockTest : public ClientTest {
 protected:
  Result<Grant> Acquire(Lock& lock, milliseconds timeout = milliseconds(0)) {
    return Await<Grant>([&](auto done) { lock.AcquireAsync(timeout, done); });
  }

  void ReleaseAndWait(Grant& grant) {
    std::optional<Result<void>> released;
    grant.ReleaseAsync({}, [&](Status status) { released.emplace(std::move(status)); });
    ASSERT_TRUE(executor.AdvanceUntil([&] { return released.has_value(); }));
    EXPECT_TRUE(released->ok());
  }

  std::size_t Contenders(const std::string& path) const {
    std::size_t count = 0;
    for (const auto& [name, node] : cluster.tree) {
      count += name.rfind(path + "/", 0) == 0 ? 1 : 0;
    }
    return count;
  }
};

TEST_F(LockTest, IsHeldByOneAtATimeInOrderWithRisingTokens) {
  std::vector<std::unique_ptr<Lock>> locks;
  std::vector<int> order;
  std::vector<std::int64_t> tokens;
  int holders = 0;
  for (int i = 0; i < 5; ++i) {
    locks.push_back(std::make_unique<Lock>(OpenClient(), "/locks/x"));
    locks.back()->AcquireAsync(milliseconds(0), [&, i](Result<Grant> grant) {
      ASSERT_TRUE(grant.ok()) << grant.error().ToString();
      EXPECT_EQ(++holders, 1);
      order.push_back(i);
      tokens.push_back(grant->token());
      EXPECT_TRUE(grant->valid());
      auto held = std::make_shared<Grant>(std::move(*grant));
      executor.PostAfter(seconds(1), [&, held] {
        --holders;
        held->ReleaseAsync({}, [](const Status&) {});
      });
    });
    executor.Settle();
  }
  ASSERT_TRUE(executor.AdvanceUntil([&] { return order.size() == 5; }));
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_TRUE(std::is_sorted(tokens.begin(), tokens.end()));
  EXPECT_EQ(std::set<std::int64_t>(tokens.begin(), tokens.end()).size(), 5U);
  executor.Advance(seconds(2));
  EXPECT_EQ(Contenders("/locks/x"), 0U);
}

TEST_F(LockTest, AReleaseWakesOneWaiter) {
  Lock holder(OpenClient(), "/l");
  auto grant = Acquire(holder);
  ASSERT_TRUE(grant.ok());
  std::vector<std::unique_ptr<Lock>> waiters;
  std::vector<Result<Grant>> granted;
  for (int i = 0; i < 10; ++i) {
    waiters.push_back(std::make_unique<Lock>(OpenClient(), "/l"));
    waiters.back()->AcquireAsync(milliseconds(0),
                                 [&](Result<Grant> next) { granted.push_back(std::move(next)); });
    executor.Settle();
  }
  const int lists = cluster.CountCalls("children");
  ReleaseAndWait(*grant);
  executor.Settle();
  EXPECT_EQ(granted.size(), 1U);
  const int pages = 4;  // Ten contenders in pages of three.
  EXPECT_LE(cluster.CountCalls("children") - lists, 2 * pages);
  waiters.clear();
  executor.Settle();
  EXPECT_EQ(granted.size(), 10U) << "the others are told that they have been withdrawn";
}

TEST_F(LockTest, TheTokenIsThatOfTheGrantNotOfTheContender) {
  Lock first(OpenClient(), "/l");
  Lock second(OpenClient(), "/l");
  auto grant = Acquire(first);
  ASSERT_TRUE(grant.ok());
  std::optional<Result<Grant>> next;
  second.AcquireAsync(milliseconds(0), Into(next));
  executor.Settle();
  const std::int64_t while_waiting = cluster.ForeignCreate("/other", "");
  const std::int64_t earlier = grant->token();
  ReleaseAndWait(*grant);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return next.has_value(); }));
  EXPECT_GT((*next)->token(), while_waiting);
  EXPECT_GT((*next)->token(), earlier);
  EXPECT_EQ((*next)->token(), cluster.tree.at("/l").stat.mzxid);
}

TEST_F(LockTest, GuardRefusesAStaleHolder) {
  Client& writer = OpenClient();
  Lock first(writer, "/l");
  Lock second(OpenClient(), "/l");
  ASSERT_TRUE(Create(writer, "/data", "0").ok());
  auto grant = Acquire(first);
  ASSERT_TRUE(grant.ok());
  const std::vector<Op> guard = grant->Guard();
  const auto guarded_write = [&] {
    std::vector<Op> ops = guard;
    ops.push_back(Op::Set("/data", "1"));
    return Await<MultiResult>([&](auto done) { writer.MultiAsync(ops, {}, done); });
  };
  EXPECT_TRUE(guarded_write().ok());
  ReleaseAndWait(*grant);
  EXPECT_EQ(guarded_write().code(), Code::kNoNode) << "released";
  auto next = Acquire(second);
  ASSERT_TRUE(next.ok());
  EXPECT_FALSE(guarded_write().ok()) << "held by another";
  // Even if a contender of the old name comes back under a lock made anew.
  cluster.ForeignRemove(next->path());
  cluster.ForeignRemove("/l");
  cluster.ForeignCreate("/l", "");
  cluster.ForeignCreate(guard[0].path, "");
  EXPECT_EQ(guarded_write().code(), Code::kBadVersion);
}

TEST_F(LockTest, ADeadlineLeavesNoContender) {
  Lock holder(OpenClient(), "/l");
  auto grant = Acquire(holder);
  Lock waiter(OpenClient(), "/l");
  const BootTime before = executor.Now();
  const auto late = Acquire(waiter, seconds(3));
  EXPECT_EQ(late.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(executor.Now() - before, seconds(3));
  executor.Settle();
  EXPECT_EQ(Contenders("/l"), 1U);
}

TEST_F(LockTest, ADeadlineDuringTheCreationLeavesNoContenderEither) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/l", {}).ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "create" ? Mute(true) : Fault{};
  };
  Lock lock(client, "/l");
  EXPECT_EQ(Acquire(lock, seconds(2)).code(), Code::kDeadlineExceeded);
  EXPECT_EQ(Contenders("/l"), 1U) << "created, though nobody knows";
  cluster.on_call = nullptr;
  ASSERT_TRUE(executor.AdvanceUntil([&] { return Contenders("/l") == 0; }));
}

TEST_F(LockTest, ALostAnswerToTheCreationMakesNoSecondContender) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/l", {}).ok());
  bool broken = false;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "create" && !std::exchange(broken, true) ? Break(true) : Fault{};
  };
  Lock lock(client, "/l");
  auto grant = Acquire(lock);
  ASSERT_TRUE(grant.ok());
  EXPECT_EQ(Contenders("/l"), 1U);
}

TEST_F(LockTest, AContenderWhoseNameTheClusterHasForgottenIsFound) {
  Client& client = OpenClient();
  Lock other(client, "/l");
  auto held = Acquire(other);
  int creates = 0;
  std::int64_t made_at = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    if (method != "create" || ++creates > 2) {
      return Fault{};
    }
    if (creates == 1) {
      made_at = cluster.zxid + 1;
      return Break(true);
    }
    Fault dropped = Fail(idl::ErrorCode::REPLY_DROPPED);
    dropped.error.__set_zxid(made_at);
    return dropped;
  };
  Lock lock(client, "/l");
  std::optional<Result<Grant>> next;
  lock.AcquireAsync(milliseconds(0), Into(next));
  executor.Advance(seconds(1));
  EXPECT_EQ(creates, 2);
  EXPECT_EQ(Contenders("/l"), 2U);
  ReleaseAndWait(*held);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return next.has_value(); }));
  ASSERT_TRUE(next->ok()) << next->error().ToString();
  EXPECT_TRUE((*next)->valid());
  ReleaseAndWait(**next);
  EXPECT_EQ(Contenders("/l"), 0U);
}

TEST_F(LockTest, LossIsToldOnceAndBeforeTheClusterCanEndTheSession) {
  Lock lock(OpenClient(), "/l");
  auto grant = Acquire(lock);
  ASSERT_TRUE(grant.ok());
  std::vector<BootTime> lost;
  grant->OnLost([&](const Error& reason) {
    lost.push_back(executor.Now());
    EXPECT_EQ(reason.code, Code::kSessionExpired);
  });
  executor.Advance(seconds(5));
  const BootTime last_contact = executor.Now();
  for (int member = 1; member <= 3; ++member) {
    cluster.Stop(member);
  }
  executor.Advance(seconds(30));
  ASSERT_EQ(lost.size(), 1U);
  EXPECT_LT(lost[0], last_contact + seconds(10));
  EXPECT_FALSE(grant->valid());
  // The session has survived; the lock stays lost, and its contender goes.
  for (int member = 1; member <= 3; ++member) {
    cluster.Start(member);
  }
  ASSERT_TRUE(executor.AdvanceUntil([&] { return Contenders("/l") == 0; }));
  EXPECT_FALSE(grant->valid());
  EXPECT_EQ(lost.size(), 1U);
  std::optional<bool> again;
  grant->OnLost([&](const Error&) { again = true; });
  executor.Settle();
  EXPECT_TRUE(again.has_value()) << "late listeners are told too";
}

TEST_F(LockTest, LossByRemovalOfTheContenderIsTold) {
  Lock lock(OpenClient(), "/l");
  auto grant = Acquire(lock);
  std::optional<Code> lost;
  grant->OnLost([&](const Error& reason) { lost = reason.code; });
  cluster.ForeignRemove(grant->path());
  ASSERT_TRUE(executor.AdvanceUntil([&] { return lost.has_value(); }));
  EXPECT_EQ(*lost, Code::kNoNode);
}

TEST_F(LockTest, AContenderThatGoesBeforeTheClaimArrivesClaimsNothing) {
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    if (method == "multi") {
      const auto contender = cluster.tree.upper_bound("/l/");
      if (contender != cluster.tree.end() && contender->first.starts_with("/l/")) {
        cluster.ForeignRemove(std::string(contender->first));
      }
    }
    return Fault{};
  };
  Lock lock(OpenClient(), "/l");
  EXPECT_EQ(Acquire(lock).code(), Code::kNoNode);
  EXPECT_EQ(cluster.tree.at("/l").stat.version, 0) << "the lock has been claimed all the same";
}

TEST_F(LockTest, ReleaseTellsNoLoss) {
  Lock lock(OpenClient(), "/l");
  auto grant = Acquire(lock);
  bool lost = false;
  grant->OnLost([&](const Error&) { lost = true; });
  ReleaseAndWait(*grant);
  executor.Advance(seconds(20));
  EXPECT_FALSE(lost);
  EXPECT_EQ(Contenders("/l"), 0U);
}

TEST_F(LockTest, ADroppedGrantReleases) {
  Lock lock(OpenClient(), "/l");
  {
    auto grant = Acquire(lock);
    ASSERT_TRUE(grant.ok());
  }
  executor.Settle();
  EXPECT_EQ(Contenders("/l"), 0U);
}

// A full disk refuses even removals; who waits for the lock must not wait for the session's end.
TEST_F(LockTest, AReleaseThatIsRefusedForWantOfRoomIsRepeated) {
  Client& client = OpenClient();
  Lock lock(client, "/l");
  auto grant = Acquire(lock);
  Lock waiter(OpenClient(), "/l");
  std::optional<Result<Grant>> next;
  waiter.AcquireAsync(milliseconds(0), Into(next));
  executor.Settle();
  cluster.on_call = [](const std::string& method, const idl::Ctx&, int) {
    return method == "removeNode" ? Fail(idl::ErrorCode::NO_SPACE) : Fault{};
  };
  std::optional<Result<void>> released;
  grant->ReleaseAsync({seconds(5)}, [&](Status status) { released.emplace(std::move(status)); });
  ASSERT_TRUE(executor.AdvanceUntil([&] { return released.has_value(); }));
  EXPECT_EQ(released->code(), Code::kUnknownOutcome);
  EXPECT_LE(cluster.CountCalls("removeNode"), 20) << "at a pace";
  EXPECT_TRUE(Await<Node>([&](auto done) { client.GetAsync("/l", {}, done); }).ok())
      << "reads do not wait for it";
  cluster.on_call = nullptr;
  ASSERT_TRUE(executor.AdvanceUntil([&] { return next.has_value(); }));
  EXPECT_TRUE(next->ok());
  EXPECT_EQ(Contenders("/l"), 1U);
}

TEST_F(LockTest, AReleaseThatWaitsForRoomEndsWithItsClient) {
  Client& client = OpenClient();
  auto lock = std::make_unique<Lock>(client, "/l");
  auto grant = Acquire(*lock);
  cluster.on_call = [](const std::string& method, const idl::Ctx&, int) {
    return method == "removeNode" ? Fail(idl::ErrorCode::NO_SPACE) : Fault{};
  };
  std::optional<Result<void>> released;
  grant->ReleaseAsync({seconds(60)}, [&](Status status) { released.emplace(std::move(status)); });
  executor.Advance(seconds(1));
  EXPECT_FALSE(released.has_value());
  lock.reset();
  Destroy(client);
  ASSERT_TRUE(released.has_value());
  EXPECT_TRUE(released->ok()) << "the session ends, and its ephemerals with it";
}

TEST_F(LockTest, AWaiterLearnsAtOnceThatItsSessionIsOver) {
  Lock holder(OpenClient(), "/l");
  auto grant = Acquire(holder);
  Client& client = OpenClient();
  Lock waiter(client, "/l");
  std::optional<Result<Grant>> result;
  waiter.AcquireAsync(milliseconds(0), Into(result));
  executor.Settle();
  cluster.ExpireSession(client.session_id());
  ASSERT_TRUE(executor.AdvanceUntil([&] { return result.has_value(); }));
  EXPECT_EQ(result->code(), Code::kSessionExpired);
}

TEST_F(LockTest, TheNextTakesOverWhenTheHoldersSessionEnds) {
  Client& client = OpenClient();
  Lock holder(client, "/l");
  auto grant = Acquire(holder);
  Lock waiter(OpenClient(), "/l");
  std::optional<Result<Grant>> next;
  waiter.AcquireAsync(milliseconds(0), Into(next));
  executor.Settle();
  cluster.ExpireSession(client.session_id());
  ASSERT_TRUE(executor.AdvanceUntil([&] { return next.has_value(); }));
  EXPECT_TRUE(next->ok());
  EXPECT_GT((*next)->token(), grant->token());
}

TEST_F(LockTest, TryAcquireDoesNotWait) {
  Lock holder(OpenClient(), "/l");
  auto grant = Acquire(holder);
  Lock other(OpenClient(), "/l");
  const auto tried = Await<Grant>([&](auto done) { other.TryAcquireAsync({}, done); });
  EXPECT_EQ(tried.code(), Code::kNodeExists);
  executor.Settle();
  EXPECT_EQ(Contenders("/l"), 1U);
  EXPECT_TRUE(grant->valid());
}

TEST_F(LockTest, AForeignLayoutIsRefused) {
  cluster.ForeignCreate("/l", "");
  cluster.ForeignCreate("/l/abcdef__lock__0000000001", "");
  Lock lock(OpenClient(), "/l");
  const auto grant = Acquire(lock);
  EXPECT_EQ(grant.code(), Code::kInvalidArgument);
  EXPECT_THAT(grant.error().message, HasSubstr("__lock__"));
  executor.Settle();
  EXPECT_EQ(Contenders("/l"), 1U) << "only the foreign one";
}

TEST_F(LockTest, SurvivesAMoveToAnotherMember) {
  Client& client = OpenClient();
  Lock lock(client, "/l");
  auto grant = Acquire(lock);
  bool lost = false;
  grant->OnLost([&](const Error&) { lost = true; });
  Lock waiter(OpenClient(), "/l");
  std::optional<Result<Grant>> next;
  waiter.AcquireAsync(milliseconds(0), Into(next));
  executor.Advance(seconds(1));
  for (int i = 0; i < 5; ++i) {
    cluster.BreakConnections();
    executor.Advance(seconds(2));
  }
  EXPECT_TRUE(grant->valid());
  EXPECT_FALSE(lost);
  EXPECT_FALSE(next.has_value());
  ReleaseAndWait(*grant);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return next.has_value(); }));
  EXPECT_TRUE(next->ok());
}

TEST_F(LockTest, AGrantOutlivesItsClient) {
  Client& client = OpenClient();
  auto lock = std::make_unique<Lock>(client, "/l");
  auto grant = Acquire(*lock);
  std::optional<Code> lost;
  grant->OnLost([&](const Error& reason) { lost = reason.code; });
  lock.reset();
  Destroy(client);
  EXPECT_EQ(lost, Code::kSessionExpired);
  EXPECT_FALSE(grant->valid());
  grant->ReleaseAsync({}, [](const Status& status) { EXPECT_TRUE(status.ok()); });
}

TEST(ContenderNumbers, WrapAround) {
  using internal::ComesBefore;
  using internal::ContenderNumber;
  EXPECT_EQ(ContenderNumber("c-00000000000000ff-0000000007"), 7);
  EXPECT_EQ(ContenderNumber("c-00000000000000ff--2147483648"), -2147483647 - 1);
  EXPECT_EQ(ContenderNumber("abc__lock__0000000007"), std::nullopt);
  EXPECT_EQ(ContenderNumber("c-00000000000000ff-00000000x7"), std::nullopt);
  EXPECT_TRUE(ComesBefore(1, 2));
  EXPECT_FALSE(ComesBefore(2, 1));
  EXPECT_FALSE(ComesBefore(2, 2));
  EXPECT_TRUE(ComesBefore(2147483647, -2147483647 - 1)) << "the one after the last";
}

class ElectionTest : public LockTest {};

TEST_F(ElectionTest, ObserversAreToldEachLeaderInOrder) {
  std::vector<std::string> told;
  Election watching(OpenClient(), "/app/leader");
  const auto tell = [&](const auto& leader) { told.push_back(leader ? leader->value : "-"); };
  const auto observation =
      Await<Observation>([&](auto done) { watching.ObserveAsync(tell, {}, done); });
  ASSERT_TRUE(observation.ok());
  executor.Settle();
  std::vector<std::unique_ptr<Election>> candidates;
  std::vector<Client*> clients;
  std::vector<Grant> held;
  for (const std::string value : {"a:1", "b:2", "c:3"}) {
    clients.push_back(&OpenClient());
    candidates.push_back(std::make_unique<Election>(*clients.back(), "/app/leader"));
    candidates.back()->CampaignAsync(value, milliseconds(0), [&](Result<Grant> grant) {
      ASSERT_TRUE(grant.ok());
      held.push_back(std::move(*grant));
    });
    executor.Settle();
  }
  EXPECT_EQ(told.back(), "a:1");
  ReleaseAndWait(held[0]);
  ASSERT_TRUE(executor.AdvanceUntil([&] { return held.size() == 2; }));
  executor.Settle();
  EXPECT_EQ(told.back(), "b:2");
  cluster.ExpireSession(clients[1]->session_id());
  ASSERT_TRUE(executor.AdvanceUntil([&] { return held.size() == 3; }));
  executor.Settle();
  EXPECT_EQ(told.back(), "c:3");
  ReleaseAndWait(held[2]);
  executor.Settle();
  EXPECT_EQ(told.back(), "-");
  std::erase(told, "-");  // Whether a gap between two leaders was seen is a matter of luck.
  EXPECT_THAT(told, ElementsAre("a:1", "b:2", "c:3"));
}

TEST_F(ElectionTest, NobodyLeadsAnElectionThatIsNotThere) {
  Election election(OpenClient(), "/app/leader");
  const auto leader =
      Await<std::optional<Leader>>([&](auto done) { election.GetLeaderAsync({}, done); });
  ASSERT_TRUE(leader.ok());
  EXPECT_FALSE(leader->has_value());
}

TEST_F(ElectionTest, TheLeaderIsNamedWithItsTokenAndValue) {
  Election election(OpenClient(), "/app/leader");
  auto grant =
      Await<Grant>([&](auto done) { election.CampaignAsync("line 1\nline 2", seconds(5), done); });
  ASSERT_TRUE(grant.ok());
  const auto leader =
      Await<std::optional<Leader>>([&](auto done) { election.GetLeaderAsync({}, done); });
  ASSERT_TRUE(leader.ok() && leader->has_value());
  EXPECT_EQ((**leader).value, "line 1\nline 2");
  EXPECT_EQ((**leader).token, grant->token());
  EXPECT_EQ((**leader).path, grant->path());
}

}  // namespace
}  // namespace conclave::client_test
