// The state on disk: loaded at start, checkpointed while serving, sent to members too far behind,
// replaced by what a leader sends, and compared with its digest now and then.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/digest_bytes.h"
#include "coord/server/server_core.h"
#include "coord/tree/state_loader.h"

namespace conclave::server {
namespace {

// Rows compared with the digest in one turn: a fraction of a millisecond.
constexpr std::size_t kScrubRowsMax = 256;

constexpr std::string_view kRemedy =
    "stop this member, empty its --data_dir, start it with --join and re-admit it with `conclave "
    "member replace`";

}  // namespace

// What the newest checkpoint holds, or the state of a member that has applied nothing. Everything
// is verified: rows, their number, and the digest of what they make (rule 15).
tl::expected<Server::Core::Loaded, std::string> Server::Core::LoadState() {
  persist::SnapshotOptions options;
  options.env = seams_.env;
  options.disk = seams_.disk;
  options.storage.background = seams_.storage_background;
  options.data_dir = options_.data_dir;
  options.delta_bytes_max = options_.checkpoint_batch_bytes;
  auto generations = persist::SnapshotGenerations::Open(std::move(options), store_->generation());
  if (!generations) {
    return tl::unexpected(generations.error().message);
  }
  generations_ = std::move(*generations);
  Loaded loaded;
  const auto current = generations_->current();
  if (current == nullptr) {
    loaded.machine = std::make_unique<tree::StateMachine>();
    loaded.restored = store_->TakeRestored();
    if (loaded.restored.start.index != 0) {
      return tl::unexpected(
          fmt::format("the log in {} begins after entry {} and there is no "
                      "checkpoint of what lies before: {}",
                      options_.data_dir, loaded.restored.start.index, kRemedy));
    }
    return loaded;
  }
  const persist::SnapshotInfo info = current->info();
  const auto digest = DigestFromBytes(info.digest);
  tree::StateLoader loader;
  const auto read = current->Load(
      [&loader](std::string_view key, std::string_view value) -> tl::expected<void, std::string> {
        if (!loader.Add(key, value)) {
          return tl::unexpected(loader.error()->message);
        }
        return {};
      });
  if (!read) {
    return tl::unexpected(read.error().message);
  }
  auto machine = loader.Finish(static_cast<std::int64_t>(info.meta.last.index),
                               digest.value_or(tree::Digest{}));
  if (!machine) {
    return tl::unexpected(fmt::format("the checkpoint at entry {} in {} is damaged: {}; {}",
                                      info.meta.last.index, options_.data_dir,
                                      machine.error().message, kRemedy));
  }
  auto restored = store_->TakeRestored(info.meta);
  if (!restored) {
    return tl::unexpected(restored.error().message);
  }
  loaded.machine = std::move(*machine);
  loaded.restored = std::move(*restored);
  loaded.meta = info.meta;
  return loaded;
}

void Server::Core::BuildSnapshots(const LogTail& tail, raft::Index checkpoint) {
  const auto fatal = [this](std::string_view reason) { Fatal(reason); };
  const auto wake = [this] { SchedulePump(); };
  // LevelDB may hold rows twice until it has merged its files.
  const auto has_room = [this](std::uint64_t bytes) {
    return free_bytes_ / 2 >= bytes && free_bytes_ - 2 * bytes >= StarvingBytes(options_);
  };
  checkpointer_ = std::make_unique<Checkpointer>(
      options_,
      Checkpointer::Links{.background = &background_,
                          .generations = generations_.get(),
                          .applier = applier_.get(),
                          .driver = driver_.get(),
                          .metrics = seams_.metrics,
                          .counters = &counters_,
                          .now_ns = [this] { return NowNs(); },
                          .log_bytes = [this] { return store_->log_bytes(); },
                          .reclaim = [store = store_.get()] { store->Reclaim(); },
                          .has_room = has_room,
                          .trusted = [this] { return broken_.empty() && split_.empty(); },
                          .pinned = [this] { return sender_->pinned(); },
                          .wake = wake,
                          .fatal = fatal},
      tail, checkpoint);
  sender_ = std::make_unique<SnapshotSender>(
      options_,
      SnapshotSender::Links{.background = &background_,
                            .generations = generations_.get(),
                            .transport = seams_.transport,
                            .counters = &counters_,
                            .term = [this] { return driver_->raft().currentTerm(); },
                            .sent =
                                [this](raft::MemberId peer, raft::EntryId last) {
                                  driver_->raft().SnapshotSent(peer, last);
                                  SchedulePump();
                                },
                            .failed =
                                [this](raft::MemberId peer) {
                                  driver_->raft().SnapshotFailed(peer);
                                  SchedulePump();
                                },
                            .fatal = fatal},
      seams_.random->Next());
  receiver_ = std::make_unique<SnapshotReceiver>(SnapshotReceiver::Links{
      .background = &background_,
      .generations = generations_.get(),
      .transport = seams_.transport,
      .raft = &driver_->raft(),
      .counters = &counters_,
      .refusal = [this] { return RefuseSnapshot(); },
      .has_room = has_room,
      .hold_checkpoints =
          [this](std::function<void()> idle) { checkpointer_->Hold(std::move(idle)); },
      .release_checkpoints = [this] { checkpointer_->Release(); },
      .wake = wake,
      .fatal = fatal});
}

std::string Server::Core::RefuseSnapshot() const {
  if (stopping_) {
    return "this member is stopping";
  }
  if (!broken_.empty()) {
    return broken_;
  }
  return Starving() ? no_room_reason_ : std::string();
}

// A leader whose state is in doubt hands it to nobody.
void Server::Core::SendSnapshot(raft::MemberId peer) {
  if (stopping_ || !broken_.empty() || !split_.empty() || driver_->muted()) {
    driver_->raft().SnapshotFailed(peer);
    return;
  }
  sender_->Begin(peer, NowNs());
}

std::uint64_t Server::Core::Installing(const raft::SnapshotMeta& /*meta*/) {
  applier_->Hold();
  return receiver_->generation();
}

void Server::Core::Installed(const raft::SnapshotMeta& meta) {
  SnapshotReceiver::Complete complete = receiver_->TakeInstalled();
  auto old = std::make_shared<std::unique_ptr<tree::StateMachine>>(
      applier_->Replace(std::move(complete.machine), meta));
  // The old state may take long to be destroyed, and so may the old generation.
  background_.Run<bool>(
      [generations = generations_.get(), store = std::move(complete.store), old] {
        generations->Switch(store);
        old->reset();
        return true;
      },
      [](bool) {});
  checkpointer_->Installed(meta.last.index);
  Resync();
  AfterApply();
  receiver_->Installed();
  SchedulePump();
}

// The state has jumped: whoever followed it entry by entry is told by what it is now.
void Server::Core::Resync() {
  const tree::Sessions& sessions = applier_->machine().sessions();
  const auto alive = [&sessions](std::int64_t session) {
    return sessions.Find(session) != nullptr;
  };
  reads_->SetSessions(&sessions);
  // Before any answer, as with entries (rule 1).
  homes_->Jump(static_cast<std::int64_t>(applier_->applied()), alive,
               MakeFailure(tree::Code::kSessionExpired, "the session has ended"));
  touch_.Keep(alive);
  CountTimeouts();
  writes_->OnInstalled(sessions);
}

void Server::Core::CountTimeouts() {
  timeouts_.clear();
  for (const auto& [id, session] : applier_->machine().sessions().all()) {
    ++timeouts_[session.timeout_ms];
  }
}

// A transfer to a peer that has caught up by entries is of no more use.
void Server::Core::EndNeedlessTransfers() {
  if (sender_->running() == 0) {
    return;
  }
  for (const raft::PeerStatus& peer : driver_->raft().status().peers) {
    if (!peer.snapshotting) {
      sender_->End(peer.id, "the peer has caught up by entries");
    }
  }
}

// A piece of the state in memory is compared with its digest. The pace is such that all of it has
// had its turn once in --scrub_pass_ms.
void Server::Core::Scrub(std::int64_t now_ns) {
  if (options_.scrub_pass_ms == 0 || !broken_.empty()) {
    return;
  }
  tree::StateMachine& machine = applier_->mutable_machine();
  const double rows = static_cast<double>(machine.tree().znode_count()) + 1;
  const double per_ns = rows / static_cast<double>(options_.scrub_pass_ms * kNsPerMs);
  scrub_due_ += per_ns * static_cast<double>(now_ns - std::exchange(scrubbed_ns_, now_ns));
  if (scrub_due_ < 1) {
    return;
  }
  const auto slice = std::min(static_cast<std::size_t>(scrub_due_), kScrubRowsMax);
  scrub_due_ = std::min(scrub_due_ - static_cast<double>(slice), rows);
  const tree::ScrubResult result = machine.ScrubSlice(slice);
  if (result.state == tree::ScrubResult::State::kMismatch) {
    Break(
        fmt::format("memory of this member has rotted: {}; restart it, and if its checkpoint is "
                    "damaged too, {}",
                    result.message, kRemedy));
  } else if (result.state == tree::ScrubResult::State::kClean) {
    ++counters_.scrubs;
  }
}

void Server::Core::Checkpoint(std::function<void()> done) {
  checkpointer_->Request(std::move(done));
}

}  // namespace conclave::server
