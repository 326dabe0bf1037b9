// What a freeze holds: the rows that changed, as they were at its zxid, each once.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coord/tree/frozen_rows.h"
#include "coord/tree/rows.h"
#include "tests/tree/checkpoint.h"
#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

class FreezeTest : public ::testing::Test {
 protected:
  void SetUp() override { session = machine.Open(); }

  // Begins with a checkpoint of everything so far.
  void Base() {
    machine.acked[session] = machine.seqs[session];
    machine.Create(session, "/last-of-base");
    checkpoint.Take(machine.state);
  }

  void Begin() { machine.state.BeginFreeze(); }

  void End() {
    while (!machine.state.FreezeSlice(1)) {
    }
    FrozenRows frozen = machine.state.TakeFrozen();
    checkpoint.Put(frozen);
  }

  bool HasRow(std::string_view path) const { return checkpoint.rows.count(ZnodeKey(path)) != 0; }

  std::string DataInRow(std::string_view path) const {
    const auto at = checkpoint.rows.find(ZnodeKey(path));
    if (at == checkpoint.rows.end()) {
      return "(no row)";
    }
    const auto row = DecodeZnodeRow(at->first, at->second);
    return row.has_value() ? std::string(row->data.value_or("(null)")) : row.error();
  }

  std::size_t RowsOf(RowKind kind) const {
    std::size_t count = 0;
    for (const auto& [key, value] : checkpoint.rows) {
      count += key[0] == static_cast<char>(kind) ? 1 : 0;
    }
    return count;
  }

  // The checkpoint is a state, and with the entries behind it the one that never stopped.
  void ExpectRestores() {
    Loaded loaded = checkpoint.Load();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    for (const auto& [zxid, entry] : machine.log) {
      if (zxid > checkpoint.zxid) {
        (*loaded)->Apply(zxid, entry);
      }
    }
    EXPECT_EQ((*loaded)->digest(), machine.state.digest());
    EXPECT_EQ((*loaded)->RecomputeDigest(), machine.state.digest());
    EXPECT_EQ((*loaded)->Audit(), "");
  }

  Machine machine;
  Checkpoint checkpoint;
  std::int64_t session = 0;
};

TEST_F(FreezeTest, ANewStateHasAllItsRows) {
  StateMachine fresh;
  EXPECT_EQ(fresh.dirty_rows(), 4U) << "the znodes that every tree has";
  Checkpoint first;
  first.Take(fresh);
  EXPECT_EQ(first.put, 5U) << "and the state row";
  EXPECT_TRUE(first.Load().has_value());
  EXPECT_EQ(fresh.dirty_rows(), 0U);
  first.Take(fresh);
  EXPECT_EQ(first.put, 1U) << "nothing changed: the state row alone";
}

TEST_F(FreezeTest, ACreateIsItsRowTheParentAndWhatTheSessionKeeps) {
  machine.Create(session, "/p");
  Base();
  machine.acked[session] = machine.seqs[session];
  machine.Create(session, "/p/x");
  EXPECT_EQ(machine.state.dirty_rows(), 5U);
  checkpoint.Take(machine.state);
  EXPECT_EQ(checkpoint.put, 5U) << "state, session, reply, /p with its pzxid, /p/x";
  EXPECT_EQ(checkpoint.gone, 1U) << "the acknowledged reply";
  ExpectRestores();
}

TEST_F(FreezeTest, AChangeDuringTheFreezeLeavesTheRowAsItWas) {
  machine.Create(session, "/a", "1");
  Begin();
  machine.Call(session, SetData{"/a", "2"});
  machine.Call(session, SetData{"/a", "3"});
  End();
  EXPECT_EQ(DataInRow("/a"), "1");
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/a"), "3");
  ExpectRestores();
}

TEST_F(FreezeTest, AChangeBehindTheWalkBelongsToTheNextFreeze) {
  machine.Create(session, "/a", "1");
  Begin();
  while (!machine.state.FreezeSlice(1)) {
  }
  machine.Call(session, SetData{"/a", "2"});
  End();
  EXPECT_EQ(DataInRow("/a"), "1");
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/a"), "2");
  ExpectRestores();
}

