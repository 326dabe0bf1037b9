// The watches of the sessions whose home is this member: who is to be told of what, what has been
// told, and what a client that was away has missed. Pure: no clock, no thread, no order from a
// hash; the same calls give the same answers in every process.
//
// How a server uses it
// --------------------
//   each applied entry   woken = hub.Apply(zxid, changes), before any reply to that entry; then the
//                        parked polls of the woken sessions are answered, in slices as it likes.
//   a poll arrives       hub.Acknowledge(session, poll.cursor); if HasEvents(session, after), Drain
//                        and answer, else park. `after` is the poll's cursor, or, where an earlier
//                        poll of the same connection has been answered but not yet acknowledged,
//                        the cursor of that answer.
//   any other reply      Drain(session, the cursor last sent) and put the events before the reply.
//                        Limits can leave the answer's cursor short of the zxid that the reply
//                        shows; the client then holds the reply until a poll has brought it so far.
//                        Not with a reply to Resume that is not the last piece of a long list.
//   a read with a watch  in one turn: read, and if the read was answered, Register without `since`.
//                        A get that answers kNoNode registers nothing (exists does).
//   a client moves here  Resume(session, its cursor, all its watches), before its first poll. If
//                        !window().Covers(cursor) and another member reaches back, send it there.
//   moved away, ended    Drop(session).
//
// What is guaranteed
// ------------------
// 1. A session gets the events of its watches in the order of the changes, each once, at most one
//    per change and trigger however many of its watches match (their ids stand in the event). A
//    znode's kDeleted comes before its parent's kChildrenChanged.
// 2. A one-shot watch is gone with the change that triggers it. A delete takes those on the znode's
//    data and those on its children, and gives one event.
// 3. Drain repeats what has not been acknowledged: a lost answer loses no event.
// 4. Resume gives exactly the events that the session would have been given had it stayed, at any
//    member whose window covers its cursor. Otherwise, and wherever else a change may have been
//    missed, `resync` is set: the client reads anew what its watches cover. They are still there,
//    and tell of everything after DrainResult::cursor. There is no other way to lose an event.
//
// What it costs
// -------------
// A queued event is the 16-byte cursor of a change in the window; path and value are not copied and
// not pinned. A queue that is full, or the budget over all queues, stops the queueing (not the
// matching: one-shot watches go off as ever), and the rest is read from the window when there is
// room again. Memory is at most
//     window_bytes_max (+ the newest entry, + allocator rounding)
//   + queue_bytes_max (+ 16 events = 256 bytes for each session: everyone may always make progress)
//   + the watches, armed and gone off: about 250 bytes each and twice their path, counted together
//     against session_watches_max and watches_max
// however slow the clients are. With the defaults a thousand sessions that never read make this at
// most 33 MiB. counts().bytes says what it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <absl/container/btree_map.h>

#include "coord/tree/change.h"
#include "coord/tree/watch_table.h"
#include "coord/tree/watch_window.h"

namespace conclave::tree {

struct WatchHubOptions {
  std::size_t window_bytes_max = std::size_t{24} << 20;
  std::size_t window_changes_max = 200'000;
  // Changes queued for one session; more are read from the window later.
  std::size_t session_events_max = 1024;
  // All queues together.
  std::size_t queue_bytes_max = std::size_t{8} << 20;
  // Watches of one session and of all, those included that went off and are not yet acknowledged.
  std::size_t session_watches_max = 10'000;
  std::size_t watches_max = 1'000'000;
  // Changes read from the window in one Drain, so that no call takes long.
  std::size_t scan_max = 8192;
  // Drawn by the process; influences no result.
  std::uint64_t hash_seed = 0;
};

// One change as told to one session. Cheap to copy; for all sessions the same change has the same
// `change` pointer, by which an encoder can share the bytes.
struct Event {
  EventType type = EventType::kCreated;
  Trigger trigger = Trigger::kSelf;
  // Position of the change. Acknowledging it acknowledges both events of the change.
  Cursor cursor;
  // The session's watches that it concerns, rising, without repetition, never empty.
  std::vector<WatchId> watch_ids;
  // Some of them want the value. It is change->value; without `change` the client has to read.
  bool with_value = false;
  // Null for a one-shot watch whose change has left the window before the client came for it.
  std::shared_ptr<const Change> change;
  // The path it names if `change` is null.
  std::shared_ptr<const std::string> watched_path;

