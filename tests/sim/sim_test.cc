// The simulator's own promises: one seed is one run, and what is wrong is found.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "coord/tree/command.h"
#include "tests/sim/committed_log.h"
#include "tests/sim/history.h"
#include "tests/sim/journal.h"
#include "tests/sim/oracle.h"
#include "tests/sim/run.h"
#include "tests/sim/wire_checker.h"

namespace conclave::sim {
namespace {

TEST(SimTest, TheSameSeedIsTheSameRun) {
  for (const std::uint64_t seed : {3U, 4U, 5U}) {
    const RunResult first = RunSeed({.seed = seed, .seconds = 3});
    const RunResult second = RunSeed({.seed = seed, .seconds = 3});
    EXPECT_EQ(first.violation, "");
    EXPECT_EQ(first.hash, second.hash) << "seed " << seed;
    EXPECT_EQ(first.counts, second.counts) << "seed " << seed;
  }
  EXPECT_NE(RunSeed({.seed = 3, .seconds = 3}).hash, RunSeed({.seed = 4, .seconds = 3}).hash);
}

// A session that made /s and /s/a, read /s/a and heard of it: a history that is right, so that each
// test can spoil one thing of it.
class OracleTest : public ::testing::Test {
 protected:
  OracleTest() : journal_(false) {
    tree::OpenSession open{.timeout_ms = 1000};
    open.nonce[0] = 1;
    Append(tree::EntryHeader{}, open);
    Append(Header(1), tree::Create{.path = "/s", .data = "x"});
    Append(Header(2), tree::Create{.path = "/s/a", .data = "y"});
    SessionRecord& session = history_.sessions[1];
    session.id = 1;
    session.timeout_ms = 1000;
    session.watches.push_back(
        {.watch = {.id = 1, .path = "/s", .mode = tree::WatchMode::kPersistentRecursive},
         .since = tree::Cursor::EndOf(1)});
    session.segments.push_back({.from = tree::Cursor::EndOf(1),
                                .to = tree::Cursor::EndOf(3),
                                .events = {{tree::EventType::kCreated, "/s", {2, 0}},
                                           {tree::EventType::kCreated, "/s/a", {3, 0}}}});
    WriteRecord& write = session.writes[2];
    write.known_zxid = 2;
    write.answered = write.acknowledged = true;
    write.reply.path = "/s/a";
    write.reply.zxid = 3;
    write.reply.stat = {.czxid = 3, .mzxid = 3, .pzxid = 3, .data_length = 1};
    ReadRecord read;
    read.session = 1;
    read.request.op = server::GetRequest{"/s/a"};
    read.zxid = 3;
    read.data = "y";
    read.stat = write.reply.stat;
    history_.reads.push_back(read);
  }

  static tree::EntryHeader Header(std::int64_t seq) {
    tree::EntryHeader header;
    header.session = 1;
    header.seq = seq;
    return header;
  }

  void Append(const tree::EntryHeader& header, const tree::Command& command) {
    raft::Entry entry;
    entry.index = log_.size() + 1;
    entry.kind = raft::EntryKind::kCommand;
    entry.data = std::make_shared<const std::string>(tree::EncodeEntry(header, command));
    log_.push_back(entry);
  }

  // What is found, or nothing.
  std::string Judge() {
    Oracle oracle(&history_, &journal_);
    oracle.Judge(log_, [](std::uint64_t index) { return static_cast<std::int64_t>(index) * kMs; });
    return journal_.violation().substr(0, 3);
  }

  SessionRecord& session() { return history_.sessions[1]; }

