// Random histories, random clients. Members apply the same log at their own pace; a client polls,
// loses answers, moves between members, registers, removes. Whatever happens, every answer must be
// exactly what the naive model says belongs between the two cursors that it names, unless it says
// resync, and it may say that only where the member's window does not reach back.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/watch_model.h"
#include "tests/tree/watch_testing.h"

namespace conclave::tree {
namespace {

constexpr std::int64_t kSession = 42;
constexpr std::int64_t kNeighbour = 43;
constexpr std::size_t kMembers = 3;

struct Exercised {
  int events = 0;
  int moves = 0;
  int lost_answers = 0;
  int resyncs = 0;
  int cut_short = 0;
  int one_shots_missed = 0;
  std::uint64_t overflows = 0;
};

class Run {
 public:
  Run(std::uint64_t seed, const WatchHubOptions& options, bool reaches_back)
      : random_(seed), reaches_back_(reaches_back) {
    for (std::size_t i = 0; i < kMembers; ++i) {
      hubs_.push_back(std::make_unique<WatchHub>(options, 100));
      // A neighbour's watches must make no difference.
      hubs_.back()->Register(kNeighbour, {.id = 1, .path = "/", .mode = AnyMode()});
    }
  }

  // Some ways are taken only by sessions of many watches.
  void RegisterMany(int count) {
    for (int i = 0; i < count; ++i) {
      Register();
    }
  }

  void Go(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      const std::uint64_t what = Below(100);
      if (what < 35) {
        Commit();
      } else if (what < 65) {
        ApplyAt(Below(kMembers));
      } else if (what < 80) {
        Poll();
      } else if (what < 88) {
        Register();
      } else if (what < 92) {
        Remove();
      } else if (what < 98) {
        Move();
      } else {
        // The member restarts, its log is replayed, nobody's watches are known.
        Poll();
        Move();
      }
    }
    for (std::size_t i = 0; i < kMembers; ++i) {
      while (applied_[i] < log_.size()) {
        ApplyAt(i);
      }
    }
    for (int i = 0; i < 10000 && hubs_[home_]->IsBehind(kSession, cursor_); ++i) {
      Poll();
    }
    EXPECT_FALSE(hubs_[home_]->HasEvents(kSession, cursor_)) << "polling makes no progress";
    EXPECT_FALSE(hubs_[home_]->IsBehind(kSession, cursor_)) << "no end to what there is to tell";
    for (const auto& hub : hubs_) {
      exercised_.overflows += hub->counts().overflows;
    }
  }

  const Exercised& exercised() const { return exercised_; }

 private:
  std::uint64_t Below(std::uint64_t bound) { return random_() % bound; }

  WatchMode AnyMode() { return static_cast<WatchMode>(1 + Below(5)); }

  std::string AnyPath() {
    static const std::vector<std::string> kPaths = {"/",     "/a",     "/b",   "/a/b",  "/a/c",
                                                    "/a/bc", "/a/b/c", "/b/a", "/b/a/b"};
    return kPaths[Below(kPaths.size())];
  }

  // What a tree would allow does not matter to watches, so any change will do but none of the root.
  void Commit() {
    std::vector<Change> changes;
    const std::uint64_t count = Below(6) == 0 ? Below(6) : 1;
    while (changes.size() < count) {
      const std::string path = AnyPath();
      if (path != "/") {
        changes.push_back(MakeChange(static_cast<ChangeType>(1 + Below(3)), path));
      }
    }
    zxid_ += 1 + static_cast<std::int64_t>(Below(3));
    log_.push_back({zxid_, At(zxid_, changes)});
    model_.Append(log_.back().second);
  }

  void ApplyAt(std::size_t member) {
    if (applied_[member] == log_.size()) {
      return;
    }
    const auto& [zxid, changes] = log_[applied_[member]++];
    WatchHub& hub = *hubs_[member];
    const bool at_home = member == home_ && hub.Has(kSession);
    const auto woken = hub.Apply(zxid, changes);
    const bool is_woken = std::count(woken.begin(), woken.end(), kSession) != 0;
    EXPECT_TRUE(std::is_sorted(woken.begin(), woken.end()));
    const Cursor before = Cursor::EndOf(zxid - 1);
    if (at_home && cursor_ <= before && !model_.Told(before, Cursor::EndOf(zxid)).empty()) {
      EXPECT_TRUE(is_woken) << "nobody would answer the parked poll at " << zxid;
    }
    if (is_woken && at_home && cursor_ <= before) {
      // As the server does before it parks a poll; a full queue has no room for more else.
      hub.Acknowledge(kSession, cursor_);
      EXPECT_TRUE(hub.HasEvents(kSession, cursor_));
    }
  }

