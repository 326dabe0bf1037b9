// Flipped bits, lost and torn files: what was acknowledged is found unchanged, or the start is
// refused with words that name the file and the remedy. Nothing in between.
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "persist/codec.h"
#include "persist/log_store.h"
#include "persist/readmission.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class Damage : public ::testing::Test {
 protected:
  Damage() { FLAGS_minloglevel = google::GLOG_ERROR; }

  // A directory with tables, a MANIFEST of several edits and a write-ahead file in use.
  void Fill(int batches, std::size_t data_bytes_max) {
    LogWorkload workload(11, data_bytes_max);
    auto store = LogStore::Open(SmallOptions(&env_, &random_));
    ASSERT_TRUE(store) << store.error().message;
    for (int i = 0; i < batches; ++i) {
      const LogBatch batch = workload.Next(model_);
      ASSERT_TRUE((*store)->Write(batch));
      model_.Apply(batch);
    }
  }

  std::string FileOf(std::string_view what) const {
    std::string found;
    for (const std::string& name : env_.Files()) {
      if (name.find(what) != std::string::npos) {
        found = name;  // The newest of its kind.
      }
    }
    CHECK(!found.empty()) << what;
    return found;
  }

  FaultEnv env_;
  SeededRandom random_{7};
  ModelLog model_;
};

std::string ClassOf(const std::string& name) {
  for (const char* part : {"MANIFEST", "CURRENT", "IDENTITY", ".log", ".ldb"}) {
    if (name.find(part) != std::string::npos) {
      return part;
    }
  }
  return "other";
}

TEST_F(Damage, AFlippedBitAnywhereIsRefusedOrChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(Fill(160, 1500));
  std::map<std::string, int> refused;
  for (const std::string& name : env_.Files()) {
    const std::uint64_t bits = env_.Content(name).size() * 8;
    // Every bit of small files, a prime stride through large ones.
    const std::uint64_t stride = bits < 3000 ? 1 : bits / 700 | 1U;
    for (std::uint64_t bit = 0; bit < bits; bit += stride) {
      const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
      disk->FlipBit(name, bit);
      auto store = LogStore::Open(SmallOptions(disk.get(), &random_));
      if (store) {
        ASSERT_EQ(Difference(store->get(), model_), "") << name << " bit " << bit;
        continue;
      }
      ++refused[ClassOf(name)];
      ASSERT_THAT(
          static_cast<int>(store.error().kind),
          AnyOf(static_cast<int>(ErrorKind::kDamaged), static_cast<int>(ErrorKind::kUnknownFormat)))
          << name << " bit " << bit << ": " << store.error().message;
      ASSERT_THAT(store.error().message, HasSubstr("/data")) << name << " bit " << bit;
      ASSERT_THAT(store.error().message, HasSubstr(std::string(kReadmission)))
          << name << " bit " << bit;
    }
  }
  for (const char* part : {"MANIFEST", "CURRENT", "IDENTITY", ".log", ".ldb"}) {
    EXPECT_GT(refused[part], 20) << part;
  }
}

// The hardest place: nothing follows the last record, so only its own bytes can tell.
TEST_F(Damage, AFlippedBitInTheLastAcknowledgedRecordIsNotTakenForATornTail) {
  ASSERT_NO_FATAL_FAILURE(Fill(5, 700));
  const std::string name = FileOf(".log");
  const std::size_t end = env_.Content(name).find_last_not_of('\0') + 1;
  std::uint64_t refused = 0;
  const std::uint64_t bits = std::min<std::uint64_t>(end, 300) * 8;
  for (std::uint64_t bit = end * 8 - bits; bit < end * 8; ++bit) {
    const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
    disk->FlipBit(name, bit);
    auto store = LogStore::Open(SmallOptions(disk.get(), &random_));
    ASSERT_FALSE(store) << "bit " << bit;
    ASSERT_EQ(store.error().kind, ErrorKind::kDamaged) << store.error().message;
    ++refused;
  }
  EXPECT_EQ(refused, bits);
}

