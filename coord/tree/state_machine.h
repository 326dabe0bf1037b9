// The state machine: committed entries go in, in order; replies and changes come out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/change.h"
#include "coord/tree/command.h"
#include "coord/tree/digest.h"
#include "coord/tree/frozen_rows.h"
#include "coord/tree/limits.h"
#include "coord/tree/reply.h"
#include "coord/tree/sessions.h"
#include "coord/tree/tree.h"

namespace conclave::tree {

class Transaction;

// Where a member can be reached, as it has published itself.
struct MemberInfo {
  std::uint64_t incarnation = 0;
  std::string client_address;
  std::string admin_address;
  std::int64_t zxid = 0;  // Of the entry that said so.
  friend bool operator==(const MemberInfo&, const MemberInfo&) = default;
};

// An entry that this build cannot execute. The member must stop at once and say why: to skip the
// entry would make its tree another one than everybody else's. The state is as before the entry.
struct Fatal {
  enum class Kind : std::uint8_t {
    kMalformedEntry,
    kUnknownFormat,
    kUnknownCommand,
    kUnknownFeatureLevel,
    kZxidExhausted,  // The log has reached 2^53 (rule 9).
  };
  Kind kind = Kind::kMalformedEntry;
  std::string message;  // For the operator: what was met at which zxid, and what to do.
};

struct ApplyResult {
  // Set: stop; nothing else in here means anything.
  std::optional<Fatal> fatal;

  Reply reply;

  // From the entry's header: whom the reply belongs to.
  std::int64_t session = 0;
  std::int64_t seq = 0;
  std::uint64_t origin_member = 0;
  std::uint64_t origin_request = 0;

  // The request was executed by an earlier entry; `reply` is the one stored then, nothing changed.
  bool duplicate = false;

  // What changed, in order; ordinals are 0, 1, 2...
  std::vector<Change> changes;
  std::vector<SessionEvent> session_events;
};

// What a slice of the slow scrub says.
struct ScrubResult {
  enum class State : std::uint8_t {
    kRunning,   // Ask again for the next slice.
    kClean,     // A pass is complete and all is well; the next slice begins another one.
    kMismatch,  // A pass is complete: memory of this member has rotted, and `message` says where.
  };
  State state = State::kRunning;
  std::string message;
};

// Role: all replicated state, and the only code that changes it. Pure: it reads no clock, draws no
// random number, depends on no order of a hash table; the same entries at the same zxids give the
// same replies, changes and digest at every member, in every process.
//
// Nothing that a client can put into a command makes Apply throw or abort: everything is answered.
// What stops a member is an entry that this build cannot read at all (ApplyResult::fatal), and a
// broken invariant of our own (CHECK).
//
// Replaced as a whole: it neither moves nor copies, so hold it by unique_ptr, let a StateLoader
// make the next one on any thread, and swap the pointers between two calls of Apply. Pointers and
// references into the old one (Znode, Session, a running freeze or scrub) go with it; values and
// FrozenRows that were handed out stay good. To destroy a million znodes takes tenths of a second:
// hand the old one to another thread for that.
//
// Checkpoints: BeginFreeze, FreezeSlice until it says true, TakeFrozen; Apply goes on in between.
// From the start and from each BeginFreeze on, the state keeps the keys of what changes (about 20
// bytes and the key for each row), so something must freeze from time to time.
//
// Thread: the one that applies; it may read between two calls of Apply, on the same thread.
class StateMachine {
 public:
  explicit StateMachine(const Limits& limits = Limits());
  StateMachine(const StateMachine&) = delete;
  StateMachine& operator=(const StateMachine&) = delete;
  ~StateMachine() = default;

  // Executes the committed entry at Raft index `zxid`. Entries of Raft's own (no-op, configuration)
  // are never given, so zxids rise but need not be dense.
  //
  // Order of judgement: the entry is readable; time moves; create mode (it comes before the
  // session, as in ZooKeeper); the session lives; the seq is next (a duplicate gets its stored
  // reply, a gap is told the expected seq, neither has an effect); then the operation's own tests.
  //
  // REQUIRES: zxid > last_zxid(), and all members call it with the same entries.
  ApplyResult Apply(std::int64_t zxid, std::string_view entry);

