#include "coord/server/server.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

SessionExpiry::Options ExpiryOptions(const Options& options) {
  const std::int64_t election_ns =
      static_cast<std::int64_t>(options.election_ticks_max) * options.tick_ms * kNsPerMs;
  return {.bucket_ns = options.session_bucket_ms * kNsPerMs,
          .stall_ns = election_ns + options.session_bucket_ms * kNsPerMs,
          .quorum_ns = election_ns,
          .retry_ns = 1'000 * kNsPerMs};
}

}  // namespace

Server::Core::Core(Options options, Seams seams)
    : options_(std::move(options)),
      seams_(std::move(seams)),
      scope_(seams_.core),
      background_(seams_.core, seams_.background),
      expiry_(ExpiryOptions(options_)),
      audit_(options_.id, options_.digest_interval) {
  const auto valid = options_.Validate();
  CHECK(valid) << valid.error();
  CHECK(seams_.core != nullptr && seams_.log != nullptr && seams_.background != nullptr &&
        seams_.transport != nullptr && seams_.env != nullptr && seams_.wall_clock != nullptr &&
        seams_.random != nullptr && seams_.fatal && seams_.free_space)
      << "a seam is missing";
}

Server::Core::~Core() {
  if (started_ && !stopped_) {
    seams_.transport->Stop();
  }
}

tl::expected<void, std::string> Server::Core::Start() {
  CHECK(!started_) << "started twice";
  persist::LogStore::Options log;
  log.env = seams_.env;
  log.disk = seams_.disk;
  log.storage.background = seams_.storage_background;
  log.data_dir = options_.data_dir;
  log.member = options_.id;
  log.cluster_name = options_.cluster_name;
  log.random = seams_.random;
  auto store = persist::LogStore::Open(std::move(log));
  if (!store) {
    return tl::unexpected(store.error().message);
  }
  store_ = std::move(*store);
  if (!store_->repair().file.empty()) {
    LOG(WARNING) << "log.torn_tail_cut file=" << store_->repair().file;
  }

  auto loaded = LoadState();
  if (!loaded) {
    return tl::unexpected(std::move(loaded.error()));
  }
  started_ = true;
  started_ns_ = NowNs();
  scrubbed_ns_ = started_ns_;
  leaderless_since_ns_ = started_ns_;
  applier_ = std::make_unique<Applier>(
      &counters_, seams_.observer,
      Applier::Events{.applied = [this](const raft::Entry& entry,
                                        tree::ApplyResult& result) { OnApplied(entry, result); },
                      .passed =
                          [this](const raft::Entry& entry) {
                            homes_->Apply(static_cast<std::int64_t>(entry.index), {});
                            checkpointer_->NoteApplied(entry.index, raft::EntryBytes(entry));
                          },
                      .fatal = [this](std::string_view reason) { Fatal(reason); }},
      std::move(loaded->machine), loaded->restored.lastApplied);
  if (loaded->meta && seams_.observer != nullptr) {
    seams_.observer->OnInstalled(loaded->meta->last.index, loaded->meta->last.term,
                                 loaded->meta->chain, applier_->digest());
  }
  const LogTail tail(loaded->restored.start.index, loaded->restored.last.index,
                     store_->log_bytes());
  BuildRaft(std::move(loaded->restored));
  BuildPaths();
  BuildSnapshots(tail, applier_->applied());
  CountTimeouts();
  OnConfiguration(driver_->raft().status().configuration);
  WarnOfFlags();
  hello_ = Hello();
  seams_.transport->Start(this, hello_);
  LOG(INFO) << "server.started member=" << options_.id
            << " incarnation=" << store_->identity().incarnation
            << " log_first=" << store_->first_index() << " log_last=" << store_->last_index()
            << " checkpoint=" << applier_->applied();
  CheckRoom(true);
  scope_.PostAfter(options_.tick_ms * kNsPerMs, [this] { Tick(); });
  SchedulePump();
  return {};
}

