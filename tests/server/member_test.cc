// What a member does when something is wrong with it: full, overloaded, emptied, rotten, stopped.
#include <algorithm>
#include <map>
#include <optional>

#include <gtest/gtest.h>

#include "tests/server/client.h"
#include "tests/server/cluster.h"

namespace conclave::server::testing {
namespace {

using persist::testing::FaultEnv;
using persist::testing::Operation;
using tree::Code;

ClusterOptions Tuned(std::function<void(Options&)> tune, std::size_t members = 3) {
  ClusterOptions options;
  options.members = members;
  options.tune = std::move(tune);
  return options;
}

// Checkpoints keep the log short; the bound is for when they do not get on.
TEST(MemberTest, TheBoundOnTheLogRefusesWritesButNotDeletesAndCloses) {
  Cluster cluster(Tuned([](Options& options) {
    options.log_bytes_max = 1 << 16;
    options.log_reserve_bytes = 1 << 16;
  }));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  for (raft::MemberId member = 1; member <= 3; ++member) {
    cluster.StallBackground(member, 20'000 * kMs);
  }
  Client client(&cluster, cluster.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  Called<WriteReply> refused;
  for (int i = 0; i < 200; ++i) {
    refused = client.Set("/a", std::string(2000, 'x'));
    if (!refused.ok()) {
      break;
    }
  }
  ASSERT_EQ(refused.code(), Code::kNoSpace) << refused.message();
  ASSERT_TRUE(cluster.Until([&] {
    return cluster.server(client.member()).status().alarm.find("--log_bytes_max") !=
           std::string::npos;
  }));
  EXPECT_EQ(client.Get("/a").code(), Code::kOk) << "reads go on";
  // Who wants to make room needs a session for it.
  Client another(&cluster, client.member(), 5);
  ASSERT_TRUE(another.Open(600'000));
  EXPECT_EQ(another.Create("/b").code(), Code::kNoSpace);
  EXPECT_EQ(another.Delete("/a").code(), Code::kOk);
  // The refused write was not executed, so its number is still free; this takes it.
  EXPECT_EQ(client.Close().code(), Code::kOk);
  const auto calm = [&] {
    return cluster.server(1).status().alarm.empty() && cluster.server(2).status().alarm.empty() &&
           cluster.server(3).status().alarm.empty();
  };
  ASSERT_TRUE(cluster.Until(calm, 30'000))
      << "checkpoints get on again, and the log does not become shorter";
  // Each log is shortened in its own time, and the leader has to be told of it.
  Called<WriteReply> created;
  for (int i = 0; i < 20 && !created.ok(); ++i) {
    cluster.RunMs(300);
    created = another.Create("/b");
  }
  EXPECT_TRUE(created.ok()) << created.message();
}

TEST(MemberTest, CheckpointsKeepALogWithALowBoundShort) {
  Cluster cluster(Tuned([](Options& options) { options.log_bytes_max = 1 << 16; }, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(client.Set("/a", std::string(2000, 'x')).ok()) << i;
    cluster.RunMs(5);
  }
  EXPECT_LT(cluster.server(1).status().log_bytes, std::uint64_t{1} << 16);
}

TEST(MemberTest, OverloadIsRefusedAndWhatRelievesItIsNot) {
  Cluster cluster(Tuned([](Options& options) { options.pending_requests_max = 16; }, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  std::map<Code, int> codes;
  int answered = 0;
  const auto count = [&](const ReplyHead&, const Answer<WriteReply>& answer) {
    ++answered;
    ++codes[answer ? Code::kOk : answer.error().error.code];
  };
  for (int i = 0; i < 20; ++i) {
    client.SendWrite(tree::SetData{.path = "/a", .data = "x"}, count);
  }
  Client other(&cluster, 1, 9);
  other.Impersonate(client.session(), client.secret());
  std::optional<Code> deleted;
  Caller caller = client.MakeCaller(false);
  caller.seq = 18;  // behind the sixteen that were taken and the create
  cluster.server(1).Write(caller, tree::Delete{.path = "/a"},
                          [&deleted](const ReplyHead&, const Answer<WriteReply>& answer) {
                            deleted = answer ? Code::kOk : answer.error().error.code;
                          });
  ASSERT_TRUE(cluster.Until([&] { return answered == 20 && deleted.has_value(); }));
  EXPECT_EQ(codes[Code::kOk], 16);
  EXPECT_EQ(codes[Code::kOverloaded], 4);
  EXPECT_EQ(*deleted, Code::kOk);
}

TEST(MemberTest, RequestsOverTheirLimitsAreRefusedByName) {
  Cluster cluster(Tuned([](Options& options) { options.request_bytes_max = 8192; }, 1));
  cluster.StartAll();
  ASSERT_EQ(cluster.AwaitLeader(), 1U);
  Client client(&cluster, 1);
  ASSERT_TRUE(client.Open());
  const auto large = client.Create("/a", std::string(10'000, 'x'));
  EXPECT_EQ(large.code(), Code::kTooLarge);
  EXPECT_NE(large.message().find("request_bytes_max"), std::string::npos) << large.message();
}

TEST(MemberTest, AnEmptiedMemberIsRefusedAndNamed) {
  Cluster cluster(Tuned([](Options&) {}));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  Client client(&cluster, cluster.AwaitLeader());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  ASSERT_TRUE(cluster.AwaitConverged());
  const raft::MemberId emptied = cluster.Follower();
  cluster.Kill(emptied);
  cluster.WipeDisk(emptied);
  ASSERT_FALSE(cluster.Start(emptied).has_value());
  const raft::MemberId leader = cluster.AwaitLeader();
  const auto refusal = [&] {
    for (const MemberStatus& member : cluster.server(leader).status().members) {
      if (member.id == emptied) {
        return member.refused;
      }
    }
    return std::string();
  };
  ASSERT_TRUE(cluster.Until([&] { return !refusal().empty(); }));
  EXPECT_NE(refusal().find("emptied"), std::string::npos) << refusal();
  cluster.RunMs(3000);
  const Status status = cluster.server(emptied).status();
  EXPECT_FALSE(status.ready);
  EXPECT_NE(status.unready_reason.find("emptied"), std::string::npos) << status.unready_reason;
  EXPECT_EQ(status.applied_index, 0U);
  // It does not count: without one of the other two nothing is acknowledged.
  EXPECT_TRUE(client.Set("/a", "1").ok());
  cluster.Kill(cluster.AwaitLeader() == 1 || emptied == 1 ? (emptied == 2 ? 3 : 2) : 1);
  cluster.RunMs(3000);
  EXPECT_EQ(cluster.leader(), 0U);
}

TEST(MemberTest, AMemberWhoseStateRottedStopsServing) {
  for (const bool rot_leader : {false, true}) {
    Cluster cluster(Tuned([](Options& options) { options.digest_interval = 4; }));
    cluster.checker().AllowDivergence();
    cluster.StartAll();
    const raft::MemberId leader = cluster.AwaitLeader();
    const raft::MemberId rotten = rot_leader ? leader : cluster.Follower(0);
    const raft::MemberId sound = cluster.Follower(rot_leader ? 0 : 1);
    Client writer(&cluster, sound, 1);
    Client at_rotten(&cluster, rotten, 2);
    ASSERT_TRUE(writer.Open());
    ASSERT_TRUE(at_rotten.Open());
    ASSERT_TRUE(writer.Create("/a").ok());
    cluster.server(rotten).InjectRotForTest();
    for (int i = 0; i < 12; ++i) {
      ASSERT_TRUE(writer.Set("/a", std::to_string(i)).ok()) << i;
    }
    ASSERT_TRUE(cluster.Until([&] { return !cluster.server(rotten).status().ready; }));
    EXPECT_EQ(at_rotten.Get("/a", ReadMode::kStale).code(), Code::kCorruption);
    EXPECT_EQ(at_rotten.Set("/a", "x").code(), Code::kCorruption);
    EXPECT_FALSE(cluster.server(rotten).status().alarm.empty());
    ASSERT_TRUE(cluster.Until([&] {
      const raft::MemberId now = cluster.leader();
      return now != 0 && now != rotten;
    })) << "a rotten leader stays in office";
    EXPECT_TRUE(writer.Set("/a", "last").ok());
    EXPECT_TRUE(cluster.server(sound).status().ready);
  }
}

TEST(MemberTest, DigestsWithoutAMajorityStopWrites) {
  Cluster cluster(Tuned([](Options& options) { options.digest_interval = 4; }));
  cluster.checker().AllowDivergence();
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  cluster.Kill(cluster.Follower(1));
  Client client(&cluster, leader);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  cluster.server(cluster.Follower(0)).InjectRotForTest();
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(client.Set("/a", std::to_string(i)).ok()) << "the third may yet decide it";
  }
  cluster.RunMs(2500);
  EXPECT_EQ(client.Set("/a", "x").code(), Code::kUnavailable);
  EXPECT_NE(cluster.server(leader).status().alarm.find("majority"), std::string::npos);
  EXPECT_TRUE(client.Get("/a").ok()) << "reads go on";
}

TEST(MemberTest, AFailedWriteOfTheLogIsFatalAndTheOthersGoOn) {
  Cluster cluster(Tuned([](Options&) {}));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  Client client(&cluster, cluster.Follower());
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a", "0").ok());
  FaultEnv::Fault fault;
  fault.operation = Operation::kSync;
  fault.sticky = true;
  cluster.env(leader).Inject(fault);
  client.SendWrite(tree::SetData{.path = "/a", .data = "1"}, {});
  ASSERT_TRUE(cluster.Until([&] { return !cluster.fatal(leader).empty(); }));
  cluster.Kill(leader);  // what the process does to itself
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  EXPECT_TRUE(client.Set("/a", "2").ok());
  ASSERT_FALSE(cluster.Start(leader).has_value());
  EXPECT_TRUE(cluster.AwaitConverged());
}

TEST(MemberTest, AnOrderlyStopAnswersEveryoneAndLosesNothing) {
  Cluster cluster(Tuned([](Options&) {}));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  Client client(&cluster, leader);
  ASSERT_TRUE(client.Open());
  std::optional<Code> polled;
  std::optional<Code> written;
  PollRequest request;
  request.wait_ms = 60'000;
  cluster.server(leader).Poll(client.MakeCaller(false), request,
                              [&polled](const ReplyHead&, const Answer<PollReply>& answer) {
                                polled = answer ? Code::kOk : answer.error().error.code;
                              });
  client.SendWrite(tree::Create{.path = "/a", .data = "1", .mode = {}},
                   [&written](const ReplyHead&, const Answer<WriteReply>& answer) {
                     written = answer ? Code::kOk : answer.error().error.code;
                   });
  cluster.StopInOrder(leader);
  EXPECT_EQ(polled, Code::kUnavailable);
  EXPECT_EQ(written, Code::kOk);
  client.MoveTo(cluster.Follower());
  EXPECT_EQ(client.Get("/a").answer->value->data(), "1");
  ASSERT_FALSE(cluster.Start(leader).has_value());
  EXPECT_TRUE(cluster.AwaitConverged());
}

TEST(MemberTest, MembersKnowEachOthersAddressesAndProgress) {
  Cluster cluster(Tuned([](Options&) {}));
  cluster.StartAll();
  ASSERT_NE(cluster.AwaitLeader(), 0U);
  const raft::MemberId follower = cluster.Follower();
  ASSERT_TRUE(cluster.Until([&] {
    const Status status = cluster.server(follower).status();
    return std::all_of(status.members.begin(), status.members.end(), [](const MemberStatus& one) {
      return one.connected && !one.client_address.empty() && (one.self || one.reported);
    });
  }));
  const Status status = cluster.server(follower).status();
  EXPECT_EQ(status.members[0].client_address, "client-1:1");
  EXPECT_EQ(status.members[2].admin_address, "admin-3:1");
  EXPECT_EQ(status.cluster_id.size(), 32U);
  for (const MemberStatus& one : status.members) {
    EXPECT_EQ(one.role == MemberRole::kLeader, one.id == status.leader);
  }
}

TEST(MemberTest, ManyWritesOfATurnShareASync) {
  Cluster cluster(Tuned([](Options&) {}));
  cluster.StartAll();
  const raft::MemberId leader = cluster.AwaitLeader();
  Client client(&cluster, leader);
  ASSERT_TRUE(client.Open());
  ASSERT_TRUE(client.Create("/a").ok());
  const Counters before = cluster.server(leader).status().counters;
  int answered = 0;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 256; ++i) {
      client.SendWrite(tree::SetData{.path = "/a", .data = std::string(100, 'x')},
                       [&answered](const ReplyHead&, const Answer<WriteReply>& answer) {
                         answered += answer ? 1 : 0;
                       });
    }
    ASSERT_TRUE(cluster.Until([&] { return answered == 256 * (round + 1); }));
  }
  const Counters after = cluster.server(leader).status().counters;
  EXPECT_LE(after.log_syncs - before.log_syncs, 1024 / 10);
  EXPECT_LE(after.proposals - before.proposals, 1024 / 10);
}

TEST(MemberTest, OptionsAreRefusedByTheNameOfTheFlag) {
  const auto refused = [](const std::function<void(Options&)>& change) {
    Options options;
    options.id = 1;
    options.data_dir = "/data";
    options.members = {{1, "a:1"}, {2, "b:1"}};
    EXPECT_TRUE(options.Validate().has_value());
    change(options);
    const auto valid = options.Validate();
    return valid ? std::string() : valid.error();
  };
  EXPECT_NE(refused([](Options& o) { o.id = 0; }).find("--id"), std::string::npos);
  for (const char* name : {"two words", "line\n", "\x7f"}) {
    EXPECT_NE(refused([name](Options& o) { o.cluster_name = name; }).find("--cluster_name"),
              std::string::npos);
  }
  EXPECT_NE(refused([](Options& o) { o.id = 9; }).find("--id=9"), std::string::npos);
  EXPECT_NE(refused([](Options& o) {
              o.members.push_back({1, "c:1"});
            }).find("--members"),
            std::string::npos);
  EXPECT_NE(refused([](Options& o) { o.election_ticks_min = 3; }).find("--election_ticks_min"),
            std::string::npos);
  EXPECT_NE(refused([](Options& o) { o.read_bytes_max = 1; }).find("--read_bytes_max"),
            std::string::npos);
  EXPECT_NE(refused([](Options& o) { o.touch_interval_ms = 5000; }).find("--touch_interval_ms"),
            std::string::npos);
}

}  // namespace
}  // namespace conclave::server::testing
