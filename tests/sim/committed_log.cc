#include "tests/sim/committed_log.h"

#include <algorithm>
#include <utility>

#include "tests/sim/entry_text.h"

namespace conclave::sim {
namespace {

std::size_t VotesThatDiffer(const raft::Configuration& a, const raft::Configuration& b) {
  std::size_t count = 0;
  for (const auto& [one, other] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
    for (const raft::Member& member : one->members) {
      const bool votes = member.kind == raft::MemberKind::kVoter;
      count += votes && !other->IsVoter(member.id) ? 1 : 0;
    }
  }
  return count;
}

}  // namespace

void CommittedLog::Add(const raft::Entry& entry) {
  if (entry.index != entries_.size() + 1) {
    if (entry.index > entries_.size() + 1) {
      journal_->Fail("R5: entry {} is applied before {}", entry.index, entries_.size() + 1);
    }
    return;  // another member was first; wire_checker compares the chains
  }
  entries_.push_back(entry);
  if (journal_->prints()) {
    journal_->Show(EntryText(entry));
  }
  if (entry.kind != raft::EntryKind::kConfig) {
    return;
  }
  auto configuration = raft::Configuration::Decode(*entry.data);
  if (!configuration) {
    journal_->Fail("entry {} is no configuration", entry.index);
    return;
  }
  journal_->Count("configurations committed");
  if (!configurations_.empty() &&
      VotesThatDiffer(configurations_.back().configuration, *configuration) > 1) {
    journal_->Fail("R9: the configuration at {} changes more than one vote", entry.index);
  }
  configurations_.push_back({.index = entry.index, .configuration = std::move(*configuration)});
}

std::vector<const raft::Configuration*> CommittedLog::AroundIndex(raft::Index index) const {
  std::vector<const raft::Configuration*> around;
  auto next = std::ranges::upper_bound(configurations_, index, {},
                                       [](const auto& one) { return one.index; });
  if (next != configurations_.begin()) {
    around.push_back(&std::prev(next)->configuration);
  }
  if (next != configurations_.end()) {
    around.push_back(&next->configuration);
  }
  return around;
}

}  // namespace conclave::sim
