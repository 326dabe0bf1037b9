// The hub's contract, sentence by sentence: registering, queues and their bounds, draining and
// acknowledging, the window's end, moving to another member.
#include "coord/tree/watch_hub.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/watch_testing.h"

namespace conclave::tree {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr WatchMode kData = WatchMode::kData;
constexpr WatchMode kExist = WatchMode::kExist;
constexpr WatchMode kPersistent = WatchMode::kPersistent;
constexpr WatchMode kRecursive = WatchMode::kPersistentRecursive;

// Entries from..to, each changing the data of `path`.
void ApplyChanges(WatchHub& hub, std::int64_t from, std::int64_t to, const std::string& path) {
  for (std::int64_t zxid = from; zxid <= to; ++zxid) {
    hub.Apply(zxid, At(zxid, {DataChanged(path)}));
  }
}

std::vector<std::int64_t> ZxidsOf(const std::vector<Event>& events) {
  std::vector<std::int64_t> zxids;
  for (const Event& event : events) {
    zxids.push_back(event.cursor.zxid);
  }
  return zxids;
}

// --- the window ---

TEST(ChangeWindow, FindsWhatComesAfterACursor) {
  ChangeWindow window(1 << 20, 100, 10);
  EXPECT_EQ(window.begin(), Cursor::EndOf(10));
  EXPECT_EQ(window.Append(12, At(12, {Created("/a"), Created("/b")})), 0U);
  EXPECT_EQ(window.Append(13, {}), 2U);
  EXPECT_EQ(window.Append(15, At(15, {Deleted("/a")})), 2U);
  EXPECT_EQ(window.end(), Cursor::EndOf(15));
  EXPECT_EQ(window.FirstAfter({0, 0}), 0U);
  EXPECT_EQ(window.FirstAfter({12, 0}), 1U);
  EXPECT_EQ(window.FirstAfter({12, 1}), 2U);
  EXPECT_EQ(window.FirstAfter(Cursor::EndOf(12)), 2U);
  EXPECT_EQ(window.FirstAfter({14, 7}), 2U);
  EXPECT_EQ(window.FirstAfter({15, 0}), 3U);
  EXPECT_EQ(window.Find({12, 1})->path, "/b");
  EXPECT_EQ(window.Find({12, 2}), nullptr);
  EXPECT_TRUE(window.Covers(Cursor::EndOf(10)));
  EXPECT_FALSE(window.Covers({10, 5}));
}

TEST(ChangeWindow, ForgetsWholeEntriesOldestFirst) {
  ChangeWindow window(1 << 20, 4, 10);
  window.Append(11, At(11, {Created("/a"), Created("/b"), Created("/c")}));
  window.Append(12, At(12, {Created("/d")}));
  EXPECT_THAT(window.size(), 4U);
  EXPECT_EQ(window.begin(), Cursor::EndOf(10));
  window.Append(13, At(13, {Created("/e")}));
  EXPECT_EQ(window.size(), 2U);
  EXPECT_EQ(window.CursorAt(0), (Cursor{12, 0}));
  EXPECT_EQ(window.begin(), Cursor::EndOf(11));
}

TEST(ChangeWindow, IsBoundedInBytesOfValuesAndKeepsTheNewestEntry) {
  ChangeWindow window(10'000, 1000, 10);
  const std::string big(4000, 'x');
  for (std::int64_t zxid = 11; zxid <= 20; ++zxid) {
    window.Append(zxid, At(zxid, {DataChanged("/a", big)}));
    EXPECT_LE(window.bytes(), 10'000U);
  }
  EXPECT_EQ(window.size(), 2U);
  window.Append(21, At(21, {DataChanged("/a", std::string(50'000, 'x'))}));
  EXPECT_EQ(window.size(), 1U);
  EXPECT_EQ(window.begin(), Cursor::EndOf(20));
  window.Append(22, At(22, {DataChanged("/a")}));
  EXPECT_EQ(window.size(), 1U);
  window.Jump(30);
  EXPECT_EQ(window.bytes(), 0U);
  EXPECT_EQ(window.begin(), Cursor::EndOf(30));
}

// --- registering ---

TEST(WatchHub, TellsOnlyOfWhatComesAfterTheRegistration) {
  WatchHub hub({}, 10);
  hub.Apply(11, At(11, {DataChanged("/a")}));
  const RegisterResult result = hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  EXPECT_EQ(result.since, Cursor::EndOf(11));
  hub.Apply(12, At(12, {DataChanged("/a")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events), ElementsAre("12.0 changed /a [1]"));
}

TEST(WatchHub, TheSameRegistrationTwiceIsOne) {
  WatchHub hub({}, 10);
  for (const WatchMode mode : {kData, kPersistent}) {
    const Watch watch{.id = static_cast<WatchId>(mode), .path = "/a", .mode = mode};
    const RegisterResult first = hub.Register(1, watch);
    hub.Apply(hub.window().end().zxid + 1, {});
    const RegisterResult second = hub.Register(1, watch);
    EXPECT_EQ(second.since, first.since);
  }
  EXPECT_EQ(hub.counts().watches, 2U);
}

TEST(WatchHub, AnAssignedIdIsSharedByPathAndModeAndAboveTheClientsOwn) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 7, .path = "/a", .mode = kData});
  const WatchId assigned = hub.Register(1, {.path = "/b", .mode = kData}).id;
  EXPECT_EQ(assigned, 8);
  EXPECT_EQ(hub.Register(1, {.path = "/b", .mode = kData}).id, assigned);
  EXPECT_NE(hub.Register(1, {.path = "/b", .mode = kExist}).id, assigned);
  EXPECT_EQ(hub.Register(2, {.path = "/b", .mode = kData}).id, 1);
  EXPECT_EQ(hub.counts().watches, 4U);
}

TEST(WatchHub, AKnownIdWithAnotherPathIsReplaced) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 7, .path = "/a", .mode = kPersistent});
  hub.Register(1, {.id = 7, .path = "/b", .mode = kPersistent});
  hub.Apply(11, At(11, {DataChanged("/a"), DataChanged("/b")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events), ElementsAre("11.1 changed /b [7]"));
}

TEST(WatchHub, OneShotArmedAgainBeforeTheAcknowledgementIsTwoEvents) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kData});
  hub.Apply(11, At(11, {DataChanged("/a")}));
  hub.Register(1, {.id = 2, .path = "/a", .mode = kData});
  hub.Apply(12, At(12, {DataChanged("/a")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events),
              ElementsAre("11.0 changed /a [1]", "12.0 changed /a [2]"));
}

TEST(WatchHub, SinceFiresTheFirstMissedAndDoesNotArm) {
  WatchHub hub({}, 10);
  ApplyChanges(hub, 11, 14, "/a");
  hub.Register(1, {.id = 1, .path = "/a", .mode = kData}, Cursor{12, 0});
  hub.Apply(15, At(15, {DataChanged("/a")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events), ElementsAre("13.0 changed /a [1]"));
  EXPECT_EQ(hub.counts().watches, 0U);
}

TEST(WatchHub, SinceIsExclusiveDownToTheOrdinal) {
  for (std::int32_t ordinal = -1; ordinal < 3; ++ordinal) {
    WatchHub hub({}, 10);
    hub.Apply(11, At(11, {DataChanged("/a"), DataChanged("/a"), DataChanged("/a")}));
    hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent}, Cursor{11, ordinal});
    EXPECT_THAT(hub.Drain(1, {}).events, SizeIs(static_cast<std::size_t>(2 - ordinal)));
  }
}

TEST(WatchHub, SinceBeforeWhatIsQueuedIsMergedInOrderAndOnce) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Apply(11, At(11, {DataChanged("/b")}));
  hub.Apply(12, At(12, {DataChanged("/a")}));
  hub.Apply(13, At(13, {DataChanged("/b")}));
  hub.Apply(14, At(14, {DataChanged("/a")}));
  hub.Register(1, {.id = 2, .path = "/", .mode = kRecursive}, Cursor::EndOf(10));
  hub.Apply(15, At(15, {DataChanged("/a")}));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events),
              ElementsAre("11.0 changed /b [2]", "12.0 changed /a [1,2]", "13.0 changed /b [2]",
                          "14.0 changed /a [1,2]", "15.0 changed /a [1,2]"));
  EXPECT_EQ(hub.counts().queued, 5U);
}