TEST_F(Damage, ARefusedDirectoryIsLeftAsItIs) {
  ASSERT_NO_FATAL_FAILURE(Fill(40, 700));
  const std::string name = FileOf(".log");
  env_.FlipBit(name, 8 * 100);
  const std::uint64_t before = env_.Hash();
  for (int i = 0; i < 3; ++i) {
    const auto store = LogStore::Open(SmallOptions(&env_, &random_));
    ASSERT_FALSE(store);
    EXPECT_THAT(store.error().message, HasSubstr(name + " is damaged: at offset "));
    EXPECT_THAT(store.error().message, HasSubstr("with a later record behind it"));
    EXPECT_THAT(store.error().message, HasSubstr("Never repair"));
  }
  EXPECT_EQ(env_.Hash(), before);
}

TEST_F(Damage, ATornTailIsCopiedCutAndReported) {
  ASSERT_NO_FATAL_FAILURE(Fill(5, 700));
  const std::string name = FileOf(".log");
  std::string content = env_.Content(name);
  const std::size_t end = content.find_last_not_of('\0') + 1;
  // A record of 3000 bytes of which the second sector arrived and no other.
  content.resize(std::max(content.size(), end + 4096));
  content.replace(end / 512 * 512 + 1024, 512, std::string(512, 'x'));
  env_.SetContent(name, content);
  auto store = LogStore::Open(SmallOptions(&env_, &random_));
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ(Difference(store->get(), model_), "");
  const WriteAheadRepair& repair = (*store)->repair();
  EXPECT_EQ(repair.file, name);
  EXPECT_EQ(repair.offset, end);
  EXPECT_EQ(repair.reason, "zeros in place of a record");
  EXPECT_EQ(env_.Content(repair.copy), content.substr(end, repair.bytes));
  store->reset();
  store = LogStore::Open(SmallOptions(&env_, &random_));
  ASSERT_TRUE(store);
  EXPECT_EQ((*store)->repair().file, "") << "cut twice";
}

TEST_F(Damage, CopiesOfTornTailsAreBounded) {
  ASSERT_NO_FATAL_FAILURE(Fill(3, 100));
  for (int i = 0; i < 20; ++i) {
    const std::string name = FileOf(".log");
    std::string content = env_.Content(name);
    const std::size_t end = content.find_last_not_of('\0') + 1;
    content.resize(std::max(content.size(), end + 4096));
    content.replace(end / 512 * 512 + 1024, 512, std::string(512, 'x'));
    env_.SetContent(name, content);
    auto store = LogStore::Open(SmallOptions(&env_, &random_));
    ASSERT_TRUE(store) << store.error().message;
    const LogBatch batch = model_.Append("more");
    ASSERT_TRUE((*store)->Write(batch));
    model_.Apply(batch);
  }
  int copies = 0;
  for (const std::string& name : env_.Files()) {
    copies += name.find(".torn-") == std::string::npos ? 0 : 1;
  }
  EXPECT_EQ(copies, 8);
}

TEST_F(Damage, ATornEndOfAnOlderWriteAheadFileIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Fill(6, 700));
  const std::string older = FileOf(".log");
  const std::string newer = "/data/raft/000900.log";
  env_.SetContent(newer, std::string(8192, '\0'));
  {
    const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
    auto store = LogStore::Open(SmallOptions(disk.get(), &random_));
    ASSERT_TRUE(store) << store.error().message;
    EXPECT_EQ(Difference(store->get(), model_), "") << "an empty newer file changes nothing";
  }
  std::string content = env_.Content(older);
  const std::size_t end = content.find_last_not_of('\0') + 1;
  content.resize(end - 5);
  env_.SetContent(older, content);
  const auto store = LogStore::Open(SmallOptions(&env_, &random_));
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr(older));
  EXPECT_THAT(store.error().message, HasSubstr("though a newer write-ahead file exists"));
}

// LevelDB alone goes on without a write-ahead file, a MANIFEST edit or a CURRENT that is gone.
TEST_F(Damage, ALostFileIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Fill(160, 1500));
  for (const std::string& name : env_.Files()) {
    if (name.ends_with("LOCK") || name.ends_with("IDENTITY") ||
        name.ends_with(StorageEnv::kSpareName)) {
      continue;
    }
    const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
    disk->Erase(name);
    const auto store = LogStore::Open(SmallOptions(disk.get(), &random_));
    ASSERT_FALSE(store) << name;
    EXPECT_EQ(store.error().kind, ErrorKind::kDamaged) << name << store.error().message;
  }
}

