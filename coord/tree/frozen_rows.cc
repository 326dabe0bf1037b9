#include "coord/tree/frozen_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace conclave::tree {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{64} * 1024;

}  // namespace

std::string_view KeyArena::Add(std::string_view key) {
  if (key.size() > left_) {
    left_ = std::max(kPieceBytes, key.size());
    pieces_.push_back(std::make_unique_for_overwrite<char[]>(left_));
    at_ = pieces_.back().get();
  }
  std::memcpy(at_, key.data(), key.size());
  const std::string_view copy(at_, key.size());
  at_ += key.size();
  left_ -= key.size();
  return copy;
}

void FrozenRows::SetState(const StateRow& state) {
  state_ = state;
  ++rows_;
  bytes_ += StateKey().size() + EncodeRow(state_).size();
}

void FrozenRows::Add(FrozenZnode znode) {
  ++rows_;
  bytes_ += znode.key.size();
  if (znode.value) {
    bytes_ += ZnodeRowBytes(*znode.value, znode.is_directory);
  }
  znodes_.push_back(std::move(znode));
}

void FrozenRows::Add(FrozenSession session) {
  const auto gone =
      static_cast<std::uint64_t>(session.gone_replies_end - session.gone_replies_begin);
  rows_ += 1 + gone + session.replies.size();
  bytes_ += kSessionKeyBytes + (session.gone ? 0 : kSessionRowBytes);
  bytes_ += kReplyKeyBytes * (gone + session.replies.size());
  for (const FrozenReply& reply : session.replies) {
    bytes_ += kReplyRowBytes + reply.body.size();
  }
  sessions_.push_back(std::move(session));
}

void FrozenRows::Add(MemberRow member) {
  ++rows_;
  bytes_ += MemberKey(member.id).size() + EncodeRow(member).size();
  members_.push_back(std::move(member));
}

void FrozenRows::Sort() {
  if (std::exchange(sorted_, true)) {
    return;
  }
  std::sort(sessions_.begin(), sessions_.end(),
            [](const FrozenSession& a, const FrozenSession& b) { return a.row.id < b.row.id; });
  std::sort(znodes_.begin(), znodes_.end(),
            [](const FrozenZnode& a, const FrozenZnode& b) { return a.key < b.key; });
}

void FrozenRows::ForEach(const Sink& sink) {
  Sort();
  if (rows_ == 0) {
    return;  // Taken apart by a move.
  }
  sink(StateKey(), EncodeRow(state_));
  for (const FrozenSession& session : sessions_) {
    if (session.gone) {
      sink(SessionKey(session.row.id), std::nullopt);
    } else {
      sink(SessionKey(session.row.id), EncodeRow(session.row));
    }
  }
  for (const FrozenSession& session : sessions_) {
    for (std::int64_t seq = session.gone_replies_begin; seq < session.gone_replies_end; ++seq) {
      sink(ReplyKey(session.row.id, seq), std::nullopt);
    }
    for (const FrozenReply& reply : session.replies) {
      ReplyRow row;
      row.zxid = reply.zxid;
      row.dropped = !reply.body;
      row.body = reply.body.view();
      sink(ReplyKey(session.row.id, reply.seq), EncodeRow(row));
    }
  }
  for (const MemberRow& member : members_) {  // By id: they come from an ordered set.
    sink(MemberKey(member.id), EncodeRow(member));
  }
  std::string value;
  for (const FrozenZnode& znode : znodes_) {
    if (!znode.value) {
      sink(znode.key, std::nullopt);
      continue;
    }
    EncodeZnodeRow(*znode.value, znode.is_directory, znode.ccount, znode.pzxid, value);
    sink(znode.key, value);
  }
}

}  // namespace conclave::tree
