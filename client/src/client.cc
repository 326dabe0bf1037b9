#include "conclave/client.h"

#include <utility>

#include "client/src/blocking.h"
#include "client/src/calls.h"
#include "client/src/core.h"
#include "client/src/runtime.h"

namespace conclave {

using internal::Block;
using internal::CallHow;
using internal::Core;
using internal::Posted;

namespace {

constexpr std::chrono::milliseconds kFarewell{1'000};

CallHow How(const Core& core, std::chrono::milliseconds timeout) {
  return {.deadline = core.DeadlineAfter(timeout), .unbounded = false};
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Start(Options options, const Seams& seams) {
  if (auto valid = options.Validate(); !valid.ok()) {
    return valid.error();
  }
  auto client = std::unique_ptr<Client>(new Client());
  client->core_ = std::make_shared<Core>(std::move(options), seams);
  client->core_->Start();
  return client;
}

Result<std::unique_ptr<Client>> Client::Start(Options options) {
  if (auto valid = options.Validate(); !valid.ok()) {
    return valid.error();
  }
  auto runtime = std::make_unique<internal::Runtime>(options);
  auto client = Start(std::move(options), runtime->seams());
  if (client.ok()) {
    (*client)->runtime_ = std::move(runtime);
  }
  return client;
}

Result<std::unique_ptr<Client>> Client::Connect(Options options) {
  auto client = Start(std::move(options));
  if (!client.ok()) {
    return client;
  }
  Core& core = *(*client)->core_;
  const auto open = Block<void>(core, [&core](internal::OnLoop<void> done) {
    internal::WaitUntilOpen(core, How(core, {}), std::move(done));
  });
  if (!open.ok()) {
    return open.error();
  }
  return client;
}

Client::~Client() {
  if (core_ == nullptr) {
    return;
  }
  if (runtime_ == nullptr) {
    core_->RunOnLoop([core = core_] { core->Shutdown(); });
    return;
  }
  if (!core_->detached() && core_->session_id() != 0 && !core_->over()) {
    internal::Answer<void> closed;
    internal::CloseSession(*core_, {.deadline = core_->DeadlineAfter(kFarewell), .unbounded = true},
                           [&closed](Status status) { closed.Set(std::move(status)); });
    (void)closed.Wait();  // It expires, then.
  }
  runtime_->Await([this] { core_->Shutdown(); });
}

Result<Created> Client::Create(const std::string& path, Data data, CreateMode mode,
                               CallOptions options) {
  return Block<Created>(*core_, [&](internal::OnLoop<Created> done) {
    internal::CreateNode(*core_, Op::Create(path, std::move(data), mode),
                         How(*core_, options.timeout), std::move(done));
  });
}

void Client::CreateAsync(std::string path, Data data, CreateMode mode, CallOptions options,
                         Callback<Created> done) {
  internal::CreateNode(*core_, Op::Create(std::move(path), std::move(data), mode),
                       How(*core_, options.timeout), Posted(*core_, std::move(done)));
}

Result<Node> Client::Get(const std::string& path, ReadOptions options) {
  return Block<Node>(*core_, [&](internal::OnLoop<Node> done) {
    internal::GetNode(*core_, path, options.mode, How(*core_, options.timeout), std::move(done));
  });
}

void Client::GetAsync(std::string path, ReadOptions options, Callback<Node> done) {
  internal::GetNode(*core_, std::move(path), options.mode, How(*core_, options.timeout),
                    Posted(*core_, std::move(done)));
}

Result<Written> Client::Set(const std::string& path, Data data, std::int32_t version,
                            CallOptions options) {
  return Block<Written>(*core_, [&](internal::OnLoop<Written> done) {
    internal::SetNode(*core_, Op::Set(path, std::move(data), version), How(*core_, options.timeout),
                      std::move(done));
  });
}

void Client::SetAsync(std::string path, Data data, std::int32_t version, CallOptions options,
                      Callback<Written> done) {
  internal::SetNode(*core_, Op::Set(std::move(path), std::move(data), version),
                    How(*core_, options.timeout), Posted(*core_, std::move(done)));
}

Result<Written> Client::Remove(const std::string& path, std::int32_t version, CallOptions options) {
  return Block<Written>(*core_, [&](internal::OnLoop<Written> done) {
    internal::RemoveNode(*core_, Op::Remove(path, version), How(*core_, options.timeout),
                         std::move(done));
  });
}

void Client::RemoveAsync(std::string path, std::int32_t version, CallOptions options,
                         Callback<Written> done) {
  internal::RemoveNode(*core_, Op::Remove(std::move(path), version), How(*core_, options.timeout),
                       Posted(*core_, std::move(done)));
}

Result<Existence> Client::Exists(const std::string& path, ReadOptions options) {
  return Block<Existence>(*core_, [&](internal::OnLoop<Existence> done) {
    internal::NodeExists(*core_, path, options.mode, How(*core_, options.timeout), std::move(done));
  });
}

void Client::ExistsAsync(std::string path, ReadOptions options, Callback<Existence> done) {
  internal::NodeExists(*core_, std::move(path), options.mode, How(*core_, options.timeout),
                       Posted(*core_, std::move(done)));
}

Result<ChildList> Client::Children(const std::string& path, ChildrenOptions options) {
  return Block<ChildList>(*core_, [&](internal::OnLoop<ChildList> done) {
    const CallHow how = How(*core_, options.timeout);
    internal::ListChildren(*core_, path, std::move(options), how, std::move(done));
  });
}

void Client::ChildrenAsync(std::string path, ChildrenOptions options, Callback<ChildList> done) {
  const CallHow how = How(*core_, options.timeout);
  internal::ListChildren(*core_, std::move(path), std::move(options), how,
                         Posted(*core_, std::move(done)));
}

Result<MultiResult> Client::Multi(std::vector<Op> ops, CallOptions options) {
  return Block<MultiResult>(*core_, [&](internal::OnLoop<MultiResult> done) {
    internal::RunMulti(*core_, std::move(ops), How(*core_, options.timeout), std::move(done));
  });
}

void Client::MultiAsync(std::vector<Op> ops, CallOptions options, Callback<MultiResult> done) {
  internal::RunMulti(*core_, std::move(ops), How(*core_, options.timeout),
                     Posted(*core_, std::move(done)));
}

Status Client::CreatePath(const std::string& path, CallOptions options) {
  return Block<void>(*core_, [&](internal::OnLoop<void> done) {
    internal::CreatePath(*core_, path, How(*core_, options.timeout), std::move(done));
  });
}

void Client::CreatePathAsync(std::string path, CallOptions options, Callback<void> done) {
  internal::CreatePath(*core_, std::move(path), How(*core_, options.timeout),
                       Posted(*core_, std::move(done)));
}

Result<std::int64_t> Client::Sync(CallOptions options) {
  return Block<std::int64_t>(*core_, [&](internal::OnLoop<std::int64_t> done) {
    internal::SyncMember(*core_, How(*core_, options.timeout), std::move(done));
  });
}

void Client::SyncAsync(CallOptions options, Callback<std::int64_t> done) {
  internal::SyncMember(*core_, How(*core_, options.timeout), Posted(*core_, std::move(done)));
}

namespace {

internal::WatchTable::Watch MakeWatch(std::string path, WatchMode mode, WatchCallback on_event,
                                      const WatchOptions& options) {
  internal::WatchTable::Watch watch;
  watch.path = std::move(path);
  watch.mode = mode;
  watch.with_values = options.with_values;
  watch.from = options.from;
  watch.slot = std::make_shared<internal::WatchSlot>();
  watch.slot->on_event = std::move(on_event);
  return watch;
}

}  // namespace

Result<WatchId> Client::Watch(const std::string& path, WatchMode mode, WatchCallback on_event,
                              WatchOptions options) {
  WatchId id = 0;
  const auto registered = Block<std::int64_t>(*core_, [&](internal::OnLoop<std::int64_t> done) {
    id = core_->AddWatch(MakeWatch(path, mode, std::move(on_event), options),
                         core_->DeadlineAfter(options.timeout), std::move(done));
  });
  if (!registered.ok()) {
    return registered.error();
  }
  return id;
}

WatchId Client::WatchAsync(std::string path, WatchMode mode, WatchCallback on_event,
                           WatchOptions options, Callback<std::int64_t> done) {
  return core_->AddWatch(MakeWatch(std::move(path), mode, std::move(on_event), options),
                         core_->DeadlineAfter(options.timeout), Posted(*core_, std::move(done)));
}

void Client::Unwatch(WatchId id) { core_->Unwatch(id); }

Result<ClusterStatus> Client::GetClusterStatus(CallOptions options) {
  return Block<ClusterStatus>(*core_, [&](internal::OnLoop<ClusterStatus> done) {
    internal::ReadClusterStatus(*core_, How(*core_, options.timeout), std::move(done));
  });
}

void Client::GetClusterStatusAsync(CallOptions options, Callback<ClusterStatus> done) {
  internal::ReadClusterStatus(*core_, How(*core_, options.timeout),
                              Posted(*core_, std::move(done)));
}

Result<MemberList> Client::ListMembers(CallOptions options) {
  return Block<MemberList>(*core_, [&](internal::OnLoop<MemberList> done) {
    internal::ReadMembers(*core_, How(*core_, options.timeout), std::move(done));
  });
}

Result<MemberChanged> Client::ChangeMember(const MemberChange& change, CallOptions options) {
  return Block<MemberChanged>(*core_, [&](internal::OnLoop<MemberChanged> done) {
    internal::ChangeMembers(*core_, change, How(*core_, options.timeout), std::move(done));
  });
}

Result<LeaderMoved> Client::TransferLeader(std::uint64_t to, CallOptions options) {
  return Block<LeaderMoved>(*core_, [&](internal::OnLoop<LeaderMoved> done) {
    internal::MoveLeader(*core_, to, How(*core_, options.timeout), std::move(done));
  });
}

SessionState Client::state() const { return core_->state(); }

std::int64_t Client::session_id() const { return core_->session_id(); }

BootTime Client::valid_until() const { return core_->valid_until(); }

std::chrono::milliseconds Client::session_timeout() const {
  return core_->session_id() == 0 ? std::chrono::milliseconds(0) : core_->session_timeout();
}

Result<SavedSession> Client::Save() const { return core_->Save(); }

void Client::Detach() { core_->Detach(); }

Status Client::Close(CallOptions options) {
  return Block<void>(*core_, [&](internal::OnLoop<void> done) {
    internal::CloseSession(*core_, How(*core_, options.timeout), std::move(done));
  });
}

void Client::CloseAsync(CallOptions options, Callback<void> done) {
  internal::CloseSession(*core_, How(*core_, options.timeout), Posted(*core_, std::move(done)));
}

}  // namespace conclave