TEST(WatchHub, SinceBeforeWhatWasToldIsRefused) {
  WatchHub hub({}, 10);
  ApplyChanges(hub, 11, 14, "/a");
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent}, Cursor::EndOf(12));
  EXPECT_EQ(hub.Drain(1, {}).cursor, Cursor::EndOf(14));
  const Watch second{.id = 2, .path = "/a", .mode = kPersistent};
  EXPECT_EQ(hub.Register(1, second, Cursor::EndOf(13)).status, RegisterStatus::kBehind);
  EXPECT_EQ(hub.counts().watches, 1U);
  EXPECT_EQ(hub.Register(1, second, Cursor::EndOf(14)).status, RegisterStatus::kOk);
}

TEST(WatchHub, LimitsPerSessionAndInAllCountWhatWentOff) {
  WatchHubOptions options;
  options.session_watches_max = 2;
  options.watches_max = 3;
  WatchHub hub(options, 10);
  const auto add = [&](std::int64_t session, WatchId id) {
    return hub.Register(session, {.id = id, .path = "/a", .mode = kData}).status;
  };
  EXPECT_EQ(add(1, 1), RegisterStatus::kOk);
  EXPECT_EQ(add(1, 2), RegisterStatus::kOk);
  EXPECT_EQ(add(1, 2), RegisterStatus::kOk) << "is there already";
  EXPECT_EQ(add(1, 3), RegisterStatus::kTooMany);
  hub.Apply(11, At(11, {DataChanged("/a")}));
  EXPECT_EQ(add(1, 3), RegisterStatus::kTooMany) << "went off, not acknowledged";
  EXPECT_EQ(add(2, 1), RegisterStatus::kOk);
  EXPECT_EQ(add(3, 1), RegisterStatus::kTooMany);
  EXPECT_FALSE(hub.Has(3));
  hub.Acknowledge(1, {11, 0});
  EXPECT_EQ(add(1, 3), RegisterStatus::kOk);
  const std::vector<ResumedWatch> two = {{{.id = 1, .path = "/a"}, {}},
                                         {{.id = 2, .path = "/b"}, {}}};
  EXPECT_EQ(hub.Resume(4, {}, two, true).status, RegisterStatus::kTooMany);
  EXPECT_EQ(hub.Resume(1, {}, two, true).status, RegisterStatus::kOk)
      << "takes the place of its own";
}

