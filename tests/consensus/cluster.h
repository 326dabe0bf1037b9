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

/// What survives a crash. Also what the core reads old entries from.
class Disk : public LogReader {
 public:
  HardState hardState;
  std::vector<Entry> entries;  ///< entries[i].index == i + 1.

  void Write(const Ready& ready);
  Restored Restore(std::size_t tail_max) const;
  DurableView View() const;

  tl::expected<std::vector<Entry>, std::string> Read(Index first, Index last,
                                                     std::size_t bytes_max) const override;
  tl::expected<Term, std::string> TermAt(Index index) const override;
};

struct Packet {
  std::uint64_t sequence = 0;
  MemberId from = 0;
  MemberId to = 0;
  Message message;
};

/// One line for a message, without numbers that only chance decides.
std::string Describe(const Message& message);

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
    std::size_t restored_tail_max = SIZE_MAX;
    std::vector<ReadReady> reads;
    std::vector<ReadId> reads_failed;
    std::map<ReadId, Index> reads_asked;  ///< With the highest commit index anyone had then.
  };

  explicit Cluster(std::uint64_t seed = 1) : seed_(seed) {}

  /// Adds a member with an empty disk and starts it. `tweak` may change its options.
  void Add(MemberId id, const std::vector<MemberId>& initial_members,
           const std::function<void(Options&)>& tweak = nullptr);
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
  void PeerUp(MemberId at, MemberId peer);
  void PeerDown(MemberId at, MemberId peer);
  void Inject(MemberId from, MemberId to, const Message& message);
  void Flush(MemberId id, std::size_t count = SIZE_MAX);
  void ApplyAll(MemberId id);

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

  /// Heals, starts everyone, and demands a leader and equal logs, committed and applied. Says what
  /// is wrong, or nothing.
  std::optional<std::string> Converge(int ticks_max = 2000);

  // --- Looks ---

  Node& node(MemberId id) { return nodes_.at(id); }

  Raft& raft(MemberId id) { return *nodes_.at(id).raft; }

  bool up(MemberId id) const { return nodes_.at(id).raft != nullptr; }

  std::map<MemberId, Node>& nodes() { return nodes_; }

  const std::vector<Packet>& packets() const { return packets_; }

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
  void Event(const std::string& what);
  void Look(MemberId id);

  std::uint64_t seed_;
  std::map<MemberId, Node> nodes_;
  std::vector<Packet> packets_;
  std::uint64_t sequence_ = 0;
  std::set<std::pair<MemberId, MemberId>> cut_;
  std::map<MemberId, Index> commit_seen_;
  Index commit_max_ = 0;
  ClusterInvariants invariants_;
  std::optional<std::string> violation_;
  std::uint64_t trace_hash_ = 0;
};

}  // namespace conclave::raft::testing
