// The watches of a client: what is registered with the cluster, and which events each has had.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <conclave/client.h>

#include "client/src/rpc.h"

namespace conclave::internal {

// What both sides of the client hold of a watch. Thread: any.
struct WatchSlot {
  WatchCallback on_event;
  bool on_loop = false;  // Called on the loop: a part of the library, not the application.
  std::atomic<bool> cancelled{false};  // Set once; nothing is called afterwards.
};

// Thread: the loop, but for Reserve, and Cancel which may come from any.
class WatchTable {
 public:
  struct Watch {
    WatchId id = 0;
    std::string path;
    WatchMode mode = WatchMode::kDataOnce;
    bool with_values = false;
    std::optional<Cursor> from;
    bool registered = false;  // The cluster has confirmed it.
    // Events up to here are not for it: they came before it was registered, or it has had them.
    Cursor seen;
    // Events that have come before it was confirmed, in order. A member may have taken up an
    // attempt whose connection was lost, and tell of changes from before the attempt that counts.
    std::vector<Event> early;
    std::shared_ptr<WatchSlot> slot;
  };

  struct Delivery {
    std::shared_ptr<WatchSlot> slot;
    Event event;
  };

  WatchId Reserve(std::shared_ptr<WatchSlot> slot);
  // True if it was there.
  bool Cancel(WatchId id);

  void Add(Watch watch);
  Watch* Find(WatchId id);
  void Erase(WatchId id);
  void Clear();
  // Confirmed by the cluster at this zxid. Returns what has to be called for early events behind
  // it.
  std::vector<Delivery> Registered(WatchId id, std::int64_t zxid);

  // What has to be called for the event; a one-shot watch is gone afterwards.
  void Match(const idl::Event& event, std::vector<Delivery>& deliveries);
  // Every registered watch is told; ids of one-shot ones, which are over, go to `over`.
  void Resync(const Cursor& now, std::vector<Delivery>& deliveries, std::vector<WatchId>& over);

  // Whether the cluster has confirmed any.
  bool AnyRegistered() const;
  // All that are registered, for a member that does not know them.
  std::vector<idl::WatchSpec> Specs() const;

 private:
  std::map<WatchId, Watch> watches_;

  std::mutex mu_;
  WatchId next_id_ = 1;                                  // Guarded by mu_.
  std::map<WatchId, std::shared_ptr<WatchSlot>> slots_;  // Guarded by mu_.
};

idl::WatchSpec SpecOf(const WatchTable::Watch& watch);

}  // namespace conclave::internal
