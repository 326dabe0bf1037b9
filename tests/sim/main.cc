// conclave-sim: runs seeds and says what they found. tests/sim/README.md explains it.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>
#include <malloc.h>

#include "tests/sim/run.h"

namespace conclave::sim {
namespace {

// From so many seeds on, a campaign must have exercised everything in kMustHappen.
constexpr std::uint64_t kCampaign = 400;

constexpr int kKeptBytes = 512 << 20;  // of memory that is free for now

constexpr const char* kMustHappen[] = {"elections",
                                       "crashes",
                                       "crashes while writing",
                                       "ends by a failed disk",
                                       "expiries",
                                       "resumed watches",
                                       "watches resumed too late",
                                       "resyncs",
                                       "events",
                                       "one-shot watches",
                                       "one-shot watches gone off",
                                       "retried writes answered from the store",
                                       "forwarded writes",
                                       "writes acknowledged",
                                       "writes repeated",
                                       "lost answers",
                                       "linearizable reads",
                                       "other reads",
                                       "partitions",
                                       "one-way cuts",
                                       "cut links",
                                       "random matrices of links",
                                       "messages of Raft repeated",
                                       "pauses",
                                       "failed syncs",
                                       "full disks",
                                       "disks short of room",
                                       "slow disks",
                                       "disks that stall for seconds",
                                       "wiped disks",
                                       "bit flips",
                                       "damaged disks refused at start",
                                       "swapped disks",
                                       "disks put back",
                                       "slow consumers",
                                       "jumps of the time of day",
                                       "messages through the codec",
                                       "disks looked at behind a promise",
                                       "disks looked at behind a commit",
                                       "sessions closed",
                                       "clients told of the end of their session",
                                       "library: connected",
                                       "library: suspended",
                                       "library: reconnected",
                                       "library: lost",
                                       "library: expired",
                                       "library: events",
                                       "library: resyncs",
                                       "library: watches",
                                       "library: writes answered",
                                       "library: writes of unknown outcome",
                                       "library: writes not done",
                                       "library: linearizable reads",
                                       "library: other reads",
                                       "sessions handed over",
                                       "processes that died",
                                       "processes that stood still",
                                       "slow callbacks",
                                       "clients cut off from a member",
                                       "connections of clients broken",
                                       "connections dropped for not reading",
                                       "locks granted",
                                       "locks claimed",
                                       "locks lost",
                                       "guarded writes",
                                       "starts from a snapshot",
                                       "snapshots installed",
                                       "installs interrupted at the first chunk",
                                       "installs interrupted at a middle chunk",
                                       "installs interrupted at the last chunk",
                                       "installs interrupted at the flip",
                                       "configuration changes",
                                       "leadership transfers",
                                       "members re-admitted"};

struct Flags {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 1;
  std::int64_t seconds = 20;
  bool trace = false;
  bool log = false;       // what members log, too
  bool stop = false;      // at the first failure
  std::string kept;       // a file of seeds that failed once
  std::string open;       // a file of seeds that fail, and it is known
  bool required = false;  // only say what a campaign must exercise
};

[[noreturn]] void Usage(const char* why) {
  fmt::print(stderr,
             "{}\nconclave-sim --seed N [--seeds COUNT] [--seconds S] [--trace] [--log] [--stop] "
             "[--kept FILE] [--open FILE]\nconclave-sim --required\n",
             why);
  std::exit(2);
}

Flags ParseFlags(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--trace") {
      flags.trace = true;
      continue;
    }
    if (name == "--log") {
      flags.log = true;
      continue;
    }
    if (name == "--stop") {
      flags.stop = true;
      continue;
    }
    if (name == "--required") {
      flags.required = true;
      continue;
    }
    if (i + 1 == argc) {
      Usage("a flag lacks its value, or is unknown");
    }
    const std::string value = argv[++i];
    if (name == "--seed") {
      flags.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--seeds") {
      flags.seeds = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--seconds") {
      flags.seconds = std::strtoll(value.c_str(), nullptr, 10);
    } else if (name == "--kept") {
      flags.kept = value;
    } else if (name == "--open") {
      flags.open = value;
    } else {
      Usage("unknown flag");
    }
  }
  return flags;
}

// Lines of "SEED SECONDS  why"; what begins with # is a comment.
std::vector<RunOptions> ReadSeeds(const std::string& file) {
  std::vector<RunOptions> kept;
  std::ifstream in(file);
  if (!in) {
    Usage("a file of seeds cannot be read");
  }
  for (std::string line; std::getline(in, line);) {
    RunOptions run;
    if (std::sscanf(line.c_str(), "%lu %ld", &run.seed, &run.seconds) == 2) {
      kept.push_back(run);
    }
  }
  return kept;
}

