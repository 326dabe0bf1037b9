// raft-explore: every reachable state of three members within bounds. README.md says what they
// mean.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <glog/logging.h>

#include "tests/consensus/explore/histories.h"

namespace conclave::raft::explore {
namespace {

std::function<std::vector<std::string>()> g_path;  ///< To where the search is.

constexpr std::string_view kUsage =
    R"(Usage: raft-explore [OPTION]...

Bounds of every path:
  --campaigns=N      election timeouts (2)
  --proposals=N      commands (2)
  --crashes=N        crashes, each followed by a start (1)
  --duplicates=N     messages that arrive twice; or "any", the default: each as often as it likes
  --losses=N         removals of messages (0: every message may stay undelivered anyway)
  --heartbeats=N     heartbeat timeouts of leaders (0)
  --step_downs=N     leaders that hear of no quorum (0)
  --pipeline=N       appends under way to one follower (64)
How:
  --pre_vote         the messages of pre-vote too; else its outcome is free
  --synchronous_disk writes are durable at once
  --no_symmetry      members are told apart
  --keep_ignored     messages that will always be ignored stay on the network
  --doubt=N          compares every Nth member state that is met again with the one known
  --check_ignored=N  at the end, every Nth (member state, message) of those taken off the network
  --plant=NAME       a fault: acknowledge_early, forget_vote, forget_tail, any_log_wins, count_refusal
Limits:
  --memory_mib=N     for the set of states (1024)
  --seconds=S, --states=N

Exit status: 0 complete and nothing found, 1 an invariant is broken, 2 usage, 3 a limit was reached.
)";

std::uint64_t ResidentMib() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096 >> 20;
}

void Print(const Report& report, const char* what) {
  fmt::print(
      "{}: {} states ({} with renamed ones), {} transitions, {:.1f} % to known states, depth {}, "
      "{} open, {} member states, {} messages, {} steps of the core, {:.1f} s, {} MiB\n",
      what, report.states, report.orbit_states, report.transitions,
      100.0 * static_cast<double>(report.duplicates) /
          static_cast<double>(std::max<std::uint64_t>(report.transitions, 1)),
      report.depth, report.unfinished, report.member_states, report.messages,
      report.member_transitions, report.seconds, ResidentMib());
  std::fflush(stdout);
}

/// A CHECK of the core has failed: the path is worth more than the stack.
[[noreturn]] void DieWithPath() {
  if (g_path) {
    fmt::print("a check in the core failed after:\n");
    for (const std::string& line : g_path()) {
      fmt::print("  {}\n", line);
    }
    std::fflush(stdout);
  }
  std::_Exit(1);
}

bool ParsePlant(std::string_view value, Plant& plant) {
  constexpr std::string_view kNames[] = {"none",        "acknowledge_early", "forget_vote",
                                         "forget_tail", "any_log_wins",      "count_refusal"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == value) {
      plant = static_cast<Plant>(i);
      return true;
    }
  }
  return false;
}

