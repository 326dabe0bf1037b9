// Between the public types and those of the IDL.
#pragma once

#include <conclave/error.h>
#include <conclave/types.h>

#include "client/src/rpc.h"

namespace conclave::internal {

Stat FromIdl(const idl::Stat& stat);
// False: a kind of event that this library does not know; it is left out.
bool FromIdl(const idl::Change& change, Event& event);
Error FromIdl(const idl::CoordError& error);
// A code of a later version keeps its meaning by its tens.
Code CodeFromIdl(int code);
ClusterStatus FromIdl(const idl::ClusterStatusResult& result);
MemberStatus FromIdl(const idl::MemberInfo& info);
MemberList FromIdl(const idl::ListMembersResult& result);

idl::CreateMode::type ToIdl(CreateMode mode);
idl::ReadMode::type ToIdl(ReadMode mode);
idl::WatchMode::type ToIdl(WatchMode mode);
idl::Op ToIdl(Op op);
idl::Cursor ToIdl(const Cursor& cursor);

idl::CreateRequest MakeCreate(std::string path, Data data, CreateMode mode);
idl::SetDataRequest MakeSet(std::string path, Data data, std::int32_t version);
idl::RemoveRequest MakeRemove(std::string path, std::int32_t version);

// The multi's results, or the error of the operation that failed it.
Result<MultiResult> FromIdl(idl::MultiResult&& result);

}  // namespace conclave::internal