TEST_F(FreezeTest, WhatChildrenDoToAParentDuringTheFreezeBelongsToTheNext) {
  machine.Create(session, "/p");
  machine.Create(session, "/q");
  machine.Create(session, "/q/old");
  Begin();
  machine.Create(session, "/p/x");  // Makes the leaf a directory.
  machine.Call(session, Delete{"/q/old"});
  End();
  EXPECT_FALSE(DecodeZnodeRow(ZnodeKey("/p"), checkpoint.rows.at(ZnodeKey("/p")))->is_directory);
  EXPECT_TRUE(HasRow("/q/old"));
  EXPECT_FALSE(HasRow("/p/x"));
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_FALSE(HasRow("/q/old"));
  EXPECT_TRUE(HasRow("/p/x"));
  ExpectRestores();
}

TEST_F(FreezeTest, ADeleteTakesTheRowAwayOnceItWasThere) {
  machine.Create(session, "/a", "1");
  Base();
  machine.Call(session, Delete{"/a"});
  Begin();
  End();
  EXPECT_FALSE(HasRow("/a"));
  ExpectRestores();
}

TEST_F(FreezeTest, ADeleteDuringTheFreezeBelongsToTheNext) {
  machine.Create(session, "/a", "1");
  Begin();
  machine.Call(session, Delete{"/a"});
  End();
  EXPECT_EQ(DataInRow("/a"), "1");
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_FALSE(HasRow("/a"));
  ExpectRestores();
}

TEST_F(FreezeTest, ADeletedZnodeThatCameBackIsOneRow) {
  machine.Create(session, "/a", "1");
  Base();
  machine.Call(session, Delete{"/a"});
  machine.Create(session, "/a", "2");
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/a"), "2");
  ExpectRestores();
  machine.Call(session, Delete{"/a"});
  machine.Create(session, "/a", "3");
  machine.Call(session, Delete{"/a"});
  checkpoint.Take(machine.state);
  EXPECT_FALSE(HasRow("/a"));
  ExpectRestores();
}

TEST_F(FreezeTest, AZnodeThatCameBackBeforeTheFreezeAndChangesDuringItIsThereInBoth) {
  machine.Create(session, "/a", "1");
  Base();
  machine.Call(session, Delete{"/a"});
  machine.Create(session, "/a", "2");
  Begin();
  machine.Call(session, SetData{"/a", "3"});
  End();
  EXPECT_EQ(DataInRow("/a"), "2");
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/a"), "3");
  ExpectRestores();
}

TEST_F(FreezeTest, AZnodeThatCameBackDuringTheFreezeIsGoneInItAndThereInTheNext) {
  machine.Create(session, "/a", "1");
  Base();
  machine.Call(session, Delete{"/a"});
  Begin();
  machine.Create(session, "/a", "2");
  End();
  EXPECT_FALSE(HasRow("/a"));
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/a"), "2");
  ExpectRestores();
}

TEST_F(FreezeTest, AZnodeDeletedAndBackDuringTheFreezeIsTheOldOneInIt) {
  machine.Create(session, "/a", "1");
  Begin();
  machine.Call(session, Delete{"/a"});
  machine.Create(session, "/a", "2");
  End();
  EXPECT_EQ(DataInRow("/a"), "1");
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/a"), "2");
  ExpectRestores();
}

TEST_F(FreezeTest, WhatCameAndWentBetweenTwoFreezesIsNoRow) {
  Base();
  machine.acked[session] = machine.seqs[session];
  for (int i = 0; i < 10; ++i) {
    const std::string path =
        machine.Create(session, "/n-", "x", CreateMode::kPersistentSequential).path;
    machine.acked[session] = machine.seqs[session];
    machine.Call(session, Delete{path});
    machine.acked[session] = machine.seqs[session];
  }
  checkpoint.Take(machine.state);
  EXPECT_EQ(checkpoint.put, 4U) << "state, session, last reply, root";
  EXPECT_EQ(checkpoint.gone, 1U) << "the reply of before";
  ExpectRestores();
}

TEST_F(FreezeTest, AHotZnodeCostsOneRow) {
  machine.Create(session, "/hot", "x");
  Base();
  std::uint64_t bytes = 0;
  for (int i = 0; i < 1000; ++i) {
    machine.acked[session] = machine.seqs[session];
    machine.Call(session, SetData{"/hot", std::string(100, 'y')});
    bytes = std::max(bytes, machine.state.dirty_bytes());
  }
  EXPECT_LE(machine.state.dirty_rows(), 4U) << "session, reply, acknowledged reply, znode";
  EXPECT_LT(bytes, 1000U);
  for (int i = 0; i < 1000; ++i) {
    machine.acked[session] = machine.seqs[session];
    machine.Call(session, Delete{"/hot"});
    machine.acked[session] = machine.seqs[session];
    machine.Create(session, "/hot", "z");
  }
  EXPECT_LE(machine.state.dirty_rows(), 5U) << "and the root";
  checkpoint.Take(machine.state);
  EXPECT_LE(checkpoint.put + checkpoint.gone, 6U);
  ExpectRestores();
}

