#include "tests/persist/crash_world.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

namespace conclave::persist::testing {

namespace {

constexpr int kSteps = 45;
constexpr raft::Term kForeignTerms = 1000;
constexpr std::uint64_t kDataBytes[] = {30, 300, 6000};

LogStore::Options LogOptions(FaultEnv* env, raft::RandomSource* random) {
  LogStore::Options options = SmallOptions(env, random);
  options.block_cache_bytes = 16 << 10;
  return options;
}

}  // namespace

CrashWorkload::CrashWorkload(FaultEnv* env, std::uint64_t seed)
    : env_(env),
      random_(seed),
      ids_(seed),
      log_workload_(seed, kDataBytes[seed % std::size(kDataBytes)]) {
  // Now and then rows so large that the files of a snapshot rotate and are compacted under way.
  state_.value_scale = seed % 8 == 5 ? 25 : 1;
}

CrashWorkload::~CrashWorkload() { Close(); }

void CrashWorkload::Run() {
  Open();
  for (int step = 0; step < kSteps; ++step) {
    const std::uint64_t draw = Draw(100);
    if (draw < 50) {
      doing_ = "log write";
      WriteLog(log_workload_.Next(now_.log));
      if (Draw(3) == 0) {
        Commit();
      }
    } else if (draw < 66) {
      Checkpoint();
    } else if (draw < 76) {
      Compact();
    } else if (draw < 94) {
      if (!now_.transfer) {
        BeginTransfer();
      } else if (next_chunk_ < chunks_.size()) {
        ReceiveChunk();
      }
      if (now_.transfer && next_chunk_ == chunks_.size()) {
        InstallTransfer();
      }
    } else {
      Close();
      Open();
    }
  }
}

void CrashWorkload::Close() {
  receiver_.reset();
  generations_.reset();
  log_.reset();
}

void CrashWorkload::Open() {
  doing_ = "open";
  auto log = LogStore::Open(LogOptions(env_, &ids_));
  CHECK(log) << log.error().message;
  log_ = std::move(*log);
  auto generations =
      SnapshotGenerations::Open(SmallSnapshotOptions(env_, state_.value_scale), log_->generation());
  CHECK(generations) << generations.error().message;
  generations_ = std::move(*generations);
  if (now_.transfer && now_.transfer->generation < now_.log.generation) {
    now_.transfer.reset();  // A later generation has taken its place.
  }
  now_.identity = log_->identity();
  next_ = now_;
}

void CrashWorkload::WriteLog(LogBatch batch) {
  next_.log.Apply(batch);
  const auto written = log_->Write(batch);
  CHECK(written) << written.error().message;
  now_.log = next_.log;
}

raft::Index CrashWorkload::DrawCommitted() {
  const raft::Index from = std::max(now_.log.committed, now_.log.start.index);
  return from + Draw(now_.log.last_index() - from + 1);
}

void CrashWorkload::Commit() {
  now_.log.committed = next_.log.committed = DrawCommitted();
  while (state_.index < now_.log.committed) {
    state_.Apply(now_.log.At(state_.index + 1));
  }
}

void CrashWorkload::Checkpoint() {
  if (state_.index == 0) {
    return;
  }
  doing_ = "checkpoint";
  const raft::SnapshotMeta meta = MetaAt(now_.log, state_.index);
  const SnapshotInfo info = state_.Info(meta);
  ModelDisk after = now_;
  after.snapshot = info;
  after.rows = state_.rows;
  // A new generation shows only with the flip; a delta shows by itself.
  const bool first = generations_->current() == nullptr;
  if (!first) {
    next_ = after;
  }
  const auto built = generations_->Checkpoint(meta, info.digest, SourceOf(state_.changed));
  CHECK(built) << built.error().message;
  state_.changed.clear();
  if (*built == nullptr) {
    now_ = next_;
    return;
  }
  doing_ = "flip";
  LogBatch batch;
  if (Draw(2) == 0) {
    batch = log_workload_.Next(now_.log);
  }
  LogBatch flip;
  flip.SetInstall((*built)->generation(), meta, /*log_kept=*/true);
  batch.Merge(std::move(flip));
  next_ = after;
  WriteLog(std::move(batch));
  now_ = next_;
  doing_ = "switch";
  generations_->Switch(*built);
}

void CrashWorkload::Compact() {
  if (!now_.snapshot || now_.snapshot->meta.last.index <= now_.log.start.index) {
    return;
  }
  doing_ = "compact";
  LogBatch batch;
  if (Draw(2) == 0) {
    batch = log_workload_.Next(now_.log);
  }
  const raft::Index through = now_.snapshot->meta.last.index;
  batch.compactThrough = through - Draw(std::min<raft::Index>(through - now_.log.start.index, 6));
  WriteLog(std::move(batch));
}

// Of the same log further on: of an entry that this one has already, or of one that it has not.
void CrashWorkload::BeginTransfer() {
  doing_ = "begin transfer";
  ModelLog log = now_.log;
  ModelState state = state_;
  const bool from_this_log = Draw(3) == 0 && state.index < log.last_index();
  if (!from_this_log) {
    // Terms that this member will not come to by itself: a term and an index name one entry.
    log.hard.currentTerm += kForeignTerms;
    if (Draw(2) == 0) {
      // And has other entries where this one has some that are not committed.
      log.entries.resize(state.index - log.start.index);
    }
    for (std::uint64_t n = 1 + Draw(30); n > 0; --n) {
      LogBatch more = log.Append(std::to_string(Draw(1000)));
      log.Apply(more);
    }
  }
  const raft::Index end =
      from_this_log ? state.index + 1 + Draw(log.last_index() - state.index) : log.last_index();
  while (state.index < end) {
    state.Apply(log.At(state.index + 1));
  }
  ModelDisk::Transfer transfer;
  transfer.source = state.Info(MetaAt(log, end));
  transfer.rows = state.rows;
  next_.transfer = transfer;
  auto receiver = generations_->Receive(transfer.source);
  CHECK(receiver) << receiver.error().message;
  receiver_ = std::move(*receiver);
  next_.transfer->generation = receiver_->generation();
  now_ = next_;
  chunks_ = ChunksOf(transfer.rows, 4 + Draw(25));
  next_chunk_ = 0;
}

void CrashWorkload::ReceiveChunk() {
  doing_ = "receive";
  if (receiver_ == nullptr) {
    auto receiver = generations_->Receive(now_.transfer->source);
    CHECK(receiver) << receiver.error().message;
    receiver_ = std::move(*receiver);
    CHECK_EQ(receiver_->last_key(), now_.transfer->last_key);
  }
  const SnapshotChunk& chunk = chunks_[next_chunk_];
  next_.transfer->last_key = chunk.last_key;
  const auto appended = receiver_->Append(chunk.bytes, chunk.checksum);
  CHECK(appended) << appended.error().message;
  ++next_chunk_;
  now_ = next_;
  if (Draw(6) == 0) {
    receiver_.reset();  // The sender went; the next one goes on.
  }
}

void CrashWorkload::InstallTransfer() {
  doing_ = "finish transfer";
  if (receiver_ == nullptr) {
    auto receiver = generations_->Receive(now_.transfer->source);
    CHECK(receiver) << receiver.error().message;
    receiver_ = std::move(*receiver);
  }
  auto store = receiver_->Finish();
  CHECK(store) << store.error().message;
  receiver_.reset();
  const ModelDisk::Transfer transfer = *now_.transfer;
  const raft::SnapshotMeta& meta = transfer.source.meta;
  // The core's rules: never back behind what is committed; the log is kept if it has the entry.
  const bool within = meta.last.index <= now_.log.last_index();
  const bool kept = within && meta.last.index > now_.log.start.index &&
                    now_.log.IdAt(meta.last.index) == meta.last;
  if (meta.last.index <= now_.log.committed || (*store)->generation() <= now_.log.generation) {
    doing_ = "discard transfer";
    SnapshotGenerations::Discard(*store);
    now_.transfer.reset();
    next_ = now_;
    store->reset();
    return;
  }
  doing_ = within && !kept ? "install over another log" : "install";
  LogBatch batch;
  batch.SetInstall((*store)->generation(), meta, kept);
  batch.hardState = now_.log.hard;
  batch.hardState->currentTerm = std::max(meta.last.term, now_.log.hard.currentTerm) + Draw(2);
  next_.snapshot = transfer.source;
  next_.rows = transfer.rows;
  next_.transfer.reset();
  WriteLog(std::move(batch));
  now_ = next_;
  doing_ = "switch";
  generations_->Switch(std::move(*store));
  state_ = {meta.last.index, transfer.rows, {}, state_.value_scale};
}

}  // namespace conclave::persist::testing
