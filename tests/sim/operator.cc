#include "tests/sim/operator.h"

#include <algorithm>
#include <utility>

namespace conclave::sim {

using raft::ConfigChange;
using raft::MemberId;
using Kind = raft::ConfigChange::Kind;

namespace {

constexpr std::int64_t kTimeoutMs = 2'000;
constexpr int kTriesMax = 20;

}  // namespace

Operator::Operator(World* world) : world_(world), random_(world->knobs().seed * 17 + 3) {}

void Operator::Strike() {
  world_->NoteReadmitted();
  if (busy_) {
    return;
  }
  server::MemberCommand command;
  if (DrawCommand(&command)) {
    Begin(std::move(command));
  }
}

bool Operator::MayGo(MemberId id) const {
  const std::vector<MemberId> voters = world_->voters();
  std::size_t left = 0;
  std::size_t sound = 0;
  for (const MemberId voter : voters) {
    if (voter != id) {
      ++left;
      sound += world_->lost(voter) ? 0 : 1;
    }
  }
  return left > 0 && 2 * sound > left;
}

bool Operator::Readmit() {
  for (MemberId id = 1; id <= world_->size(); ++id) {
    const raft::Configuration* configuration = world_->committed().configuration();
    if (!world_->lost(id) || configuration == nullptr || configuration->Find(id) == nullptr) {
      continue;
    }
    if (MayGo(id)) {
      world_->ReplaceDisk(id);
      Begin(ConfigChange{.kind = Kind::kReadmit, .id = id, .peer_address = {}});
      return true;
    }
  }
  return false;
}

bool Operator::DrawCommand(server::MemberCommand* command) {
  const MemberId id = random_.Uniform(1, world_->size());
  const raft::Configuration* configuration = world_->committed().configuration();
  if (configuration == nullptr) {
    return false;
  }
  const raft::Member* member = configuration->Find(id);
  const std::uint64_t dice = random_.Uniform(0, 99);
  if ((calm_ || dice < 30) && Readmit()) {
    return false;  // begun
  }
  if (calm_ || world_->lost(id)) {
    return false;
  }
  if (dice < 45) {
    *command = server::LeaderTransfer{.to = random_.Uniform(0, 1) == 0 ? 0 : id};
    return true;
  }
  ConfigChange change{.id = id, .peer_address = fmt::format("peer-{}:1", id)};
  if (member == nullptr) {
    change.kind = random_.Uniform(0, 4) == 0 ? Kind::kAddObserver : Kind::kAddLearner;
    world_->Start(id);
  } else if (dice < 60) {
    change.kind = Kind::kPromote;
  } else if (dice < 65) {
    change.kind = Kind::kUpdateAddress;
    change.peer_address = fmt::format("peer-{}:{}", id, random_.Uniform(1, 9));
  } else if (member->kind != raft::MemberKind::kVoter || MayGo(id)) {
    change.kind = Kind::kRemove;
  } else {
    return false;
  }
  *command = change;
  return true;
}

void Operator::Begin(server::MemberCommand command) {
  command_ = std::move(command);
  busy_ = true;
  tries_ = 0;
  world_->journal().Note("operator: {}", server::Describe(command_));
  Ask();
}

void Operator::Ask() {
  const std::uint64_t attempt = ++attempt_;
  std::vector<MemberId> running;
  for (MemberId id = 1; id <= world_->size(); ++id) {
    if (world_->running(id)) {
      running.push_back(id);
    }
  }
  if (running.empty() || ++tries_ > kTriesMax) {
    if (tries_ > kTriesMax) {
      End("given up");
      return;
    }
    AskAgain(attempt, "nobody is there");
    return;
  }
  const MemberId at = running[random_.Uniform(0, running.size() - 1)];
  world_->OnCore(at, [this, attempt](server::Server& server) {
    server.ChangeMembers(
        "operator", command_, kTimeoutMs,
        [this, attempt](const server::ReplyHead&, const server::Answer<server::MemberReply>& got) {
          if (attempt != attempt_ || !busy_) {
            return;
          }
          const tree::Code code = got ? tree::Code::kOk : got.error().error.code;
          if (got) {
            End(got->changed ? "done" : "it was so already");
          } else if (code == tree::Code::kRefused || code == tree::Code::kInvalidArgument) {
            End("refused: " + got.error().error.message);
          } else {
            AskAgain(attempt, got.error().error.message);
          }
        });
  });
  world_->loop().At(world_->loop().now_ns() + (kTimeoutMs + 1'000) * kMs, [this, attempt] {
    if (attempt == attempt_ && busy_) {
      AskAgain(attempt, "no answer");
    }
  });
}

void Operator::AskAgain(std::uint64_t attempt, const std::string& why) {
  world_->journal().Note("operator: not yet: {}", why);
  world_->loop().At(world_->loop().now_ns() + 200 * kMs, [this, attempt] {
    if (attempt == attempt_ && busy_) {
      Ask();
    }
  });
}

void Operator::End(const std::string& how) {
  busy_ = false;
  world_->journal().Note("operator: {}: {}", server::Describe(command_), how);
  const bool transfer = std::holds_alternative<server::LeaderTransfer>(command_);
  const std::string what = transfer ? "leadership transfers" : "configuration changes";
  world_->journal().Count(
      how == "done" ? what
                    : what + (how.starts_with("refused") ? " refused" : " that changed nothing"));
}

}  // namespace conclave::sim
