// Snapshots on a disk that works: deltas, builds, cursors, transfers, generations.
#include "persist/snapshot_store.h"

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "persist/snapshot_builder.h"
#include "persist/snapshot_generations.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/snapshot_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::HasSubstr;

class Snapshots : public ::testing::Test {
 protected:
  Snapshots() {
    EXPECT_TRUE(env_.CreateDir("/data").ok());
    EXPECT_TRUE(env_.SyncDirectory("/").ok());
  }

  // `count` more entries, applied.
  void Grow(int count) {
    for (int i = 0; i < count; ++i) {
      const LogBatch batch = log_.Append(std::to_string(log_.last_index()));
      log_.Apply(batch);
      state_.Apply(batch.append.front());
    }
  }

  raft::SnapshotMeta Meta() const { return MetaAt(log_, log_.last_index()); }

  SnapshotInfo Info() const { return state_.Info(Meta()); }

  std::unique_ptr<SnapshotGenerations> Open(std::uint64_t generation) {
    auto opened = SnapshotGenerations::Open(options_, generation);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }

  // The state as it is now, as a snapshot; the changes are told.
  tl::expected<std::shared_ptr<SnapshotStore>, Error> Checkpoint(SnapshotGenerations* generations) {
    return generations->Checkpoint(Meta(), Info().digest,
                                   SourceOf(std::exchange(state_.changed, {})));
  }

  // With a first generation, which counts.
  std::unique_ptr<SnapshotGenerations> Begin(int entries) {
    Grow(entries);
    auto generations = Open(0);
    auto first = Checkpoint(generations.get());
    EXPECT_TRUE(first) << first.error().message;
    EXPECT_NE(*first, nullptr);
    generations->Switch(*first);
    return generations;
  }

  void ExpectIsState(const SnapshotStore& store) {
    EXPECT_EQ(store.info(), Info());
    const auto rows = LoadRows(store);
    ASSERT_TRUE(rows) << rows.error().message;
    EXPECT_EQ(*rows, state_.rows);
  }

  std::vector<std::string> Directories() {
    std::vector<std::string> names;
    EXPECT_TRUE(env_.GetChildren("/data", &names).ok());
    return names;
  }

  FaultEnv env_;
  SnapshotOptions options_ = SmallSnapshotOptions(&env_);
  ModelLog log_;
  ModelState state_;
};

TEST_F(Snapshots, ThereIsNoneAtFirst) {
  const auto generations = Open(0);
  EXPECT_EQ(generations->current(), nullptr);
  EXPECT_TRUE(Directories().empty());
}

TEST_F(Snapshots, EachDeltaMakesItTheStateAtItsIndex) {
  auto generations = Begin(30);
  for (int round = 0; round < 150; ++round) {
    Grow(1 + round % 4);
    const std::uint64_t syncs = env_.syncs();
    const auto built = Checkpoint(generations.get());
    ASSERT_TRUE(built) << built.error().message;
    ASSERT_EQ(*built, nullptr) << "a small change needs no new generation";
    if (round > 0 && round % 10 != 1) {
      EXPECT_LE(env_.syncs() - syncs, 8U);
    }
    ASSERT_NO_FATAL_FAILURE(ExpectIsState(*generations->current())) << "round " << round;
    if (round % 10 == 0) {
      generations.reset();
      generations = Open(1);
      ASSERT_NO_FATAL_FAILURE(ExpectIsState(*generations->current())) << "reopened, " << round;
    }
  }
}

TEST_F(Snapshots, ADeltaIsOneSync) {
  const auto generations = Begin(30);
  Grow(2);
  const std::uint64_t before = env_.syncs();
  ASSERT_TRUE(Checkpoint(generations.get()));
  EXPECT_EQ(env_.syncs(), before + 1);
}

TEST_F(Snapshots, DeletionsOfRowsThatAreNotThereCountNothing) {
  const auto generations = Begin(3);
  Changes changes{{"key/none", std::nullopt}, {"key/1", "one"}, {"zzz", std::nullopt}};
  const auto store = generations->current();
  const RowTotals before = store->info().totals;
  ASSERT_TRUE(store->Write(Meta(), "d", SourceOf(changes)));
  changes = {{"key/1", std::nullopt}};
  const bool had = state_.rows.contains("key/1");
  ASSERT_TRUE(store->Write(Meta(), "d", SourceOf(changes)));
  EXPECT_EQ(store->info().totals.rows, before.rows - (had ? 1 : 0));
  EXPECT_TRUE(LoadRows(*store));
}

