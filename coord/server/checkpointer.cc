#include "coord/server/checkpointer.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "coord/server/digest_bytes.h"
#include "coord/server/seams.h"
#include "persist/log_batch.h"

namespace conclave::server {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kAnyNumber = std::numeric_limits<std::uint64_t>::max();

using Written = tl::expected<std::shared_ptr<persist::SnapshotStore>, persist::Error>;

}  // namespace

Checkpointer::Checkpointer(const Options& options, Links links, LogTail tail,
                           raft::Index checkpoint)
    : options_(options),
      links_(std::move(links)),
      tail_(std::move(tail)),
      newest_(checkpoint),
      newest_ns_(links_.now_ns()) {
  last_.index = checkpoint;
}

void Checkpointer::Turn() {
  const bool idle = phase_ == Phase::kIdle || (CONCLAVE_MUTANT(26) && phase_ == Phase::kWriting);
  if (idle && Due() && HasRoom()) {
    Begin();
  }
  if (phase_ == Phase::kFreezing) {
    Slice();
  }
  if (phase_ == Phase::kUndurable) {
    WriteWhenDurable();
  }
}

bool Checkpointer::Due() const {
  const raft::Index applied = links_.applier->applied();
  if (held_ || applied <= newest_ || !links_.trusted()) {
    return false;
  }
  const tree::StateMachine& machine = links_.applier->machine();
  const std::int64_t age_ns = links_.now_ns() - newest_ns_;
  return requested_ || machine.dirty_bytes() >= options_.checkpoint_dirty_bytes ||
         machine.dirty_rows() >= options_.checkpoint_dirty_rows ||
         applied - newest_ >= options_.checkpoint_log_entries ||
         tail_.BytesBehind(newest_) >= options_.checkpoint_log_bytes ||
         links_.log_bytes() >= options_.log_bytes_max / 2 ||
         (options_.checkpoint_interval_ms != 0 &&
          age_ns >= options_.checkpoint_interval_ms * kNsPerMs);
}

// A small change is written over the last checkpoint, a large one beside it with everything else.
bool Checkpointer::HasRoom() const {
  const std::uint64_t changed = links_.applier->machine().dirty_bytes();
  const auto current = links_.generations->current();
  const bool over = current != nullptr && changed <= options_.checkpoint_batch_bytes;
  const std::uint64_t kept = over || current == nullptr ? 0 : current->info().totals.bytes;
  return links_.has_room(kept + changed);
}

void Checkpointer::Begin() {
  const raft::Index behind = CONCLAVE_MUTANT(25) ? 1 : 0;
  auto meta = links_.driver->raft().MetaAt(links_.applier->applied() - behind);
  if (!meta) {
    return;  // a log that cannot be read says so itself
  }
  meta_ = std::move(*meta);
  begun_ns_ = links_.now_ns();
  requested_ = false;
  phase_ = Phase::kFreezing;
  links_.applier->mutable_machine().BeginFreeze();
}

void Checkpointer::Slice() {
  tree::StateMachine& machine = links_.applier->mutable_machine();
  const std::int64_t begun_ns = links_.now_ns();
  const bool complete = machine.FreezeSlice(options_.freeze_slice_rows);
  ++links_.counters->freeze_slices;
  if (links_.metrics != nullptr) {
    links_.metrics->Observe(Timing::kFreezeSlice, links_.now_ns() - begun_ns);
  }
  if (!complete) {
    links_.wake();
    return;
  }
  frozen_ = std::make_shared<tree::FrozenRows>(machine.TakeFrozen());
  rows_ = frozen_->rows();
  bytes_ = frozen_->bytes();
  phase_ = Phase::kUndurable;
}

// A leader may commit on its followers' disks before its own: a checkpoint ahead of the log would
// stand on entries that a crash takes away.
void Checkpointer::WriteWhenDurable() {
  if (links_.driver->raft().status().durableIndex < meta_.last.index) {
    return;
  }
  phase_ = Phase::kWriting;
  links_.background->Run<Written>(
      [generations = links_.generations, meta = meta_,
       frozen = std::exchange(frozen_, nullptr)]() -> Written {
        return generations->Checkpoint(
            meta, DigestBytes(frozen->digest()),
            [&frozen](const persist::RowSink& sink) { frozen->ForEach(sink); });
      },
      [this](Written written) {
        if (!written) {
          links_.fatal(written.error().message);
        } else if (*written == nullptr) {
          Finish();
        } else {
          MakeCount(std::move(*written));
        }
      });
}

