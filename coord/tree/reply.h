// What an entry answers, and the bytes in which it is stored for a retry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/code.h"
#include "coord/tree/command.h"
#include "coord/tree/stat.h"

namespace conclave::tree {

// The outcome of one operation of a Multi. After a failure at operation k: those before it have kOk
// and nothing else (they were not executed either), k has its code and message, those after it have
// kRuntimeInconsistency.
struct OpResult {
  Code code = Code::kOk;
  std::string message;  // Why, if it failed.
  std::string path;     // Create: the full final path.
  Stat stat;            // Create and SetData: right after this operation.
  friend bool operator==(const OpResult&, const OpResult&) = default;
};

struct Reply {
  Code code = Code::kOk;
  std::string message;  // Why, if it failed: names the field, the limit, and what to do.
  std::string path;     // Create: the full final path. Otherwise the path an error is about.
  Stat stat;            // Create and SetData.
  std::vector<OpResult> multi;  // Multi: one for each operation, also when it failed.
  std::int64_t session = 0;     // OpenSession: the id.
  Bytes16 secret{};             // OpenSession.
  std::int32_t timeout_ms = 0;  // OpenSession.
  // The zxid at which the request was executed; of a duplicate that of the first execution. 0 if it
  // was not executed (kSequenceGap, kSessionExpired) or that is forgotten (kReplyDropped).
  std::int64_t zxid = 0;
  std::int64_t expected_seq = 0;  // kSequenceGap: the seq that would be executed next.
  friend bool operator==(const Reply&, const Reply&) = default;
};

// The bytes of a reply, as they lie in a session until acknowledged (and in checkpoints).
std::string EncodeReply(const Reply& reply);

// Reads them back; none if they are not those of a reply. Never throws.
std::optional<Reply> DecodeReply(std::string_view bytes);

}  // namespace conclave::tree
