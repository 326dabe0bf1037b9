// A disk that refuses: nothing is acknowledged after a failure, nothing acknowledged is lost, and
// the words say what happened.
#include <memory>
#include <string>

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "persist/log_store.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::HasSubstr;

// Writes until something fails or `batches` are written; returns the error.
std::optional<Error> WriteUntilFailure(LogStore* store, LogWorkload* workload, int batches,
                                       ModelLog* acknowledged, ModelLog* on_its_way) {
  for (int i = 0; i < batches; ++i) {
    const LogBatch batch = workload->Next(*acknowledged);
    *on_its_way = *acknowledged;
    on_its_way->Apply(batch);
    if (auto written = store->Write(batch); !written) {
      // Latched: the same error for ever, also for a batch that would be harmless.
      for (int again = 0; again < 3; ++again) {
        const auto later = store->Write(workload->Next(*acknowledged));
        EXPECT_FALSE(later);
        EXPECT_EQ(later.error().message, written.error().message);
      }
      return written.error();
    }
    *acknowledged = *on_its_way;
  }
  return std::nullopt;
}

struct Case {
  Operation operation;
  FaultError error;
  std::size_t short_write_bytes;
  bool sticky;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "operation " << static_cast<int>(c.operation) << " error " << static_cast<int>(c.error)
       << " short " << c.short_write_bytes << " sticky " << c.sticky;
}

class IoFailure : public ::testing::TestWithParam<Case> {
 protected:
  IoFailure() { FLAGS_minloglevel = google::GLOG_FATAL; }
};

// The nth operation fails, for every n; the process ends; the machine may crash as well.
TEST_P(IoFailure, AtEveryOperationNothingAcknowledgedIsLost) {
  std::uint64_t struck = 0;
  for (std::uint64_t nth = 1; nth < 400; ++nth) {
    FaultEnv env;
    SeededRandom random(nth);
    LogWorkload workload(nth % 7, 4000);
    ModelLog acknowledged;
    ModelLog on_its_way;
    std::optional<Error> error;
    env.Inject({GetParam().operation, nth, GetParam().error, "", GetParam().sticky,
                GetParam().short_write_bytes});
    {
      auto store = LogStore::Open(SmallOptions(&env, &random));
      if (store) {
        error = WriteUntilFailure(store->get(), &workload, 40, &acknowledged, &on_its_way);
      } else {
        error = store.error();
      }
    }
    if (env.faults_struck() == 0) {
      break;  // The workload has fewer operations of this kind.
    }
    ++struck;
    if (GetParam().operation != Operation::kRemove && GetParam().operation != Operation::kRead &&
        GetParam().operation != Operation::kClose) {
      ASSERT_TRUE(error) << "operation " << nth << " failed and nobody was told";
      const bool full = GetParam().error == FaultError::kNoSpace;
      ASSERT_THAT(error->message, HasSubstr(full ? "the disk is full" : "Input/output error"));
    }
    env.Crash(nth % 2 == 0 ? CrashPolicy::kKeepAll : CrashPolicy::kSubset, nth);
    auto store = LogStore::Open(SmallOptions(&env, &random));
    ASSERT_TRUE(store) << "operation " << nth << ": " << store.error().message;
    const bool as_acknowledged = DifferenceByRead(**store, acknowledged).empty();
    const raft::HardState hard = (*store)->TakeRestored().hardState;
    if (as_acknowledged && hard == acknowledged.hard) {
      continue;
    }
    ASSERT_EQ(DifferenceByRead(**store, on_its_way), "") << "operation " << nth;
    ASSERT_EQ(hard, on_its_way.hard) << "operation " << nth;
  }
  EXPECT_GE(struck, 3U);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, IoFailure,
    ::testing::Values(Case{Operation::kWrite, FaultError::kIo, 0, false},
                      Case{Operation::kWrite, FaultError::kIo, 700, false},
                      Case{Operation::kWrite, FaultError::kNoSpace, 100, false},
                      Case{Operation::kWrite, FaultError::kNoSpace, 0, true},
                      Case{Operation::kSync, FaultError::kIo, 0, false},
                      Case{Operation::kSync, FaultError::kIo, 0, true},
                      Case{Operation::kSync, FaultError::kNoSpace, 0, false},
                      Case{Operation::kSyncDirectory, FaultError::kIo, 0, false},
                      Case{Operation::kCreate, FaultError::kIo, 0, false},
                      Case{Operation::kCreate, FaultError::kNoSpace, 0, true},
                      Case{Operation::kRename, FaultError::kIo, 0, false},
                      Case{Operation::kRename, FaultError::kNoSpace, 0, true},
                      Case{Operation::kRemove, FaultError::kIo, 0, true},
                      Case{Operation::kClose, FaultError::kIo, 0, false}));

