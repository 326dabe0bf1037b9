// Calls that wait until this member's state is fresh enough to answer them.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/functional/any_invocable.h>
#include <tl/expected.hpp>

#include "consensus/raft.h"
#include "coord/server/status.h"
#include "coord/tree/code.h"
#include "coord/tree/sessions.h"

namespace conclave::server {

// Thread: core executor only.
//
// Invariants:
//   1. A fresh wait ends only after a ReadIndex that was asked for after the wait began, and after
//      the apply of the index that it gave. One round serves all waits that stand when it is asked.
//   2. Each wait ends once.
class ReadPath {
 public:
  using Id = std::uint64_t;
  using Done = absl::AnyInvocable<void(tl::expected<void, tree::Error>)>;

  struct Condition {
    bool fresh = false;          // linearizable
    std::int64_t min_zxid = 0;   // applied at least this
    std::int64_t session = 0;    // with after_seq
    std::int64_t after_seq = 0;  // the session's write of this number is applied
    bool gated = false;          // and OpenGate was called
    std::int64_t deadline_ns = 0;
  };

  ReadPath(raft::Raft* raft, const tree::Sessions* sessions, Counters* counters);
  ReadPath(const ReadPath&) = delete;
  ReadPath& operator=(const ReadPath&) = delete;
  ~ReadPath() = default;

  // Whether all of the condition but its gate holds by now: nothing to wait for.
  [[nodiscard]] bool Holds(const Condition& condition) const {
    return !condition.fresh && condition.min_zxid <= applied_ && SeqApplied(condition);
  }

  // Calls `done` once all of the condition holds, perhaps inside this call.
  Id Await(const Condition& condition, Done done);
  void OpenGate(Id id);

  // Asks for one round if anything waits for one.
  void IssueRound();
  void OnReadReady(const raft::ReadReady& ready);
  void OnReadFailed(raft::ReadId id);

  // The state was replaced; OnApplied follows.
  void SetSessions(const tree::Sessions* sessions) { sessions_ = sessions; }

  // State moved on to this index.
  void OnApplied(std::int64_t applied);

  // Ends waits past their deadline (kDeadlineExceeded). With `leaderless`, also fresh ones without
  // an index: kUnavailable, the client may look elsewhere.
  void Expire(std::int64_t now_ns, bool leaderless);
  void FailAll(tree::Code code, const std::string& why);

  [[nodiscard]] std::size_t pending() const { return waits_.size(); }

 private:
  struct Wait {
    Condition condition;
    bool confirmed = false;  // a fresh wait has its index, which is then in `need`
    bool queued = false;     // stands in by_index_ or by_seq_
    std::int64_t need = 0;   // applied at least this
    Done done;
  };

  using Waits = absl::flat_hash_map<Id, Wait>;

  void TryEnd(Waits::iterator at);
  void TryEndAll(const std::vector<Id>& ids);
  void End(Waits::iterator at, tl::expected<void, tree::Error> result);
  void Fail(Waits::iterator at, tree::Code code, const std::string& why);
  [[nodiscard]] std::vector<Id> WaitIds() const;
  [[nodiscard]] bool SeqApplied(const Condition& condition) const;

  raft::Raft* const raft_;
  const tree::Sessions* sessions_;
  Counters* const counters_;
  Id next_ = 1;
  std::int64_t applied_ = 0;
  Waits waits_;  // its order means nothing
  // In these, waits may stand that have ended meanwhile.
  std::vector<Id> unconfirmed_;                       // for the next round
  std::map<raft::ReadId, std::vector<Id>> rounds_;    // asked for
  std::map<std::int64_t, std::vector<Id>> by_index_;  // only this index is missing
  std::vector<Id> by_seq_;                            // only the session's write is missing
  // No deadline is earlier. Most waits end long before theirs, so that looking through all when
  // this has come is cheaper than keeping them in order.
  std::int64_t earliest_deadline_ns_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace conclave::server
