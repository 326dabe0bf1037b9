#pragma once

// The Raft core of one member: pure, single-threaded, without a clock, a thread, a file or a
// socket.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "consensus/configuration.h"
#include "consensus/membership.h"
#include "consensus/messages.h"
#include "consensus/options.h"
#include "consensus/ready.h"
#include "consensus/storage.h"
#include "consensus/types.h"

namespace conclave::raft {

/// Why a proposal was not taken. In either case nothing happened.
enum class ProposeError : std::uint8_t {
  kNotLeader = 1,       ///< Propose at the leader (Status::leader, if known).
  kTooMuchPending = 2,  ///< uncommitted_bytes_max is reached; again when entries have committed.
  /// Leadership is being handed over, for at most election_ticks_min: again after the next change
  /// of role, or in a moment if none comes.
  kTransferring = 3
};

/// Why a read was not taken.
enum class ReadError : std::uint8_t {
  kNoLeader = 1,       ///< No leader is known here; try again or elsewhere.
  kTooMuchPending = 2  ///< reads_pending_max is reached.
};

/// Why a snapshot was not installed. In every case nothing happened.
enum class InstallError : std::uint8_t {
  kStale = 1,        ///< It ends at or below the commit index.
  kNotFollower = 2,  ///< This member campaigns or leads; a leader that is heard changes that.
  kIncarnation = 3,  ///< The cluster knows this member with another disk; it has to be re-admitted.
  kOtherCluster = 4,
  kMalformed = 5,  ///< It contradicts itself or what is known here to be committed.
  kUnreadable = 6  ///< The log could not be read, which the next Ready::failure says.
};

/// "stale", "not a follower", ...
const char* ToString(InstallError error);

/// How far a peer has come, as its leader sees it.
struct PeerStatus {
  MemberId id = 0;
  Index matchIndex = 0;
  Index nextIndex = 0;
  bool replicating = false;   ///< False: still looking for where the logs part.
  bool snapshotting = false;  ///< It needs a snapshot: the log here begins after where it stands.
  bool counted = false;       ///< It is a voter and its incarnation is the one registered.
  bool recently_active = false;  ///< Answered since check-quorum looked last.
  MemberKind kind = MemberKind::kVoter;
  /// Answered within election_ticks_min.
  bool active = false;
  /// Its last round of catching up took less than election_ticks_min (section 4.2.1).
  bool caught_up = false;
};

/// Events that are no error of this member but worth a metric; all only rise.
struct Counters {
  std::uint64_t elections_started = 0;  ///< Campaigns for real votes.
  std::uint64_t prevotes_started = 0;
  std::uint64_t elections_won = 0;
  std::uint64_t steps_down_for_quorum = 0;  ///< Check-quorum found no quorum.
  std::uint64_t votes_refused_leader_alive = 0;
  std::uint64_t votes_refused_log = 0;
  std::uint64_t votes_refused_incarnation =
      0;  ///< This member or the candidate's view is not the registered one.
  std::uint64_t from_unknown_member = 0;     ///< Messages of an id that is in no configuration.
  std::uint64_t from_wrong_incarnation = 0;  ///< Votes and acknowledgements of a wiped member.
  std::uint64_t malformed = 0;               ///< Messages that no correct member sends.
  std::uint64_t stale_term = 0;              ///< Messages of an earlier term.
  std::uint64_t appends_rejected = 0;  ///< AppendEntries whose previous entry did not match here.
  std::uint64_t stale_acknowledgements = 0;  ///< Acknowledgements of an entry not in this log.
  std::uint64_t conflicts_truncated = 0;     ///< Times uncommitted entries were overwritten here.
  std::uint64_t other_cluster = 0;           ///< Entries of another cluster refused.
  std::uint64_t snapshots_asked = 0;         ///< Ready::sendSnapshot.
  std::uint64_t snapshots_installed = 0;
  std::uint64_t snapshots_refused = 0;
  std::uint64_t proposals_refused = 0;
  std::uint64_t reads_failed = 0;
  std::uint64_t read_rounds = 0;
  std::uint64_t config_changes = 0;          ///< Taken by ProposeConfigChange, promotions included.
  std::uint64_t config_changes_refused = 0;  ///< By ProposeConfigChange.
  std::uint64_t learners_promoted = 0;       ///< By the leader itself.
  std::uint64_t resigned_removed = 0;        ///< Led until its own removal was committed.
  std::uint64_t transfers_started = 0;       ///< Also those for a stalled disk.
  std::uint64_t transfers_abandoned = 0;     ///< Nobody took over in time.
  std::uint64_t handovers_disk = 0;          ///< Transfers started because the disk stalled.
  std::uint64_t campaigns_told = 0;          ///< Elections begun because a leader said so.
};

/// A copy of the state worth showing.
struct Status {
  MemberId id = 0;
  RoleName role = RoleName::kFollower;
  MemberId leader = 0;  ///< 0: unknown.
  HardState hardState;
  Index commitIndex = 0;
  Index lastApplied = 0;
  Index firstIndex = 0;  ///< Of the log; lastIndex + 1 if it is empty.
  EntryId last;
  /// Everything up to here is durable here, in the log or in a checkpoint. Below firstIndex - 1
  /// until an installed snapshot is.
  Index durableIndex = 0;
  /// In force: the newest in the log, or what the flags say while there is none.
  IndexedConfiguration configuration;
  /// The log names another incarnation of this member: its disk was wiped or exchanged. It neither
  /// votes nor stores entries, and has to be re-admitted.
  bool incarnation_refused = false;
  /// This member belonged to the cluster, and the newest configuration it knows, which is
  /// committed, is without it. It takes no part any more. A hint for the operator: one that was
  /// removed while it could not be reached does not learn of it.
  bool removed = false;
  /// Of a leader that hands over: to whom. Else 0.
  MemberId transferring_to = 0;
  std::size_t uncommitted_bytes = 0;
  std::vector<PeerStatus> peers;  ///< Of a leader, ascending by id; else empty.
  Counters counters;
};

/// One member's part in Raft.
///
/// Every method is called on one thread; none blocks, except for what LogReader does. Inputs change
/// the state and collect obligations, which the driver takes with TakeReady and fulfils in the
/// order that README.md states. Nothing that a peer sends can stop the process: nonsense is refused
/// and counted. A CHECK that fails is a bug here or in the driver.
///
/// Outputs are collected and not called back for, because the driver decides what to batch; because
/// a callback would see the core in the middle of a transition; and because a test can look at a
/// value. For the same reason messages with entries are made by TakeReady and not by the inputs:
/// all proposals and acknowledgements of one wake-up share messages and one write to the disk.
class Raft {
 public:
  /// REQUIRES: options.Validate() finds nothing; `restored` is consistent (checked). `reader` and
  /// `random` must outlive this. Takes part at once: the first Tick may start an election.
  Raft(Options options, Restored restored, const LogReader& reader, RandomSource& random);
  ~Raft();
  Raft(const Raft&) = delete;
  Raft& operator=(const Raft&) = delete;
  Raft(Raft&&) = delete;
  Raft& operator=(Raft&&) = delete;

