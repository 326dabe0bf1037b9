// Errors in their order of precedence, multi, and the limits of operations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OperationsTest : public ::testing::Test {
 protected:
  static Limits Small() {
    Limits limits;
    limits.value_bytes_max = 10;
    limits.multi_ops_max = 5;
    limits.ephemerals_per_session_max = 3;
    return limits;
  }

  // /p (version 1) with a child, /e ephemeral, /leaf.
  void SetUp() override {
    session = machine.Open();
    machine.Create(session, "/p");
    machine.Call(session, SetData{"/p", "x"});
    machine.Create(session, "/p/c");
    machine.Create(session, "/e", "", CreateMode::kEphemeral);
    machine.Create(session, "/leaf");
  }

  void TearDown() override {
    EXPECT_EQ(machine.state.Audit(), "");
    EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
  }

  struct Row {
    const char* what;
    Command command;
    Code code;
  };

  // Each row must fail with its code, and change nothing but the session.
  void Expect(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      const Digest tree = machine.state.tree().digest();
      const ApplyResult result = machine.Do(session, row.command);
      EXPECT_EQ(NameOf(result.reply.code), NameOf(row.code)) << row.what;
      EXPECT_FALSE(result.reply.message.empty()) << row.what;
      EXPECT_TRUE(result.changes.empty()) << row.what;
      EXPECT_EQ(machine.state.tree().digest(), tree) << row.what;
      EXPECT_EQ(result.reply.zxid, machine.zxid) << row.what;
    }
  }

  Machine machine{Small()};
  std::int64_t session = 0;
};

constexpr auto kOddMode = static_cast<CreateMode>(7);
const std::string kNul("/p/\0", 4);
const std::string kTooMuch(11, 'x');

TEST_F(OperationsTest, CreatePrecedence) {
  Expect({
      {"mode before size", Create{"no slash", kTooMuch, kOddMode}, Code::kInvalidArgument},
      {"size before path", Create{"no slash", kTooMuch}, Code::kTooLarge},
      {"size before parent", Create{"/missing/x", kTooMuch}, Code::kTooLarge},
      {"no slash", Create{"x"}, Code::kInvalidArgument},
      {"empty", Create{""}, Code::kInvalidArgument},
      {"NUL before parent", Create{std::string("/missing/\0", 10)}, Code::kInvalidArgument},
      {"NUL", Create{kNul}, Code::kInvalidArgument},
      {"parent before final path", Create{"/missing/\x01"}, Code::kNoNode},
      {"parent before component", Create{"/missing/.."}, Code::kNoNode},
      {"a relative path has no parent", Create{"a/b"}, Code::kNoNode},
      {"an empty component is a missing parent", Create{"/p//x"}, Code::kNoNode},
      {"the root by its empty name", Create{"//x"}, Code::kInvalidArgument},
      {"trailing slash", Create{"/p/"}, Code::kInvalidArgument},
      {"control character", Create{"/p/\x01"}, Code::kInvalidArgument},
      {"dot", Create{"/p/."}, Code::kInvalidArgument},
      {"final path before ephemeral parent", Create{"/e/\x01"}, Code::kInvalidArgument},
      {"sequential final path", Create{"/p/\x01", {}, CreateMode::kPersistentSequential},
       Code::kInvalidArgument},
      {"exists", Create{"/p/c"}, Code::kNodeExists},
      {"the root exists", Create{"/"}, Code::kNodeExists},
      {"ephemeral parent", Create{"/e/x"}, Code::kNoChildrenForEphemerals},
      {"ephemeral parent of a sequential", Create{"/e/x", {}, CreateMode::kEphemeralSequential},
       Code::kNoChildrenForEphemerals},
  });
}

