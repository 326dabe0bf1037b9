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
#include "thrift/wire/method_table.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;
using wire::Answerer;

constexpr std::int64_t kNsPerMs = 1'000'000;

template <typename Wire>
void RefuseRequest(Answerer<Wire>& to, const BadRequest& why) {
  idl::CoordError error;
  error.code = idl::ErrorCode::INVALID_ARGUMENT;
  error.message = why;
  to.Throw(error);
}

std::int32_t Clamp32(std::int64_t value) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, INT32_MIN, INT32_MAX));
}

// Posts what can only be moved.
template <typename Task>
void PostMoved(wire::Scheduler& to, Task task) {
  to.Post([shared = std::make_shared<Task>(std::move(task))] { (*shared)(); });
}

// What the connections of a loop have in common, and their tasks need when they are gone.
struct Shared {
  const std::unique_ptr<server::Server>* server;
  wire::Scheduler* core;
  wire::Scheduler* io;
  std::shared_ptr<Outbound> outbound;    // to the loop `io`
  std::shared_ptr<EventEncoder> events;  // of that loop
  ClientDoorOptions options;
};

// The handler of one connection.
class Handler final : public wire::Processor {
 public:
  Handler(std::shared_ptr<const Shared> shared, const wire::Caller& caller)
      : shared_(std::move(shared)), caller_(caller) {}

  void Dispatch(wire::Call call, apache::thrift::protocol::TProtocol& in) override {
    Methods().Dispatch(*this, std::move(call), in);
  }

 private:
  static const wire::MethodTable<Handler>& Methods();

  void OpenSession(Answerer<idl::OpenResult> to, idl::Coord_openSession_args& args) {
    const auto nonce = Bytes16FromWire(args.request.nonce, "request.nonce");
    if (!nonce) {
      RefuseRequest(to, nonce.error());
      return;
    }
    server::OpenSessionRequest open;
    open.timeout_ms = args.request.timeoutMs;
    open.nonce = *nonce;
    open.identity = caller_.address();
    ToCore([open = std::move(open),
            back = Back<server::OpenSessionReply>(
                std::move(to), [](server::OpenSessionReply reply, idl::OpenResult& wire) {
                  wire.session = reply.session;
                  wire.secret = Bytes16ToWire(reply.secret);
                  wire.timeoutMs = Clamp32(reply.timeout_ms);
                })](server::Server& server) mutable {
      server.OpenSession(std::move(open), std::move(back));
    });
  }

