// The judgement over programs with the client library: what they were told against the committed
// log, by the library's own promises (client/include/conclave/client.h and lock.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/history.h"
#include "tests/sim/journal.h"
#include "tests/tree/model.h"

namespace conclave::sim {

// The events that a change makes for a watch of this path and mode, in order; none: not its own.
std::vector<EventRecord> EventsOf(tree::WatchMode mode, const std::string& path,
                                  const EventRecord& change);

// Whether the library has called back an answer of the state machine. (It calls what the cluster
// has refused for its number, or has not answered in time, not done.)
bool IsAnswer(const LibraryWrite& write);

// Thread: one. What it finds it says to the journal. It holds:
//   D1 C3 each answered write is in the log once, under the zxid that it was told; one that was
//   told
//      not to have been done is not in it; one of unknown outcome at most once; nothing that nobody
//      asked for is,
//   C2 writes take effect in the order of their issue, reads see those issued before them,
//   C7 a lock is claimed by the first contender only, after the holder before it has gone; guarded
//      writes are the holder's; each grant was a claim,
//   C8 a watch is told of exactly the changes behind its registration, once, in order, up to what
//      replies have shown, but for what an explicit resync covers.
class LibraryJudge {
 public:
  LibraryJudge(const History* history, Journal* journal) : history_(history), journal_(journal) {}

  // What a request of the log did; `model`: the state behind it.
  void Executed(std::int64_t zxid, std::int64_t session,
                const std::vector<tree_model::ModelOp>& ops, const tree_model::ModelResult& result,
                const tree_model::Model& model);

  // The write that was told this zxid; null if none was.
  const LibraryWrite* WriteAt(std::int64_t zxid, std::int64_t session);

  // After the last entry. `changes`: of the whole log, in order.
  void Finish(const std::vector<EventRecord>& changes);

 private:
  struct Holder {
    std::string contender;
    std::int64_t czxid = 0;
    std::int64_t token = 0;
  };

  // How often writes of these words were executed, and may have been by what was told.
  struct Tally {
    int executed = 0;
    int least = 0;
    int most = 0;
  };

  void Index();
  void Claim(std::int64_t zxid, std::int64_t session, const std::vector<tree_model::ModelOp>& ops,
             const tree_model::Model& model);
  void CheckLife(const LibraryLife& life);
  void CheckOrder(const LibraryLife& life);
  void CheckWatch(const LibraryLife& life, const LibraryWatch& watch,
                  const std::vector<EventRecord>& changes);

  const History* const history_;
  Journal* const journal_;
  bool indexed_ = false;
  std::map<std::pair<std::int64_t, std::int64_t>, const LibraryWrite*> by_zxid_;  // zxid, session
  std::map<std::pair<std::int64_t, std::string>, Tally> tallies_;        // session, the words
  std::map<std::pair<std::int64_t, std::int64_t>, bool> found_;          // zxid, session
  std::map<std::string, Holder> holders_;                                // by lock
  std::map<std::pair<std::string, std::int64_t>, std::int64_t> claims_;  // lock, token: session
};

}  // namespace conclave::sim