TEST_F(Damage, AManifestWhoseLastLengthIsDamagedIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Fill(160, 1500));
  const std::string name = FileOf("MANIFEST");
  const std::string content = env_.Content(name);
  // Find the last record by walking the lengths.
  std::size_t last = 0;
  for (std::size_t at = 0; at + 7 < content.size();) {
    last = at;
    at += 7 + static_cast<std::uint8_t>(content[at + 4]) +
          256U * static_cast<std::uint8_t>(content[at + 5]);
  }
  env_.FlipBit(name, (last + 5) * 8 + 3);  // 2048 longer: past the end
  const auto store = LogStore::Open(SmallOptions(&env_, &random_));
  ASSERT_FALSE(store) << "LevelDB alone drops the edit in silence";
  EXPECT_THAT(store.error().message, HasSubstr("its length is damaged"));
}

// Bytes that are sound each by itself and do not belong together: a stale or misplaced block, a
// lost delete, a lost tail. Made through LevelDB itself, so that only our own checks can tell.
class Forged : public Damage {
 protected:
  void SetUp() override {
    for (int i = 0; i < 6; ++i) {
      auto store = LogStore::Open(SmallOptions(&env_, &random_));
      ASSERT_TRUE(store);
      const LogBatch batch = model_.Append("value");
      ASSERT_TRUE((*store)->Write(batch));
      model_.Apply(batch);
    }
  }

  // Behind the store's back.
  void Forge(const std::function<void(leveldb::WriteBatch*)>& forge) {
    StorageEnv env(&env_, &env_, StorageEnv::Options::Plain());
    leveldb::Options options;
    options.env = &env;
    leveldb::DB* raw = nullptr;
    CHECK(leveldb::DB::Open(options, "/data/raft", &raw).ok());
    const std::unique_ptr<leveldb::DB> db(raw);
    env.DrainBackground();
    leveldb::WriteBatch writes;
    forge(&writes);
    leveldb::WriteOptions synced;
    synced.sync = true;
    CHECK(db->Write(synced, &writes).ok());
    env.DrainBackground();
  }

  Error OpenAfter(const std::function<void(leveldb::WriteBatch*)>& forge) {
    Forge(forge);
    const auto store = LogStore::Open(SmallOptions(&env_, &random_));
    EXPECT_FALSE(store);
    EXPECT_TRUE(store || store.error().kind == ErrorKind::kDamaged);
    return store ? Error{} : store.error();
  }
};

TEST_F(Forged, ABatchOfAnotherHistory) {
  const raft::Entry& third = model_.entries[2];
  const raft::Entry other = MakeEntry(12345, third.term, third.index, "value");
  const Error error = OpenAfter([&](leveldb::WriteBatch* writes) {
    writes->Put(EntryKey(3), EncodeBatch(12345, std::span(&other, 1)));
  });
  EXPECT_THAT(error.message, HasSubstr("entry 3 does not continue the chain"));
}

// Behind LevelDB's own checksum, as bad memory would have it: the batch is neither passed over nor
// taken for the end.
TEST_F(Forged, ABatchWithAWrongByte) {
  for (const raft::Index index : {3U, 6U}) {
    const raft::Entry& entry = model_.entries[index - 1];
    const std::string sound = EncodeBatch(model_.entries[index - 2].chain, std::span(&entry, 1));
    std::string wrong = sound;
    wrong[wrong.size() - 10] ^= 1;
    const Error error =
        OpenAfter([&](leveldb::WriteBatch* writes) { writes->Put(EntryKey(index), wrong); });
    EXPECT_THAT(error.message,
                HasSubstr("entry " + std::to_string(index) + " does not continue the chain"));
    Forge([&](leveldb::WriteBatch* writes) { writes->Put(EntryKey(index), sound); });
  }
}

TEST_F(Forged, ALostBatchInTheMiddle) {
  const Error error = OpenAfter([](leveldb::WriteBatch* writes) { writes->Delete(EntryKey(3)); });
  EXPECT_THAT(error.message, HasSubstr("after entry 2 comes entry 4"));
}

