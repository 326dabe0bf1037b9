#include "coord/doors/client_door.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <conclave_idl/Operator.h>
#include <fmt/format.h>

#include "coord/doors/client_codec.h"
#include "coord/doors/event_encoder.h"
#include "coord/doors/member_codec.h"
#include "coord/doors/outbound.h"
#include "coord/doors/peer_codec.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;
using apache::thrift::TDelayedException;

constexpr std::int64_t kNsPerMs = 1'000'000;

using Throw = std::function<void(TDelayedException*)>;

template <typename Wire>
using Return = std::function<void(const Wire&)>;

void ThrowError(const Throw& raise, idl::CoordError error) {
  raise(TDelayedException::delayException(error));
}

void RefuseRequest(const Throw& raise, const BadRequest& why) {
  idl::CoordError error;
  error.code = idl::ErrorCode::INVALID_ARGUMENT;
  error.message = why;
  ThrowError(raise, std::move(error));
}

std::int32_t Clamp32(std::int64_t value) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, INT32_MIN, INT32_MAX));
}

// Everything that a service's tasks need after the service itself is gone.
struct Shared {
  const std::unique_ptr<server::Server>* server;
  wire::Scheduler* core;
  wire::Scheduler* io;
  std::shared_ptr<Outbound> outbound;    // to the loop `io`
  std::shared_ptr<EventEncoder> events;  // of that loop
  ClientDoorOptions options;
};

// The handler of all connections of a loop: generated processors are large, and making one for
// each connection would be most of what an idle one costs.
class Handler final : public idl::OperatorCobSvIf {
 public:
  explicit Handler(Shared shared) : shared_(std::move(shared)) {}

  // Whose the call is that is dispatched next. Read by its method only, not by what follows it.
  void SetCaller(const wire::Caller& caller) { caller_ = &caller; }

  void openSession(Return<idl::OpenResult> done, Throw raise,
                   const idl::OpenRequest& request) override {
    const auto nonce = Bytes16FromWire(request.nonce, "request.nonce");
    if (!nonce) {
      RefuseRequest(raise, nonce.error());
      return;
    }
    server::OpenSessionRequest open;
    open.timeout_ms = request.timeoutMs;
    open.nonce = *nonce;
    open.identity = caller_->address();
    ToCore([open = std::move(open), back = Back<server::OpenSessionReply, idl::OpenResult>(
                                        std::move(done), std::move(raise),
                                        [](server::OpenSessionReply reply, idl::OpenResult& wire) {
                                          wire.session = reply.session;
                                          wire.secret = Bytes16ToWire(reply.secret);
                                          wire.timeoutMs = Clamp32(reply.timeout_ms);
                                        })](server::Server& server) mutable {
      server.OpenSession(std::move(open), std::move(back));
    });
  }

