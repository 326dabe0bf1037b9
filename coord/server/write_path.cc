#include "coord/server/write_path.h"

#include <algorithm>

#include <glog/logging.h>

#include "consensus/raft.h"

namespace conclave::server {
namespace {

// One Propose or Forward takes about this much, so that the bound on what is uncommitted refuses
// the end of a large turn and not all of it.
constexpr std::size_t kBatchBytesMax = std::size_t{4} << 20;

bool TakesOver(const std::string& entry) {
  const auto decoded = tree::DecodeEntry(entry);
  return decoded && std::holds_alternative<tree::TakeOver>(decoded->command);
}

tree::Error MakeError(tree::Code code, std::string message) {
  tree::Error error;
  error.code = code;
  error.message = std::move(message);
  return error;
}

}  // namespace

// What goes into one Propose: the commands, and whose they are.
struct WritePath::Batch {
  std::vector<std::shared_ptr<const std::string>> commands;
  std::vector<std::uint64_t> own;
  std::size_t forwarded = 0;
  std::size_t bytes = 0;

  [[nodiscard]] bool full() const { return bytes >= kBatchBytesMax; }

  void Add(std::shared_ptr<const std::string> command) {
    bytes += command->size();
    commands.push_back(std::move(command));
  }
};

WritePath::WritePath(Links links, std::uint64_t first_request)
    : links_(std::move(links)), next_request_(first_request) {}

void WritePath::Submit(Request request) {
  const std::uint64_t id = next_request_++;
  request.header.origin_member = links_.self;
  request.header.origin_request = id;
  Pending pending;
  pending.session = request.header.session;
  pending.seq = request.header.seq;
  pending.entry =
      std::make_shared<const std::string>(tree::EncodeEntry(request.header, request.command));
  pending.deadline_ns = request.deadline_ns;
  pending.done = std::move(request.done);
  deadlines_.emplace(pending.deadline_ns, id);
  if (pending.session != 0) {
    by_seq_.emplace(pending.session, pending.seq, id);
  }
  pending_.emplace(id, std::move(pending));
  unsent_.insert(id);
}

bool WritePath::ProposeOnce(const tree::Command& command) {
  if (!links_.raft->is_leader()) {
    return false;
  }
  Batch batch;
  batch.Add(Stamped(tree::EncodeEntry(tree::EntryHeader{}, command)));
  return Propose(batch);
}

void WritePath::Flush() {
  if (links_.raft->is_leader()) {
    FlushAsLeader();
    return;
  }
  RejectForwarded(RejectReason::kNotLeader, "not the leader");
  const raft::MemberId leader = links_.raft->leader();
  if (leader != 0 && links_.connected(leader)) {
    FlushToLeader(leader);
  }
}

void WritePath::FlushAsLeader() {
  while (!forwarded_.empty() || !unsent_.empty()) {
    Batch batch;
    while (batch.forwarded < forwarded_.size() && !batch.full()) {
      batch.Add(Stamped(*forwarded_[batch.forwarded++].entry.entry));
    }
    for (auto id = unsent_.begin(); id != unsent_.end() && !batch.full(); ++id) {
      batch.Add(Stamped(*pending_.at(*id).entry));
      batch.own.push_back(*id);
    }
    if (!Propose(batch)) {
      return;  // what is uncommitted has reached its bound: again when some of it has committed
    }
    for (std::size_t i = 0; i < batch.forwarded; ++i) {
      forwarded_bytes_ -= forwarded_.front().entry.entry->size();
      forwarded_.pop_front();
    }
    for (const std::uint64_t id : batch.own) {
      ++pending_.at(id).attempts;
      unsent_.erase(id);
    }
  }
}

void WritePath::FlushToLeader(raft::MemberId leader) {
  while (!unsent_.empty()) {
    Forward forward;
    std::size_t bytes = 0;
    while (!unsent_.empty() && bytes < kBatchBytesMax) {
      const std::uint64_t id = *unsent_.begin();
      unsent_.erase(unsent_.begin());
      Pending& pending = pending_.at(id);
      ++pending.attempts;
      bytes += pending.entry->size();
      forward.entries.push_back({.request_id = id, .entry = pending.entry});
    }
    links_.counters->writes_forwarded += forward.entries.size();
    links_.transport->Send(leader, std::move(forward));
  }
}

bool WritePath::Propose(Batch& batch) {
  const auto proposed = links_.raft->Propose(batch.commands);
  if (!proposed) {
    return false;
  }
  ++links_.counters->proposals;
  links_.counters->proposed_entries += batch.commands.size();
  return true;
}

std::shared_ptr<const std::string> WritePath::Stamped(const std::string& entry) {
  auto copy = std::make_shared<std::string>(entry);
  const auto [wall_ms, elapsed_ns] = links_.stamp();
  CHECK(tree::StampTime(*copy, wall_ms, elapsed_ns)) << "an entry that is none was accepted";
  return copy;
}

void WritePath::OnForward(raft::MemberId from, Forward forward) {
  ForwardRejected malformed;
  ForwardRejected overloaded;
  ForwardRejected no_space;
  for (ForwardedEntry& entry : forward.entries) {
    // A peer's bytes are judged before they can become an entry that stops every member.
    if (!tree::DecodeEntry(*entry.entry)) {
      malformed.request_ids.push_back(entry.request_id);
    } else if (forwarded_bytes_ + entry.entry->size() > links_.forwarded_bytes_max) {
      overloaded.request_ids.push_back(entry.request_id);
    } else if (links_.raft->is_leader() && !links_.has_room(*entry.entry)) {
      no_space.request_ids.push_back(entry.request_id);
    } else {
      forwarded_bytes_ += entry.entry->size();
      forwarded_.push_back({.from = from, .entry = std::move(entry)});
    }
  }
  malformed.reason = RejectReason::kOverloaded;
  malformed.message = "the leader cannot read the entry";
  overloaded.reason = RejectReason::kOverloaded;
  overloaded.message = "the leader has too many writes waiting";
  no_space.reason = RejectReason::kNoSpace;
  no_space.message = "the leader's log has reached its bound or its disk is full";
  for (ForwardRejected* rejected : {&malformed, &overloaded, &no_space}) {
    if (!rejected->request_ids.empty()) {
      LOG_IF(ERROR, rejected == &malformed) << "forward.malformed from=" << from;
      links_.transport->Send(from, std::move(*rejected));
    }
  }
}

void WritePath::RejectForwarded(RejectReason reason, const std::string& message) {
  std::map<raft::MemberId, ForwardRejected> rejected;
  for (const Forwarded& forwarded : forwarded_) {
    rejected[forwarded.from].request_ids.push_back(forwarded.entry.request_id);
  }
  forwarded_.clear();
  forwarded_bytes_ = 0;
  for (auto& [member, message_out] : rejected) {
    message_out.reason = reason;
    message_out.message = message;
    links_.transport->Send(member, std::move(message_out));
  }
}

void WritePath::OnForwardRejected(raft::MemberId from, const ForwardRejected& rejected) {
  for (const std::uint64_t id : rejected.request_ids) {
    auto at = pending_.find(id);
    if (at == pending_.end() || at->second.attempts == 0) {
      continue;
    }
    Pending& pending = at->second;
    --pending.attempts;
    if (rejected.reason == RejectReason::kNotLeader) {
      // If consensus still names that member, the next change of role sends it again; asking the
      // same member at once would only go round in circles.
      if (links_.raft->leader() != from) {
        unsent_.insert(id);
      }
    } else if (pending.attempts == 0) {
      ++links_.counters->writes_refused;
      Answer(at, tl::unexpected(MakeError(rejected.reason == RejectReason::kNoSpace
                                              ? tree::Code::kNoSpace
                                              : tree::Code::kOverloaded,
                                          rejected.message)));
    }
  }
}

void WritePath::Resend() {
  for (const auto& [id, pending] : pending_) {
    unsent_.insert(unsent_.end(), id);
  }
}

void WritePath::OnApplied(tree::ApplyResult& result) {
  if (result.origin_member != links_.self) {
    return;
  }
  auto at = pending_.find(result.origin_request);
  if (at == pending_.end()) {
    return;
  }
  if (result.reply.code == tree::Code::kSequenceGap &&
      EarlierPending(at->second.session, at->second.seq)) {
    // The one before it was lost on the way and is being sent again; so is this one, behind it.
    unsent_.insert(at->first);
    return;
  }
  ++links_.counters->writes_answered;
  if (result.duplicate) {
    ++links_.counters->writes_duplicate;
  }
  Answer(at, std::move(result.reply));
}

void WritePath::OnInstalled(const tree::Sessions& sessions) {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, pending] : pending_) {
    if (pending.attempts > 0) {
      ids.push_back(id);
    }
  }
  for (const std::uint64_t id : ids) {
    auto at = pending_.find(id);
    if (at == pending_.end()) {
      continue;
    }
    const Pending& pending = at->second;
    if (pending.session == 0) {
      if (auto reply = OpenedBefore(*pending.entry, sessions)) {
        AnswerStored(at, std::move(*reply));
      }
      continue;
    }
    const tree::Session* session = sessions.Find(pending.session);
    if (session == nullptr) {
      Abandon(at, "the session has ended");
    } else if (pending.seq <= session->taken_over_through || TakesOver(*pending.entry)) {
      Abandon(at, "the session was taken over");  // By this very request, perhaps.
    } else if (sessions.Judge(*session, pending.seq) == tree::SequenceVerdict::kDuplicate) {
      AnswerStored(at, sessions.StoredAnswer(*session, pending.seq));
    }
  }
}

