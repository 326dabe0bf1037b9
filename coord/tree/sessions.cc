#include "coord/tree/sessions.h"

#include <algorithm>

#include <fmt/format.h>
#include <glog/logging.h>

namespace conclave::tree {
namespace {

// Equal or not, in a time that says nothing about where the bytes differ.
bool EqualInConstantTime(const Bytes16& a, const Bytes16& b) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned>(a[i] ^ b[i]);
  }
  return difference == 0;
}

std::string_view AsView(const Bytes16& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// --- Reads ---

const Session* Sessions::Find(std::int64_t id) const {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : &found->second;
}

const Session* Sessions::FindByNonce(const Bytes16& nonce) const {
  const auto found = by_nonce_.find(nonce);
  return found == by_nonce_.end() ? nullptr : Find(found->second);
}

tl::expected<void, Error> Sessions::Authenticate(std::int64_t id, const Bytes16& secret) const {
  Error error;
  error.code = Code::kSessionExpired;
  const Session* session = Find(id);
  if (session == nullptr) {
    error.message = fmt::format("session {} is over or was never opened; open a new one", id);
    return tl::unexpected<Error>(std::move(error));
  }
  if (!EqualInConstantTime(session->secret, secret)) {
    error.message = fmt::format("wrong secret for session {}", id);
    return tl::unexpected<Error>(std::move(error));
  }
  return {};
}

SequenceVerdict Sessions::Judge(const Session& session, std::int64_t seq) const {
  if (seq < 1) {
    return SequenceVerdict::kInvalid;
  }
  if (seq <= session.last_seq) {
    return SequenceVerdict::kDuplicate;
  }
  return seq - 1 == session.last_seq ? SequenceVerdict::kNext : SequenceVerdict::kGap;
}

Reply Sessions::StoredAnswer(const Session& session, std::int64_t seq) const {
  Reply reply;
  if (seq <= session.taken_over_through) {
    reply.code = Code::kSessionExpired;
    reply.message = fmt::format(
        "session {} was taken over by another process, which numbers from {}; request {} is not "
        "executed any more",
        session.id, session.taken_over_through + 1, seq);
    return reply;
  }
  reply.code = Code::kReplyDropped;
  const auto& replies = session.replies;
  // They are dense: one per seq, the last one being last_seq.
  const std::int64_t first = session.last_seq - static_cast<std::int64_t>(replies.size()) + 1;
  if (seq < first) {
    reply.message = fmt::format(
        "request {} of session {} was executed before; its reply is not kept because {}", seq,
        session.id,
        seq <= session.acked_through ? "it was acknowledged"
                                     : "too many newer ones were left unacknowledged");
    return reply;
  }
  const StoredReply& stored = replies[static_cast<std::size_t>(seq - first)];
  if (!stored.dropped()) {
    const std::optional<Reply> decoded = DecodeReply(stored.body());
    CHECK(decoded.has_value()) << "stored reply " << seq << " of session " << session.id;
    return *decoded;
  }
  reply.zxid = stored.zxid;
  reply.message = fmt::format(
      "request {} of session {} was applied at zxid {}; its body was dropped because "
      "unacknowledged "
      "replies exceed {} bytes",
      seq, session.id, stored.zxid, limits_.reply_bytes_per_session_max);
  return reply;
}

// --- Digest ---

Digest Sessions::SessionItem(const Session& session) {
  DigestItem item(DigestItem::Kind::kSession);
  item.Add(session.id).Add(session.timeout_ms);
  item.Add(AsView(session.secret)).Add(AsView(session.nonce));
  item.Add(session.last_seq).Add(session.acked_through).Add(session.taken_over_through);
  return item.Finish();
}

Digest Sessions::ReplyItem(const Session& session, const StoredReply& stored) {
  DigestItem item(DigestItem::Kind::kReply);
  item.Add(session.id).Add(stored.seq).Add(stored.zxid);
  item.Add(std::int64_t{stored.dropped() ? 1 : 0}).Add(stored.body());
  return item.Finish();
}

Digest Sessions::RecomputeDigest() const {
  Digest digest;
  for (const auto& [id, session] : sessions_) {
    digest += SessionItem(session);
    for (const StoredReply& stored : session.replies) {
      digest += ReplyItem(session, stored);
    }
  }
  return digest;
}

void Sessions::UpdateItem(Session& session) {
  Exclude(session, session.item);
  session.item = SessionItem(session);
  Include(session, session.item);
}

void Sessions::UpdateItem(const Session& session, StoredReply& stored) {
  Exclude(session, stored.item);
  stored.item = ReplyItem(session, stored);
  Include(session, stored.item);
}

// --- Changes ---

Session& Sessions::Live(std::int64_t id) {
  const auto found = sessions_.find(id);
  CHECK(found != sessions_.end()) << "session " << id;
  return found->second;
}

const Session& Sessions::Open(std::int64_t id, const OpenSession& command) {
  Session session;
  session.id = id;
  session.timeout_ms = command.timeout_ms;
  session.secret = command.secret;
  session.nonce = command.nonce;
  CHECK(by_nonce_.emplace(command.nonce, id).second) << "session " << id;
  const auto [at, inserted] = sessions_.emplace(id, std::move(session));
  CHECK(inserted) << "session " << id;
  Changing(at->second);
  UpdateItem(at->second);
  return at->second;
}

void Sessions::Close(std::int64_t id) {
  Session& session = Live(id);
  CHECK(session.ephemerals.empty()) << "session " << id;
  Changing(session);
  if (session.marks.in_base) {
    FrozenSession ended;
    ended.row.id = id;
    ended.gone = true;
    ended.gone_replies_begin = session.marks.base_begin;
    ended.gone_replies_end = session.marks.base_end;
    ended_.push_back(std::move(ended));
  }
  while (!session.replies.empty()) {
    PopOldestReply(session);
  }
  Exclude(session, session.item);
  by_nonce_.erase(session.nonce);
  sessions_.erase(id);
}

void Sessions::PopOldestReply(Session& session) {
  const StoredReply& oldest = session.replies.front();
  NoteReplyGone(session, oldest);
  Exclude(session, oldest.item);
  session.reply_bytes -= oldest.body().size();
  session.replies.pop_front();
}

void Sessions::DropBodies(Session& session, std::size_t room) {
  for (StoredReply& stored : session.replies) {
    if (session.reply_bytes + room <= limits_.reply_bytes_per_session_max) {
      return;
    }
    if (stored.dropped()) {
      continue;
    }
    NoteReplyDropped(session, stored);
    session.reply_bytes -= stored.body().size();
    stored.encoded = SharedBytes();
    UpdateItem(session, stored);
  }
}

void Sessions::Record(std::int64_t id, std::int64_t seq, std::int64_t acked_through,
                      const Reply& reply) {
  Session& session = Live(id);
  CHECK_EQ(seq, session.last_seq + 1) << "session " << id;
  Changing(session);
  session.last_seq = seq;
  // A client cannot have the reply that is only being made.
  session.acked_through = std::max(session.acked_through, std::min(acked_through, seq - 1));
  UpdateItem(session);
  while (!session.replies.empty() && session.replies.front().seq <= session.acked_through) {
    PopOldestReply(session);
  }
  while (!session.replies.empty() && session.replies.size() >= limits_.replies_per_session_max) {
    PopOldestReply(session);
  }

  StoredReply stored;
  stored.seq = seq;
  stored.zxid = reply.zxid;
  const std::string body = EncodeReply(reply);
  if (body.size() <= limits_.reply_bytes_per_session_max) {
    stored.encoded = SharedBytes(body);
  }
  DropBodies(session, stored.body().size());
  session.reply_bytes += stored.body().size();
  NoteReply(stored);
  UpdateItem(session, stored);
  session.replies.push_back(std::move(stored));
}

std::int64_t Sessions::TakeOver(std::int64_t id, std::int64_t seq) {
  Session& session = Live(id);
  CHECK_EQ(seq, session.last_seq + 1) << "session " << id;
  Changing(session);
  while (!session.replies.empty()) {
    PopOldestReply(session);
  }
  session.last_seq = seq + kTakeOverJump;
  session.acked_through = session.last_seq;
  session.taken_over_through = session.last_seq;
  UpdateItem(session);
  return session.last_seq + 1;
}

void Sessions::AddEphemeral(std::int64_t id, CreationOrder order, std::string_view path) {
  CHECK(Live(id).ephemerals.emplace(order, path).second) << path;
}

void Sessions::RemoveEphemeral(std::int64_t id, CreationOrder order) {
  CHECK_EQ(Live(id).ephemerals.erase(order), 1U) << "session " << id;
}

}  // namespace conclave::tree
