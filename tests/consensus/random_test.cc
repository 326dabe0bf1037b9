// The core under a seeded storm: loss, repetition, reordering, crashes that lose what is not on the
// disk, slow disks, partitions, wiped members, limits down to 1; all invariants after every step,
// and in the end everything is healed and agreement demanded.
//
//   raft_random_test --seeds=5000 --first_seed=1 --steps=2000
//   raft_random_test --seeds=1 --first_seed=SEED --trace=1     prints all that happens

#include <algorithm>
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"
#include "tests/consensus/random_flags.h"

namespace conclave::raft::testing {

RandomFlags& Flags() {
  static RandomFlags flags;
  return flags;
}

namespace {

/// What happened over all seeds: a storm in which nothing happened proves nothing.
struct Exercised {
  std::uint64_t elections = 0;
  std::uint64_t committed = 0;
  std::uint64_t truncations = 0;
  std::uint64_t crashes = 0;
  std::uint64_t reads = 0;
  std::uint64_t reads_failed = 0;
  std::uint64_t refused_incarnations = 0;
  std::uint64_t quorum_lost = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t transfers_lost = 0;
  std::uint64_t snapshots_asked = 0;
  std::uint64_t snapshots_refused = 0;
  std::uint64_t installs = 0;
  std::uint64_t installs_log_kept = 0;
  std::uint64_t installs_interrupted = 0;

  void Add(const Exercised& other) {
    elections += other.elections;
    committed += other.committed;
    truncations += other.truncations;
    crashes += other.crashes;
    reads += other.reads;
    reads_failed += other.reads_failed;
    refused_incarnations += other.refused_incarnations;
    quorum_lost += other.quorum_lost;
    checkpoints += other.checkpoints;
    transfers_lost += other.transfers_lost;
    snapshots_asked += other.snapshots_asked;
    snapshots_refused += other.snapshots_refused;
    installs += other.installs;
    installs_log_kept += other.installs_log_kept;
    installs_interrupted += other.installs_interrupted;
  }
};

class Storm {
 public:
  explicit Storm(std::uint64_t seed) : random_(seed), cluster_(seed) {
    if (Flags().trace != 0) {
      cluster_.on_event = [](const std::string& what) { fmt::print("{}\n", what); };
    }
    const MemberId sizes[] = {1, 2, 3, 3, 3, 5, 5};
    count_ = sizes[random_.Uniform(0, 6)];
    const auto pick = [&](std::initializer_list<std::size_t> values) {
      return values.begin()[random_.Uniform(0, values.size() - 1)];
    };
    cluster_.AddMany(count_, [&](Options& options) {
      options.heartbeat_ticks = 2;
      options.election_ticks_min = 10;
      options.election_ticks_max = 20;
      options.append_bytes_max = pick({1, 100, 1000, 100000});
      options.append_entries_max = pick({1, 2, 16, 1024});
      options.inflight_messages_max = pick({1, 4, 64});
      options.inflight_bytes_max = pick({1, 500, 100000});
      options.uncommitted_bytes_max = pick({1, 1000, 100000});
      options.committed_bytes_max = pick({1, 200, 100000});
      options.window_bytes_max = pick({0, 200, 100000});
    });
    drop_percent_ = pick({0, 0, 2, 20});
    repeat_percent_ = pick({0, 5, 30});
    reorder_ = random_.Uniform(0, 1) == 1;
    crash_per_mille_ = pick({0, 2, 10, 30});
    cut_per_mille_ = pick({0, 5, 20});
    lag_per_mille_ = pick({0, 5, 20});
    slow_disk_ = random_.Uniform(0, 1) == 1;
    unasked_ = random_.Uniform(0, 1) == 1;
    wipe_ = random_.Uniform(0, 3) == 0 && count_ >= 3;
    for (auto& [id, node] : cluster_.nodes()) {
      node.manual_disk = slow_disk_ && random_.Uniform(0, 1) == 1;
      node.manual_apply = random_.Uniform(0, 3) == 0;
      node.restored_tail_max = pick({1, 3, SIZE_MAX});
      node.checkpoint_every = pick({0, 5, 5, 50});
      node.compact_tail = pick({0, 0, 1, 5, 50});
    }
  }

  std::optional<std::string> Run(std::uint64_t steps) {
    for (std::uint64_t step = 0; step < steps && !cluster_.violation(); ++step) {
      Step();
    }
    if (cluster_.violation()) {
      return cluster_.violation();
    }
    Count();
    return cluster_.Converge();
  }

  std::uint64_t hash() const { return cluster_.trace_hash(); }

  Exercised exercised;

 private:
  MemberId Any() { return random_.Uniform(1, count_); }

