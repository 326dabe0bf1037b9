#pragma once

// Members of a Raft cluster in one thread, with a network and disks that a test controls message by
// message. Every invariant of consensus/invariants.h is checked after every step.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "consensus/invariants.h"
#include "consensus/raft.h"
#include "tests/consensus/disk.h"

namespace conclave::raft::testing {

/// SplitMix64: the same numbers from the same seed, everywhere.
class SeededRandom : public RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Next() override;

  /// The next numbers, before the stream goes on: makes an election timeout exact.
  void Force(std::uint64_t value) { forced_.push_back(value); }

 private:
  std::uint64_t state_;
  std::deque<std::uint64_t> forced_;
};

struct Packet {
  std::uint64_t sequence = 0;
  MemberId from = 0;
  MemberId to = 0;
  Message message;
};

/// A snapshot on its way to a member that asked its leader for it, or the answer on its way back.
struct Transfer {
  MemberId from = 0;
  MemberId to = 0;
  Snapshot snapshot;
  bool answer = false;
  bool installed = false;  ///< Of an answer: `from` has it, or has no need of it.
};

/// One line for a message, without numbers that only chance decides.
std::string Describe(const Message& message);

/// "[1 2 (learner)] of 7": the members, and the entry that says so.
std::string Words(const IndexedConfiguration& configuration);

/// The peer address that members have in these tests.
std::string Address(MemberId id);

class Cluster {
 public:
  struct Node {
    Options options;
    std::uint64_t random_seed = 0;
    std::unique_ptr<SeededRandom> random;
    Disk disk;
    std::deque<Ready> writes;         ///< Taken and not yet on the disk.
    std::unique_ptr<Disk> lost_disk;  ///< What was on it when the member was wiped.
    bool manual_disk = false;         ///< Writes wait for Flush.
    bool manual_apply = false;
    std::unique_ptr<Raft> raft;  ///< Null while it is down.
    std::vector<Entry> applied;  ///< In this life.
    Index to_apply = 0;          ///< Handed out; Applied lags with manual_apply.
    std::uint64_t state = 0;     ///< The state machine at to_apply: a hash over all entries.
    /// 0: never, but by Checkpoint; else after so many entries, leaving compact_tail of the log.
    Index checkpoint_every = 0;
    Index compact_tail = 0;
    bool installing = false;     ///< An install is on its way to the disk.
    std::set<MemberId> sending;  ///< Asked for by this life's core, and not reported yet.
    std::map<Index, std::set<MemberId>> owed;  ///< Who is told when the install is durable.
    std::size_t restored_tail_max = SIZE_MAX;
    std::uint64_t checkpoints = 0;
    std::uint64_t installs = 0;
    std::uint64_t installs_log_kept = 0;
    std::uint64_t installs_interrupted = 0;  ///< By a crash before they were durable.
    IndexedConfiguration told;               ///< The configuration in force, as Readys tell it.
    std::vector<ReadReady> reads;
    std::vector<ReadId> reads_failed;
    std::map<ReadId, Index> reads_asked;  ///< With the highest commit index anyone had then.
  };

  explicit Cluster(std::uint64_t seed = 1) : seed_(seed) {}

  /// Adds a member with an empty disk and starts it. `tweak` may change its options,
  /// `fill` what is on its disk.
  void Add(MemberId id, const std::vector<MemberId>& initial_members,
           const std::function<void(Options&)>& tweak = nullptr,
           const std::function<void(Disk&)>& fill = nullptr);
  /// Members 1 to count, all voters.
  void AddMany(MemberId count, const std::function<void(Options&)>& tweak = nullptr);

  // --- Faults ---

  void Crash(MemberId id);
  void Restart(MemberId id);
  /// Crash, and an empty disk with another incarnation.
  void Wipe(MemberId id);

  /// Messages from one to the other are lost, also those under way.
  void Cut(MemberId from, MemberId to) { cut_.insert({from, to}); }

  void Partition(const std::set<MemberId>& side);
  void Heal();
  bool Reaches(MemberId from, MemberId to) const;

  // --- Inputs; each runs the member's Readys afterwards ---