TEST(WatchHub, UnregisteredIsNotNamedAgainAlsoNotByWhatWasQueued) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = kRecursive});
  hub.Register(1, {.id = 3, .path = "/b", .mode = kPersistent});
  hub.Apply(11, At(11, {DataChanged("/a"), DataChanged("/b")}));
  EXPECT_TRUE(hub.Unregister(1, 1));
  EXPECT_FALSE(hub.Unregister(1, 1));
  EXPECT_EQ(hub.Unregister(1, "/b", kRecursive), 0U);
  EXPECT_EQ(hub.Unregister(1, "/b", kPersistent), 1U);
  const DrainResult result = hub.Drain(1, {});
  EXPECT_THAT(ToText(result.events), ElementsAre("11.0 changed /a [2]"));
  EXPECT_EQ(result.cursor, Cursor::EndOf(11));
}

TEST(WatchHub, AOneShotThatWentOffCannotBeRemovedAndIsTold) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kExist});
  hub.Apply(11, At(11, {Created("/a")}));
  EXPECT_FALSE(hub.Unregister(1, 1));
  EXPECT_THAT(ToText(hub.Drain(1, {}).events), ElementsAre("11.0 created /a [1]"));
}

TEST(WatchHub, ADroppedSessionLeavesNothing) {
  WatchHub hub({}, 10);
  const WatchCounts empty = hub.counts();
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = kData});
  hub.Register(2, {.id = 2, .path = "/a", .mode = kPersistent});
  EXPECT_THAT(hub.Apply(11, At(11, {DataChanged("/a")})), ElementsAre(1, 2));
  hub.Drop(1);
  hub.Drop(1);
  EXPECT_FALSE(hub.Has(1));
  EXPECT_FALSE(hub.Drain(1, {}).attached);
  EXPECT_THAT(hub.Apply(12, At(12, {DataChanged("/a")})), ElementsAre(2));
  hub.Drop(2);
  const WatchCounts counts = hub.counts();
  EXPECT_EQ(counts.watches + counts.fired + counts.queued + counts.queue_bytes, 0U);
  EXPECT_EQ(counts.sessions, empty.sessions);
  EXPECT_LE(counts.bytes - counts.window_bytes, empty.bytes + 256);
}

// --- draining ---