TEST_F(FreezeTest, ARolledBackMultiChangesNoRow) {
  machine.Create(session, "/gone", "g");
  machine.Create(session, "/set", "s");
  machine.Create(session, "/leaf", "l");
  machine.Create(session, "/mine", "m", CreateMode::kEphemeral);
  Base();
  const auto before = checkpoint.rows;
  const Multi failing{{tree::Create{"/new", "n"}, tree::Create{"/leaf/child", "c"}, Delete{"/gone"},
                       tree::Create{"/gone", "again"}, SetData{"/set", "t"}, Delete{"/mine"},
                       Check{"/missing"}}};
  Begin();
  EXPECT_EQ(machine.Call(session, failing).code, Code::kNoNode);
  End();
  EXPECT_EQ(checkpoint.rows, before);
  ExpectRestores();
  EXPECT_EQ(machine.Call(session, failing).code, Code::kNoNode);
  checkpoint.Take(machine.state);
  for (const char* path : {"/gone", "/set", "/leaf", "/mine", "/"}) {
    EXPECT_EQ(checkpoint.rows.at(ZnodeKey(path)), before.at(ZnodeKey(path))) << path;
  }
  EXPECT_EQ(RowsOf(RowKind::kZnode), machine.state.tree().znode_count());
  ExpectRestores();
}

TEST_F(FreezeTest, AMultiRolledBackDuringTheFreezeLeavesTheRowsAsTheyWere) {
  machine.Create(session, "/gone", "g");
  machine.Create(session, "/set", "s");
  machine.Create(session, "/leaf", "l");
  Begin();
  machine.Call(session, Multi{{tree::Create{"/leaf/child", "c"}, Delete{"/gone"},
                               SetData{"/set", "t"}, Check{"/missing"}}});
  machine.Call(session, Multi{{tree::Create{"/leaf/child", "c"}, Delete{"/gone"},
                               tree::Create{"/gone", "again"}, SetData{"/set", "t"}}});
  End();
  EXPECT_EQ(DataInRow("/gone"), "g");
  EXPECT_EQ(DataInRow("/set"), "s");
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(DataInRow("/gone"), "again");
  ExpectRestores();
}

TEST_F(FreezeTest, AcknowledgedRepliesLeave) {
  for (int i = 0; i < 5; ++i) {
    machine.Create(session, "/a" + std::to_string(i));
  }
  checkpoint.Take(machine.state);
  EXPECT_EQ(RowsOf(RowKind::kReply), 5U);
  machine.acked[session] = 3;
  machine.Create(session, "/b");
  checkpoint.Take(machine.state);
  EXPECT_EQ(RowsOf(RowKind::kReply), 3U) << "4, 5 and 6";
  EXPECT_EQ(checkpoint.gone, 3U);
  ExpectRestores();
  Begin();
  machine.acked[session] = 6;
  machine.Create(session, "/c");
  machine.acked[session] = 7;
  machine.Create(session, "/d");
  End();
  EXPECT_EQ(RowsOf(RowKind::kReply), 3U);
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(RowsOf(RowKind::kReply), 1U);
  EXPECT_EQ(checkpoint.gone, 3U) << "7 came and went in between";
  ExpectRestores();
}

TEST_F(FreezeTest, AnOldRetryIsAnsweredFromALoadedState) {
  machine.Create(session, "/a", "1");
  const Reply sequential =
      machine.Create(session, "/s-", std::nullopt, CreateMode::kEphemeralSequential);
  machine.Call(session, Delete{"/missing"});
  checkpoint.Take(machine.state);
  Loaded loaded = checkpoint.Load();
  ASSERT_TRUE(loaded.has_value());
  const std::string retry =
      EncodeEntry(machine.Header(session, 2),
                  tree::Create{"/s-", std::nullopt, CreateMode::kEphemeralSequential});
  const ApplyResult answered = (*loaded)->Apply(machine.zxid + 1, retry);
  EXPECT_TRUE(answered.duplicate);
  EXPECT_EQ(answered.reply, sequential);
  EXPECT_TRUE(answered.changes.empty());
}

