#include "coord/server/applier.h"

#include <iterator>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/seams.h"

namespace conclave::server {

Applier::Applier(Counters* counters, Observer* observer, Events events,
                 std::unique_ptr<tree::StateMachine> machine, raft::Index applied)
    : counters_(counters),
      observer_(observer),
      events_(std::move(events)),
      machine_(std::move(machine)),
      applied_(applied) {}

void Applier::Add(std::vector<raft::Entry> entries) {
  waiting_.insert(waiting_.end(), std::make_move_iterator(entries.begin()),
                  std::make_move_iterator(entries.end()));
}

std::size_t Applier::RunSlice(std::size_t entries_max) {
  std::size_t done = 0;
  while (!failed_ && !held_ && done < entries_max && !waiting_.empty()) {
    const raft::Entry entry = std::move(waiting_.front());
    waiting_.pop_front();
    CHECK_EQ(entry.index, applied_ + 1) << "committed entries must be dense";
    applied_ = entry.index;
    ++done;
    if (observer_ != nullptr) {
      observer_->OnEntry(entry);
    }
    if (entry.kind != raft::EntryKind::kCommand) {
      events_.passed(entry);
    } else {
      tree::ApplyResult result =
          machine_->Apply(static_cast<std::int64_t>(entry.index), *entry.data);
      if (result.fatal) {
        failed_ = true;
        events_.fatal(fmt::format("cannot apply entry {}: {}", entry.index, result.fatal->message));
        return done;
      }
      ++counters_->entries_applied;
      events_.applied(entry, result);
    }
    if (observer_ != nullptr) {
      observer_->OnApplied(entry.index, entry.term, entry.chain, digest());
    }
  }
  return done;
}

void Applier::Hold() { held_ = true; }

std::unique_ptr<tree::StateMachine> Applier::Replace(std::unique_ptr<tree::StateMachine> machine,
                                                     const raft::SnapshotMeta& meta) {
  CHECK_GT(meta.last.index, applied_) << "state never goes back";
  held_ = false;
  machine_.swap(machine);
  applied_ = meta.last.index;
  while (!waiting_.empty() && waiting_.front().index <= applied_) {
    waiting_.pop_front();
  }
  if (observer_ != nullptr) {
    observer_->OnInstalled(meta.last.index, meta.last.term, meta.chain, digest());
  }
  return machine;
}

std::uint64_t Applier::digest() const {
  const tree::Digest digest = machine_->digest();
  return (digest.low ^ (digest.high * 0x9E3779B97F4A7C15ULL)) + rot_;
}

}  // namespace conclave::server
