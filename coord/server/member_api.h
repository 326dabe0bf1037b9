// What operators ask of the membership: plain structs, as in api.h.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "consensus/membership.h"
#include "consensus/types.h"

namespace conclave::server {

// Hands leadership over.
struct LeaderTransfer {
  raft::MemberId to = 0;  // 0: to the voter that has come furthest
  // Who led when the operator asked; set by the member that was asked. If `to` is 0 and another one
  // leads by now, it is done.
  raft::MemberId from = 0;
};

// One thing to do about the members. All are idempotent: repeating what is done already is
// answered with success and changes nothing, so an unknown outcome is cleared up by asking again.
using MemberCommand = std::variant<raft::ConfigChange, LeaderTransfer>;

struct MemberReply {
  // The configuration that holds what was asked for: the index of its entry. 0 for a transfer.
  raft::Index configuration_index = 0;
  bool changed = false;       // false: it was so already
  raft::MemberId leader = 0;  // who leads now, as far as is known
};

// "add 4 at host:9101", "transfer leadership to 2": for logs.
[[nodiscard]] std::string Describe(const MemberCommand& command);

}  // namespace conclave::server
