#pragma once

// The inside of a Raft object for the exploration: to copy it, to bring what time and chance decide
// to fixed values, and to write down everything on which its future depends.

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "consensus/raft.h"

namespace conclave::raft {

namespace explore {

/// 128 bits of hash. Sums of them modulo 2^128 name multisets.
__extension__ using Fingerprint = unsigned __int128;

/// The members of every explored cluster are 1, 2 and 3.
inline constexpr MemberId kMembers = 3;

inline constexpr Incarnation kIncarnationOfMember = 1000;  ///< Plus the member's id.

/// A permutation of the members: renaming[id] is the new name of `id`; renaming[0] is 0.
using Renaming = std::array<MemberId, kMembers + 1>;

/// All permutations of the members, the identity first.
const std::array<Renaming, 6>& Renamings();

/// Numbers written one after the other, then hashed.
class Words {
 public:
  void Put(std::uint64_t word) { words_.push_back(word); }

  void Put(EntryId id) {
    Put(id.term);
    Put(id.index);
  }

  void PutHash(Fingerprint hash) {
    Put(static_cast<std::uint64_t>(hash));
    Put(static_cast<std::uint64_t>(hash >> 64));
  }

  void Put(const HardState& hard, const Renaming& renaming);
  /// The chain stands for kind and data too.
  void Put(const Entry& entry);
  void PutIncarnation(Incarnation incarnation, const Renaming& renaming);

  Fingerprint Hash() const;

 private:
  std::vector<std::uint64_t> words_;
};

/// `from` and the message with every member renamed.
Fingerprint HashMessage(MemberId from, const Envelope& envelope, const Renaming& renaming);

}  // namespace explore

class CoreInspector {
 public:
  static std::unique_ptr<Raft> Clone(const Raft& raft);

  /// Timers, statistics and the numbers of read rounds get fixed values: when a timer runs out is
  /// an event of the exploration. A follower's contact with its leader always counts as long ago,
  /// for one that counts as recent only makes it ignore requests for votes, and a message may
  /// remain undelivered anyway. REQUIRES: no Ready is waiting.
  static void Settle(Raft& raft);

  /// Everything that decides what the member does next and is not in its disk, members renamed.
  /// REQUIRES: settled.
  static void Write(const Raft& raft, const explore::Renaming& renaming, explore::Words& words);

  /// Its log, oldest entry first, from index 1.
  static std::vector<Entry> Entries(const Raft& raft);
};

}  // namespace conclave::raft
