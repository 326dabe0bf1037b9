#include "coord/server/digest_audit.h"

namespace conclave::server {

DigestAudit::Verdict DigestAudit::Add(raft::MemberId from, const DigestReport& report) {
  if (!Compares(report.index)) {
    return Verdict::kNone;  // configured otherwise: not comparable
  }
  std::map<raft::MemberId, std::uint64_t>& at = reports_[report.index];
  at[from] = report.digest;
  std::map<std::uint64_t, std::size_t> votes;
  std::size_t voted = 0;
  for (const auto& [member, digest] : at) {
    if (voters_.contains(member)) {
      ++votes[digest];
      ++voted;
    }
  }
  Verdict verdict = Verdict::kNone;
  const auto own = at.find(self_);
  if (votes.size() > 1) {
    verdict = voted < voters_.size() ? Verdict::kUndecided : Verdict::kNoMajority;
  }
  for (const auto& [digest, count] : votes) {
    if (count <= voters_.size() / 2) {
      continue;
    }
    if (own == at.end()) {
      verdict = Verdict::kNone;  // not there yet; judged when this member reports itself
    } else {
      verdict = own->second == digest ? Verdict::kAgreed : Verdict::kMinority;
    }
  }
  while (reports_.size() > kIndicesMax) {
    reports_.erase(reports_.begin());
  }
  return verdict;
}

}  // namespace conclave::server