TEST(WatchHub, ASessionUnknownHereKeepsItsCursor) {
  WatchHub hub({}, 10);
  const DrainResult result = hub.Drain(1, {5, 2});
  EXPECT_FALSE(result.attached);
  EXPECT_EQ(result.cursor, (Cursor{5, 2}));
  EXPECT_FALSE(hub.HasEvents(1, {}));
}

TEST(WatchHub, DrainRepeatsUntilAcknowledged) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = kData});
  ApplyChanges(hub, 11, 13, "/a");
  EXPECT_THAT(ZxidsOf(hub.Drain(1, {}).events), ElementsAre(11, 12, 13));
  EXPECT_THAT(ZxidsOf(hub.Drain(1, {}).events), ElementsAre(11, 12, 13));
  EXPECT_THAT(ZxidsOf(hub.Drain(1, {12, 0}).events), ElementsAre(13));
  EXPECT_THAT(ToText(hub.Drain(1, {11, 0}, {.events_max = 1}).events),
              ElementsAre("12.0 changed /a [1]"))
      << "the one-shot watch of 11 is before";
  EXPECT_THAT(hub.Drain(1, {13, 0}).events, IsEmpty());
  EXPECT_THAT(ZxidsOf(hub.Drain(1, {}).events), ElementsAre(11, 12, 13)) << "not acknowledged";
  hub.Acknowledge(1, {12, 0});
  hub.Acknowledge(1, {11, 0});
  EXPECT_THAT(ZxidsOf(hub.Drain(1, {}).events), ElementsAre(13)) << "forgotten for good";
  EXPECT_TRUE(hub.HasEvents(1, {12, 0}));
  EXPECT_FALSE(hub.HasEvents(1, {13, 0}));
  hub.Acknowledge(1, Cursor::EndOf(13));
  EXPECT_EQ(hub.counts().queued + hub.counts().fired, 0U);
}

TEST(WatchHub, LimitsCutBetweenChangesAndGiveAtLeastOne) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/", .mode = kRecursive, .with_value = true});
  hub.Register(1, {.id = 2, .path = "/a", .mode = kPersistent});
  hub.Apply(11, At(11, {Created("/a/b", std::string(100, 'x')), Created("/a/c")}));
  DrainResult result = hub.Drain(1, {}, {.events_max = 1});
  EXPECT_THAT(ToText(result.events), ElementsAre("11.0 created /a/b [1]", "11.0 children /a [2]"));
  EXPECT_TRUE(result.more);
  EXPECT_EQ(result.cursor, (Cursor{11, 0}));
  result = hub.Drain(1, result.cursor, {.events_max = 2});
  EXPECT_THAT(ToText(result.events), ElementsAre("11.1 created /a/c [1]", "11.1 children /a [2]"));
  EXPECT_FALSE(result.more);
  EXPECT_EQ(result.cursor, Cursor::EndOf(11));
  EXPECT_THAT(hub.Drain(1, {}, {.bytes_max = 1}).events, SizeIs(2));
  EXPECT_THAT(hub.Drain(1, {}, {.bytes_max = 4000}).events, SizeIs(4));
}

// --- slow consumers ---

TEST(WatchHub, AQueueThatIsFullIsRefilledFromTheWindow) {
  WatchHubOptions options;
  options.session_events_max = 20;
  WatchHub hub(options, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Register(1, {.id = 2, .path = "/late", .mode = kData});
  ApplyChanges(hub, 11, 60, "/a");
  hub.Apply(61, At(61, {DataChanged("/late")}));
  ApplyChanges(hub, 62, 70, "/a");
  EXPECT_EQ(hub.counts().overflows, 1U);
  EXPECT_LE(hub.counts().queued, 20U);
  Cursor cursor;
  std::vector<std::string> all;
  while (hub.HasEvents(1, cursor)) {
    hub.Acknowledge(1, cursor);
    const DrainResult result = hub.Drain(1, cursor);
    ASSERT_GT(result.cursor, cursor);
    EXPECT_FALSE(result.resync);
    EXPECT_LE(result.events.size(), 21U);
    for (const Event& event : result.events) {
      all.push_back(ToText(event));
    }
    cursor = result.cursor;
    hub.Acknowledge(1, cursor);
  }
  ASSERT_EQ(all.size(), 60U);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i],
              std::to_string(11 + i) + (i == 50 ? ".0 changed /late [2]" : ".0 changed /a [1]"));
  }
  EXPECT_EQ(cursor, Cursor::EndOf(70));
  // Caught up: it queues again.
  hub.Apply(71, At(71, {DataChanged("/a")}));
  EXPECT_EQ(hub.counts().queued, 1U);
}