  Journal journal_;
  History history_;
  std::vector<raft::Entry> log_;
};

TEST_F(OracleTest, ARightHistoryPasses) { EXPECT_EQ(Judge(), ""); }

TEST_F(OracleTest, AnAcknowledgedWriteThatIsNotInTheLog) {
  log_.pop_back();
  history_.reads.clear();
  session().segments.clear();
  EXPECT_EQ(Judge(), "D1:");
}

TEST_F(OracleTest, AnotherAnswer) {
  session().writes[2].reply.path = "/s/b";
  EXPECT_EQ(Judge(), "C3:");
}

TEST_F(OracleTest, AnotherStat) {
  session().writes[2].reply.stat.version = 1;
  EXPECT_EQ(Judge(), "C10");
}

TEST_F(OracleTest, AWriteThatTookEffectBeforeWhatWasKnown) {
  session().writes[2].known_zxid = 3;
  EXPECT_EQ(Judge(), "C1:");
}

TEST_F(OracleTest, AReadOfAnOldState) {
  history_.reads[0].zxid = 2;
  EXPECT_EQ(Judge(), "C1:");
}

TEST_F(OracleTest, AReadOfOtherData) {
  history_.reads[0].data = "z";
  EXPECT_EQ(Judge(), "C1:");
}

TEST_F(OracleTest, ALostEvent) {
  session().segments[0].events.pop_back();
  EXPECT_EQ(Judge(), "C8:");
}

TEST_F(OracleTest, ADoubledEvent) {
  session().segments[0].events.push_back(session().segments[0].events.back());
  EXPECT_EQ(Judge(), "C8:");
}

TEST_F(OracleTest, AnEarlyExpiry) {
  Append({}, tree::CloseSession{.session = 1, .reason = tree::CloseReason::kExpired});
  session().promised_until_ns = 4 * kMs;
  EXPECT_EQ(Judge(), "");
  session().promised_until_ns = 4 * kMs + 1;
  EXPECT_EQ(Judge(), "C6:");
}

TEST_F(OracleTest, ALiveSessionThatWasCalledOver) {
  session().told_over_zxid = 3;
  EXPECT_EQ(Judge(), "C6:");
}

TEST(WireCheckerTest, FindsWhatBreaksRaft) {
  {
    Journal journal(false);
    WireChecker checker(&journal);
    checker.Leads(1, 7);
    checker.Leads(1, 7);
    EXPECT_FALSE(journal.failed());
    checker.Leads(2, 7);
    EXPECT_TRUE(journal.failed());
  }
  {
    Journal journal(false);
    WireChecker checker(&journal);
    checker.Sent(1, 2, raft::RequestVoteReply{.term = 3, .voteGranted = true});
    checker.Sent(1, 3, raft::RequestVoteReply{.term = 3, .voteGranted = false});
    EXPECT_FALSE(journal.failed());
    checker.Sent(1, 3, raft::RequestVoteReply{.term = 3, .voteGranted = true});
    EXPECT_TRUE(journal.failed());
  }
  {
    Journal journal(false);
    WireChecker checker(&journal);
    checker.Applied(1, 1, 1, 10, 100);
    checker.Applied(2, 1, 1, 10, 100);
    EXPECT_FALSE(journal.failed());
    checker.Applied(3, 1, 1, 11, 100);
    EXPECT_TRUE(journal.failed());
  }
}

TEST(WireCheckerTest, FindsASnapshotThatIsNotTheStateOfItsIndex) {
  Journal journal(false);
  WireChecker checker(&journal);
  checker.Applied(1, 1, 1, 10, 100);
  checker.Installed(2, 1, 1, 10, 100);
  EXPECT_FALSE(journal.failed());
  checker.Installed(3, 1, 1, 10, 101);
  EXPECT_TRUE(journal.failed());
}

TEST(CommittedLogTest, FindsTwoVotesChangedAtOnce) {
  Journal journal(false);
  CommittedLog log(&journal);
  raft::Index index = 0;
  const auto add = [&](const std::vector<raft::MemberId>& voters) {
    raft::Configuration configuration;
    for (const raft::MemberId id : voters) {
      configuration.members.push_back(
          {.id = id, .incarnation = 1, .kind = raft::MemberKind::kVoter, .peer_address = "a:1"});
    }
    raft::Entry entry;
    entry.index = ++index;
    entry.kind = raft::EntryKind::kConfig;
    entry.data = std::make_shared<const std::string>(configuration.Encode());
    log.Add(entry);
  };
  add({1, 2, 3});
  add({1, 2, 3, 4});
  add({1, 2, 4});
  EXPECT_FALSE(journal.failed());
  add({1, 2, 3});
  EXPECT_TRUE(journal.failed());
}

TEST(WireCheckerTest, FindsAPromiseThatIsNotDurable) {
  DiskView disk;
  disk.hardState.currentTerm = 4;
  disk.hardState.votedFor = 2;
  const raft::RequestVoteReply vote{.term = 4, .voteGranted = true};
  Journal journal(false);
  WireChecker checker(&journal);
  checker.CheckPersisted(1, 2, vote, disk);
  EXPECT_FALSE(journal.failed());
  raft::AppendEntriesReply acknowledged;
  acknowledged.term = 4;
  acknowledged.success = true;
  acknowledged.matched = {.term = 4, .index = 1};
  checker.CheckPersisted(1, 2, acknowledged, disk);
  EXPECT_TRUE(journal.failed());
}

TEST(WireCheckerTest, FindsACommitWithoutAMajority) {
  DiskView holds;
  raft::Entry entry;
  entry.index = 1;
  entry.chain = 5;
  holds.log.push_back(entry);
  Journal journal(false);
  WireChecker checker(&journal);
  const std::vector<std::vector<raft::MemberId>> voters{{1, 2, 3}};
  checker.CheckQuorum(1, 5, {{1, holds}, {2, holds}, {3, DiskView{}}}, voters);
  checker.CheckQuorum(1, 5, {{1, holds}, {3, DiskView{}}}, voters);  // 2 has lost its disk
  DiskView snapshot;
  snapshot.start = {.term = 1, .index = 1};
  snapshot.start_chain = 5;
  checker.CheckQuorum(1, 5, {{1, holds}, {2, snapshot}, {3, DiskView{}}}, voters);
  EXPECT_FALSE(journal.failed());
  checker.CheckQuorum(1, 5, {{1, holds}, {2, DiskView{}}, {3, DiskView{}}}, voters);
  EXPECT_TRUE(journal.failed());
}

}  // namespace
}  // namespace conclave::sim