  void closeSession(Return<idl::CloseResult> done, Throw raise, const idl::Ctx& ctx) override {
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller),
              back = Back<server::Nothing, idl::CloseResult>(std::move(done), raise, Ignore{})](
                 server::Server& server) mutable {
        server.CloseSession(std::move(caller), std::move(back));
      });
    });
  }

  void takeOver(Return<idl::TakeOverResult> done, Throw raise, const idl::Ctx& ctx) override {
    Write<idl::TakeOverResult>(std::move(done), raise, ctx, tree::TakeOver{},
                               [](server::WriteReply reply, idl::TakeOverResult& wire) {
                                 wire.nextSeq = reply.expected_seq;
                               });
  }

  void create(Return<idl::CreateResult> done, Throw raise, const idl::Ctx& ctx,
              const idl::CreateRequest& request) override {
    Write<idl::CreateResult>(std::move(done), raise, ctx, CreateFromWire(request),
                             [](server::WriteReply reply, idl::CreateResult& wire) {
                               wire.path = std::move(reply.path);
                               wire.stat = StatToWire(reply.stat);
                             });
  }

  void setData(Return<idl::SetDataResult> done, Throw raise, const idl::Ctx& ctx,
               const idl::SetDataRequest& request) override {
    Write<idl::SetDataResult>(std::move(done), raise, ctx, SetDataFromWire(request),
                              [](server::WriteReply reply, idl::SetDataResult& wire) {
                                wire.stat = StatToWire(reply.stat);
                              });
  }

  void removeNode(Return<idl::RemoveResult> done, Throw raise, const idl::Ctx& ctx,
                  const idl::RemoveRequest& request) override {
    Write<idl::RemoveResult>(std::move(done), raise, ctx, RemoveFromWire(request), Ignore{});
  }

  void multi(Return<idl::MultiResult> done, Throw raise, const idl::Ctx& ctx,
             const idl::MultiRequest& request) override {
    auto multi = MultiFromWire(request);
    if (!multi) {
      RefuseRequest(raise, multi.error());
      return;
    }
    Write<idl::MultiResult>(std::move(done), raise, ctx, std::move(*multi),
                            [](server::WriteReply reply, idl::MultiResult& wire) {
                              idl::MultiResult result = MultiToWire(reply);
                              wire.committed = result.committed;
                              wire.results = std::move(result.results);
                            });
  }

  void getData(Return<idl::GetResult> done, Throw raise, const idl::Ctx& ctx,
               const idl::GetRequest& request) override {
    Read<idl::GetResult>(std::move(done), raise, ctx, server::GetRequest{request.path}, request,
                         [](server::ReadReply reply, idl::GetResult& wire) {
                           if (reply.value && reply.value->has_data()) {
                             wire.__isset.data = true;
                             wire.data.assign(reply.value->data());
                           }
                           wire.stat = StatToWire(reply.stat);
                         });
  }

  void exists(Return<idl::ExistsResult> done, Throw raise, const idl::Ctx& ctx,
              const idl::ExistsRequest& request) override {
    Read<idl::ExistsResult>(std::move(done), raise, ctx, server::ExistsRequest{request.path},
                            request, [](server::ReadReply reply, idl::ExistsResult& wire) {
                              if (reply.exists) {
                                wire.__set_stat(StatToWire(reply.stat));
                              }
                            });
  }

  void children(Return<idl::ChildrenResult> done, Throw raise, const idl::Ctx& ctx,
                const idl::ChildrenRequest& request) override {
    constexpr std::int32_t kCountMax = 10'000;
    if (request.countMax < 0 || request.countMax > kCountMax || request.bytesMax < 0) {
      RefuseRequest(raise, fmt::format("countMax: {} and bytesMax: {} must not be negative, and "
                                       "countMax at most {}",
                                       request.countMax, request.bytesMax, kCountMax));
      return;
    }
    server::ChildrenRequest op;
    op.path = request.path;
    op.after = request.after;
    op.count_max = static_cast<std::size_t>(request.countMax == 0 ? kCountMax : request.countMax);
    op.bytes_max = static_cast<std::size_t>(request.bytesMax);
    Read<idl::ChildrenResult>(std::move(done), raise, ctx, std::move(op), request,
                              [](server::ReadReply reply, idl::ChildrenResult& wire) {
                                wire.names = std::move(reply.names);
                                wire.stat = StatToWire(reply.stat);
                                wire.more = reply.more;
                              });
  }

  void addWatch(Return<idl::AddWatchResult> done, Throw raise, const idl::Ctx& ctx,
                const idl::AddWatchRequest& request) override {
    auto watch = WatchFromWire(request.watch);
    if (!watch) {
      RefuseRequest(raise, watch.error());
      return;
    }
    server::AddWatchRequest add;
    add.watch = std::move(*watch);
    if (request.__isset.since) {
      add.since = CursorFromWire(request.since);
    }
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller), add = std::move(add),
              back = Back<server::AddWatchReply, idl::AddWatchResult>(
                  std::move(done), raise, Ignore{})](server::Server& server) mutable {
        server.AddWatch(std::move(caller), std::move(add), std::move(back));
      });
    });
  }

  void removeWatch(Return<idl::RemoveWatchResult> done, Throw raise, const idl::Ctx& ctx,
                   const idl::RemoveWatchRequest& request) override {
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller), id = request.watchId,
              back = Back<server::RemoveWatchReply, idl::RemoveWatchResult>(
                  std::move(done), raise,
                  [](server::RemoveWatchReply reply, idl::RemoveWatchResult& wire) {
                    wire.removed = reply.removed;
                  })](server::Server& server) mutable {
        server.RemoveWatch(std::move(caller), id, std::move(back));
      });
    });
  }

  void resumeWatches(Return<idl::ResumeWatchesResult> done, Throw raise, const idl::Ctx& ctx,
                     const idl::ResumeWatchesRequest& request) override {
    server::ResumeWatchesRequest resume;
    resume.cursor = CursorFromWire(request.cursor);
    resume.replace_all = request.replaceAll;
    resume.watches.reserve(request.watches.size());
    for (const idl::WatchSpec& spec : request.watches) {
      auto watch = WatchFromWire(spec);
      if (!watch) {
        RefuseRequest(raise, fmt::format("watches[{}]: {}", resume.watches.size(), watch.error()));
        return;
      }
      resume.watches.push_back(
          {std::move(*watch), spec.__isset.since ? CursorFromWire(spec.since) : resume.cursor});
    }
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller), resume = std::move(resume),
              back = Back<server::ResumeWatchesReply, idl::ResumeWatchesResult>(
                  std::move(done), raise,
                  [](server::ResumeWatchesReply reply, idl::ResumeWatchesResult& wire) {
                    wire.elsewhere = std::move(reply.elsewhere);
                  })](server::Server& server) mutable {
        server.ResumeWatches(std::move(caller), std::move(resume), std::move(back));
      });
    });
  }

  void poll(Return<idl::PollResult> done, Throw raise, const idl::Ctx& ctx,
            const idl::PollRequest& request) override {
    if (request.waitMs < 0 || request.eventsMax < 0 || request.bytesMax < 0) {
      RefuseRequest(raise, fmt::format("waitMs: {}, eventsMax: {} and bytesMax: {} must not be "
                                       "negative",
                                       request.waitMs, request.eventsMax, request.bytesMax));
      return;
    }
    server::PollRequest poll;
    poll.cursor = CursorFromWire(request.cursor);
    poll.wait_ms = request.waitMs;
    poll.events_max = static_cast<std::size_t>(request.eventsMax);
    poll.bytes_max = static_cast<std::size_t>(request.bytesMax);
    poll.wake_zxid = request.wakeZxid;
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller), poll,
              back = Back<server::PollReply, idl::PollResult>(
                  std::move(done), raise, [](server::PollReply reply, idl::PollResult& wire) {
                    wire.more = reply.more;
                    wire.elsewhere = std::move(reply.elsewhere);
                    wire.timeoutMs = Clamp32(reply.timeout_ms);
                  })](server::Server& server) mutable {
        server.Poll(std::move(caller), poll, std::move(back));
      });
    });
  }

  void sync(Return<idl::SyncResult> done, Throw raise, const idl::Ctx& ctx,
            const idl::SyncRequest& /*request*/) override {
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore(
          [caller = std::move(caller),
           back = Back<server::Nothing, idl::SyncResult>(std::move(done), raise, Ignore{})](
              server::Server& server) mutable { server.Sync(std::move(caller), std::move(back)); });
    });
  }

  void ping(Return<idl::PingResult> done, Throw raise, const idl::Ctx& ctx) override {
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller),
              back = Back<server::PingReply, idl::PingResult>(
                  std::move(done), raise, [](server::PingReply reply, idl::PingResult& wire) {
                    wire.timeoutMs = Clamp32(reply.timeout_ms);
                  })](server::Server& server) mutable {
        server.Ping(std::move(caller), std::move(back));
      });
    });
  }

  void clusterStatus(Return<idl::ClusterStatusResult> done, Throw /*raise*/,
                     const idl::ClusterStatusRequest& /*request*/) override {
    WithStatus([done = std::move(done)](const server::Status& status, idl::Head head) {
      idl::ClusterStatusResult wire;
      wire.head = std::move(head);
      wire.clusterName = status.cluster_name;
      wire.leader = static_cast<std::int64_t>(status.leader);
      wire.featureLevel = static_cast<std::int32_t>(status.feature_level);
      wire.members.reserve(status.members.size());
      for (const server::MemberStatus& member : status.members) {
        wire.members.push_back(MemberToWire(status, member));
      }
      done(wire);
    });
  }

  void memberStatus(Return<idl::MemberStatusResult> done, Throw /*raise*/,
                    const idl::MemberStatusRequest& /*request*/) override {
    WithStatus(
        [done = std::move(done), shared = shared_](const server::Status& status, idl::Head head) {
          idl::MemberStatusResult wire;
          wire.head = std::move(head);
          for (const server::MemberStatus& member : status.members) {
            if (member.self) {
              wire.member = MemberToWire(status, member);
            }
          }
          wire.clusterName = status.cluster_name;
          wire.incarnation = static_cast<std::int64_t>(status.incarnation);
          wire.logFirstIndex = status.last_index == 0 ? 0 : 1;  // nothing is compacted yet
          wire.logLastIndex = static_cast<std::int64_t>(status.last_index);
          wire.logBytes = static_cast<std::int64_t>(status.log_bytes);
          wire.logBytesMax = static_cast<std::int64_t>(status.log_bytes_max);
          wire.znodes = static_cast<std::int64_t>(status.znodes);
          wire.sessions = static_cast<std::int64_t>(status.sessions);
          wire.watches = static_cast<std::int64_t>(status.watches);
          wire.digest = static_cast<std::int64_t>(status.digest);
          wire.featureLevel = static_cast<std::int32_t>(status.feature_level);
          wire.uptimeMs = (shared.io->NowNs() - shared.options.started_ns) / kNsPerMs;
          wire.connections = static_cast<std::int64_t>(shared.options.connections());
          done(wire);
        });
  }

  void listMembers(Return<idl::ListMembersResult> done, Throw raise,
                   const idl::ListMembersRequest& /*request*/) override {
    ToCore([back = Back<server::Status, idl::ListMembersResult>(
                std::move(done), raise,
                [](const server::Status& status, idl::ListMembersResult& wire) {
                  wire.configurationIndex = static_cast<std::int64_t>(status.configuration_index);
                  wire.leader = static_cast<std::int64_t>(status.leader);
                  wire.commitIndex = static_cast<std::int64_t>(status.commit_index);
                  wire.members.reserve(status.members.size());
                  for (const server::MemberStatus& member : status.members) {
                    wire.members.push_back(MemberToWire(status, member));
                  }
                })](server::Server& server) mutable { server.ListMembers(std::move(back)); });
  }

  void changeMember(Return<idl::ChangeMemberResult> done, Throw raise,
                    const idl::ChangeMemberRequest& request) override {
    ChangeMembers<idl::ChangeMemberResult>(
        std::move(done), raise, ChangeFromWire(request), request.timeoutMs,
        [](const server::MemberReply& reply, idl::ChangeMemberResult& wire) {
          wire.configurationIndex = static_cast<std::int64_t>(reply.configuration_index);
          wire.changed = reply.changed;
        });
  }

  void transferLeader(Return<idl::TransferLeaderResult> done, Throw raise,
                      const idl::TransferLeaderRequest& request) override {
    ChangeMembers<idl::TransferLeaderResult>(
        std::move(done), raise, TransferFromWire(request), request.timeoutMs,
        [](const server::MemberReply& reply, idl::TransferLeaderResult& wire) {
          wire.leader = static_cast<std::int64_t>(reply.leader);
          wire.changed = reply.changed;
        });
  }

 private:
  // For results that are nothing but their head.
  struct Ignore {
    template <typename Reply, typename Wire>
    void operator()(const Reply& /*reply*/, Wire& /*wire*/) const {}
  };

  // Runs `task` with the server, on the core loop: at once if this is it.
  template <typename Task>
  void ToCore(Task task) {
    if (shared_.io == shared_.core) {
      task(**shared_.server);
      return;
    }
    shared_.core->Post(
        [server = shared_.server, task = std::move(task)]() mutable { task(**server); });
  }

  // The server's callback for a call: fills the result from the reply, or throws the error, on the
  // connection's loop.
  template <typename Reply, typename Wire, typename Fill>
  server::Callback<Reply> Back(Return<Wire> done, Throw raise, Fill fill) const {
    auto finish = [done = std::move(done), raise = std::move(raise), fill = std::move(fill),
                   encoder = shared_.events](const server::ReplyHead& head,
                                             server::Answer<Reply> answer) {
      const EventEncoder::List events(*encoder, head.events);
      const wire::ListSplice splice(head.events.empty() ? nullptr : &events);
      if (!answer) {
        ThrowError(raise, ErrorToWire(head, answer.error()));
        return;
      }
      Wire wire;
      wire.head = HeadToWire(head);
      fill(std::move(*answer), wire);
      done(wire);
    };
    if (shared_.io == shared_.core) {
      return finish;
    }
    return [outbound = shared_.outbound, finish = std::move(finish)](
               server::ReplyHead head, server::Answer<Reply> answer) mutable {
      outbound->Send([finish = std::move(finish), head = std::move(head),
                      answer = std::move(answer)]() mutable { finish(head, std::move(answer)); });
    };
  }

  template <typename Next>
  void WithCaller(const idl::Ctx& ctx, const Throw& raise, Next next) {
    const std::int64_t waited_ms = (shared_.io->NowNs() - caller_->received_ns()) / kNsPerMs;
    auto caller = CallerFromWire(ctx, caller_->address(), waited_ms);
    if (!caller) {
      RefuseRequest(raise, caller.error());
      return;
    }
    next(std::move(*caller));
  }

  template <typename Wire, typename Fill>
  void Write(Return<Wire> done, const Throw& raise, const idl::Ctx& ctx, tree::Command command,
             Fill fill) {
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller), command = std::move(command),
              back = Back<server::WriteReply, Wire>(std::move(done), raise, std::move(fill))](
                 server::Server& server) mutable {
        server.Write(std::move(caller), std::move(command), std::move(back));
      });
    });
  }

  // `request`: the wire's, for its mode and watch.
  template <typename Wire, typename Request, typename Op, typename Fill>
  void Read(Return<Wire> done, const Throw& raise, const idl::Ctx& ctx, Op op,
            const Request& request, Fill fill) {
    server::ReadRequest read;
    read.op = std::move(op);
    const auto mode = ReadModeFromWire(request.mode);
    if (!mode) {
      RefuseRequest(raise, mode.error());
      return;
    }
    read.mode = *mode;
    if (request.__isset.watch) {
      auto watch = ReadWatchFromWire(request.watch);
      if (!watch) {
        RefuseRequest(raise, watch.error());
        return;
      }
      read.watch = std::move(*watch);
    }
    WithCaller(ctx, raise, [&](server::Caller caller) {
      ToCore([caller = std::move(caller), read = std::move(read),
              back = Back<server::ReadReply, Wire>(std::move(done), raise, std::move(fill))](
                 server::Server& server) mutable {
        server.Read(std::move(caller), std::move(read), std::move(back));
      });
    });
  }

  template <typename Wire, typename Fill>
  void ChangeMembers(Return<Wire> done, const Throw& raise,
                     tl::expected<server::MemberCommand, std::string> command,
                     std::int32_t timeout_ms, Fill fill) {
    if (!command) {
      RefuseRequest(raise, command.error());
      return;
    }
    ToCore([identity = caller_->address(), command = std::move(*command), timeout_ms,
            back = Back<server::MemberReply, Wire>(std::move(done), raise, std::move(fill))](
               server::Server& server) mutable {
      server.ChangeMembers(std::move(identity), std::move(command), timeout_ms, std::move(back));
    });
  }

  // Takes a status on the core loop and hands it to `next` on the connection's. Needs no session.
  template <typename Next>
  void WithStatus(Next next) {
    ToCore([next = std::move(next), shared = shared_](server::Server& server) mutable {
      server::Status status = server.status();
      server::ReplyHead head;
      head.member = status.id;
      head.zxid = static_cast<std::int64_t>(status.applied_index);
      head.cluster = ClusterIdFromHex(status.cluster_id).value_or(raft::ClusterId{});
      auto finish = [next = std::move(next), status = std::move(status),
                     head = HeadToWire(head)]() mutable { next(status, std::move(head)); };
      if (shared.io == shared.core) {
        finish();
      } else {
        shared.io->Post(std::move(finish));
      }
    });
  }

  const Shared shared_;
  const wire::Caller* caller_ = nullptr;
};

