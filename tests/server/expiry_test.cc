// When a silent session is given up, and above all when not (C6: never early).
#include <vector>

#include <gtest/gtest.h>

#include "coord/server/session_expiry.h"
#include "coord/server/session_touch.h"
#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

constexpr std::int64_t kBucketMs = 100;
constexpr std::int64_t kStallMs = 700;
constexpr std::int64_t kQuorumMs = 600;
constexpr std::int64_t kTimeoutMs = 2'000;
constexpr std::size_t kMany = 100;

// A leader's bookkeeping, looked at once per bucket, on a clock of its own.
class ExpiryTest : public ::testing::Test {
 protected:
  ExpiryTest() {
    expiry_.Lead(0, {});
    expiry_.Opened(7, kTimeoutMs * kMs, 0);
  }

  // Time passes in buckets until a session is due; how long that took, at most `limit_ms`.
  std::int64_t MsUntilDue(std::int64_t limit_ms, bool quorum = true, bool can_write = true) {
    const std::int64_t begun_ms = now_ms_;
    while (now_ms_ - begun_ms < limit_ms) {
      now_ms_ += kBucketMs;
      if (quorum) {
        expiry_.QuorumHeld((now_ms_ - 5) * kMs, now_ms_ * kMs);
      }
      if (!expiry_.Due(now_ms_ * kMs, can_write, kMany).empty()) {
        break;
      }
    }
    return now_ms_ - begun_ms;
  }

