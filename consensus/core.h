#pragma once

// The inside of Raft. Not for users: include raft.h.
//
// One class, whose parts are in one file each: raft.cc (inputs, Ready), election.cc, replication.cc
// (leader and follower side of AppendEntries), snapshot.cc, read_index.cc, membership.cc,
// transfer.cc, invariants.cc (CheckSelf).

#include <deque>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "consensus/log.h"
#include "consensus/raft.h"
#include "consensus/roles.h"

namespace conclave::raft {

/// Numbers at or above this come from no correct member; refusing them keeps sums from overflowing.
inline constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 62;

class Raft::Core {
 public:
  Core(Options options, Restored restored, const LogReader& reader, RandomSource& random);

  // As in Raft.
  void Step(MemberId from, Message message);
  void Tick();
  tl::expected<EntryId, ProposeError> Propose(
      std::span<const std::shared_ptr<const std::string>> commands);
  tl::expected<ReadId, ReadError> ReadIndex();
  tl::expected<EntryId, ConfigChangeError> ProposeConfigChange(const ConfigChange& change);
  tl::expected<void, TransferError> TransferLeadership(MemberId to);
  void Persisted(PersistId id);
  void Applied(Index index);
  std::optional<SnapshotMeta> MetaAt(Index index) const;
  void Compact(Index through);
  tl::expected<void, InstallError> InstallSnapshot(const SnapshotMeta& meta);
  void SnapshotSent(MemberId peer, EntryId last);
  void SnapshotFailed(MemberId peer);
  void PeerUp(MemberId peer, Incarnation incarnation, bool cluster_started);
  void PeerDown(MemberId peer);
  bool HasReady() const;
  Ready TakeReady();
  Status status() const;

  RoleName role_name() const;
  MemberId leader() const;

  Term currentTerm() const { return hard_.currentTerm; }

  Index commitIndex() const { return commitIndex_; }

  std::optional<std::uint64_t> ChainAt(Index index) const { return log_.ChainAt(index); }

  /// Cheap invariants of one member, on in every build: CHECKs the state and what changed since the
  /// last call. Called after every input.
  void CheckSelf();

 private:
  friend class CoreInspector;  // tests/consensus/explore_core.cc reads every field of this.

  // --- Members and incarnations ---

  const IndexedConfiguration& config() const { return configs_.back(); }

  bool log_empty() const { return log_.lastIndex() == 0; }

  /// The log names this very incarnation as a voter, in the configuration in force or in one since
  /// the last committed one; or nothing has ever begun.
  bool MayCampaign() const;

  /// The peer is a voter of exactly this incarnation, so that its votes and acknowledgements count.
  bool Counts(MemberId id, Incarnation incarnation) const {
    return config().configuration.Counts(id, incarnation);
  }

  bool CountsSelf() const { return Counts(options_.id, options_.incarnation); }

  /// The newest configuration at or below `index` of those that are kept.
  const IndexedConfiguration& ConfigAt(Index index) const;
  void LearnClusterStarted();
  /// Once the entry that minted it is committed.
  void LearnClusterId();
  /// Those that neither a truncation nor a checkpoint can come back to.
  void ForgetConfigurations();
  void AdoptConfiguration(const Entry& entry);
  void NoteConfiguration(const Configuration& configuration);

  // --- Membership (membership.cc) ---

  bool Removed() const;
  bool TakesFrom(MemberId from, const Message& message) const;
  std::optional<ConfigChangeError> RefusesChange(const Leader& leader) const;
  std::optional<ConfigChangeError> Unfit(const Leader& leader, const ConfigChange& change,
                                         const Configuration& next) const;

  /// Heard from within election_ticks_min.
  bool Active(const Progress& peer) const {
    return peer.silent_ticks < options_.election_ticks_min;
  }

  void SyncPeers(Leader& leader);
  /// Also one departing; null if there is none.
  static Progress* FindPeer(Leader& leader, MemberId id);
  bool PeerCounts(const Progress& peer) const;
  void MaybeRegisterIncarnations();
  void MaybePromote(Leader& leader);
  void TickMembers(Leader& leader);
  void MaybeResign();

