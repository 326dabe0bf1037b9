// Ongaro 2015 ("bug in single-server membership changes"): a leader that has committed nothing in
// its term changes nothing.

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tests/consensus/member_fixture.h"

namespace conclave::raft::testing {
namespace {

class TwoLeaders : public Membership {
 protected:
  /// Leader 1 makes one change, known to it and 5 alone; 2 is elected by 2, 3 and 4 and tries the
  /// other before its term has started. The quorums {1, 4, 5} or {1, 4} of the one and {2, 3, 6} or
  /// {2, 3} of the other have no member in common.
  void Run(Kind one, MemberId one_id, Kind two, MemberId two_id) {
    Lead(4, NoPromotion);
    AddCaughtUp(5);
    AddCaughtUp(6);
    cluster_.Run(6);
    cluster_.Partition({1, 5});
    ASSERT_TRUE(cluster_.Change(1, one, one_id));
    Deliver<AppendEntries>(1, 5);
    DropAll();
    cluster_.Crash(1);
    cluster_.Heal();
    for (MemberId id = 2; id <= 4; ++id) {
      cluster_.PeerDown(id, 1);
    }
    cluster_.Campaign(2);
    while (Deliver<RequestVote>(2, 3) || Deliver<RequestVote>(2, 4) ||
           Deliver<RequestVoteReply>(3, 2) || Deliver<RequestVoteReply>(4, 2)) {
    }
    ASSERT_EQ(At(2).role, RoleName::kLeader);
    DropAll();
    EXPECT_EQ(Error(2, two, two_id), ConfigChangeError::kTermNotStarted);
    cluster_.Partition({2, 3, 6});
    cluster_.Run(8);
    EXPECT_EQ(Error(2, two, two_id), ConfigChangeError::kTermNotStarted);
    cluster_.Restart(1);
    cluster_.Run(200);
    EXPECT_EQ(cluster_.violation(), std::nullopt);
    EXPECT_EQ(cluster_.Converge(), std::nullopt);
  }
};

TEST_F(TwoLeaders, OneAddsAndOneRemoves) { Run(Kind::kPromote, 5, Kind::kRemove, 1); }

TEST_F(TwoLeaders, TwoAdd) { Run(Kind::kPromote, 5, Kind::kPromote, 6); }

TEST_F(TwoLeaders, TwoRemove) { Run(Kind::kRemove, 3, Kind::kRemove, 4); }

}  // namespace
}  // namespace conclave::raft::testing