  /// A message of an authenticated peer.
  void Step(MemberId from, Message message);

  /// One tick of time has passed. A driver that was stalled calls it once, not once per tick
  /// missed: a leader's messages may be waiting in the inbox.
  void Tick();

  /// Appends the commands at a leader, all or none, and returns the id of the *first*; the others
  /// follow densely. They are committed when they come out in Ready::committed with that term; if
  /// an entry of another term comes out at their index, they were lost. When the leader changes
  /// before, their outcome is unknown until one of the two happens. REQUIRES: not empty, no null.
  tl::expected<EntryId, ProposeError> Propose(
      std::span<const std::shared_ptr<const std::string>> commands);

  /// Asks for an index at which a read that begins now is linearizable, at any member. The answer
  /// is in the reads or readsFailed of a later Ready; one of the two comes for each id, after a
  /// bounded number of ticks. Cheap in numbers: reads between two TakeReady share one round.
  tl::expected<ReadId, ReadError> ReadIndex();

  /// Appends a change of the membership at a leader and returns its entry. It is in force at once
  /// (see Ready::configuration), and done when committed like a command. Refused, among other
  /// reasons, while another one is under way, and when too few voters are heard from for the new
  /// configuration to have a quorum. A change that takes the leader's own vote starts a transfer of
  /// leadership and answers kTransferring; ask again, at the next leader.
  tl::expected<EntryId, ConfigChangeError> ProposeConfigChange(const ConfigChange& change);