  void Poll() {
    WatchHub& hub = *hubs_[home_];
    hub.Acknowledge(kSession, cursor_);
    const bool had_events = hub.HasEvents(kSession, cursor_);
    const bool covered = hub.window().Covers(cursor_);
    const DrainLimits limits{.events_max = 1 + Below(5),
                             .bytes_max = Below(2) == 0 ? 1 : std::size_t{1} << 20};
    const DrainResult result = hub.Drain(kSession, cursor_, limits);
    ASSERT_EQ(result.attached, hub.Has(kSession));
    if (!result.attached) {
      ASSERT_EQ(result.cursor, cursor_);
      return;
    }
    ASSERT_GE(result.cursor, cursor_);
    ASSERT_TRUE(had_events || result.events.empty());
    const auto told = ToText(result.events);
    const auto expected = model_.Told(cursor_, result.cursor);
    if (result.resync) {
      ASSERT_FALSE(reaches_back_ || covered) << "resync without need";
      exercised_.resyncs += 1;
      // What is told must still be true and in order.
      auto place = expected.begin();
      for (const Event& event : result.events) {
        if (event.change) {
          place = std::find(place, expected.end(), ToText(event));
          ASSERT_TRUE(place != expected.end()) << ToText(event);
        }
      }
    } else {
      ASSERT_THAT(told, testing::ElementsAreArray(expected))
          << "from " << cursor_.zxid << "." << cursor_.ordinal << " to " << result.cursor.zxid
          << "." << result.cursor.ordinal;
    }
    exercised_.events += static_cast<int>(told.size());
    exercised_.cut_short += result.more ? 1 : 0;
    if (Below(4) == 0) {
      exercised_.lost_answers += 1;
      return;
    }
    cursor_ = result.cursor;
    for (const Event& event : result.events) {
      for (const WatchId id : event.watch_ids) {
        const auto watch = mine_.find(id);
        if (watch != mine_.end() && IsOneShot(watch->second.mode)) {
          mine_.erase(watch);
        }
      }
    }
  }

  void Register() {
    WatchHub& hub = *hubs_[home_];
    Watch watch{.id = ++last_id_, .path = AnyPath(), .mode = AnyMode()};
    const RegisterResult result = hub.Register(kSession, watch);
    ASSERT_EQ(result.status, RegisterStatus::kOk);
    ASSERT_EQ(result.id, watch.id);
    mine_[watch.id] = watch;
    model_.watches().push_back({watch.id, watch.path, watch.mode, result.since});
  }

  void Remove() {
    if (mine_.empty()) {
      return;
    }
    auto victim = mine_.begin();
    std::advance(victim, static_cast<std::ptrdiff_t>(Below(mine_.size())));
    // False: it has gone off, and its event is still to come.
    if (hubs_[home_]->Unregister(kSession, victim->first)) {
      Modelled(victim->first).removed = cursor_;
      mine_.erase(victim);
    } else {
      ASSERT_TRUE(IsOneShot(victim->second.mode));
    }
  }

  void Move() {
    const std::size_t old = home_;
    if (Below(2) == 0) {
      hubs_[old]->Drop(kSession);
    }
    home_ = Below(kMembers);
    exercised_.moves += 1;
    WatchHub& hub = *hubs_[home_];
    std::vector<ResumedWatch> list;
    for (const auto& [id, watch] : mine_) {
      list.push_back({watch, Modelled(id).since});
    }
    std::shuffle(list.begin(), list.end(), random_);
    const std::size_t pieces = 1 + Below(3);
    bool resync = false;
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      const auto from = list.begin() + static_cast<std::ptrdiff_t>(list.size() * piece / pieces);
      const auto to =
          list.begin() + static_cast<std::ptrdiff_t>(list.size() * (piece + 1) / pieces);
      const RegisterResult result =
          hub.Resume(kSession, cursor_, std::vector<ResumedWatch>(from, to), piece == 0);
      ASSERT_EQ(result.status, RegisterStatus::kOk);
      resync |= result.resync;
    }
    ASSERT_EQ(resync, !hub.window().Covers(cursor_) && AnyMissed(hub.window().begin()));
    ASSERT_FALSE(resync && reaches_back_);
    exercised_.one_shots_missed += static_cast<int>(hub.counts().fired);
    for (const auto& [id, watch] : mine_) {
      // With a resync the watch stands from where the window begins.
      Cursor& since = Modelled(id).since;
      const Cursor effective = std::max(since, cursor_);
      since = resync && effective < hub.window().begin() ? hub.window().begin() : since;
    }
  }

