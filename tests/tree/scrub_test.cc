// The slow scrub: finds rot wherever it is, and nothing else, while the state changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

using ::testing::HasSubstr;

class ScrubTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session = machine.Open();
    machine.Create(session, "/a-b");  // Behind all of /a, and before it as bytes.
    for (const char* top : {"/a", "/b", "/c"}) {
      machine.Create(session, top);
      for (int i = 0; i < 10; ++i) {
        machine.Create(session, std::string(top) + "/n" + std::to_string(i), "data");
      }
    }
    machine.Apply(machine.Header(0, 0), PublishMember{1, 1, "host:1", "host:2"});
  }

  // A pass to its end, with a change before every slice.
  ScrubResult Pass(std::size_t rows_max = 2) {
    for (int slice = 0;; ++slice) {
      ChangeSomething(slice);
      ScrubResult result = machine.state.ScrubSlice(rows_max);
      if (result.state != ScrubResult::State::kRunning) {
        slices = slice + 1;
        return result;
      }
    }
  }

  // Everywhere but in /b/n5, /c/n5 and their parents.
  void ChangeSomething(int turn) {
    const std::string name = std::to_string(turn % 5);
    machine.acked[session] = machine.seqs[session] - 2;
    machine.Call(session, SetData{"/a/n" + name, std::string(static_cast<std::size_t>(turn), 'x')});
    machine.Call(session, SetData{"/c/n" + name, "other"});
    machine.Call(session, SetData{"/a-b", name});
    machine.Create(session, "/a/m" + std::to_string(turn));
    if (turn % 2 == 1) {
      machine.Call(session, Delete{"/a/m" + std::to_string(turn - 1)});
    }
  }

  Machine machine;
  std::int64_t session = 0;
  int slices = 0;
};

TEST_F(ScrubTest, SoundMemoryIsCleanPassAfterPass) {
  for (const std::size_t rows : {1, 2, 3, 5, 8, 1000}) {
    const ScrubResult result = Pass(rows);
    EXPECT_EQ(result.state, ScrubResult::State::kClean) << result.message;
    if (rows == 1000) {
      EXPECT_EQ(slices, 1);
    } else {
      EXPECT_GT(slices, 4);
    }
    EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
  }
}

TEST_F(ScrubTest, FindsRotInAnUntouchedZnodeWhileOthersChange) {
  EXPECT_EQ(Pass().state, ScrubResult::State::kClean);
  TreeTestPeer::Rot(machine.state, "/b");
  const ScrubResult result = Pass();
  EXPECT_EQ(result.state, ScrubResult::State::kMismatch);
  EXPECT_THAT(result.message,
              HasSubstr("znodes recomputed at zxid " + std::to_string(machine.zxid)));
  TreeTestPeer::Rot(machine.state, "/b");  // The same bit again: sound.
  EXPECT_EQ(Pass().state, ScrubResult::State::kClean);
}

TEST_F(ScrubTest, RotBehindTheCursorIsFoundByTheNextPass) {
  ASSERT_EQ(machine.state.ScrubSlice(30).state, ScrubResult::State::kRunning);
  TreeTestPeer::Rot(machine.state, "/b");
  EXPECT_EQ(Pass().state, ScrubResult::State::kClean) << "it was sound when the scrub was there";
  EXPECT_EQ(Pass().state, ScrubResult::State::kMismatch);
}

TEST_F(ScrubTest, RotIsFoundAlsoWhenTheZnodeGoesBeforeTheScrubComes) {
  machine.Create(session, "/d");
  machine.Create(session, "/d/x");
  machine.Call(session, Delete{"/d/x"});
  ASSERT_EQ(machine.state.ScrubSlice(1).state, ScrubResult::State::kRunning);
  TreeTestPeer::Rot(machine.state, "/d");
  machine.Call(session, Delete{"/d"});
  EXPECT_EQ(Pass().state, ScrubResult::State::kMismatch)
      << "what was taken out of the sum is not what was put in";
}

TEST_F(ScrubTest, FindsRotInASession) {
  const std::int64_t quiet = machine.Open();
  machine.Create(quiet, "/q");
  TreeTestPeer::RotSession(machine.state, quiet);
  const ScrubResult result = Pass();
  EXPECT_EQ(result.state, ScrubResult::State::kMismatch);
  EXPECT_THAT(result.message, HasSubstr("sessions"));
  TreeTestPeer::RotSession(machine.state, quiet);
  TreeTestPeer::RotReply(machine.state, quiet);
  EXPECT_EQ(Pass().state, ScrubResult::State::kMismatch);
  TreeTestPeer::RotReply(machine.state, quiet);
  EXPECT_EQ(Pass().state, ScrubResult::State::kClean);
}

TEST_F(ScrubTest, FindsRotInAMember) {
  TreeTestPeer::RotMember(machine.state, 1);
  const ScrubResult result = Pass();
  EXPECT_EQ(result.state, ScrubResult::State::kMismatch);
  EXPECT_THAT(result.message, HasSubstr("members"));
}

TEST_F(ScrubTest, SessionsComeAndGoUnderIt) {
  for (int round = 0; round < 20; ++round) {
    const std::int64_t brief = machine.Open();
    machine.Create(brief, "/e", "", CreateMode::kEphemeral);
    EXPECT_NE(machine.state.ScrubSlice(11).state, ScrubResult::State::kMismatch);
    machine.Close(brief);
    EXPECT_NE(machine.state.ScrubSlice(11).state, ScrubResult::State::kMismatch);
  }
}

TEST_F(ScrubTest, ASliceIsNoLongerThanAsked) {
  const std::size_t znodes = machine.state.tree().znode_count();
  std::size_t count = 0;
  while (machine.state.ScrubSlice(10).state == ScrubResult::State::kRunning) {
    ++count;
  }
  EXPECT_GE(count, znodes / 10);
  for (int i = 0; i < 20; ++i) {
    machine.Create(session, "/large" + std::to_string(i), std::string(10 * 4096, 'x'));
  }
  std::size_t with_large = 0;
  while (machine.state.ScrubSlice(10).state == ScrubResult::State::kRunning) {
    ++with_large;
  }
  EXPECT_GE(with_large, count + 19) << "what takes longer counts for more";
}

}  // namespace
}  // namespace conclave::tree
