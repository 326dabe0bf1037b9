// Random histories against the naive model, and the same history at two members: one that goes on
// for ever, and one that takes checkpoints all the time and is often replaced by what is loaded
// from them, with the entries since applied again.
#include "tests/tree/model.h"

#include <memory>
#include <random>
#include <sstream>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "coord/tree/command.h"
#include "coord/tree/state_machine.h"
#include "tests/tree/checkpoint.h"

namespace conclave::tree {
namespace {

using tree_model::Model;
using tree_model::ModelNode;
using tree_model::ModelOp;
using tree_model::ModelResult;

std::string Show(const ModelResult& result) {
  std::ostringstream out;
  out << result.code << " path=" << result.path << " zxid=" << result.zxid
      << " expected=" << result.expected_seq;
  for (const ModelResult& one : result.multi) {
    out << " [" << one.code << " " << one.path << "]";
  }
  return out.str();
}

// The path of an error is for people; only those of creates are compared.
std::string Show(const Reply& reply) {
  std::ostringstream out;
  out << NameOf(reply.code) << " path=" << (reply.code == Code::kOk ? reply.path : "")
      << " zxid=" << reply.zxid << " expected=" << reply.expected_seq;
  for (const OpResult& one : reply.multi) {
    out << " [" << NameOf(one.code) << " " << (one.code == Code::kOk ? one.path : "") << "]";
  }
  return out.str();
}

std::string Show(std::string_view path, const Stat& s, bool has_data, std::string_view data) {
  std::ostringstream out;
  out << path << " c=" << s.czxid << " m=" << s.mzxid << " p=" << s.pzxid << " ct=" << s.ctime_ms
      << " mt=" << s.mtime_ms << " v=" << s.version << " cv=" << s.cversion << " av=" << s.aversion
      << " owner=" << s.ephemeral_owner << " len=" << s.data_length
      << " children=" << s.num_children << " data=" << (has_data ? "'" : "null") << data;
  return out.str();
}

Op ToOp(const ModelOp& op) {
  switch (op.kind) {
    case ModelOp::Kind::kCreate:
      return Create{op.path, op.data,
                    static_cast<CreateMode>((op.ephemeral ? 1 : 0) + (op.sequential ? 2 : 0))};
    case ModelOp::Kind::kDelete:
      return Delete{op.path, op.version};
    case ModelOp::Kind::kSet:
      return SetData{op.path, op.data, op.version};
    case ModelOp::Kind::kCheck:
      break;
  }
  return Check{op.path, op.version};
}

// One run: a model, two machines that get the same bytes, and the dice.
class History {
 public:
  explicit History(std::uint64_t seed) : random_(seed) {}

  void Run(int entries) {
    for (int i = 0; i < entries && !::testing::Test::HasFailure(); ++i) {
      zxid_ += 1 + Roll(3);  // Raft's own entries take indexes too.
      wall_ += Roll(50);
      const auto dice = Roll(100);
      if (sessions_.empty() || dice < 2) {
        OpenOne();
      } else if (dice < 3) {
        CloseOne();
      } else if (dice < 4) {
        TakeOverOne();
      } else {
        RequestOne();
      }
      CheckpointOn();
      ScrubOn(*machine_);
      ScrubOn(twin_);
      CompareCheaply();
      if (i % 20 == 0) {
        CompareEverything();
      }
    }
    CompareEverything();
  }

  const StateMachine& machine() const { return *machine_; }

  int executed() const { return executed_; }

  int restored() const { return restored_; }

  int scrubbed() const { return scrubbed_; }

 private:
  std::int64_t Roll(std::int64_t below) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(below));
  }

  ApplyResult Apply(EntryHeader header, const Command& command) {
    header.wall_ms = wall_;
    header.elapsed_ns = wall_ * 1000;
    const std::string bytes = EncodeEntry(header, command);
    since_.emplace_back(zxid_, bytes);
    ApplyResult other = twin_.Apply(zxid_, bytes);
    ApplyResult result = machine_->Apply(zxid_, bytes);
    EXPECT_FALSE(result.fatal.has_value());
    EXPECT_EQ(result.reply, other.reply);
    EXPECT_EQ(result.changes.size(), other.changes.size());
    return result;
  }

  // A step of a checkpoint that is being taken, or the first of another one; at its end the machine
  // may be replaced.
  void CheckpointOn() {
    if (!machine_->freezing()) {
      if (Roll(10) == 0) {
        ASSERT_EQ(machine_->last_zxid(), zxid_);
        machine_->BeginFreeze();
        frozen_at_ = machine_->digest();
        since_.clear();
      }
      return;
    }
    if (!machine_->FreezeSlice(static_cast<std::size_t>(Roll(6)))) {
      return;
    }
    FrozenRows frozen = machine_->TakeFrozen();
    checkpoint_.Put(frozen);
    ASSERT_EQ(checkpoint_.digest, frozen_at_);
    if (Roll(4) == 0) {
      Restore();
    }
  }