TEST(WatchHub, AFullQueueWaitsForTheAcknowledgementAndForNothingElse) {
  WatchHubOptions options;
  options.session_events_max = 2;
  WatchHub hub(options, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  ApplyChanges(hub, 11, 15, "/a");
  const DrainResult first = hub.Drain(1, {});
  EXPECT_THAT(ZxidsOf(first.events), ElementsAre(11, 12));
  EXPECT_FALSE(first.more) << "the server would turn in a circle";
  EXPECT_FALSE(hub.HasEvents(1, first.cursor));
  EXPECT_TRUE(hub.IsBehind(1, first.cursor)) << "the window has three more";
  hub.Acknowledge(1, first.cursor);
  EXPECT_TRUE(hub.HasEvents(1, first.cursor));
  EXPECT_THAT(ZxidsOf(hub.Drain(1, first.cursor).events), ElementsAre(13, 14));
}

TEST(WatchHub, ReadingTheWindowGoesInSlices) {
  WatchHubOptions options;
  options.scan_max = 10;
  WatchHub hub(options, 10);
  ApplyChanges(hub, 11, 45, "/other");
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent}, Cursor::EndOf(10));
  Cursor cursor;
  std::vector<std::int64_t> ends;
  bool more = true;
  while (more) {
    const DrainResult result = hub.Drain(1, cursor);
    EXPECT_THAT(result.events, IsEmpty());
    cursor = result.cursor;
    more = result.more;
    ends.push_back(cursor.zxid);
  }
  EXPECT_THAT(ends, ElementsAre(20, 30, 40, 45));
}

