// The sessions whose watches live at this member: their parked polls, and the rule that an event
// comes before any reply that shows its state (rule 1).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/functional/any_invocable.h>

#include "coord/server/api.h"
#include "coord/server/status.h"
#include "coord/tree/watch_hub.h"

namespace conclave::server {

// Thread: core executor only. Owns the watch hub.
//
// Invariants:
//   1. At most kPollsParkedMax polls are parked per session; one more answers the oldest.
//   2. A head filled by FillHead carries, or has sent before by a parked poll, every event of the
//      session up to the applied index; or as many as one poll gives, and then its cursor, which
//      lies before the head's zxid, says that there are more.
//   3. Polls of a session are answered in the order in which they came.
class Homes {
 public:
  static constexpr std::size_t kPollsParkedMax = 2;

  struct Links {
    Counters* counters = nullptr;
    std::int64_t poll_wait_ms_max = 0;
    // A head for this session without events.
    std::function<ReplyHead(std::int64_t session)> head;
    // The session's timeout in ms; 0 if it is not alive here.
    std::function<std::int64_t(std::int64_t session)> timeout_ms;
    // Client addresses of members whose window reaches back to this cursor.
    std::function<std::vector<std::string>(tree::Cursor)> elsewhere;
    // Hands an answer to the door, in order with all others.
    std::function<void(absl::AnyInvocable<void()>)> deliver;
  };

  // `applied`: the zxid of the state that this member starts from; what came before is not
  // remembered.
  Homes(Links links, const tree::WatchHubOptions& options, std::int64_t applied);
  Homes(const Homes&) = delete;
  Homes& operator=(const Homes&) = delete;
  ~Homes() = default;

  // --- apply ---

  // The changes of an applied entry: matched and queued within this call.
  void Apply(std::int64_t zxid, std::vector<tree::Change> changes);
  // The state was replaced by one at `zxid`, and what happened in between is not known here: every
  // session is told to resync, with those who know (rule 5); those that are not alive any more end
  // with `why`.
  void Jump(std::int64_t zxid, const std::function<bool(std::int64_t session)>& alive,
            const Failure& why);
  // The session has ended: its watches go, its polls are answered with `why`.
  void End(std::int64_t session, const Failure& why);
  // Answers parked polls that have events by now, or whose zxid is applied, of at most
  // `sessions_max` sessions. True: others still wait, and are next. In no hurry: whatever else a
  // session is answered meanwhile takes its events along.
  bool Wake(std::size_t sessions_max);

  // --- calls of the session, which is alive and authenticated ---

  void Poll(std::int64_t session, const PollRequest& request, std::int64_t now_ns,
            Callback<PollReply> done);
  // Before a reply to the session: puts what happened up to now in front of it.
  void FillHead(std::int64_t session, bool no_events, std::int64_t now_ns, ReplyHead* head);
  tree::RegisterResult Register(std::int64_t session, const tree::Watch& watch,
                                std::optional<tree::Cursor> since, std::int64_t now_ns);
  tree::RegisterResult Resume(std::int64_t session, const ResumeWatchesRequest& request,
                              std::int64_t now_ns);
  bool Unregister(std::int64_t session, tree::WatchId id);

  // --- time and ends ---

  // Answers polls whose wait is over, and forgets homes that their session has left: no call that
  // takes events for twice its timeout.
  void Tick(std::int64_t now_ns);
  // Sends every parked poll away.
  void DropPolls(const Failure& why);

  [[nodiscard]] std::size_t parked() const { return parked_; }

  [[nodiscard]] const tree::WatchHub& hub() const { return hub_; }

 private:
  struct Parked {
    // What its sender has. It is answered from there: an earlier poll may have been answered on a
    // connection that was dead already.
    tree::Cursor cursor;
    std::int64_t deadline_ns = 0;
    tree::DrainLimits limits;
    std::int64_t wake_zxid = 0;
    Callback<PollReply> done;
  };

  struct Home {
    tree::Cursor sent;           // up to here the session has been told
    std::vector<Parked> parked;  // oldest first
    std::int64_t used_ns = 0;
  };

  // A moment (a zxid, a time in ns) and the session with a poll that waits for it; per parked poll.
  using Alarms = absl::btree_multiset<std::pair<std::int64_t, std::int64_t>>;

  Home* Find(std::int64_t session);

  Home& HomeOf(std::int64_t session, std::int64_t now_ns);
  [[nodiscard]] bool HasEvents(std::int64_t session, const Home& home) const;
  // Takes the oldest parked poll out, with its alarms.
  Parked Unpark(std::int64_t session, Home& home);
  // Answers the oldest parked poll with what there is, be it nothing.
  void AnswerOldest(std::int64_t session, Home& home);
  void RefuseOldest(std::int64_t session, Home& home, const Failure& why);
  // Answers every parked poll that has a reason.
  void AnswerDue(std::int64_t session, Home& home, std::int64_t now_ns);

  const Links links_;
  tree::WatchHub hub_;
  std::int64_t applied_;
  absl::btree_map<std::int64_t, std::unique_ptr<Home>> homes_;
  absl::btree_set<std::int64_t> woken_;  // have something to be told
  // Whom Wake looked at last: it goes round, so that nobody waits for ever behind those that are
  // told of something all the time.
  std::int64_t woken_last_ = 0;
  Alarms wakes_;
  Alarms waits_;
  std::size_t parked_ = 0;
  std::int64_t next_sweep_ns_ = 0;
};

}  // namespace conclave::server
