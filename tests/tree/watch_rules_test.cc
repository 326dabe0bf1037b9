// Which mode is triggered by which change, row by row of ZooKeeper's table, through the whole hub
// and by the bare rule; the two must agree.
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/watch_testing.h"

namespace conclave::tree {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Row {
  WatchMode mode;
  ChangeType change;
  std::string_view where;  // relative to the watch, which is on /a/b
  std::string_view event;  // "" for none
};

constexpr auto kCreated = ChangeType::kCreated;
constexpr auto kDeleted = ChangeType::kDeleted;
constexpr auto kChanged = ChangeType::kDataChanged;

// /a is the parent, /a/b the watched, /a/b/c its child, /a/b/c/d the child's child. /a/bc and /a/c
// are others, of which the first begins with the same characters.
const std::vector<Row>& Rows() {
  static const std::vector<Row> rows = [] {
    std::vector<Row> all;
    for (const WatchMode mode : {WatchMode::kData, WatchMode::kExist}) {
      all.push_back({mode, kCreated, "/a/b", "created /a/b"});
      all.push_back({mode, kDeleted, "/a/b", "deleted /a/b"});
      all.push_back({mode, kChanged, "/a/b", "changed /a/b"});
      all.push_back({mode, kCreated, "/a/b/c", ""});
      all.push_back({mode, kDeleted, "/a/b/c", ""});
      all.push_back({mode, kChanged, "/a/b/c", ""});
    }
    all.push_back({WatchMode::kChild, kCreated, "/a/b", ""});
    all.push_back({WatchMode::kChild, kDeleted, "/a/b", "deleted /a/b"});
    all.push_back({WatchMode::kChild, kChanged, "/a/b", ""});
    all.push_back({WatchMode::kChild, kCreated, "/a/b/c", "children /a/b"});
    all.push_back({WatchMode::kChild, kDeleted, "/a/b/c", "children /a/b"});
    all.push_back({WatchMode::kChild, kChanged, "/a/b/c", ""});
    all.push_back({WatchMode::kPersistent, kCreated, "/a/b", "created /a/b"});
    all.push_back({WatchMode::kPersistent, kDeleted, "/a/b", "deleted /a/b"});
    all.push_back({WatchMode::kPersistent, kChanged, "/a/b", "changed /a/b"});
    all.push_back({WatchMode::kPersistent, kCreated, "/a/b/c", "children /a/b"});
    all.push_back({WatchMode::kPersistent, kDeleted, "/a/b/c", "children /a/b"});
    all.push_back({WatchMode::kPersistent, kChanged, "/a/b/c", ""});
    const auto recursive = WatchMode::kPersistentRecursive;
    all.push_back({recursive, kCreated, "/a/b", "created /a/b"});
    all.push_back({recursive, kDeleted, "/a/b", "deleted /a/b"});
    all.push_back({recursive, kChanged, "/a/b", "changed /a/b"});
    all.push_back({recursive, kCreated, "/a/b/c", "created /a/b/c"});
    all.push_back({recursive, kDeleted, "/a/b/c", "deleted /a/b/c"});
    all.push_back({recursive, kChanged, "/a/b/c", "changed /a/b/c"});
    all.push_back({recursive, kCreated, "/a/b/c/d", "created /a/b/c/d"});
    all.push_back({recursive, kDeleted, "/a/b/c/d", "deleted /a/b/c/d"});
    all.push_back({recursive, kChanged, "/a/b/c/d", "changed /a/b/c/d"});
    for (const WatchMode mode : {WatchMode::kData, WatchMode::kExist, WatchMode::kChild,
                                 WatchMode::kPersistent, recursive}) {
      for (const ChangeType change : {kCreated, kDeleted, kChanged}) {
        for (const std::string_view where : {"/a", "/a/bc", "/a/bc/d", "/a/c", "/b", "/"}) {
          all.push_back({mode, change, where, ""});
        }
        if (mode != recursive) {
          all.push_back({mode, change, "/a/b/c/d", ""});
        }
      }
    }
    return all;
  }();
  return rows;
}

TEST(WatchRules, EveryRowOfTheTable) {
  for (const Row& row : Rows()) {
    SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(row.mode) << " change "
                                    << static_cast<int>(row.change) << " at " << row.where);
    WatchHub hub({}, 10);
    ASSERT_EQ(hub.Register(1, {.id = 7, .path = "/a/b", .mode = row.mode}).status,
              RegisterStatus::kOk);
    const auto woken = hub.Apply(11, At(11, {MakeChange(row.change, row.where)}));
    const auto texts = ToText(hub.Drain(1, {}).events);
    const auto rule = Triggers(row.mode, "/a/b", MakeChange(row.change, row.where));
    EXPECT_EQ(rule.has_value(), !row.event.empty());
    if (row.event.empty()) {
      EXPECT_THAT(texts, IsEmpty());
      EXPECT_THAT(woken, IsEmpty());
      EXPECT_EQ(hub.counts().watches, 1U);
    } else {
      EXPECT_THAT(texts, ElementsAre("11.0 " + std::string(row.event) + " [7]"));
      EXPECT_THAT(woken, ElementsAre(1));
      EXPECT_EQ(hub.counts().watches, IsOneShot(row.mode) ? 0U : 1U);
    }
  }
}

