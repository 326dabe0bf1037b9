// Do the members hold the same state? (rule 15)
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "consensus/types.h"
#include "coord/server/peer_transport.h"

namespace conclave::server {

// Collects what members report for the same index and judges. Every member does so for itself.
//
// Thread: core executor only. Pure.
class DigestAudit {
 public:
  enum class Verdict : std::uint8_t {
    kNone,        // nothing can be said yet
    kUndecided,   // digests differ; members that have not reported may yet make a majority
    kAgreed,      // a majority of the voters has this member's digest
    kMinority,    // a majority has another one: this member is wrong and must stop serving
    kNoMajority,  // digests differ and none has a majority: nobody knows who is right
  };

  // Digests are compared at indices divisible by `interval`.
  DigestAudit(raft::MemberId self, std::uint64_t interval) : self_(self), interval_(interval) {}

  // Who votes; more than half of them make a majority. What others report (this member, if it is
  // none of them) is judged by them.
  void SetVoters(std::set<raft::MemberId> voters) { voters_ = std::move(voters); }

  // Whether members tell each other their digests at this index.
  [[nodiscard]] bool Compares(raft::Index index) const { return index % interval_ == 0; }

  // What can be said about `report.index` once this report (of a peer or of oneself) is in.
  Verdict Add(raft::MemberId from, const DigestReport& report);

 private:
  // Members far apart compare within this many intervals; older reports are forgotten.
  static constexpr std::size_t kIndicesMax = 256;

  const raft::MemberId self_;
  const std::uint64_t interval_;
  std::set<raft::MemberId> voters_;
  std::map<raft::Index, std::map<raft::MemberId, std::uint64_t>> reports_;
};

}  // namespace conclave::server