  // --- Transfer of leadership (transfer.cc) ---

  const Progress* Successor(const Leader& leader, Index at_least) const;
  void StartTransfer(Leader& leader, MemberId to);
  void MaybeSendTimeoutNow(Leader& leader);
  void AbandonTransfer(Leader& leader);
  void TickTransfer(Leader& leader);
  void MaybeHandOverForDisk(Leader& leader);
  std::uint32_t DiskStallTicks() const;
  void Receive(MemberId from, const TimeoutNow& message);

  /// The highest value that a quorum has reached, of `values` of those voters that count.
  std::uint64_t QuorumValue(std::vector<std::uint64_t>& values) const;

  // --- Elections (election.cc) ---

  bool HearsLeader(MemberId from) const;

  std::uint32_t ElectionTimeout() {
    return Draw(options_.election_ticks_min, options_.election_ticks_max);
  }

  std::uint32_t CampaignTimeout();

  std::uint32_t Draw(std::uint32_t low, std::uint32_t high) {
    return static_cast<std::uint32_t>(random_.Uniform(low, high));
  }

  void BecomeFollower(Term term, MemberId leader);
  void HeardLeader(Follower& follower);

  void SetTimer(ElectionTimer& timer, std::uint32_t ticks) { timer = {ticks, ticks}; }

  void Campaign();
  /// `told`: by a leader that hands over.
  void BecomeCandidate(bool told);
  void BecomeLeader();
  void LeaveRole();
  void SendVoteRequests(bool pre_vote, Term term, bool told);
  void TickElection(ElectionTimer& timer);
  void TickLeader(Leader& leader);
  bool DiskStalled() const;
  void VoteForSelf(std::map<MemberId, Vote>& votes) const;
  bool WinsWith(const std::map<MemberId, Vote>& votes) const;
  void CountVote(MemberId from, const RequestVoteReply& message, std::map<MemberId, Vote>& votes);
  Configuration BootstrapConfiguration(const std::map<MemberId, Vote>& votes);
  void Receive(MemberId from, const RequestVote& message);
  void Receive(MemberId from, const RequestVoteReply& message);
  bool MayVote(MemberId from, const RequestVote& message);

  // --- Replication (replication.cc) ---

  void Receive(MemberId from, AppendEntries& message);
  void Receive(MemberId from, const AppendEntriesReply& message);
  bool WellFormed(const AppendEntries& message) const;
  void RefuseIncarnation();
  bool AcceptsConfigurations(const AppendEntries& message);
  bool ChainsFit(const AppendEntries& message, Index first_new) const;
  void StoreEntries(MemberId from, AppendEntries& message);
  void Acknowledge(MemberId from, Index verified, const AppendEntries& message);
  bool TruncateFrom(Index first);
  void AppendToOwnLog(EntryKind kind, SharedBytes data);
  void Acknowledged(Leader& leader, Progress& peer, const AppendEntriesReply& message);
  void Rejected(Leader& leader, Progress& peer, const AppendEntriesReply& message);
  void MaybeCommit();
  /// Appends of which the previous entry does not match here.
  void Reject(MemberId from, const AppendEntries& message);
  void AdvanceCommit(Index index);
  void SendAppends(Leader& leader);
  void SendEntries(Progress& peer, Index through);
  void SendEmptyAppend(Progress& peer);
  /// Entries up to `through`, news of the commit index, a heartbeat: what is due.
  void SendTo(const Leader& leader, Progress& peer, Index through);
  AppendEntries MakeAppend(const Progress& peer) const;

  // --- Snapshots (snapshot.cc) ---

  std::optional<InstallError> RefusesSnapshot(const SnapshotMeta& meta);
  /// True if the peer gets no entries for now, as it needs a snapshot; asks for that if it is time.
  bool AwaitsSnapshot(Progress& peer);

  // --- Reads (read_index.cc) ---

  void Receive(MemberId from, const ReadIndexRequest& message);
  void Receive(MemberId from, const ReadIndexReply& message);
  void BeginReadRound(Leader& leader);
  void ConfirmReads(Leader& leader);
  void FailReads(Leader& leader);
  void FailReads(ForwardedReads& reads);
  void TickForwardedReads(Follower& follower);
  void ForwardReads(Follower& follower);

