#include "coord/server/snapshot_receiver.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/digest_bytes.h"
#include "coord/tree/state_loader.h"

namespace conclave::server {
namespace {

// Far above what any sender sends: a chunk holds at least one row, and a row a value of 1 MiB.
constexpr std::size_t kChunkBytesMax = std::size_t{16} << 20;
constexpr std::size_t kAppendingMax = 64;

using Opening = tl::expected<std::string, persist::Error>;  // where to go on

bool OfTheDisk(const persist::Error& error) {
  return error.kind == persist::ErrorKind::kIo || error.kind == persist::ErrorKind::kNoSpace;
}

}  // namespace

void SnapshotReceiver::OnOffer(raft::MemberId from, const SnapshotOffer& offer) {
  if (offer.term != links_.raft->currentTerm() || from != links_.raft->leader()) {
    ++links_.counters->snapshot_chunks_refused;
    return;  // of another time; the leader of this term says its own
  }
  const auto answer = [&](SnapshotState state, std::string message) {
    links_.transport->Send(from, SnapshotAck{.transfer = offer.transfer,
                                             .state = state,
                                             .position = {},
                                             .message = std::move(message)});
  };
  if (offer.info.meta.last.index <= links_.raft->commitIndex() && phase_ != Phase::kInstalling) {
    answer(SnapshotState::kInstalled, {});
    if (phase_ == Phase::kOpening || phase_ == Phase::kReceiving) {
      Close();  // entries have come so far meanwhile
    }
    return;
  }
  if (std::string why = links_.refusal(); !why.empty()) {
    answer(SnapshotState::kRefused, std::move(why));
    return;
  }
  const bool same = phase_ != Phase::kIdle && info_ == offer.info;
  if (!same && !links_.has_room(offer.info.totals.bytes)) {
    answer(SnapshotState::kRefused, "the disk has no room for the snapshot");
    return;
  }
  if (phase_ > Phase::kReceiving && !same) {
    answer(SnapshotState::kRefused, "another snapshot is being installed");
    return;
  }
  from_ = from;
  transfer_ = offer.transfer;
  term_ = offer.term;
  if (!same) {
    Open(offer);
  } else if (phase_ == Phase::kReceiving) {
    Ack(SnapshotState::kStored);
  } else if (phase_ > Phase::kReceiving) {
    Ack(SnapshotState::kVerifying);
  }
}

void SnapshotReceiver::Open(const SnapshotOffer& offer) {
  Close();
  LOG(INFO) << "snapshot.receive from=" << from_ << " index=" << offer.info.meta.last.index
            << " rows=" << offer.info.totals.rows << " bytes=" << offer.info.totals.bytes;
  phase_ = Phase::kOpening;
  info_ = offer.info;
  storing_ = std::make_shared<Storing>();
  links_.background->Run<Opening>(
      [generations = links_.generations, storing = storing_, info = info_]() -> Opening {
        auto receiver = generations->Receive(info);
        if (!receiver) {
          return tl::unexpected(std::move(receiver.error()));
        }
        storing->receiver = std::move(*receiver);
        return storing->receiver->last_key();
      },
      [this, run = run_](Opening opened) {
        if (run != run_) {
          return;
        }
        if (!opened && OfTheDisk(opened.error())) {
          links_.fatal(opened.error().message);
        } else if (!opened) {
          Refuse(opened.error().message);
        } else {
          phase_ = Phase::kReceiving;
          position_ = std::move(*opened);
          links_.counters->snapshots_resumed += position_.empty() ? 0 : 1;
          Ack(SnapshotState::kStored);
        }
      });
}

void SnapshotReceiver::OnChunk(raft::MemberId from, SnapshotChunk chunk) {
  if (phase_ != Phase::kReceiving || from != from_ || chunk.transfer != transfer_ ||
      chunk.term != term_ || chunk.rows.size() > kChunkBytesMax || appending_ >= kAppendingMax ||
      !links_.refusal().empty()) {
    ++links_.counters->snapshot_chunks_refused;
    return;
  }
  ++appending_;
  const bool last = chunk.last;
  links_.background->Run<Stored>(
      [storing = storing_, chunk = std::make_shared<SnapshotChunk>(std::move(chunk))] {
        Stored stored;
        persist::SnapshotReceiver* const receiver = storing->receiver.get();
        stored.in_place = receiver != nullptr && chunk->after_key == receiver->last_key();
        if (stored.in_place) {
          stored.result = receiver->Append(chunk->rows, chunk->checksum);
          stored.position = receiver->last_key();
        }
        return stored;
      },
      [this, last, run = run_](const Stored& stored) { OnStored(stored, last, run); });
}

void SnapshotReceiver::OnStored(const Stored& stored, bool last, std::uint64_t run) {
  if (run != run_ || phase_ != Phase::kReceiving) {
    return;
  }
  --appending_;
  if (stored.in_place && !stored.result && OfTheDisk(stored.result.error())) {
    links_.fatal(stored.result.error().message);
    return;
  }
  if (!stored.in_place || !stored.result) {
    // Damaged on the way, or one before it was lost: the sender finds out by silence.
    ++links_.counters->snapshot_chunks_refused;
    LOG_IF(WARNING, stored.in_place)
        << "snapshot.chunk_refused from=" << from_ << " reason=" << stored.result.error().message;
    return;
  }
  ++links_.counters->snapshot_chunks_stored;
  position_ = stored.position;
  if (last) {
    Check();
  } else {
    Ack(SnapshotState::kStored);
  }
}

void SnapshotReceiver::Check() {
  phase_ = Phase::kChecking;
  Ack(SnapshotState::kVerifying);
  links_.background->Run<Checked>(
      [storing = storing_, info = info_] { return CheckRows(storing, info); },
      [this](Checked checked) { OnChecked(std::move(checked)); });
}

// On the background.
SnapshotReceiver::Checked SnapshotReceiver::CheckRows(const std::shared_ptr<Storing>& storing,
                                                      const persist::SnapshotInfo& info) {
  Checked checked;
  const auto digest = DigestFromBytes(info.digest);
  auto store = storing->receiver->Finish();
  storing->receiver.reset();
  if (!store || !digest) {
    checked.refused = store ? "its digest is none" : store.error().message;
    checked.failed = !store && OfTheDisk(store.error());
    return checked;
  }
  tree::StateLoader loader;
  const auto loaded = (*store)->Load(
      [&loader](std::string_view key, std::string_view value) -> tl::expected<void, std::string> {
        if (!loader.Add(key, value)) {
          return tl::unexpected(loader.error()->message);
        }
        return {};
      });
  auto machine = loader.Finish(static_cast<std::int64_t>(info.meta.last.index), *digest);
  if (!loaded || !machine) {
    checked.refused = machine ? loaded.error().message : machine.error().message;
    checked.failed = !loaded && OfTheDisk(loaded.error());
    persist::SnapshotGenerations::Discard(*store);
    return checked;
  }
  checked.complete.store = std::move(*store);
  checked.complete.machine = std::move(*machine);
  return checked;
}

void SnapshotReceiver::OnChecked(Checked checked) {
  if (checked.failed) {
    links_.fatal(checked.refused);
    return;
  }
  if (!checked.refused.empty()) {
    ++links_.counters->snapshots_refused;
    Refuse(checked.refused);
    return;
  }
  complete_ = std::move(checked.complete);
  phase_ = Phase::kHolding;
  links_.hold_checkpoints([this] { Install(); });
}

void SnapshotReceiver::Install() {
  const auto taken = links_.raft->InstallSnapshot(info_.meta);
  if (taken) {
    phase_ = Phase::kInstalling;
    links_.wake();
    return;
  }
  links_.release_checkpoints();
  // Closed where its directory is removed.
  links_.background->Run<bool>(
      [complete = std::make_shared<Complete>(std::move(complete_))] {
        persist::SnapshotGenerations::Discard(complete->store);
        *complete = {};
        return true;
      },
      [](bool) {});
  complete_ = {};
  if (taken.error() == raft::InstallError::kStale) {
    Ack(SnapshotState::kInstalled);  // entries have come so far meanwhile
    Close();
  } else {
    ++links_.counters->snapshots_refused;
    Refuse(fmt::format("consensus does not take it: {}", raft::ToString(taken.error())));
  }
}

SnapshotReceiver::Complete SnapshotReceiver::TakeInstalled() {
  CHECK(phase_ == Phase::kInstalling);
  return std::exchange(complete_, {});
}

void SnapshotReceiver::Installed() {
  ++links_.counters->snapshots_installed;
  LOG(INFO) << "snapshot.installed from=" << from_ << " index=" << info_.meta.last.index;
  Ack(SnapshotState::kInstalled);
  Close();
}

void SnapshotReceiver::PeerDown(raft::MemberId peer) {
  if (from_ != peer) {
    return;
  }
  from_ = 0;
  if (phase_ == Phase::kOpening || phase_ == Phase::kReceiving) {
    Close();
  }
}

void SnapshotReceiver::Refuse(const std::string& why) {
  LOG(WARNING) << "snapshot.refused from=" << from_ << " index=" << info_.meta.last.index
               << " reason=" << why;
  Ack(SnapshotState::kRefused, why);
  Close();
}

void SnapshotReceiver::Close() {
  ++run_;
  phase_ = Phase::kIdle;
  appending_ = 0;
  position_.clear();
  if (storing_ != nullptr) {
    links_.background->Run<bool>(
        [storing = std::exchange(storing_, nullptr)] {
          storing->receiver.reset();
          return true;
        },
        [](bool) {});
  }
}

void SnapshotReceiver::Ack(SnapshotState state, std::string message) {
  if (from_ != 0) {
    links_.transport->Send(
        from_, SnapshotAck{.transfer = transfer_,
                           .state = state,
                           .position = state == SnapshotState::kStored ? position_ : std::string(),
                           .message = std::move(message)});
  }
}

}  // namespace conclave::server
