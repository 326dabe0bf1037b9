// One test per row of the table of Stat fields, and the numbers around it.
#include <climits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

using ::testing::ElementsAre;

class StatTest : public ::testing::Test {
 protected:
  // /p with a child /p/c, both with data.
  void SetUp() override {
    session = machine.Open();
    machine.Create(session, "/p", "12345");
    machine.Create(session, "/p/c", "123");
    before = machine.StatOf("/p");
    machine.wall_ms += 1000;
  }

  void TearDown() override {
    EXPECT_EQ(machine.state.Audit(), "");
    EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
  }

  Machine machine;
  std::int64_t session = 0;
  Stat before;
};

TEST_F(StatTest, InitialTree) {
  const Machine fresh;
  Stat root;
  root.cversion = -1;
  root.num_children = 1;
  EXPECT_EQ(fresh.StatOf("/"), root);
  Stat zookeeper;
  zookeeper.cversion = -2;
  zookeeper.num_children = 2;
  EXPECT_EQ(fresh.StatOf("/zookeeper"), zookeeper);
  EXPECT_EQ(fresh.StatOf("/zookeeper/quota"), Stat());
  EXPECT_EQ(fresh.StatOf("/zookeeper/config"), Stat());
  EXPECT_EQ(fresh.state.tree().znode_count(), 4U);
  EXPECT_TRUE(fresh.state.tree().Get("/")->value->has_data());
}

TEST_F(StatTest, CreateOfNode) {
  const Reply reply = machine.Create(session, "/p/new", "abcd");
  Stat expected;
  expected.czxid = expected.mzxid = expected.pzxid = machine.zxid;
  expected.ctime_ms = expected.mtime_ms = machine.wall_ms;
  expected.data_length = 4;
  EXPECT_EQ(reply.stat, expected);
  EXPECT_EQ(machine.StatOf("/p/new"), expected);
  EXPECT_EQ(reply.zxid, machine.zxid);
}

TEST_F(StatTest, CreateOfEphemeralNamesItsOwner) {
  const Reply reply = machine.Create(session, "/p/e", "", CreateMode::kEphemeral);
  EXPECT_EQ(reply.stat.ephemeral_owner, session);
  EXPECT_EQ(machine.StatOf("/p/c").ephemeral_owner, 0);
}

TEST_F(StatTest, CreateOfChild) {
  machine.Create(session, "/p/new");
  Stat expected = before;
  expected.pzxid = machine.zxid;
  expected.cversion += 1;
  expected.num_children += 1;
  EXPECT_EQ(machine.StatOf("/p"), expected);
}

TEST_F(StatTest, DeleteOfChild) {
  machine.Call(session, Delete{"/p/c"});
  Stat expected = before;
  expected.pzxid = machine.zxid;
  expected.cversion += 1;
  expected.num_children -= 1;
  EXPECT_EQ(machine.StatOf("/p"), expected);
}

TEST_F(StatTest, SetDataOnNode) {
  const Reply reply = machine.Call(session, SetData{"/p", "1234567", 0});
  Stat expected = before;
  expected.mzxid = machine.zxid;
  expected.mtime_ms = machine.wall_ms;
  expected.version = 1;
  expected.data_length = 7;
  EXPECT_EQ(machine.StatOf("/p"), expected);
  EXPECT_EQ(reply.stat, expected);
}

TEST_F(StatTest, SetDataOnLeafKeepsPzxid) {
  const Stat leaf = machine.StatOf("/p/c");
  machine.Call(session, SetData{"/p/c", "x"});
  EXPECT_EQ(machine.StatOf("/p/c").pzxid, leaf.czxid);
  EXPECT_EQ(machine.StatOf("/p/c").mzxid, machine.zxid);
}

TEST_F(StatTest, SetDataOnChildLeavesTheParentAlone) {
  machine.Call(session, SetData{"/p/c", "other"});
  EXPECT_EQ(machine.StatOf("/p"), before);
}

TEST_F(StatTest, GrandchildrenNeverCount) {
  machine.Create(session, "/p/c/g");
  machine.Call(session, SetData{"/p/c/g", "x"});
  machine.Call(session, Delete{"/p/c/g"});
  EXPECT_EQ(machine.StatOf("/p"), before);
}

