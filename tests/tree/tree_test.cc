// Reads of the tree, values that outlive their znodes, the digest, and the table of codes.
#include "coord/tree/tree.h"

#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coord/tree/path.h"
#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::size_t kMany = 1'000'000;

class TreeTest : public ::testing::Test {
 protected:
  void SetUp() override { session = machine.Open(); }

  std::vector<std::string> Names(std::string_view path, std::string_view after, std::size_t count,
                                 std::size_t bytes, bool* more = nullptr) {
    const auto page = machine.state.tree().Children(path, after, count, bytes);
    EXPECT_TRUE(page.has_value());
    if (more != nullptr) {
      *more = page->more;
    }
    return page->names;
  }

  Machine machine;
  std::int64_t session = 0;
};

TEST_F(TreeTest, ReadsCheckNothingButExistence) {
  machine.Create(session, "/a", "data");
  machine.Create(session, "/a/b");
  const Tree& tree = machine.state.tree();
  EXPECT_EQ(tree.Get("/a")->value->data(), "data");
  EXPECT_EQ(tree.Get("/a")->stat, machine.StatOf("/a"));
  EXPECT_EQ(tree.Exists("/a").value(), machine.StatOf("/a"));
  const std::string nul("/a\0", 3);
  for (const std::string& path :
       {std::string("/x"), std::string(""), std::string("a"), std::string("/a/"), std::string("//"),
        std::string("//a"), std::string("/a//b"), std::string("/a/x"), nul}) {
    EXPECT_EQ(tree.Get(path).error().code, Code::kNoNode) << path;
    EXPECT_EQ(tree.Children(path, "", 1, 1).error().code, Code::kNoNode) << path;
    EXPECT_EQ(tree.Exists(path).error().code, path == nul ? Code::kInvalidArgument : Code::kNoNode);
  }
}

TEST_F(TreeTest, ChildrenComeInPagesAndInOrder) {
  machine.Create(session, "/p");
  for (const char* name : {"b", "d", "a", "c", "dd"}) {
    machine.Create(session, std::string("/p/") + name);
  }
  bool more = true;
  EXPECT_THAT(Names("/p", "", kMany, kMany, &more), ElementsAre("a", "b", "c", "d", "dd"));
  EXPECT_FALSE(more);
  EXPECT_THAT(Names("/p", "", 2, kMany, &more), ElementsAre("a", "b"));
  EXPECT_TRUE(more);
  EXPECT_THAT(Names("/p", "b", 3, kMany, &more), ElementsAre("c", "d", "dd"));
  EXPECT_FALSE(more);
  EXPECT_THAT(Names("/p", "bb", 1, kMany), ElementsAre("c")) << "a name that is not there";
  EXPECT_THAT(Names("/p", "dd", kMany, kMany, &more), IsEmpty());
  EXPECT_FALSE(more);
  EXPECT_THAT(Names("/p", "", kMany, 3, &more), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(more);
  EXPECT_THAT(Names("/p", "d", 0, 0, &more), ElementsAre("dd")) << "a page is never empty";
  EXPECT_FALSE(more);
  EXPECT_THAT(Names("/p/a", "", kMany, kMany, &more), IsEmpty());
  EXPECT_FALSE(more);
  EXPECT_EQ(machine.state.tree().Children("/p", "", 1, 1)->stat, machine.StatOf("/p"));
}

TEST_F(TreeTest, ALargeDirectoryStaysInOrderUnderChurn) {
  machine.Create(session, "/p");
  std::set<std::string> expected;
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "n" + std::to_string(i * 617 % 2000);
    machine.Create(session, "/p/" + name);
    expected.insert(name);
    if (i % 3 == 0) {
      machine.Call(session, Delete{"/p/" + *expected.begin()});
      expected.erase(expected.begin());
    }
  }
  EXPECT_EQ(Names("/p", "", kMany, kMany),
            std::vector<std::string>(expected.begin(), expected.end()));
  EXPECT_EQ(machine.state.Audit(), "");
  EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
}

