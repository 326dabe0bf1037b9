// StateMachine: checkpoints and the slow scrub.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/tree/rows.h"
#include "coord/tree/state_machine.h"

namespace conclave::tree {
namespace {

// About what a member's row takes: addresses are short.
constexpr std::uint64_t kMemberRowBytes = 64;

std::size_t Rest(std::size_t rows_max, std::size_t used) {
  return rows_max > used ? rows_max - used : 0;
}

}  // namespace

// --- Checkpoints ---

std::uint64_t StateMachine::dirty_rows() const {
  return tree_.dirty().dirty_rows() + sessions_.dirty_rows() + dirty_members_.size();
}

std::uint64_t StateMachine::dirty_bytes() const {
  return tree_.dirty().dirty_bytes() + sessions_.dirty_bytes() +
         dirty_members_.size() * kMemberRowBytes;
}

StateRow StateMachine::MakeStateRow() const {
  StateRow row;
  row.last_zxid = last_zxid_;
  row.elapsed_ns = elapsed_ns_;
  row.feature_level = feature_level_;
  row.limits = NumbersOf(limits_);
  row.sessions = sessions_.size();
  row.replies = sessions_.reply_count();
  row.members = members_.size();
  row.znodes = tree_.znode_count();
  row.digest = digest();
  return row;
}

void StateMachine::BeginFreeze() {
  CHECK(!freezing_) << "a freeze is running";
  freezing_ = true;
  frozen_.SetState(MakeStateRow());
  for (const std::uint64_t id : std::exchange(dirty_members_, {})) {
    const MemberInfo& member = members_.at(id);
    frozen_.Add(MemberRow{id, member.incarnation, member.zxid, member.client_address,
                          member.admin_address});
  }
  tree_.dirty().BeginFreeze(last_zxid_, &frozen_);
  sessions_.BeginFreeze(&frozen_);
}

bool StateMachine::FreezeSlice(std::size_t rows_max) {
  CHECK(freezing_);
  const std::size_t walked = tree_.dirty().FreezeSlice(tree_, rows_max);
  sessions_.FreezeSlice(Rest(rows_max, walked));
  return tree_.dirty().complete() && sessions_.freeze_complete();
}

FrozenRows StateMachine::TakeFrozen() {
  CHECK(freezing_);
  sessions_.EndFreeze();
  tree_.dirty().EndFreeze();
  freezing_ = false;
  return std::exchange(frozen_, FrozenRows());
}

// --- The slow scrub ---

ScrubResult StateMachine::ScrubSlice(std::size_t rows_max) {
  std::size_t rows = 0;
  if (!tree_.scrub_complete()) {
    rows = tree_.ScrubSlice(rows_max);
  }
  if (tree_.scrub_complete() && rows < rows_max && !sessions_.scrub_complete()) {
    sessions_.ScrubSlice(rows_max - rows);
  }
  if (!tree_.scrub_complete() || !sessions_.scrub_complete()) {
    return {};
  }
  ScrubResult result = JudgeScrub();
  tree_.EndScrub();
  sessions_.EndScrub();
  return result;
}

ScrubResult StateMachine::JudgeScrub() const {
  const auto differs = [this](std::string_view what, const Digest& found, const Digest& expected) {
    return ScrubResult{
        ScrubResult::State::kMismatch,
        fmt::format("the digest of the {} recomputed at zxid {} is {}, and should be {}: memory of "
                    "this member has rotted",
                    what, last_zxid_, found.ToString(), expected.ToString())};
  };
  if (tree_.scrubbed() != tree_.digest()) {
    return differs("znodes", tree_.scrubbed(), tree_.digest());
  }
  if (sessions_.scrubbed() != sessions_.digest()) {
    return differs("sessions and their stored replies", sessions_.scrubbed(), sessions_.digest());
  }
  Digest members;
  for (const auto& [id, member] : members_) {
    members += MemberItem(id, member);
  }
  if (members != members_digest_) {
    return differs("members", members, members_digest_);
  }
  return {ScrubResult::State::kClean, {}};
}

}  // namespace conclave::tree