TEST_F(Snapshots, ALargeDeltaBuildsANewGenerationOutOfTheOldOne) {
  auto generations = Begin(50);
  for (std::uint64_t generation = 2; generation < 5; ++generation) {
    Grow(120);
    const auto built = Checkpoint(generations.get());
    ASSERT_TRUE(built) << built.error().message;
    ASSERT_NE(*built, nullptr);
    EXPECT_EQ((*built)->generation(), generation);
    ASSERT_NO_FATAL_FAILURE(ExpectIsState(**built));
    EXPECT_NE(generations->current()->info(), Info()) << "the old one is as it was";
    generations->Switch(*built);
    ASSERT_NO_FATAL_FAILURE(ExpectIsState(*generations->current()));
  }
  generations.reset();
  ASSERT_NO_FATAL_FAILURE(ExpectIsState(*Open(4)->current()));
}

TEST_F(Snapshots, TheOldGenerationGoesAfterTheSwitchAndWithItsLastUser) {
  auto generations = Begin(50);
  Grow(120);
  auto cursor = *generations->current()->NewCursor();
  const auto built = Checkpoint(generations.get());
  ASSERT_TRUE(built);
  EXPECT_THAT(Directories(), ::testing::ElementsAre("snapshot-000001", "snapshot-000002"));
  generations->Switch(*built);
  EXPECT_THAT(Directories(), ::testing::ElementsAre("snapshot-000001", "snapshot-000002"));
  EXPECT_TRUE(cursor->ReadChunk("", 100000));
  cursor.reset();
  EXPECT_THAT(Directories(), ::testing::ElementsAre("snapshot-000002"));
}

TEST_F(Snapshots, LeftoversAreRemovedAtStart) {
  auto generations = Begin(50);
  Grow(120);
  ASSERT_TRUE(Checkpoint(generations.get()));  // Complete, and never made to count.
  generations.reset();
  generations = Open(1);
  EXPECT_THAT(Directories(), ::testing::ElementsAre("snapshot-000001"));
  generations.reset();
  // The other way round: the new one counts, the old one was not removed in time.
  generations = Open(1);
  Grow(120);
  std::uint64_t number = 0;
  {
    const auto built = Checkpoint(generations.get());
    ASSERT_TRUE(built);
    number = (*built)->generation();
  }
  generations.reset();
  generations = Open(number);
  EXPECT_EQ(Directories().size(), 1U);
}

TEST_F(Snapshots, AMissingGenerationIsDamageWithTheRemedy) {
  Begin(20).reset();
  for (const char* lost : {"/data/snapshot-000001", "/data/snapshot-000001/CURRENT"}) {
    const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
    disk->Erase(lost);
    SnapshotOptions options = SmallSnapshotOptions(disk.get());
    const auto opened = SnapshotGenerations::Open(options, 1);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::kDamaged);
    EXPECT_THAT(opened.error().message, HasSubstr("/data/snapshot-000001"));
    EXPECT_THAT(opened.error().message, HasSubstr("re-admit"));
  }
}

TEST_F(Snapshots, ACursorGivesTheStateAtItsBeginningInChunksOfAnySize) {
  const auto generations = Begin(60);
  for (const std::size_t bytes_max : {1U, 100U, 700U, 1U << 20U}) {
    const Rows rows = state_.rows;
    const SnapshotInfo info = Info();
    const auto cursor = generations->current()->NewCursor();
    ASSERT_TRUE(cursor);
    EXPECT_EQ((*cursor)->info(), info);
    Rows received;
    std::string after;
    for (bool last = false; !last;) {
      const auto chunk = (*cursor)->ReadChunk(after, bytes_max);
      ASSERT_TRUE(chunk) << chunk.error().message;
      EXPECT_EQ(chunk->checksum, ChunkChecksum(chunk->bytes));
      EXPECT_TRUE(chunk->rows == 1 || chunk->bytes.size() <= bytes_max);
      std::string_view rest = chunk->bytes;
      while (!rest.empty()) {
        const auto row = TakeChunkRow(&rest);
        ASSERT_TRUE(row) << row.error();
        received.emplace(row->key, row->value);
      }
      after = chunk->last_key;
      last = chunk->last;
      // Writes beside it, also such as change the files under it.
      Grow(3);
      ASSERT_TRUE(Checkpoint(generations.get()));
    }
    EXPECT_EQ(received, rows) << bytes_max;
  }
}