TEST_F(OperationsTest, DeletePrecedence) {
  Expect({
      {"no slash", Delete{"x"}, Code::kInvalidArgument},
      {"empty", Delete{""}, Code::kInvalidArgument},
      {"NUL before parent", Delete{std::string("/missing/\0", 10)}, Code::kInvalidArgument},
      {"root", Delete{"/", 5}, Code::kInvalidArgument},
      {"zookeeper", Delete{"/zookeeper"}, Code::kInvalidArgument},
      {"quota", Delete{"/zookeeper/quota"}, Code::kInvalidArgument},
      {"config", Delete{"/zookeeper/config"}, Code::kInvalidArgument},
      {"parent missing", Delete{"/missing/x"}, Code::kNoNode},
      {"missing", Delete{"/p/x"}, Code::kNoNode},
      {"nothing but a slash is checked", Delete{"/p/\x01"}, Code::kNoNode},
      {"trailing slash", Delete{"/p/c/"}, Code::kNoNode},
      {"version before children", Delete{"/p", 0}, Code::kBadVersion},
      {"children", Delete{"/p", 1}, Code::kNotEmpty},
      {"children, any version", Delete{"/p"}, Code::kNotEmpty},
  });
}

TEST_F(OperationsTest, SetDataPrecedence) {
  Expect({
      {"size before path", SetData{"", kTooMuch}, Code::kTooLarge},
      {"path before existence", SetData{"/missing/"}, Code::kInvalidArgument},
      {"empty", SetData{""}, Code::kInvalidArgument},
      {"relative", SetData{"p"}, Code::kInvalidArgument},
      {"control character", SetData{"/missing/\x01"}, Code::kInvalidArgument},
      {"missing before version", SetData{"/missing", "", 5}, Code::kNoNode},
      {"version", SetData{"/p", "", 0}, Code::kBadVersion},
      {"version above", SetData{"/p", "", 2}, Code::kBadVersion},
      {"version below -1 is no wildcard", SetData{"/p", "", -2}, Code::kBadVersion},
  });
}

TEST_F(OperationsTest, CheckPrecedence) {
  const auto alone = [](Check check) { return Multi{{std::move(check)}}; };
  Expect({
      {"path before existence", alone({"/missing/"}), Code::kInvalidArgument},
      {"missing before version", alone({"/missing", 5}), Code::kNoNode},
      {"version", alone({"/p", 0}), Code::kBadVersion},
  });
  EXPECT_EQ(machine.Call(session, alone({"/p", 1})).code, Code::kOk);
  EXPECT_EQ(machine.Call(session, alone({"/p"})).code, Code::kOk);
  EXPECT_EQ(machine.Call(session, alone({"/"})).code, Code::kOk);
}

TEST_F(OperationsTest, AnOddModeComesBeforeTheSession) {
  const EntryHeader dead = machine.Header(4711, 1);
  EXPECT_EQ(machine.Apply(dead, Create{"/x", {}, kOddMode}).reply.code, Code::kInvalidArgument);
  EXPECT_EQ(machine.Apply(dead, Create{"", kTooMuch}).reply.code, Code::kSessionExpired);
}

TEST_F(OperationsTest, NodesMayBeCreatedBeneathTheReserved) {
  EXPECT_EQ(machine.Create(session, "/zookeeper/quota/x").code, Code::kOk);
  EXPECT_EQ(machine.Call(session, Delete{"/zookeeper/quota/x"}).code, Code::kOk);
  EXPECT_EQ(machine.Call(session, SetData{"/zookeeper/config", "v"}).code, Code::kOk);
}

TEST_F(OperationsTest, AnotherSessionMayDeleteAnEphemeral) {
  const std::int64_t other = machine.Open();
  EXPECT_EQ(machine.Call(other, SetData{"/e", "mine"}).stat.ephemeral_owner, session);
  EXPECT_EQ(machine.Call(other, Delete{"/e"}).code, Code::kOk);
  EXPECT_TRUE(machine.state.sessions().Find(session)->ephemerals.empty());
  EXPECT_TRUE(machine.Close(session).changes.empty());
}

TEST_F(OperationsTest, SizesAtTheLimitAreTaken) {
  EXPECT_EQ(machine.Create(session, "/ten", std::string(10, 'x')).code, Code::kOk);
  EXPECT_EQ(machine.Call(session, SetData{"/ten", std::string(10, 'y')}).code, Code::kOk);
  const Reply refused = machine.Call(session, SetData{"/ten", kTooMuch});
  EXPECT_EQ(refused.code, Code::kTooLarge);
  EXPECT_THAT(refused.message, HasSubstr("data of /ten: 11 bytes, and the limit is 10; store"));
}

