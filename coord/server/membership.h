// Commands about the members: from the member where they come in to the leader, and back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <absl/functional/any_invocable.h>
#include <tl/expected.hpp>

#include "consensus/types.h"
#include "coord/server/member_api.h"
#include "coord/server/peer_transport.h"
#include "coord/tree/code.h"

namespace conclave::raft {
class Raft;
struct Status;
}  // namespace conclave::raft

namespace conclave::server {

// The member where a command comes in sends it to the leader, and again to the next one or after a
// pause until there is an answer that is final, for repeating a command that is done is harmless.
// The leader carries it out and answers once the configuration is committed, or leadership has
// moved.
//
// Thread: core executor only. Borrows what is in Links.
// Invariant: `done` of a command is called exactly once, from Tick, OnAnswer or FailAll.
class Membership {
 public:
  using Outcome = tl::expected<MemberReply, tree::Error>;

  struct Links {
    raft::Raft* raft = nullptr;
    PeerTransport* transport = nullptr;
    raft::MemberId self = 0;
    // A link to the peer stands: it is here with the incarnation that the cluster knows.
    std::function<bool(raft::MemberId)> connected;
  };

  // `first_request` differs between the runs of a member, so that a late answer to one of an
  // earlier run is not taken for one of this.
  Membership(Links links, std::uint64_t first_request);
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;
  ~Membership() = default;

  // Gives up after `deadline_ns`: kUnavailable if nothing was done, else kUnknownOutcome.
  void Submit(MemberCommand command, std::int64_t deadline_ns,
              absl::AnyInvocable<void(Outcome)> done);

  // Of a peer, which takes this member for the leader.
  void OnRequest(raft::MemberId from, const MemberRequest& request);
  void OnAnswer(raft::MemberId from, const MemberAnswer& answer, std::int64_t now_ns);

  // Another role, another leader, another term.
  void OnRoleChanged();
  // The link to a peer is gone: what was asked there is asked again.
  void OnDisconnected(raft::MemberId peer);
  // Entries up to `commit` are committed.
  void OnCommitted(raft::Index commit);
  // Makes attempts that are due and ends those whose deadline has passed.
  void Tick(std::int64_t now_ns);
  // This member stops.
  void FailAll(const std::string& why);

  [[nodiscard]] std::size_t pending() const { return pending_.size(); }

 private:
  // A command that came in here.
  struct Pending {
    MemberCommand command;
    std::int64_t deadline_ns = 0;
    absl::AnyInvocable<void(Outcome)> done;
    raft::MemberId asked = 0;  // who is at work on it; 0: nobody
    std::int64_t next_ns = 0;  // while nobody is: the next attempt is not before this
    bool unknown = false;      // an earlier attempt may have been carried out
    std::string reason;        // why the last attempt came to nothing
  };

  // A command that this leader carries out.
  struct Running {
    raft::MemberId from = 0;  // who asked for it, perhaps this member
    std::uint64_t request = 0;
    raft::Index index = 0;  // of the configuration; 0: leadership moves
    raft::Term term = 0;
    raft::MemberId to = 0;  // whom leadership goes to; 0: anybody
    bool changed = false;
  };

  using PendingMap = std::map<std::uint64_t, Pending>;

  void Attempt(PendingMap::iterator at, std::int64_t now_ns);
  static void AskAgain(Pending& pending);
  void Abandon(PendingMap::iterator at, const std::string& why);
  void Finish(PendingMap::iterator at, Outcome outcome);

  void Execute(raft::MemberId from, std::uint64_t request, const MemberCommand& command);
  void ExecuteChange(Running running, const raft::ConfigChange& change);
  void ExecuteTransfer(Running running, const LeaderTransfer& transfer);
  // Answers what waits for leadership to move, and what leadership has moved away from.
  void EndTransfers();
  [[nodiscard]] bool LeavesNoMajority(const raft::Status& status,
                                      const raft::ConfigChange& change) const;
  // What the change asks for is so already.
  [[nodiscard]] bool Done(const raft::Status& status, const raft::ConfigChange& change) const;
  [[nodiscard]] MemberAnswer Refusal(std::uint64_t request, const raft::ConfigChange& change,
                                     raft::ConfigChangeError error) const;
  // "2, 3": the voters that are not heard from; empty if all are.
  [[nodiscard]] std::string Silent() const;
  void Answer(raft::MemberId to, MemberAnswer answer);

  const Links links_;
  std::uint64_t next_request_;
  PendingMap pending_;
  std::map<std::pair<raft::MemberId, std::uint64_t>, Running> running_;  // by who asked, and number
  std::vector<MemberAnswer> own_answers_;  // to commands of this member
};

}  // namespace conclave::server