  void CloseSession(Answerer<idl::CloseResult> to, idl::Coord_closeSession_args& args) {
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller),
            back = Back<server::Nothing>(std::move(to), Ignore{})](server::Server& server) mutable {
      server.CloseSession(std::move(caller), std::move(back));
    });
  }

  void TakeOver(Answerer<idl::TakeOverResult> to, idl::Coord_takeOver_args& args) {
    Write(std::move(to), args.ctx, tree::TakeOver{},
          [](const server::WriteReply& reply, idl::TakeOverResult& wire) {
            wire.nextSeq = reply.expected_seq;
          });
  }

  void Create(Answerer<idl::CreateResult> to, idl::Coord_create_args& args) {
    Write(std::move(to), args.ctx, CreateFromWire(std::move(args.request)),
          [](server::WriteReply reply, idl::CreateResult& wire) {
            wire.path = std::move(reply.path);
            wire.stat = StatToWire(reply.stat);
          });
  }

  void SetData(Answerer<idl::SetDataResult> to, idl::Coord_setData_args& args) {
    Write(std::move(to), args.ctx, SetDataFromWire(std::move(args.request)),
          [](const server::WriteReply& reply, idl::SetDataResult& wire) {
            wire.stat = StatToWire(reply.stat);
          });
  }

  void RemoveNode(Answerer<idl::RemoveResult> to, idl::Coord_removeNode_args& args) {
    Write(std::move(to), args.ctx, RemoveFromWire(std::move(args.request)), Ignore{});
  }

  void Multi(Answerer<idl::MultiResult> to, idl::Coord_multi_args& args) {
    auto multi = MultiFromWire(std::move(args.request));
    if (!multi) {
      RefuseRequest(to, multi.error());
      return;
    }
    Write(std::move(to), args.ctx, std::move(*multi),
          [](const server::WriteReply& reply, idl::MultiResult& wire) {
            idl::MultiResult result = MultiToWire(reply);
            wire.committed = result.committed;
            wire.results = std::move(result.results);
          });
  }

  void GetData(Answerer<idl::GetResult> to, idl::Coord_getData_args& args) {
    server::GetRequest op{std::move(args.request.path)};
    Read(std::move(to), args.ctx, std::move(op), args.request,
         [](const server::ReadReply& reply, idl::GetResult& wire) {
           if (reply.value && reply.value->has_data()) {
             wire.__isset.data = true;
             wire.data.assign(reply.value->data());
           }
           wire.stat = StatToWire(reply.stat);
         });
  }

  void Exists(Answerer<idl::ExistsResult> to, idl::Coord_exists_args& args) {
    server::ExistsRequest op{std::move(args.request.path)};
    Read(std::move(to), args.ctx, std::move(op), args.request,
         [](const server::ReadReply& reply, idl::ExistsResult& wire) {
           if (reply.exists) {
             wire.__set_stat(StatToWire(reply.stat));
           }
         });
  }

  void Children(Answerer<idl::ChildrenResult> to, idl::Coord_children_args& args) {
    constexpr std::int32_t kCountMax = 10'000;
    idl::ChildrenRequest& request = args.request;
    if (request.countMax < 0 || request.countMax > kCountMax || request.bytesMax < 0) {
      RefuseRequest(to, fmt::format("countMax: {} and bytesMax: {} must not be negative, and "
                                    "countMax at most {}",
                                    request.countMax, request.bytesMax, kCountMax));
      return;
    }
    server::ChildrenRequest op;
    op.path = std::move(request.path);
    op.after = std::move(request.after);
    op.count_max = static_cast<std::size_t>(request.countMax == 0 ? kCountMax : request.countMax);
    op.bytes_max = static_cast<std::size_t>(request.bytesMax);
    Read(std::move(to), args.ctx, std::move(op), request,
         [](server::ReadReply reply, idl::ChildrenResult& wire) {
           wire.names = std::move(reply.names);
           wire.stat = StatToWire(reply.stat);
           wire.more = reply.more;
         });
  }

  void AddWatch(Answerer<idl::AddWatchResult> to, idl::Coord_addWatch_args& args) {
    auto watch = WatchFromWire(args.request.watch);
    if (!watch) {
      RefuseRequest(to, watch.error());
      return;
    }
    server::AddWatchRequest add;
    add.watch = std::move(*watch);
    if (args.request.__isset.since) {
      add.since = CursorFromWire(args.request.since);
    }
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller), add = std::move(add),
            back = Back<server::AddWatchReply>(std::move(to), Ignore{})](
               server::Server& server) mutable {
      server.AddWatch(std::move(caller), std::move(add), std::move(back));
    });
  }

  void RemoveWatch(Answerer<idl::RemoveWatchResult> to, idl::Coord_removeWatch_args& args) {
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller), id = args.request.watchId,
            back = Back<server::RemoveWatchReply>(
                std::move(to), [](server::RemoveWatchReply reply, idl::RemoveWatchResult& wire) {
                  wire.removed = reply.removed;
                })](server::Server& server) mutable {
      server.RemoveWatch(std::move(caller), id, std::move(back));
    });
  }

  void ResumeWatches(Answerer<idl::ResumeWatchesResult> to, idl::Coord_resumeWatches_args& args) {
    server::ResumeWatchesRequest resume;
    resume.cursor = CursorFromWire(args.request.cursor);
    resume.replace_all = args.request.replaceAll;
    resume.watches.reserve(args.request.watches.size());
    for (const idl::WatchSpec& spec : args.request.watches) {
      auto watch = WatchFromWire(spec);
      if (!watch) {
        RefuseRequest(to, fmt::format("watches[{}]: {}", resume.watches.size(), watch.error()));
        return;
      }
      resume.watches.push_back(
          {std::move(*watch), spec.__isset.since ? CursorFromWire(spec.since) : resume.cursor});
    }
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore(
        [caller = std::move(*caller), resume = std::move(resume),
         back = Back<server::ResumeWatchesReply>(
             std::move(to), [](server::ResumeWatchesReply reply, idl::ResumeWatchesResult& wire) {
               wire.elsewhere = std::move(reply.elsewhere);
             })](server::Server& server) mutable {
          server.ResumeWatches(std::move(caller), std::move(resume), std::move(back));
        });
  }

  void Poll(Answerer<idl::PollResult> to, idl::Coord_poll_args& args) {
    const idl::PollRequest& request = args.request;
    if (request.waitMs < 0 || request.eventsMax < 0 || request.bytesMax < 0) {
      RefuseRequest(to, fmt::format("waitMs: {}, eventsMax: {} and bytesMax: {} must not be "
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
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller), poll,
            back = Back<server::PollReply>(std::move(to),
                                           [](server::PollReply reply, idl::PollResult& wire) {
                                             wire.more = reply.more;
                                             wire.elsewhere = std::move(reply.elsewhere);
                                             wire.timeoutMs = Clamp32(reply.timeout_ms);
                                           })](server::Server& server) mutable {
      server.Poll(std::move(caller), poll, std::move(back));
    });
  }

  void Sync(Answerer<idl::SyncResult> to, idl::Coord_sync_args& args) {
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller),
            back = Back<server::Nothing>(std::move(to), Ignore{})](server::Server& server) mutable {
      server.Sync(std::move(caller), std::move(back));
    });
  }

  void Ping(Answerer<idl::PingResult> to, idl::Coord_ping_args& args) {
    auto caller = TakeCaller(args.ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller),
            back = Back<server::PingReply>(std::move(to),
                                           [](server::PingReply reply, idl::PingResult& wire) {
                                             wire.timeoutMs = Clamp32(reply.timeout_ms);
                                           })](server::Server& server) mutable {
      server.Ping(std::move(caller), std::move(back));
    });
  }

  void ClusterStatus(Answerer<idl::ClusterStatusResult> to,
                     idl::Coord_clusterStatus_args& /*args*/) {
    WithStatus([to = std::move(to)](const server::Status& status, idl::Head head) mutable {
      idl::ClusterStatusResult wire;
      wire.head = std::move(head);
      wire.clusterName = status.cluster_name;
      wire.leader = static_cast<std::int64_t>(status.leader);
      wire.featureLevel = static_cast<std::int32_t>(status.feature_level);
      wire.members.reserve(status.members.size());
      for (const server::MemberStatus& member : status.members) {
        wire.members.push_back(MemberToWire(status, member));
      }
      to.Return(wire);
    });
  }

  void MemberStatus(Answerer<idl::MemberStatusResult> to,
                    idl::Operator_memberStatus_args& /*args*/) {
    WithStatus([to = std::move(to), shared = shared_](const server::Status& status,
                                                      idl::Head head) mutable {
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
      wire.uptimeMs = (shared->io->NowNs() - shared->options.started_ns) / kNsPerMs;
      wire.connections = static_cast<std::int64_t>(shared->options.connections());
      to.Return(wire);
    });
  }

  void ListMembers(Answerer<idl::ListMembersResult> to, idl::Operator_listMembers_args& /*args*/) {
    ToCore([back = Back<server::Status>(
                std::move(to), [](const server::Status& status, idl::ListMembersResult& wire) {
                  wire.configurationIndex = static_cast<std::int64_t>(status.configuration_index);
                  wire.leader = static_cast<std::int64_t>(status.leader);
                  wire.commitIndex = static_cast<std::int64_t>(status.commit_index);
                  wire.members.reserve(status.members.size());
                  for (const server::MemberStatus& member : status.members) {
                    wire.members.push_back(MemberToWire(status, member));
                  }
                })](server::Server& server) mutable { server.ListMembers(std::move(back)); });
  }

  void ChangeMember(Answerer<idl::ChangeMemberResult> to, idl::Operator_changeMember_args& args) {
    ChangeMembers(std::move(to), ChangeFromWire(args.request), args.request.timeoutMs,
                  [](const server::MemberReply& reply, idl::ChangeMemberResult& wire) {
                    wire.configurationIndex = static_cast<std::int64_t>(reply.configuration_index);
                    wire.changed = reply.changed;
                  });
  }

  void TransferLeader(Answerer<idl::TransferLeaderResult> to,
                      idl::Operator_transferLeader_args& args) {
    ChangeMembers(std::move(to), TransferFromWire(args.request), args.request.timeoutMs,
                  [](const server::MemberReply& reply, idl::TransferLeaderResult& wire) {
                    wire.leader = static_cast<std::int64_t>(reply.leader);
                    wire.changed = reply.changed;
                  });
  }

  // For results that are nothing but their head.
  struct Ignore {
    template <typename Reply, typename Wire>
    void operator()(const Reply& /*reply*/, Wire& /*wire*/) const {}
  };

  // Runs `task` with the server, on the core loop: at once if this is it.
  template <typename Task>
  void ToCore(Task task) {
    if (shared_->io == shared_->core) {
      task(**shared_->server);
      return;
    }
    PostMoved(*shared_->core,
              [server = shared_->server, task = std::move(task)]() mutable { task(**server); });
  }

  // The server's callback for a call: fills the result from the reply, or throws the error, on the
  // connection's loop.
  template <typename Reply, typename Wire, typename Fill>
  server::Callback<Reply> Back(Answerer<Wire> to, Fill fill) const {
    auto finish = [to = std::move(to), fill, encoder = shared_->events](
                      const server::ReplyHead& head, server::Answer<Reply> answer) mutable {
      const EventEncoder::List events(*encoder, head.events);
      const wire::ListSplice splice(head.events.empty() ? nullptr : &events);
      if (!answer) {
        to.Throw(ErrorToWire(head, answer.error()));
        return;
      }
      Wire wire;
      wire.head = HeadToWire(head);
      fill(std::move(*answer), wire);
      to.Return(wire);
    };
    if (shared_->io == shared_->core) {
      return finish;
    }
    return [outbound = shared_->outbound, finish = std::move(finish)](
               server::ReplyHead head, server::Answer<Reply> answer) mutable {
      outbound->Send([finish = std::move(finish), head = std::move(head),
                      answer = std::move(answer)]() mutable { finish(head, std::move(answer)); });
    };
  }

  // Nothing if the call has been refused for its context.
  template <typename Wire>
  std::optional<server::Caller> TakeCaller(const idl::Ctx& ctx, Answerer<Wire>& to) {
    const std::int64_t waited_ms =
        ctx.deadlineMs == 0 ? 0 : (shared_->io->NowNs() - caller_.received_ns()) / kNsPerMs;
    auto caller = CallerFromWire(ctx, caller_.address(), waited_ms);
    if (!caller) {
      RefuseRequest(to, caller.error());
      return std::nullopt;
    }
    return std::move(*caller);
  }

  template <typename Wire, typename Fill>
  void Write(Answerer<Wire> to, const idl::Ctx& ctx, tree::Command command, Fill fill) {
    auto caller = TakeCaller(ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller), command = std::move(command),
            back = Back<server::WriteReply>(std::move(to), fill)](server::Server& server) mutable {
      server.Write(std::move(caller), std::move(command), std::move(back));
    });
  }

  // `request`: the wire's, for its mode and watch.
  template <typename Wire, typename Request, typename Op, typename Fill>
  void Read(Answerer<Wire> to, const idl::Ctx& ctx, Op op, const Request& request, Fill fill) {
    server::ReadRequest read;
    read.op = std::move(op);
    const auto mode = ReadModeFromWire(request.mode);
    if (!mode) {
      RefuseRequest(to, mode.error());
      return;
    }
    read.mode = *mode;
    if (request.__isset.watch) {
      auto watch = ReadWatchFromWire(request.watch);
      if (!watch) {
        RefuseRequest(to, watch.error());
        return;
      }
      read.watch = std::move(*watch);
    }
    auto caller = TakeCaller(ctx, to);
    if (!caller) {
      return;
    }
    ToCore([caller = std::move(*caller), read = std::move(read),
            back = Back<server::ReadReply>(std::move(to), fill)](server::Server& server) mutable {
      server.Read(std::move(caller), std::move(read), std::move(back));
    });
  }

  template <typename Wire, typename Fill>
  void ChangeMembers(Answerer<Wire> to, tl::expected<server::MemberCommand, std::string> command,
                     std::int32_t timeout_ms, Fill fill) {
    if (!command) {
      RefuseRequest(to, command.error());
      return;
    }
    ToCore([identity = caller_.address(), command = std::move(*command), timeout_ms,
            back = Back<server::MemberReply>(std::move(to), fill)](server::Server& server) mutable {
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
      if (shared->io == shared->core) {
        finish();
      } else {
        PostMoved(*shared->io, std::move(finish));
      }
    });
  }

  const std::shared_ptr<const Shared> shared_;
  const wire::Caller& caller_;
};

