// The Env under LevelDB: what it adds to the one below.
#include "persist/storage_env.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <leveldb/db.h>

#include "tests/persist/fault_env.h"

namespace conclave::persist::testing {
namespace {

std::unique_ptr<leveldb::WritableFile> MakeFile(StorageEnv* env, const std::string& name) {
  leveldb::WritableFile* raw = nullptr;
  EXPECT_TRUE(env->NewWritableFile(name, &raw).ok());
  return std::unique_ptr<leveldb::WritableFile>(raw);
}

TEST(StorageEnv, ANewNameARenameAndARemovalSurviveACrash) {
  FaultEnv disk;
  StorageEnv env(&disk, &disk, StorageEnv::Options::Plain());
  ASSERT_TRUE(env.CreateDir("/d").ok());
  const auto created = MakeFile(&env, "/d/1.log");
  const auto moved = MakeFile(&env, "/d/2.dbtmp");
  ASSERT_TRUE(env.RenameFile("/d/2.dbtmp", "/d/CURRENT").ok());
  const auto gone = MakeFile(&env, "/d/3.ldb");
  ASSERT_TRUE(env.RemoveFile("/d/3.ldb").ok());
  disk.Crash(CrashPolicy::kDropAll, 0);
  EXPECT_EQ(disk.Files(), (std::vector<std::string>{"/d/1.log", "/d/CURRENT"}));
}

TEST(StorageEnv, WriteAheadFilesGrowByStepsOfZerosAndOthersDoNot) {
  FaultEnv disk;
  StorageEnv::Options options = StorageEnv::Options::Plain();
  options.log_preallocate_bytes = 4096;
  StorageEnv env(&disk, &disk, options);
  const auto log = MakeFile(&env, "/1.log");
  const auto table = MakeFile(&env, "/2.ldb");
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string data(static_cast<std::size_t>(1 + i * 3), static_cast<char>('a' + i % 26));
    expected += data;
    ASSERT_TRUE(log->Append(data).ok());
    ASSERT_TRUE(log->Sync().ok());
    ASSERT_TRUE(table->Append(data).ok());
    const std::string content = disk.Content("/1.log");
    ASSERT_EQ(content.size() % 4096, 0U);
    ASSERT_GT(content.size(), expected.size());
    ASSERT_EQ(content.substr(0, expected.size()), expected);
    ASSERT_EQ(content.find_first_not_of('\0', expected.size()), std::string::npos);
  }
  ASSERT_TRUE(table->Close().ok());
  EXPECT_EQ(disk.Content("/2.ldb"), expected);
  disk.Crash(CrashPolicy::kDropAll, 0);
  EXPECT_EQ(disk.Content("/1.log").substr(0, expected.size()), expected);
}

TEST(StorageEnv, TheNextWriteAheadFileIsMadeReadyBeforeItIsNeeded) {
  FaultEnv disk;
  StorageEnv::Options options = StorageEnv::Options::Plain();
  options.log_preallocate_bytes = 4096;
  options.log_spare_bytes = 600'000;
  StorageEnv env(&disk, &disk, options);
  const std::string spare = "/d/" + std::string(StorageEnv::kSpareName);
  ASSERT_TRUE(env.CreateDir("/d").ok());
  const auto first = MakeFile(&env, "/d/1.log");
  ASSERT_TRUE(first->Append(std::string(200'000, 'a')).ok());
  ASSERT_TRUE(first->Sync().ok());
  env.DrainBackground();
  EXPECT_FALSE(disk.FileExists(spare)) << "one that is hardly used needs no next one yet";
  ASSERT_TRUE(first->Append(std::string(200'000, 'b')).ok());
  ASSERT_TRUE(first->Sync().ok());
  env.DrainBackground();
  EXPECT_EQ(disk.Content(spare), std::string(600'000, '\0'));

  const auto second = MakeFile(&env, "/d/2.log");
  EXPECT_FALSE(disk.FileExists(spare));
  ASSERT_TRUE(second->Append("record").ok());
  ASSERT_TRUE(second->Sync().ok());
  disk.Crash(CrashPolicy::kDropAll, 0);
  EXPECT_EQ(disk.Content("/d/2.log"), "record" + std::string(600'000 - 6, '\0'))
      << "the zeros and the name were durable before";
}

TEST(StorageEnv, ASpareFileThatIsNotReadyIsNotWaitedFor) {
  FaultEnv disk;
  StorageEnv::Options options = StorageEnv::Options::Plain();
  options.log_preallocate_bytes = 4096;
  options.log_spare_bytes = 100'000;
  StorageEnv env(&disk, &disk, options);
  const auto first = MakeFile(&env, "/1.log");
  ASSERT_TRUE(first->Append(std::string(90'000, 'a')).ok());
  ASSERT_TRUE(first->Sync().ok());
  const auto second = MakeFile(&env, "/2.log");
  ASSERT_TRUE(second->Append("x").ok());
  ASSERT_TRUE(second->Sync().ok());
  EXPECT_EQ(disk.Content("/2.log").size(), 4096U);
  env.DrainBackground();
  const auto third = MakeFile(&env, "/3.log");
  EXPECT_EQ(disk.Content("/3.log").size(), 100'000U) << "it serves the one after";
}

TEST(StorageEnv, TablesReachTheDiskInPieces) {
  FaultEnv disk;
  StorageEnv env(&disk, &disk, StorageEnv::Options::Plain());
  const auto table = MakeFile(&env, "/2.ldb");
  ASSERT_TRUE(table->Append("block").ok());
  ASSERT_TRUE(table->Flush().ok());
  EXPECT_EQ(disk.Content("/2.ldb"), "") << "a block is no reason for a call";
  const std::string block(10'000, 'b');
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(table->Append(block).ok());
  }
  disk.Crash(CrashPolicy::kDropAll, 0);
  EXPECT_GE(disk.Content("/2.ldb").size(), 700'000U);
}

TEST(StorageEnv, AFailedSyncIsNeverTriedAgain) {
  FaultEnv disk;
  StorageEnv env(&disk, &disk, StorageEnv::Options::Plain());
  const auto log = MakeFile(&env, "/1.log");
  disk.Inject({Operation::kSync, 1, FaultError::kIo, "", false, 0});
  ASSERT_TRUE(log->Append("x").ok());
  EXPECT_FALSE(log->Sync().ok());
  EXPECT_FALSE(log->Sync().ok()) << "the disk would say yes now, but the page is lost";
  EXPECT_FALSE(log->Append("y").ok());
  leveldb::WritableFile* other = nullptr;
  EXPECT_FALSE(env.NewWritableFile("/2.log", &other).ok());
  EXPECT_FALSE(env.RenameFile("/1.log", "/2.log").ok());
  EXPECT_FALSE(env.RemoveFile("/1.log").ok()) << "what is left is evidence";
  EXPECT_FALSE(env.failure().ok());
}

TEST(StorageEnv, AFailedCloseIsAFailure) {
  FaultEnv disk;
  StorageEnv env(&disk, &disk, StorageEnv::Options::Plain());
  auto log = MakeFile(&env, "/1.log");
  disk.Inject({Operation::kClose, 1, FaultError::kIo, "", false, 0});
  log.reset();  // As LevelDB drops its write-ahead files.
  EXPECT_FALSE(env.failure().ok());
}

TEST(StorageEnv, ReadingIsNoFailureOfWriting) {
  FaultEnv disk;
  StorageEnv env(&disk, &disk, StorageEnv::Options::Plain());
  leveldb::RandomAccessFile* file = nullptr;
  EXPECT_TRUE(env.NewRandomAccessFile("/none", &file).IsNotFound());
  EXPECT_TRUE(env.failure().ok());
}

TEST(StorageEnv, SyncsAreReportedWithTheirTimeAndKind) {
  FaultEnv disk;
  int write_ahead = 0;
  int other = 0;
  std::uint64_t now = 0;
  StorageEnv::Options options = StorageEnv::Options::Plain();
  options.now_micros = [&] { return now += 5; };
  options.on_sync = [&](bool is_write_ahead, std::uint64_t micros) {
    EXPECT_EQ(micros, 5U);
    ++(is_write_ahead ? write_ahead : other);
  };
  StorageEnv env(&disk, &disk, options);
  const auto log = MakeFile(&env, "/1.log");
  const auto table = MakeFile(&env, "/1.ldb");
  ASSERT_TRUE(log->Sync().ok());
  ASSERT_TRUE(log->Sync().ok());
  ASSERT_TRUE(table->Sync().ok());
  EXPECT_EQ(write_ahead, 2);
  EXPECT_EQ(other, 1);
}

TEST(StorageEnv, QueuedWorkRunsOnlyWhenDrained) {
  FaultEnv disk;
  StorageEnv env(&disk, &disk, StorageEnv::Options::Plain());
  int runs = 0;
  env.Schedule([](void* arg) { ++*static_cast<int*>(arg); }, &runs);
  EXPECT_EQ(runs, 0);
  env.DrainBackground();
  EXPECT_EQ(runs, 1);
}

TEST(StorageEnv, EachHasAThreadOfItsOwn) {
  StorageEnv first(leveldb::Env::Default(), nullptr, {});
  StorageEnv second(leveldb::Env::Default(), nullptr, {});

  struct Meeting {
    std::mutex mutex;
    std::condition_variable changed;
    int arrived = 0;
  } meeting;

  // Each job waits for the other: with one thread between them this would never end.
  const auto job = [](void* arg) {
    auto* meet = static_cast<Meeting*>(arg);
    std::unique_lock lock(meet->mutex);
    ++meet->arrived;
    meet->changed.notify_all();
    meet->changed.wait(lock, [&] { return meet->arrived >= 2; });
  };
  first.Schedule(job, &meeting);
  second.Schedule(job, &meeting);
  std::unique_lock lock(meeting.mutex);
  meeting.changed.wait(lock, [&] { return meeting.arrived >= 2; });
}

TEST(StorageEnv, RunsOverAnInMemoryEnvWithoutADisk) {
  FaultEnv memory;
  StorageEnv env(&memory, nullptr, StorageEnv::Options::Plain());
  const auto log = MakeFile(&env, "/1.log");
  ASSERT_TRUE(log->Append("abc").ok());
  ASSERT_TRUE(log->Sync().ok());
  EXPECT_EQ(memory.Content("/1.log"), "abc");
}

TEST(FaultEnv, ADirectoryOfTheSameNameDoesNotBringBackWhatWasInTheOldOne) {
  testing::FaultEnv disk;
  ASSERT_TRUE(disk.CreateDir("/d").ok());
  ASSERT_TRUE(disk.SyncDirectory("/").ok());
  std::unique_ptr<DiskFile> file;
  ASSERT_TRUE(disk.Create("/d/old", &file).ok());
  ASSERT_TRUE(disk.SyncDirectory("/d").ok());
  ASSERT_TRUE(disk.RemoveFile("/d/old").ok());
  ASSERT_TRUE(disk.RemoveDir("/d").ok());
  ASSERT_TRUE(disk.SyncDirectory("/").ok());
  ASSERT_TRUE(disk.CreateDir("/d").ok());
  ASSERT_TRUE(disk.Create("/d/new", &file).ok());
  ASSERT_TRUE(disk.SyncDirectory("/").ok());
  ASSERT_TRUE(disk.SyncDirectory("/d").ok());
  disk.Crash(testing::CrashPolicy::kDropAll, 1);
  EXPECT_EQ(disk.Files(), std::vector<std::string>{"/d/new"});
}

TEST(FaultEnv, SameSeedSameBytes) {
  const auto run = [](std::uint64_t seed) {
    FaultEnv disk;
    std::unique_ptr<DiskFile> file;
    EXPECT_TRUE(disk.Create("/f", &file).ok());
    EXPECT_TRUE(disk.SyncDirectory("/").ok());
    for (std::uint64_t i = 0; i < 20; ++i) {
      EXPECT_TRUE(file->WriteAt(i * 300, std::string(900, static_cast<char>('a' + i))).ok());
    }
    disk.Crash(CrashPolicy::kSubset, seed);
    return disk.Hash();
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

}  // namespace
}  // namespace conclave::persist::testing
