// What clients did and were told, kept for the judgement at the end (oracle.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <conclave/lock.h>

#include "coord/server/api.h"
#include "tests/tree/model.h"

namespace conclave::sim {

// A write of a session and every answer that any member gave to it, delivered or not.
struct WriteRecord {
  std::int64_t known_zxid = 0;  // somebody had seen this much when it was first sent
  bool acknowledged = false;    // an answer reached the client
  bool answered = false;
  tree::Reply reply;  // the first answer
  int answers = 0;
};

struct ReadRecord {
  std::int64_t session = 0;
  server::ReadRequest request;
  std::int64_t known_zxid = 0;  // what it must not be older than
  std::int64_t zxid = 0;
  tree::Code code = tree::Code::kOk;
  std::optional<std::string> data;
  bool exists = true;
  tree::Stat stat;
  std::vector<std::string> names;
};

struct EventRecord {
  tree::EventType type = tree::EventType::kCreated;
  std::string path;
  tree::Cursor cursor;

  friend bool operator==(const EventRecord&, const EventRecord&) = default;
};

// A stretch of a session's stream of events without a resync.
struct Segment {
  tree::Cursor from;
  tree::Cursor to;
  std::vector<EventRecord> events;
};

struct WatchRecord {
  tree::Watch watch;
  tree::Cursor since;
  bool over = false;  // a one-shot one that has gone off, or was forgotten
  // Set: it was forgotten here, whether or not it had gone off.
  std::optional<tree::Cursor> until = std::nullopt;
};

struct SessionRecord {
  std::int64_t id = 0;
  std::int64_t timeout_ms = 0;
  std::int64_t opened_known_zxid = 0;
  std::int64_t promised_until_ns = 0;          // must not expire before, in true time
  std::int64_t told_over_zxid = 0;             // a member said that it is over, as of this zxid
  std::int64_t abandoned_ns = 0;               // its client fell silent for good
  std::map<std::int64_t, WriteRecord> writes;  // by seq
  std::vector<WatchRecord> watches;
  std::vector<Segment> segments;
};

// --- what the client library told its application (library_actor.h) ---

struct LibraryWrite {
  std::vector<tree_model::ModelOp> ops;
  bool is_multi = false;
  std::int64_t known_zxid = 0;
  bool ended = false;  // called back; else its client was destroyed before the end of the run
  // As called back. A multi that failed has the code of the operation `op_index` and no results.
  tree::Reply reply;
  std::int32_t op_index = -1;
};

struct LibraryEvent {
  bool resync = false;
  EventRecord event;
};

struct LibraryWatch {
  std::string path;
  tree::WatchMode mode = tree::WatchMode::kData;
  std::int64_t since = -1;  // it tells of what is behind this zxid; -1: never said
  // What the application had been told by replies when the watch was still there: events up to it
  // must have come.
  std::int64_t told_zxid = 0;
  bool over = false;
  std::vector<LibraryEvent> events;
};

// One client object, from its making to its end.
struct LibraryLife {
  std::int64_t session = 0;  // 0: none was ever opened
  std::deque<LibraryWrite> writes;
  // In the order of issue: the index of a write, or the zxid of an answered read in (-1, zxid).
  std::deque<std::pair<std::int64_t, std::int64_t>> order;
  std::map<std::int64_t, LibraryWatch> watches;
  std::int64_t told_zxid = 0;  // the highest of the replies called back
};

struct LibraryGrant {
  std::string path;
  std::int64_t token = 0;
  std::int64_t session = 0;
};

// Thread: one.
struct History {
  std::map<std::int64_t, SessionRecord> sessions;
  std::deque<ReadRecord> reads;
  std::deque<LibraryLife> lives;
  std::deque<LibraryGrant> grants;
  std::map<std::string, std::int64_t> last_token;  // by lock
  std::map<std::string, std::weak_ptr<const conclave::Grant>> holders;
  // The highest zxid that any client has been shown.
  std::int64_t known_zxid = 0;
};

}  // namespace conclave::sim
