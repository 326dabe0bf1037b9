// What changed between two checkpoints, frozen as of one zxid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/command.h"
#include "coord/tree/digest.h"
#include "coord/tree/rows.h"
#include "coord/tree/shared_bytes.h"
#include "coord/tree/value.h"

namespace conclave::tree {

// Keys one behind the other in large pieces, at addresses that stay: a dirty znode costs the bytes
// of its key and no allocation of its own.
class KeyArena {
 public:
  // A copy of `key`, valid as long as the arena.
  std::string_view Add(std::string_view key);

 private:
  std::deque<std::unique_ptr<char[]>> pieces_;
  char* at_ = nullptr;
  std::size_t left_ = 0;
};

// A znode at the moment of the freeze. The value is shared with the tree.
struct FrozenZnode {
  std::string_view key;  // Held by the same FrozenRows.
  ValueRef value;        // Null: the znode is gone.
  std::int64_t pzxid = 0;
  std::int32_t ccount = 0;
  bool is_directory = false;
};

struct FrozenReply {
  std::int64_t seq = 0;
  std::int64_t zxid = 0;
  SharedBytes body;  // Nothing: dropped.
};

// A session at the moment of the freeze, with those of its stored replies that changed.
struct FrozenSession {
  SessionRow row;
  bool gone = false;  // Only the id counts, and the replies that are gone.
  std::int64_t gone_replies_begin = 0;
  std::int64_t gone_replies_end = 0;  // Behind the last one.
  std::vector<FrozenReply> replies;   // By seq, all above the ones that are gone.
};

// Role: the rows that changed since the freeze before, as they were at zxid(); what is to be put
// over the checkpoint before makes it the state at exactly that zxid. The first freeze of a new
// state has all of its rows.
//
// It shares values with the state and owns everything else: it may be encoded, kept and destroyed
// on any thread while the state machine goes on. Thread: one at a time.
class FrozenRows {
 public:
  // One row. No value: the row is gone (it may never have been there). The bytes are valid during
  // the call.
  using Sink = std::function<void(std::string_view key, std::optional<std::string_view> value)>;

  FrozenRows() = default;
  FrozenRows(FrozenRows&&) = default;
  FrozenRows& operator=(FrozenRows&&) = default;
  FrozenRows(const FrozenRows&) = delete;
  FrozenRows& operator=(const FrozenRows&) = delete;
  ~FrozenRows() = default;

  // The last zxid that the rows have seen. The Raft index of the freeze may be greater: entries of
  // Raft's own are no business of the state machine.
  std::int64_t zxid() const { return state_.last_zxid; }

  // StateMachine::digest() at the freeze.
  const Digest& digest() const { return state_.digest; }

  // How many times ForEach calls its sink.
  std::uint64_t rows() const { return rows_; }

  // Bytes of all keys and values that ForEach gives: exact.
  std::uint64_t bytes() const { return bytes_; }

  // Gives every row once, keys ascending as bytes. Sorts at the first call, so that may take about
  // a microsecond for each row; may be called again.
  void ForEach(const Sink& sink);

 private:
  friend class DirtyZnodes;
  friend class Sessions;
  friend class StateMachine;

  void Add(FrozenZnode znode);
  void Add(FrozenSession session);
  void Add(MemberRow member);
  void SetState(const StateRow& state);
  void Sort();

  StateRow state_;
  std::vector<FrozenSession> sessions_;
  std::vector<MemberRow> members_;
  std::vector<FrozenZnode> znodes_;
  KeyArena captured_keys_;       // Of znodes that changed during the freeze.
  std::shared_ptr<void> epoch_;  // Holds the other keys.
  std::uint64_t rows_ = 0;
  std::uint64_t bytes_ = 0;
  bool sorted_ = false;
};

}  // namespace conclave::tree
