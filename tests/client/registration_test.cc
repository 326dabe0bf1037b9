// Where a watch begins to tell: behind its registration, also at the next member.
#include <algorithm>
#include <limits>

#include <conclave/lock.h>
#include <gtest/gtest.h>

#include "client/src/watch_table.h"
#include "tests/client/client_fixture.h"

namespace conclave::client_test {
namespace {

using internal::WatchSlot;
using internal::WatchTable;

WatchTable::Watch MakeWatch(WatchTable& table, WatchMode mode) {
  WatchTable::Watch watch;
  watch.slot = std::make_shared<WatchSlot>();
  watch.id = table.Reserve(watch.slot);
  watch.path = "/a";
  watch.mode = mode;
  return watch;
}

idl::Event EventAt(WatchId id, std::int64_t zxid) {
  idl::Event event;
  event.__set_watchIds({id});
  event.change.__set_type(idl::EventType::DATA_CHANGED);
  event.change.__set_path("/a");
  event.change.__set_zxid(zxid);
  event.__isset.change = true;
  return event;
}

// The session's cursor can be behind: a member that were not told would let a one-shot watch go off
// for a change from before it was there.
TEST(WatchTableTest, TheNextMemberIsToldFromWhereOnAWatchTells) {
  WatchTable table;
  const WatchTable::Watch watch = MakeWatch(table, WatchMode::kExistsOnce);
  table.Add(watch);
  EXPECT_TRUE(table.Specs().empty()) << "not confirmed yet";
  table.Registered(watch.id, 20);
  std::vector<idl::WatchSpec> specs = table.Specs();
  ASSERT_EQ(specs.size(), 1U);
  ASSERT_TRUE(specs[0].__isset.since);
  EXPECT_EQ(specs[0].since.zxid, 20);
  EXPECT_EQ(specs[0].since.ordinal, std::numeric_limits<std::int32_t>::max());
}

TEST(WatchTableTest, APersistentWatchGoesOnBehindItsLastEvent) {
  WatchTable table;
  const WatchTable::Watch watch = MakeWatch(table, WatchMode::kPersistent);
  table.Add(watch);
  table.Registered(watch.id, 20);
  std::vector<WatchTable::Delivery> deliveries;
  table.Match(EventAt(watch.id, 15), deliveries);
  EXPECT_TRUE(deliveries.empty());
  table.Match(EventAt(watch.id, 25), deliveries);
  ASSERT_EQ(deliveries.size(), 1U);
  ASSERT_EQ(table.Specs().size(), 1U);
  EXPECT_EQ(table.Specs()[0].since.zxid, 25);
}

// A member may have taken up an attempt whose connection was lost.
TEST(WatchTableTest, EventsFromBeforeTheAttemptThatCountsAreNotForIt) {
  WatchTable table;
  const WatchTable::Watch watch = MakeWatch(table, WatchMode::kPersistent);
  const WatchTable::Watch once = MakeWatch(table, WatchMode::kExistsOnce);
  table.Add(watch);
  table.Add(once);
  std::vector<WatchTable::Delivery> deliveries;
  for (const WatchId id : {watch.id, once.id}) {
    for (const std::int64_t zxid : {15, 25, 26}) {
      table.Match(EventAt(id, zxid), deliveries);
    }
  }
  EXPECT_TRUE(deliveries.empty()) << "the caller does not know yet that it watches";
  const auto told = table.Registered(watch.id, 20);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[0].event.cursor.zxid, 25);
  EXPECT_EQ(told[1].event.cursor.zxid, 26);
  EXPECT_EQ(table.Registered(once.id, 20).size(), 1U);
  EXPECT_EQ(table.Find(once.id), nullptr);
  table.Match(EventAt(watch.id, 26), deliveries);
  EXPECT_TRUE(deliveries.empty()) << "told once";
}

class RegistrationTest : public ClientTest {};

// A member refuses a watch from a cursor that it has passed in telling the session.
TEST_F(RegistrationTest, AHolderWhoseOwnWatchIsRefusedStillHearsOfItsRemoval) {
  Client& client = OpenClient();
  bool refused = false;
  cluster.on_call = [&refused](const std::string& method, const idl::Ctx&, int) {
    if (method != "addWatch" || std::exchange(refused, true)) {
      return Fault{};
    }
    return Fail(idl::ErrorCode::INVALID_ARGUMENT);
  };
  Lock lock(client, "/l");
  auto grant =
      Await<Grant>([&](auto done) { lock.AcquireAsync(milliseconds(0), std::move(done)); });
  ASSERT_TRUE(grant.ok()) << grant.error().ToString();
  ASSERT_TRUE(refused);
  std::optional<Code> lost;
  grant->OnLost([&lost](const Error& reason) { lost = reason.code; });
  executor.Settle();
  EXPECT_FALSE(lost);
  cluster.ForeignRemove(grant->path());
  ASSERT_TRUE(executor.AdvanceUntil([&] { return lost.has_value(); }));
  EXPECT_EQ(*lost, Code::kNoNode);
}

}  // namespace
}  // namespace conclave::client_test
