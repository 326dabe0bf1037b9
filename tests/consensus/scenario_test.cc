// Golden scenarios: tests/data/raft/*.txt. A line starting with '>' is a command, the indented
// lines below it are what happened; '#' starts a comment. After every command all invariants are
// checked, and at the end everything is healed and agreement demanded.
//
//   raft_scenario_test --rewrite    records what happens now; review the difference.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {
namespace {

bool g_rewrite = false;

class Scenario {
 public:
  Scenario() {
    cluster_.on_event = [this](const std::string& what) { output_.push_back(what); };
  }

  /// What the command did, a line each.
  std::vector<std::string> Execute(const std::string& line) {
    output_.clear();
    words_ = std::istringstream(line);
    std::string verb;
    words_ >> verb;
    if (!ClusterVerb(verb) && !MemberVerb(verb) && !ChangeVerb(verb) && !NetworkVerb(verb) &&
        !SnapshotVerb(verb)) {
      output_.push_back("unknown command");
    }
    if (cluster_.violation()) {
      output_.push_back("VIOLATION " + *cluster_.violation());
    }
    return output_;
  }

  std::optional<std::string> Finish() {
    cluster_.on_event = nullptr;
    return cluster_.violation() ? cluster_.violation() : cluster_.Converge();
  }

 private:
  MemberId Id() {
    MemberId id = 0;
    words_ >> id;
    return id;
  }

  std::string Word() {
    std::string word;
    words_ >> word;
    return word;
  }

  std::set<MemberId> Ids() {
    std::set<MemberId> ids;
    for (MemberId id = 0; words_ >> id;) {
      ids.insert(id);
    }
    return ids;
  }

  bool ClusterVerb(const std::string& verb) {
    if (verb == "members") {
      const MemberId count = Id();
      const bool one_by_one = Word() == "one-entry-a-message";
      cluster_.AddMany(count, [&](Options& options) {
        options.append_entries_max = one_by_one ? 1 : options.append_entries_max;
      });
    } else if (verb == "start-leader") {
      StartLeader(Id());
    } else if (verb == "settle") {
      cluster_.Settle();
    } else if (verb == "run") {
      cluster_.Run(static_cast<int>(Id()));
    } else if (verb == "status") {
      for (auto& [id, node] : cluster_.nodes()) {
        output_.push_back(StatusOf(id));
      }
    } else {
      return false;
    }
    return true;
  }

  /// Everyone has met everyone, the member leads, and all have its first entry; nothing is printed.
  void StartLeader(MemberId id) {
    for (auto& [peer, node] : cluster_.nodes()) {
      if (peer != id) {
        cluster_.PeerUp(id, peer);
      }
    }
    cluster_.Campaign(id);
    cluster_.Settle();
    cluster_.Run(5);
    output_.clear();
  }

  std::string StatusOf(MemberId id) {
    if (!cluster_.up(id)) {
      return fmt::format("{}: down", id);
    }
    const Status status = cluster_.raft(id).status();
    std::string log;
    const Disk& disk = cluster_.node(id).disk;
    const std::string snapshot =
        disk.snapshot ? fmt::format(" snapshot={}@{}", disk.snapshot->meta.last.index,
                                    disk.snapshot->meta.last.term)
                      : "";
    for (const Entry& entry : disk.entries) {
      log += fmt::format(" {}@{}", entry.index, entry.term);
    }
    return fmt::format(
        "{}: {} term={} vote={} leader={} commit={}{} disk=[{}]{}", id, ToString(status.role),
        status.hardState.currentTerm, status.hardState.votedFor, status.leader, status.commitIndex,
        snapshot, log.empty() ? "" : log.substr(1), status.incarnation_refused ? " refused" : "");
  }

  bool MemberVerb(const std::string& verb) {
    if (verb == "campaign") {
      cluster_.Campaign(Id());
    } else if (verb == "tick") {
      const MemberId id = Id();
      for (MemberId count = std::max<MemberId>(Id(), 1); count > 0; --count) {
        cluster_.Tick(id);
      }
    } else if (verb == "propose") {
      const MemberId id = Id();
      const auto result = cluster_.Propose(id, Word());
      output_.push_back(result ? fmt::format("proposed {}@{}", result->index, result->term)
                        : result.error() == ProposeError::kNotLeader ? "refused: not the leader"
                        : result.error() == ProposeError::kTransferring
                            ? "refused: handing over"
                            : "refused: too much pending");
    } else if (verb == "read") {
      if (!cluster_.Read(Id())) {
        output_.push_back("refused: no leader");
      }
    } else if (verb == "crash") {
      cluster_.Crash(Id());
    } else if (verb == "restart") {
      cluster_.Restart(Id());
    } else if (verb == "wipe") {
      cluster_.Wipe(Id());
    } else if (verb == "peer-up") {
      const MemberId at = Id();
      cluster_.PeerUp(at, Id());
    } else if (verb == "peer-down") {
      const MemberId at = Id();
      cluster_.PeerDown(at, Id());
    } else if (verb == "disk") {  // disk ID slow|fast
      const MemberId id = Id();
      cluster_.node(id).manual_disk = Word() == "slow";
      if (!cluster_.node(id).manual_disk) {
        cluster_.Flush(id);
      }
    } else if (verb == "flush") {
      cluster_.Flush(Id());
    } else {
      return false;
    }
    return true;
  }

