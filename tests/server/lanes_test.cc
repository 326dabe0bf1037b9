// The order of one session's requests, request by request.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "coord/server/session_lanes.h"

namespace conclave::server {
namespace {

using Kind = SessionLanes::Kind;

class LanesTest : public ::testing::Test {
 protected:
  // Enters; `name` is noted once it is started.
  SessionLanes::Ticket Enter(Kind kind, const std::string& name, std::int64_t session = 1) {
    const SessionLanes::Ticket ticket = lanes_.TakeTicket();
    lanes_.Enter(session, kind, ticket, [this, name] { started_.push_back(name); });
    return ticket;
  }

  std::vector<std::string> Started() { return std::exchange(started_, {}); }

  SessionLanes lanes_;
  std::vector<std::string> started_;
};

TEST_F(LanesTest, WritesTravelTogetherAndAReadWaitsForThem) {
  const auto first = Enter(Kind::kWrite, "w1");
  const auto second = Enter(Kind::kWrite, "w2");
  const auto read = Enter(Kind::kRead, "r");
  const auto third = Enter(Kind::kWrite, "w3");
  const auto fourth = Enter(Kind::kWrite, "w4");
  EXPECT_EQ(Started(), (std::vector<std::string>{"w1", "w2"}));
  lanes_.Leave(1, second);
  EXPECT_TRUE(Started().empty());
  lanes_.Leave(1, first);
  EXPECT_EQ(Started(), (std::vector<std::string>{"r"}));
  lanes_.Leave(1, read);
  EXPECT_EQ(Started(), (std::vector<std::string>{"w3", "w4"}));
  lanes_.Leave(1, third);
  lanes_.Leave(1, fourth);
  EXPECT_TRUE(lanes_.Idle(1));
  EXPECT_EQ(lanes_.size(), 0U);
}

TEST_F(LanesTest, OneReadAtATimeAndSessionsDoNotWaitForEachOther) {
  const auto first = Enter(Kind::kRead, "a1");
  Enter(Kind::kRead, "a2");
  Enter(Kind::kRead, "b1", 2);
  EXPECT_EQ(Started(), (std::vector<std::string>{"a1", "b1"}));
  lanes_.Leave(1, first);
  EXPECT_EQ(Started(), (std::vector<std::string>{"a2"}));
}

TEST_F(LanesTest, WhoLeavesWhileItWaitsHoldsUpNobody) {
  const auto write = Enter(Kind::kWrite, "w1");
  const auto gone = Enter(Kind::kRead, "r1");
  const auto later = Enter(Kind::kRead, "r2");
  Enter(Kind::kWrite, "w2");
  lanes_.Leave(1, later);
  EXPECT_EQ(Started(), (std::vector<std::string>{"w1"}));
  lanes_.Leave(1, gone);  // nothing stands between the writes any more
  EXPECT_EQ(Started(), (std::vector<std::string>{"w2"}));
  lanes_.Leave(1, write);
  EXPECT_EQ(lanes_.size(), 1U);
}

TEST_F(LanesTest, AStartMayEnterAndLeaveWithoutOvertaking) {
  const auto write = Enter(Kind::kWrite, "w1");
  std::vector<SessionLanes::Ticket> reads;
  for (int i = 0; i < 3; ++i) {
    reads.push_back(lanes_.TakeTicket());
    lanes_.Enter(1, Kind::kRead, reads.back(), [this, i, ticket = reads.back()] {
      started_.push_back("r" + std::to_string(i));
      if (i == 0) {
        Enter(Kind::kRead, "late");
      }
      lanes_.Leave(1, ticket);
    });
  }
  Started();
  lanes_.Leave(1, write);
  EXPECT_EQ(Started(), (std::vector<std::string>{"r0", "r1", "r2", "late"}));
}

}  // namespace
}  // namespace conclave::server