void Server::Core::BuildRaft(raft::Restored restored) {
  raft::Options options;
  options.id = options_.id;
  options.incarnation = store_->identity().incarnation;
  for (const MemberAddress& member : options_.members) {
    if (options_.join) {
      break;  // it starts no cluster
    }
    options.initial_members.push_back({member.id, member.peer_address});
  }
  options.heartbeat_ticks = options_.heartbeat_ticks;
  options.election_ticks_min = options_.election_ticks_min;
  options.election_ticks_max = options_.election_ticks_max;
  options.append_entries_max = options_.append_entries_max;
  options.inflight_messages_max = options_.inflight_messages_max;
  driver_ = std::make_unique<RaftDriver>(
      std::make_unique<raft::Raft>(std::move(options), std::move(restored), *store_,
                                   *seams_.random),
      seams_.transport, &counters_,
      RaftEvents{
          .role_changed = [this](const raft::RoleChange& change) { OnRoleChanged(change); },
          .configuration_changed =
              [this](const raft::IndexedConfiguration& configuration) {
                OnConfiguration(configuration);
              },
          .committed =
              [this](std::vector<raft::Entry> entries) { applier_->Add(std::move(entries)); },
          .read_ready = [this](const raft::ReadReady& ready) { reads_->OnReadReady(ready); },
          .read_failed = [this](raft::ReadId id) { reads_->OnReadFailed(id); },
          .installing = [this](const raft::SnapshotMeta& meta) { return Installing(meta); },
          .installed = [this](const raft::SnapshotMeta& meta) { Installed(meta); },
          .send_snapshot = [this](raft::MemberId peer) { SendSnapshot(peer); },
          .fatal = [this](std::string_view reason) { Fatal(reason); }});
  driver_->SetLog(std::make_unique<LogWriter>(
      store_.get(), LogWriter::Links{.core = seams_.core,
                                     .log = seams_.log,
                                     .metrics = seams_.metrics,
                                     .written =
                                         [this](const LogWriter::Written& written) {
                                           driver_->OnWritten(written);
                                           SchedulePump();
                                         },
                                     .fatal =
                                         [this, fatal = seams_.fatal](std::string_view reason) {
                                           fatal(reason);
                                           scope_.Post([this] { dead_ = true; });
                                         }}));
}

void Server::Core::BuildPaths() {
  WritePath::Links links;
  links.raft = &driver_->raft();
  links.transport = seams_.transport;
  links.counters = &counters_;
  links.self = options_.id;
  links.forwarded_bytes_max = options_.pending_bytes_max;
  links.connected = [this](raft::MemberId peer) { return Connected(peer); };
  links.stamp = [this] { return Stamp(); };
  links.has_room = [this](const std::string& entry) { return HasRoom(entry); };
  // 2^32 requests of one run never meet those of another.
  writes_ = std::make_unique<WritePath>(std::move(links), seams_.random->Next() << 32U);
  membership_ = std::make_unique<Membership>(
      Membership::Links{.raft = &driver_->raft(),
                        .transport = seams_.transport,
                        .self = options_.id,
                        .connected = [this](raft::MemberId peer) { return Connected(peer); }},
      seams_.random->Next() << 32U);
  reads_ =
      std::make_unique<ReadPath>(&driver_->raft(), &applier_->machine().sessions(), &counters_);
  reads_->OnApplied(static_cast<std::int64_t>(applier_->applied()));

  tree::WatchHubOptions hub;
  hub.window_bytes_max = options_.watch_window_bytes;
  hub.window_changes_max = options_.watch_window_changes;
  hub.session_events_max = options_.session_events_max;
  hub.hash_seed = seams_.random->Next();
  homes_ = std::make_unique<Homes>(
      Homes::Links{.counters = &counters_,
                   .poll_wait_ms_max = options_.poll_wait_ms_max,
                   .head =
                       [this](std::int64_t session) {
                         ReplyHead head = BaseHead(session, NowNs());
                         NameLeader(&head);
                         return head;
                       },
                   .timeout_ms = [this](std::int64_t session) { return SessionTimeoutMs(session); },
                   .elsewhere = [this](tree::Cursor cursor) { return Elsewhere(cursor); },
                   .deliver = [this](Reply reply) { Deliver(std::move(reply)); }},
      hub, static_cast<std::int64_t>(applier_->applied()));
}

PeerHello Server::Core::Hello() const {
  const raft::HardState state = driver_->raft().status().hardState;
  PeerHello hello;
  hello.member = options_.id;
  hello.incarnation = store_->identity().incarnation;
  hello.cluster_name = options_.cluster_name;
  hello.cluster = state.clusterId;
  hello.cluster_started = state.clusterStarted;
  hello.feature_level_max = tree::kFeatureLevelMax;
  const raft::Member* self = configuration_.configuration.Find(options_.id);
  hello.peer_address = AddressOf(options_.id, self == nullptr ? std::string() : self->peer_address);
  hello.configuration_index = configuration_.index;
  return hello;
}

void Server::Core::Fatal(std::string_view reason) {
  if (dead_) {
    return;
  }
  dead_ = true;
  LOG(ERROR) << "server.fatal member=" << options_.id << " reason=" << reason;
  seams_.fatal(reason);
}