TEST_F(TreeTest, AValueOutlivesItsZnode) {
  machine.Create(session, "/a", std::string(1000, 'v'));
  ValueRef held = machine.state.tree().Get("/a")->value;
  machine.Call(session, SetData{"/a", "other"});
  EXPECT_EQ(held->data(), std::string(1000, 'v'));
  EXPECT_EQ(held->version(), 0);
  EXPECT_EQ(held->name(), "a");
  const ValueRef second = machine.state.tree().Get("/a")->value;
  machine.Call(session, Delete{"/a"});
  EXPECT_EQ(second->data(), "other");
  EXPECT_EQ(second->version(), 1);
  held = second;
  EXPECT_EQ(held.get(), second.get());
}

TEST_F(TreeTest, AReadSharesTheValueAndDoesNotCopyIt) {
  machine.Create(session, "/a", "v");
  const ValueRef value = machine.state.tree().Get("/a")->value;
  machine.Create(session, "/a/child");
  EXPECT_EQ(machine.state.tree().Get("/a")->value.get(), value.get())
      << "a create of a child must not copy the data of the parent";
}

TEST_F(TreeTest, ReferencesMayBeDroppedOnAnotherThread) {
  machine.Create(session, "/a", "v");
  const ValueRef value = machine.state.tree().Get("/a")->value;
  std::thread other([copy = value]() mutable {
    for (int i = 0; i < 10'000; ++i) {
      ValueRef again = copy;
      copy = std::move(again);
    }
  });
  for (int i = 0; i < 10'000; ++i) {
    ValueRef again = value;
    EXPECT_EQ(again->data(), "v");
  }
  other.join();
  machine.Call(session, Delete{"/a"});
  EXPECT_EQ(value->data(), "v");
}

TEST_F(TreeTest, ALeafTakesOneAllocationAndNoWaste) {
  Value::Fields fields;
  const ValueRef value = Value::Make(fields, "node-0000", std::string(100, 'x'));
  EXPECT_EQ(value->allocated_bytes(), 59U + 9U + 100U);
  EXPECT_EQ(sizeof(Znode), 8U);
}

TEST_F(TreeTest, ForEachVisitsParentsFirstAndSiblingsInOrder) {
  for (const char* path : {"/b", "/a", "/a/y", "/a/x", "/b/z"}) {
    machine.Create(session, path);
  }
  std::vector<std::string> visited;
  machine.state.tree().ForEach([&visited](std::string_view path, const Znode& znode) {
    visited.emplace_back(path);
    EXPECT_EQ(znode.name(), BaseName(path));
  });
  EXPECT_THAT(visited, ElementsAre("/", "/a", "/a/x", "/a/y", "/b", "/b/z", "/zookeeper",
                                   "/zookeeper/config", "/zookeeper/quota"));
}

TEST_F(TreeTest, CountsZnodesAndBytes) {
  machine.Create(session, "/a", "12345");
  machine.Create(session, "/b", "123");
  EXPECT_EQ(machine.state.tree().znode_count(), 6U);
  EXPECT_EQ(machine.state.tree().data_bytes(), 8U);
  machine.Call(session, SetData{"/a", "1"});
  machine.Call(session, Delete{"/b"});
  machine.Call(session, Multi{{Create{"/c", "xx"}, SetData{"/a", "yyyy"}, Check{"/none"}}});
  EXPECT_EQ(machine.state.tree().znode_count(), 5U);
  EXPECT_EQ(machine.state.tree().data_bytes(), 1U);
}

// --- Digest ---