// The answer to an OpenSession whose session lives: what a repeated one would be given.
std::optional<tree::Reply> WritePath::OpenedBefore(const std::string& entry,
                                                   const tree::Sessions& sessions) {
  const auto decoded = tree::DecodeEntry(entry);
  const auto* open = decoded ? std::get_if<tree::OpenSession>(&decoded->command) : nullptr;
  const tree::Session* session = open == nullptr ? nullptr : sessions.FindByNonce(open->nonce);
  if (session == nullptr) {
    return std::nullopt;
  }
  tree::Reply reply;
  reply.session = session->id;
  reply.secret = session->secret;
  reply.timeout_ms = session->timeout_ms;
  reply.zxid = session->id;
  return reply;
}

void WritePath::AnswerStored(PendingMap::iterator at, tree::Reply reply) {
  ++links_.counters->writes_answered;
  ++links_.counters->writes_duplicate;
  Answer(at, std::move(reply));
}

bool WritePath::EarlierPending(std::int64_t session, std::int64_t seq) const {
  if (session == 0) {
    return false;
  }
  auto first = by_seq_.lower_bound({session, 0, 0});
  return first != by_seq_.end() && std::get<0>(*first) == session && std::get<1>(*first) < seq;
}

void WritePath::Expire(std::int64_t now_ns, bool leaderless) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ns) {
    Abandon(pending_.find(deadlines_.begin()->second), "the deadline has passed");
  }
  if (!leaderless) {
    return;
  }
  const std::set<std::uint64_t> unsent = unsent_;
  for (const std::uint64_t id : unsent) {
    auto at = pending_.find(id);
    if (at != pending_.end() && at->second.attempts == 0) {
      Abandon(at, "no leader is known to this member");
    }
  }
}

void WritePath::FailAll(const std::string& why) {
  while (!pending_.empty()) {
    Abandon(pending_.begin(), why);
  }
  RejectForwarded(RejectReason::kNotLeader, why);
}

void WritePath::Abandon(PendingMap::iterator at, const std::string& why) {
  if (at->second.attempts > 0) {
    ++links_.counters->writes_unknown;
    Answer(at, tl::unexpected(MakeError(
                   tree::Code::kUnknownOutcome,
                   why + " and the write may still be executed; repeat it with the same seq")));
  } else {
    ++links_.counters->writes_refused;
    Answer(at, tl::unexpected(MakeError(tree::Code::kUnavailable, why + "; not executed")));
  }
}

void WritePath::Answer(PendingMap::iterator at, Outcome outcome) {
  const auto done = std::move(at->second.done);
  deadlines_.erase({at->second.deadline_ns, at->first});
  by_seq_.erase({at->second.session, at->second.seq, at->first});
  unsent_.erase(at->first);
  pending_.erase(at);
  if (done) {
    done(std::move(outcome));
  }
}

}  // namespace conclave::server