const wire::MethodTable<Handler>& Handler::Methods() {
  // NOLINTNEXTLINE: lives as long as the process
  static const wire::MethodTable<Handler>& methods = *[] {
    auto* table = new wire::MethodTable<Handler>;  // NOLINT: likewise
    table->Add<idl::Coord_openSession_args, idl::OpenResult, &Handler::OpenSession>("openSession");
    table->Add<idl::Coord_closeSession_args, idl::CloseResult, &Handler::CloseSession>(
        "closeSession");
    table->Add<idl::Coord_takeOver_args, idl::TakeOverResult, &Handler::TakeOver>("takeOver");
    table->Add<idl::Coord_create_args, idl::CreateResult, &Handler::Create>("create");
    table->Add<idl::Coord_setData_args, idl::SetDataResult, &Handler::SetData>("setData");
    table->Add<idl::Coord_removeNode_args, idl::RemoveResult, &Handler::RemoveNode>("removeNode");
    table->Add<idl::Coord_multi_args, idl::MultiResult, &Handler::Multi>("multi");
    table->Add<idl::Coord_getData_args, idl::GetResult, &Handler::GetData>("getData");
    table->Add<idl::Coord_exists_args, idl::ExistsResult, &Handler::Exists>("exists");
    table->Add<idl::Coord_children_args, idl::ChildrenResult, &Handler::Children>("children");
    table->Add<idl::Coord_addWatch_args, idl::AddWatchResult, &Handler::AddWatch>("addWatch");
    table->Add<idl::Coord_removeWatch_args, idl::RemoveWatchResult, &Handler::RemoveWatch>(
        "removeWatch");
    table->Add<idl::Coord_resumeWatches_args, idl::ResumeWatchesResult, &Handler::ResumeWatches>(
        "resumeWatches");
    table->Add<idl::Coord_poll_args, idl::PollResult, &Handler::Poll>("poll");
    table->Add<idl::Coord_sync_args, idl::SyncResult, &Handler::Sync>("sync");
    table->Add<idl::Coord_ping_args, idl::PingResult, &Handler::Ping>("ping");
    table->Add<idl::Coord_clusterStatus_args, idl::ClusterStatusResult, &Handler::ClusterStatus>(
        "clusterStatus");
    table->Add<idl::Operator_memberStatus_args, idl::MemberStatusResult, &Handler::MemberStatus>(
        "memberStatus");
    table->Add<idl::Operator_listMembers_args, idl::ListMembersResult, &Handler::ListMembers>(
        "listMembers");
    table->Add<idl::Operator_changeMember_args, idl::ChangeMemberResult, &Handler::ChangeMember>(
        "changeMember");
    table->Add<idl::Operator_transferLeader_args, idl::TransferLeaderResult,
               &Handler::TransferLeader>("transferLeader");
    return table;
  }();
  return methods;
}

class ClientService final : public wire::Service {
 public:
  ClientService(std::shared_ptr<const Shared> shared, const wire::Caller& caller)
      : handler_(std::make_shared<Handler>(std::move(shared), caller)) {}

  std::shared_ptr<wire::Processor> processor() override { return handler_; }

 private:
  std::shared_ptr<Handler> handler_;
};

}  // namespace

ClientDoor::ClientDoor(const std::unique_ptr<server::Server>* server, wire::Scheduler* core,
                       ClientDoorOptions options)
    : server_(server), core_(core), options_(std::move(options)) {}

wire::ServiceFactory ClientDoor::FactoryFor(wire::Scheduler* io) const {
  auto shared = std::make_shared<const Shared>(Shared{server_, core_, io,
                                                      std::make_shared<Outbound>(core_, io),
                                                      std::make_shared<EventEncoder>(), options_});
  return [shared = std::move(shared)](const wire::Caller& caller) {
    return std::make_unique<ClientService>(shared, caller);
  };
}

}  // namespace conclave::doors
