// Random histories at two members under small limits: one never stops, the other takes checkpoints
// in small slices and is again and again replaced by what is loaded from them. Whatever is asked,
// both answer the same.
#include <array>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/tree/checkpoint.h"
#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

Limits SmallLimits() {
  Limits limits;
  limits.replies_per_session_max = 5;
  limits.reply_bytes_per_session_max = 900;
  limits.ephemerals_per_session_max = 4;
  limits.value_bytes_max = 300;
  limits.multi_ops_max = 6;
  return limits;
}

class Twins {
 public:
  explicit Twins(std::uint64_t seed) : random_(seed) {}

  void Run(int entries) {
    for (int i = 0; i < entries && !::testing::Test::HasFailure(); ++i) {
      OneEntry();
      CheckpointOn();
      ASSERT_EQ(machine_->digest(), twin_.state.digest()) << "at zxid " << twin_.zxid;
    }
    ASSERT_EQ(machine_->RecomputeDigest(), twin_.state.digest());
    ASSERT_EQ(machine_->Audit(), "");
    AskAllAgain();
  }

  int restored() const { return restored_; }

  std::size_t dropped() const { return dropped_; }

 private:
  std::int64_t Roll(std::int64_t below) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(below));
  }

  void Apply(const EntryHeader& header, const Command& command) {
    twin_.zxid += Roll(3);
    twin_.elapsed_ns += Roll(1000);
    const ApplyResult expected = twin_.Apply(header, command);
    const ApplyResult result = machine_->Apply(twin_.zxid, twin_.log.back().second);
    EXPECT_EQ(result.reply, expected.reply) << "at zxid " << twin_.zxid;
    EXPECT_EQ(result.duplicate, expected.duplicate);
    ASSERT_EQ(result.changes.size(), expected.changes.size());
    for (std::size_t i = 0; i < result.changes.size(); ++i) {
      EXPECT_EQ(result.changes[i].path, expected.changes[i].path);
      EXPECT_EQ(result.changes[i].stat, expected.changes[i].stat);
      EXPECT_EQ(result.changes[i].value->data(), expected.changes[i].value->data());
    }
    dropped_ += expected.reply.code == Code::kReplyDropped && expected.reply.zxid != 0 ? 1 : 0;
  }

  void OneEntry() {
    const std::int64_t dice = Roll(100);
    if (sessions_.size() < 2 || dice < 3) {
      OpenSession open;
      open.timeout_ms = 1000;
      open.secret.fill(9);
      ++opened_;
      open.nonce = {1, static_cast<std::uint8_t>(opened_ / 256),
                    static_cast<std::uint8_t>(opened_ % 256)};
      Apply({}, open);
      sessions_.push_back(twin_.zxid);
    } else if (dice < 6) {
      const auto at = sessions_.begin() + Roll(static_cast<std::int64_t>(sessions_.size()));
      Apply({}, CloseSession{*at, CloseReason::kExpired});
      sessions_.erase(at);
    } else if (dice < 8) {
      const auto id = static_cast<std::uint64_t>(Roll(4));
      Apply({}, PublishMember{id, random_() % 3, "host:" + std::to_string(Roll(9)), ""});
    } else {
      Request();
    }
  }

  std::string Path() {
    static constexpr std::array<const char*, 5> kNames = {"a", "b", "b-c", "longer-name", "d"};
    std::string path;
    for (std::int64_t depth = 1 + Roll(3); depth > 0; --depth) {
      path += std::string("/") + kNames[static_cast<std::size_t>(Roll(kNames.size()))];
    }
    return path;
  }

  Op OneOp() {
    const std::string data(static_cast<std::size_t>(Roll(Roll(8) == 0 ? 310 : 20)), 'd');
    switch (Roll(7)) {
      case 0:
      case 1:
      case 2:
        return tree::Create{Path(), data, static_cast<CreateMode>(Roll(4))};
      case 3:
      case 4:
        return Delete{Path()};
      case 5:
        return Check{Path(), static_cast<std::int32_t>(Roll(3)) - 1};
      default:
        return SetData{Path(), data, static_cast<std::int32_t>(Roll(2)) - 1};
    }
  }

  void Request() {
    const std::int64_t session =
        sessions_[static_cast<std::size_t>(Roll(static_cast<std::int64_t>(sessions_.size())))];
    std::int64_t& seq = twin_.seqs[session];
    const bool retry = seq > 0 && Roll(6) == 0;
    if (Roll(4) == 0) {
      twin_.acked[session] = Roll(seq + 1);
    }
    Multi multi;
    for (std::int64_t left = 1 + Roll(5); left > 0; --left) {
      multi.ops.push_back(OneOp());
    }
    const std::int64_t number = retry ? 1 + Roll(seq) : ++seq;
    Apply(twin_.Header(session, number), multi);
  }

  void CheckpointOn() {
    if (!machine_->freezing()) {
      if (Roll(8) == 0) {
        machine_->BeginFreeze();
      }
      return;
    }
    if (!machine_->FreezeSlice(static_cast<std::size_t>(Roll(5)))) {
      return;
    }
    FrozenRows frozen = machine_->TakeFrozen();
    checkpoint_.Put(frozen);
    if (Roll(3) != 0) {
      return;
    }
    Loaded loaded = checkpoint_.Load(SmallLimits());
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message << " at zxid " << twin_.zxid;
    machine_ = std::move(*loaded);
    for (const auto& [zxid, entry] : twin_.log) {
      if (zxid > checkpoint_.zxid) {
        machine_->Apply(zxid, entry);
      }
    }
    ++restored_;
  }

  // Every request of every session, again.
  void AskAllAgain() {
    for (const std::int64_t session : sessions_) {
      for (std::int64_t seq = 1; seq <= twin_.seqs[session]; ++seq) {
        Apply(twin_.Header(session, seq), tree::Create{"/again"});
      }
    }
  }

  std::mt19937_64 random_;
  Machine twin_{SmallLimits()};
  std::unique_ptr<StateMachine> machine_ = std::make_unique<StateMachine>(SmallLimits());
  Checkpoint checkpoint_;
  std::vector<std::int64_t> sessions_;
  int opened_ = 0;
  int restored_ = 0;
  std::size_t dropped_ = 0;
};

class CheckpointPropertyTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(CheckpointPropertyTest, ARestoredMemberIsTheSame) {
  Twins twins(GetParam());
  twins.Run(600);
  EXPECT_GT(twins.restored(), 5);
  EXPECT_GT(twins.dropped(), 3U) << "bodies must have been dropped";
}

INSTANTIATE_TEST_SUITE_P(Seeds, CheckpointPropertyTest, ::testing::Range<std::uint64_t>(1, 13));

}  // namespace
}  // namespace conclave::tree
