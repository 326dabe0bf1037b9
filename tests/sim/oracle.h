// The judgement at the end of a run: the committed log, replayed through the naive model of the
// tree, against everything that clients were told.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "consensus/types.h"
#include "coord/tree/command.h"
#include "tests/sim/history.h"
#include "tests/sim/journal.h"
#include "tests/sim/library_judge.h"
#include "tests/tree/model.h"

namespace conclave::sim {

// Thread: one. What it finds it says to the journal.
//
// It shares with the product the decoder of entries and nothing else. It holds:
//   C1 reads show the state of their zxid, writes come after what was known, C3 each answer is the
//   model's at the zxid it names, each acknowledged write is in the log, C4 C9 C10 by the model
//   (paths, multis, Stat), C5 ephemerals go with their session, C6 no session ends before what its
//   client was promised, C8 each segment of a stream of events is exactly what the model says.
class Oracle {
 public:
  Oracle(const History* history, Journal* journal)
      : history_(history), journal_(journal), library_(history, journal) {}

  // `applied_at`: when an index was first applied, in true time.
  void Judge(const std::vector<raft::Entry>& log,
             const std::function<std::int64_t(std::uint64_t)>& applied_at);

  // After Judge.
  const tree_model::Model& model() const { return model_; }

  bool SessionLives(std::int64_t id) const { return model_.sessions.contains(id); }

  // Compares a member's znode with the model's. Returns what differs, or nothing.
  std::string Differs(const std::string& path, bool has_data, std::string_view data,
                      const tree::Stat& stat) const;

 private:
  void Apply(const raft::Entry& entry, std::int64_t applied_ns);
  void Request(std::int64_t zxid, const tree::EntryHeader& header,
               const std::vector<tree_model::ModelOp>& ops, bool is_multi);
  void Open(std::int64_t zxid, const tree::OpenSession& open);
  void Close(std::int64_t zxid, const tree::EntryHeader& header, const tree::CloseSession& close,
             std::int64_t applied_ns);
  void CheckWrite(const WriteRecord& write, std::int64_t session, std::int64_t seq,
                  const tree_model::ModelResult& result,
                  const std::vector<tree_model::ModelOp>& ops);
  void CheckLibraryWrite(const LibraryWrite& write, std::int64_t session,
                         const tree_model::ModelResult& result,
                         const std::vector<tree_model::ModelOp>& ops);
  void CheckRead(const ReadRecord& read);
  void CheckSession(const SessionRecord& session);
  std::vector<tree::Cursor> GoesOff(const SessionRecord& session) const;
  void CheckSegment(const SessionRecord& session, const Segment& segment,
                    const std::vector<tree::Cursor>& goes_off);
  void Add(tree::EventType type, const std::string& path, std::int64_t zxid, std::int32_t* ordinal);

  const History* const history_;
  Journal* const journal_;
  tree_model::Model model_;
  std::map<tree::Bytes16, std::int64_t> nonces_;  // of live sessions
  std::map<std::int64_t, tree::Bytes16> nonce_of_;
  std::map<std::int64_t, std::int64_t> ended_;  // session: the zxid of its end
  std::map<std::pair<std::int64_t, std::int64_t>, tree_model::ModelResult> executed_;
  std::vector<EventRecord> changes_;
  LibraryJudge library_;
};

// The words of the model for a command of a client; `is_multi` as the model wants it.
std::vector<tree_model::ModelOp> ToModel(const tree::Command& command, bool* is_multi);

}  // namespace conclave::sim
