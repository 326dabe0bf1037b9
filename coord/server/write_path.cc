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

// The entry with the time of `stamp` in it: itself if nobody else has it, else a copy.
std::shared_ptr<const std::string> Stamped(const std::shared_ptr<std::string>& entry, bool own,
                                           std::pair<std::int64_t, std::int64_t> stamp) {
  const auto stamped = own ? entry : std::make_shared<std::string>(*entry);
  CHECK(tree::StampTime(*stamped, stamp.first, stamp.second)) << "an entry that is none was taken";
  return stamped;
}

}  // namespace

// What goes into one Propose: the commands, and whose they are. All have the same time.
struct WritePath::Batch {
  std::vector<std::shared_ptr<const std::string>> commands;
  std::vector<Pending*> own;
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

void WritePath::Submit(Request&& request) {
  const Id id = next_request_++;
  request.header.origin_member = links_.self;
  request.header.origin_request = id;
  Pending& pending = pending_[id];
  pending.session = request.header.session;
  pending.seq = request.header.seq;
  pending.entry = std::make_shared<std::string>(tree::EncodeEntry(request.header, request.command));
  pending.deadline_ns = request.deadline_ns;
  pending.done = std::move(request.done);
  earliest_deadline_ns_ = std::min(earliest_deadline_ns_, pending.deadline_ns);
  MarkUnsent(id, pending);
}

void WritePath::MarkUnsent(Id id, Pending& pending) {
  if (!std::exchange(pending.unsent, true)) {
    unsent_sorted_ = unsent_sorted_ && (unsent_.empty() || unsent_.back() < id);
    unsent_.push_back(id);
  }
}

// Brings what is due into the order of submission.
void WritePath::SortUnsent() {
  if (!std::exchange(unsent_sorted_, true)) {
    std::sort(unsent_.begin(), unsent_.end());
  }
}

bool WritePath::ProposeOnce(const tree::Command& command) {
  if (!links_.raft->is_leader()) {
    return false;
  }
  Batch batch;
  batch.Add(Stamped(std::make_shared<std::string>(tree::EncodeEntry(tree::EntryHeader{}, command)),
                    true, links_.stamp()));
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
  if (forwarded_.empty() && unsent_.empty()) {
    return;
  }
  SortUnsent();
  const auto stamp = links_.stamp();
  std::size_t done = 0;  // of unsent_
  while (!forwarded_.empty() || done < unsent_.size()) {
    Batch batch;
    batch.commands.reserve(forwarded_.size() + unsent_.size() - done);
    while (batch.forwarded < forwarded_.size() && !batch.full()) {
      // What came over a wire is nobody else's; a peer in the same process may have kept it.
      const auto& entry = forwarded_[batch.forwarded++].entry.entry;
      batch.Add(Stamped(entry, entry.use_count() == 1, stamp));
    }
    std::size_t looked = done;
    for (; looked < unsent_.size() && !batch.full(); ++looked) {
      auto at = pending_.find(unsent_[looked]);
      if (at != pending_.end()) {  // else it has been answered meanwhile
        batch.Add(Stamped(at->second.entry, !at->second.handed_on, stamp));
        batch.own.push_back(&at->second);
      }
    }
    if (!Propose(batch)) {
      break;  // what is uncommitted has reached its bound: again when some of it has committed
    }
    for (std::size_t i = 0; i < batch.forwarded; ++i) {
      forwarded_bytes_ -= forwarded_.front().entry.entry->size();
      forwarded_.pop_front();
    }
    for (Pending* pending : batch.own) {
      pending->HandOn();
    }
    done = looked;
  }
  unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(done));
}