TEST(WatchHub, PastTheWindowItSaysResyncUntilAcknowledgedAndGoesOn) {
  WatchHubOptions options;
  options.session_events_max = 2;
  options.window_changes_max = 5;
  WatchHub hub(options, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  ApplyChanges(hub, 11, 30, "/a");
  for (int again = 0; again < 2; ++again) {
    const DrainResult result = hub.Drain(1, {});
    EXPECT_TRUE(result.resync);
    EXPECT_THAT(ZxidsOf(result.events), ElementsAre(26, 27));
  }
  hub.Acknowledge(1, {27, 0});
  DrainResult result = hub.Drain(1, {27, 0});
  EXPECT_FALSE(result.resync);
  EXPECT_THAT(ZxidsOf(result.events), ElementsAre(28, 29));
  EXPECT_EQ(hub.counts().watches, 1U) << "still registered";
}

TEST(WatchHub, AQueueThatDidNotOverflowSaysResyncOnlyForWhatItLost) {
  WatchHubOptions options;
  options.window_changes_max = 5;
  WatchHub hub(options, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Apply(11, At(11, {DataChanged("/a")}));
  const Cursor told = hub.Drain(1, {}).cursor;
  ApplyChanges(hub, 12, 40, "/other");
  EXPECT_FALSE(hub.Drain(1, told).resync) << "nothing of it was for this session";
  EXPECT_TRUE(hub.Drain(1, {}).resync) << "the event of 11 was not acknowledged and is gone";
}

TEST(WatchHub, AOneShotIsToldAlsoPastTheWindow) {
  WatchHubOptions options;
  options.window_changes_max = 3;
  options.session_events_max = 1;
  WatchHub hub(options, 10);
  hub.Register(1, {.id = 1, .path = "/once", .mode = kData, .with_value = true});
  hub.Register(1, {.id = 2, .path = "/a", .mode = kPersistent});
  hub.Apply(11, At(11, {Deleted("/once")}));
  ApplyChanges(hub, 12, 20, "/a");
  const DrainResult result = hub.Drain(1, {});
  EXPECT_TRUE(result.resync);
  ASSERT_THAT(ToText(result.events), ElementsAre("11.0 deleted /once [1]", "18.0 changed /a [2]"));
  EXPECT_EQ(result.events[0].change, nullptr);
  EXPECT_TRUE(result.events[0].with_value);
}

TEST(WatchHub, WhenTheBudgetIsUsedUpTheSlowGiveWay) {
  WatchHubOptions options;
  options.queue_bytes_max = 64 * sizeof(Cursor);
  WatchHub hub(options, 10);
  for (std::int64_t session = 1; session <= 4; ++session) {
    hub.Register(session, {.id = 1, .path = "/a", .mode = kPersistent});
  }
  for (std::int64_t zxid = 11; zxid <= 200; ++zxid) {
    hub.Apply(zxid, At(zxid, {DataChanged("/a")}));
    EXPECT_LE(hub.counts().queue_bytes, (64 + 4 * 16) * sizeof(Cursor));
  }
  EXPECT_GT(hub.counts().overflows, 0U);
  for (std::int64_t session = 1; session <= 4; ++session) {
    Cursor cursor;
    std::size_t told = 0;
    while (hub.HasEvents(session, cursor)) {
      const DrainResult result = hub.Drain(session, cursor);
      ASSERT_GT(result.cursor, cursor);
      told += result.events.size();
      cursor = result.cursor;
      hub.Acknowledge(session, cursor);
    }
    EXPECT_EQ(told, 190U);
  }
}

// --- moving ---

TEST(WatchHub, ResumeGivesEverythingMissedInOrderAndOnce) {
  WatchHub hub({}, 10);
  hub.Apply(11, At(11, {Created("/a"), Created("/a/b")}));
  hub.Apply(12, At(12, {DataChanged("/a/b"), Deleted("/a/b")}));
  hub.Apply(13, At(13, {DataChanged("/a")}));
  const std::vector<ResumedWatch> watches = {
      {{.id = 1, .path = "/a/b", .mode = kExist}, {}},
      {{.id = 2, .path = "/a", .mode = kPersistent}, {}},
      {{.id = 3, .path = "/", .mode = kRecursive}, Cursor{12, 0}},
  };
  for (int again = 0; again < 2; ++again) {
    EXPECT_FALSE(hub.Resume(1, {11, 0}, watches, true).resync);
    const DrainResult result = hub.Drain(1, {11, 0});
    EXPECT_THAT(ToText(result.events), ElementsAre("11.1 created /a/b [1]", "11.1 children /a [2]",
                                                   "12.1 deleted /a/b [3]", "12.1 children /a [2]",
                                                   "13.0 changed /a [2,3]"));
  }
}

TEST(WatchHub, ResumeOfManyWatchesTellsTheSameAndLeavesOthersAlone) {
  WatchHub hub({}, 10);
  std::vector<ResumedWatch> watches;
  for (WatchId id = 1; id <= 40; ++id) {
    const std::string path = "/many/" + std::to_string(id);
    watches.push_back({{.id = id, .path = path, .mode = id % 2 == 0 ? kExist : kPersistent}, {}});
    // Sessions on both sides in the order of the index, armed for later changes.
    hub.Register(1, watches.back().watch, Cursor::EndOf(20));
    hub.Register(3, watches.back().watch, Cursor::EndOf(20));
  }
  hub.Apply(11, At(11, {Created("/many/1"), Created("/many/2"), Created("/many/40")}));
  hub.Apply(12, At(12, {DataChanged("/many/1"), DataChanged("/many/2")}));
  hub.Resume(2, Cursor::EndOf(10), watches, true);
  EXPECT_THAT(ToText(hub.Drain(2, Cursor::EndOf(10)).events),
              ElementsAre("11.0 created /many/1 [1]", "11.1 created /many/2 [2]",
                          "11.2 created /many/40 [40]", "12.0 changed /many/1 [1]"));
  EXPECT_EQ(hub.counts().watches, 118U);
  EXPECT_THAT(hub.Drain(1, {}).events, IsEmpty());
  EXPECT_THAT(hub.Drain(3, {}).events, IsEmpty());
}

TEST(WatchHub, ResumeWithReplaceAllForgetsWhatIsNotListed) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = kData});
  hub.Apply(11, At(11, {DataChanged("/a")}));
  hub.Resume(1, Cursor::EndOf(10), {}, true);
  EXPECT_TRUE(hub.Has(1));
  EXPECT_THAT(hub.Drain(1, {}).events, IsEmpty());
  EXPECT_EQ(hub.counts().watches + hub.counts().fired, 0U);
}