  /// Whoever leads, or thinks so, gets more than its share of proposals, ticks and crashes.
  MemberId Target() {
    const MemberId id = Any();
    const MemberId other = Any();
    return cluster_.up(other) && cluster_.raft(other).is_leader() ? other : id;
  }

  bool Chance(std::uint64_t of, std::uint64_t in) { return random_.Uniform(1, in) <= of; }

  void Step() {
    if (Chance(crash_per_mille_, 1000)) {
      CrashOrRestart(Target());
    }
    if (Chance(cut_per_mille_, 1000)) {
      ChangeLinks();
    }
    if (Chance(lag_per_mille_, 1000)) {
      FallBehind();
    }
    const MemberId id = Target();
    if (!cluster_.up(id)) {
      if (Chance(1, 20)) {
        cluster_.Restart(id);
      }
      return;
    }
    switch (random_.Uniform(0, 9)) {
      case 0:
      case 1:
        for (std::uint64_t i = random_.Uniform(1, 6); i > 0; --i) {
          cluster_.Tick(id);
        }
        break;
      case 2:
        for (std::uint64_t i = random_.Uniform(1, 4); i > 0; --i) {
          (void)cluster_.Propose(
              id, std::string(random_.Uniform(0, 200), 'x') + std::to_string(++proposals_));
        }
        break;
      case 3:
        (void)cluster_.Read(id);
        break;
      case 4:
        if (unasked_ && Chance(1, 4)) {
          InstallUnasked(id);
        } else {
          Hint(id);
        }
        break;
      case 5:
        cluster_.Flush(id, random_.Uniform(1, 3));
        cluster_.ApplyAll(id);
        break;
      default:
        Deliver();
    }
  }

  void Deliver() {
    for (std::uint64_t i = random_.Uniform(1, 12); i > 0 && !cluster_.packets().empty(); --i) {
      const std::size_t last = cluster_.packets().size() - 1;
      const std::size_t position =
          reorder_ && Chance(1, 4) ? random_.Uniform(0, last) : std::size_t{0};
      if (Chance(drop_percent_, 100)) {
        cluster_.DropAt(position);
      } else {
        cluster_.DeliverAt(position, Chance(repeat_percent_, 100));
      }
    }
    // A snapshot takes its time: the cluster goes on meanwhile.
    if (!cluster_.transfers().empty() && Chance(1, 3)) {
      DeliverTransfer();
    }
    while (cluster_.packets().size() > 400) {
      cluster_.DropAt(random_.Uniform(0, cluster_.packets().size() - 1));
    }
  }

  void DeliverTransfer() {
    const std::size_t position =
        reorder_ ? random_.Uniform(0, cluster_.transfers().size() - 1) : std::size_t{0};
    const Transfer transfer = cluster_.transfers()[position];
    if (Chance(drop_percent_, 100)) {
      ++exercised.transfers_lost;
      cluster_.LoseTransferAt(position);
      return;
    }
    if (!transfer.answer && slow_disk_ && Chance(1, 2)) {
      cluster_.node(transfer.to).manual_disk = true;
    }
    cluster_.DeliverTransferAt(position, Chance(repeat_percent_, 100));
    if (!transfer.answer && crash_per_mille_ > 0 && Chance(1, 4) && cluster_.up(transfer.to)) {
      CrashOrRestart(transfer.to);
    }
  }

  void Hint(MemberId id) {
    const MemberId peer = Any();
    if (peer == id) {
      return;
    }
    if (cluster_.up(peer) && Chance(3, 4)) {
      cluster_.PeerUp(id, peer);
    } else if (!cluster_.up(peer) || Chance(1, 10)) {
      cluster_.PeerDown(id, peer);
    }
  }

  void CrashOrRestart(MemberId id) {
    if (!cluster_.up(id)) {
      cluster_.Restart(id);
      return;
    }
    ++exercised.crashes;
    CountReads(id);
    // One disk is lost at most, and only when every member knows the cluster: before, a wiped
    // member cannot be told from a new one (consensus/README.md).
    const bool all_know =
        std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [](const auto& entry) {
          const Disk& disk = entry.second.disk;
          return disk.hardState.clusterStarted && disk.last_index() > 0;
        });
    if (wipe_ && !wiped_ && all_know && Registered()) {
      wiped_ = true;
      cluster_.Wipe(id);
    } else {
      cluster_.Crash(id);
    }
  }

  /// Every member's incarnation is in every log: whoever is wiped now is known to be another.
  bool Registered() {
    return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [&](const auto& entry) {
      const auto configurations = entry.second.disk.Configurations();
      const auto& members = configurations.back().configuration.members;
      return std::all_of(members.begin(), members.end(),
                         [](const Member& member) { return member.incarnation != 0; });
    });
  }

