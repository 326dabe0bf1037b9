#include "tests/sim/wire_checker.h"

#include <algorithm>
#include <variant>

namespace conclave::sim {

void WireChecker::Wiped(raft::MemberId id) {
  for (auto vote = votes_.begin(); vote != votes_.end();) {
    vote = vote->first.first == id ? votes_.erase(vote) : std::next(vote);
  }
}

void WireChecker::Leads(raft::MemberId id, raft::Term term) {
  const auto [at, first] = leaders_.try_emplace(term, id);
  if (!first && at->second != id) {
    journal_->Fail("R1: term {} has two leaders, {} and {}", term, at->second, id);
  }
}

void WireChecker::Sent(raft::MemberId from, raft::MemberId to, const raft::Message& message) {
  if (const auto* append = std::get_if<raft::AppendEntries>(&message)) {
    SentAppend(from, *append);
    return;
  }
  const auto* reply = std::get_if<raft::RequestVoteReply>(&message);
  if (reply != nullptr && reply->voteGranted && !reply->preVote) {
    const auto [at, first] = votes_.try_emplace({from, reply->term}, to);
    if (!first && at->second != to) {
      journal_->Fail("R6: member {} voted for {} and {} in term {}", from, at->second, to,
                     reply->term);
    }
    return;
  }
  const auto* request = std::get_if<raft::RequestVote>(&message);
  if (request != nullptr && !request->preVote) {
    const auto [at, first] = votes_.try_emplace({from, request->term}, from);
    if (!first && at->second != from) {
      journal_->Fail("R6: member {} campaigns in term {} and voted for {} in it", from,
                     request->term, at->second);
    }
  }
}

void WireChecker::SentAppend(raft::MemberId from, const raft::AppendEntries& append) {
  Leads(from, append.term);
  for (const raft::Entry& entry : append.entries) {
    const auto [at, first] = chains_.try_emplace(entry.id(), entry.chain);
    if (!first && at->second != entry.chain) {
      journal_->Fail("R3: entry {} of term {} has two histories", entry.index, entry.term);
    }
    const auto committed = committed_.find(entry.index);
    if (committed != committed_.end() && append.term > committed->second.seen_in &&
        committed->second.chain != entry.chain) {
      journal_->Fail("R4: the leader {} of term {} lacks the committed entry {}", from, append.term,
                     entry.index);
    }
  }
}

void WireChecker::Applied(raft::MemberId id, raft::Index index, raft::Term term,
                          std::uint64_t chain, std::uint64_t digest) {
  raft::Index& handed = handed_[id];
  if (index != handed + 1) {
    journal_->Fail("R5: member {} applied {} after {}", id, index, handed);
  }
  handed = index;
  const raft::Term seen_in = leaders_.empty() ? term : leaders_.rbegin()->first;
  const auto [at, first] = committed_.try_emplace(index, Committed{term, chain, digest, seen_in});
  if (first) {
    return;
  }
  if (at->second.term != term || at->second.chain != chain) {
    journal_->Fail("R5: member {} applied another entry at index {} (term {}, before {})", id,
                   index, term, at->second.term);
  } else if (at->second.digest != digest) {
    journal_->Fail("R12: member {} has another state at index {}", id, index);
  }
}

void WireChecker::Installed(raft::MemberId id, raft::Index index, raft::Term term,
                            std::uint64_t chain, std::uint64_t digest) {
  handed_[id] = index;
  const auto at = committed_.find(index);
  if (at == committed_.end()) {
    journal_->Fail("R10: member {} has a snapshot at {}, which nobody has applied", id, index);
  } else if (at->second.term != term || at->second.chain != chain || at->second.digest != digest) {
    journal_->Fail("R10: member {} has a snapshot at {} that is not the state there", id, index);
  }
}

bool WireChecker::WantsDisk(const raft::Message& message) {
  const auto* append = std::get_if<raft::AppendEntriesReply>(&message);
  const auto* vote = std::get_if<raft::RequestVoteReply>(&message);
  return (append != nullptr && append->success && append->matched.index != 0) ||
         (vote != nullptr && vote->voteGranted && !vote->preVote);
}

void WireChecker::CheckPersisted(raft::MemberId from, raft::MemberId to,
                                 const raft::Message& message, const DiskView& disk) {
  ++samples_;
  journal_->Count("disks looked at behind a promise");
  if (!disk.error.empty()) {
    journal_->Fail("D2: the disk of member {} would not open: {}", from, disk.error);
    return;
  }
  if (const auto* vote = std::get_if<raft::RequestVoteReply>(&message)) {
    if (disk.hardState.currentTerm < vote->term ||
        (disk.hardState.currentTerm == vote->term && disk.hardState.votedFor != to)) {
      journal_->Fail("R7: member {} sends a vote of term {} that is not durable", from, vote->term);
    }
    return;
  }
  const auto& reply = std::get<raft::AppendEntriesReply>(message);
  const raft::Entry* entry = disk.At(reply.matched.index);
  if (reply.matched.index <= disk.start.index) {
    return;  // in its snapshot
  }
  // A leader of a later term may have cut it off meanwhile.
  if (disk.hardState.currentTerm <= reply.term &&
      (entry == nullptr || entry->term != reply.matched.term)) {
    journal_->Fail("R7: member {} acknowledges entry {} of term {}, which is not durable", from,
                   reply.matched.index, reply.matched.term);
  }
}

void WireChecker::CheckQuorum(raft::Index index, std::uint64_t chain,
                              const std::map<raft::MemberId, DiskView>& disks,
                              const std::vector<std::vector<raft::MemberId>>& voters) {
  ++samples_;
  journal_->Count("disks looked at behind a commit");
  std::size_t best = 0;
  for (const std::vector<raft::MemberId>& configuration : voters) {
    std::size_t holders = 0;
    for (const raft::MemberId id : configuration) {
      const auto disk = disks.find(id);
      holders += disk == disks.end() || disk->second.Holds(index, chain) ? 1 : 0;
    }
    if (holders > configuration.size() / 2) {
      return;
    }
    best = std::max(best, holders);
  }
  journal_->Fail("R8: entry {} was applied and is on {} disks of voters", index, best);
}

std::uint64_t WireChecker::ChainAt(raft::Index index) const {
  const auto at = committed_.find(index);
  return at == committed_.end() ? 0 : at->second.chain;
}

}  // namespace conclave::sim