  // Whatever changes between its slices, the scrub of sound memory is clean.
  void ScrubOn(StateMachine& machine) {
    const ScrubResult result = machine.ScrubSlice(static_cast<std::size_t>(Roll(8)));
    EXPECT_NE(result.state, ScrubResult::State::kMismatch) << result.message;
    scrubbed_ += result.state == ScrubResult::State::kClean ? 1 : 0;
  }

  void Restore() {
    Loaded loaded = checkpoint_.Load();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message << " at zxid " << zxid_;
    machine_ = std::move(*loaded);
    EXPECT_EQ(machine_->dirty_rows(), 0U);
    EXPECT_EQ(machine_->dirty_bytes(), 0U);
    for (const auto& [zxid, bytes] : since_) {
      EXPECT_FALSE(machine_->Apply(zxid, bytes).fatal.has_value());
    }
    ++restored_;
    CompareCheaply();
    CompareEverything();
  }

  void OpenOne() {
    OpenSession open;
    open.timeout_ms = 1000;
    open.secret.fill(1);
    open.nonce.fill(static_cast<std::uint8_t>(1 + opened_ % 255));
    open.nonce[0] = static_cast<std::uint8_t>(++opened_ / 255);
    ASSERT_EQ(Apply({}, open).reply.session, zxid_);
    model_.Open(zxid_);
    sessions_.push_back(zxid_);
  }

  void CloseOne() {
    const auto at = sessions_.begin() + Roll(static_cast<std::int64_t>(sessions_.size()));
    const std::vector<std::string> expected = model_.Close(zxid_, *at);
    std::vector<std::string> paths;
    for (const Change& change : Apply({}, CloseSession{*at}).changes) {
      EXPECT_EQ(change.type, ChangeType::kDeleted);
      paths.push_back(change.path);
    }
    EXPECT_EQ(paths, expected);
    gone_ = *at;
    sessions_.erase(at);
  }

  void TakeOverOne() {
    const std::int64_t session =
        sessions_[static_cast<std::size_t>(Roll(static_cast<std::int64_t>(sessions_.size())))];
    EntryHeader header;
    header.session = session;
    header.seq = std::max<std::int64_t>(1, model_.sessions[session].last_seq + 2 - Roll(3));
    const ModelResult expected = model_.TakeOver(zxid_, session, header.seq);
    const Reply reply = Apply(header, TakeOver{}).reply;
    ASSERT_EQ(Show(reply), Show(expected)) << "at zxid " << zxid_;
    ASSERT_EQ(reply.expected_seq, expected.expected_seq);
  }

  std::string RandomPath() {
    static const char* const kNames[] = {"a", "b", "c", "a0000000001", "zookeeper", "x.y"};
    static const char* const kOdd[] = {"",      "/",    "a",     "/a/",  "//",
                                       "/a//b", "/./a", "/a/..", "/\x01"};
    if (Roll(40) == 0) {
      return kOdd[Roll(std::size(kOdd))];
    }
    if (Roll(3) == 0) {  // Something that exists, or a child of it.
      auto it = model_.nodes.begin();
      std::advance(it, Roll(static_cast<std::int64_t>(model_.nodes.size())));
      return Roll(2) == 0 ? it->first : (it->first == "/" ? "" : it->first) + "/n";
    }
    std::string path;
    for (std::int64_t depth = 1 + Roll(3); depth > 0; --depth) {
      path += std::string("/") + kNames[Roll(std::size(kNames))];
    }
    return path;
  }

  ModelOp RandomOp(bool in_multi) {
    ModelOp op;
    const auto dice = Roll(in_multi ? 12 : 10);
    op.kind = dice < 5    ? ModelOp::Kind::kCreate
              : dice < 8  ? ModelOp::Kind::kDelete
              : dice < 10 ? ModelOp::Kind::kSet
                          : ModelOp::Kind::kCheck;
    op.path = RandomPath();
    if (Roll(4) != 0) {
      op.data = std::string(static_cast<std::size_t>(Roll(12)), static_cast<char>('a' + Roll(3)));
    }
    op.ephemeral = Roll(3) == 0;
    op.sequential = Roll(3) == 0;
    op.version = Roll(3) == 0 ? static_cast<int>(Roll(3)) : -1;
    return op;
  }

