// Rot in a snapshot: an error that names the remedy, or the very rows that were written; never
// other rows, fewer, or older ones.
#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "persist/snapshot_codec.h"
#include "persist/snapshot_generations.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/snapshot_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::HasSubstr;

class SnapshotDamage : public ::testing::Test {
 protected:
  SnapshotDamage() {
    FLAGS_minloglevel = google::GLOG_ERROR;
    EXPECT_TRUE(env_.CreateDir("/data").ok());
    EXPECT_TRUE(env_.SyncDirectory("/").ok());
  }

  // A generation with tables and a write-ahead file in use.
  void Fill() {
    state_.value_scale = 4;
    for (int life = 0; life < 4; ++life) {
      auto generations = SnapshotGenerations::Open(Options(&env_), life == 0 ? 0 : 1);
      ASSERT_TRUE(generations) << generations.error().message;
      for (int i = 0; i < 10; ++i) {
        const LogBatch batch = log_.Append(std::to_string(life * 100 + i));
        log_.Apply(batch);
        state_.Apply(batch.append.front());
        auto built = (*generations)
                         ->Checkpoint(MetaAt(log_, log_.last_index()), "d",
                                      SourceOf(std::exchange(state_.changed, {})));
        ASSERT_TRUE(built) << built.error().message;
        if (*built != nullptr) {
          (*generations)->Switch(*built);
        }
      }
    }
  }

  static SnapshotOptions Options(FaultEnv* env) {
    SnapshotOptions options = SmallSnapshotOptions(env);
    options.delta_bytes_max = 1 << 20;
    return options;
  }

  // All rows, by a cursor in small chunks.
  static tl::expected<Rows, Error> LoadByChunks(const SnapshotStore& store) {
    auto cursor = store.NewCursor();
    if (!cursor) {
      return tl::unexpected(cursor.error());
    }
    Rows rows;
    std::string after;
    for (bool last = false; !last;) {
      const auto chunk = (*cursor)->ReadChunk(after, 500);
      if (!chunk) {
        return tl::unexpected(chunk.error());
      }
      std::string_view rest = chunk->bytes;
      while (!rest.empty()) {
        const auto row = TakeChunkRow(&rest);
        EXPECT_TRUE(row);
        rows.emplace(row->key, row->value);
      }
      after = chunk->last_key;
      last = chunk->last;
    }
    return rows;
  }

  // True if refused; false if the rows are the ones written. Anything else fails the test.
  bool Refused(const tl::expected<Rows, Error>& rows, const std::string& what) {
    if (rows) {
      EXPECT_EQ(*rows, state_.rows) << what;
      return false;
    }
    EXPECT_EQ(rows.error().kind, ErrorKind::kDamaged) << what << ": " << rows.error().message;
    EXPECT_THAT(rows.error().message, HasSubstr("/data/snapshot-000001")) << what;
    EXPECT_THAT(rows.error().message, HasSubstr("re-admit")) << what;
    return true;
  }

  tl::expected<Rows, Error> Load(FaultEnv* disk, bool by_chunks) {
    auto generations = SnapshotGenerations::Open(Options(disk), 1);
    if (!generations) {
      return tl::unexpected(generations.error());
    }
    const auto store = (*generations)->current();
    // An older state may come out of a cut tail only; the log's start then tells (see FORMAT.md).
    return by_chunks ? LoadByChunks(*store) : LoadRows(*store);
  }

  // Changes the database behind our back, as a fault of LevelDB would.
  void Change(const std::function<void(leveldb::DB*, leveldb::WriteBatch*)>& change,
              const std::string& database = "/data/snapshot-000001") {
    StorageEnv storage(&env_, &env_, StorageEnv::Options::Plain());
    leveldb::Options options;
    options.env = &storage;
    leveldb::DB* raw = nullptr;
    ASSERT_TRUE(leveldb::DB::Open(options, database, &raw).ok());
    const std::unique_ptr<leveldb::DB> db(raw);
    storage.DrainBackground();
    leveldb::WriteBatch writes;
    change(db.get(), &writes);
    leveldb::WriteOptions synced;
    synced.sync = true;
    ASSERT_TRUE(db->Write(synced, &writes).ok());
    storage.DrainBackground();
  }

  FaultEnv env_;
  ModelLog log_;
  ModelState state_;
};