TEST_F(FreezeTest, ADroppedBodyIsARowAgain) {
  Limits limits;
  limits.reply_bytes_per_session_max = 800;
  Machine small(limits);
  const std::int64_t id = small.Open();
  const std::string name(200, 'n');
  small.Create(id, "/" + name);
  Checkpoint rows;
  rows.Take(small.state);
  const std::string before = rows.rows.at(ReplyKey(id, 1));
  small.state.BeginFreeze();
  small.Create(id, "/b" + name);
  small.Create(id, "/c" + name);
  ASSERT_TRUE(small.state.sessions().Find(id)->replies[0].dropped());
  while (!small.state.FreezeSlice(1)) {
  }
  FrozenRows frozen = small.state.TakeFrozen();
  rows.Put(frozen);
  EXPECT_EQ(rows.rows.at(ReplyKey(id, 1)), before) << "it was dropped after the freeze";
  rows.Take(small.state);
  EXPECT_TRUE(DecodeReplyRow(ReplyKey(id, 1), rows.rows.at(ReplyKey(id, 1)))->dropped);
  small.Call(id, Delete{"/x"});
  rows.Take(small.state);
  EXPECT_EQ(rows.keys.count(ReplyKey(id, 4)), 1U);
  EXPECT_EQ(rows.keys.count(ReplyKey(id, 1)), 0U) << "that it was dropped is known";
  Loaded loaded = rows.Load(limits);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  const std::string retry = EncodeEntry(small.Header(id, 1), tree::Create{"/" + name});
  EXPECT_EQ((*loaded)->Apply(small.zxid + 1, retry).reply,
            small.state.Apply(small.zxid + 1, retry).reply);
}

TEST_F(FreezeTest, AnEndedSessionLeavesNoRow) {
  const std::int64_t other = machine.Open();
  machine.Create(other, "/mine", "m", CreateMode::kEphemeral);
  machine.Create(other, "/theirs");
  checkpoint.Take(machine.state);
  EXPECT_EQ(RowsOf(RowKind::kSession), 2U);
  EXPECT_EQ(RowsOf(RowKind::kReply), 2U);
  machine.Create(other, "/late", "l", CreateMode::kEphemeral);
  Begin();
  machine.Close(other, CloseReason::kExpired);
  End();
  EXPECT_EQ(RowsOf(RowKind::kSession), 2U) << "it ended after the freeze";
  EXPECT_EQ(RowsOf(RowKind::kReply), 3U);
  EXPECT_TRUE(HasRow("/late"));
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(RowsOf(RowKind::kSession), 1U);
  EXPECT_EQ(RowsOf(RowKind::kReply), 0U);
  EXPECT_FALSE(HasRow("/mine"));
  EXPECT_EQ(checkpoint.gone, 1U + 3U + 2U) << "session, replies, ephemerals";
  ExpectRestores();
}

TEST_F(FreezeTest, ASessionThatCameAndWentIsNoRow) {
  Base();
  const std::int64_t brief = machine.Open();
  machine.Create(brief, "/e", "", CreateMode::kEphemeral);
  machine.Close(brief);
  checkpoint.Take(machine.state);
  EXPECT_EQ(checkpoint.gone, 0U);
  EXPECT_EQ(RowsOf(RowKind::kSession), 1U);
  ExpectRestores();
}

TEST_F(FreezeTest, ASessionOpenedBeforeAndEndedDuringTheFreezeIsGoneInTheNext) {
  const std::int64_t brief = machine.Open();
  machine.Create(brief, "/e", "", CreateMode::kEphemeral);
  Begin();
  machine.Close(brief);
  End();
  EXPECT_EQ(RowsOf(RowKind::kSession), 2U);
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(RowsOf(RowKind::kSession), 1U);
  EXPECT_EQ(RowsOf(RowKind::kReply), 0U);
  ExpectRestores();
}

TEST_F(FreezeTest, MembersAndScalars) {
  Base();
  machine.elapsed_ns = 77;
  machine.Apply(machine.Header(0, 0), PublishMember{3, 33, "host:1", "host:2"});
  machine.Apply(machine.Header(0, 0), PublishMember{2, 22, "other:1", ""});
  machine.Apply(machine.Header(0, 0), PublishMember{3, 34, "host:3", "host:2"});
  Begin();
  machine.Apply(machine.Header(0, 0), PublishMember{2, 23, "changed:1", ""});
  End();
  EXPECT_EQ(checkpoint.put, 3U);
  Loaded loaded = checkpoint.Load();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ((*loaded)->members().at(2).incarnation, 22U);
  EXPECT_EQ((*loaded)->members().at(3), machine.state.members().at(3));
  EXPECT_EQ((*loaded)->elapsed_ns(), 77);
  EXPECT_EQ((*loaded)->last_zxid(), machine.zxid - 1);
  EXPECT_EQ((*loaded)->feature_level(), machine.state.feature_level());
  ExpectRestores();
  checkpoint.Take(machine.state);
  EXPECT_EQ(checkpoint.put, 2U);
  ExpectRestores();
}

