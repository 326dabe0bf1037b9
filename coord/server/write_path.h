// Writes between their acceptance at this member and their apply here: proposed by the leader,
// forwarded by everyone else, sent again when the leader changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/functional/any_invocable.h>
#include <tl/expected.hpp>

#include "coord/server/peer_transport.h"
#include "coord/server/status.h"
#include "coord/tree/code.h"
#include "coord/tree/command.h"
#include "coord/tree/reply.h"
#include "coord/tree/state_machine.h"

namespace conclave::raft {
class Raft;
}

namespace conclave::server {

// Thread: core executor only.
//
// Invariants:
//   1. A write is answered once: by the apply of its entry at this member, by a refusal that proves
//      that no attempt is under way, or by its deadline. After the deadline it is kUnknownOutcome
//      unless no attempt was ever made.
//   2. Attempts are made in the order of request ids, which is the order of submission: the writes
//      of a session reach a leader in their order, also after a change of leader. Exactly-once at
//      apply (rule 2) makes the repetition harmless.
//   3. An entry that may be in a log, or on its way to one, is never stamped again: a copy is.
class WritePath {
 public:
  using Outcome = tl::expected<tree::Reply, tree::Error>;
  using Done = absl::AnyInvocable<void(Outcome)>;

  struct Request {
    tree::EntryHeader header;  // origin and time are filled in here
    tree::Command command;
    std::int64_t deadline_ns = 0;
    Done done;  // may be empty
  };

  struct Links {
    raft::Raft* raft = nullptr;
    PeerTransport* transport = nullptr;
    Counters* counters = nullptr;
    raft::MemberId self = 0;
    std::size_t forwarded_bytes_max = 0;
    // Whether a link to this peer stands.
    std::function<bool(raft::MemberId)> connected;
    // Wall clock in ms and elapsed time of the cluster in ns, for the next proposal.
    std::function<std::pair<std::int64_t, std::int64_t>()> stamp;
    // Whether the log takes this entry; the entry is only looked at when room is short.
    std::function<bool(const std::string& entry)> has_room;
  };

  // `first_request` differs between the runs of a member, so that an entry of an earlier run is not
  // taken for one of this.
  WritePath(Links links, std::uint64_t first_request);
  WritePath(const WritePath&) = delete;
  WritePath& operator=(const WritePath&) = delete;
  ~WritePath() = default;

  // Accepts a write; it leaves with the next Flush.
  void Submit(Request&& request);

  // Proposes without a waiter and without a second attempt: the leader's own decision to end a
  // session must not outlive its office. Returns false if it was not taken.
  bool ProposeOnce(const tree::Command& command);

  // Makes the attempts that are due: one Propose, or one Forward, for all of a turn.
  void Flush();

  // A peer's writes. Proposed with the next Flush, or rejected with it.
  void OnForward(raft::MemberId from, Forward forward);
  void OnForwardRejected(raft::MemberId from, const ForwardRejected& rejected);

  // Another leader, another term, or a new link to the leader: what is pending is sent again.
  void Resend();

  // An entry was applied here.
  void OnApplied(tree::ApplyResult& result);
  // Some were, and nothing else has happened since: judges the gaps among them.
  void AfterApply();

  // The state was replaced, and the applies of the entries between will not be seen here: what they
  // have answered is answered as stored, and what cannot be told is an unknown outcome. What has
  // not been executed goes on waiting.
  void OnInstalled(const tree::Sessions& sessions);

  // Ends what is past its deadline. With `leaderless`, also what was never sent and waits for a
  // leader: kUnavailable, the client may look elsewhere.
  void Expire(std::int64_t now_ns, bool leaderless);

  // Answers everything: kUnavailable or kUnknownOutcome.
  void FailAll(const std::string& why);

  [[nodiscard]] std::size_t pending() const { return pending_.size(); }

 private:
  using Id = std::uint64_t;

  struct Pending {
    std::int64_t session = 0;
    std::int64_t seq = 0;
    std::shared_ptr<std::string> entry;
    std::int64_t deadline_ns = 0;
    // Attempts that may still come to an apply. 0: certainly not executed.
    int attempts = 0;
    bool handed_on = false;  // an attempt was ever made: others may read the entry
    bool unsent = false;     // stands in unsent_
    Done done;

    void HandOn() {
      ++attempts;
      handed_on = true;
      unsent = false;
    }
  };

  using PendingMap = absl::flat_hash_map<Id, Pending>;

  struct Forwarded {
    raft::MemberId from = 0;
    ForwardedEntry entry;
  };

  // An attempt was applied after one that it needs was lost.
  struct Gap {
    Id id = 0;
    tree::Reply reply;
  };

  struct Batch;

  void FlushAsLeader();
  void FlushToLeader(raft::MemberId leader);
  void RejectForwarded(RejectReason reason, const std::string& message);
  bool Propose(Batch& batch);
  void MarkUnsent(Id id, Pending& pending);
  void SortUnsent();
  [[nodiscard]] std::vector<Id> PendingIds() const;
  void Answer(PendingMap::iterator at, Outcome outcome);
  void AnswerStored(PendingMap::iterator at, tree::Reply reply);
  static std::optional<tree::Reply> OpenedBefore(const std::string& entry,
                                                 const tree::Sessions& sessions);
  void Abandon(PendingMap::iterator at, const std::string& why);

  const Links links_;
  Id next_request_;
  PendingMap pending_;  // by request id; its order means nothing
  // Due for an attempt. In order of ids but for what was put back since the last SortUnsent; may
  // hold ids that have been answered meanwhile.
  std::vector<Id> unsent_;
  bool unsent_sorted_ = true;
  // No deadline of pending_ is earlier. Most writes are answered long before theirs, so that
  // looking through all when this has come is cheaper than keeping them in order.
  std::int64_t earliest_deadline_ns_ = std::numeric_limits<std::int64_t>::max();
  std::vector<Gap> gaps_;  // of this slice of applies
  std::deque<Forwarded> forwarded_;
  std::size_t forwarded_bytes_ = 0;
};

}  // namespace conclave::server