  SessionExpiry expiry_{{.bucket_ns = kBucketMs * kMs,
                         .stall_ns = kStallMs * kMs,
                         .quorum_ns = kQuorumMs * kMs,
                         .retry_ns = 1'000 * kMs}};
  std::int64_t now_ms_ = 0;
};

TEST_F(ExpiryTest, SilenceEndsASessionAfterItsTimeoutAndIsReportedAgain) {
  const std::int64_t waited_ms = MsUntilDue(10'000);
  EXPECT_GE(waited_ms, kTimeoutMs);
  EXPECT_LE(waited_ms, kTimeoutMs + 2 * kBucketMs);
  const std::int64_t again_ms = MsUntilDue(10'000);
  EXPECT_GE(again_ms, 1'000) << "the proposal of the first time may be on its way";
  EXPECT_LE(again_ms, 1'000 + 2 * kBucketMs);
  expiry_.Closed(7);
  EXPECT_EQ(MsUntilDue(10'000), 10'000);
}

// Found by simulation: a member that had not applied the end yet had its heartbeats confirmed.
TEST_F(ExpiryTest, NoHeartbeatIsConfirmedOnceTheEndIsProposed) {
  EXPECT_TRUE(expiry_.Alive(7));
  EXPECT_FALSE(expiry_.Alive(8)) << "one that this leader does not know";
  MsUntilDue(10'000);
  EXPECT_TRUE(expiry_.Alive(7)) << "only reported: the proposal may have been refused";
  expiry_.Ending(7);
  expiry_.Touched(7, now_ms_ * kMs);
  EXPECT_FALSE(expiry_.Alive(7));
  EXPECT_EQ(MsUntilDue(5'000), 5'000) << "the log has it; once is enough";
  expiry_.Lead(now_ms_ * kMs, {{7, kTimeoutMs * kMs}});
  EXPECT_TRUE(expiry_.Alive(7)) << "of a former office";
}

TEST_F(ExpiryTest, AHeartbeatGivesTheFullTimeoutAnew) {
  EXPECT_EQ(MsUntilDue(1'900), 1'900);
  expiry_.Touched(7, now_ms_ * kMs);
  EXPECT_GE(MsUntilDue(10'000), kTimeoutMs);
}

// In office by its own lights, but no round completes.
TEST_F(ExpiryTest, WithoutAQuorumNobodyExpiresAndAllGetAFullTimeoutAfterwards) {
  EXPECT_EQ(MsUntilDue(1'000), 1'000);
  EXPECT_EQ(MsUntilDue(10'000, /*quorum=*/false), 10'000);
  const std::int64_t waited_ms = MsUntilDue(10'000);
  EXPECT_GE(waited_ms, kTimeoutMs);
  EXPECT_LE(waited_ms, kTimeoutMs + 3 * kBucketMs);
}

TEST_F(ExpiryTest, ALateAnswerToAnOldRoundIsNoQuorum) {
  EXPECT_EQ(MsUntilDue(1'000), 1'000);
  const std::int64_t cut_off_ms = now_ms_;
  EXPECT_EQ(MsUntilDue(5'000, /*quorum=*/false), 5'000);
  expiry_.QuorumHeld(cut_off_ms * kMs, now_ms_ * kMs);
  EXPECT_EQ(MsUntilDue(5'000, /*quorum=*/false), 5'000);
}

TEST_F(ExpiryTest, WhileNothingCanBeWrittenNobodyExpires) {
  EXPECT_EQ(MsUntilDue(1'000), 1'000);
  EXPECT_EQ(MsUntilDue(10'000, /*quorum=*/true, /*can_write=*/false), 10'000);
  EXPECT_GE(MsUntilDue(10'000), kTimeoutMs - kBucketMs);
}

TEST_F(ExpiryTest, AStalledLeaderWaitsForARoundBegunAfterTheStall) {
  EXPECT_EQ(MsUntilDue(1'000), 1'000);
  now_ms_ += 5'000;
  EXPECT_TRUE(expiry_.Due(now_ms_ * kMs, true, kMany).empty());
  EXPECT_GE(MsUntilDue(10'000), kTimeoutMs);
}

// Heartbeats that came in while the loop was busy are read after the look that follows the pause.
TEST_F(ExpiryTest, AfterAShortPauseWhatIsUnreadIsReadFirst) {
  EXPECT_EQ(MsUntilDue(1'900), 1'900);
  now_ms_ += 500;
  expiry_.QuorumHeld((now_ms_ - 5) * kMs, now_ms_ * kMs);
  EXPECT_TRUE(expiry_.Due(now_ms_ * kMs, true, kMany).empty());
  expiry_.Touched(7, now_ms_ * kMs);
  EXPECT_GE(MsUntilDue(10'000), kTimeoutMs);
}

TEST_F(ExpiryTest, ALoopThatIsSlowForGoodStillExpires) {
  std::int64_t due_ms = 0;
  while (due_ms == 0 && now_ms_ < 20'000) {
    now_ms_ += 3 * kBucketMs;
    expiry_.QuorumHeld((now_ms_ - 5) * kMs, now_ms_ * kMs);
    due_ms = expiry_.Due(now_ms_ * kMs, true, kMany).empty() ? 0 : now_ms_;
  }
  EXPECT_GE(due_ms, kTimeoutMs);
  EXPECT_LE(due_ms, kTimeoutMs + 8 * kBucketMs);
}

TEST_F(ExpiryTest, ManyEndInSlicesInTheOrderOfTheirIds) {
  expiry_.Closed(7);
  for (std::int64_t session = 30; session > 10; --session) {
    expiry_.Opened(session, kTimeoutMs * kMs, 0);
  }
  std::vector<std::int64_t> due;
  for (now_ms_ = kBucketMs; now_ms_ <= 2'800; now_ms_ += kBucketMs) {
    expiry_.QuorumHeld(now_ms_ * kMs, now_ms_ * kMs);
    const std::vector<std::int64_t> some = expiry_.Due(now_ms_ * kMs, true, 8);
    EXPECT_LE(some.size(), 8U);
    due.insert(due.end(), some.begin(), some.end());
  }
  ASSERT_EQ(due.size(), 20U);
  for (std::size_t i = 0; i < due.size(); ++i) {
    EXPECT_EQ(due[i], static_cast<std::int64_t>(11 + i));
  }
}

TEST(SessionTouchTest, ASessionThatIsOverKeepsTheOthersOfItsBatchFromNothing) {
  SessionTouch touch;
  for (const std::int64_t session : {3, 5, 8}) {
    touch.Touched(session, 100);
  }
  const auto batch = touch.TakeBatch();
  ASSERT_TRUE(batch.has_value());
  touch.Confirmed(batch->id, {5});
  EXPECT_EQ(touch.ConfirmedAt(3), 100);
  EXPECT_EQ(touch.ConfirmedAt(5), std::nullopt);
  EXPECT_EQ(touch.ConfirmedAt(8), 100);
}

TEST(FullDiskTest, ALeaderWithoutRoomExpiresNobodyUntilItHasRoomAgain) {
  ClusterOptions options;
  options.members = 1;
  Cluster one(std::move(options));
  one.StartAll();
  ASSERT_EQ(one.AwaitLeader(), 1U);
  Client client(&one, 1);
  ASSERT_TRUE(client.Open(kTimeoutMs));
  one.SetFreeSpace(1, 0);
  one.RunMs(10'000);
  EXPECT_EQ(one.server(1).status().sessions, 1U) << "expired although nothing could be written";
  EXPECT_EQ(client.Create("/a").code(), tree::Code::kNoSpace);
  one.SetFreeSpace(1, std::uint64_t{1} << 40);
  one.RunMs(kTimeoutMs - 500);
  EXPECT_EQ(one.server(1).status().sessions, 1U) << "no full timeout after the disk was full";
  EXPECT_TRUE(one.Until([&] { return one.server(1).status().sessions == 0; }, 2'000));
}

}  // namespace
}  // namespace conclave::server::testing
