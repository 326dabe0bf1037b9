#include "coord/tree/watch_table.h"

#include <limits>
#include <utility>

#include <glog/logging.h>
#include <xxhash.h>

#include "coord/tree/path.h"

namespace conclave::tree {

EventType EventTypeOf(const Change& change, Trigger trigger) {
  if (trigger == Trigger::kParent) {
    return EventType::kChildrenChanged;
  }
  switch (change.type) {
    case ChangeType::kCreated:
      return EventType::kCreated;
    case ChangeType::kDeleted:
      return EventType::kDeleted;
    case ChangeType::kDataChanged:
      return EventType::kDataChanged;
  }
  LOG(FATAL) << "unknown type of change " << static_cast<int>(change.type);
  return EventType::kDataChanged;
}

std::string_view EventPathOf(const Change& change, Trigger trigger) {
  return trigger == Trigger::kSelf ? std::string_view(change.path) : ParentPath(change.path);
}

std::optional<Trigger> Triggers(WatchMode mode, std::string_view path, const Change& change) {
  const bool self = path == change.path;
  // A change of data leaves the parent's list of children as it was.
  const bool parent = change.type != ChangeType::kDataChanged && path == ParentPath(change.path);
  switch (mode) {
    case WatchMode::kData:
    case WatchMode::kExist:
      return self ? std::optional(Trigger::kSelf) : std::nullopt;
    case WatchMode::kChild:
      if (self && change.type == ChangeType::kDeleted) {
        return Trigger::kSelf;
      }
      return parent ? std::optional(Trigger::kParent) : std::nullopt;
    case WatchMode::kPersistent:
      if (self) {
        return Trigger::kSelf;
      }
      return parent ? std::optional(Trigger::kParent) : std::nullopt;
    case WatchMode::kPersistentRecursive:
      return IsSelfOrBeneath(change.path, path) ? std::optional(Trigger::kSelf) : std::nullopt;
  }
  return std::nullopt;
}

std::size_t WatchTable::PathHash::operator()(std::string_view path) const {
  return XXH3_64bits_withSeed(path.data(), path.size(), seed);
}

namespace {

// What the containers and the allocator put around each.
constexpr std::size_t kTreeNodeBytes = 32 + 16;
constexpr std::size_t kHashNodeBytes = 24 + 8 + 16;
constexpr std::size_t kSharedStringBytes = 16 + sizeof(std::string) + 16;

}  // namespace

std::size_t WatchTable::BytesOf(const PathEntry& entry) {
  const std::size_t path = entry.path->capacity() > 15 ? entry.path->capacity() + 17 : 0;
  return kHashNodeBytes + sizeof(PathMap::value_type) + kSharedStringBytes + path;
}

Registration* WatchTable::Add(SessionWatches* owner, std::int64_t session, const Watch& watch,
                              Cursor since) {
  auto entry = paths_.find(std::string_view(watch.path));
  if (entry == paths_.end()) {
    auto path = std::make_shared<const std::string>(watch.path);
    const std::string_view key = *path;
    entry = paths_.emplace(key, PathEntry{std::move(path), {}}).first;
    bytes_ += BytesOf(entry->second);
  }
  const auto [place, inserted] =
      entry->second.registrations.try_emplace(Key{watch.mode, session, watch.id});
  CHECK(inserted) << "session " << session << " has watch " << watch.id << " already";
  bytes_ += kTreeNodeBytes + sizeof(*place);
  size_ += 1;
  by_mode_[static_cast<std::size_t>(watch.mode)] += 1;
  Registration& registration = place->second;
  registration.owner = owner;
  registration.path = entry->second.path;
  registration.id = watch.id;
  registration.session = session;
  registration.since = since;
  registration.mode = watch.mode;
  registration.with_value = watch.with_value;
  return &registration;
}

void WatchTable::Remove(Registration* registration) {
  const auto entry = paths_.find(std::string_view(*registration->path));
  CHECK(entry != paths_.end());
  auto& registrations = entry->second.registrations;
  by_mode_[static_cast<std::size_t>(registration->mode)] -= 1;
  size_ -= 1;
  bytes_ -= kTreeNodeBytes + sizeof(*registrations.begin());
  const Key key{registration->mode, registration->session, registration->id};
  CHECK_EQ(registrations.erase(key), 1U);
  if (registrations.empty()) {
    bytes_ -= BytesOf(entry->second);
    paths_.erase(entry);
  }
}

void WatchTable::FindMatches(const Change& change, std::vector<Match>* matches) {
  Find(std::nullopt, change, matches);
}

void WatchTable::FindMatchesOf(std::int64_t session, const Change& change,
                               std::vector<Match>* matches) {
  Find(session, change, matches);
}

void WatchTable::Lookup(std::int64_t session, std::string_view path, WatchMode mode,
                        std::vector<Match>* matches) {
  Collect(EntryOf(path), mode, session, Trigger::kSelf, matches);
}

// `Triggers` turned round: from the change to the places in the index where what it triggers is.
void WatchTable::Find(std::optional<std::int64_t> session, const Change& change,
                      std::vector<Match>* matches) {
  if (size_ == 0) {
    return;
  }
  const std::string_view path = change.path;
  PathEntry* const self = EntryOf(path);
  Collect(self, WatchMode::kData, session, Trigger::kSelf, matches);
  Collect(self, WatchMode::kExist, session, Trigger::kSelf, matches);
  if (change.type == ChangeType::kDeleted) {
    Collect(self, WatchMode::kChild, session, Trigger::kSelf, matches);
  }
  Collect(self, WatchMode::kPersistent, session, Trigger::kSelf, matches);
  Collect(self, WatchMode::kPersistentRecursive, session, Trigger::kSelf, matches);
  const std::string_view parent_path = ParentPath(path);
  if (change.type != ChangeType::kDataChanged) {
    PathEntry* const parent = EntryOf(parent_path);
    Collect(parent, WatchMode::kChild, session, Trigger::kParent, matches);
    Collect(parent, WatchMode::kPersistent, session, Trigger::kParent, matches);
  }
  if (size(WatchMode::kPersistentRecursive) != 0) {
    for (std::string_view at = parent_path; !at.empty(); at = ParentPath(at)) {
      Collect(EntryOf(at), WatchMode::kPersistentRecursive, session, Trigger::kSelf, matches);
    }
  }
}

WatchTable::PathEntry* WatchTable::EntryOf(std::string_view path) {
  const auto entry = paths_.find(path);
  return entry != paths_.end() ? &entry->second : nullptr;
}

void WatchTable::Collect(PathEntry* entry, WatchMode mode, std::optional<std::int64_t> session,
                         Trigger trigger, std::vector<Match>* matches) {
  if (entry == nullptr) {
    return;
  }
  auto& registrations = entry->registrations;
  const Key first{mode, session.value_or(std::numeric_limits<std::int64_t>::min()),
                  std::numeric_limits<WatchId>::min()};
  for (auto at = registrations.lower_bound(first); at != registrations.end(); ++at) {
    if (at->first.mode != mode || (session && at->first.session != *session)) {
      break;
    }
    ++visited_;
    matches->push_back({&at->second, trigger});
  }
}

}  // namespace conclave::tree