void Server::Core::Stop(std::function<void()> done) {
  if (!started_ || stopping_) {
    scope_.Post(std::move(done));
    return;
  }
  LOG(INFO) << "server.stopping member=" << options_.id << " writes=" << writes_->pending()
            << " reads=" << reads_->pending() << " polls=" << homes_->parked();
  stopping_ = true;
  stop_done_ = std::move(done);
  stop_deadline_ns_ = NowNs() + options_.stop_drain_ms * kNsPerMs;
  homes_->DropPolls(MakeFailure(tree::Code::kUnavailable, "this member is stopping"));
  sender_->StopAll();
  membership_->FailAll("this member is stopping");
  if (driver_->raft().is_leader()) {
    const auto handing_over = driver_->raft().TransferLeadership(0);
    LOG(INFO) << "server.hand_over member=" << options_.id
              << " result=" << (handing_over ? "begun" : raft::ToString(handing_over.error()));
  }
  SchedulePump();
}

void Server::Core::ContinueStop() {
  if (HandsOver()) {
    return;
  }
  const bool busy = writes_->pending() != 0 || reads_->pending() != 0 || lanes_.size() != 0;
  if (busy && NowNs() < stop_deadline_ns_) {
    return;
  }
  if (busy) {
    const std::string why = "this member is stopping";
    reads_->FailAll(tree::Code::kUnavailable, why);
    writes_->FailAll(why);
  }
  if (!driver_->writing() && background_.idle() && outbox_.empty() && !stopped_) {
    FinishStop();
  }
}

void Server::Core::FinishStop() {
  stopped_ = true;
  seams_.transport->Stop();
  LOG(INFO) << "server.stopped member=" << options_.id;
  // Not from within a turn: the callback may destroy this.
  scope_.Post(std::move(stop_done_));
}

Server::Server(Options options, Seams seams)
    : core_(std::make_unique<Core>(std::move(options), std::move(seams))) {}

Server::~Server() = default;

tl::expected<void, std::string> Server::Start() { return core_->Start(); }

void Server::Stop(std::function<void()> done) { core_->Stop(std::move(done)); }

void Server::OpenSession(OpenSessionRequest request, Callback<OpenSessionReply> done) {
  core_->OpenSession(std::move(request), std::move(done));
}

void Server::CloseSession(Caller caller, Callback<Nothing> done) {
  core_->CloseSession(std::move(caller), std::move(done));
}

void Server::Ping(Caller caller, Callback<PingReply> done) {
  core_->Ping(std::move(caller), std::move(done));
}

void Server::Write(Caller caller, tree::Command command, Callback<WriteReply> done) {
  core_->Write(std::move(caller), std::move(command), std::move(done));
}

void Server::Read(Caller caller, ReadRequest request, Callback<ReadReply> done) {
  core_->Read(std::move(caller), std::move(request), std::move(done));
}

void Server::Sync(Caller caller, Callback<Nothing> done) {
  core_->Sync(std::move(caller), std::move(done));
}

void Server::AddWatch(Caller caller, AddWatchRequest request, Callback<AddWatchReply> done) {
  core_->AddWatch(std::move(caller), std::move(request), std::move(done));
}

void Server::RemoveWatch(Caller caller, tree::WatchId watch_id, Callback<RemoveWatchReply> done) {
  core_->RemoveWatch(std::move(caller), watch_id, std::move(done));
}

void Server::ResumeWatches(Caller caller, ResumeWatchesRequest request,
                           Callback<ResumeWatchesReply> done) {
  core_->ResumeWatches(std::move(caller), std::move(request), std::move(done));
}

void Server::Poll(Caller caller, PollRequest request, Callback<PollReply> done) {
  core_->Poll(std::move(caller), std::move(request), std::move(done));
}

void Server::ListMembers(Callback<Status> done) { core_->ListMembers(std::move(done)); }

void Server::ChangeMembers(std::string identity, MemberCommand command, std::int64_t timeout_ms,
                           Callback<MemberReply> done) {
  core_->ChangeMembers(identity, std::move(command), timeout_ms, std::move(done));
}

Status Server::status() const { return core_->MakeStatus(); }

bool Server::ready() const { return core_->UnreadyReason().empty(); }

void Server::Checkpoint(std::function<void()> done) { core_->Checkpoint(std::move(done)); }

void Server::InjectRotForTest() { core_->InjectRot(); }

}  // namespace conclave::server
