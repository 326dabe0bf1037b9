// A member too far behind is sent the state: chunk by chunk, through crashes and changes of leader,
// while the others go on.
#include <map>
#include <optional>
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

class SnapshotTest : public ::testing::Test {
 protected:
  // `tap` sees every message between members and may replace it.
  void Build(std::uint64_t seed = 1, std::function<void(Options&)> tune = {}) {
    ClusterOptions options;
    options.seed = seed;
    options.network.tap = [this](raft::MemberId from, raft::MemberId to, PeerMessage& message) {
      if (tap_) {
        tap_(from, to, message);
      }
    };
    options.tune = [tune](Options& tuned) {
      tuned.checkpoint_log_entries = 10;
      tuned.log_tail_entries = 0;
      tuned.freeze_slice_rows = 8;
      tuned.snapshot_chunk_bytes = 400;
      tuned.digest_interval = 4;
      if (tune) {
        tune(tuned);
      }
    };
    cluster_ = std::make_unique<Cluster>(std::move(options));
    cluster_->StartAll();
    leader_ = cluster_->AwaitLeader();
    ASSERT_NE(leader_, 0U);
    behind_ = cluster_->Follower(0);
    other_ = cluster_->Follower(1);
    client_ = std::make_unique<Client>(cluster_.get(), other_);
    ASSERT_TRUE(client_->Open(600'000));
    ASSERT_TRUE(client_->Create("/c").ok());
  }

  // Writes while one member is not there, so that it needs a snapshot when it comes back.
  void WriteWithout(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string path = "/c/n" + std::to_string(written_++);
      ASSERT_TRUE(client_->Create(path, std::string(100, 'v')).ok()) << path;
    }
  }

  Status StatusOf(raft::MemberId member) { return cluster_->server(member).status(); }

  bool Running(raft::MemberId member) { return cluster_->running(member); }

  void Tap(std::function<void(raft::MemberId, raft::MemberId, PeerMessage&)> tap) {
    tap_ = std::move(tap);
  }

  void CheckAll() {
    ASSERT_TRUE(cluster_->AwaitConverged());
    for (raft::MemberId member = 1; member <= cluster_->size(); ++member) {
      Client reader(cluster_.get(), member);
      EXPECT_EQ(reader.Children("/c").answer->names.size(), static_cast<std::size_t>(written_))
          << "at member " << member;
    }
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<Client> client_;
  raft::MemberId leader_ = 0;
  raft::MemberId behind_ = 0;
  raft::MemberId other_ = 0;
  int written_ = 0;

 private:
  std::function<void(raft::MemberId, raft::MemberId, PeerMessage&)> tap_;
};

TEST_F(SnapshotTest, AFollowerFarBehindIsSentTheStateWhileWritesGoOn) {
  Build();
  cluster_->Kill(behind_);
  WriteWithout(60);
  ASSERT_GT(StatusOf(leader_).log_first_index, 30U);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  while (StatusOf(behind_).counters.snapshots_installed == 0) {
    WriteWithout(1);
    ASSERT_LT(written_, 2'000) << "it is never installed";
  }
  WriteWithout(5);
  CheckAll();
  EXPECT_GT(StatusOf(leader_).counters.snapshot_chunks_sent, 3U);
  EXPECT_EQ(StatusOf(leader_).counters.snapshots_failed, 0U);
  EXPECT_GT(StatusOf(behind_).log_first_index, 30U);
  // What was installed is on the disk.
  cluster_->Kill(behind_);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  CheckAll();
  EXPECT_EQ(StatusOf(behind_).counters.snapshots_installed, 0U) << "it was sent again";
}

TEST_F(SnapshotTest, AnInstalledMemberAnswersOldRetriesAndTakesPartInTheMajority) {
  Build();
  cluster_->Kill(behind_);
  const tree::Create create{
      .path = "/c/s-", .data = "x", .mode = CreateMode::kPersistentSequential};
  const auto first = client_->Write(create);
  ASSERT_TRUE(first.ok());
  ++written_;
  Client writer(cluster_.get(), other_, 11);
  ASSERT_TRUE(writer.Open(600'000));
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(writer.Set("/c", std::to_string(i)).ok());
  }
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  ASSERT_TRUE(cluster_->AwaitConverged());
  cluster_->Kill(leader_);
  client_->MoveTo(behind_);
  ASSERT_NE(cluster_->AwaitLeader(), 0U) << "the installed member does not count";
  const auto again = client_->Repeat(create);
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(again.answer->path, first.answer->path);
  EXPECT_EQ(again.answer->zxid, first.answer->zxid);
}

TEST_F(SnapshotTest, AReceiverThatCrashesAtAnyChunkGoesOnBehindIt) {
  bool resumed = false;
  for (int crash_after = 1; crash_after <= 9; crash_after += 2) {
    SCOPED_TRACE(crash_after);
    written_ = 0;
    Build(static_cast<std::uint64_t>(crash_after));
    cluster_->Kill(behind_);
    WriteWithout(60);
    // No newer checkpoint is to take the place of the one that is being sent.
    int stored = 0;
    std::set<std::string> starts;
    Tap([&](raft::MemberId, raft::MemberId, PeerMessage& message) {
      if (const auto* ack = std::get_if<SnapshotAck>(&message)) {
        stored += ack->state == SnapshotState::kStored && !ack->position.empty() ? 1 : 0;
      } else if (const auto* chunk = std::get_if<SnapshotChunk>(&message)) {
        starts.insert(chunk->after_key);
      }
    });
    ASSERT_FALSE(cluster_->Start(behind_).has_value());
    ASSERT_TRUE(cluster_->Until([&] { return stored >= crash_after; }));
    cluster_->Kill(behind_);
    starts.clear();
    ASSERT_FALSE(cluster_->Start(behind_).has_value());
    ASSERT_TRUE(
        cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
    EXPECT_EQ(StatusOf(behind_).counters.snapshots_resumed, 1U);
    EXPECT_FALSE(starts.contains("")) << "it began anew";
    resumed = true;
    Tap({});
    CheckAll();
  }
  EXPECT_TRUE(resumed);
}

TEST_F(SnapshotTest, ACrashBetweenAnyTwoOperationsOfTheReceiversDiskIsSurvived) {
  Build(3);
  SimRandom chance(17);
  int installed = 0;
  for (int round = 0; round < 16; ++round) {
    SCOPED_TRACE(round);
    cluster_->Kill(behind_);
    WriteWithout(25);
    ASSERT_FALSE(cluster_->Start(behind_).has_value());
    std::uint64_t left = chance.Uniform(1, 120);
    bool crashed = false;
    cluster_->env(behind_).OnChange([&] { crashed = crashed || --left == 0; });
    cluster_->Until([&] { return crashed || StatusOf(behind_).counters.snapshots_installed == 1; },
                    5'000);
    cluster_->env(behind_).OnChange({});
    const std::uint64_t applied = StatusOf(behind_).applied_index;
    installed += static_cast<int>(StatusOf(behind_).counters.snapshots_installed);
    // What it has not synced is lost now and then, and now and then it is all there.
    cluster_->Kill(behind_, chance.Uniform(0, 1) == 0);
    const auto error = cluster_->Start(behind_);
    ASSERT_FALSE(error.has_value()) << *error;
    ASSERT_TRUE(cluster_->AwaitConverged());
    ASSERT_GE(StatusOf(behind_).applied_index, applied);
  }
  EXPECT_GT(installed, 0) << "never came so far";
  EXPECT_LT(installed, 16) << "never crashed before";
  CheckAll();
}

TEST_F(SnapshotTest, ALeaderThatDiesInTheMiddleIsFollowedByAnother) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    written_ = 0;
    Build(seed);
    cluster_->Kill(behind_);
    WriteWithout(60);
    std::size_t chunks = 0;
    Tap([&](raft::MemberId, raft::MemberId, PeerMessage& message) {
      chunks += std::holds_alternative<SnapshotChunk>(message) ? 1 : 0;
    });
    ASSERT_FALSE(cluster_->Start(behind_).has_value());
    ASSERT_TRUE(cluster_->Until([&] { return chunks >= 2 + seed; }));
    ASSERT_EQ(StatusOf(behind_).counters.snapshots_installed, 0U);
    cluster_->Kill(leader_);
    // The other one has the whole log; the one behind can vote for it, and needs it.
    ASSERT_TRUE(cluster_->Until([&] { return cluster_->leader() == other_; }));
    ASSERT_TRUE(
        cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
    WriteWithout(5);
    ASSERT_FALSE(cluster_->Start(leader_).has_value());
    Tap({});
    CheckAll();
  }
}

TEST_F(SnapshotTest, ANewLeaderWithTheSameCheckpointGoesOnWhereTheOldOneStopped) {
  Build(1, [](Options& options) { options.checkpoint_log_entries = 1'000'000; });
  cluster_->Kill(behind_);
  WriteWithout(60);
  ASSERT_TRUE(cluster_->AwaitConverged());
  int taken = 0;
  for (const raft::MemberId member : {leader_, other_}) {
    cluster_->server(member).Checkpoint([&taken] { ++taken; });
  }
  ASSERT_TRUE(cluster_->Until([&] { return taken == 2; }));
  ASSERT_EQ(StatusOf(leader_).checkpoint.index, StatusOf(other_).checkpoint.index);
  std::set<std::string> starts;
  Tap([&](raft::MemberId, raft::MemberId, PeerMessage& message) {
    if (const auto* chunk = std::get_if<SnapshotChunk>(&message)) {
      starts.insert(chunk->after_key);
    }
  });
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  ASSERT_TRUE(
      cluster_->Until([&] { return StatusOf(behind_).counters.snapshot_chunks_stored >= 5; }));
  cluster_->Kill(leader_);
  starts.clear();
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  EXPECT_EQ(StatusOf(behind_).counters.snapshots_resumed, 1U);
  EXPECT_FALSE(starts.contains("")) << "the new leader began anew";
  WriteWithout(5);
  ASSERT_FALSE(cluster_->Start(leader_).has_value());
  Tap({});
  CheckAll();
}

TEST_F(SnapshotTest, TwoInARow) {
  Build();
  for (int round = 0; round < 3; ++round) {
    cluster_->Kill(behind_);
    WriteWithout(40);
    ASSERT_FALSE(cluster_->Start(behind_).has_value());
    ASSERT_TRUE(cluster_->Until([&] {
      return StatusOf(behind_).counters.snapshots_installed == 1;
    })) << round;
    ASSERT_TRUE(cluster_->Until([&] { return StatusOf(leader_).snapshots_sending == 0; }));
    WriteWithout(3);
  }
  // And without a restart between.
  for (int round = 0; round < 2; ++round) {
    cluster_->network().Isolate(behind_);
    WriteWithout(40);
    cluster_->network().HealAll();
    ASSERT_TRUE(cluster_->Until([&] {
      return StatusOf(behind_).counters.snapshots_installed >=
             static_cast<std::uint64_t>(round + 2);
    })) << round;
    ASSERT_TRUE(cluster_->Until([&] { return StatusOf(leader_).snapshots_sending == 0; }));
  }
  CheckAll();
}

TEST_F(SnapshotTest, AWatchHearsOfWhatTheInstallSkipped) {
  Build();
  Client watcher(cluster_.get(), behind_, 21);
  ASSERT_TRUE(watcher.Open(600'000));
  ASSERT_TRUE(watcher.AddWatch(1, "/c", WatchMode::kPersistentRecursive).ok());
  watcher.StartPolling(1'000);
  WriteWithout(2);
  ASSERT_TRUE(cluster_->Until([&] { return watcher.seen().size() >= 2; }));
  EXPECT_FALSE(watcher.resync());
  cluster_->network().Isolate(behind_);
  WriteWithout(40);
  cluster_->network().HealAll();
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  EXPECT_TRUE(cluster_->Until([&] { return watcher.resync(); }))
      << "events were skipped without a word";
  // Where it can go instead: somebody remembers, and there is no gap there.
  const std::size_t before = watcher.seen().size();
  WriteWithout(1);
  EXPECT_TRUE(cluster_->Until([&] { return watcher.seen().size() > before; }))
      << "the watch is gone";
}

TEST_F(SnapshotTest, AWriteUnderWayIsAnsweredFromWhatIsStored) {
  Build();
  Client far(cluster_.get(), behind_, 31);
  ASSERT_TRUE(far.Open(600'000));
  ASSERT_TRUE(far.Create("/f").ok());
  // The entry gets to the leader; nothing comes back to the member that was asked.
  std::optional<Answer<WriteReply>> answer;
  far.SendWrite(
      tree::Create{.path = "/f/s-", .data = "x", .mode = CreateMode::kPersistentSequential},
      [&answer](const ReplyHead&, Answer<WriteReply> given) { answer = given; });
  cluster_->network().CutOneWay(leader_, behind_);
  cluster_->network().CutOneWay(other_, behind_);
  ASSERT_TRUE(cluster_->Until([&] { return !client_->Children("/f").answer->names.empty(); }));
  WriteWithout(40);
  ASSERT_FALSE(answer.has_value());
  cluster_->network().HealAll();
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  ASSERT_TRUE(cluster_->Until([&] { return answer.has_value(); }));
  ASSERT_TRUE(answer->has_value()) << answer->error().error.message;
  EXPECT_EQ((*answer)->path, "/f/s-0000000000");
  EXPECT_EQ(client_->Children("/f").answer->names.size(), 1U);
}

TEST_F(SnapshotTest, ASessionThatEndedMeanwhileIsToldSo) {
  Build();
  Client gone(cluster_.get(), behind_, 41);
  ASSERT_TRUE(gone.Open(3'000));
  ASSERT_TRUE(gone.AddWatch(1, "/c", WatchMode::kPersistent).ok());
  cluster_->network().Isolate(behind_);
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(leader_).sessions == 1; }, 30'000));
  WriteWithout(40);
  cluster_->network().HealAll();
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  EXPECT_EQ(gone.Set("/c", "x").code(), Code::kSessionExpired);
  EXPECT_EQ(StatusOf(behind_).watches, 0U);
  EXPECT_EQ(StatusOf(behind_).sessions, 1U);
}

// What a peer sends can be refused and counted, and the transfer comes to its end all the same.
TEST_F(SnapshotTest, DamagedLostDoubledAndGiantChunksDoNoHarm) {
  for (int fault = 0; fault < 6; ++fault) {
    SCOPED_TRACE(fault);
    written_ = 0;
    Build(1, [](Options& options) { options.snapshot_retry_ms = 200; });
    cluster_->Kill(behind_);
    WriteWithout(60);
    int struck = 0;
    Tap([&](raft::MemberId, raft::MemberId, PeerMessage& message) {
      auto* chunk = std::get_if<SnapshotChunk>(&message);
      auto* ack = std::get_if<SnapshotAck>(&message);
      if (struck >= 5 || (fault == 5 ? ack == nullptr : chunk == nullptr)) {
        return;
      }
      ++struck;
      switch (fault) {
        case 0:
          chunk->rows[chunk->rows.size() / 2] ^= 1;
          break;
        case 1:
          chunk->after_key += "x";
          break;
        case 2:
          chunk->rows = std::string(std::size_t{17} << 20, 'x');
          break;
        case 3:
          chunk->transfer += 1;
          break;
        case 4:
          chunk->last = !chunk->last;
          break;
        default:
          *ack = SnapshotAck{.transfer = ack->transfer,
                             .state = SnapshotState::kStored,
                             .position = "nowhere",
                             .message = {}};
      }
    });
    ASSERT_FALSE(cluster_->Start(behind_).has_value());
    ASSERT_TRUE(cluster_->Until([&] {
      return StatusOf(behind_).counters.snapshots_installed >= 1;
    })) << StatusOf(behind_).counters.snapshot_chunks_refused;
    EXPECT_GT(struck, 0);
    EXPECT_TRUE(cluster_->fatal(behind_).empty()) << cluster_->fatal(behind_);
    EXPECT_TRUE(cluster_->fatal(leader_).empty()) << cluster_->fatal(leader_);
    Tap({});
    CheckAll();
  }
}

TEST_F(SnapshotTest, TheSenderKeepsToItsPace) {
  Build(1, [](Options& options) { options.snapshot_bytes_per_second = 10'000; });
  cluster_->Kill(behind_);
  WriteWithout(100);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(leader_).snapshots_sending == 1; }));
  const std::int64_t begun_ns = cluster_->loop().now_ns();
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  const double seconds = static_cast<double>(cluster_->loop().now_ns() - begun_ns) / 1e9;
  const auto bytes = static_cast<double>(StatusOf(leader_).counters.snapshot_bytes_sent);
  EXPECT_GT(bytes, 10'000);
  EXPECT_LT(bytes / seconds, 12'000);
}

TEST_F(SnapshotTest, ARunningTransferKeepsTheLogBehindIt) {
  Build(1, [](Options& options) { options.snapshot_bytes_per_second = 10'000; });
  cluster_->Kill(behind_);
  WriteWithout(60);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(leader_).snapshots_sending == 1; }));
  cluster_->RunMs(50);
  const std::uint64_t pinned = StatusOf(leader_).log_first_index;
  const std::uint64_t before = StatusOf(leader_).counters.checkpoints;
  WriteWithout(60);
  EXPECT_GT(StatusOf(leader_).counters.checkpoints, before + 3);
  EXPECT_LE(StatusOf(leader_).log_first_index, pinned + 20);
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  CheckAll();
  EXPECT_EQ(StatusOf(behind_).counters.snapshots_installed, 1U) << "it was not enough";
}

TEST_F(SnapshotTest, AMemberOutOfRoomTakesNoSnapshotUntilItHasRoom) {
  Build();
  cluster_->Kill(behind_);
  WriteWithout(60);
  cluster_->SetFreeSpace(behind_, std::uint64_t{1} << 20);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  cluster_->RunMs(3'000);
  EXPECT_EQ(StatusOf(behind_).counters.snapshots_installed, 0U);
  EXPECT_GT(StatusOf(leader_).counters.snapshots_failed, 0U);
  cluster_->SetFreeSpace(behind_, std::uint64_t{1} << 40);
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  CheckAll();
}

TEST_F(SnapshotTest, AnOrderlyStopInTheMiddleLeavesBothSidesWhole) {
  Build(1, [](Options& options) { options.snapshot_bytes_per_second = 20'000; });
  cluster_->Kill(behind_);
  WriteWithout(60);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  ASSERT_TRUE(
      cluster_->Until([&] { return StatusOf(behind_).counters.snapshot_chunks_stored >= 3; }));
  cluster_->StopInOrder(behind_);
  ASSERT_FALSE(cluster_->Start(behind_).has_value());
  ASSERT_TRUE(
      cluster_->Until([&] { return StatusOf(behind_).counters.snapshot_chunks_stored >= 3; }));
  cluster_->StopInOrder(leader_);
  ASSERT_FALSE(cluster_->Start(leader_).has_value());
  ASSERT_TRUE(cluster_->Until([&] { return StatusOf(behind_).counters.snapshots_installed == 1; }));
  CheckAll();
}

}  // namespace
}  // namespace conclave::server::testing