  bool ChangeVerb(const std::string& verb) {
    static const std::map<std::string, ConfigChange::Kind> kChanges = {
        {"add-learner", ConfigChange::Kind::kAddLearner},
        {"add-observer", ConfigChange::Kind::kAddObserver},
        {"promote", ConfigChange::Kind::kPromote},
        {"remove", ConfigChange::Kind::kRemove},
        {"readmit", ConfigChange::Kind::kReadmit}};
    if (verb == "join") {  // join ID: starts one that is in no configuration
      cluster_.Add(Id(), {});
    } else if (const auto change = kChanges.find(verb); change != kChanges.end()) {
      const MemberId at = Id();  // remove AT ID, ...
      const auto result = cluster_.Change(at, change->second, Id());
      output_.push_back(result ? fmt::format("proposed {}@{}", result->index, result->term)
                               : fmt::format("refused: {}", ToString(result.error())));
    } else if (verb == "transfer") {  // transfer AT TO
      const MemberId at = Id();
      const auto result = cluster_.HandOver(at, Id());
      if (!result) {
        output_.push_back(fmt::format("refused: {}", ToString(result.error())));
      }
    } else if (verb == "members-of") {
      const Status status = cluster_.raft(Id()).status();
      output_.push_back(Words(status.configuration) + (status.removed ? ", removed" : ""));
    } else {
      return false;
    }
    return true;
  }

  bool NetworkVerb(const std::string& verb) {
    if (verb == "partition") {
      cluster_.Partition(Ids());
    } else if (verb == "cut") {
      const MemberId from = Id();
      cluster_.Cut(from, Id());
    } else if (verb == "heal") {
      cluster_.Heal();
    } else if (verb == "deliver") {  // deliver FROM TO: one message, the oldest
      const MemberId from = Id();
      const MemberId to = Id();
      if (!cluster_.DeliverOne(
              [&](const Packet& packet) { return packet.from == from && packet.to == to; })) {
        output_.push_back("nothing under way");
      }
    } else if (verb == "drop") {  // drop FROM TO: everything under way
      const MemberId from = Id();
      const MemberId to = Id();
      cluster_.Drop([&](const Packet& packet) { return packet.from == from && packet.to == to; });
    } else if (verb == "drop-all") {
      cluster_.Drop([](const Packet&) { return true; });
    } else if (verb == "in-flight") {
      for (const Packet& packet : cluster_.packets()) {
        output_.push_back(
            fmt::format("{} -> {}: {}", packet.from, packet.to, Describe(packet.message)));
      }
    } else {
      return false;
    }
    return true;
  }

  /// checkpoint ID TAIL; snapshot FROM TO and lose-snapshot FROM TO: the oldest one, or the answer.
  bool SnapshotVerb(const std::string& verb) {
    const MemberId id = Id();
    if (verb == "checkpoint") {
      if (!cluster_.Checkpoint(id, Id())) {
        output_.push_back("no checkpoint");
      }
      return true;
    }
    if (verb != "snapshot" && verb != "lose-snapshot") {
      return false;
    }
    const MemberId to = Id();
    const auto& transfers = cluster_.transfers();
    const auto at = std::find_if(transfers.begin(), transfers.end(), [&](const Transfer& transfer) {
      return transfer.from == id && transfer.to == to;
    });
    if (at == transfers.end()) {
      output_.push_back("nothing under way");
    } else if (verb == "snapshot") {
      cluster_.DeliverTransferAt(static_cast<std::size_t>(at - transfers.begin()), false);
    } else {
      cluster_.LoseTransferAt(static_cast<std::size_t>(at - transfers.begin()));
    }
    return true;
  }

  Cluster cluster_{1};
  std::istringstream words_;
  std::vector<std::string> output_;
};

class Golden : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(Golden, Scenario) {
  std::ifstream in(GetParam());
  std::stringstream recorded;
  recorded << in.rdbuf();
  Scenario scenario;
  std::string now;
  std::istringstream lines(recorded.str());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  ")) {
      continue;
    }
    now += line + "\n";
    if (line.starts_with("> ")) {
      for (const std::string& what : scenario.Execute(line.substr(2))) {
        now += "  " + what + "\n";
        ASSERT_FALSE(what.starts_with("VIOLATION") || what == "unknown command") << line << "\n"
                                                                                 << what;
      }
    }
  }
  if (g_rewrite) {
    std::ofstream(GetParam()) << now;
  } else {
    EXPECT_EQ(now, recorded.str()) << "run with --rewrite and review the difference";
  }
  const auto wrong = scenario.Finish();
  EXPECT_FALSE(wrong) << *wrong;
}

std::vector<std::filesystem::path> Files() {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(RAFT_SCENARIOS)) {
    if (file.path().extension() == ".txt") {
      files.push_back(file.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

INSTANTIATE_TEST_SUITE_P(Raft, Golden, ::testing::ValuesIn(Files()),
                         [](const auto& file) { return file.param.stem().string(); });

TEST(GoldenFiles, AllScenariosAreThere) { EXPECT_GE(Files().size(), 14U); }

}  // namespace

void SetRewrite() { g_rewrite = true; }

}  // namespace conclave::raft::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--rewrite") {
      conclave::raft::testing::SetRewrite();
    }
  }
  return RUN_ALL_TESTS();
}
