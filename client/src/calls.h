// The operations of the tree as typed calls of the engine. What Client and the recipes build on.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <conclave/types.h>

#include "client/src/core.h"

namespace conclave::internal {

// Called on the loop.
template <class T>
using OnLoop = std::function<void(Result<T>)>;

// How a call is made. `unbounded`: see Core::Submit.
struct CallHow {
  BootTime deadline = BootTime::max();
  bool unbounded = false;
};

// Calls of the recipes: they have their own deadlines and must not be refused.
inline constexpr CallHow kUnbounded{.deadline = BootTime::max(), .unbounded = true};

void CreateNode(Core& core, const Op& create, CallHow how, OnLoop<Created> done);
void GetNode(Core& core, std::string path, ReadMode mode, CallHow how, OnLoop<Node> done);
void SetNode(Core& core, const Op& set, CallHow how, OnLoop<Written> done);
void RemoveNode(Core& core, const Op& remove, CallHow how, OnLoop<Written> done);
void NodeExists(Core& core, std::string path, ReadMode mode, CallHow how, OnLoop<Existence> done);
// One page if `count_max` is not 0, else all pages.
void ListChildren(Core& core, std::string path, ChildrenOptions options, CallHow how,
                  OnLoop<ChildList> done);
void RunMulti(Core& core, std::vector<Op> ops, CallHow how, OnLoop<MultiResult> done);
void CreatePath(Core& core, std::string path, CallHow how, OnLoop<void> done);
void SyncMember(Core& core, CallHow how, OnLoop<std::int64_t> done);
void ReadClusterStatus(Core& core, CallHow how, OnLoop<ClusterStatus> done);
void ReadMembers(Core& core, CallHow how, OnLoop<MemberList> done);
void ChangeMembers(Core& core, const MemberChange& change, CallHow how, OnLoop<MemberChanged> done);
void MoveLeader(Core& core, std::uint64_t to, CallHow how, OnLoop<LeaderMoved> done);
void CloseSession(Core& core, CallHow how, OnLoop<void> done);
// Answered as soon as there is a session (or, without one, a connection).
void WaitUntilOpen(Core& core, CallHow how, OnLoop<void> done);

}  // namespace conclave::internal