  /// Hands leadership to `to`, a voter heard from, or if 0 to the one that has come furthest
  /// (section 3.10). Proposals are refused with kTransferring until it has taken over, or for
  /// election_ticks_min, after which the attempt is given up; the change of role tells. Reads go
  /// on.
  tl::expected<void, TransferError> TransferLeadership(MemberId to);

  /// Everything in all Readys up to and including `id` is durable. REQUIRES: ids do not fall.
  void Persisted(PersistId id);

  /// The state machine has applied every entry up to `index`. REQUIRES: they were handed out.
  void Applied(Index index);

  // --- Snapshots (chapter 5). The state is the driver's; the core only knows where it stands. ---

  /// What a checkpoint of the state machine at `index` is to carry. Nothing if the log cannot be
  /// read, or if a newer configuration than the one in force there is applied; so ask when the
  /// checkpoint begins. REQUIRES: `index` is not below the log's start and not above the commit
  /// index.
  std::optional<SnapshotMeta> MetaAt(Index index) const;

  /// The log is to begin after `through`: entries up to it are no longer asked of LogReader once
  /// this has returned, and *then* may be removed. Peers that need one get a snapshot. Nothing
  /// happens if it begins later already. REQUIRES: `through` is applied and durable, and a durable
  /// checkpoint of this member is at or above it.
  void Compact(Index through);

  /// Replaces the log up to meta.last by a snapshot that the driver has received in full, verified
  /// and can install: the next Ready has `install`, the commit index is at least meta.last.index,
  /// and Applied(meta.last.index) is due when the state machine has been replaced. Of two between
  /// two TakeReady only the later one comes out.
  tl::expected<void, InstallError> InstallSnapshot(const SnapshotMeta& meta);

  /// `peer` said that it has installed the snapshot that ends with `last`, or has no need of it.
  /// Not believed, but a reason to probe there.
  void SnapshotSent(MemberId peer, EntryId last);

  /// The transfer to `peer` ended otherwise. It is asked for again with the next heartbeat while
  /// the peer needs it.
  void SnapshotFailed(MemberId peer);

  /// A connection to `peer` is usable; what its hello said of itself. `cluster_started` is its
  /// hardState.clusterStarted. The driver must have compared cluster ids where both know theirs.
  void PeerUp(MemberId peer, Incarnation incarnation, bool cluster_started);

  /// The connection to `peer` closed (not: is slow). A hint that it may be gone; never harms
  /// safety. If it led, this member campaigns within a few ticks.
  void PeerDown(MemberId peer);

  /// TakeReady would return something to do.
  bool HasReady() const;

  /// Hands over all work. Does not wait for earlier Readys: several may be on their way to the
  /// disk.
  Ready TakeReady();

  /// Cheap looks.
  RoleName role() const;

  bool is_leader() const { return role() == RoleName::kLeader; }

  MemberId leader() const;
  Term currentTerm() const;
  Index commitIndex() const;

  /// The chain of the entry at `index`, if it is in the log. For checkers; may read the disk.
  std::optional<std::uint64_t> ChainAt(Index index) const;

  Status status() const;

 private:
  class Core;
  friend class CoreInspector;  // tests/consensus: copies members, and compares and permutes them.

  explicit Raft(std::unique_ptr<Core> core);

  std::unique_ptr<Core> core_;
};

}  // namespace conclave::raft