// A disk that is full after N bytes, for N from nothing to enough; then room is made again.
TEST(FullDisk, AtEverySizeNothingAcknowledgedIsLostAndItComesBack) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  int refused_open = 0;
  int refused_write = 0;
  for (std::uint64_t capacity = 0; capacity < 60000; capacity += 389) {
    FaultEnv env;
    SeededRandom random(capacity);
    LogWorkload workload(capacity, 3000);
    ModelLog acknowledged;
    ModelLog on_its_way;
    env.SetCapacity(capacity);
    {
      auto store = LogStore::Open(SmallOptions(&env, &random));
      std::optional<Error> error;
      if (store) {
        error = WriteUntilFailure(store->get(), &workload, 60, &acknowledged, &on_its_way);
        refused_write += error ? 1 : 0;
      } else {
        error = store.error();
        ++refused_open;
      }
      ASSERT_TRUE(error);
      ASSERT_EQ(error->kind, ErrorKind::kNoSpace) << error->message;
      ASSERT_THAT(error->message, HasSubstr("Free space and start again"));
    }
    env.Crash(CrashPolicy::kKeepAll, capacity);  // The process ends.
    {
      const auto full = LogStore::Open(SmallOptions(&env, &random));
      ASSERT_TRUE(full || full.error().kind == ErrorKind::kNoSpace) << full.error().message;
    }
    env.Crash(CrashPolicy::kKeepAll, capacity);
    env.SetCapacity(std::nullopt);
    auto store = LogStore::Open(SmallOptions(&env, &random));
    ASSERT_TRUE(store) << "capacity " << capacity << ": " << store.error().message;
    if (!DifferenceByRead(**store, acknowledged).empty()) {
      ASSERT_EQ(DifferenceByRead(**store, on_its_way), "") << "capacity " << capacity;
    }
  }
  EXPECT_GT(refused_open, 10);
  EXPECT_GT(refused_write, 50);
}

// The defect of LevelDB 1.23 that this layer exists for: one short append, and the later synced
// writes are acknowledged and gone at the next start.
TEST(ShortAppend, IsNeverFollowedByAnAcknowledgement) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  FaultEnv env;
  SeededRandom random(1);
  ModelLog model;
  auto store = LogStore::Open(SmallOptions(&env, &random));
  ASSERT_TRUE(store);
  for (int i = 0; i < 3; ++i) {
    const LogBatch batch = model.Append("acknowledged");
    ASSERT_TRUE((*store)->Write(batch));
    model.Apply(batch);
  }
  env.Inject({Operation::kWrite, 1, FaultError::kIo, ".log", false, 20});
  ASSERT_FALSE((*store)->Write(model.Append("short")));
  EXPECT_FALSE((*store)->failure().ok());
  for (int i = 0; i < 9; ++i) {
    EXPECT_FALSE((*store)->Write(model.Append("after")));
  }
  store->reset();
  store = LogStore::Open(SmallOptions(&env, &random));
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ(Difference(store->get(), model), "");
}

// A failure in the background (a table that cannot be written) ends writing too.
TEST(BackgroundFailure, IsSeenByTheNextWriteAtTheLatest) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  FaultEnv env;
  SeededRandom random(1);
  ModelLog model;
  auto store = LogStore::Open(SmallOptions(&env, &random));
  ASSERT_TRUE(store);
  env.Inject({Operation::kWrite, 1, FaultError::kIo, ".ldb", false, 0});
  bool failed = false;
  for (int i = 0; i < 40 && !failed; ++i) {
    const LogBatch batch = model.Append(std::string(8000, 'x'));
    failed = !(*store)->Write(batch);
    if (!failed) {
      EXPECT_TRUE((*store)->failure().ok());
      model.Apply(batch);
    }
  }
  EXPECT_TRUE(failed);
  EXPECT_EQ(env.faults_struck(), 1U);
}

}  // namespace
}  // namespace conclave::persist::testing