TEST_F(Snapshots, ACursorGoesOnBehindAnyKey) {
  const auto generations = Begin(60);
  const auto cursor = generations->current()->NewCursor();
  ASSERT_TRUE(cursor);
  std::vector<std::string> keys{""};
  for (const auto& [key, value] : state_.rows) {
    keys.push_back(key);
  }
  for (std::size_t i = keys.size(); i-- > 0;) {
    const auto chunk = (*cursor)->ReadChunk(keys[i], 1 << 20);
    ASSERT_TRUE(chunk);
    EXPECT_EQ(chunk->rows, keys.size() - 1 - i);
    EXPECT_EQ(chunk->last_key, keys.back());
    EXPECT_TRUE(chunk->last);
  }
  // A key that is not there, as after a sender that had another row.
  const auto chunk = (*cursor)->ReadChunk(keys[2] + "x", 1 << 20);
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->rows, keys.size() - 3);
}

// --- Transfers ---

TEST_F(Snapshots, ATransferGoesOnAfterARestartBehindEveryChunk) {
  Grow(60);
  const SnapshotInfo source = Info();
  const auto chunks = ChunksOf(state_.rows, 4);
  ASSERT_GT(chunks.size(), 5U);
  std::shared_ptr<SnapshotStore> store;
  std::string last_key;
  for (std::size_t i = 0; i <= chunks.size(); ++i) {
    const auto generations = Open(0);
    const auto receiver = generations->Receive(source);
    ASSERT_TRUE(receiver) << receiver.error().message;
    EXPECT_EQ((*receiver)->last_key(), last_key);
    EXPECT_EQ((*receiver)->generation(), 1U);
    if (i == chunks.size()) {
      auto finished = (*receiver)->Finish();
      ASSERT_TRUE(finished) << finished.error().message;
      store = *finished;
      break;
    }
    ASSERT_TRUE((*receiver)->Append(chunks[i].bytes, chunks[i].checksum));
    last_key = chunks[i].last_key;
    EXPECT_EQ((*receiver)->last_key(), last_key);
  }
  ASSERT_NO_FATAL_FAILURE(ExpectIsState(*store));
  store.reset();
  // Complete, and the process stopped before it was installed: it is all there.
  const auto generations = Open(0);
  const auto receiver = generations->Receive(source);
  ASSERT_TRUE(receiver);
  EXPECT_EQ((*receiver)->last_key(), last_key);
  const auto again = (*receiver)->Finish();
  ASSERT_TRUE(again);
  generations->Switch(*again);
  ASSERT_NO_FATAL_FAILURE(ExpectIsState(*generations->current()));
}

TEST_F(Snapshots, ATransferOfAnotherStateStartsAnew) {
  Grow(60);
  const auto generations = Open(0);
  const auto chunks = ChunksOf(state_.rows, 10);
  {
    const auto receiver = generations->Receive(Info());
    ASSERT_TRUE(receiver);
    ASSERT_TRUE((*receiver)->Append(chunks[0].bytes, chunks[0].checksum));
  }
  SnapshotInfo other = Info();
  other.digest = "another";
  {
    const auto receiver = generations->Receive(other);
    ASSERT_TRUE(receiver);
    EXPECT_EQ((*receiver)->last_key(), "");
    EXPECT_EQ(Directories().size(), 1U) << "nothing is left of the one before";
  }
  const auto receiver = generations->Receive(Info());
  ASSERT_TRUE(receiver);
  EXPECT_EQ((*receiver)->last_key(), "");
}

