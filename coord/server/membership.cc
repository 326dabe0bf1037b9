#include "coord/server/membership.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>

#include "consensus/raft.h"

namespace conclave::server {
namespace {

using Change = raft::ConfigChange;
using ChangeError = raft::ConfigChangeError;

constexpr std::int64_t kNsPerMs = 1'000'000;
// Before the next attempt: after an answer that says so, and while no leader is known.
constexpr std::int64_t kAgainNs = 100 * kNsPerMs;
constexpr std::int64_t kLeaderlessNs = 20 * kNsPerMs;

const char* NameOf(Change::Kind kind) {
  switch (kind) {
    case Change::Kind::kAddLearner:
      return "add";
    case Change::Kind::kAddObserver:
      return "add observer";
    case Change::Kind::kPromote:
      return "promote";
    case Change::Kind::kRemove:
      return "remove";
    case Change::Kind::kReadmit:
      return "readmit";
    case Change::Kind::kUpdateAddress:
      return "update";
  }
  return "unknown";
}

tree::Error MakeError(tree::Code code, std::string message) {
  tree::Error error;
  error.code = code;
  error.message = std::move(message);
  return error;
}

MemberAnswer Refused(std::uint64_t request, tree::Code code, std::string message) {
  MemberAnswer answer;
  answer.request = request;
  answer.code = code;
  answer.message = std::move(message);
  return answer;
}

// The attempt has come to nothing, another one may do better.
bool AsksAgain(tree::Code code) {
  return code == tree::Code::kNotLeader || code == tree::Code::kUnavailable ||
         code == tree::Code::kUnknownOutcome;
}

}  // namespace

std::string Describe(const MemberCommand& command) {
  if (const auto* transfer = std::get_if<LeaderTransfer>(&command)) {
    return transfer->to == 0 ? std::string("transfer-leader")
                             : fmt::format("transfer-leader {}", transfer->to);
  }
  const auto& change = std::get<Change>(command);
  return fmt::format("{} {}{}{}", NameOf(change.kind), change.id,
                     change.peer_address.empty() ? "" : " at ", change.peer_address);
}

Membership::Membership(Links links, std::uint64_t first_request)
    : links_(std::move(links)), next_request_(first_request) {}

// --- where a command comes in -------------------------------------------------------------------

void Membership::Submit(MemberCommand command, std::int64_t deadline_ns,
                        absl::AnyInvocable<void(Outcome)> done) {
  if (auto* transfer = std::get_if<LeaderTransfer>(&command)) {
    transfer->from = links_.raft->leader();
  }
  Pending pending;
  pending.command = std::move(command);
  pending.deadline_ns = deadline_ns;
  pending.done = std::move(done);
  pending_.emplace(next_request_++, std::move(pending));
}

void Membership::Tick(std::int64_t now_ns) {
  EndTransfers();
  for (MemberAnswer& answer : std::exchange(own_answers_, {})) {
    OnAnswer(links_.self, answer, now_ns);
  }
  std::vector<std::uint64_t> due;
  for (const auto& [id, pending] : pending_) {
    if (pending.deadline_ns <= now_ns || (pending.asked == 0 && pending.next_ns <= now_ns)) {
      due.push_back(id);
    }
  }
  for (const std::uint64_t id : due) {
    const auto at = pending_.find(id);
    if (at->second.deadline_ns <= now_ns) {
      Abandon(at, "the deadline has passed");
    } else {
      Attempt(at, now_ns);
    }
  }
}

void Membership::Attempt(PendingMap::iterator at, std::int64_t now_ns) {
  Pending& pending = at->second;
  if (links_.raft->is_leader()) {
    pending.asked = links_.self;
    Execute(links_.self, at->first, pending.command);
    return;
  }
  const raft::MemberId leader = links_.raft->leader();
  if (leader == 0 || !links_.connected(leader)) {
    pending.next_ns = now_ns + kLeaderlessNs;
    pending.reason = "no leader is known";
    return;
  }
  pending.asked = leader;
  links_.transport->Send(leader, MemberRequest{at->first, pending.command});
}

void Membership::OnAnswer(raft::MemberId from, const MemberAnswer& answer, std::int64_t now_ns) {
  const auto at = pending_.find(answer.request);
  if (at == pending_.end() || at->second.asked != from) {
    return;  // an answer to an attempt that has been given up
  }
  if (answer.code == tree::Code::kOk) {
    Finish(at, answer.reply);
  } else if (!AsksAgain(answer.code)) {
    Finish(at, tl::unexpected(MakeError(answer.code, answer.message)));
  } else {
    Pending& pending = at->second;
    pending.asked = 0;
    pending.next_ns = now_ns + kAgainNs;
    pending.reason = answer.message;
    pending.unknown = pending.unknown || answer.code == tree::Code::kUnknownOutcome;
  }
}

void Membership::AskAgain(Pending& pending) {
  pending.asked = 0;
  pending.next_ns = 0;
  pending.unknown = true;
  pending.reason = "the member that was asked is gone, or leads no longer";
}

void Membership::OnDisconnected(raft::MemberId peer) {
  for (auto& [id, pending] : pending_) {
    if (pending.asked == peer) {
      AskAgain(pending);
    }
  }
}

void Membership::FailAll(const std::string& why) {
  while (!pending_.empty()) {
    Abandon(pending_.begin(), why);
  }
}

void Membership::Abandon(PendingMap::iterator at, const std::string& why) {
  const Pending& pending = at->second;
  const std::string reason = pending.reason.empty() ? why : why + "; " + pending.reason;
  if (pending.unknown || pending.asked != 0) {
    Finish(at, tl::unexpected(MakeError(
                   tree::Code::kUnknownOutcome,
                   reason + "; it may still be done: look at the members, or ask again, which is "
                            "harmless")));
  } else {
    Finish(at, tl::unexpected(MakeError(tree::Code::kUnavailable, reason + "; not executed")));
  }
}

void Membership::Finish(PendingMap::iterator at, Outcome outcome) {
  auto done = std::move(at->second.done);
  pending_.erase(at);
  done(std::move(outcome));
}

// --- at the leader ------------------------------------------------------------------------------

void Membership::OnRequest(raft::MemberId from, const MemberRequest& request) {
  Execute(from, request.request, request.command);
}

void Membership::Execute(raft::MemberId from, std::uint64_t request, const MemberCommand& command) {
  if (!links_.raft->is_leader()) {
    Answer(from, Refused(request, tree::Code::kNotLeader, "the member asked does not lead"));
    return;
  }
  Running running;
  running.from = from;
  running.request = request;
  running.term = links_.raft->currentTerm();
  if (const auto* change = std::get_if<Change>(&command)) {
    ExecuteChange(running, *change);
  } else {
    ExecuteTransfer(running, std::get<LeaderTransfer>(command));
  }
}

void Membership::ExecuteChange(Running running, const Change& change) {
  const raft::Status status = links_.raft->status();
  if (Done(status, change)) {
    running.index = status.configuration.index;
  } else {
    if (LeavesNoMajority(status, change)) {
      Answer(running.from, Refusal(running.request, change, ChangeError::kUnsafe));
      return;
    }
    const auto proposed = links_.raft->ProposeConfigChange(change);
    if (!proposed) {
      Answer(running.from, Refusal(running.request, change, proposed.error()));
      return;
    }
    LOG(INFO) << "members.change member=" << links_.self << " index=" << proposed->index
              << " change=\"" << Describe(change) << '"';
    running.index = proposed->index;
    running.changed = true;
  }
  running_[{running.from, running.request}] = running;
  OnCommitted(status.commitIndex);
}

// Consensus asks who was heard from lately. A link that has just broken tells earlier.
bool Membership::LeavesNoMajority(const raft::Status& status, const Change& change) const {
  const raft::Configuration& before = status.configuration.configuration;
  const auto next = raft::Changed(before, change);
  if (change.kind == Change::Kind::kPromote || !next ||
      next->voter_count() == before.voter_count()) {
    return false;
  }
  const auto linked =
      std::count_if(next->members.begin(), next->members.end(), [this](const raft::Member& member) {
        return member.kind == raft::MemberKind::kVoter &&
               (member.id == links_.self || links_.connected(member.id));
      });
  return static_cast<std::size_t>(linked) < next->quorum();
}

bool Membership::Done(const raft::Status& status, const Change& change) const {
  const raft::Member* member = status.configuration.configuration.Find(change.id);
  const bool in_place = member != nullptr && (change.peer_address.empty() ||
                                              change.peer_address == member->peer_address);
  switch (change.kind) {
    case Change::Kind::kAddLearner:
      return in_place && member->kind != raft::MemberKind::kObserver;
    case Change::Kind::kAddObserver:
      return in_place && member->kind == raft::MemberKind::kObserver;
    case Change::Kind::kPromote:
      return member != nullptr && member->kind == raft::MemberKind::kVoter;
    case Change::Kind::kRemove:
      return member == nullptr;
    case Change::Kind::kReadmit:
      // It is here with the disk that the cluster knows, or waited for with any.
      return in_place && (change.id == links_.self || links_.connected(change.id) ||
                          (member->incarnation == 0 && member->kind != raft::MemberKind::kVoter));
    case Change::Kind::kUpdateAddress:
      return in_place;
  }
  return false;
}

MemberAnswer Membership::Refusal(std::uint64_t request, const Change& change,
                                 ChangeError error) const {
  const std::string what = raft::ToString(error);
  switch (error) {
    case ChangeError::kNotLeader:
      return Refused(request, tree::Code::kNotLeader, what);
    case ChangeError::kTransferring:
    case ChangeError::kTermNotStarted:
    case ChangeError::kChangeInProgress:
      return Refused(request, tree::Code::kUnavailable, what);
    case ChangeError::kBadId:
    case ChangeError::kBadAddress:
    case ChangeError::kUnknownMember:
    case ChangeError::kTooManyMembers:
      return Refused(request, tree::Code::kInvalidArgument, what);
    case ChangeError::kAlreadyMember:
      return Refused(request, tree::Code::kRefused,
                     fmt::format("member {} belongs to the cluster already, and otherwise than "
                                 "asked for: one that has lost its disk is brought back by "
                                 "\"conclave member replace {}\"",
                                 change.id, change.id));
    case ChangeError::kUnsafe: {
      const std::string silent = Silent();
      return Refused(request, tree::Code::kRefused,
                     fmt::format("{}{}{}: it would stop. Bring them back first, or remove those "
                                 "that are gone",
                                 what, silent.empty() ? "" : "; not heard from: ", silent));
    }
    case ChangeError::kNotCaughtUp:
      return Refused(request, tree::Code::kRefused,
                     fmt::format("{}: a learner is promoted by itself once it has", what));
    case ChangeError::kAlreadyVoter:
    case ChangeError::kLastVoter:
      break;
  }
  return Refused(request, tree::Code::kRefused, what);
}

std::string Membership::Silent() const {
  std::string list;
  for (const raft::PeerStatus& peer : links_.raft->status().peers) {
    if (peer.kind == raft::MemberKind::kVoter && !(peer.active && links_.connected(peer.id))) {
      list += fmt::format("{}{}", list.empty() ? "" : ", ", peer.id);
    }
  }
  return list;
}

void Membership::ExecuteTransfer(Running running, const LeaderTransfer& transfer) {
  if (transfer.to == links_.self ||
      (transfer.to == 0 && transfer.from != 0 && transfer.from != links_.self)) {
    MemberAnswer answer;
    answer.request = running.request;
    answer.reply.leader = links_.self;
    answer.reply.changed = transfer.from != 0 && transfer.from != links_.self;
    Answer(running.from, std::move(answer));
    return;
  }
  const auto started = links_.raft->TransferLeadership(transfer.to);
  if (!started) {
    const raft::TransferError error = started.error();
    const tree::Code code = error == raft::TransferError::kNotLeader      ? tree::Code::kNotLeader
                            : error == raft::TransferError::kTransferring ? tree::Code::kUnavailable
                            : error == raft::TransferError::kUnknownMember
                                ? tree::Code::kInvalidArgument
                                : tree::Code::kRefused;
    Answer(running.from, Refused(running.request, code, raft::ToString(error)));
    return;
  }
  LOG(INFO) << "members.transfer member=" << links_.self << " to=" << transfer.to;
  running.to = transfer.to;
  running_[{running.from, running.request}] = running;
}

void Membership::EndTransfers() {
  if (running_.empty()) {
    return;
  }
  const raft::Status status = links_.raft->status();
  const bool leads = status.role == raft::RoleName::kLeader;
  for (auto at = running_.begin(); at != running_.end();) {
    const Running& running = at->second;
    const bool waits = leads && status.hardState.currentTerm == running.term
                           ? running.index != 0 || status.transferring_to != 0
                           : running.index == 0 && status.leader == 0;
    if (waits) {
      ++at;
      continue;
    }
    MemberAnswer answer;
    answer.request = running.request;
    if (running.index != 0) {
      // In the log of a leader that is none any more.
      answer = Refused(running.request, tree::Code::kUnknownOutcome,
                       "leadership changed while the change was under way");
    } else if (!leads && (running.to == 0 || running.to == status.leader)) {
      answer.reply.changed = true;
      answer.reply.leader = status.leader;
    } else if (leads) {
      answer = Refused(running.request, tree::Code::kRefused,
                       "nobody has taken over in time; this member goes on leading");
    } else {
      answer = Refused(running.request, tree::Code::kUnavailable, "another member has taken over");
    }
    const raft::MemberId from = running.from;
    at = running_.erase(at);
    Answer(from, std::move(answer));
  }
}

void Membership::OnRoleChanged() {
  EndTransfers();
  const raft::MemberId leader = links_.raft->leader();
  for (auto& [id, pending] : pending_) {
    if (pending.asked != 0 && pending.asked != leader) {
      AskAgain(pending);
    }
  }
}

void Membership::OnCommitted(raft::Index commit) {
  for (auto at = running_.begin(); at != running_.end();) {
    const Running running = at->second;
    // A leader of this term commits what it has appended; a later one may have truncated it.
    if (running.index == 0 || running.index > commit || !links_.raft->is_leader() ||
        links_.raft->currentTerm() != running.term) {
      ++at;
      continue;
    }
    at = running_.erase(at);
    MemberAnswer answer;
    answer.request = running.request;
    answer.reply.configuration_index = running.index;
    answer.reply.changed = running.changed;
    answer.reply.leader = links_.self;
    Answer(running.from, std::move(answer));
  }
}

void Membership::Answer(raft::MemberId to, MemberAnswer answer) {
  if (to == links_.self) {
    own_answers_.push_back(std::move(answer));
  } else {
    links_.transport->Send(to, std::move(answer));
  }
}

}  // namespace conclave::server