void WritePath::FlushToLeader(raft::MemberId leader) {
  SortUnsent();
  const std::vector<Id> due = std::exchange(unsent_, {});
  for (auto id = due.begin(); id != due.end();) {
    Forward forward;
    std::size_t bytes = 0;
    for (; id != due.end() && bytes < kBatchBytesMax; ++id) {
      auto at = pending_.find(*id);
      if (at != pending_.end()) {
        at->second.HandOn();
        bytes += at->second.entry->size();
        forward.entries.push_back({.request_id = *id, .entry = at->second.entry});
      }
    }
    if (!forward.entries.empty()) {
      links_.counters->writes_forwarded += forward.entries.size();
      links_.transport->Send(leader, std::move(forward));
    }
  }
}

bool WritePath::Propose(Batch& batch) {
  if (batch.commands.empty()) {
    return true;
  }
  const auto proposed = links_.raft->Propose(batch.commands);
  if (!proposed) {
    return false;
  }
  ++links_.counters->proposals;
  links_.counters->proposed_entries += batch.commands.size();
  return true;
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
        MarkUnsent(id, pending);
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

std::vector<WritePath::Id> WritePath::PendingIds() const {
  std::vector<Id> ids;
  ids.reserve(pending_.size());
  for (const auto& [id, pending] : pending_) {
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

void WritePath::Resend() {
  unsent_ = PendingIds();
  unsent_sorted_ = true;
  for (auto& [id, pending] : pending_) {
    pending.unsent = true;
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
  if (result.reply.code == tree::Code::kSequenceGap && at->second.session != 0) {
    gaps_.push_back({.id = at->first, .reply = std::move(result.reply)});
    return;
  }
  ++links_.counters->writes_answered;
  if (result.duplicate) {
    ++links_.counters->writes_duplicate;
  }
  Answer(at, std::move(result.reply));
}

void WritePath::AfterApply() {
  if (gaps_.empty()) {
    return;
  }
  std::vector<Gap> gaps = std::exchange(gaps_, {});
  absl::flat_hash_map<std::int64_t, std::int64_t> first;  // session -> its earliest write here
  for (const auto& [id, pending] : pending_) {
    std::int64_t& seq = first.try_emplace(pending.session, pending.seq).first->second;
    seq = std::min(seq, pending.seq);
  }
  for (Gap& gap : gaps) {
    auto at = pending_.find(gap.id);
    if (at == pending_.end()) {
      continue;
    }
    if (first.at(at->second.session) < at->second.seq) {
      // The one before it was lost on the way and is being sent again; so is this one, behind it.
      MarkUnsent(gap.id, at->second);
    } else {
      ++links_.counters->writes_answered;
      Answer(at, std::move(gap.reply));
    }
  }
}

void WritePath::OnInstalled(const tree::Sessions& sessions) {
  for (const Id id : PendingIds()) {
    auto at = pending_.find(id);
    if (at == pending_.end() || at->second.attempts == 0) {
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

void WritePath::Expire(std::int64_t now_ns, bool leaderless) {
  if (now_ns < earliest_deadline_ns_ && !leaderless) {
    return;
  }
  for (const Id id : PendingIds()) {
    auto at = pending_.find(id);
    if (at == pending_.end()) {
      continue;
    }
    if (at->second.deadline_ns <= now_ns) {
      Abandon(at, "the deadline has passed");
    } else if (leaderless && at->second.unsent && at->second.attempts == 0) {
      Abandon(at, "no leader is known to this member");
    }
  }
  earliest_deadline_ns_ = std::numeric_limits<std::int64_t>::max();
  for (const auto& [id, pending] : pending_) {
    earliest_deadline_ns_ = std::min(earliest_deadline_ns_, pending.deadline_ns);
  }
}

void WritePath::FailAll(const std::string& why) {
  while (!pending_.empty()) {
    for (const Id id : PendingIds()) {
      auto at = pending_.find(id);
      if (at != pending_.end()) {
        Abandon(at, why);
      }
    }
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
  Done done = std::move(at->second.done);
  pending_.erase(at);
  if (done) {
    done(std::move(outcome));
  }
}

}  // namespace conclave::server
