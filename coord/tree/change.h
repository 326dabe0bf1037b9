// What an applied entry changed in the tree: the food of watches.
#pragma once

#include <cstdint>
#include <string>

#include "coord/tree/stat.h"
#include "coord/tree/value.h"

namespace conclave::tree {

enum class ChangeType : std::uint8_t { kCreated = 1, kDeleted = 2, kDataChanged = 3 };

// One change of one znode. (zxid, ordinal) is its place in the history of the tree and the same at
// every member, so that a cursor taken at one is good at all of them.
struct Change {
  ChangeType type = ChangeType::kCreated;
  std::string path;
  // The znode's value: after a create or a change of data the new one, after a delete the last one.
  // Never null.
  ValueRef value;
  // The znode's Stat at the same moment (after the change; for a delete just before it).
  Stat stat;
  std::int64_t zxid = 0;
  // Position among the changes of the entry, from 0: in a multi by the order of its operations
  // (a check changes nothing and takes none), at the end of a session by the order of deletion.
  std::int32_t ordinal = 0;
};

enum class SessionEventType : std::uint8_t { kOpened = 1, kClosed = 2, kExpired = 3 };

// A session was opened or ended by an applied entry. The deletes of its ephemerals are in the
// changes of the same entry.
struct SessionEvent {
  SessionEventType type = SessionEventType::kOpened;
  std::int64_t session = 0;
  std::int32_t timeout_ms = 0;
};

}  // namespace conclave::tree