TEST_F(SnapshotDamage, AFlippedBitAnywhereIsRefusedOrChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  std::map<std::string, int> refused;
  for (const std::string& name : env_.Files()) {
    const std::string kind = name.substr(name.find_last_of("/.") + 1);
    const std::uint64_t bits = env_.Content(name).size() * 8;
    const std::uint64_t stride = bits < 1000 ? 1 : bits / 400 | 1U;
    for (std::uint64_t bit = 0; bit < bits; bit += stride) {
      const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
      disk->FlipBit(name, bit);
      const std::string what = name + " bit " + std::to_string(bit);
      const bool by_chunks = bit / stride % 2 == 0;
      refused[kind] += Refused(Load(disk.get(), by_chunks), what) ? 1 : 0;
      ASSERT_FALSE(HasFailure()) << what;
    }
  }
  EXPECT_GT(refused["log"], 50);
  EXPECT_GT(refused["ldb"], 200);
  EXPECT_GT(refused["CURRENT"], 50);
}

TEST_F(SnapshotDamage, RotUnderAnOpenSnapshotIsNeverServed) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  int refused = 0;
  for (std::uint64_t round = 0; round < 150; ++round) {
    const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
    auto generations = SnapshotGenerations::Open(Options(disk.get()), 1);
    ASSERT_TRUE(generations);
    const auto store = (*generations)->current();
    std::string table;  // The largest, of those that the opening has left.
    for (const std::string& name : disk->Files()) {
      const bool larger = table.empty() || disk->Content(name).size() > disk->Content(table).size();
      table = name.ends_with(".ldb") && larger ? name : table;
    }
    ASSERT_NE(table, "");
    disk->CorruptOpenFile(table, disk->Content(table).size() * 8 / 150 * round + 5);
    const std::string what = "round " + std::to_string(round);
    refused += Refused(LoadByChunks(*store), "chunks, " + what) ? 1 : 0;
    refused += Refused(LoadRows(*store), "load, " + what) ? 1 : 0;
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(refused, 100);
}

// What LevelDB may do without an error: lose a row, bring an old one back, swap two.
TEST_F(SnapshotDamage, ALostAnOldAndASwappedRowAreNoticed) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  const auto [first_key, first] = *std::next(state_.rows.begin(), 1);
  const auto [second_key, second] = *std::next(state_.rows.begin(), 2);
  const auto put = [](leveldb::WriteBatch* writes, const std::string& key, const std::string& value,
                      const std::string& checksum_of) {
    writes->Put(StoredRowKey(key), StoredRowValue(value, RowChecksum(checksum_of, value)));
  };
  int round = 0;
  for (const auto& change : std::vector<std::function<void(leveldb::WriteBatch*)>>{
           [&](auto* writes) { writes->Delete(StoredRowKey(first_key)); },
           [&](auto* writes) { put(writes, first_key, first + "older", first_key); },
           [&](auto* writes) { put(writes, first_key + "!", "more", first_key + "!"); },
           [&](auto* writes) { put(writes, first_key, second, second_key); },
           [&](auto* writes) {
             put(writes, first_key, second, first_key);
             put(writes, second_key, first, second_key);
           }}) {
    ASSERT_NO_FATAL_FAILURE(
        Change([&](leveldb::DB* /*db*/, leveldb::WriteBatch* writes) { change(writes); }));
    for (const bool by_chunks : {false, true}) {
      EXPECT_TRUE(Refused(Load(&env_, by_chunks), "change " + std::to_string(round)))
          << "change " << round;
    }
    ++round;
    // Back to what it was.
    ASSERT_NO_FATAL_FAILURE(Change([&](leveldb::DB* /*db*/, leveldb::WriteBatch* writes) {
      put(writes, first_key, first, first_key);
      put(writes, second_key, second, second_key);
      writes->Delete(StoredRowKey(first_key + "!"));
    }));
    ASSERT_FALSE(Refused(Load(&env_, false), "restored"));
  }
}

TEST_F(SnapshotDamage, ADeltaOverADamagedRowIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  const std::string key = std::next(state_.rows.begin())->first;
  ASSERT_NO_FATAL_FAILURE(Change([&](leveldb::DB* /*db*/, leveldb::WriteBatch* writes) {
    writes->Put(StoredRowKey(key), "not a row at all");
  }));
  auto generations = SnapshotGenerations::Open(Options(&env_), 1);
  ASSERT_TRUE(generations);
  const auto written =
      (*generations)
          ->Checkpoint(MetaAt(log_, log_.last_index()), "d", SourceOf(Changes{{key, "new"}}));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kDamaged);
}

