// The sessions: who is alive, which replies are kept for a retry, who owns which ephemerals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

#include "coord/tree/code.h"
#include "coord/tree/command.h"
#include "coord/tree/digest.h"
#include "coord/tree/frozen_rows.h"
#include "coord/tree/limits.h"
#include "coord/tree/reply.h"
#include "coord/tree/shared_bytes.h"

namespace conclave::tree {

// A reply that the client may still ask for.
struct StoredReply {
  std::int64_t seq = 0;
  std::int64_t zxid = 0;
  // EncodeReply, shared with checkpoints. Nothing: "applied at zxid, body dropped" for the cap of
  // bytes.
  SharedBytes encoded;
  // What the digest has of it, so that it can be taken out without being read again.
  Digest item;

  bool dropped() const { return !encoded; }

  // Empty if it was dropped.
  std::string_view body() const { return encoded.view(); }
};

// Place of a creation in history: zxid and ordinal. Orders the ephemerals of a session.
using CreationOrder = std::pair<std::int64_t, std::uint16_t>;

// What of a session the next checkpoint must have. Not replicated.
struct SessionMarks {
  std::uint8_t epoch = 0;       // The mark of the epoch in which it changed first, or 0.
  bool in_base = false;         // The checkpoint before has it.
  std::int64_t base_begin = 0;  // The checkpoint before has the replies [begin, end), ...
  std::int64_t base_end = 0;
  std::int64_t dropped_through =
      0;  // ... some of those through this seq with a body dropped since.
};

// A live session. Everything but the marks and the item is replicated state.
struct Session {
  std::int64_t id = 0;          // The zxid of the entry that opened it.
  std::int32_t timeout_ms = 0;  // Silence after which the leader proposes its end.
  Bytes16 secret{};
  Bytes16 nonce{};
  std::int64_t last_seq = 0;       // Of the last request executed; only grows.
  std::int64_t acked_through = 0;  // The client has the replies through this; <= last_seq.
  // Numbers through this are of processes that the session was taken from; <= acked_through.
  std::int64_t taken_over_through = 0;
  // Of the requests in (acked_through, last_seq], the newest ones, in order of seq.
  std::deque<StoredReply> replies;
  std::size_t reply_bytes = 0;  // Sum of the bodies in `replies`.
  // Paths of the znodes it owns, in order of creation. An index: the znodes themselves say it all.
  std::map<CreationOrder, std::string> ephemerals;
  SessionMarks marks;
  Digest item;  // What the digest has of it, without its replies. Derived, as the marks are.
};

// What a request of a session is, by its seq.
enum class SequenceVerdict : std::uint8_t {
  kNext,       // last_seq + 1: execute it.
  kDuplicate,  // Executed before: answer what is stored.
  kGap,        // Something before it is missing: no effect.
  kInvalid,    // Below 1.
};

// Role: the table of live sessions and the part of the digest that covers them.
// Thread: the one that applies.
// Invariants: (1) digest() is the sum over all sessions and stored replies; (2) ids and nonces of
// live sessions are unique; (3) no more is stored per session than the limits allow.
class Sessions {
 public:
  explicit Sessions(const Limits& limits) : limits_(limits) {}

  // --- Reads ---

  // The live session of this id, or null. Valid until it ends.
  const Session* Find(std::int64_t id) const;

  // The live session that was opened with this nonce, or null.
  const Session* FindByNonce(const Bytes16& nonce) const;

  // Whether `secret` is that of the live session `id`: what a member asks before it lets a caller
  // speak for a session. The comparison takes the same time wherever the bytes differ.
  // Errors: kSessionExpired; the message tells an unknown session from a wrong secret.
  // A member may answer "unknown" to a client only after it has applied a fresh read index: the
  // session's opening may not have reached it yet.
  tl::expected<void, Error> Authenticate(std::int64_t id, const Bytes16& secret) const;

  // All live sessions by id: a new leader's timers, status, checkpoints.
  const std::map<std::int64_t, Session>& all() const { return sessions_; }

  std::size_t size() const { return sessions_.size(); }

  // What `seq` means for this session.
  SequenceVerdict Judge(const Session& session, std::int64_t seq) const;

  // The stored answer to a request that was executed before: the identical reply, or kReplyDropped.
  // REQUIRES: Judge said kDuplicate.
  Reply StoredAnswer(const Session& session, std::int64_t seq) const;

  const Digest& digest() const { return digest_; }

  Digest RecomputeDigest() const;

