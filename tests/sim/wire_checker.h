// Raft's invariants over the whole cluster, from what members send, apply and have on disk. The
// names R1 to R8 are those of the dissertation's properties as tests/sim/README.md lists them.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "consensus/messages.h"
#include "tests/sim/disk_view.h"
#include "tests/sim/journal.h"

namespace conclave::sim {

// Thread: one. What it finds it says to the journal.
class WireChecker {
 public:
  explicit WireChecker(Journal* journal) : journal_(journal) {}

  void Started(raft::MemberId id) { handed_[id] = 0; }

  // What it promised is forgotten with its disk.
  void Wiped(raft::MemberId id);

  // R1: one leader per term.
  void Leads(raft::MemberId id, raft::Term term);

  // R1, R3 (equal index and term: equal chain), R4 (a leader of a later term has what is
  // committed), R6 (one vote per term, also across restarts).
  void Sent(raft::MemberId from, raft::MemberId to, const raft::Message& message);

  // R5: one entry and one state per index; applied densely.
  void Applied(raft::MemberId id, raft::Index index, raft::Term term, std::uint64_t chain,
               std::uint64_t digest);

  // R10: the state of a snapshot is the one that applying its entries makes.
  void Installed(raft::MemberId id, raft::Index index, raft::Term term, std::uint64_t chain,
                 std::uint64_t digest);

  // Whether the message asserts something that has to be on the disk of its sender.
  static bool WantsDisk(const raft::Message& message);

  // R7: it is.
  void CheckPersisted(raft::MemberId from, raft::MemberId to, const raft::Message& message,
                      const DiskView& disk);

  // R8: an entry that somebody applied is on the disks of a majority of the voters of one of these
  // configurations. `disks`: by member; one that is not there has been lost and may have held it.
  void CheckQuorum(raft::Index index, std::uint64_t chain,
                   const std::map<raft::MemberId, DiskView>& disks,
                   const std::vector<std::vector<raft::MemberId>>& voters);

  int samples_taken() const { return samples_; }

  raft::Index committed() const { return committed_.empty() ? 0 : committed_.rbegin()->first; }

  // 0: nobody is known to lead in it.
  raft::MemberId LeaderOf(raft::Term term) const {
    const auto at = leaders_.find(term);
    return at == leaders_.end() ? 0 : at->second;
  }

  // The chain of an index that was applied somewhere; 0 if none was.
  std::uint64_t ChainAt(raft::Index index) const;

 private:
  struct Committed {
    raft::Term term = 0;
    std::uint64_t chain = 0;
    std::uint64_t digest = 0;
    raft::Term seen_in = 0;  // highest term in which anybody led when it was first applied
  };

  void SentAppend(raft::MemberId from, const raft::AppendEntries& append);

  Journal* const journal_;
  std::map<raft::Term, raft::MemberId> leaders_;
  std::map<std::pair<raft::MemberId, raft::Term>, raft::MemberId> votes_;
  std::map<raft::EntryId, std::uint64_t> chains_;
  std::map<raft::Index, Committed> committed_;
  std::map<raft::MemberId, raft::Index> handed_;
  int samples_ = 0;
};

}  // namespace conclave::sim