  void ChangeLinks() {
    cluster_.Heal();
    switch (random_.Uniform(0, 3)) {
      case 0:
        break;
      case 1:
        cluster_.Partition({cluster_.Leader() != 0 ? cluster_.Leader() : Any()});
        break;
      case 2:
        cluster_.Partition({Any(), Any()});
        break;
      default:
        for (int i = 0; i < 3; ++i) {
          cluster_.Cut(Any(), Any());
        }
    }
  }

  /// A snapshot that nobody asked for, or that comes late: at any moment it is either refused or
  /// installed, whatever the log holds and whatever is on its way to the disk.
  void InstallUnasked(MemberId id) {
    const MemberId from = Any();
    const auto& snapshot = cluster_.node(from).disk.snapshot;
    if (from != id && snapshot) {
      (void)cluster_.Install(id, *snapshot);
      cluster_.Flush(id, 0);
    }
  }

  /// One member hears nothing while the others go on, so that it may need a snapshot afterwards.
  void FallBehind() {
    const MemberId leader = cluster_.Leader();
    const MemberId cut = Any();
    if (leader == 0 || cut == leader) {
      return;
    }
    cluster_.Heal();
    cluster_.Partition({cut});
    for (std::uint64_t i = random_.Uniform(1, 15); i > 0 && cluster_.up(leader); --i) {
      (void)cluster_.Propose(leader, std::to_string(++proposals_));
      for (auto& [id, node] : cluster_.nodes()) {
        if (node.raft && id != cut) {
          cluster_.Flush(id);
          cluster_.ApplyAll(id);
        }
      }
      if (Chance(1, 2)) {
        cluster_.Settle();
      }
    }
    cluster_.Heal();
  }

  void CountReads(MemberId id) {
    if (!cluster_.up(id)) {
      return;
    }
    const Counters counters = cluster_.raft(id).status().counters;
    exercised.elections += counters.elections_won;
    exercised.truncations += counters.conflicts_truncated;
    exercised.reads_failed += counters.reads_failed;
    exercised.refused_incarnations +=
        counters.from_wrong_incarnation + counters.votes_refused_incarnation;
    exercised.quorum_lost += counters.steps_down_for_quorum;
    exercised.snapshots_asked += counters.snapshots_asked;
    exercised.snapshots_refused += counters.snapshots_refused;
  }

  void Count() {
    for (auto& [id, node] : cluster_.nodes()) {
      CountReads(id);
      exercised.reads += node.reads.size();
      exercised.checkpoints += node.checkpoints;
      exercised.installs += node.installs;
      exercised.installs_log_kept += node.installs_log_kept;
      exercised.installs_interrupted += node.installs_interrupted;
    }
    exercised.committed += cluster_.invariants().committed();
  }

  SeededRandom random_;
  Cluster cluster_;
  MemberId count_ = 0;
  std::uint64_t drop_percent_ = 0;
  std::uint64_t repeat_percent_ = 0;
  bool reorder_ = false;
  std::uint64_t crash_per_mille_ = 0;
  std::uint64_t cut_per_mille_ = 0;
  std::uint64_t lag_per_mille_ = 0;
  bool slow_disk_ = false;
  bool unasked_ = false;
  bool wipe_ = false;
  bool wiped_ = false;
  std::uint64_t proposals_ = 0;
};

TEST(RaftRandom, HoldsTheInvariantsAndConverges) {
  Exercised all;
  for (std::uint64_t seed = Flags().first_seed; seed < Flags().first_seed + Flags().seeds; ++seed) {
    Storm storm(seed);
    const auto wrong = storm.Run(Flags().steps);
    ASSERT_FALSE(wrong) << *wrong << "\nreproduce: raft_random_test --first_seed=" << seed
                        << " --seeds=1 --steps=" << Flags().steps;
    all.Add(storm.exercised);
  }
  fmt::print(
      "{} seeds: {} elections won, {} entries committed, {} truncations, {} crashes, "
      "{} reads, {} failed reads, {} wrong incarnations, {} quorums lost\n",
      Flags().seeds, all.elections, all.committed, all.truncations, all.crashes, all.reads,
      all.reads_failed, all.refused_incarnations, all.quorum_lost);
  fmt::print(
      "{} checkpoints, {} snapshots asked for, {} installed, {} of them with the log kept, "
      "{} interrupted, {} refused, {} transfers lost\n",
      all.checkpoints, all.snapshots_asked, all.installs, all.installs_log_kept,
      all.installs_interrupted, all.snapshots_refused, all.transfers_lost);
  if (Flags().seeds >= 100) {
    EXPECT_GT(all.elections, 100U);
    EXPECT_GT(all.committed, 1000U);
    EXPECT_GT(all.truncations, 10U);
    EXPECT_GT(all.crashes, 100U);
    EXPECT_GT(all.reads, 100U);
    EXPECT_GT(all.reads_failed, 10U);
    EXPECT_GT(all.refused_incarnations, 10U);
    EXPECT_GT(all.quorum_lost, 1U);
    EXPECT_GT(all.checkpoints, 1000U);
    EXPECT_GT(all.installs, 100U);
    EXPECT_GT(all.installs_log_kept, 10U);
    EXPECT_GT(all.installs_interrupted, 5U);
    EXPECT_GT(all.snapshots_refused, 10U);
    EXPECT_GT(all.transfers_lost, 10U);
  }
}