// Each pair of machines differs in one thing that is replicated.
TEST(DigestTest, CoversEverythingThatIsReplicated) {
  using Change = void (*)(Machine&, std::int64_t session);
  const Change changes[] = {
      [](Machine&, std::int64_t) {},
      [](Machine& m, std::int64_t s) { m.Create(s, "/a", "1"); },
      [](Machine& m, std::int64_t s) { m.Create(s, "/a", "2"); },
      [](Machine& m, std::int64_t s) { m.Create(s, "/a", ""); },
      [](Machine& m, std::int64_t s) { m.Create(s, "/a"); },
      [](Machine& m, std::int64_t s) { m.Create(s, "/b", "1"); },
      [](Machine& m, std::int64_t s) { m.Create(s, "/a", "1", CreateMode::kEphemeral); },
      [](Machine& m, std::int64_t s) { (m.wall_ms += 1, m.Create(s, "/a", "1")); },
      [](Machine& m, std::int64_t s) { (m.elapsed_ns += 1, m.Create(s, "/a", "1")); },
      [](Machine& m, std::int64_t s) { m.Call(s, Delete{"/a"}); },
      [](Machine& m, std::int64_t s) { m.Call(s, Delete{"/b"}); },
      [](Machine& m, std::int64_t) { m.Open(1000); },
      [](Machine& m, std::int64_t) { m.Open(2000); },
      [](Machine& m, std::int64_t s) { m.Close(s); },
      [](Machine& m, std::int64_t) {
        m.Apply({}, PublishMember{1, 2, "a", "b"});
      },
      [](Machine& m, std::int64_t) {
        m.Apply({}, PublishMember{1, 3, "a", "b"});
      },
      [](Machine& m, std::int64_t) {
        m.Apply({}, PublishMember{1, 2, "a", "c"});
      },
      [](Machine& m, std::int64_t) {
        m.Apply({}, PublishMember{1, 2, "c", "b"});
      },
      [](Machine& m, std::int64_t) {
        m.Apply({}, PublishMember{2, 2, "a", "b"});
      },
      [](Machine& m, std::int64_t) { m.Apply({}, SetFeatureLevel{1}); },
      [](Machine& m, std::int64_t) {
        m.Apply({}, OpenSession{1000, Bytes16{7}, Bytes16{200}});
      },
      [](Machine& m, std::int64_t) {
        m.Apply({}, OpenSession{1000, Bytes16{8}, Bytes16{200}});
      },
      [](Machine& m, std::int64_t) {
        m.Apply({}, OpenSession{1000, Bytes16{7}, Bytes16{201}});
      },
  };
  std::set<std::string> digests;
  for (const Change& change : changes) {
    Machine machine;
    const std::int64_t session = machine.Open();
    change(machine, session);
    EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
    EXPECT_TRUE(digests.insert(machine.state.digest().ToString()).second)
        << "change " << digests.size();
  }
  Limits limits;
  limits.depth_max = 63;
  EXPECT_NE(StateMachine(limits).digest(), StateMachine().digest());
  EXPECT_EQ(StateMachine().digest(), StateMachine().digest());
}

TEST(DigestTest, OnlyTheFullOneNoticesRot) {
  Machine machine;
  machine.Create(machine.Open(), "/a");
  machine.Create(machine.Open(), "/a");
  const Digest before = machine.state.digest();
  TreeTestPeer::Rot(machine.state, "/zookeeper");
  EXPECT_EQ(machine.state.digest(), before);
  EXPECT_NE(machine.state.RecomputeDigest(), before);
}

// --- Codes ---

TEST(CodeTest, TheTable) {
  EXPECT_EQ(static_cast<int>(Code::kOk), 0);
  EXPECT_EQ(static_cast<int>(Code::kReplyDropped), 12);
  EXPECT_EQ(static_cast<int>(Code::kRefused), 13);
  EXPECT_EQ(static_cast<int>(Code::kSessionExpired), 50);
  EXPECT_EQ(NameOf(Code::kNoNode), "NoNode");
  EXPECT_EQ(ActionOf(Code::kNoNode), Action::kAnswer);
  EXPECT_EQ(ActionOf(Code::kNotLeader), Action::kRetryElsewhere);
  EXPECT_EQ(ActionOf(Code::kOverloaded), Action::kRetryLater);
  EXPECT_EQ(ActionOf(Code::kUnknownOutcome), Action::kOutcomeUnknown);
  EXPECT_EQ(ActionOf(Code::kSessionExpired), Action::kSessionOver);
  EXPECT_EQ(ActionOf(Code::kCorruption), Action::kBroken);
  EXPECT_EQ(ActionOf(static_cast<Code>(255)), Action::kBroken);
  int known = 0;
  for (std::int64_t value = -1; value < 300; ++value) {
    const auto code = CodeFromWire(value);
    if (code.has_value()) {
      ++known;
      EXPECT_EQ(static_cast<std::int64_t>(*code), value);
      EXPECT_FALSE(TextOf(*code).empty());
      EXPECT_NE(NameOf(*code), "Unknown");
    }
  }
  EXPECT_EQ(known, 23);
}

}  // namespace
}  // namespace conclave::tree