bool Parse(std::string_view argument, Bounds& bounds, std::uint64_t& check_ignored) {
  const std::size_t equals = argument.find('=');
  const std::string_view name = argument.substr(0, equals);
  const std::string value(equals == std::string_view::npos ? "" : argument.substr(equals + 1));
  const std::uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
  const auto small = [&](std::uint8_t& to) {
    to = static_cast<std::uint8_t>(number);
    return !value.empty() && number < 256;
  };
  Budget& budget = bounds.budget;
  if (name == "--duplicates") {
    bounds.any_duplicates = value == "any";
    return bounds.any_duplicates || small(budget.duplicates);
  }
  return name == "--campaigns"          ? small(budget.campaigns)
         : name == "--proposals"        ? small(budget.proposals)
         : name == "--crashes"          ? small(budget.crashes)
         : name == "--losses"           ? small(budget.losses)
         : name == "--heartbeats"       ? small(budget.heartbeats)
         : name == "--step_downs"       ? small(budget.step_downs)
         : name == "--pipeline"         ? (bounds.rules.pipeline = number) > 0
         : name == "--pre_vote"         ? (bounds.pre_vote = true)
         : name == "--exact"            ? (bounds.exact = true)
         : name == "--no_symmetry"      ? !(bounds.symmetry = false)
         : name == "--synchronous_disk" ? (bounds.rules.synchronous_disk = true)
         : name == "--keep_ignored"     ? !(bounds.drop_ignored = false)
         : name == "--doubt"            ? (bounds.doubt_every = number) > 0
         : name == "--check_ignored"    ? (check_ignored = number) > 0
         : name == "--memory_mib"       ? (bounds.visited_bytes = number << 20) > 0
         : name == "--seconds"          ? (bounds.seconds_max = static_cast<double>(number)) > 0
         : name == "--states"           ? (bounds.states_max = number) > 0
         : name == "--plant"            ? ParsePlant(value, bounds.rules.plant)
                                        : false;
}

/// A violation that the histories allow is a violation if an exact search reaches one.
void Confirm(Bounds bounds, Catalogue& catalogue, const std::vector<Event>& events,
             Report& report) {
  bounds.any_duplicates = true;
  Search exact(bounds, catalogue);
  if (exact.Explain(events, report)) {
    return;
  }
  fmt::print("the histories allow: {}; looking for a way without them\n", *report.violation);
  Search again(bounds, catalogue);
  const Report found = again.Run();
  if (found.violation) {
    report.violation = found.violation;
    report.scenario = found.scenario;
  } else {
    report.scenario = {found.complete ? "the histories are too coarse: nothing can come of it"
                                      : "no way was found within the limits"};
  }
}

int Main(int argc, char** argv) {
  Bounds bounds;
  bounds.visited_bytes = std::size_t{1} << 30;
  std::uint64_t check_ignored = 0;
  for (int i = 1; i < argc; ++i) {
    if (!Parse(argv[i], bounds, check_ignored)) {
      fmt::print(stderr, "raft-explore: cannot use {}\n{}", argv[i], kUsage);
      return 2;
    }
  }
  bounds.rules.send_once = !bounds.exact || bounds.any_duplicates;
  bounds.rules.keep_past = !bounds.exact;
  Catalogue catalogue(bounds.rules);
  catalogue.DoubtEvery(bounds.doubt_every);
  const auto progress = [](const Report& so_far) { Print(so_far, "so far"); };
  Report report;
  Search search(bounds, catalogue);
  if (bounds.exact) {
    search.on_progress = progress;
    g_path = [&] { return search.Words(search.path()); };
    report = search.Run();
  } else {
    HistorySearch histories(bounds, catalogue);
    histories.on_progress = progress;
    g_path = [&] { return search.Words(histories.events()); };
    report = histories.Run();
    if (report.violation) {
      Confirm(bounds, catalogue, histories.events(), report);
    }
  }
  if (report.violation) {
    fmt::print("violated: {}\n", *report.violation);
    for (const std::string& line : report.scenario) {
      fmt::print("  {}\n", line);
    }
  }
  Print(report, report.violation  ? "violated"
                : report.complete ? "complete"
                                  : "a limit was reached");
  if (check_ignored > 0 && !report.violation) {
    std::uint64_t checked = 0;
    const auto wrong = search.CheckIgnored(check_ignored, checked);
    fmt::print("{} ignored messages looked at{}{}\n", checked, wrong ? ": " : "",
               wrong.value_or(""));
    if (wrong) {
      return 1;
    }
  }
  return report.violation ? 1 : report.complete ? 0 : 3;
}

}  // namespace
}  // namespace conclave::raft::explore

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  google::InstallFailureFunction(&conclave::raft::explore::DieWithPath);
  return conclave::raft::explore::Main(argc, argv);
}
