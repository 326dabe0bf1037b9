// What watches cost: memory, by what the hub reports and by what the allocator gave out, and
// matching, by registrations looked at. A binary of its own, since it counts all allocations.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/tree/watch_testing.h"

namespace {

// One thread only.
std::size_t allocated_bytes = 0;

void* Allocate(std::size_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) {
    std::abort();
  }
  // The allocator's own header counts too.
  allocated_bytes += malloc_usable_size(memory) + sizeof(std::size_t);
  return memory;
}

void Free(void* memory) {
  if (memory != nullptr) {
    allocated_bytes -= malloc_usable_size(memory) + sizeof(std::size_t);
    std::free(memory);
  }
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }

void* operator new[](std::size_t size) { return Allocate(size); }

void operator delete(void* memory) noexcept { Free(memory); }

void operator delete[](void* memory) noexcept { Free(memory); }

void operator delete(void* memory, std::size_t) noexcept { Free(memory); }

void operator delete[](void* memory, std::size_t) noexcept { Free(memory); }

namespace conclave::tree {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// The report may be off by what allocators round, not by kinds of memory that it forgets.
void ExpectTrue(const WatchHub& hub, std::size_t before) {
  const std::size_t actual = allocated_bytes - before;
  const std::size_t reported = hub.counts().bytes;
  EXPECT_LE(actual, reported + reported / 5 + 4096) << "more than is reported";
  EXPECT_GE(actual + actual / 3 + 4096, reported) << "less than is reported";
}

TEST(WatchBounds, AThousandSessionsThatNeverReadStayWellBelow64MiB) {
  const std::size_t before = allocated_bytes;
  std::size_t peak = 0;
  WatchHub hub({}, 0);
  for (std::int64_t session = 1; session <= 1000; ++session) {
    hub.Register(session, {.id = 1, .path = "/config", .mode = WatchMode::kPersistentRecursive});
    hub.Register(session, {.id = 2,
                           .path = "/config/" + std::to_string(session % 100),
                           .mode = WatchMode::kData,
                           .with_value = true});
  }
  ExpectTrue(hub, before);
  const std::string value(1000, 'x');
  for (std::int64_t zxid = 1; zxid <= 50'000; ++zxid) {
    const std::string path = "/config/" + std::to_string(zxid % 100);
    ASSERT_EQ(hub.Apply(zxid, At(zxid, {DataChanged(path, value)})).size(), 1000U);
    peak = std::max(peak, allocated_bytes - before);
    ASSERT_LE(hub.counts().queue_bytes, 8 * kMiB + 1000 * 16 * sizeof(Cursor));
  }
  ExpectTrue(hub, before);
  EXPECT_LT(peak, 40 * kMiB);
  EXPECT_EQ(hub.counts().fired, 1000U);
  // They have been forgotten by the window, and are told so.
  const DrainResult result = hub.Drain(1, {});
  EXPECT_TRUE(result.resync);
  EXPECT_EQ(ToText(result.events[0]), "1.0 changed /config/1 [2]");
  for (std::int64_t session = 1; session <= 1000; ++session) {
    hub.Drop(session);
  }
  ExpectTrue(hub, before);
}

TEST(WatchBounds, TheWindowReportsItsMemoryTruly) {
  for (const std::size_t size : {0, 10, 100, 3000, 200'000}) {
    const std::size_t before = allocated_bytes;
    WatchHub hub({}, 0);
    for (std::int64_t zxid = 1; zxid <= 2000; ++zxid) {
      hub.Apply(zxid, At(zxid, {DataChanged("/some/path/of/usual/length/" + std::to_string(zxid),
                                            std::string(size, 'x'))}));
    }
    ExpectTrue(hub, before);
    EXPECT_LT(allocated_bytes - before, 25 * kMiB);
  }
}

TEST(WatchBounds, WatchesArmedAndGoneOffReportTheirMemoryTruly) {
  const std::size_t before = allocated_bytes;
  WatchHub hub({}, 0);
  for (std::int64_t id = 1; id <= 10'000; ++id) {
    hub.Register(1 + id % 10, {.id = id,
                               .path = "/services/of/some/kind/instance-" + std::to_string(id),
                               .mode = id % 2 == 0 ? WatchMode::kExist : WatchMode::kPersistent});
  }
  ExpectTrue(hub, before);
  EXPECT_LT((allocated_bytes - before) / 10'000, 500U) << "bytes per watch";
  for (std::int64_t id = 1; id <= 10'000; ++id) {
    hub.Apply(id, At(id, {Created("/services/of/some/kind/instance-" + std::to_string(id))}));
  }
  EXPECT_EQ(hub.counts().fired, 5000U);
  ExpectTrue(hub, before);
  for (std::int64_t session = 1; session <= 10; ++session) {
    hub.Acknowledge(session, Cursor::EndOf(10'000));
  }
  EXPECT_EQ(hub.counts().fired, 0U);
  ExpectTrue(hub, before);
}

TEST(WatchBounds, MatchingLooksAtNothingThatDoesNotMatch) {
  WatchHub hub({}, 0);
  std::int64_t zxid = 0;
  const auto visited_by = [&](std::vector<Change> changes) {
    const std::uint64_t before = hub.counts().visited;
    ++zxid;
    hub.Apply(zxid, At(zxid, std::move(changes)));
    return hub.counts().visited - before;
  };
  hub.Register(1, {.id = 1, .path = "/a/b", .mode = WatchMode::kPersistent});
  hub.Register(1, {.id = 2, .path = "/a", .mode = WatchMode::kPersistentRecursive});
  hub.Register(1, {.id = 3, .path = "/a", .mode = WatchMode::kChild});
  EXPECT_EQ(visited_by({DataChanged("/a/b")}), 2U);
  // Others on other paths, and on these paths for other changes.
  WatchId id = 10;
  for (std::int64_t session = 100; session < 2100; ++session) {
    for (const WatchMode mode : {WatchMode::kData, WatchMode::kPersistentRecursive}) {
      hub.Register(session, {.id = ++id, .path = "/a/x" + std::to_string(session), .mode = mode});
    }
    hub.Register(session, {.id = ++id, .path = "/a", .mode = WatchMode::kExist});
    hub.Register(session, {.id = ++id, .path = "/a/b", .mode = WatchMode::kChild});
    hub.Register(session, {.id = ++id, .path = "/a/b/c", .mode = WatchMode::kPersistent});
  }
  EXPECT_EQ(visited_by({DataChanged("/a/b")}), 2U);
  EXPECT_EQ(visited_by({Created("/a/b")}), 3U) << "the child watch of /a besides";
  EXPECT_EQ(visited_by({DataChanged("/z")}), 0U);
  EXPECT_EQ(visited_by({Deleted("/a/b")}), 2002U)
      << "a delete takes the child watches of the znode";
}

}  // namespace
}  // namespace conclave::tree
