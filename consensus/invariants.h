#pragma once

// Checks over all members of a cluster, for tests and simulation: they see every disk. The cheap
// checks of one member alone are in the core and on in every build.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "consensus/raft.h"

namespace conclave::raft {

/// What a checker sees of the disk of a member.
struct DurableView {
  HardState hardState;
  /// The chain of the durable entry at an index; nothing if there is none. Index 0 is not asked
  /// for.
  std::function<std::optional<Entry>(Index)> entry;
  /// Where the log begins. What is up to it is covered by a checkpoint.
  EntryId start;
  std::uint64_t start_chain = 0;
};

/// The invariants of Raft as dissertation figure 3.2 names them, on the state of all members and on
/// the change since the last look. The first violation is kept and found in violation().
///
/// Feed it everything: each Ready when it is taken, each disk after it changed, each message when
/// it leaves, each member's state after each step.
class ClusterInvariants {
 public:
  /// A member was created or restarted with a state at `applied`; what is volatile starts anew,
  /// what is durable does not.
  void Started(MemberId id, Index applied = 0);

  /// Its disk was erased: what it promised is forgotten with it. Only for tests of just that.
  void Wiped(MemberId id);

  /// R1 one leader per term, R2 a leader's log only grows, R4 a leader has everything committed,
  /// R6 terms and commit indices do not fall, R9 a leader whose vote is gone for good leads no
  /// longer, R10 no older configuration than the one known to be
  /// committed is in force.
  void Observe(MemberId id, const Raft& raft);

  /// When it is taken. R5: equal index committed means equal chain, handed out densely and never
  /// overwritten. R10 for what it installs.
  void ObserveReady(MemberId id, const Ready& ready);

  /// R10: a snapshot ends with a committed entry and carries the configuration in force there. For
  /// each checkpoint that is begun.
  void ObserveSnapshot(MemberId id, const SnapshotMeta& meta);

  /// A Ready has reached the disk, which now says `hardState`. R3: equal (term, index) means equal
  /// chain. R6: terms do not fall and there is one vote per term, also across restarts. R9: a
  /// configuration follows a committed one and differs from it in one vote at most, so that their
  /// quorums have a member in common.
  void ObserveWrite(MemberId id, const Ready& ready, const HardState& hardState);

  /// R7: what the message asserts about term, vote or log is durable. R3 for its entries.
  void ObserveSend(MemberId id, const Envelope& envelope, const DurableView& disk);

  /// R8: what `leader` considers committed is on the disks of a majority of voters, who are who its
  /// configuration says they are. Asked for after the leader's commit index rose.
  void ObserveCommit(const Raft& leader,
                     const std::function<std::optional<DurableView>(MemberId)>& disk_of);

  const std::optional<std::string>& violation() const { return violation_; }

  /// The highest index any member has handed out as committed.
  Index committed() const { return committed_.empty() ? 0 : committed_.rbegin()->first; }

  const std::map<Term, MemberId>& leaders() const { return leaders_; }

 private:
  struct Last {
    Term term = 0;
    Index commitIndex = 0;
    Index handed = 0;
    Term led_term = 0;
    EntryId led_last;
    std::uint64_t led_chain = 0;
  };

  void Fail(MemberId id, const std::string& what);
  void ObserveEntry(MemberId id, const Entry& entry);
  void ObserveConfigurations(MemberId id, const Ready& ready);
  void CheckLeader(MemberId id, const Raft& raft, const Status& status, Last& last);

  std::map<Term, MemberId> leaders_;               ///< R1.
  std::map<EntryId, std::uint64_t> chains_;        ///< R3.
  std::map<Index, std::uint64_t> committed_;       ///< R5.
  std::map<Term, Index> committed_by_;             ///< R4: the highest first handed out in a term.
  std::map<Index, Configuration> configurations_;  ///< R10: of the committed entries.

  struct Named {
    std::uint64_t chain = 0;  ///< Of the entry; 0 if a snapshot brought it.
    Configuration configuration;
  };

  std::map<MemberId, std::map<Index, Named>> on_disk_;  ///< R9: configurations in each log.
  Index commit_max_ = 0;                                ///< Known to anyone.
  std::map<MemberId, Last> last_;
  std::map<MemberId, HardState> disks_;  ///< R6.
  std::map<std::pair<MemberId, Term>, MemberId> votes_;
  std::optional<std::string> violation_;
};

}  // namespace conclave::raft