// The generated code around the handler.
struct Common {
  explicit Common(Shared shared)
      : handler(std::make_shared<Handler>(std::move(shared))),
        processor(std::make_unique<idl::OperatorAsyncProcessor>(handler)) {}

  const std::shared_ptr<Handler> handler;
  const std::unique_ptr<apache::thrift::async::TAsyncDispatchProcessor> processor;
};

class ConnectionProcessor final : public apache::thrift::async::TAsyncDispatchProcessor {
 public:
  ConnectionProcessor(std::shared_ptr<Common> common, const wire::Caller& caller)
      : common_(std::move(common)), caller_(caller) {}

  void dispatchCall(std::function<void(bool ok)> done, apache::thrift::protocol::TProtocol* in,
                    apache::thrift::protocol::TProtocol* out, const std::string& method,
                    std::int32_t seqid) override {
    common_->handler->SetCaller(caller_);
    common_->processor->dispatchCall(std::move(done), in, out, method, seqid);
  }

 private:
  const std::shared_ptr<Common> common_;
  const wire::Caller& caller_;
};

class ClientService final : public wire::Service {
 public:
  ClientService(std::shared_ptr<Common> common, const wire::Caller& caller)
      : processor_(std::make_shared<ConnectionProcessor>(std::move(common), caller)) {}

  std::shared_ptr<apache::thrift::async::TAsyncDispatchProcessor> processor() override {
    return processor_;
  }

 private:
  std::shared_ptr<ConnectionProcessor> processor_;
};

}  // namespace

ClientDoor::ClientDoor(const std::unique_ptr<server::Server>* server, wire::Scheduler* core,
                       ClientDoorOptions options)
    : server_(server), core_(core), options_(std::move(options)) {}

wire::ServiceFactory ClientDoor::FactoryFor(wire::Scheduler* io) const {
  auto common =
      std::make_shared<Common>(Shared{server_, core_, io, std::make_shared<Outbound>(core_, io),
                                      std::make_shared<EventEncoder>(), options_});
  return [common = std::move(common)](wire::Caller& caller) {
    return std::make_unique<ClientService>(common, caller);
  };
}

}  // namespace conclave::doors
