// How much of the log to keep behind a checkpoint, so that a follower that is a little behind is
// given entries and not the whole state.
#pragma once

#include <cstdint>
#include <deque>

#include "consensus/types.h"

namespace conclave::server {

// Knows about how many bytes lie between two entries of the log, without reading them.
//
// Thread: core executor only. Pure.
class LogTail {
 public:
  // A log that begins after `start`, ends with `last` and holds `bytes` between them.
  LogTail(raft::Index start, raft::Index last, std::uint64_t bytes);

  // An entry was applied. Those that are known already are not counted again.
  void Add(raft::Index index, std::uint64_t bytes);

  // The log begins after this one.
  void Compacted(raft::Index through);
  // The log was replaced by a snapshot that ends here.
  void Reset(raft::Index through);

  [[nodiscard]] raft::Index start() const { return start_; }

  // About so many bytes lie behind `index`, up to the last entry added.
  [[nodiscard]] std::uint64_t BytesBehind(raft::Index index) const;

  // The greatest index, not above `checkpoint`, such that at most this much is left between it and
  // `checkpoint`. May lie before the start.
  [[nodiscard]] raft::Index Keep(raft::Index checkpoint, std::uint64_t entries_max,
                                 std::uint64_t bytes_max) const;

 private:
  struct Mark {
    raft::Index index = 0;
    std::uint64_t bytes = 0;  // from the beginning of time through `index`
  };

  [[nodiscard]] std::uint64_t BytesThrough(raft::Index index) const;

  raft::Index start_ = 0;
  std::deque<Mark> marks_;  // rising; never empty; between two of them bytes are spread evenly
};

}  // namespace conclave::server