  void RequestOne() {
    const std::int64_t session = gone_ != 0 && Roll(50) == 0
                                     ? gone_
                                     : sessions_[static_cast<std::size_t>(
                                           Roll(static_cast<std::int64_t>(sessions_.size())))];
    const auto& known =
        model_.sessions[session];  // Of a gone one an empty record, taken out below.
    EntryHeader header;
    header.session = session;
    header.seq = known.last_seq + 1;
    const auto dice = Roll(12);
    if (dice == 0) {
      header.seq = 1 + known.last_seq - Roll(std::min<std::int64_t>(known.last_seq + 1, 20));
    } else if (dice == 2) {
      header.seq = 1 + Roll(known.last_seq + 1);  // A retry, or a number that was taken away.
    } else if (dice == 1) {
      header.seq += 1 + Roll(5);  // A gap.
    }
    header.acked_through = Roll(5) == 0 ? known.last_seq - Roll(3) : 0;
    if (session == gone_) {
      model_.sessions.erase(session);
    }
    std::vector<ModelOp> ops;
    const bool is_multi = Roll(4) == 0;
    Multi multi;
    for (std::int64_t left = is_multi ? Roll(6) : 1; left > 0; --left) {
      ops.push_back(RandomOp(is_multi));
      multi.ops.push_back(ToOp(ops.back()));
    }
    Command command = multi;
    if (!is_multi) {
      std::visit(
          [&command](const auto& op) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, Check>) {
              command = op;
            }
          },
          multi.ops[0]);
    }
    const ModelResult expected =
        model_.Request(zxid_, wall_, session, header.seq, header.acked_through, ops, is_multi);
    const ApplyResult result = Apply(header, command);
    ASSERT_EQ(Show(result.reply), Show(expected)) << "at zxid " << zxid_;
    executed_ += result.reply.code == Code::kOk && !result.duplicate ? 1 : 0;
    if (result.reply.code == Code::kOk && !is_multi && ops[0].kind != ModelOp::Kind::kDelete &&
        !result.duplicate) {
      const std::string& path =
          ops[0].kind == ModelOp::Kind::kCreate ? result.reply.path : ops[0].path;
      EXPECT_EQ(result.reply.stat, machine_->tree().Find(path)->stat());
    }
  }

  void CompareCheaply() { ASSERT_EQ(machine_->digest(), twin_.digest()) << "at zxid " << zxid_; }

  void CompareEverything() {
    ASSERT_EQ(machine_->digest(), machine_->RecomputeDigest()) << "at zxid " << zxid_;
    ASSERT_EQ(machine_->Audit(), "") << "at zxid " << zxid_;
    ASSERT_EQ(machine_->tree().znode_count(), model_.nodes.size());
    for (const auto& [path, node] : model_.nodes) {
      const auto real = machine_->tree().Get(path);
      ASSERT_TRUE(real.has_value()) << path << " at zxid " << zxid_;
      const int children = model_.ChildCount(path);
      Stat stat;
      stat.czxid = node.czxid;
      stat.mzxid = node.mzxid;
      stat.pzxid = node.pzxid;
      stat.ctime_ms = node.ctime;
      stat.mtime_ms = node.mtime;
      stat.version = node.version;
      stat.cversion = 2 * node.creates - children;
      stat.ephemeral_owner = node.owner;
      stat.data_length = node.data.has_value() ? static_cast<int>(node.data->size()) : 0;
      stat.num_children = children;
      ASSERT_EQ(Show(path, real->stat, real->value->has_data(), real->value->data()),
                Show(path, stat, node.data.has_value(), node.data.value_or("")))
          << "at zxid " << zxid_;
      ASSERT_EQ(machine_->tree().Children(path, "", 1'000'000, 1'000'000)->names,
                model_.ChildNames(path));
    }
    ASSERT_EQ(machine_->sessions().size(), model_.sessions.size());
    for (const auto& [id, session] : model_.sessions) {
      const Session* real = machine_->sessions().Find(id);
      ASSERT_NE(real, nullptr);
      ASSERT_EQ(real->last_seq, session.last_seq);
      ASSERT_EQ(real->acked_through, session.acked);
      ASSERT_EQ(real->taken_over_through, session.lost_through);
    }
  }

  std::mt19937_64 random_;
  Model model_;
  std::unique_ptr<StateMachine> machine_ = std::make_unique<StateMachine>();
  StateMachine twin_;
  std::int64_t zxid_ = 0;
  std::int64_t wall_ = 1'000'000;
  std::int64_t opened_ = 0;
  std::int64_t gone_ = 0;
  int executed_ = 0;
  std::vector<std::int64_t> sessions_;
  Checkpoint checkpoint_;
  Digest frozen_at_;
  std::vector<std::pair<std::int64_t, std::string>> since_;  // Entries since the last BeginFreeze.
  int restored_ = 0;
  int scrubbed_ = 0;
};

class TreeModelTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(TreeModelTest, RandomHistory) {
  History history(GetParam());
  history.Run(1500);
  EXPECT_GT(history.executed(), 300) << "the dice must let most of the history do something";
  EXPECT_GT(history.restored(), 5) << "the dice must restore from time to time";
  EXPECT_GT(history.scrubbed(), 20) << "the scrub must come round";
}

INSTANTIATE_TEST_SUITE_P(Seeds, TreeModelTest, ::testing::Range<std::uint64_t>(1, 13));

TEST(TreeDeterminismTest, ASecondRunGivesTheSameDigest) {
  History first(99);
  History second(99);
  first.Run(500);
  second.Run(500);
  EXPECT_EQ(first.machine().digest(), second.machine().digest());
  History other(98);
  other.Run(500);
  EXPECT_NE(first.machine().digest(), other.machine().digest());
}

}  // namespace
}  // namespace conclave::tree
