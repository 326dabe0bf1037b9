#include "client/src/watch_table.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "client/src/codec.h"

namespace conclave::internal {
namespace {

bool OneShot(WatchMode mode) {
  return mode != WatchMode::kPersistent && mode != WatchMode::kPersistentRecursive;
}

}  // namespace

WatchId WatchTable::Reserve(std::shared_ptr<WatchSlot> slot) {
  const std::lock_guard lock(mu_);
  const WatchId id = next_id_++;
  slots_.emplace(id, std::move(slot));
  return id;
}

bool WatchTable::Cancel(WatchId id) {
  const std::lock_guard lock(mu_);
  const auto it = slots_.find(id);
  if (it == slots_.end()) {
    return false;
  }
  it->second->cancelled = true;
  slots_.erase(it);
  return true;
}

void WatchTable::Add(Watch watch) {
  if (watch.from) {
    watch.seen = *watch.from;
  }
  const WatchId id = watch.id;
  watches_.emplace(id, std::move(watch));
}

WatchTable::Watch* WatchTable::Find(WatchId id) {
  const auto it = watches_.find(id);
  return it == watches_.end() ? nullptr : &it->second;
}

void WatchTable::Erase(WatchId id) {
  watches_.erase(id);
  const std::lock_guard lock(mu_);
  slots_.erase(id);
}

void WatchTable::Clear() {
  watches_.clear();
  const std::lock_guard lock(mu_);
  slots_.clear();
}

std::vector<WatchTable::Delivery> WatchTable::Registered(WatchId id, std::int64_t zxid) {
  std::vector<Delivery> deliveries;
  Watch* watch = Find(id);
  if (watch == nullptr) {
    return deliveries;  // Cancelled meanwhile, or a one-shot watch from a cursor that has fired.
  }
  watch->registered = true;
  if (!watch->from) {
    watch->seen = std::max(watch->seen, Cursor{zxid, std::numeric_limits<std::int32_t>::max()});
  }
  for (Event& event : std::exchange(watch->early, {})) {
    if (event.cursor <= watch->seen) {
      continue;
    }
    watch->seen = event.cursor;
    deliveries.push_back({watch->slot, std::move(event)});
    if (OneShot(watch->mode)) {
      Erase(id);
      break;
    }
  }
  return deliveries;
}

void WatchTable::Match(const idl::Event& event, std::vector<Delivery>& deliveries) {
  Event converted;
  if (!FromIdl(event.change, converted)) {
    return;
  }
  for (const WatchId id : event.watchIds) {
    Watch* watch = Find(id);
    if (watch == nullptr || converted.cursor <= watch->seen) {
      continue;  // Cancelled, or told again after a reconnect.
    }
    if (!watch->registered && !watch->from) {
      watch->early.push_back(converted);
      continue;
    }
    watch->seen = converted.cursor;
    deliveries.push_back({watch->slot, converted});
    if (OneShot(watch->mode)) {
      Erase(id);
    }
  }
}

void WatchTable::Resync(const Cursor& now, std::vector<Delivery>& deliveries,
                        std::vector<WatchId>& over) {
  for (auto& [id, watch] : watches_) {
    if (!watch.registered) {
      continue;
    }
    watch.seen = std::max(watch.seen, now);
    Event event;
    event.type = EventType::kResync;
    event.path = watch.path;
    event.cursor = now;
    deliveries.push_back({watch.slot, std::move(event)});
    if (OneShot(watch.mode)) {
      over.push_back(id);
    }
  }
  for (const WatchId id : over) {
    Erase(id);
  }
}

idl::WatchSpec SpecOf(const WatchTable::Watch& watch) {
  idl::WatchSpec spec;
  spec.__set_watchId(watch.id);
  spec.__set_path(watch.path);
  spec.__set_mode(ToIdl(watch.mode));
  spec.__set_withValue(watch.with_values);
  return spec;
}

bool WatchTable::AnyRegistered() const {
  return std::any_of(watches_.begin(), watches_.end(),
                     [](const auto& entry) { return entry.second.registered; });
}

std::vector<idl::WatchSpec> WatchTable::Specs() const {
  std::vector<idl::WatchSpec> specs;
  for (const auto& [id, watch] : watches_) {
    if (watch.registered) {
      idl::WatchSpec& spec = specs.emplace_back(SpecOf(watch));
      // The session's cursor may lie before the registration. Without this a one-shot watch would
      // go off at the next member for a change from before it was there, and be gone for good:
      // Match takes no such event.
      spec.__set_since(ToIdl(watch.seen));
    }
  }
  return specs;
}

}  // namespace conclave::internal
