// Sessions: what changed since the last freeze, the rows of a running one, and the scrub.
#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "coord/tree/rows.h"
#include "coord/tree/sessions.h"

namespace conclave::tree {
namespace {

// The replies of a session are dense: one for each seq, the last one being last_seq.
std::int64_t FirstReply(const Session& session) {
  return session.last_seq - static_cast<std::int64_t>(session.replies.size()) + 1;
}

}  // namespace

// --- What changed ---

void Sessions::Touch(Session& session) {
  if (frozen_mark_ != 0 && session.marks.epoch == frozen_mark_) {
    Capture(session);
  }
  session.marks.epoch = current_;
  touched_.push_back(session.id);
  ++dirty_rows_;
  dirty_bytes_ += kSessionKeyBytes + kSessionRowBytes;
}

void Sessions::NoteReply(const StoredReply& stored) {
  ++reply_count_;
  ++dirty_rows_;
  dirty_bytes_ += kReplyKeyBytes + kReplyRowBytes + stored.body().size();
}

void Sessions::NoteReplyGone(const Session& session, const StoredReply& stored) {
  --reply_count_;
  if (stored.seq >= session.marks.base_end) {  // It came in this epoch, and nobody will know.
    --dirty_rows_;
    dirty_bytes_ -= kReplyKeyBytes + kReplyRowBytes + stored.body().size();
  } else {
    ++dirty_rows_;
    dirty_bytes_ += kReplyKeyBytes;
  }
}

void Sessions::NoteReplyDropped(Session& session, const StoredReply& stored) {
  if (stored.seq >= session.marks.base_end) {
    dirty_bytes_ -= stored.body().size();
    return;
  }
  session.marks.dropped_through = std::max(session.marks.dropped_through, stored.seq);
  ++dirty_rows_;
  dirty_bytes_ += kReplyKeyBytes + kReplyRowBytes;
}

// --- Freezing ---

void Sessions::BeginFreeze(FrozenRows* frozen) {
  CHECK_EQ(frozen_mark_, 0U) << "a freeze is running";
  frozen_ = frozen;
  frozen_mark_ = current_;
  current_ = current_ == kMarkA ? kMarkB : kMarkA;
  frozen_touched_ = std::exchange(touched_, {});
  walked_ = 0;
  for (FrozenSession& ended : std::exchange(ended_, {})) {
    frozen_->Add(std::move(ended));
  }
  dirty_rows_ = 0;
  dirty_bytes_ = 0;
}

void Sessions::Capture(Session& session) {
  SessionMarks& marks = session.marks;
  FrozenSession row;
  row.row = {session.id,
             session.timeout_ms,
             session.secret,
             session.nonce,
             session.last_seq,
             session.acked_through,
             session.taken_over_through};
  const std::int64_t first = FirstReply(session);
  row.gone_replies_begin = marks.base_begin;
  row.gone_replies_end = std::max(marks.base_begin, std::min(marks.base_end, first));
  for (const StoredReply& stored : session.replies) {
    const bool lost_its_body = stored.dropped() && stored.seq <= marks.dropped_through;
    if (stored.seq >= marks.base_end || lost_its_body) {
      row.replies.push_back({stored.seq, stored.zxid, stored.encoded});
    }
  }
  frozen_->Add(std::move(row));
  marks.epoch = 0;
  marks.in_base = true;
  marks.base_begin = first;
  marks.base_end = session.last_seq + 1;
  marks.dropped_through = 0;
}

std::size_t Sessions::FreezeSlice(std::size_t rows_max) {
  std::size_t rows = 0;
  while (rows < rows_max && !freeze_complete()) {
    ++rows;
    // Ended in the epoch, or since: then it was captured before.
    const auto found = sessions_.find(frozen_touched_[walked_++]);
    if (found != sessions_.end() && found->second.marks.epoch == frozen_mark_) {
      rows += found->second.replies.size();
      Capture(found->second);
    }
  }
  return rows;
}

void Sessions::EndFreeze() {
  CHECK(freeze_complete());
  frozen_touched_ = {};
  walked_ = 0;
  frozen_mark_ = 0;
  frozen_ = nullptr;
}

// --- The slow scrub ---

bool Sessions::Scrubbed(const Session& session) const {
  switch (scrub_.place) {
    case ScrubPlace::kNotRunning:
      return false;
    case ScrubPlace::kAtSession:
      return session.id <= scrub_.session;
    case ScrubPlace::kBehindAll:
      break;
  }
  return true;
}

void Sessions::Include(const Session& session, const Digest& item) {
  digest_ += item;
  if (Scrubbed(session)) {
    scrub_.sum += item;
  }
}

void Sessions::Exclude(const Session& session, const Digest& item) {
  digest_ -= item;
  if (Scrubbed(session)) {
    scrub_.sum -= item;
  }
}

std::size_t Sessions::ScrubSlice(std::size_t rows_max) {
  std::size_t rows = 0;
  auto at = scrub_.place == ScrubPlace::kNotRunning ? sessions_.begin()
                                                    : sessions_.upper_bound(scrub_.session);
  for (; at != sessions_.end() && rows < rows_max; ++at) {
    const Session& session = at->second;
    scrub_.place = ScrubPlace::kAtSession;
    scrub_.session = session.id;
    scrub_.sum += SessionItem(session);
    for (const StoredReply& stored : session.replies) {
      scrub_.sum += ReplyItem(session, stored);
    }
    rows += 1 + session.replies.size();
  }
  if (at == sessions_.end()) {
    scrub_.place = ScrubPlace::kBehindAll;
  }
  return rows;
}

}  // namespace conclave::tree
