#include "coord/server/log_tail.h"

#include <algorithm>

namespace conclave::server {
namespace {

// A mark for about this much, so that marks cost nothing beside the log.
constexpr std::uint64_t kMarkBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kMarkEntries = 256;

}  // namespace

LogTail::LogTail(raft::Index start, raft::Index last, std::uint64_t bytes) : start_(start) {
  marks_.push_back({start, 0});
  if (last > start) {
    marks_.push_back({last, bytes});
  }
  marks_.push_back(marks_.back());
}

void LogTail::Add(raft::Index index, std::uint64_t bytes) {
  // The last mark grows until it has its size.
  Mark& last = marks_.back();
  if (index <= last.index) {
    return;
  }
  last = {index, last.bytes + bytes};
  const Mark& before = marks_[marks_.size() - 2];
  if (last.bytes - before.bytes >= kMarkBytes || last.index - before.index >= kMarkEntries) {
    marks_.push_back(Mark(last));
  }
}

void LogTail::Compacted(raft::Index through) {
  start_ = std::max(start_, through);
  while (marks_.size() > 2 && marks_[1].index <= start_) {
    marks_.pop_front();
  }
}

void LogTail::Reset(raft::Index through) {
  const std::uint64_t bytes = marks_.back().bytes;
  start_ = through;
  marks_ = {{through, bytes}, {through, bytes}};
}

std::uint64_t LogTail::BytesThrough(raft::Index index) const {
  const auto after =
      std::upper_bound(marks_.begin(), marks_.end(), index,
                       [](raft::Index i, const Mark& mark) { return i < mark.index; });
  if (after == marks_.end()) {
    return marks_.back().bytes;
  }
  if (after == marks_.begin()) {
    return after->bytes;
  }
  const Mark& before = *(after - 1);
  const double share =
      static_cast<double>(index - before.index) / static_cast<double>(after->index - before.index);
  return before.bytes +
         static_cast<std::uint64_t>(share * static_cast<double>(after->bytes - before.bytes));
}

std::uint64_t LogTail::BytesBehind(raft::Index index) const {
  return marks_.back().bytes - BytesThrough(index);
}

raft::Index LogTail::Keep(raft::Index checkpoint, std::uint64_t entries_max,
                          std::uint64_t bytes_max) const {
  const raft::Index by_count = checkpoint - std::min<raft::Index>(checkpoint, entries_max);
  const std::uint64_t end = BytesThrough(checkpoint);
  raft::Index low = by_count;
  raft::Index high = checkpoint;
  while (low < high) {
    const raft::Index middle = low + (high - low) / 2;
    if (end - BytesThrough(middle) <= bytes_max) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace conclave::server