TEST(WatchRules, OneShotFiresOnceAndPersistentEveryTime) {
  for (const WatchMode mode : {WatchMode::kData, WatchMode::kExist, WatchMode::kPersistent,
                               WatchMode::kPersistentRecursive}) {
    WatchHub hub({}, 10);
    hub.Register(1, {.id = 7, .path = "/a", .mode = mode});
    hub.Apply(11, At(11, {DataChanged("/a")}));
    hub.Apply(12, At(12, {DataChanged("/a")}));
    const auto texts = ToText(hub.Drain(1, {}).events);
    if (IsOneShot(mode)) {
      EXPECT_THAT(texts, ElementsAre("11.0 changed /a [7]"));
    } else {
      EXPECT_THAT(texts, ElementsAre("11.0 changed /a [7]", "12.0 changed /a [7]"));
    }
  }
}

TEST(WatchRules, DeleteTakesOneShotsOfBothTablesAndGivesOneEvent) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = WatchMode::kData});
  hub.Register(1, {.id = 2, .path = "/a", .mode = WatchMode::kChild});
  hub.Apply(11, At(11, {Deleted("/a")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events), ElementsAre("11.0 deleted /a [1,2]"));
  EXPECT_EQ(hub.counts().watches, 0U);
  hub.Apply(12, At(12, {Created("/a")}));
  hub.Apply(13, At(13, {Created("/a/b")}));
  EXPECT_EQ(hub.Drain(1, {}).events.size(), 1U);
}

TEST(WatchRules, AllModesShareOneEventPerTrigger) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 5, .path = "/a/b", .mode = WatchMode::kData});
  hub.Register(1, {.id = 4, .path = "/a/b", .mode = WatchMode::kExist});
  hub.Register(1, {.id = 3, .path = "/a/b", .mode = WatchMode::kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = WatchMode::kPersistentRecursive});
  hub.Register(1, {.id = 1, .path = "/", .mode = WatchMode::kPersistentRecursive});
  hub.Register(1, {.id = 6, .path = "/a/b", .mode = WatchMode::kChild});
  hub.Register(1, {.id = 7, .path = "/a", .mode = WatchMode::kPersistent});
  hub.Register(1, {.id = 8, .path = "/a", .mode = WatchMode::kChild});
  hub.Apply(11, At(11, {Deleted("/a/b")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events),
              ElementsAre("11.0 deleted /a/b [1,2,3,4,5,6]", "11.0 children /a [7,8]"));
}

TEST(WatchRules, DeletedComesBeforeChildrenChangedInEveryEntry) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = WatchMode::kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = WatchMode::kPersistentRecursive});
  hub.Apply(11, At(11, {Created("/a/x"), DataChanged("/a/x"), Deleted("/a/x"), Deleted("/a")}));
  EXPECT_THAT(
      ToText(hub.Drain(1, {}).events),
      ElementsAre("11.0 created /a/x [2]", "11.0 children /a [1]", "11.1 changed /a/x [2]",
                  "11.2 deleted /a/x [2]", "11.2 children /a [1]", "11.3 deleted /a [1,2]"));
}

TEST(WatchRules, ChildOfTheRootAndTheRootItself) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/", .mode = WatchMode::kChild});
  hub.Register(1, {.id = 2, .path = "/", .mode = WatchMode::kPersistent});
  hub.Register(1, {.id = 3, .path = "/", .mode = WatchMode::kData});
  hub.Apply(11, At(11, {Created("/a")}));
  hub.Apply(12, At(12, {DataChanged("/")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events),
              ElementsAre("11.0 children / [1,2]", "12.0 changed / [2,3]"));
}

TEST(WatchRules, AnEntryThatChangesNothingTellsNothingAndMovesTheCursor) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/", .mode = WatchMode::kPersistentRecursive});
  EXPECT_THAT(hub.Apply(11, {}), IsEmpty());
  EXPECT_FALSE(hub.HasEvents(1, {}));
  EXPECT_EQ(hub.Drain(1, {}).cursor, Cursor::EndOf(11));
}

TEST(WatchRules, EventsCarryPathAndValueWithoutCopy) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = WatchMode::kPersistent, .with_value = true});
  hub.Register(2, {.id = 1, .path = "/a", .mode = WatchMode::kPersistent});
  hub.Apply(11, At(11, {DataChanged("/a", "new")}));
  const auto first = hub.Drain(1, {}).events;
  const auto second = hub.Drain(2, {}).events;
  ASSERT_EQ(first.size(), 1U);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_TRUE(first[0].with_value);
  EXPECT_FALSE(second[0].with_value);
  EXPECT_EQ(first[0].change->value->data(), "new");
  EXPECT_EQ(first[0].change, second[0].change);
}

}  // namespace
}  // namespace conclave::tree
