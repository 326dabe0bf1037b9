#pragma once

// The vocabulary of the Raft core: numbers, log entries, hard state.
//
// Plain values: copyable, comparable, without a thread, a clock or I/O. Fields that Raft's paper
// names keep the paper's names (currentTerm, votedFor, ...), so that the code can be read beside
// it. "Dissertation" below and elsewhere is Ongaro, "Consensus: Bridging Theory and Practice"
// (2014).

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

#include "consensus/shared_bytes.h"

namespace conclave::raft {

/// A term: rises with every election. 0 is before the first election and never a leader's term.
using Term = std::uint64_t;

/// A position in the log. The first entry has index 1; 0 means "before the first entry".
using Index = std::uint64_t;

/// Names a member within its cluster, given by the operator. 0 is "none".
using MemberId = std::uint64_t;

/// Drawn at random when a data directory is made, so that a member which lost its disk is told from
/// the one that had it (rule: a wiped member must not vote). 0 is "not yet known".
using Incarnation = std::uint64_t;

/// 128 random bits minted by the first leader of a cluster. All zero is "not yet known".
using ClusterId = std::array<std::uint8_t, 16>;

/// Numbers the Readys of one Raft object, densely from 1. See Raft::Persisted.
using PersistId = std::uint64_t;

/// Names a read asked for by Raft::ReadIndex. Unique within one Raft object.
using ReadId = std::uint64_t;

/// Names an entry for ever: two entries with equal term and index are the same entry
/// (Log Matching, dissertation section 3.5). An index alone does not name an entry, for an
/// uncommitted one may be overwritten.
struct EntryId {
  Term term = 0;
  Index index = 0;
  friend auto operator<=>(const EntryId&, const EntryId&) = default;
};

/// What an entry holds. The values are stored and sent; never renumber.
enum class EntryKind : std::uint8_t {
  kNoop = 1,     ///< Empty; opens the term of a leader (section 3.6.2, 6.4).
  kConfig = 2,   ///< An encoded Configuration; in force at once, committed or not (section 4.1).
  kCommand = 3,  ///< Bytes of the state machine, opaque here.
};

/// One entry of the log. Copying it copies a pointer; the bytes are shared and never change.
struct Entry {
  Term term = 0;
  Index index = 0;
  EntryKind kind = EntryKind::kNoop;
  /// Hash over all entries up to and including this one (see ChainHash). Equal chains at an index
  /// mean equal logs up to it, which makes Log Matching checkable in constant time.
  std::uint64_t chain = 0;
  /// Never null but for kNoop.
  SharedBytes data;

  EntryId id() const { return {term, index}; }

  std::size_t data_bytes() const { return data ? data->size() : 0; }
};

/// Accounting size of an entry: its bytes and what its other fields cost on disk and in messages.
inline std::size_t EntryBytes(const Entry& entry) { return entry.data_bytes() + 32; }

/// The chain value of `entry` (whose own `chain` is not looked at) after one with chain `previous`;
/// 0 before the first entry. XXH3 over previous, term, index, kind and the XXH3 of the data (0 for
/// none), each as eight little-endian bytes: part of the format on disk and on the wire, where it
/// is what every entry is verified by.
std::uint64_t ChainHash(std::uint64_t previous, const Entry& entry);

/// What must be durable before any message that depends on it leaves (section 3.8, "persistent
/// state"), besides the log itself.
struct HardState {
  Term currentTerm = 0;
  /// The member voted for in currentTerm, 0 for none.
  MemberId votedFor = 0;
  /// This member knows that a cluster has begun (an entry was committed somewhere). An empty member
  /// that knows it does not vote. Never goes back to false.
  bool clusterStarted = false;
  /// The cluster's id, once the entry that minted it is known here to be committed; zero before.
  /// Never changes afterwards. This is the id to show in a hello.
  ClusterId clusterId{};

  friend bool operator==(const HardState&, const HardState&) = default;
};

/// Chance comes in from outside, so that a seed reproduces a run.
class RandomSource {
 public:
  RandomSource() = default;
  RandomSource(const RandomSource&) = delete;
  RandomSource& operator=(const RandomSource&) = delete;
  RandomSource(RandomSource&&) = delete;
  RandomSource& operator=(RandomSource&&) = delete;
  virtual ~RandomSource() = default;

  /// 64 uniform bits.
  virtual std::uint64_t Next() = 0;

  /// Uniform in [low, high], both included. REQUIRES: low <= high and not the full range.
  std::uint64_t Uniform(std::uint64_t low, std::uint64_t high) {
    return low + Next() % (high - low + 1);
  }
};

}  // namespace conclave::raft
