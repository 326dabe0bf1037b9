#include "client/src/rpc.h"

#include <utility>

#include <conclave_idl/Operator.h>

namespace conclave::internal {
namespace {

// What the generated code calls the parts of a method.
template <class RequestT>
struct Method;

#define CONCLAVE_METHOD_OF(service, request_type, result_type, method) \
  template <>                                                          \
  struct Method<request_type> {                                        \
    using Result = result_type;                                        \
    using Pargs = idl::service##_##method##_pargs;                     \
    using Presult = idl::service##_##method##_presult;                 \
    static constexpr std::string_view kName = #method;                 \
  }

#define CONCLAVE_METHOD(request_type, result_type, method) \
  CONCLAVE_METHOD_OF(Coord, request_type, result_type, method)

CONCLAVE_METHOD(idl::OpenRequest, idl::OpenResult, openSession);
CONCLAVE_METHOD(CloseRequest, idl::CloseResult, closeSession);
CONCLAVE_METHOD(TakeOverRequest, idl::TakeOverResult, takeOver);
CONCLAVE_METHOD(idl::CreateRequest, idl::CreateResult, create);
CONCLAVE_METHOD(idl::SetDataRequest, idl::SetDataResult, setData);
CONCLAVE_METHOD(idl::RemoveRequest, idl::RemoveResult, removeNode);
CONCLAVE_METHOD(idl::MultiRequest, idl::MultiResult, multi);
CONCLAVE_METHOD(idl::GetRequest, idl::GetResult, getData);
CONCLAVE_METHOD(idl::ExistsRequest, idl::ExistsResult, exists);
CONCLAVE_METHOD(idl::ChildrenRequest, idl::ChildrenResult, children);
CONCLAVE_METHOD(idl::AddWatchRequest, idl::AddWatchResult, addWatch);
CONCLAVE_METHOD(idl::RemoveWatchRequest, idl::RemoveWatchResult, removeWatch);
CONCLAVE_METHOD(idl::ResumeWatchesRequest, idl::ResumeWatchesResult, resumeWatches);
CONCLAVE_METHOD(idl::PollRequest, idl::PollResult, poll);
CONCLAVE_METHOD(idl::SyncRequest, idl::SyncResult, sync);
CONCLAVE_METHOD(PingRequest, idl::PingResult, ping);
CONCLAVE_METHOD(idl::ClusterStatusRequest, idl::ClusterStatusResult, clusterStatus);
CONCLAVE_METHOD_OF(Operator, idl::ListMembersRequest, idl::ListMembersResult, listMembers);
CONCLAVE_METHOD_OF(Operator, idl::ChangeMemberRequest, idl::ChangeMemberResult, changeMember);
CONCLAVE_METHOD_OF(Operator, idl::TransferLeaderRequest, idl::TransferLeaderResult, transferLeader);

#undef CONCLAVE_METHOD
#undef CONCLAVE_METHOD_OF

template <class Pargs, class RequestT>
Pargs MakeArguments(const idl::Ctx& ctx, const RequestT& request) {
  Pargs pargs;
  if constexpr (requires { pargs.ctx; }) {
    pargs.ctx = &ctx;
  }
  if constexpr (requires { pargs.request; }) {
    pargs.request = &request;
  }
  return pargs;
}

template <class RequestT>
void SendAs(wire::Channel& channel, const idl::Ctx& ctx, const RequestT& request,
            std::function<void(RpcResult)> done) {
  using M = Method<RequestT>;
  const auto pargs = MakeArguments<typename M::Pargs>(ctx, request);
  wire::Invoke<typename M::Presult, typename M::Result, idl::CoordError>(
      channel, {.method = M::kName}, pargs,
      [done = std::move(done)](wire::CallResult<typename M::Result, idl::CoordError> outcome) {
        if (outcome) {
          done(RpcResult(Reply(std::move(*outcome))));
        } else {
          done(RpcResult(tl::unexpect, std::move(outcome.error())));
        }
      });
}

std::size_t DataBytes(const idl::Op& op) {
  return 64 + op.create.path.size() + op.create.data.size() + op.setData.path.size() +
         op.setData.data.size() + op.remove.path.size() + op.check.path.size();
}

}  // namespace

void Send(wire::Channel& channel, const idl::Ctx& ctx, const Request& request,
          std::function<void(RpcResult)> done) {
  std::visit([&](const auto& typed) { SendAs(channel, ctx, typed, std::move(done)); }, request);
}

idl::Head& HeadOf(Reply& reply) {
  return std::visit([](auto& typed) -> idl::Head& { return typed.head; }, reply);
}

std::size_t BytesOf(const Request& request) {
  constexpr std::size_t kCallBytes = 512;
  std::size_t bytes = kCallBytes + PathOf(request).size();
  if (const auto* create = std::get_if<idl::CreateRequest>(&request)) {
    bytes += create->data.size();
  } else if (const auto* set = std::get_if<idl::SetDataRequest>(&request)) {
    bytes += set->data.size();
  } else if (const auto* multi = std::get_if<idl::MultiRequest>(&request)) {
    for (const idl::Op& op : multi->ops) {
      bytes += DataBytes(op);
    }
  }
  return bytes;
}

bool ChangesMembers(const Request& request) {
  return std::holds_alternative<idl::ChangeMemberRequest>(request) ||
         std::holds_alternative<idl::TransferLeaderRequest>(request);
}

std::string_view MethodName(const Request& request) {
  return std::visit([](const auto& typed) { return Method<std::decay_t<decltype(typed)>>::kName; },
                    request);
}

std::string PathOf(const Request& request) {
  return std::visit(
      [](const auto& typed) -> std::string {
        if constexpr (requires { typed.path; }) {
          return typed.path;
        } else if constexpr (requires { typed.watch.path; }) {
          return typed.watch.path;
        } else {
          return {};
        }
      },
      request);
}

}  // namespace conclave::internal
