// Calls that wait until this member's state is fresh enough to answer them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

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
  using Done = std::function<void(tl::expected<void, tree::Error>)>;

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

  // Calls `done` once all of the condition holds, perhaps inside this call.
  Id Await(Condition condition, Done done);
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
    std::int64_t need = 0;   // applied at least this
    bool by_index = false;   // stands in by_index_ at `need`
    Done done;
  };

  void TryEnd(Id id);
  void End(Id id, tl::expected<void, tree::Error> result);
  void Fail(Id id, tree::Code code, const std::string& why);
  [[nodiscard]] bool SeqApplied(const Condition& condition) const;

  raft::Raft* const raft_;
  const tree::Sessions* sessions_;
  Counters* const counters_;
  Id next_ = 1;
  std::int64_t applied_ = 0;
  std::map<Id, Wait> waits_;
  std::vector<Id> unconfirmed_;                     // for the next round
  std::map<raft::ReadId, std::vector<Id>> rounds_;  // asked for
  std::set<std::pair<std::int64_t, Id>> by_index_;  // only the index is missing
  std::set<Id> by_seq_;                             // only the session's write is missing
  std::set<std::pair<std::int64_t, Id>> deadlines_;
};

}  // namespace conclave::server
