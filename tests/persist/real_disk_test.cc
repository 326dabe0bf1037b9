// The production pieces on a real file system: Env::Default, PosixDisk, a thread for background
// work.
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "persist/log_store.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class RealDisk : public ::testing::Test {
 protected:
  RealDisk() {
    FLAGS_minloglevel = google::GLOG_ERROR;
    std::string pattern = (fs::temp_directory_path() / "conclave-persist-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    root_ = pattern;
  }

  ~RealDisk() override { fs::remove_all(root_); }

  LogStore::Options Options(const std::string& name = "data") {
    LogStore::Options options;
    options.env = leveldb::Env::Default();
    options.disk = PosixDisk();
    options.storage.log_preallocate_bytes = 64 << 10;
    options.data_dir = (root_ / name).string();
    options.member = 1;
    options.cluster_name = "test";
    options.random = &random_;
    options.write_buffer_bytes = 256 << 10;
    return options;
  }

  void Fill(int batches, std::size_t data_bytes_max) {
    LogWorkload workload(3, data_bytes_max);
    auto store = LogStore::Open(Options());
    ASSERT_TRUE(store) << store.error().message;
    for (int i = 0; i < batches; ++i) {
      const LogBatch batch = workload.Next(model_);
      const auto written = (*store)->Write(batch);
      ASSERT_TRUE(written) << written.error().message;
      model_.Apply(batch);
    }
    ASSERT_EQ(DifferenceByRead(**store, model_), "");
  }

  static std::string Slurp(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static void Spill(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }

  fs::path root_;
  SeededRandom random_{2};
  ModelLog model_;
};

TEST_F(RealDisk, WritesRotatesCompactsAndComesBack) {
  ASSERT_NO_FATAL_FAILURE(Fill(700, 4000));
  auto store = LogStore::Open(Options());
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ(Difference(store->get(), model_), "");
  bool tables = false;
  for (const auto& file : fs::directory_iterator(root_ / "data" / "raft")) {
    tables = tables || file.path().extension() == ".ldb";
  }
  EXPECT_TRUE(tables);
}

TEST_F(RealDisk, EverythingIsPrivateWhateverTheUmask) {
  const mode_t before = ::umask(0);
  ASSERT_NO_FATAL_FAILURE(Fill(120, 4000));
  ::umask(before);
  for (const auto& file : fs::recursive_directory_iterator(root_ / "data")) {
    const auto open = file.status().permissions() & (fs::perms::group_all | fs::perms::others_all);
    // LOCK files are LevelDB's and empty.
    EXPECT_TRUE(open == fs::perms::none || file.path().filename() == "LOCK") << file.path();
  }
  EXPECT_EQ(fs::status(root_ / "data").permissions(), fs::perms::owner_all);
}

TEST_F(RealDisk, ADirectoryOpenToOthersIsClosedToThem) {
  fs::create_directory(root_ / "data");
  fs::permissions(root_ / "data", fs::perms::all);
  ASSERT_NO_FATAL_FAILURE(Fill(1, 10));
  EXPECT_EQ(fs::status(root_ / "data").permissions(), fs::perms::owner_all);
}

TEST_F(RealDisk, ASecondProcessIsRefused) {
  ASSERT_NO_FATAL_FAILURE(Fill(1, 10));
  // The child is made first: it must meet the kernel's lock and not a copy of this process's table.
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    char go = 0;
    CHECK_EQ(::read(pipe[0], &go, 1), 1);
    const auto second = LogStore::Open(Options());
    ::_exit(!second && second.error().kind == ErrorKind::kLocked ? 0 : 1);
  }
  const auto first = LogStore::Open(Options());
  ASSERT_TRUE(first);
  ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A child writes and says which index is durable until it is killed; all of it is found.
TEST_F(RealDisk, AKilledProcessLosesNothingAcknowledged) {
  for (int round = 0; round < 5; ++round) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = LogStore::Open(Options());
      CHECK(store) << store.error().message;
      const raft::Restored restored = (*store)->TakeRestored();
      ModelLog tail;
      std::uint64_t chain = restored.tail.empty() ? 0 : restored.tail.back().chain;
      for (raft::Index next = restored.last.index + 1;; ++next) {
        LogBatch batch;
        batch.hardState = raft::HardState{};
        batch.hardState->currentTerm = 1;
        batch.append.push_back(MakeEntry(chain, 1, next, std::string(next % 3000, 'k')));
        chain = batch.append.back().chain;
        CHECK((*store)->Write(batch));
        CHECK_EQ(::write(pipe[1], &next, sizeof next), static_cast<ssize_t>(sizeof next));
      }
    }
    ::close(pipe[1]);
    raft::Index acknowledged = 0;
    for (int i = 0; i < 60; ++i) {
      ASSERT_EQ(::read(pipe[0], &acknowledged, sizeof acknowledged),
                static_cast<ssize_t>(sizeof acknowledged));
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    while (::read(pipe[0], &acknowledged, sizeof acknowledged) > 0) {
    }
    ::close(pipe[0]);
    const auto store = LogStore::Open(Options());
    ASSERT_TRUE(store) << store.error().message;
    EXPECT_GE((*store)->last_index(), acknowledged);
    EXPECT_LE((*store)->last_index(), acknowledged + 1);
  }
}