  // The changed znode, or, for kChildrenChanged, its parent; never the path of a recursive watch.
  [[nodiscard]] std::string_view path() const {
    return change ? EventPathOf(*change, trigger) : std::string_view(*watched_path);
  }
};

struct DrainLimits {
  // At least one change is returned if there is any, with both its events.
  std::size_t events_max = 1000;
  std::size_t bytes_max = std::size_t{1} << 20;  // paths, ids, wanted values
};

struct DrainResult {
  // False: no watches of this session are here. A client that believes it has some must Resume;
  // its cursor must not be moved.
  bool attached = false;
  // True: changes between `after` and `cursor` may have been missed; see guarantee 4.
  bool resync = false;
  // True: there is more at once.
  bool more = false;
  std::vector<Event> events = {};
  // Everything up to here has been told (it moves on without events too, lest an idle client's
  // cursor fall out of the window). The next `after`.
  Cursor cursor = {};
};

enum class RegisterStatus : std::uint8_t {
  kOk,
  // The limit per session or in all; nothing was registered.
  kTooMany,
  // `since` lies before what this session has been told already, so its events could no longer come
  // in order; nothing was registered. Use a session of its own, or Resume with replace_all.
  kBehind,
};

struct RegisterResult {
  RegisterStatus status = RegisterStatus::kOk;
  WatchId id = 0;
  // The watch tells of the changes after this one. Keep it for Resume.
  Cursor since = {};
  // The window does not reach back to the `since` that was asked for; Drain will say so too.
  bool resync = false;
};

// A watch that a client had elsewhere.
struct ResumedWatch {
  Watch watch;
  // RegisterResult::since; earlier than the session's cursor counts as the cursor.
  Cursor since;
};

struct WatchCounts {
  std::size_t sessions = 0;
  std::size_t watches = 0;
  std::size_t watches_one_shot = 0;
  std::size_t watches_persistent = 0;
  std::size_t watches_recursive = 0;
  std::size_t fired = 0;   // one-shot watches that went off and are not acknowledged
  std::size_t queued = 0;  // changes in queues
  std::size_t queue_bytes = 0;
  std::size_t window_bytes = 0;
  std::size_t window_changes = 0;
  std::size_t bytes = 0;        // all of the above
  std::uint64_t overflows = 0;  // queues that stopped
  std::uint64_t resyncs = 0;    // answers that said resync
  std::uint64_t visited = 0;    // registrations looked at in matching
};

// Thread: one (the core's). Owns window, watches and queues. Sessions are not replicated and not
// checked here: the server knows who is alive.
class WatchHub {
 public:
  // `applied`: the zxid of the state that the member starts from.
  WatchHub(const WatchHubOptions& options, std::int64_t applied);
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // Takes over the changes of one applied entry (none: only moves the end). Returns the sessions
  // that have something to be told of it, rising, each once. REQUIRES: see ChangeWindow::Append.
  std::vector<std::int64_t> Apply(std::int64_t zxid, std::vector<Change> changes);

  // The state was replaced by one at `zxid`: what happened in between is not known, every session
  // gets a resync. Watches stay. Returns the sessions, rising.
  std::vector<std::int64_t> Jump(std::int64_t zxid);

  // Registers a watch for the changes after `since`; without it, for those after the last applied
  // (or, where the client has been told more elsewhere than this member has applied, after that).
  // A one-shot watch goes off for the first matching change after `since`, and is not armed if that
  // has happened. A known id with the same path and mode is the same watch (a repeated call changes
  // nothing); with another path or mode it is replaced. Several ids may stand for the same path and
  // mode: they share events. With id 0 the id of a watch of that path and mode is returned if there
  // is one, else a new id (above all that the session has named).
  RegisterResult Register(std::int64_t session, const Watch& watch,
                          std::optional<Cursor> since = std::nullopt);

