// What the hub keeps of one session. Internal to the hub.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coord/tree/watch_table.h"
#include "coord/tree/watch_window.h"

namespace conclave::tree {

// Up to so many watches of a session it is cheaper to ask each than to go through the index.
inline constexpr std::size_t kFewWatches = 16;

// What a std::map and the allocator put around an element.
inline constexpr std::size_t kTreeNodeBytes = 32 + 16;

// A one-shot watch that went off, until the client has acknowledged it.
struct FiredWatch {
  WatchId id;
  std::shared_ptr<const std::string> path;
  EventType type;
  Trigger trigger;
  bool with_value;
};

// Invariants:
// 1. `queue` from `head` on rises strictly and holds every change after `acked` and up to `horizon`
//    (up to the window's end if there is none) that triggered a persistent or recursive watch.
// 2. What was lost to the window's end is at or before `resync`.
struct SessionWatches {
  std::int64_t id = 0;
  std::map<WatchId, Registration*> watches;
  std::size_t persistent = 0;  // of them, both persistent modes
  WatchId next_id = 1;
  std::multimap<Cursor, FiredWatch> fired;

  std::vector<Cursor> queue;
  std::size_t head = 0;
  // Set: queueing has stopped, changes after this one have to be read from the window.
  std::optional<Cursor> horizon;

  Cursor acked;   // told, and known to have arrived
  Cursor sent;    // told at least once
  Cursor resync;  // the client has to read anew unless it has acknowledged this far
  bool woken = false;

  [[nodiscard]] std::size_t queued() const { return queue.size() - head; }

  [[nodiscard]] auto live() const { return queue.begin() + static_cast<std::ptrdiff_t>(head); }
};

// Memory of one that went off; its path may outlive the entry in the table, so it counts here too.
inline std::size_t BytesOfFired(const std::string& path) {
  return kTreeNodeBytes + sizeof(Cursor) + sizeof(FiredWatch) + path.capacity();
}

}  // namespace conclave::tree