TEST_F(FreezeTest, ASliceIsNoLongerThanAsked) {
  for (int i = 0; i < 100; ++i) {
    machine.Create(session, "/n" + std::to_string(i));
  }
  Begin();
  int slices = 1;
  while (!machine.state.FreezeSlice(10)) {
    machine.Call(session, SetData{"/n5", "changes capture it, and cost the walk nothing"});
    ++slices;
  }
  EXPECT_GE(slices, 10);
  EXPECT_LE(slices, 13);
  FrozenRows frozen = machine.state.TakeFrozen();
  checkpoint.Put(frozen);
  ExpectRestores();
}

TEST_F(FreezeTest, DirtyBytesAreAboutWhatTheRowsTake) {
  machine.Create(session, "/p");
  for (int i = 0; i < 500; ++i) {
    machine.Create(session, "/p/node-" + std::to_string(i), std::string(200, 'd'));
    if (i % 3 == 0) {
      machine.Call(session, SetData{"/p/node-" + std::to_string(i), std::string(400, 'e')});
    }
    if (i % 7 == 0) {
      machine.Call(session, Delete{"/p/node-" + std::to_string(i)});
    }
    machine.acked[session] = machine.seqs[session] - 20;
  }
  const std::uint64_t expected = machine.state.dirty_bytes();
  Begin();
  EXPECT_EQ(machine.state.dirty_bytes(), 0U);
  EXPECT_EQ(machine.state.dirty_rows(), 0U);
  while (!machine.state.FreezeSlice(100)) {
  }
  FrozenRows frozen = machine.state.TakeFrozen();
  EXPECT_GT(frozen.bytes(), expected * 8 / 10);
  EXPECT_LT(frozen.bytes(), expected * 12 / 10);
}

TEST_F(FreezeTest, FrozenRowsGoToAnotherThreadWhileApplyGoesOn) {
  for (int i = 0; i < 200; ++i) {
    machine.Create(session, "/n" + std::to_string(i), "first");
  }
  Begin();
  while (!machine.state.FreezeSlice(1000)) {
  }
  std::thread background([this, frozen = machine.state.TakeFrozen()]() mutable {
    checkpoint.Put(frozen);
    FrozenRows(std::move(frozen));  // Ends here.
  });
  for (int i = 0; i < 200; ++i) {
    machine.Call(session, SetData{"/n" + std::to_string(i), "second"});
    machine.Call(session, Delete{"/n" + std::to_string(i)});
  }
  background.join();
  EXPECT_EQ(DataInRow("/n77"), "first");
  ExpectRestores();
}

TEST_F(FreezeTest, FrozenRowsOutliveTheStateAndMayBeReadTwice) {
  auto brief = std::make_unique<StateMachine>();
  brief->BeginFreeze();
  while (!brief->FreezeSlice(1)) {
  }
  FrozenRows frozen = brief->TakeFrozen();
  brief.reset();
  checkpoint.Put(frozen);
  const auto once = checkpoint.rows;
  checkpoint.rows.clear();
  checkpoint.Put(frozen);
  EXPECT_EQ(checkpoint.rows, once);
  EXPECT_TRUE(checkpoint.Load().has_value());
}

TEST_F(FreezeTest, ZxidsEndBefore2To53) {
  const std::string open = EncodeEntry({}, OpenSession{1000, {1}, {2}});
  EXPECT_FALSE(machine.state.Apply((std::int64_t{1} << 53) - 2, open).fatal.has_value());
  const Digest before = machine.state.digest();
  const ApplyResult refused = machine.state.Apply(std::int64_t{1} << 53, open);
  ASSERT_TRUE(refused.fatal.has_value());
  EXPECT_EQ(refused.fatal->kind, Fatal::Kind::kZxidExhausted);
  EXPECT_THAT(refused.fatal->message, ::testing::HasSubstr("9007199254740992"));
  EXPECT_EQ(machine.state.digest(), before);
  EXPECT_FALSE(machine.state.Apply((std::int64_t{1} << 53) - 1, open).fatal.has_value());
}

}  // namespace
}  // namespace conclave::tree