TEST_F(RealDisk, AFlippedBitInEveryKindOfFileFoundOnDisk) {
  ASSERT_NO_FATAL_FAILURE(Fill(300, 4000));
  int refused = 0;
  std::vector<fs::path> files;
  for (const auto& file : fs::recursive_directory_iterator(root_ / "data")) {
    if (file.is_regular_file() && file.path().filename() != "LOCK") {
      files.push_back(file.path());
    }
  }
  ASSERT_GE(files.size(), 5U);  // IDENTITY, CURRENT, MANIFEST, a log, a table
  for (const fs::path& path : files) {
    fs::copy(root_ / "data", root_ / "copy", fs::copy_options::recursive);
    const fs::path victim = root_ / "copy" / fs::relative(path, root_ / "data");
    std::string content = Slurp(victim);
    // In the middle of what was written: the rest of a write-ahead file is zeros.
    const std::size_t at = content.find_last_not_of('\0') / 2;
    content[at] = static_cast<char>(static_cast<std::uint8_t>(content[at]) ^ 0x10U);
    Spill(victim, content);
    auto store = LogStore::Open(Options("copy"));
    if (store) {
      EXPECT_EQ(Difference(store->get(), model_), "") << victim;
    } else {
      ++refused;
      EXPECT_EQ(store.error().kind, ErrorKind::kDamaged) << store.error().message;
      EXPECT_THAT(store.error().message, HasSubstr((root_ / "copy").string()));
    }
    if (store) {
      store->reset();
    }
    fs::remove_all(root_ / "copy");
  }
  EXPECT_GE(refused, 4);
}

TEST_F(RealDisk, AWriteAheadFileCutByHandIsTornAndGoesOn) {
  ASSERT_NO_FATAL_FAILURE(Fill(10, 2000));
  fs::path log;
  for (const auto& file : fs::directory_iterator(root_ / "data" / "raft")) {
    log = file.path().extension() == ".log" ? file.path() : log;
  }
  const std::string content = Slurp(log);
  fs::resize_file(log, content.find_last_not_of('\0') - 2);
  auto store = LogStore::Open(Options());
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ((*store)->repair().file, log.string());
  EXPECT_TRUE(fs::exists((*store)->repair().copy));
}

// The core reads for a member far behind while the log thread writes, rotates and truncates.
TEST_F(RealDisk, ReadsBesideWrites) {
  ASSERT_NO_FATAL_FAILURE(Fill(100, 1000));
  const ModelLog stable = model_;  // Read below its end, written and cut above it.
  auto store = LogStore::Open(Options());
  ASSERT_TRUE(store) << store.error().message;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> rounds{0};
  std::atomic<bool> failed{false};
  std::string wrong;  // of the reader until it is joined
  std::thread reader([&] {
    std::mt19937_64 random(1);
    while (!stop && !failed) {
      const raft::Index first = 1 + random() % stable.last_index();
      const auto read = (*store)->Read(first, stable.last_index(), 20000);
      if (!read) {
        wrong = read.error();
        failed = true;
      } else if (read->front().chain != stable.entries[first - 1].chain) {
        wrong = "another entry at " + std::to_string(first);
        failed = true;
      }
      ++rounds;
    }
  });
  for (int i = 0; i < 200 || rounds < 200; ++i) {
    LogBatch batch = model_.Append(std::string(5000, 'w'));
    if (i % 5 == 4) {
      batch = {};
      batch.truncateFrom = stable.last_index() + 1;
    }
    const auto written = (*store)->Write(batch);
    if (!written || failed) {
      break;
    }
    model_.Apply(batch);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, "");
  EXPECT_TRUE((*store)->failure().ok());
  EXPECT_EQ(DifferenceByRead(**store, model_), "");
}

TEST_F(RealDisk, PlacesThatCannotBeUsedAreNamed) {
  Spill(root_ / "file", "x");
  const auto file = LogStore::Open(Options("file"));
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().kind, ErrorKind::kDirectory);
  EXPECT_THAT(file.error().message, HasSubstr("is not a directory"));
  const auto below = LogStore::Open(Options("file/below"));
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().kind, ErrorKind::kDirectory);
  LogStore::Options proc = Options();
  proc.data_dir = "/proc/conclave";
  const auto read_only = LogStore::Open(proc);
  ASSERT_FALSE(read_only);
  EXPECT_THAT(read_only.error().message, HasSubstr("--data_dir=/proc/conclave"));
  if (::geteuid() != 0) {
    fs::create_directory(root_ / "closed");
    fs::permissions(root_ / "closed", fs::perms::owner_read | fs::perms::owner_exec);
    const auto closed = LogStore::Open(Options("closed"));
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().kind, ErrorKind::kDirectory);
    EXPECT_THAT(closed.error().message, HasSubstr("Permission denied"));
  }
}

// The kernel's own full device: every write to it fails with ENOSPC.
TEST_F(RealDisk, ErrorsOfTheKernelKeepTheirMeaning) {
  std::unique_ptr<DiskFile> file;
  ASSERT_TRUE(PosixDisk()->Create("/dev/full", &file).ok());
  const leveldb::Status full = file->WriteAt(0, "x");
  EXPECT_TRUE(IsNoSpace(full)) << full.ToString();
  EXPECT_TRUE(PosixDisk()->Create((root_ / "no" / "file").string(), &file).IsNotFound());
  EXPECT_FALSE(PosixDisk()->SyncDirectory((root_ / "no").string()).ok());
}

}  // namespace
}  // namespace conclave::persist::testing