  const Tree& tree() const { return tree_; }

  const Sessions& sessions() const { return sessions_; }

  const std::map<std::uint64_t, MemberInfo>& members() const { return members_; }

  const Limits& limits() const { return limits_; }

  // The zxid of the last entry that was applied; 0 before the first.
  std::int64_t last_zxid() const { return last_zxid_; }

  // Elapsed time of the cluster, in nanoseconds: the greatest that any entry was stamped with.
  // Never goes back, whatever a leader stamps.
  std::int64_t elapsed_ns() const { return elapsed_ns_; }

  std::int32_t feature_level() const { return feature_level_; }

  // The digest of everything above. Two members that differ at the same last_zxid() have diverged.
  Digest digest() const;

  // The same from scratch, in time proportional to everything: at load, and by a slow scrub. If it
  // differs from digest(), memory of this member has rotted.
  Digest RecomputeDigest() const;

  // Looks for a broken invariant among the parts (counters, the index of ephemerals, limits) in
  // time proportional to everything. Empty if all is well, else a sentence. For tests and scrubs.
  std::string Audit() const;

  // --- Checkpoints ---

  // How many rows have changed since the last BeginFreeze (or since the state was made or loaded),
  // and about how many bytes of keys and values they have. What a checkpoint is triggered by; the
  // state row, which is in every checkpoint, is not counted. O(1).
  std::uint64_t dirty_rows() const;
  std::uint64_t dirty_bytes() const;

  // From here on Apply captures what it is about to change, as it is now. O(members).
  // REQUIRES: no freeze is running.
  void BeginFreeze();

  // BeginFreeze was called and TakeFrozen was not yet.
  bool freezing() const { return freezing_; }

  // Captures about `rows_max` rows more (a session goes with all its stored replies): a third of a
  // microsecond each, several where they lie far apart. True: all is captured. REQUIRES:
  // freezing().
  bool FreezeSlice(std::size_t rows_max);

  // What was frozen. The caller must get it into a checkpoint, or stop: the next freeze will not
  // have it again. REQUIRES: FreezeSlice said true.
  FrozenRows TakeFrozen();

  // --- The slow scrub (rule 15) ---

  // Recomputes the digest of about `rows_max` rows more (a row of more than 4 KiB counts for
  // several), in about a microsecond each, while Apply goes on between slices; compares with
  // digest() at the end of a pass. What has rotted is found when the pass comes by, whether or not
  // anything ever changes there.
  ScrubResult ScrubSlice(std::size_t rows_max);

 private:
  friend class StateLoader;
  friend class TreeTestPeer;

  void Execute(Entry& entry, ApplyResult& result);
  void ExecuteForSession(Entry& entry, ApplyResult& result);
  void ExecuteOps(Entry& entry, ApplyResult& result);
  void ExecuteMulti(Multi& multi, Transaction& transaction, Reply& reply);
  void Open(const OpenSession& command, ApplyResult& result);
  void Close(Entry& entry, const CloseSession& command, ApplyResult& result);
  void EndSession(const CloseSession& command, ApplyResult& result);
  void TakeSessionOver(const EntryHeader& header, ApplyResult& result);
  void Raise(const SetFeatureLevel& command, ApplyResult& result);
  void Publish(const PublishMember& command, ApplyResult& result);

  static Digest MemberItem(std::uint64_t id, const MemberInfo& member);
  Digest ClusterItem() const;
  StateRow MakeStateRow() const;
  ScrubResult JudgeScrub() const;

  const Limits limits_;
  Tree tree_;
  Sessions sessions_;
  std::map<std::uint64_t, MemberInfo> members_;
  Digest members_digest_;
  std::int64_t last_zxid_ = 0;
  std::int64_t elapsed_ns_ = 0;
  std::int32_t feature_level_ = kFeatureLevelMin;

  // Not replicated: what the next checkpoint must have.
  std::set<std::uint64_t> dirty_members_;
  FrozenRows frozen_;
  bool freezing_ = false;
  bool frozen_complete_ = false;
};

}  // namespace conclave::tree