TEST_F(OperationsTest, EphemeralsPerSession) {
  EXPECT_EQ(machine.Create(session, "/e2", {}, CreateMode::kEphemeral).code, Code::kOk);
  EXPECT_EQ(machine.Create(session, "/e3", {}, CreateMode::kEphemeralSequential).code, Code::kOk);
  const Reply refused = machine.Create(session, "/e4", {}, CreateMode::kEphemeral);
  EXPECT_EQ(refused.code, Code::kTooLarge);
  EXPECT_THAT(refused.message, HasSubstr("owns 3 ephemerals, which is the limit; delete some"));
  EXPECT_EQ(machine.Create(session, "/e").code, Code::kNodeExists) << "the limit comes last";
  EXPECT_EQ(machine.Create(session, "/plain").code, Code::kOk);
  machine.Call(session, Delete{"/e2"});
  EXPECT_EQ(machine.Create(session, "/e4", {}, CreateMode::kEphemeral).code, Code::kOk);
}

TEST_F(OperationsTest, MessagesNeverCarryRawBytes) {
  const Reply reply = machine.Call(session, SetData{"/\xff\n", "x"});
  EXPECT_EQ(reply.path, "/\\xff\\x0a");
  EXPECT_THAT(reply.message, HasSubstr("/\\xff\\x0a"));
}