void Checkpointer::MakeCount(std::shared_ptr<persist::SnapshotStore> store) {
  persist::LogBatch batch;
  batch.SetInstall(store->generation(), meta_, /*log_kept=*/true);
  links_.driver->WriteOwn(std::move(batch), [this, store = std::move(store)] {
    links_.background->Run<bool>(
        [generations = links_.generations, store] {
          generations->Switch(store);
          return true;
        },
        [this](bool) { Finish(); });
  });
}

void Checkpointer::Finish() {
  const std::int64_t now_ns = links_.now_ns();
  phase_ = Phase::kIdle;
  newest_ = meta_.last.index;
  newest_ns_ = now_ns;
  last_.index = newest_;
  last_.rows = rows_;
  last_.bytes = bytes_;
  last_.duration_ms = (now_ns - begun_ns_) / kNsPerMs;
  ++links_.counters->checkpoints;
  links_.counters->checkpoint_rows += rows_;
  links_.counters->checkpoint_bytes += bytes_;
  if (links_.metrics != nullptr) {
    links_.metrics->Observe(Timing::kCheckpoint, now_ns - begun_ns_);
  }
  VLOG(1) << "checkpoint.taken index=" << newest_ << " rows=" << rows_ << " bytes=" << bytes_
          << " ms=" << last_.duration_ms;
  Compact();
  std::vector<std::function<void()>> done;
  for (auto request = requests_.begin(); request != requests_.end();) {
    if (request->first <= newest_) {
      done.push_back(std::move(request->second));
      request = requests_.erase(request);
    } else {
      requested_ = true;
      ++request;
    }
  }
  for (const std::function<void()>& one : done) {
    one();
  }
  if (held_ && when_idle_) {
    std::exchange(when_idle_, nullptr)();
  }
  links_.wake();
}

void Checkpointer::Compact() {
  const std::uint64_t tail_bytes = std::min(options_.log_tail_bytes, options_.log_bytes_max / 4);
  raft::Index through = tail_.Keep(newest_, options_.log_tail_entries, tail_bytes);
  if (const auto pin = links_.pinned()) {
    const std::uint64_t pin_bytes = std::min(options_.log_pin_bytes, options_.log_bytes_max / 4);
    through = std::min(through, std::max(*pin, tail_.Keep(newest_, kAnyNumber, pin_bytes)));
  }
  if (through <= tail_.start()) {
    return;
  }
  // Consensus first: what it may still read must not be gone.
  links_.driver->raft().Compact(through);
  persist::LogBatch batch;
  batch.compactThrough = through;
  links_.driver->WriteOwn(std::move(batch), [this] {
    links_.background->Run<bool>(
        [reclaim = links_.reclaim] {
          reclaim();
          return true;
        },
        [](bool) {});
  });
  tail_.Compacted(through);
}

void Checkpointer::Request(std::function<void()> done) {
  const raft::Index applied = links_.applier->applied();
  if (applied <= newest_) {
    done();
    return;
  }
  requests_.emplace_back(applied, std::move(done));
  requested_ = true;
  links_.wake();
}

void Checkpointer::Hold(std::function<void()> idle) {
  CHECK(!held_) << "held twice";
  held_ = true;
  if (phase_ == Phase::kIdle) {
    idle();
  } else {
    when_idle_ = std::move(idle);
  }
}

void Checkpointer::Release() {
  held_ = false;
  when_idle_ = nullptr;
  links_.wake();
}

void Checkpointer::Installed(raft::Index index) {
  CHECK(held_ && phase_ == Phase::kIdle) << "the state was replaced under a checkpoint";
  newest_ = index;
  newest_ns_ = links_.now_ns();
  last_ = {};
  last_.index = index;
  tail_.Reset(index);
  requests_.clear();
  requested_ = false;
  Release();
}

CheckpointStatus Checkpointer::status() const {
  CheckpointStatus status = last_;
  status.age_ms = (links_.now_ns() - newest_ns_) / kNsPerMs;
  status.running = phase_ != Phase::kIdle;
  status.dirty_rows = links_.applier->machine().dirty_rows();
  status.dirty_bytes = links_.applier->machine().dirty_bytes();
  if (const auto current = links_.generations->current()) {
    status.generation = current->generation();
  }
  return status;
}

}  // namespace conclave::server