  // --- Outputs (raft.cc) ---

  bool TermDurable() const { return !term_vote_unsaved_ && term_vote_in_flight_ == 0; }

  void SetTermAndVote(Term term, MemberId vote);
  /// At once, or with the term and vote if they are still on their way to the disk.
  void Send(MemberId to, Message message);
  /// After all that is in memory now is durable.
  void SendAfterPersist(MemberId to, Message message);
  void TakeCommitted(Ready& ready);
  void TakeUnsaved(Ready& ready);
  bool MayHandOut() const;
  void Evict();
  RoleChange CurrentRole() const;

  const Options options_;
  RandomSource& random_;

  // --- State of the paper ---

  HardState hard_;  ///< currentTerm, votedFor and what else is persistent besides the log.
  Log log_;
  Index commitIndex_ = 0;  ///< Only grows.
  Index lastApplied_ = 0;  ///< As told by Applied; only grows.
  Role role_;

  // --- Members ---

  /// Configurations of the log, ascending, the one in force last; before them, at index 0, what the
  /// flags say (used while the log is empty). Kept from the one in force at lastApplied_ on, so
  /// that a truncation can fall back and a checkpoint can be described.
  std::vector<IndexedConfiguration> configs_;
  /// Incarnations as hellos and answers gave them.
  std::map<MemberId, Incarnation> met_;
  bool incarnation_refused_ = false;
  /// Some configuration in the log named this very incarnation.
  bool was_member_ = false;
  bool config_news_ = false;  ///< The next Ready names the configuration in force.

  // --- Fail-over: campaigns come quickly for so many ticks since the leader's connection closed
  // ---

  std::uint32_t failover_ticks_left_ = 0;

  // --- The disk ---

  struct InFlight {
    PersistId id = 0;
    Index last = 0;  ///< Of the entries durable with it; lowered by a truncation.
  };

  Index durableIndex_ = 0;           ///< Falls only by truncation and installation.
  Index handedToDisk_ = 0;           ///< Entries up to here were in some Ready::append.
  Index truncate_pending_ = 0;       ///< For the next Ready; 0 for none.
  std::optional<Install> install_;   ///< For the next Ready.
  PersistId install_in_flight_ = 0;  ///< The Ready that has the newest one, while not durable.
  std::deque<InFlight> in_flight_;
  PersistId last_id_ = 0;
  PersistId persisted_id_ = 0;
  bool hard_unsaved_ = false;          ///< hard_ differs from what the last Ready said.
  bool term_vote_unsaved_ = false;     ///< The same of currentTerm and votedFor.
  PersistId term_vote_in_flight_ = 0;  ///< The Ready that has them, while it is not durable.
  std::uint32_t disk_wait_ticks_ = 0;  ///< How long the oldest of in_flight_ has been waiting.

  // --- Outputs gathered for the next Ready ---

  std::vector<Envelope> send_now_;
  std::vector<Envelope> send_after_persist_;
  std::vector<MemberId> send_snapshot_;  ///< Filled and emptied by one TakeReady.
  std::vector<ReadReady> reads_;
  std::vector<ReadId> reads_failed_;
  RoleChange role_told_;
  bool failure_told_ = false;
  Index handedToApply_ = 0;  ///< Entries up to here were in some Ready::committed.
  std::deque<std::pair<Index, std::size_t>> apply_in_flight_;
  std::size_t apply_in_flight_bytes_ = 0;

  // --- Reads ---

  ReadId last_read_id_ = 0;
  std::uint64_t read_round_ = 0;       ///< Of leaders; never reset, so never used twice.
  std::uint64_t read_request_id_ = 0;  ///< Of followers; starts at random for the same reason.

  Counters counters_;
  std::vector<std::uint64_t> scratch_;  ///< For QuorumValue; spares an allocation per answer.

  struct LastLook {
    Term currentTerm = 0;
    Index commitIndex = 0;
    Index lastApplied = 0;
    bool led = false;
    EntryId last;
  };

  LastLook last_look_;
};

}  // namespace conclave::raft