TEST_F(OperationsTest, ErrorsStaySmallWhateverThePath) {
  const Reply reply = machine.Call(session, SetData{"/" + std::string(1'000'000, '\xff'), "x"});
  EXPECT_EQ(reply.code, Code::kInvalidArgument);
  EXPECT_LT(reply.path.size(), 20'000U);
  EXPECT_LT(reply.message.size(), 2'000U);
}

// --- Changes ---

TEST_F(OperationsTest, ChangesHoldTheValueAndTheStat) {
  ApplyResult result = machine.Do(session, Create{"/n", "v0"});
  ASSERT_EQ(result.changes.size(), 1U);
  EXPECT_EQ(result.changes[0].type, ChangeType::kCreated);
  EXPECT_EQ(result.changes[0].path, "/n");
  EXPECT_EQ(result.changes[0].value->data(), "v0");
  EXPECT_EQ(result.changes[0].zxid, machine.zxid);
  EXPECT_EQ(result.changes[0].ordinal, 0);
  const Change created = result.changes[0];

  result = machine.Do(session, SetData{"/n", "v1"});
  EXPECT_EQ(result.changes.at(0).type, ChangeType::kDataChanged);
  EXPECT_EQ(result.changes.at(0).value->data(), "v1");
  EXPECT_EQ(result.changes.at(0).stat.version, 1);

  const Stat last = machine.StatOf("/n");
  result = machine.Do(session, Delete{"/n"});
  EXPECT_EQ(result.changes.at(0).type, ChangeType::kDeleted);
  EXPECT_EQ(result.changes.at(0).value->data(), "v1");
  EXPECT_EQ(result.changes.at(0).stat, last);
  EXPECT_EQ(created.value->data(), "v0") << "a value that was handed out stays as it was";
  EXPECT_EQ(created.stat.version, 0);
}

// --- Multi ---

TEST_F(OperationsTest, MultiTakesEffectAtOneZxidInOrder) {
  const Multi multi{{Create{"/m", "1"}, Check{"/p", 1}, SetData{"/m", "2", 0},
                     Create{"/m/c", {}, CreateMode::kEphemeral}, Delete{"/leaf"}}};
  const ApplyResult result = machine.Do(session, multi);
  ASSERT_EQ(result.reply.code, Code::kOk);
  ASSERT_EQ(result.reply.multi.size(), 5U);
  EXPECT_EQ(result.reply.multi[0].path, "/m");
  EXPECT_EQ(result.reply.multi[0].stat.version, 0);
  EXPECT_EQ(result.reply.multi[1], OpResult());
  EXPECT_EQ(result.reply.multi[2].stat.version, 1);
  EXPECT_EQ(result.reply.multi[2].path, "");
  EXPECT_EQ(result.reply.multi[3].path, "/m/c");
  EXPECT_EQ(result.reply.multi[3].stat.ephemeral_owner, session);
  EXPECT_EQ(result.reply.multi[4], OpResult());
  std::vector<std::string> order;
  for (const Change& change : result.changes) {
    order.push_back(change.path);
    EXPECT_EQ(change.zxid, machine.zxid);
    EXPECT_EQ(change.ordinal, static_cast<std::int32_t>(order.size()) - 1);
  }
  EXPECT_THAT(order, ElementsAre("/m", "/m", "/m/c", "/leaf"));
  EXPECT_EQ(machine.StatOf("/m/c").czxid, machine.zxid);
  EXPECT_EQ(machine.StatOf("/m").pzxid, machine.zxid);
  EXPECT_EQ(machine.Close(session).changes.size(), 2U) << "/e and /m/c go with their session";
}

TEST_F(OperationsTest, AFailedMultiHasNoEffect) {
  machine.Create(session, "/e2", {}, CreateMode::kEphemeral);
  const Digest tree = machine.state.tree().digest();
  const auto ephemerals = machine.state.sessions().Find(session)->ephemerals;
  const Multi multi{{Delete{"/e2"}, Create{"/leaf/x", {}, CreateMode::kEphemeralSequential},
                     SetData{"/p", "other"}, Create{"/missing/x"}, Delete{"/leaf"}}};
  const ApplyResult result = machine.Do(session, multi);
  EXPECT_EQ(result.reply.code, Code::kNoNode);
  EXPECT_THAT(result.reply.message, HasSubstr("operation 3 of 5 (from 0): the parent of /missing"));
  ASSERT_EQ(result.reply.multi.size(), 5U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(result.reply.multi[static_cast<std::size_t>(i)], OpResult()) << i;
  }
  EXPECT_EQ(result.reply.multi[3].code, Code::kNoNode);
  EXPECT_EQ(result.reply.multi[4].code, Code::kRuntimeInconsistency);
  EXPECT_TRUE(result.changes.empty());
  EXPECT_EQ(machine.state.tree().digest(), tree);
  EXPECT_EQ(machine.state.sessions().Find(session)->ephemerals, ephemerals);
  EXPECT_EQ(machine.StatOf("/leaf").cversion, 0);
}

TEST_F(OperationsTest, AFailedMultiGivesBackTheCounterOfADeletedDirectory) {
  machine.Create(session, "/p/c/g");
  machine.Call(session, Delete{"/p/c/g"});
  const Stat before = machine.StatOf("/p/c");
  machine.Call(session, Multi{{Delete{"/p/c"}, Create{"/p/c"}, Create{"/p/c/x"}, Check{"/none"}}});
  EXPECT_EQ(machine.StatOf("/p/c"), before);
  EXPECT_EQ(before.cversion, 2);
}

TEST_F(OperationsTest, MultiIsJudgedAgainstItsOwnEarlierOperations) {
  const auto code = [&](Multi multi) { return machine.Call(session, std::move(multi)).code; };
  EXPECT_EQ(code({{Create{"/m"}, Create{"/m"}}}), Code::kNodeExists);
  EXPECT_EQ(code({{Delete{"/leaf"}, Check{"/leaf"}}}), Code::kNoNode);
  EXPECT_EQ(code({{SetData{"/p", "x", 1}, SetData{"/p", "y", 1}}}), Code::kBadVersion);
  EXPECT_EQ(code({{Delete{"/p/c"}, Delete{"/p", 1}, Create{"/p"}}}), Code::kOk);
  EXPECT_EQ(code({{Create{"/m2", {}, CreateMode::kEphemeral}, Create{"/m2/x"}}}),
            Code::kNoChildrenForEphemerals);
}

TEST_F(OperationsTest, MultiLimits) {
  const Op check = Check{"/p"};
  EXPECT_EQ(machine.Call(session, Multi{}).code, Code::kOk);
  EXPECT_EQ(machine.Call(session, Multi{{5, check}}).code, Code::kOk);
  const Reply refused = machine.Call(session, Multi{{6, check}});
  EXPECT_EQ(refused.code, Code::kTooLarge);
  EXPECT_TRUE(refused.multi.empty());
  EXPECT_THAT(refused.message, HasSubstr("6 operations, and the limit is 5; split it"));
  const auto ephemeral = [](std::string path) {
    return Create{std::move(path), {}, CreateMode::kEphemeral};
  };
  EXPECT_EQ(machine.Call(session, Multi{{ephemeral("/x"), ephemeral("/y"), ephemeral("/z")}}).code,
            Code::kTooLarge)
      << "the limit of ephemerals counts those of the multi";
}

}  // namespace
}  // namespace conclave::tree