  void Tick(MemberId id);
  /// Ticks the member until it has campaigned; needs a member that is not a leader.
  void Campaign(MemberId id);
  tl::expected<EntryId, ProposeError> Propose(MemberId id, const std::string& command);
  tl::expected<ReadId, ReadError> Read(MemberId id);
  tl::expected<EntryId, ConfigChangeError> Change(MemberId at, ConfigChange::Kind kind,
                                                  MemberId member);
  tl::expected<void, TransferError> HandOver(MemberId at, MemberId to);
  void PeerUp(MemberId at, MemberId peer);
  void PeerDown(MemberId at, MemberId peer);
  void Inject(MemberId from, MemberId to, const Message& message);
  void Flush(MemberId id, std::size_t count = SIZE_MAX);
  void ApplyAll(MemberId id);
  /// A checkpoint of what is applied, and a log that keeps `tail` entries up to it. False if there
  /// is nothing to do, or what is applied is not durable yet.
  bool Checkpoint(MemberId id, Index tail);

  // --- Snapshots under way (cluster_snapshot.cc) ---

  const std::vector<Transfer>& transfers() const { return transfers_; }

  void DeliverTransferAt(std::size_t position, bool keep_copy);
  /// It does not arrive, which the sender of the snapshot notices.
  void LoseTransferAt(std::size_t position);
  /// Passes the snapshot to the member as a driver does that has received all of it.
  tl::expected<void, InstallError> Install(MemberId id, const Snapshot& snapshot);

  // --- The network ---

  /// Delivers the oldest packet that `wanted` accepts; false if there is none.
  bool DeliverOne(const std::function<bool(const Packet&)>& wanted = nullptr);
  bool DeliverAt(std::size_t position, bool keep_copy);
  void Drop(const std::function<bool(const Packet&)>& wanted);
  void DropAt(std::size_t position);
  /// Delivers until nothing is under way.
  void Settle();
  /// `ticks` rounds of ticking everyone that is up and settling.
  void Run(int ticks);
  /// Runs until `done`; false after `ticks_max`.
  bool RunUntil(const std::function<bool()>& done, int ticks_max = 1000);

  /// Heals, starts everyone, and demands a leader and equal logs, committed and applied, of all
  /// members that its configuration has, and no learner left. Says what is wrong, or nothing.
  std::optional<std::string> Converge(int ticks_max = 2000);

  // --- Looks ---

  Node& node(MemberId id) { return nodes_.at(id); }

  Raft& raft(MemberId id) { return *nodes_.at(id).raft; }

  bool up(MemberId id) const { return nodes_.at(id).raft != nullptr; }

  std::map<MemberId, Node>& nodes() { return nodes_; }

  const std::vector<Packet>& packets() const { return packets_; }

  /// A line for each member.
  std::string States() const;

  /// The member that leads the highest term, 0 if none.
  MemberId Leader() const;

  const ClusterInvariants& invariants() const { return invariants_; }

  const std::optional<std::string>& violation() const;

  /// Over every event so far: equal seeds give equal hashes.
  std::uint64_t trace_hash() const { return trace_hash_; }

  /// Told of every event in words; for scenarios.
  std::function<void(const std::string&)> on_event;

 private:
  void Start(MemberId id);
  void Pump(MemberId id);
  void Emit(MemberId from, std::vector<Envelope>& envelopes);
  void CheckReads(MemberId id, const Ready& ready);
  void Apply(MemberId id, const std::vector<Entry>& entries);
  void Written(MemberId id, const Ready& ready);
  void CheckState(MemberId id, Index index);
  void StartTransfers(MemberId id, const std::vector<MemberId>& peers);
  void AnswerTransfer(MemberId id, MemberId sender, const Snapshot& snapshot, bool installed);
  void Report(MemberId sender, MemberId peer, EntryId last, bool installed);
  void AbortTransfersTo(MemberId id);
  void Event(const std::string& what);
  void Look(MemberId id);

  std::uint64_t seed_;
  std::map<MemberId, Node> nodes_;
  std::vector<Packet> packets_;
  std::uint64_t sequence_ = 0;
  std::vector<Transfer> transfers_;
  std::map<Index, std::uint64_t> states_;  ///< R12: one state an index.
  std::set<std::pair<MemberId, MemberId>> cut_;
  std::map<MemberId, Index> commit_seen_;
  Index commit_max_ = 0;
  ClusterInvariants invariants_;
  std::optional<std::string> violation_;
  std::uint64_t trace_hash_ = 0;
};

}  // namespace conclave::raft::testing
