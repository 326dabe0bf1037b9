// A cluster in memory, as a client sees it: members that share one tree, at once and without a
// quorum, behind the generated processor and real frames. Tests make it misbehave by call.
#pragma once

#include <any>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <conclave/executor.h>
#include <conclave/transport.h>
#include <conclave_idl/Coord.h>

#include "thrift/wire/service.h"

namespace conclave::client_test {

namespace idl = conclave::idl::v1;

// What a member does with one call instead of serving it.
struct Fault {
  enum class Kind {
    kNone,
    kBreakBefore,  // Closes the connection; the call has not been executed.
    kBreakAfter,   // Executes the call, and closes the connection instead of answering.
    kMuteBefore,   // Does nothing at all.
    kMuteAfter,    // Executes, and does not answer.
    kFail,         // Answers with `error`.
    kRaw,          // Answers with the frame `raw`.
  };
  Kind kind = Kind::kNone;
  idl::CoordError error;
  std::string raw;
};

Fault Break(bool after);
Fault Mute(bool after);
Fault Fail(idl::ErrorCode::type code, const std::string& leader_hint = {});
Fault Raw(std::string frame);

class FakeCluster final : public Transport {
 public:
  struct Znode {
    std::optional<std::string> data;
    idl::Stat stat;
    std::int64_t children_created = 0;
  };

  struct Session {
    std::string secret;
    std::string nonce;
    int timeout_ms = 0;
    std::int64_t last_seq = 0;
    std::int64_t acked_through = 0;
    std::int64_t taken_over_through = 0;
    std::map<std::int64_t, std::any> replies;
  };
  struct Link;

  FakeCluster(Executor& executor, int members);
  ~FakeCluster() override;

  // "m1:1,m2:1,...", member i listening at mI:1.
  std::string Endpoints() const;
  std::unique_ptr<FrameConnection> Connect(const Endpoint& endpoint, Callbacks callbacks) override;

  // Asked before each call is served: method, context, member.
  std::function<Fault(const std::string& method, const idl::Ctx& ctx, int member)> on_call;

  // Serves a connection of a real transport to the member; `close` closes it.
  std::shared_ptr<Link> Attach(int member, std::function<void()> close);
  static std::shared_ptr<idl::CoordAsyncProcessor> ProcessorFor(FakeCluster& cluster,
                                                                const std::shared_ptr<Link>& link);
  static void Detach(Link& link);

  void Stop(int member);  // Connections break, new ones are refused.
  void Start(int member);
  void Mute(int member);  // Accepts connections and frames, and does nothing.
  void BreakConnections();
  // Ends the session as the cluster does when it has not heard of it.
  void ExpireSession(std::int64_t session);
  // Writes by somebody else.
  std::int64_t ForeignSet(const std::string& path, const std::string& data);
  std::int64_t ForeignCreate(const std::string& path, const std::string& data);
  void ForeignRemove(const std::string& path);

  // Members have not heard of the session for so long that they drop its watches.
  void ForgetWatches(std::int64_t session);

  // Members no longer remember changes up to now.
  void ForgetChanges() { forgotten_ = changes_.size(); }

  // --- To look at.
  std::map<std::string, Znode> tree;
  std::map<std::int64_t, Session> sessions;
  std::vector<std::string> applied;  // One line for each write executed: "set /a 1".
  std::vector<std::string> calls;    // One line for each call: "m1 setData".
  std::int64_t zxid = 100;
  std::string cluster_id = std::string(16, 'C');
  std::optional<int> confirmed_age_ms = 0;  // Empty: members say nothing about it.
  std::string secret_of_next_session = std::string(16, 's');
  // Members ("m1:1") that cannot resume watches and name another that can.
  std::map<std::string, std::string> elsewhere;
  int connects = 0;
  int CountCalls(const std::string& method) const;
  std::size_t WatchesAt(int member, std::int64_t session) const;
  int HomeOf(std::int64_t session) const;  // The member that holds a poll of it; 0 if none.

 private:
  friend struct Handler;

  struct Registered {
    idl::WatchSpec spec;
    idl::Cursor since;
  };

  struct Member {
    bool up = true;
    bool mute = false;
    std::map<std::int64_t, std::map<std::int64_t, Registered>> watches;  // By session, id.
    std::map<std::int64_t, std::size_t> position;  // By session: changes told of.
    std::map<std::int64_t, idl::Cursor> sent;      // By session: what polls were answered up to.
    // By session: events before this are missing. Said with every poll from before it.
    std::map<std::int64_t, idl::Cursor> resync;
  };

  struct ParkedPoll {
    std::weak_ptr<Link> link;
    std::int64_t session = 0;
    int member = 0;
    std::function<void()> answer;
    TimerId timer = 0;
  };

  Member& member(int id) { return members_.at(static_cast<std::size_t>(id - 1)); }

  void Wake();
  std::int64_t Changed(std::vector<idl::Change> changes);
  std::size_t PositionBehind(const idl::Cursor& cursor) const;
  void FillHead(idl::Head& head, const idl::Ctx& ctx, int member);
  idl::Cursor End() const;  // Behind all changes.
  void AnswerPolls(std::int64_t session, int member);
  void DrainEvents(idl::Head& head, std::int64_t session, int member);
  bool HasEvents(std::int64_t session, int member);
  std::optional<idl::CoordError> CheckSession(const idl::Ctx& ctx) const;

  // The state machine. Errors are returned, effects are made at once.
  using Outcome = std::optional<idl::CoordError>;
  Outcome ApplyCreate(const idl::CreateRequest& request, std::int64_t session,
                      std::vector<idl::Change>& changes, std::string& path, idl::Stat& stat);
  Outcome ApplySet(const idl::SetDataRequest& request, std::vector<idl::Change>& changes,
                   idl::Stat& stat);
  Outcome ApplyRemove(const std::string& path, std::int32_t version,
                      std::vector<idl::Change>& changes);
  void ApplyMulti(const idl::MultiRequest& request, std::int64_t session, idl::MultiResult& result);
  void CloseSession(std::int64_t session);

  Executor& executor_;
  std::vector<Member> members_;
  std::vector<idl::Change> changes_;
  std::size_t forgotten_ = 0;
  std::list<std::shared_ptr<Link>> links_;
  std::list<ParkedPoll> polls_;
  std::list<std::function<bool()>> parked_reads_;
  wire::Counters counters_;
  std::vector<std::any> unanswered_;  // Callbacks of calls that are left without an answer.
};

}  // namespace conclave::client_test