TEST_F(SnapshotDamage, RotInWhatIsBeingReceivedIsAskedForAgain) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  const SnapshotInfo source = state_.Info(MetaAt(log_, log_.last_index()));
  const auto chunks = ChunksOf(state_.rows, 5);
  const std::string key = state_.rows.begin()->first;
  auto generations = SnapshotGenerations::Open(Options(&env_), 1);
  ASSERT_TRUE(generations);
  {
    const auto receiver = (*generations)->Receive(source);
    ASSERT_TRUE(receiver);
    for (const SnapshotChunk& chunk : chunks) {
      ASSERT_TRUE((*receiver)->Append(chunk.bytes, chunk.checksum));
    }
  }
  ASSERT_NO_FATAL_FAILURE(Change(
      [&](leveldb::DB* /*db*/, leveldb::WriteBatch* writes) {
        writes->Put(StoredRowKey(key), StoredRowValue("old", RowChecksum(key, "old")));
      },
      "/data/snapshot-000002"));
  {
    const auto receiver = (*generations)->Receive(source);
    ASSERT_TRUE(receiver);
    EXPECT_EQ((*receiver)->last_key(), chunks.back().last_key);
    const auto finished = (*receiver)->Finish();
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().kind, ErrorKind::kTransfer);
  }
  const auto receiver = (*generations)->Receive(source);
  ASSERT_TRUE(receiver);
  EXPECT_EQ((*receiver)->last_key(), "");
}

// --- The bytes ---

SnapshotInfo SomeInfo() {
  SnapshotInfo info;
  info.meta.last = {7, 100};
  info.meta.chain = 0x1122334455667788;
  info.meta.configuration.index = 40;
  raft::Member member;
  member.id = 1;
  member.incarnation = 9;
  info.meta.configuration.configuration.members.push_back(member);
  info.digest = "sixteen bytes...";
  info.totals = {3, 500, 0xabcdef};
  return info;
}

TEST(SnapshotCodec, InfoAndProgressRoundTripAndEveryFlippedBitIsNoticed) {
  const std::string info = EncodeInfo(SomeInfo());
  ASSERT_TRUE(DecodeInfo(info)) << DecodeInfo(info).error();
  EXPECT_EQ(*DecodeInfo(info), SomeInfo());
  const TransferProgress progress{SomeInfo(), "key", {2, 300, 5}};
  const std::string encoded = EncodeProgress(progress);
  ASSERT_TRUE(DecodeProgress(encoded)) << DecodeProgress(encoded).error();
  EXPECT_EQ(*DecodeProgress(encoded), progress);
  const auto every_bit = [](const std::string& bytes, const auto& decode) {
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] =
          static_cast<char>(static_cast<std::uint8_t>(flipped[bit / 8]) ^ (1U << (bit % 8)));
      ASSERT_FALSE(decode(flipped)) << "bit " << bit;
    }
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_FALSE(decode(bytes.substr(0, size))) << size;
    }
  };
  every_bit(info, [](const std::string& bytes) { return DecodeInfo(bytes).has_value(); });
  every_bit(encoded, [](const std::string& bytes) { return DecodeProgress(bytes).has_value(); });
}

TEST(SnapshotCodec, NoByteMovesFromKeyToValue) {
  EXPECT_NE(RowChecksum("ab", "c"), RowChecksum("a", "bc"));
  EXPECT_NE(RowChecksum("", "abc"), RowChecksum("abc", ""));
  EXPECT_FALSE(DecodeRow("key", "short"));
  const std::string stored = StoredRowValue("value", RowChecksum("key", "value"));
  EXPECT_TRUE(DecodeRow("key", stored));
  EXPECT_FALSE(DecodeRow("kez", stored));
}

TEST(SnapshotCodec, TotalsForgetWhatIsRemoved) {
  RowTotals totals;
  totals.Add("a", "1", 5);
  const RowTotals one = totals;
  totals.Add("bb", "22", 7);
  EXPECT_EQ(totals, (RowTotals{2, 6, 12}));
  totals.Remove("bb", "22", 7);
  EXPECT_EQ(totals, one);
}

}  // namespace
}  // namespace conclave::persist::testing
