// What clients did and were told, kept for the judgement at the end (oracle.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coord/server/api.h"

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

// Thread: one.
struct History {
  std::map<std::int64_t, SessionRecord> sessions;
  std::deque<ReadRecord> reads;
  // The highest zxid that any client has been shown.
  std::int64_t known_zxid = 0;
};

}  // namespace conclave::sim