TEST_F(Snapshots, AChunkThatDoesNotFitIsRefusedAndChangesNothing) {
  Grow(60);
  const auto generations = Open(0);
  const auto receiver = generations->Receive(Info());
  ASSERT_TRUE(receiver);
  const auto chunks = ChunksOf(state_.rows, 6);
  ASSERT_TRUE((*receiver)->Append(chunks[0].bytes, chunks[0].checksum));
  const auto refused = [&](const std::string& bytes, std::uint64_t checksum) {
    const auto appended = (*receiver)->Append(bytes, checksum);
    return !appended && appended.error().kind == ErrorKind::kTransfer &&
           (*receiver)->last_key() == chunks[0].last_key;
  };
  EXPECT_TRUE(refused(chunks[1].bytes, chunks[1].checksum + 1));
  EXPECT_TRUE(refused(chunks[0].bytes, chunks[0].checksum)) << "a second time";
  for (std::size_t bit = 0; bit < chunks[1].bytes.size() * 8; ++bit) {
    std::string flipped = chunks[1].bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1U << (bit % 8)));
    ASSERT_TRUE(refused(flipped, ChunkChecksum(flipped))) << "bit " << bit;
  }
  const std::string cut = chunks[1].bytes.substr(0, chunks[1].bytes.size() - 1);
  EXPECT_TRUE(refused(cut, ChunkChecksum(cut)));
  for (std::size_t i = 1; i < chunks.size(); ++i) {
    ASSERT_TRUE((*receiver)->Append(chunks[i].bytes, chunks[i].checksum)) << "after all that";
  }
  const auto finished = (*receiver)->Finish();
  ASSERT_TRUE(finished) << finished.error().message;
  ASSERT_NO_FATAL_FAILURE(ExpectIsState(**finished));
}

TEST_F(Snapshots, AMissingChunkIsNoticedAtTheEndAndTheNextAttemptStartsAnew) {
  Grow(60);
  const auto generations = Open(0);
  const auto chunks = ChunksOf(state_.rows, 6);
  {
    const auto receiver = generations->Receive(Info());
    ASSERT_TRUE(receiver);
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      if (i != 1) {
        ASSERT_TRUE((*receiver)->Append(chunks[i].bytes, chunks[i].checksum));
      }
    }
    const auto finished = (*receiver)->Finish();
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().kind, ErrorKind::kTransfer);
  }
  const auto receiver = generations->Receive(Info());
  ASSERT_TRUE(receiver);
  EXPECT_EQ((*receiver)->last_key(), "");
}

TEST_F(Snapshots, AReceivedSnapshotReplacesTheCurrentOne) {
  auto generations = Begin(20);
  Grow(100);
  const auto receiver = generations->Receive(Info());
  ASSERT_TRUE(receiver);
  for (const SnapshotChunk& chunk : ChunksOf(state_.rows, 7)) {
    ASSERT_TRUE((*receiver)->Append(chunk.bytes, chunk.checksum));
  }
  auto finished = (*receiver)->Finish();
  ASSERT_TRUE(finished);
  state_.changed.clear();
  generations->Switch(std::move(*finished));
  EXPECT_THAT(Directories(), ::testing::ElementsAre("snapshot-000002"));
  // And goes on from there, with deltas.
  Grow(2);
  ASSERT_TRUE(Checkpoint(generations.get()));
  ASSERT_NO_FATAL_FAILURE(ExpectIsState(*generations->current()));
  generations.reset();
  ASSERT_NO_FATAL_FAILURE(ExpectIsState(*Open(2)->current()));
}

TEST_F(Snapshots, AReceivedSnapshotThatIsNotWantedGoes) {
  const auto generations = Begin(20);
  Grow(10);
  {
    const auto receiver = generations->Receive(Info());
    ASSERT_TRUE(receiver);
    for (const SnapshotChunk& chunk : ChunksOf(state_.rows, 7)) {
      ASSERT_TRUE((*receiver)->Append(chunk.bytes, chunk.checksum));
    }
    const auto finished = (*receiver)->Finish();
    ASSERT_TRUE(finished);
    SnapshotGenerations::Discard(*finished);
  }
  EXPECT_THAT(Directories(), ::testing::ElementsAre("snapshot-000001"));
  const auto receiver = generations->Receive(Info());
  ASSERT_TRUE(receiver);
  EXPECT_EQ((*receiver)->last_key(), "");
}

TEST(SnapshotNames, OnlyTheNamesOfGenerations) {
  EXPECT_EQ(GenerationPath("/d", 7), "/d/snapshot-000007");
  EXPECT_EQ(ParseGenerationName("snapshot-000007"), 7U);
  EXPECT_EQ(ParseGenerationName("snapshot-1234567"), 1234567U);
  for (const char* name : {"snapshot-", "snapshot-7", "snapshot-0000007", "snapshot-00000a",
                           "snapshot-000007.old", "snapshot-000000", "raft", "snapshot--00001"}) {
    EXPECT_EQ(ParseGenerationName(name), 0U) << name;
  }
}

}  // namespace
}  // namespace conclave::persist::testing
