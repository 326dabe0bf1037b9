// The state machine, the checkpoints and the transfers of snapshots of the model members.

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {
namespace {

std::string Name(EntryId id) { return fmt::format("{}@{}", id.index, id.term); }

}  // namespace

void Cluster::Apply(MemberId id, const std::vector<Entry>& entries) {
  Node& applying = node(id);
  for (const Entry& entry : entries) {
    if (applying.installing) {
      violation_ = fmt::format("member {}: hands out {} while it installs", id, entry.index);
      return;
    }
    if (entry.index != applying.to_apply + 1) {
      violation_ = fmt::format("member {}: hands out {} to a state at {}", id, entry.index,
                               applying.to_apply);
    }
    applying.applied.push_back(entry);
    applying.to_apply = entry.index;
    applying.state = XXH3_64bits_withSeed(&entry.chain, sizeof entry.chain, applying.state);
    const std::string_view kind = entry.kind == EntryKind::kNoop     ? "no-op"
                                  : entry.kind == EntryKind::kConfig ? "configuration"
                                                                     : *entry.data;
    Event(fmt::format("{} applies {} {}", id, Name(entry.id()), kind));
    CheckState(id, entry.index);
  }
}

/// R10, R12: the state at an index is one, whether applied or installed.
void Cluster::CheckState(MemberId id, Index index) {
  const auto [known, is_new] = states_.emplace(index, node(id).state);
  if (known->second != node(id).state) {
    violation_ = fmt::format("member {}: R12: another state at {}", id, index);
  }
}

/// The Ready is on the disk.
void Cluster::Written(MemberId id, const Ready& ready) {
  Node& written = node(id);
  if (written.disk.damage) {
    violation_ = fmt::format("member {}: {}", id, *written.disk.damage);
    return;
  }
  if (!ready.install) {
    return;
  }
  const Snapshot snapshot = *written.disk.snapshot;
  const Index last = snapshot.meta.last.index;
  written.installing = std::any_of(written.writes.begin(), written.writes.end(),
                                   [](const Ready& later) { return later.install.has_value(); });
  written.state = snapshot.state;
  written.to_apply = last;
  Event(fmt::format("{} installs {}{}", id, Name(snapshot.meta.last),
                    ready.install->log_kept ? ", log kept" : ""));
  CheckState(id, last);
  written.installs += 1;
  written.installs_log_kept += ready.install->log_kept ? 1 : 0;
  if (!written.manual_apply) {
    written.raft->Applied(last);
  }
  while (!written.owed.empty() && written.owed.begin()->first <= last) {
    for (const MemberId sender : written.owed.begin()->second) {
      AnswerTransfer(id, sender, snapshot, true);
    }
    written.owed.erase(written.owed.begin());
  }
}

bool Cluster::Checkpoint(MemberId id, Index tail) {
  Node& saved = node(id);
  const Status status = saved.raft->status();
  const Index last = saved.disk.snapshot ? saved.disk.snapshot->meta.last.index : 0;
  // Rule 12: not above what is durable here.
  if (saved.installing || saved.to_apply <= last || saved.to_apply > status.durableIndex) {
    return false;
  }
  const auto meta = saved.raft->MetaAt(saved.to_apply);
  if (!meta) {
    violation_ = fmt::format("member {}: cannot describe its state at {}", id, saved.to_apply);
    return false;
  }
  ++saved.checkpoints;
  invariants_.ObserveSnapshot(id, *meta);
  saved.disk.snapshot = Snapshot{*meta, saved.state};
  const Index through =
      std::min(saved.to_apply > tail ? saved.to_apply - tail : 0, saved.raft->status().lastApplied);
  Event(fmt::format("{} has a checkpoint at {}, log from {}", id, Name(meta->last),
                    std::max(through, saved.disk.start.index) + 1));
  if (through > 0) {
    saved.raft->Compact(through);
    saved.disk.Compact(through);
  }
  Look(id);
  return true;
}

// --- Transfers ---

void Cluster::StartTransfers(MemberId id, const std::vector<MemberId>& peers) {
  Node& sender = node(id);
  for (const MemberId peer : peers) {
    if (!sender.sending.insert(peer).second) {
      continue;
    }
    if (!sender.disk.snapshot || sender.installing) {
      Event(fmt::format("{} has no snapshot for {}", id, peer));
      Report(id, peer, {}, false);
      continue;
    }
    Event(fmt::format("{} sends {} the snapshot {}", id, peer,
                      Name(sender.disk.snapshot->meta.last)));
    transfers_.push_back({id, peer, *sender.disk.snapshot});
  }
}

tl::expected<void, InstallError> Cluster::Install(MemberId id, const Snapshot& snapshot) {
  node(id).disk.received.push_back(snapshot);
  const auto result = raft(id).InstallSnapshot(snapshot.meta);
  if (!result) {
    Event(fmt::format("{} refuses the snapshot {}: {}", id, Name(snapshot.meta.last),
                      ToString(result.error())));
  }
  return result;
}

void Cluster::DeliverTransferAt(std::size_t position, bool keep_copy) {
  const auto at = transfers_.begin() + static_cast<std::ptrdiff_t>(position);
  const Transfer transfer = *at;
  if (!Reaches(transfer.from, transfer.to) || !up(transfer.to)) {
    LoseTransferAt(position);
    return;
  }
  if (!keep_copy) {
    transfers_.erase(at);
  }
  if (transfer.answer) {
    Event(fmt::format("{} -> {}: snapshot {} {}", transfer.from, transfer.to,
                      Name(transfer.snapshot.meta.last),
                      transfer.installed ? "installed" : "not installed"));
    Report(transfer.to, transfer.from, transfer.snapshot.meta.last, transfer.installed);
    Pump(transfer.to);
    return;
  }
  const auto result = Install(transfer.to, transfer.snapshot);
  if (result) {
    node(transfer.to).owed[transfer.snapshot.meta.last.index].insert(transfer.from);
  } else {
    AnswerTransfer(transfer.to, transfer.from, transfer.snapshot,
                   result.error() == InstallError::kStale);
  }
  Pump(transfer.to);
}

void Cluster::LoseTransferAt(std::size_t position) {
  const auto at = transfers_.begin() + static_cast<std::ptrdiff_t>(position);
  const Transfer transfer = *at;
  transfers_.erase(at);
  const MemberId sender = transfer.answer ? transfer.to : transfer.from;
  const MemberId peer = transfer.answer ? transfer.from : transfer.to;
  if (up(sender) && node(sender).sending.contains(peer)) {
    Event(fmt::format("{} lost its transfer to {}", sender, peer));
    Report(sender, peer, {}, false);
    Pump(sender);
  }
}

void Cluster::AnswerTransfer(MemberId id, MemberId sender, const Snapshot& snapshot,
                             bool installed) {
  transfers_.push_back({id, sender, snapshot, true, installed});
}

void Cluster::Report(MemberId sender, MemberId peer, EntryId last, bool installed) {
  node(sender).sending.erase(peer);
  if (installed) {
    raft(sender).SnapshotSent(peer, last);
  } else {
    raft(sender).SnapshotFailed(peer);
  }
}

/// What `id` had received and not answered is not answered any more.
void Cluster::AbortTransfersTo(MemberId id) {
  for (auto& [sender, other] : nodes_) {
    const bool under_way = std::any_of(
        transfers_.begin(), transfers_.end(), [&, from = sender](const Transfer& transfer) {
          return transfer.answer ? transfer.from == id && transfer.to == from
                                 : transfer.from == from && transfer.to == id;
        });
    if (other.raft && other.sending.contains(id) && !under_way) {
      Report(sender, id, {}, false);
      Pump(sender);
    }
  }
}

}  // namespace conclave::raft::testing
