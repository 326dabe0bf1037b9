// What a synced batch costs: batches and entries per second, CPU per entry, and the longest single
// write and the speed of a restart, for 1, 16 and 256 entries of 160 bytes, with and without
// pre-allocation.
//
//   log_store_bench [DIRECTORY [SECONDS]]      default: the temporary directory, 3 seconds a row
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <sys/resource.h>
#include <unistd.h>

#include "persist/log_store.h"

namespace conclave::persist {
namespace {

class Random final : public raft::RandomSource {
 public:
  std::uint64_t Next() override { return engine_(); }

 private:
  std::mt19937_64 engine_{std::random_device{}()};
};

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

void Run(const std::string& directory, std::size_t entries_per_batch, bool preallocate,
         double seconds) {
  Random random;
  LogStore::Options options;
  options.env = leveldb::Env::Default();
  options.disk = PosixDisk();
  if (!preallocate) {
    options.storage.log_preallocate_bytes = 0;
  }
  options.data_dir = directory;
  options.member = 1;
  options.cluster_name = "bench";
  options.random = &random;
  auto store = LogStore::Open(options);
  CHECK(store) << store.error().message;
  const auto data = std::make_shared<const std::string>(160, 'x');
  LogBatch batch;
  batch.hardState = raft::HardState{};
  batch.hardState->currentTerm = 1;
  raft::Index next = 1;
  std::uint64_t chain = 0;
  std::uint64_t batches = 0;
  std::vector<double> latencies;
  const double cpu = CpuSeconds();
  const double start = Seconds();
  double now = start;
  while (now - start < seconds && (*store)->log_bytes() < std::uint64_t{1} << 30U) {
    batch.append.clear();
    for (std::size_t i = 0; i < entries_per_batch; ++i) {
      raft::Entry entry;
      entry.term = 1;
      entry.index = next++;
      entry.kind = raft::EntryKind::kCommand;
      entry.data = data;
      entry.chain = chain = raft::ChainHash(chain, entry);
      batch.append.push_back(std::move(entry));
    }
    const double before = Seconds();
    CHECK((*store)->Write(batch));
    now = Seconds();
    latencies.push_back(now - before);
    ++batches;
  }
  const double took = now - start;
  const double entries = static_cast<double>(batches * entries_per_batch);
  std::sort(latencies.begin(), latencies.end());
  const double cpu_used = CpuSeconds() - cpu;
  // A restart reads and checks everything.
  const double megabytes = static_cast<double>((*store)->log_bytes()) / 1e6;
  store->reset();
  const double reopening = Seconds();
  store = LogStore::Open(options);
  CHECK(store) << store.error().message;
  const double reopened = Seconds() - reopening;
  std::printf("%8zu  %-4s  %10.0f  %12.0f  %12.2f  %9.0f  %9.0f  %9.1f  %9.0f\n", entries_per_batch,
              preallocate ? "yes" : "no", static_cast<double>(batches) / took, entries / took,
              cpu_used / entries * 1e6, latencies[latencies.size() / 2] * 1e6,
              latencies[latencies.size() * 99 / 100] * 1e6, latencies.back() * 1e3,
              megabytes / reopened);
  std::fflush(stdout);
}

}  // namespace
}  // namespace conclave::persist

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  FLAGS_logtostderr = true;
  const fs::path where = argc > 1 ? fs::path(argv[1]) : fs::temp_directory_path();
  const double seconds = argc > 2 ? std::atof(argv[2]) : 3;
  std::string pattern = (where / "log_store_bench-XXXXXX").string();
  CHECK(::mkdtemp(pattern.data()) != nullptr) << pattern;
  std::printf(
      " entries  pre-   batches/s     entries/s  CPU us/entry     p50 us     p99 us     max ms  "
      "open MB/s\n a batch  alloc\n");
  for (const std::size_t entries : {1, 16, 256}) {
    for (const bool preallocate : {true, false}) {
      conclave::persist::Run(pattern + "/data", entries, preallocate, seconds);
      fs::remove_all(pattern + "/data");
    }
  }
  fs::remove_all(pattern);
  return 0;
}