  bool AnyMissed(Cursor begin) {
    return std::any_of(mine_.begin(), mine_.end(), [&](const auto& watch) {
      return std::max(Modelled(watch.first).since, cursor_) < begin;
    });
  }

  WatchModel::Watched& Modelled(WatchId id) {
    auto& all = model_.watches();
    return *std::find_if(all.begin(), all.end(),
                         [id](const auto& watch) { return watch.id == id; });
  }

  std::mt19937_64 random_;
  const bool reaches_back_;
  std::vector<std::unique_ptr<WatchHub>> hubs_;
  std::vector<std::pair<std::int64_t, std::vector<Change>>> log_;
  std::size_t applied_[kMembers] = {};
  std::int64_t zxid_ = 100;

  // The client.
  WatchModel model_;
  std::map<WatchId, Watch> mine_;
  WatchId last_id_ = 0;
  std::size_t home_ = 0;
  Cursor cursor_ = Cursor::EndOf(100);
  Exercised exercised_;
};

Exercised GoAll(const WatchHubOptions& options, bool reaches_back, std::uint64_t seeds,
                int watches = 0) {
  Exercised sum;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Run run(seed, options, reaches_back);
    run.RegisterMany(watches);
    run.Go(400);
    sum.events += run.exercised().events;
    sum.moves += run.exercised().moves;
    sum.lost_answers += run.exercised().lost_answers;
    sum.resyncs += run.exercised().resyncs;
    sum.cut_short += run.exercised().cut_short;
    sum.one_shots_missed += run.exercised().one_shots_missed;
    sum.overflows += run.exercised().overflows;
  }
  return sum;
}

TEST(WatchProperty, WithinTheWindowEveryClientIsToldExactlyEverything) {
  const Exercised sum = GoAll({}, true, 40);
  EXPECT_GT(sum.events, 2000);
  EXPECT_GT(sum.moves, 500);
  EXPECT_GT(sum.lost_answers, 300);
  EXPECT_GT(sum.cut_short, 150);
  EXPECT_GT(sum.one_shots_missed, 40);
}

TEST(WatchProperty, ManyWatchesAreToldAsFewAre) {
  WatchHubOptions options;
  options.session_events_max = 8;
  const Exercised sum = GoAll(options, true, 10, 60);
  EXPECT_GT(sum.events, 500);
  EXPECT_GT(sum.one_shots_missed, 10);
}

TEST(WatchProperty, QueuesThatOverflowAllTheTimeMakeNoDifference) {
  WatchHubOptions options;
  options.session_events_max = 2;
  options.scan_max = 3;
  const Exercised sum = GoAll(options, true, 40);
  EXPECT_GT(sum.events, 2000);
  EXPECT_GT(sum.overflows, 150U);
}

TEST(WatchProperty, ABudgetUsedUpMakesNoDifference) {
  WatchHubOptions options;
  options.queue_bytes_max = 1;
  options.scan_max = 20;
  const Exercised sum = GoAll(options, true, 40);
  EXPECT_GT(sum.events, 2000);
  EXPECT_GT(sum.overflows, 5U);
}

TEST(WatchProperty, PastTheWindowItSaysResyncAndElseEverything) {
  for (const std::size_t events_max : {1024, 2}) {
    WatchHubOptions options;
    options.window_changes_max = 12;
    options.session_events_max = events_max;
    options.scan_max = 5;
    const Exercised sum = GoAll(options, false, 40);
    EXPECT_GT(sum.resyncs, 50);
    EXPECT_GT(sum.events, 1000);
  }
}

}  // namespace
}  // namespace conclave::tree