TEST_F(StatTest, TheSameBytesAgainCount) {
  const ApplyResult result = machine.Do(session, SetData{"/p", "12345"});
  EXPECT_EQ(result.reply.stat.version, 1);
  EXPECT_EQ(result.reply.stat.mzxid, machine.zxid);
  ASSERT_EQ(result.changes.size(), 1U);
  EXPECT_EQ(result.changes[0].type, ChangeType::kDataChanged);
}

TEST_F(StatTest, NullAndEmptyDataAreDistinct) {
  machine.Create(session, "/null");
  machine.Create(session, "/empty", "");
  EXPECT_FALSE(machine.state.tree().Get("/null")->value->has_data());
  EXPECT_TRUE(machine.state.tree().Get("/empty")->value->has_data());
  EXPECT_EQ(machine.StatOf("/null").data_length, 0);
  EXPECT_EQ(machine.StatOf("/empty").data_length, 0);
  machine.Call(session, SetData{"/empty", std::nullopt});
  EXPECT_FALSE(machine.state.tree().Get("/empty")->value->has_data());
  machine.Call(session, SetData{"/null", ""});
  EXPECT_TRUE(machine.state.tree().Get("/null")->value->has_data());
}

TEST_F(StatTest, CversionCountsCreatesAndDeletes) {
  machine.Create(session, "/q");
  EXPECT_EQ(machine.StatOf("/q").cversion, 0);
  machine.Create(session, "/q/a");
  machine.Create(session, "/q/b");
  EXPECT_EQ(machine.StatOf("/q").cversion, 2);
  machine.Call(session, Delete{"/q/a"});
  machine.Call(session, Delete{"/q/b"});
  EXPECT_EQ(machine.StatOf("/q").cversion, 4);
  EXPECT_EQ(machine.StatOf("/q").num_children, 0);
}

TEST_F(StatTest, ADeletedAndRecreatedNodeStartsAnew) {
  machine.Call(session, SetData{"/p/c", "x"});
  machine.Create(session, "/p/c/g");
  machine.Call(session, Delete{"/p/c/g"});
  machine.Call(session, Delete{"/p/c"});
  const Reply reply = machine.Create(session, "/p/c", "1");
  EXPECT_EQ(reply.stat.version, 0);
  EXPECT_EQ(reply.stat.cversion, 0);
  EXPECT_EQ(reply.stat.pzxid, machine.zxid);
}

TEST_F(StatTest, VersionSkipsMinusOneWhenItWraps) {
  EXPECT_EQ(NextVersion(0), 1);
  EXPECT_EQ(NextVersion(INT_MAX), INT_MIN);
  EXPECT_EQ(NextVersion(-3), -2);
  EXPECT_EQ(NextVersion(-2), 0);
  TreeTestPeer::SetVersion(machine.state, "/p", INT_MAX);
  EXPECT_EQ(machine.Call(session, SetData{"/p", "x", INT_MAX}).stat.version, INT_MIN);
  TreeTestPeer::SetVersion(machine.state, "/p", -2);
  EXPECT_EQ(machine.Call(session, SetData{"/p", "x", -2}).stat.version, 0);
}

TEST_F(StatTest, CversionWrapsIn32Bits) {
  EXPECT_EQ(CversionOf(0, 1), -1);
  EXPECT_EQ(CversionOf(INT_MAX, 0), -2);
  EXPECT_EQ(CversionOf(INT_MIN, 0), 0);
  EXPECT_EQ(CversionOf(1073741824, 0), INT_MIN);
}

TEST_F(StatTest, AFailedWriteTouchesNothing) {
  const Stat root = machine.StatOf("/");
  const Reply reply = machine.Call(session, SetData{"/p", "x", 7});
  EXPECT_EQ(reply.code, Code::kBadVersion);
  machine.Call(session, Delete{"/p"});
  machine.Create(session, "/p");
  EXPECT_EQ(machine.StatOf("/p"), before);
  EXPECT_EQ(machine.StatOf("/"), root);
}

// --- Sequential names ---

