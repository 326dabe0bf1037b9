// Leaders are killed under a steady load, seed after seed. What was acknowledged is there, what was
// executed was executed once, and a subscriber has missed nothing.
//
// CONCLAVE_STORM_SEEDS and CONCLAVE_STORM_FIRST choose how many seeds are run, and from which on.
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using tree::Code;
using tree::CreateMode;
using tree::WatchMode;

std::uint64_t FromEnvironment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

// Keeps one sequential create under way for ever, at one member after the other, each repeated with
// its number until its outcome is known.
class Loader {
 public:
  Loader(Cluster* cluster, raft::MemberId member) : cluster_(cluster), client_(cluster, member) {}

  bool Open() { return client_.Open(60'000); }

  void Start() {
    ++wanted_;
    Attempt();
  }

  void Stop() { running_ = false; }

  const std::map<std::int64_t, std::string>& acknowledged() const { return acknowledged_; }

  bool idle() const { return !waiting_; }

 private:
  void Attempt() {
    waiting_ = true;
    if (!cluster_->running(client_.member())) {
      client_.MoveTo(client_.member() % cluster_->size() + 1);
      Later();
      return;
    }
    Caller caller = client_.MakeCaller(false);
    caller.seq = wanted_;
    caller.acked_through = wanted_ - 1;
    caller.timeout_ms = 2000;
    const std::uint64_t attempt = ++attempt_;
    cluster_->server(client_.member())
        .Write(caller,
               tree::Create{.path = "/load/n-",
                            .data = std::to_string(wanted_),
                            .mode = CreateMode::kPersistentSequential},
               [this, attempt](const ReplyHead&, Answer<WriteReply> answer) {
                 if (attempt == attempt_) {
                   Answered(std::move(answer));
                 }
               });
    // The member may die with the answer.
    cluster_->loop().At(cluster_->loop().now_ns() + 3000 * kMs, [this, attempt] {
      if (attempt == attempt_ && waiting_) {
        ++attempt_;
        client_.MoveTo(client_.member() % cluster_->size() + 1);
        Attempt();
      }
    });
  }

  void Answered(Answer<WriteReply> answer) {
    if (!answer) {
      EXPECT_NE(tree::ActionOf(answer.error().error.code), tree::Action::kAnswer)
          << answer.error().error.message;
      EXPECT_NE(answer.error().error.code, Code::kSessionExpired);
      client_.MoveTo(client_.member() % cluster_->size() + 1);
      Later();
      return;
    }
    acknowledged_[wanted_] = answer->path;
    waiting_ = false;
    if (running_) {
      ++wanted_;
      Attempt();
    }
  }

  void Later() {
    const std::uint64_t attempt = ++attempt_;
    cluster_->loop().At(cluster_->loop().now_ns() + 10 * kMs, [this, attempt] {
      if (attempt == attempt_) {
        Attempt();
      }
    });
  }

  Cluster* const cluster_;
  Client client_;
  bool running_ = true;
  bool waiting_ = false;
  std::uint64_t attempt_ = 0;
  std::int64_t wanted_ = 0;
  std::map<std::int64_t, std::string> acknowledged_;  // by number
};

void CheckNothingLost(Cluster& cluster, const Loader& loader, const Client& subscriber) {
  std::set<std::string> acknowledged;
  for (const auto& [seq, path] : loader.acknowledged()) {
    EXPECT_TRUE(acknowledged.insert(path).second) << path << " was given to two writes";
  }
  std::string before;
  for (const auto& [seq, path] : loader.acknowledged()) {
    EXPECT_LT(before, path) << "the writes of a session were reordered";
    before = path;
  }
  for (raft::MemberId member = 1; member <= cluster.size(); ++member) {
    Client reader(&cluster, member);
    const auto children = reader.Children("/load");
    ASSERT_TRUE(children.ok()) << children.message();
    std::set<std::string> present;
    for (const std::string& name : children.answer->names) {
      present.insert("/load/" + name);
    }
    EXPECT_EQ(present, acknowledged) << "at member " << member;
  }
  if (subscriber.resync()) {
    return;  // it was told that something is missing, which is only allowed behind a checkpoint
  }
  std::set<std::string> seen;
  for (const Seen& event : subscriber.seen()) {
    if (event.type == tree::EventType::kCreated) {
      EXPECT_TRUE(seen.insert(event.path).second) << event.path << " was told twice";
    }
  }
  EXPECT_EQ(seen, acknowledged) << "the subscriber missed something";
}

// Thresholds so low that every restart is one from a checkpoint and many a follower is sent the
// state.
void Eager(SimRandom& chance, Options& options) {
  options.checkpoint_log_entries = chance.Uniform(5, 20);
  options.log_tail_entries = chance.Uniform(0, 10);
  options.log_pin_bytes = chance.Uniform(0, 1) == 0 ? 0 : 1 << 20;
  options.freeze_slice_rows = chance.Uniform(1, 20);
  options.snapshot_chunk_bytes = chance.Uniform(64, 1'000);
  options.snapshot_bytes_per_second = std::uint64_t{1} << chance.Uniform(14, 24);
  options.snapshot_chunks_inflight = chance.Uniform(1, 4);
  options.snapshot_retry_ms = 200;
  options.checkpoint_batch_bytes = chance.Uniform(0, 3) == 0 ? 2'000 : std::size_t{16} << 20;
  options.scrub_pass_ms = 500;
}

// What was exercised, over all members and lives.
struct Exercised {
  std::uint64_t checkpoints = 0;
  std::uint64_t installs = 0;
  std::uint64_t resumed = 0;

  void Add(const Counters& counters) {
    checkpoints += counters.checkpoints;
    installs += counters.snapshots_installed;
    resumed += counters.snapshots_resumed;
  }
};

void Storm(std::uint64_t seed, Exercised* eager) {
  SimRandom chance(seed * 977);
  ClusterOptions options;
  options.seed = seed;
  options.network.break_millionths = seed % 2 == 0 ? 0 : 500;
  options.tune = [&](Options& tuned) {
    tuned.digest_interval = 16;
    if (eager != nullptr) {
      SimRandom same(seed * 31);
      Eager(same, tuned);
    }
  };
  Cluster cluster(std::move(options));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  Loader loader(&cluster, 1 + seed % 3);
  Client subscriber(&cluster, cluster.AwaitLeader(), 5);
  ASSERT_TRUE(loader.Open());
  ASSERT_TRUE(subscriber.Open(60'000));
  ASSERT_TRUE(subscriber.Create("/load").ok());
  const tree::Watch watch{
      .id = 1, .path = "/load", .mode = WatchMode::kPersistentRecursive, .with_value = true};
  ASSERT_TRUE(subscriber.AddWatch(1, watch.path, watch.mode, true).ok());
  loader.Start();
  subscriber.StartPolling(500);

  for (int round = 0; round < 4; ++round) {
    cluster.RunMs(static_cast<std::int64_t>(chance.Uniform(50, 800)));
    const raft::MemberId victim = cluster.AwaitLeader();
    ASSERT_NE(victim, 0U);
    if (chance.Uniform(0, 3) == 0) {
      cluster.network().Isolate(victim);
      cluster.RunMs(static_cast<std::int64_t>(chance.Uniform(100, 3000)));
      cluster.network().HealAll();
      continue;
    }
    if (eager != nullptr) {
      eager->Add(cluster.server(victim).status().counters);
    }
    cluster.Kill(victim, chance.Uniform(0, 1) == 0);
    if (subscriber.member() == victim) {
      subscriber.StopPolling();
      subscriber.MoveTo(victim % 3 + 1);
      ASSERT_NE(cluster.AwaitLeader(), 0U);
      ASSERT_TRUE(subscriber.Resume({watch}).ok());
      subscriber.StartPolling(500);
    }
    cluster.RunMs(static_cast<std::int64_t>(chance.Uniform(0, 1500)));
    const auto error = cluster.Start(victim);
    ASSERT_FALSE(error.has_value()) << *error;
  }
  cluster.RunMs(500);
  loader.Stop();
  ASSERT_TRUE(cluster.Until([&] { return loader.idle(); })) << "a write never ends";
  ASSERT_TRUE(cluster.AwaitConverged());
  const std::size_t acknowledged = loader.acknowledged().size();
  EXPECT_GT(acknowledged, 20U) << "nothing was exercised";
  EXPECT_GE(cluster.checker().leaders(), 2U) << "nothing was exercised";
  cluster.Until([&] { return subscriber.seen().size() >= acknowledged; }, 5000);
  for (raft::MemberId member = 1; eager != nullptr && member <= 3; ++member) {
    eager->Add(cluster.server(member).status().counters);
  }
  EXPECT_TRUE(eager != nullptr || !subscriber.resync());
  CheckNothingLost(cluster, loader, subscriber);
}

TEST(StormTest, NoAcknowledgedWriteIsLostWhenLeadersDie) {
  const std::uint64_t first = FromEnvironment("CONCLAVE_STORM_FIRST", 1);
  const std::uint64_t seeds = FromEnvironment("CONCLAVE_STORM_SEEDS", 8);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Storm(seed, nullptr);
    if (HasFailure()) {
      FAIL() << "run it again with CONCLAVE_STORM_FIRST=" << seed << " CONCLAVE_STORM_SEEDS=1";
    }
  }
}

TEST(StormTest, NothingIsLostWhenEveryoneTakesCheckpointsAllTheTime) {
  const std::uint64_t first = FromEnvironment("CONCLAVE_STORM_FIRST", 1);
  const std::uint64_t seeds = FromEnvironment("CONCLAVE_STORM_SEEDS", 8);
  Exercised exercised;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Storm(seed, &exercised);
    if (HasFailure()) {
      FAIL() << "run it again with CONCLAVE_STORM_FIRST=" << seed << " CONCLAVE_STORM_SEEDS=1";
    }
  }
  EXPECT_GT(exercised.checkpoints, 20 * seeds);
  EXPECT_TRUE(seeds < 8 || exercised.installs >= seeds) << exercised.installs;
}

}  // namespace
}  // namespace conclave::server::testing
