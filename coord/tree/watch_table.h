// Which watch is triggered by which change: the rules (`Triggers`), and an index by path that finds
// the triggered registrations at a cost that does not depend on the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coord/tree/change.h"
#include "coord/tree/watch_window.h"

namespace conclave::tree {

// Chosen by the client, unique in its session. 0 is no id (see WatchHub::Register).
using WatchId = std::int64_t;

// The values are those of the wire.
enum class WatchMode : std::uint8_t {
  // One-shot, on the znode's data: changed or deleted. What a successful get registers. A get of a
  // missing znode must register nothing; that is the caller's to see to, here the modes kData and
  // kExist differ in name only.
  kData = 1,
  // One-shot: created, changed or deleted. What exists registers, whether or not there is a znode.
  kExist = 2,
  // One-shot: the list of children changed, or the znode was deleted.
  kChild = 3,
  // Until removed: created, changed, deleted, and changes of the list of children.
  kPersistent = 4,
  // Until removed: created, changed, deleted, for the znode and all below it. Never
  // kChildrenChanged.
  kPersistentRecursive = 5,
};

constexpr bool IsOneShot(WatchMode mode) { return mode <= WatchMode::kChild; }

// The values are those of the wire.
enum class EventType : std::uint8_t {
  kCreated = 1,
  kDeleted = 2,
  kDataChanged = 3,
  kChildrenChanged = 4,
};

// A change triggers at most two events in a session, in this order: one about the znode itself,
// and, if it was created or deleted, kChildrenChanged of its parent.
enum class Trigger : std::uint8_t { kSelf = 0, kParent = 1 };

// The event of that trigger, and the path that it names.
EventType EventTypeOf(const Change& change, Trigger trigger);
std::string_view EventPathOf(const Change& change, Trigger trigger);

// The rules: whether, and by which event, a watch of `mode` on `path` is triggered.
std::optional<Trigger> Triggers(WatchMode mode, std::string_view path, const Change& change);

// What a client asks for.
struct Watch {
  WatchId id = 0;
  std::string path;
  WatchMode mode = WatchMode::kPersistent;
  bool with_value = false;  // its events should carry Stat and data
};

struct SessionWatches;  // of the hub; the table only passes it on

struct Registration {
  SessionWatches* owner = nullptr;
  std::shared_ptr<const std::string> path;
  WatchId id = 0;
  std::int64_t session = 0;
  Cursor since;  // triggered by changes after this one
  WatchMode mode = WatchMode::kPersistent;
  bool with_value = false;
};

// Thread: the owner's. Registrations have stable addresses until removed. Everything is found in
// the order (mode, session, id) per path, never in the order of a hash, so that equal histories
// give equal results in every process.
class WatchTable {
 public:
  struct Match {
    Registration* registration;
    Trigger trigger;
  };

  // `hash_seed`: drawn by the process, against paths chosen to collide.
  explicit WatchTable(std::uint64_t hash_seed) : paths_(0, PathHash{hash_seed}) {}

  // REQUIRES: no registration of this session with this id.
  Registration* Add(SessionWatches* owner, std::int64_t session, const Watch& watch, Cursor since);
  void Remove(Registration* registration);

  // Appends all registrations that `change` triggers, whatever their `since`.
  void FindMatches(const Change& change, std::vector<Match>* matches);
  // The same for one session.
  void FindMatchesOf(std::int64_t session, const Change& change, std::vector<Match>* matches);
  // Appends the session's registrations of exactly this path and mode.
  void Lookup(std::int64_t session, std::string_view path, WatchMode mode,
              std::vector<Match>* matches);

  [[nodiscard]] std::size_t size() const { return size_; }

  [[nodiscard]] std::size_t size(WatchMode mode) const {
    return by_mode_[static_cast<std::size_t>(mode)];
  }

  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  // Registrations looked at by both Find functions so far; the measure of what matching costs.
  [[nodiscard]] std::uint64_t visited() const { return visited_; }

 private:
  struct Key {
    WatchMode mode;
    std::int64_t session;
    WatchId id;
    friend auto operator<=>(const Key&, const Key&) = default;
  };

  struct PathEntry {
    std::shared_ptr<const std::string> path;
    std::map<Key, Registration> registrations;
  };

  struct PathHash {
    std::uint64_t seed;
    std::size_t operator()(std::string_view path) const;
  };

  // Looked up only, never iterated.
  using PathMap = std::unordered_map<std::string_view, PathEntry, PathHash, std::equal_to<>>;

  static std::size_t BytesOf(const PathEntry& entry);
  PathEntry* EntryOf(std::string_view path);
  void Collect(PathEntry* entry, WatchMode mode, std::optional<std::int64_t> session,
               Trigger trigger, std::vector<Match>* matches);
  void Find(std::optional<std::int64_t> session, const Change& change, std::vector<Match>* matches);

  PathMap paths_;
  std::size_t by_mode_[6] = {};
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  std::uint64_t visited_ = 0;
};

}  // namespace conclave::tree