TEST(WatchHub, ResumeInPiecesMustNotBeInterruptedByADrain) {
  WatchHub hub({}, 10);
  ApplyChanges(hub, 11, 12, "/a");
  const std::vector<ResumedWatch> piece = {{{.id = 1, .path = "/a", .mode = kPersistent}, {}}};
  EXPECT_EQ(hub.Resume(1, {11, 0}, {}, true).status, RegisterStatus::kOk);
  EXPECT_EQ(hub.Resume(1, {11, 0}, piece, false).status, RegisterStatus::kOk);
  hub.Drain(1, {11, 0});
  EXPECT_EQ(hub.Resume(1, {11, 0}, piece, false).status, RegisterStatus::kBehind);
}

TEST(WatchHub, ResumePastTheWindowSaysSoAndArms) {
  WatchHubOptions options;
  options.window_changes_max = 2;
  WatchHub hub(options, 10);
  ApplyChanges(hub, 11, 20, "/a");
  const std::vector<ResumedWatch> watches = {{{.id = 1, .path = "/b", .mode = kData}, {}},
                                             {{.id = 2, .path = "/c", .mode = kPersistent}, {}}};
  EXPECT_TRUE(hub.Resume(1, Cursor::EndOf(15), watches, true).resync);
  EXPECT_TRUE(hub.HasEvents(1, Cursor::EndOf(15)));
  EXPECT_TRUE(hub.Drain(1, Cursor::EndOf(15)).resync);
  hub.Apply(21, At(21, {DataChanged("/b")}));
  EXPECT_THAT(ZxidsOf(hub.Drain(1, Cursor::EndOf(20)).events), ElementsAre(21));
}

TEST(WatchHub, AMemberThatLagsDoesNotTellAgain) {
  WatchHub hub({}, 10);
  const std::vector<ResumedWatch> watches = {{{.id = 1, .path = "/a", .mode = kPersistent}, {}},
                                             {{.id = 2, .path = "/a", .mode = kData}, {}}};
  hub.Resume(1, Cursor::EndOf(13), watches, true);
  EXPECT_EQ(hub.Register(1, {.id = 3, .path = "/a", .mode = kData}).since, Cursor::EndOf(13));
  EXPECT_EQ(hub.Drain(1, Cursor::EndOf(13)).cursor, Cursor::EndOf(13)) << "cursors never go back";
  for (std::int64_t zxid = 11; zxid <= 13; ++zxid) {
    EXPECT_THAT(hub.Apply(zxid, At(zxid, {DataChanged("/a")})), IsEmpty());
  }
  hub.Apply(14, At(14, {DataChanged("/a")}));
  EXPECT_THAT(ToText(hub.Drain(1, Cursor::EndOf(13)).events),
              ElementsAre("14.0 changed /a [1,2,3]"));
}

TEST(WatchHub, AnInstalledSnapshotIsAResyncForEverybody) {
  WatchHub hub({}, 10);
  hub.Register(1, {.id = 1, .path = "/a", .mode = kPersistent});
  hub.Register(2, {.id = 1, .path = "/a", .mode = kData});
  hub.Apply(11, At(11, {DataChanged("/a")}));
  EXPECT_THAT(hub.Jump(50), ElementsAre(1, 2));
  DrainResult result = hub.Drain(1, Cursor::EndOf(10));
  EXPECT_TRUE(result.resync);
  EXPECT_EQ(result.cursor, Cursor::EndOf(50));
  result = hub.Drain(2, Cursor::EndOf(10));
  EXPECT_TRUE(result.resync);
  EXPECT_THAT(ToText(result.events), ElementsAre("11.0 changed /a [1]"));
  EXPECT_THAT(hub.Apply(51, At(51, {DataChanged("/a")})), ElementsAre(1));
}

TEST(WatchHub, ExtremeInputIsHarmless) {
  WatchHub hub({}, 10);
  const WatchId huge = std::numeric_limits<WatchId>::max();
  EXPECT_EQ(hub.Register(1, {.id = huge, .path = "", .mode = kRecursive}).id, huge);
  EXPECT_EQ(hub.Register(1, {.id = -1, .path = "no slash", .mode = kPersistent}).id, -1);
  hub.Register(1, {.id = 5, .path = "/a/", .mode = kRecursive}, Cursor{-7, -7});
  hub.Apply(11, At(11, {Created("/a/b")}));
  hub.Acknowledge(1, {-1, -1});
  EXPECT_THAT(hub.Drain(1, {-1, -1}).events, IsEmpty());
  hub.Acknowledge(1, Cursor::EndOf(std::numeric_limits<std::int64_t>::max()));
  hub.Drop(1);
}

}  // namespace
}  // namespace conclave::tree
