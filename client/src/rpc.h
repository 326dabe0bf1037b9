// The service's methods as values: a request goes out by its type, its reply or error comes back.
// The only place that knows the generated service.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <variant>

#include <conclave_idl/conclave_admin_types.h>
#include <conclave_idl/conclave_client_types.h>
#include <tl/expected.hpp>

#include "thrift/wire/channel.h"

namespace conclave::internal {

namespace idl = conclave::idl::v1;

struct CloseRequest {};

struct TakeOverRequest {};

struct PingRequest {};

using Request =
    std::variant<idl::OpenRequest, CloseRequest, idl::CreateRequest, idl::SetDataRequest,
                 idl::RemoveRequest, idl::MultiRequest, idl::GetRequest, idl::ExistsRequest,
                 idl::ChildrenRequest, idl::AddWatchRequest, idl::RemoveWatchRequest,
                 idl::ResumeWatchesRequest, idl::PollRequest, idl::SyncRequest, PingRequest,
                 idl::ClusterStatusRequest, idl::ListMembersRequest, idl::ChangeMemberRequest,
                 idl::TransferLeaderRequest, TakeOverRequest>;

using Reply = std::variant<idl::OpenResult, idl::CloseResult, idl::CreateResult, idl::SetDataResult,
                           idl::RemoveResult, idl::MultiResult, idl::GetResult, idl::ExistsResult,
                           idl::ChildrenResult, idl::AddWatchResult, idl::RemoveWatchResult,
                           idl::ResumeWatchesResult, idl::PollResult, idl::SyncResult,
                           idl::PingResult, idl::ClusterStatusResult, idl::ListMembersResult,
                           idl::ChangeMemberResult, idl::TransferLeaderResult, idl::TakeOverResult>;

using RpcError = std::variant<idl::CoordError, wire::CallFailure>;
using RpcResult = tl::expected<Reply, RpcError>;

// `ctx` is left out of the calls that have none (openSession, clusterStatus). `done` comes once,
// later, unless the channel is destroyed.
void Send(wire::Channel& channel, const idl::Ctx& ctx, const Request& request,
          std::function<void(RpcResult)> done);

idl::Head& HeadOf(Reply& reply);

// An estimate of the memory that a waiting request holds.
std::size_t BytesOf(const Request& request);

// Changes something without being a numbered write: harmless to repeat, but if its answer is lost
// its outcome is unknown.
bool ChangesMembers(const Request& request);

// "getData", for logs and messages.
std::string_view MethodName(const Request& request);
// The path that the request is about; empty if none.
std::string PathOf(const Request& request);

}  // namespace conclave::internal
