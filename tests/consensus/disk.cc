#include "tests/consensus/disk.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace conclave::raft::testing {

void Disk::Damage(const std::string& what) {
  if (!damage) {
    damage = what;
  }
}

void Disk::Compact(Index through) {
  if (through <= start.index) {
    return;
  }
  for (const IndexedConfiguration& known : Configurations()) {
    if (known.index <= through) {
      start_configuration = known;
    }
  }
  start_chain = At(through).chain;
  start = At(through).id();
  std::erase_if(entries, [&](const Entry& entry) { return entry.index <= through; });
}

void Disk::Install(const raft::Install& install) {
  const SnapshotMeta& meta = install.meta;
  const auto found = std::find_if(received.begin(), received.end(), [&](const Snapshot& candidate) {
    return candidate.meta == meta;
  });
  if (found == received.end()) {
    Damage(fmt::format("installs a snapshot at {} that was not received", meta.last.index));
    return;
  }
  const bool contained = meta.last.index > start.index && meta.last.index <= last_index() &&
                         At(meta.last.index).id() == meta.last &&
                         At(meta.last.index).chain == meta.chain;
  if (install.log_kept && !contained) {
    Damage(fmt::format("keeps a log without the snapshot's last entry {}", meta.last.index));
  }
  if (install.log_kept && contained) {
    Compact(meta.last.index);
  } else {
    entries.clear();
  }
  start = meta.last;
  start_chain = meta.chain;
  start_configuration = meta.configuration;
  snapshot = *found;
  std::erase_if(received,
                [&](const Snapshot& older) { return older.meta.last.index <= meta.last.index; });
}

void Disk::Write(const Ready& ready) {
  if (ready.hardState) {
    hardState = *ready.hardState;
  }
  if (ready.install) {
    Install(*ready.install);
  }
  if (ready.truncateFrom != 0) {
    if (ready.truncateFrom <= start.index) {
      Damage(fmt::format("truncates from {}, before the start", ready.truncateFrom));
    } else {
      entries.resize(std::min<std::size_t>(entries.size(), ready.truncateFrom - start.index - 1));
    }
  }
  for (const Entry& entry : ready.append) {
    const std::uint64_t before = entries.empty() ? start_chain : entries.back().chain;
    if (entry.index != last_index() + 1 || entry.chain != ChainHash(before, entry)) {
      Damage(fmt::format("appends {}@{} after {}", entry.index, entry.term, last_index()));
    }
    entries.push_back(entry);
  }
}

std::vector<IndexedConfiguration> Disk::Configurations() const {
  std::vector<IndexedConfiguration> result;
  if (start_configuration.index != 0) {
    result.push_back(start_configuration);
  }
  for (const Entry& entry : entries) {
    if (entry.kind == EntryKind::kConfig) {
      result.push_back({entry.index, *Configuration::Decode(*entry.data)});
    }
  }
  return result;
}

Restored Disk::Restore(std::size_t tail_max) const {
  Restored restored;
  restored.hardState = hardState;
  restored.start = restored.last = start;
  restored.start_chain = start_chain;
  restored.configurations = Configurations();
  if (snapshot) {
    restored.commitIndex = restored.lastApplied = snapshot->meta.last.index;
  }
  if (!entries.empty()) {
    restored.last = entries.back().id();
    const std::size_t tail = std::min(std::max<std::size_t>(tail_max, 1), entries.size());
    restored.tail.assign(entries.end() - static_cast<std::ptrdiff_t>(tail), entries.end());
  }
  return restored;
}

DurableView Disk::View() const {
  return {hardState,
          [this](Index index) -> std::optional<Entry> {
            return index > start.index && index <= last_index() ? std::optional(At(index))
                                                                : std::nullopt;
          },
          start, start_chain};
}

void Disk::MoveTo(Disk& other) {
  other.hardState = std::exchange(hardState, {});
  other.start = std::exchange(start, {});
  other.start_chain = std::exchange(start_chain, 0);
  other.start_configuration = std::exchange(start_configuration, {});
  other.entries = std::exchange(entries, {});
  other.snapshot = std::exchange(snapshot, std::nullopt);
  other.received = std::exchange(received, {});
}

tl::expected<std::vector<Entry>, std::string> Disk::Read(Index first, Index last,
                                                         std::size_t bytes_max) const {
  if (unreadable_with) {
    return tl::unexpected(*unreadable_with);
  }
  if (first <= start.index || last > last_index()) {
    return tl::unexpected(fmt::format("read of {} to {} outside of the log ({}, {}]", first, last,
                                      start.index, last_index()));
  }
  std::vector<Entry> result;
  std::size_t bytes = 0;
  for (Index index = first; index <= last; ++index) {
    bytes += EntryBytes(At(index));
    if (!result.empty() && bytes > bytes_max) {
      break;
    }
    result.push_back(At(index));
  }
  return result;
}

tl::expected<Term, std::string> Disk::TermAt(Index index) const {
  if (unreadable_with) {
    return tl::unexpected(*unreadable_with);
  }
  if (index <= start.index || index > last_index()) {
    return tl::unexpected(fmt::format("term of {} outside of the log", index));
  }
  return At(index).term;
}

}  // namespace conclave::raft::testing