class SequentialTest : public StatTest {
 protected:
  std::string Next(const std::string& path, CreateMode mode = CreateMode::kPersistentSequential) {
    const Reply reply = machine.Create(session, path, std::nullopt, mode);
    EXPECT_EQ(reply.code, Code::kOk) << reply.message;
    EXPECT_TRUE(reply.code != Code::kOk || machine.Exists(reply.path));
    return reply.path;
  }
};

TEST_F(SequentialTest, FirstOfAFreshNodeIsZero) {
  machine.Create(session, "/q");
  EXPECT_EQ(Next("/q/n-"), "/q/n-0000000000");
  EXPECT_EQ(Next("/q/n-", CreateMode::kEphemeralSequential), "/q/n-0000000001");
}

TEST_F(SequentialTest, FirstBeneathTheRootOfAFreshTreeIsZero) {
  Machine fresh;
  const std::int64_t s = fresh.Open();
  EXPECT_EQ(fresh.Create(s, "/n", {}, CreateMode::kPersistentSequential).path, "/n0000000000");
}

TEST_F(SequentialTest, EveryCreateOfAChildAdvances) {
  machine.Create(session, "/q");
  machine.Create(session, "/q/plain");
  EXPECT_EQ(Next("/q/n-"), "/q/n-0000000001");
  EXPECT_EQ(Next("/q/other-"), "/q/other-0000000002");
}

TEST_F(SequentialTest, DeletesDoNot) {
  machine.Create(session, "/q");
  machine.Call(session, Delete{Next("/q/n-")});
  EXPECT_EQ(Next("/q/n-"), "/q/n-0000000001");
}

TEST_F(SequentialTest, FailedCreatesDoNot) {
  machine.Create(session, "/q");
  machine.Create(session, "/q/a");
  machine.Create(session, "/q/a");
  EXPECT_EQ(Next("/q/n-"), "/q/n-0000000001");
}

TEST_F(SequentialTest, ARecreatedParentStartsAtZero) {
  machine.Create(session, "/q");
  machine.Call(session, Delete{Next("/q/n-")});
  machine.Call(session, Delete{"/q"});
  machine.Create(session, "/q");
  EXPECT_EQ(Next("/q/n-"), "/q/n-0000000000");
}

TEST_F(SequentialTest, APathThatEndsInASlashGivesDigitsOnly) {
  machine.Create(session, "/q");
  EXPECT_EQ(Next("/q/"), "/q/0000000000");
}

TEST_F(SequentialTest, TheCounterOverflowsIn32Bits) {
  machine.Create(session, "/q");
  TreeTestPeer::SetCcount(machine.state, "/q", INT_MAX);
  EXPECT_EQ(Next("/q/n"), "/q/n2147483647");
  EXPECT_EQ(Next("/q/n"), "/q/n-2147483648");
  EXPECT_EQ(Next("/q/n"), "/q/n-2147483647");
}

TEST_F(SequentialTest, ANameThatIsTakenIsRefused) {
  machine.Create(session, "/q");
  machine.Create(session, "/q/n0000000001");
  EXPECT_EQ(machine.Create(session, "/q/n", {}, CreateMode::kPersistentSequential).code,
            Code::kNodeExists);
}

TEST_F(SequentialTest, InAMultiEachSeesTheCounterMovedByTheEarlier) {
  machine.Create(session, "/q");
  Multi multi;
  multi.ops = {Create{"/q/n", {}, CreateMode::kPersistentSequential}, Create{"/q/plain"},
               Delete{"/q/plain"}, Create{"/q/n", {}, CreateMode::kEphemeralSequential}};
  const Reply reply = machine.Call(session, multi);
  ASSERT_EQ(reply.multi.size(), 4U);
  EXPECT_EQ(reply.multi[0].path, "/q/n0000000000");
  EXPECT_EQ(reply.multi[3].path, "/q/n0000000002");
}

TEST_F(SequentialTest, LimitsApplyToTheFinalName) {
  machine.Create(session, "/q");
  EXPECT_EQ(
      machine.Create(session, "/q/" + std::string(245, 'x'), {}, CreateMode::kPersistentSequential)
          .code,
      Code::kOk);
  EXPECT_EQ(
      machine.Create(session, "/q/" + std::string(246, 'x'), {}, CreateMode::kPersistentSequential)
          .code,
      Code::kInvalidArgument);
}

}  // namespace
}  // namespace conclave::tree