  // All of a session's watches at once, as they were elsewhere, and the cursor up to which it has
  // been told. `replace_all`: what the session had here is dropped first, so the call can be
  // repeated. A long list may come in several calls (the later ones without replace_all, the same
  // cursor, no Drain in between). Registers all or nothing; `id` and `since` are not filled.
  RegisterResult Resume(std::int64_t session, Cursor cursor,
                        const std::vector<ResumedWatch>& watches, bool replace_all);

  // False if there is no such watch (a one-shot one may have gone off: its event still comes).
  // No event names the watch afterwards, also none that was queued.
  bool Unregister(std::int64_t session, WatchId id);
  // All of the session's watches with this path and mode; returns how many.
  std::size_t Unregister(std::int64_t session, std::string_view path, WatchMode mode);

  // The session ended, or moved to another member.
  void Drop(std::int64_t session);

  // The client has taken everything up to `cursor`; it is forgotten here. An older cursor than
  // before has no effect.
  void Acknowledge(std::int64_t session, Cursor cursor);

  // False: Drain with this `after` would tell nothing. True: it may (what is read from the window
  // can turn out to concern nobody).
  [[nodiscard]] bool HasEvents(std::int64_t session, Cursor after) const;

  // True: there may be more to tell after `after`, up to the end of the window. Also where
  // HasEvents says false because the queue is full of what has been told and is not acknowledged.
  [[nodiscard]] bool IsBehind(std::int64_t session, Cursor after) const;

  // What the session is to be told after `after` (what has been acknowledged is not told again).
  // Takes nothing away. Amortised cost: the events returned, plus at most scan_max changes read
  // from the window.
  DrainResult Drain(std::int64_t session, Cursor after, const DrainLimits& limits = {});

  [[nodiscard]] bool Has(std::int64_t session) const { return sessions_.count(session) != 0; }

  [[nodiscard]] const ChangeWindow& window() const { return window_; }

  [[nodiscard]] WatchCounts counts() const;

 private:
  SessionWatches* Find(std::int64_t session) const;
  SessionWatches& SessionOf(std::int64_t session);
  bool MayAdd(std::size_t count, std::size_t of_session, std::size_t leaving) const;
  void Place(SessionWatches& session, const Watch& watch, Cursor since, struct Placed* placed);
  void CatchUp(SessionWatches& session, const Placed& placed);
  void FireMissed(SessionWatches& session, const Placed& placed);
  void Remove(SessionWatches& session, Registration* registration);
  void Fire(SessionWatches& session, Registration* registration, Trigger trigger,
            const Change& change);
  void FindTriggered(SessionWatches& session, const Change& change);
  bool HasRoom(const SessionWatches& session) const;
  bool Queue(SessionWatches& session, Cursor at);
  void StopQueueing(SessionWatches& session, Cursor at);
  void Rewind(SessionWatches& session, Cursor since);
  void NoteLoss(SessionWatches& session, Cursor after);
  bool Refill(SessionWatches& session);
  void CollectAt(SessionWatches& session, Cursor at, std::vector<Event>* events);
  void Forget(SessionWatches& session, Cursor through);
  void SetQueueCapacity(SessionWatches& session, std::size_t capacity);

  const WatchHubOptions options_;
  ChangeWindow window_;
  WatchTable table_;
  absl::btree_map<std::int64_t, std::unique_ptr<SessionWatches>> sessions_;
  std::size_t fired_ = 0;
  std::size_t fired_bytes_ = 0;
  std::size_t queued_ = 0;
  std::size_t queue_bytes_ = 0;
  std::uint64_t overflows_ = 0;
  std::uint64_t resyncs_ = 0;
  std::vector<WatchTable::Match> matches_;  // scratch, kept for its memory
};

}  // namespace conclave::tree