TEST(RaftRandom, ASeedDeterminesTheRun) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Storm one(seed);
    Storm two(seed);
    EXPECT_EQ(one.Run(Flags().steps), std::nullopt);
    EXPECT_EQ(two.Run(Flags().steps), std::nullopt);
    EXPECT_EQ(one.hash(), two.hash()) << "seed " << seed;
    EXPECT_NE(one.hash(), 0U);
  }
}

/// Well-typed nonsense: no message whatever stops a member or breaks an invariant.
TEST(RaftRandom, NonsenseIsRefused) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRandom random(seed);
    Cluster cluster(seed);
    cluster.AddMany(3);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != 0; }));
    const auto number = [&]() -> std::uint64_t {
      // Terms near the present one would be a correct member's, which may do harm (a vote is a
      // vote): this is about what no member sends.
      const std::uint64_t values[] = {0, std::uint64_t{1} << 62, ~std::uint64_t{0},
                                      (std::uint64_t{1} << 63) + 1};
      return values[random.Uniform(0, 3)];
    };
    for (int i = 0; i < 2000; ++i) {
      const MemberId to = random.Uniform(1, 3);
      const MemberId from = random.Uniform(0, 5);
      const Term term = random.Uniform(0, 1) == 0 ? number() : cluster.raft(to).currentTerm();
      Message message;
      switch (random.Uniform(0, 6)) {
        case 0:
          message = RequestVote{term,
                                number(),
                                number(),
                                random.Uniform(0, 1) == 1,
                                random.Uniform(0, 1) == 1,
                                number(),
                                number(),
                                random.Uniform(0, 1) == 1};
          break;
        case 1:
          message = RequestVoteReply{term, random.Uniform(0, 1) == 1, random.Uniform(0, 1) == 1,
                                     number(), false};
          break;
        case 2: {
          AppendEntries append{term, number(), number(), {}, 0, number()};
          append.entries.push_back({number(), number(),
                                    static_cast<EntryKind>(random.Uniform(0, 9)), number(),
                                    nullptr});
          message = append;
          break;
        }
        case 3:
          message = AppendEntriesReply{term,     random.Uniform(0, 1) == 1, {number(), number()},
                                       number(), {number(), number()},      number(),
                                       number()};
          break;
        case 4:
          message = ReadIndexRequest{term, number()};
          break;
        case 5:
          message = TimeoutNow{number()};
          break;
        default:
          message = ReadIndexReply{term, number(), random.Uniform(0, 1) == 1, number()};
      }
      cluster.Inject(from, to, message);
      ASSERT_FALSE(cluster.violation()) << *cluster.violation();
    }
    cluster.Drop([](const Packet& packet) { return packet.to > 3 || packet.to == 0; });
    const auto wrong = cluster.Converge();
    ASSERT_FALSE(wrong) << *wrong << ", seed " << seed;
    std::uint64_t refused = 0;
    for (auto& [id, node] : cluster.nodes()) {
      const Counters counters = node.raft->status().counters;
      refused += counters.malformed + counters.from_unknown_member + counters.stale_term;
    }
    EXPECT_GT(refused, 1000U);
  }
}

}  // namespace

void ParseRandomFlags(int argc, char** argv) {
  const auto take = [&](const std::string& flag, std::uint64_t& value) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument.starts_with("--" + flag + "=")) {
        value = std::strtoull(argument.c_str() + flag.size() + 3, nullptr, 10);
      }
    }
  };
  take("seeds", Flags().seeds);
  take("first_seed", Flags().first_seed);
  take("steps", Flags().steps);
  take("trace", Flags().trace);
}

}  // namespace conclave::raft::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  conclave::raft::testing::ParseRandomFlags(argc, argv);
  return RUN_ALL_TESTS();
}