TEST_F(Forged, ALostEnd) {
  const Error error = OpenAfter([](leveldb::WriteBatch* writes) { writes->Delete(EntryKey(6)); });
  EXPECT_THAT(error.message, HasSubstr("ends at entry 5"));
  EXPECT_THAT(error.message, HasSubstr("entry 6 of term 1 was the last"));
}

TEST_F(Forged, ALostState) {
  const Error error = OpenAfter([](leveldb::WriteBatch* writes) { writes->Delete(StateKey(6)); });
  EXPECT_THAT(error.message, HasSubstr("ends at entry 6"));
  EXPECT_THAT(error.message, HasSubstr("entry 5 of term 1 was the last"));
}

TEST_F(Forged, AStateOfAnotherEnd) {
  StoredState state;
  state.hard.currentTerm = 1;
  state.last = {1, 5};
  const Error error =
      OpenAfter([&](leveldb::WriteBatch* writes) { writes->Put(StateKey(6), EncodeState(state)); });
  EXPECT_THAT(error.message, HasSubstr("of entry 5 is in the place of that of entry 6"));
}

TEST_F(Forged, AnEntryBehindTheEnd) {
  const raft::Entry seventh = MakeEntry(model_.last_chain(), 1, 7, "never acknowledged");
  const Error error = OpenAfter([&](leveldb::WriteBatch* writes) {
    writes->Put(EntryKey(7), EncodeBatch(model_.last_chain(), std::span(&seventh, 1)));
  });
  EXPECT_THAT(error.message, HasSubstr("ends at entry 7"));
}

TEST_F(Forged, AnOlderHardState) {
  StoredState state;
  state.last = model_.entries.back().id();
  state.last_chain = model_.last_chain();
  const Error error = OpenAfter([&](leveldb::WriteBatch* writes) {
    writes->Put(StateKey(6), EncodeState(state));  // Term 0, and entries of term 1.
  });
  EXPECT_THAT(error.message, HasSubstr("hard state (term 0) does not fit"));
}

TEST_F(Forged, NoHardStateOrNoIdentity) {
  EXPECT_THAT(OpenAfter([](leveldb::WriteBatch* writes) {
                for (raft::Index index = 0; index <= 6; ++index) {
                  writes->Delete(StateKey(index));
                }
              }).message,
              HasSubstr("holds no hard state"));
  EXPECT_THAT(OpenAfter([](leveldb::WriteBatch* writes) {
                writes->Delete(std::string(kIdentityKey));
              }).message,
              HasSubstr("holds no identity"));
}

// Rot that comes while the server runs, in what is no longer in memory.
TEST_F(Damage, ABadBlockReadLaterIsAnErrorOfRead) {
  ASSERT_NO_FATAL_FAILURE(Fill(160, 1500));
  LogStore::Options options = SmallOptions(&env_, &random_);
  options.block_cache_bytes = 0;
  auto store = LogStore::Open(options);
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE((*store)->Read(1, 1, 100));
  (*store).reset();
  std::uint64_t errors = 0;
  for (std::uint64_t byte = 40; byte < 4000; byte += 97) {
    const auto disk = env_.CrashImage(CrashPolicy::kKeepAll, 0);
    options.env = disk.get();
    options.disk = disk.get();
    auto running = LogStore::Open(options);
    ASSERT_TRUE(running) << running.error().message;
    for (const std::string& name : disk->Files()) {
      if (name.ends_with(".ldb")) {
        disk->CorruptOpenFile(name, byte * 8);
      }
    }
    for (raft::Index index = 1; index <= model_.last_index(); ++index) {
      const auto read = (*running)->Read(index, index, 1);
      if (!read) {
        ++errors;
        EXPECT_THAT(read.error(), HasSubstr("damaged"));
        continue;
      }
      ASSERT_EQ(read->size(), 1U);
      EXPECT_EQ(*read->front().data, *model_.entries[index - 1].data);
    }
  }
  EXPECT_GT(errors, 10U);
}

}  // namespace
}  // namespace conclave::persist::testing
