// The judge of write-ahead files, on files made by LevelDB's own writer and torn in every way.
#include "persist/write_ahead.h"

#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "persist/storage_env.h"
#include "tests/persist/fault_env.h"

namespace conclave::persist::testing {
namespace {

// A write-ahead file of LevelDB with one record per size, and where each record ends.
struct Written {
  std::string content;
  std::vector<std::size_t> ends{0};
};

Written WriteRecords(const std::vector<std::size_t>& sizes, std::uint64_t preallocate) {
  FaultEnv disk;
  StorageEnv::Options options = StorageEnv::Options::Plain();
  options.log_preallocate_bytes = preallocate;
  StorageEnv env(&disk, &disk, options);
  leveldb::Options db_options;
  db_options.env = &env;
  db_options.create_if_missing = true;
  leveldb::DB* raw = nullptr;
  EXPECT_TRUE(leveldb::DB::Open(db_options, "/db", &raw).ok());
  const std::unique_ptr<leveldb::DB> db(raw);
  env.DrainBackground();
  std::string name;
  for (const std::string& file : disk.Files()) {
    name = file.ends_with(".log") ? file : name;
  }
  std::mt19937_64 random(9);
  Written written;
  leveldb::WriteOptions synced;
  synced.sync = true;
  for (const std::size_t size : sizes) {
    std::string value(size, '\0');
    for (char& byte : value) {
      byte = static_cast<char>(random() | 1U);
    }
    EXPECT_TRUE(db->Put(synced, "key", value).ok());
    env.DrainBackground();
    written.content = disk.Content(name);
    written.ends.push_back(written.content.find_last_not_of('\0') + 1);
  }
  return written;
}

TEST(Crc32c, KnownValues) {
  // RFC 3720, B.4.
  EXPECT_EQ(Crc32c(0, std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(Crc32c(0, std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(Crc32c(0, "123456789"), 0xe3069283U);
  EXPECT_EQ(Crc32c(Crc32c(0, "1234567"), "89"), 0xe3069283U);
}

TEST(WriteAhead, WholeFilesAreClean) {
  for (const std::uint64_t preallocate : {0U, 4096U, 1U << 20U}) {
    const Written written = WriteRecords({10, 500, 40000, 100000, 32741, 7, 0, 65000}, preallocate);
    const WriteAheadTail tail = ScanWriteAhead(written.content);
    EXPECT_EQ(tail.kind, TailKind::kClean) << tail.reason;
    EXPECT_EQ(tail.records, 8U);
    EXPECT_GE(tail.valid_bytes, written.ends.back());
  }
  EXPECT_EQ(ScanWriteAhead("").kind, TailKind::kClean);
  EXPECT_EQ(ScanWriteAhead(std::string(40000, '\0')).kind, TailKind::kClean);
}

TEST(WriteAhead, AFileCutAnywhereInItsLastRecordIsTornThere) {
  const Written written = WriteRecords({300, 40000, 2000}, 0);
  for (std::size_t record = 1; record < written.ends.size(); ++record) {
    const std::size_t begin = written.ends[record - 1];
    for (std::size_t size = begin + 1; size < written.ends[record];
         size += size - begin < 1500 ? 1 : 37) {
      const WriteAheadTail tail = ScanWriteAhead(written.content.substr(0, size));
      ASSERT_EQ(tail.kind, TailKind::kTorn) << size << " " << tail.reason;
      ASSERT_EQ(tail.valid_bytes, begin) << size;
      ASSERT_EQ(tail.records, record - 1);
    }
  }
}

// Every subset of sectors of the last record missing, in a pre-allocated file.
TEST(WriteAhead, ARecordThatMissesSectorsIsTorn) {
  std::mt19937_64 random(4);
  std::uint64_t torn = 0;
  for (const std::size_t first : {200U, 500U, 505U, 32600U, 32741U}) {
    for (const std::size_t size : {5U, 700U, 3000U, 40000U, 90000U}) {
      const Written written = WriteRecords({first, size}, 8192);
      const std::size_t begin = written.ends[1];
      const std::size_t end = written.ends[2];
      for (int round = 0; round < 40; ++round) {
        std::string content = written.content;
        bool missing = false;
        for (std::size_t at = begin; at < end;) {
          const std::size_t next = std::min(end, (at / 512 + 1) * 512);
          if (random() % 3 == 0) {
            content.replace(at, next - at, next - at, '\0');
            missing =
                missing || content.substr(at, next - at) != written.content.substr(at, next - at);
          }
          at = next;
        }
        const WriteAheadTail tail = ScanWriteAhead(content);
        if (!missing) {
          ASSERT_EQ(tail.kind, TailKind::kClean);
          continue;
        }
        // All of it missing leaves no trace: then there is nothing to cut.
        if (tail.kind != TailKind::kClean) {
          ASSERT_EQ(tail.kind, TailKind::kTorn)
              << first << "+" << size << " round " << round << ": " << tail.reason;
          ++torn;
        }
        ASSERT_EQ(tail.records, 1U);
        ASSERT_TRUE(tail.valid_bytes == begin ||
                    tail.valid_bytes == (begin + 32767) / 32768 * 32768)
            << tail.valid_bytes;
      }
    }
  }
  EXPECT_GT(torn, 500U);
}

TEST(WriteAhead, AFlippedBitInAnyRecordIsDamage) {
  const Written written = WriteRecords({200, 40000, 300}, 4096);
  const std::size_t end = written.ends.back();
  for (std::size_t bit = 0; bit < end * 8; bit += bit < 600 || bit > (end - 120) * 8 ? 1 : 509) {
    std::string content = written.content;
    content[bit / 8] =
        static_cast<char>(static_cast<std::uint8_t>(content[bit / 8]) ^ (1U << (bit % 8)));
    const WriteAheadTail tail = ScanWriteAhead(content);
    ASSERT_EQ(tail.kind, TailKind::kDamaged) << "bit " << bit << " " << tail.reason;
  }
}

TEST(WriteAhead, ASectorLostFromASyncedRecordIsDamage) {
  const Written written = WriteRecords({3000, 3000, 3000}, 4096);
  for (std::size_t at = 0; at + 512 <= written.ends[2]; at += 512) {
    std::string content = written.content;
    content.replace(at, 512, 512, '\0');
    const WriteAheadTail tail = ScanWriteAhead(content);
    ASSERT_EQ(tail.kind, TailKind::kDamaged) << at;
    ASSERT_NE(tail.reason.find("later record"), std::string::npos) << tail.reason;
  }
}

TEST(WriteAhead, AnyBytesAreJudgedWithoutHarm) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    std::string content(random() % 70000, '\0');
    for (std::size_t i = 0; i < content.size(); i += 1 + random() % 3) {
      content[i] = static_cast<char>(random() % (round % 2 == 0 ? 256 : 5));
    }
    const WriteAheadTail tail = ScanWriteAhead(content);
    ASSERT_LE(tail.valid_bytes, content.size());
  }
}

}  // namespace
}  // namespace conclave::persist::testing