void DieWithTrace() {
  fmt::print(stderr, "{}the product ended the process; replay with --seed as above and --trace\n",
             DescribeRunUnderWay());
  std::abort();
}

class Campaign {
 public:
  // Runs whose failure is known and said so, but is not one of this campaign.
  explicit Campaign(const std::vector<RunOptions>& open) {
    for (const RunOptions& run : open) {
      open_.emplace(run.seed, run.seconds);
    }
  }

  void Run(const RunOptions& options) {
    const RunResult result = RunSeed(options);
    simulated_ += result.simulated_seconds;
    ++runs_;
    for (const auto& [what, count] : result.counts) {
      counts_[what] += count;
    }
    last_hash_ = result.hash;
    if (result.violation.empty()) {
      return;
    }
    if (open_.contains({options.seed, options.seconds})) {
      ++open_failures_;
      fmt::print("open: seed {}: {}\n", options.seed, result.violation);
    } else {
      ++failures_;
      fmt::print(
          "{}\nFAILED seed {}: {}\n  {}\n  replay: conclave-sim --seed {} --seconds {} "
          "--trace\n\n",
          options.print ? "" : result.tail, options.seed, result.violation, result.knobs,
          options.seed, options.seconds);
      std::fflush(stdout);
    }
  }

  [[nodiscard]] bool failed() const { return failures_ != 0; }

  int Finish(double real_seconds) {
    const double cpu_seconds = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    fmt::print(
        "{} runs, {} failed, {} open, {:.0f} simulated seconds in {:.1f} s: {:.0f} per second, "
        "{:.0f} per second of processor time\n",
        runs_, failures_, open_failures_, simulated_, real_seconds, simulated_ / real_seconds,
        simulated_ / cpu_seconds);
    if (runs_ == 1) {
      fmt::print("trace hash {:016x}\n", last_hash_);
    }
    for (const auto& [what, count] : counts_) {
      fmt::print("  {:>10} {}\n", count, what);
    }
    bool complete = true;
    if (runs_ >= kCampaign) {
      for (const char* what : kMustHappen) {
        if (counts_[what] == 0) {
          fmt::print("NOT EXERCISED: {}\n", what);
          complete = false;
        }
      }
    }
    return failures_ == 0 && complete ? 0 : 1;
  }

 private:
  std::uint64_t runs_ = 0;
  std::uint64_t failures_ = 0;
  std::uint64_t open_failures_ = 0;
  std::set<std::pair<std::uint64_t, std::int64_t>> open_;  // seed, seconds
  double simulated_ = 0;
  std::uint64_t last_hash_ = 0;
  std::map<std::string, std::uint64_t> counts_;
};

int Main(int argc, char** argv) {
  const Flags flags = ParseFlags(argc, argv);
  if (flags.required) {
    for (const char* what : kMustHappen) {
      fmt::print("{}\n", what);
    }
    return 0;
  }
  // glog asks for the local time of each line, also of those that are not wanted; without a zone it
  // looks for a file every time.
  setenv("TZ", "UTC0", 1);
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = flags.log ? google::GLOG_INFO : google::GLOG_FATAL;
  google::InitGoogleLogging(argv[0]);
  google::InstallFailureFunction(&DieWithTrace);
  // What operator new leaves to malloc (quick_new.cc) is kept as well.
  mallopt(M_MMAP_THRESHOLD, kKeptBytes);
  mallopt(M_TRIM_THRESHOLD, kKeptBytes);
  mallopt(M_TOP_PAD, kKeptBytes / 64);
  const auto begun = std::chrono::steady_clock::now();
  Campaign campaign(flags.open.empty() ? std::vector<RunOptions>() : ReadSeeds(flags.open));
  if (!flags.kept.empty()) {
    for (const RunOptions& run : ReadSeeds(flags.kept)) {
      campaign.Run(run);
    }
  }
  for (std::uint64_t i = 0; i < flags.seeds && !(flags.stop && campaign.failed()); ++i) {
    campaign.Run({.seed = flags.seed + i, .seconds = flags.seconds, .print = flags.trace});
  }
  const std::chrono::duration<double> real = std::chrono::steady_clock::now() - begun;
  return campaign.Finish(real.count());
}

}  // namespace
}  // namespace conclave::sim

int main(int argc, char** argv) { return conclave::sim::Main(argc, argv); }
