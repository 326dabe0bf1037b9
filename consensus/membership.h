#pragma once

// Changes of the membership and hand-over of leadership, as the operator asks for them.
// Raft::ProposeConfigChange and Raft::TransferLeadership take them.

#include <cstdint>
#include <string>

#include <tl/expected.hpp>

#include "consensus/configuration.h"
#include "consensus/types.h"

namespace conclave::raft {

/// One change, which touches the vote of one member at most. So the quorums before and after have a
/// member in common, and no joint configuration is needed (dissertation section 4.1).
struct ConfigChange {
  enum class Kind : std::uint8_t {
    /// A member that is not one yet receives the log. Its incarnation is registered when the leader
    /// meets it; when it has caught up the leader makes a voter of it (Options::promote_learners).
    kAddLearner = 1,
    /// The same, but it stays without a vote.
    kAddObserver = 2,
    /// A learner or observer that has caught up gets a vote.
    kPromote = 3,
    /// It belongs to the cluster no longer. Its id may be added again.
    kRemove = 4,
    /// A member of any kind that has lost its disk becomes a learner whose incarnation is not
    /// known: the next one met under this id is registered, gets the log and becomes a voter again.
    kReadmit = 5,
    kUpdateAddress = 6,
  };

  Kind kind = Kind::kAddLearner;
  MemberId id = 0;
  /// Of kAddLearner, kAddObserver and kUpdateAddress, not empty, at most kAddressBytesMax. Of
  /// kReadmit: empty means as before. Else ignored.
  std::string peer_address;
};

/// Why a change was refused; nothing happened, but for kTransferring.
enum class ConfigChangeError : std::uint8_t {
  kNotLeader = 1,  ///< Ask the leader (Status::leader, if known).
  /// Leadership is being handed over; ask the next leader. Also the answer to a change that takes
  /// the leader's own vote: it hands over first, and its successor makes the change.
  kTransferring = 2,
  kTermNotStarted = 3,    ///< No entry of the leader's term is committed yet; again in a moment.
  kChangeInProgress = 4,  ///< Another change is not committed yet; again in a moment.
  kBadId = 5,             ///< 0, or too large.
  kBadAddress = 6,        ///< Empty, or too long.
  kUnknownMember = 7,     ///< No member has this id.
  kAlreadyMember = 8,     ///< A member has this id already.
  kAlreadyVoter = 9,
  kTooManyMembers = 10,  ///< There are kMembersMax.
  kNotCaughtUp = 11,     ///< It is silent, not registered, or its log lags behind.
  kLastVoter = 12,       ///< The cluster would have no voter.
  /// Fewer voters of the new configuration are heard from than its quorum needs: the cluster would
  /// stop serving.
  kUnsafe = 13,
};

/// A sentence without capital and full stop: "another change of the membership is under way".
const char* ToString(ConfigChangeError error);

/// Why leadership is not handed over.
enum class TransferError : std::uint8_t {
  kNotLeader = 1,
  kTransferring = 2,   ///< One is under way.
  kAlreadyLeader = 3,  ///< It is this member.
  kUnknownMember = 4,  ///< No member has this id.
  kNotVoter = 5,       ///< It has no vote, or its incarnation is not the registered one.
  kUnreachable = 6,    ///< It has not been heard from for election_ticks_min.
  kNoCandidate = 7,    ///< There is no other voter that is heard from.
};

/// As above.
const char* ToString(TransferError error);

/// What `before` becomes by `change`, if it can be made at all. Whether this is the moment for it
/// (caught up, quorum) is not looked at.
tl::expected<Configuration, ConfigChangeError> Changed(const Configuration& before,
                                                       const ConfigChange& change);

}  // namespace conclave::raft
