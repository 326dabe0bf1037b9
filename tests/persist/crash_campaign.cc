// conclave-crash-states: judges a range of crash states, for CI and for the campaign.
#include <cstdint>
#include <cstdio>
#include <string>

#include <gflags/gflags.h>
#include <glog/logging.h>
#include <malloc.h>

#include "tests/persist/crash_world.h"

DEFINE_uint64(first, 0, "Number of the first state");
DEFINE_uint64(count, 100000, "How many states");
DEFINE_bool(require_reach, true, "Fail if something that should come up did not");

namespace conclave::persist::testing {
namespace {

// Each of these comes up in any ten thousand states, or the workload has lost its reach.
constexpr const char* kReach[] = {"open",
                                  "log write",
                                  "checkpoint",
                                  "flip",
                                  "compact",
                                  "switch",
                                  "begin transfer",
                                  "receive",
                                  "finish transfer",
                                  "install",
                                  "install over another log",
                                  "torn tails",
                                  "torn snapshots",
                                  "with what was on its way",
                                  "compacted",
                                  "begins after an install",
                                  "transfers gone on with",
                                  "transfers finished"};

int Main() {
  CrashTally tally;
  const std::string wrong =
      EnumerateCrashStates(FLAGS_first, FLAGS_count, &tally, [](std::uint64_t next) {
        std::printf("next state %llu\n", static_cast<unsigned long long>(next));
        std::fflush(stdout);
      });
  for (const auto& [what, count] : tally.seen) {
    std::printf("%-28s %llu\n", what.c_str(), static_cast<unsigned long long>(count));
  }
  std::printf("%llu states judged\n", static_cast<unsigned long long>(tally.states));
  if (!wrong.empty()) {
    std::printf("WRONG: %s\n", wrong.c_str());
    return 1;
  }
  bool reached = tally.states == FLAGS_count;
  for (const char* what : kReach) {
    if (FLAGS_require_reach && FLAGS_count >= 10000 && tally.seen[what] == 0) {
      std::printf("never came up: %s\n", what);
      reached = false;
    }
  }
  return reached ? 0 : 1;
}

}  // namespace
}  // namespace conclave::persist::testing

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_minloglevel = google::GLOG_FATAL;  // A line for each torn tail otherwise.
  FLAGS_logtostderr = true;
  // Every state takes and gives back the same memory; the kernel need not hear of it.
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return conclave::persist::testing::Main();
}