  // --- Changes, for apply alone ---

  // REQUIRES: no live session has this id or nonce.
  const Session& Open(std::int64_t id, const OpenSession& command);

  // Forgets the session with its stored replies. REQUIRES: it is live and owns no ephemerals.
  void Close(std::int64_t id);

  // Records that `seq` was executed with `reply`, and that the client has the replies through
  // `acked_through` (cut to what was executed). Keeps within the limits: past the count the oldest
  // replies go altogether, past the bytes the oldest bodies. REQUIRES: Judge said kNext.
  void Record(std::int64_t id, std::int64_t seq, std::int64_t acked_through, const Reply& reply);

  // Takes the session over by the request `seq`: numbers through seq + kTakeOverJump count as used,
  // and no reply to them is kept. Returns the next number. REQUIRES: Judge said kNext.
  std::int64_t TakeOver(std::int64_t id, std::int64_t seq);

  // The index of ephemerals. REQUIRES: the session is live.
  void AddEphemeral(std::int64_t id, CreationOrder order, std::string_view path);
  void RemoveEphemeral(std::int64_t id, CreationOrder order);

  // --- What changed, and freezing it: as DirtyZnodes does it for the tree ---

  std::uint64_t dirty_rows() const { return dirty_rows_; }

  std::uint64_t dirty_bytes() const { return dirty_bytes_; }

  // Stored replies of all sessions.
  std::uint64_t reply_count() const { return reply_count_; }

  void BeginFreeze(FrozenRows* frozen);
  // Captures sessions of about `rows_max` rows; returns of how many.
  std::size_t FreezeSlice(std::size_t rows_max);

  bool freeze_complete() const { return walked_ == frozen_touched_.size(); }

  void EndFreeze();

  // --- The slow scrub: as Tree does it ---

  std::size_t ScrubSlice(std::size_t rows_max);

  bool scrub_complete() const { return scrub_.place == ScrubPlace::kBehindAll; }

  const Digest& scrubbed() const { return scrub_.sum; }

  void EndScrub() { scrub_ = Scrub(); }

 private:
  friend class StateLoader;
  friend class TreeTestPeer;

  enum class ScrubPlace : std::uint8_t { kNotRunning, kAtSession, kBehindAll };

  struct Scrub {
    ScrubPlace place = ScrubPlace::kNotRunning;
    std::int64_t session = 0;  // kAtSession: the last one visited.
    Digest sum;
  };

  // The session's own item, or that of one of its replies, is as it now is.
  void UpdateItem(Session& session);
  void UpdateItem(const Session& session, StoredReply& stored);
  // Every change of digest_ goes through these: an item of this session comes or goes.
  void Include(const Session& session, const Digest& item);
  void Exclude(const Session& session, const Digest& item);
  bool Scrubbed(const Session& session) const;

  // Before anything of the session's rows changes.
  void Changing(Session& session) {
    if (session.marks.epoch != current_) {
      Touch(session);
    }
  }

  void Touch(Session& session);
  void Capture(Session& session);
  // A reply comes, goes or loses its body; after Changing.
  void NoteReply(const StoredReply& stored);
  void NoteReplyGone(const Session& session, const StoredReply& stored);
  void NoteReplyDropped(Session& session, const StoredReply& stored);

  static Digest SessionItem(const Session& session);
  static Digest ReplyItem(const Session& session, const StoredReply& stored);

  Session& Live(std::int64_t id);
  void PopOldestReply(Session& session);
  void DropBodies(Session& session, std::size_t room);

  const Limits limits_;
  std::map<std::int64_t, Session> sessions_;
  std::map<Bytes16, std::int64_t> by_nonce_;
  Digest digest_;
  std::uint64_t reply_count_ = 0;

  static constexpr std::uint8_t kMarkA = 1;
  static constexpr std::uint8_t kMarkB = 2;
  std::uint8_t current_ = kMarkA;
  std::vector<std::int64_t> touched_;  // Each session that has the mark, and those that ended.
  std::vector<FrozenSession> ended_;   // Those that ended and are in the checkpoint before.
  std::uint64_t dirty_rows_ = 0;
  std::uint64_t dirty_bytes_ = 0;

  std::uint8_t frozen_mark_ = 0;  // 0: no freeze is running.
  std::vector<std::int64_t> frozen_touched_;
  std::size_t walked_ = 0;
  FrozenRows* frozen_ = nullptr;

  Scrub scrub_;
};

}  // namespace conclave::tree
