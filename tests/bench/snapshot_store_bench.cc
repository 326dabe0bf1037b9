// What a checkpoint costs beside a full dump: a thousand changed rows in a million, again and
// again, against the build of a whole generation; and the load of a restart.
//
//   snapshot_store_bench [DIRECTORY [ROWS [CHANGES [CHECKPOINTS]]]]
//                                       default: the temporary directory, 1000000, 1000, 200
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>
#include <sys/resource.h>
#include <unistd.h>

#include "persist/snapshot_generations.h"

namespace conclave::persist {
namespace {

constexpr std::size_t kValueBytes = 150;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of this thread, and of the whole process: the difference is LevelDB's background work.
double CpuSeconds(int who = RUSAGE_THREAD) {
  rusage usage{};
  ::getrusage(who, &usage);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

std::string KeyOf(std::uint64_t n) { return fmt::format("/service/{:04}/{:08}", n % 1000, n); }

std::string ValueOf(std::mt19937_64* random) {
  std::string value(kValueBytes, '\0');
  for (char& byte : value) {
    byte = static_cast<char>((*random)());
  }
  return value;
}

raft::SnapshotMeta MetaAt(raft::Index index) {
  raft::SnapshotMeta meta;
  meta.last = {1, index};
  meta.chain = index;
  return meta;
}

// One row of the table.
void Print(const std::string& what, double wall, double cpu, double all, double bytes) {
  std::printf("%-38s %10.2f %10.2f %10.2f %14.0f\n", what.c_str(), wall * 1e3, cpu * 1e3, all * 1e3,
              bytes);
  std::fflush(stdout);
}

struct Arguments {
  std::uint64_t rows = 1000000;
  std::uint64_t changes = 1000;
  std::uint64_t checkpoints = 200;
};

/// What a full dump took, which everything else is compared with.
struct Cost {
  double wall = 0;
  double cpu = 0;
  double all = 0;  ///< CPU, LevelDB's own threads included
  double bytes = 0;
};

/// Some rows changed, and some new.
std::vector<std::pair<std::string, std::string>> Changed(const Arguments& arguments,
                                                         std::mt19937_64& random) {
  std::vector<std::pair<std::string, std::string>> changed;
  for (std::uint64_t n = 0; n < arguments.changes; ++n) {
    // One in ten is new.
    const std::uint64_t key =
        n % 10 == 0 ? arguments.rows + random() % arguments.rows : random() % arguments.rows;
    changed.emplace_back(KeyOf(key), ValueOf(&random));
  }
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end(),
                            [](const auto& a, const auto& b) { return a.first == b.first; }),
                changed.end());
  return changed;
}

void RunCheckpoints(SnapshotGenerations& generations, const Arguments& arguments, const Cost& full,
                    std::mt19937_64& random) {
  const auto store = generations.current();
  std::vector<double> walls;
  std::vector<double> cpus;
  const double all = CpuSeconds(RUSAGE_SELF);
  double making = 0;
  for (std::uint64_t i = 0; i < arguments.checkpoints; ++i) {
    double cpu = CpuSeconds();
    const auto changed = Changed(arguments, random);
    making += CpuSeconds() - cpu;
    const double wall = Seconds();
    cpu = CpuSeconds();
    const auto written = generations.Checkpoint(MetaAt(2 + i), "digest", [&](const RowSink& sink) {
      for (const auto& [key, value] : changed) {
        sink(key, value);
      }
    });
    CHECK(written && *written == nullptr);
    walls.push_back(Seconds() - wall);
    cpus.push_back(CpuSeconds() - cpu);
  }
  const double delta_all =
      (CpuSeconds(RUSAGE_SELF) - all - making) / static_cast<double>(arguments.checkpoints);
  const double delta_bytes = (static_cast<double>(store->bytes_written()) - full.bytes) /
                             static_cast<double>(arguments.checkpoints);
  std::sort(walls.begin(), walls.end());
  std::sort(cpus.begin(), cpus.end());
  const std::size_t middle = walls.size() / 2;
  Print(fmt::format("checkpoint of {} changes, median", arguments.changes), walls[middle],
        cpus[middle], delta_all, delta_bytes);
  Print("  the longest", walls.back(), cpus.back(), delta_all, delta_bytes);
  std::printf(
      "  of the full dump: %.2f %% of the time, %.2f %% of the CPU (%.2f %% with LevelDB's share "
      "of "
      "compactions), %.2f %% of the bytes\n",
      100 * walls[middle] / full.wall, 100 * cpus[middle] / full.cpu, 100 * delta_all / full.all,
      100 * delta_bytes / full.bytes);
}

void RunLoad(const SnapshotStore& store) {
  const double wall = Seconds();
  const double cpu = CpuSeconds();
  std::uint64_t rows = 0;
  const auto loaded = store.Load([&](std::string_view /*key*/, std::string_view /*value*/) {
    ++rows;
    return tl::expected<void, std::string>();
  });
  CHECK(loaded) << loaded.error().message;
  Print(fmt::format("load of {} rows, verified", rows), Seconds() - wall, CpuSeconds() - cpu,
        CpuSeconds() - cpu, 0);
}

void Run(const std::string& directory, const Arguments& arguments) {
  SnapshotOptions options;
  options.env = leveldb::Env::Default();
  options.disk = PosixDisk();
  options.data_dir = directory;
  auto opened = SnapshotGenerations::Open(options, 0);
  CHECK(opened) << opened.error().message;
  const std::unique_ptr<SnapshotGenerations> generations = std::move(*opened);
  std::mt19937_64 random(1);
  std::vector<std::string> keys;
  for (std::uint64_t n = 0; n < arguments.rows; ++n) {
    keys.push_back(KeyOf(n));
  }
  std::sort(keys.begin(), keys.end());
  const std::string some = ValueOf(&random);

  std::printf("%-38s %10s %10s %10s %14s\n", "", "wall ms", "CPU ms", "with bg.", "bytes written");
  const double cpu = CpuSeconds();
  const double all = CpuSeconds(RUSAGE_SELF);
  const double wall = Seconds();
  auto built = generations->Build(MetaAt(1), "digest", [&](const RowSink& sink) {
    for (const std::string& key : keys) {
      sink(key, some);
    }
  });
  CHECK(built) << built.error().message;
  Cost full{Seconds() - wall, CpuSeconds() - cpu, CpuSeconds(RUSAGE_SELF) - all, 0};
  generations->Switch(*built);
  const auto store = generations->current();
  full.bytes = static_cast<double>(store->bytes_written());
  Print(fmt::format("full dump of {} rows", arguments.rows), full.wall, full.cpu, full.all,
        full.bytes);
  RunCheckpoints(*generations, arguments, full, random);
  RunLoad(*store);
}

}  // namespace
}  // namespace conclave::persist

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  FLAGS_logtostderr = true;
  const fs::path where = argc > 1 ? fs::path(argv[1]) : fs::temp_directory_path();
  conclave::persist::Arguments arguments;
  const auto number = [&](int at, std::uint64_t* value) {
    if (argc > at) {
      *value = std::strtoull(argv[at], nullptr, 10);
    }
  };
  number(2, &arguments.rows);
  number(3, &arguments.changes);
  number(4, &arguments.checkpoints);
  std::string pattern = (where / "snapshot_store_bench-XXXXXX").string();
  CHECK(::mkdtemp(pattern.data()) != nullptr) << pattern;
  conclave::persist::Run(pattern, arguments);
  fs::remove_all(pattern);
  return 0;
}
