#include "persist/log_batch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <glog/logging.h>

namespace conclave::persist {

void LogBatch::SetInstall(std::uint64_t generation, const raft::SnapshotMeta& meta, bool log_kept) {
  install = Install{generation, meta};
  if (!log_kept) {
    resetTo = meta;
  }
}

void LogBatch::Merge(LogBatch next) {
  if (next.resetTo) {
    resetTo = std::move(next.resetTo);
    truncateFrom = 0;
    append.clear();
    compactThrough = 0;
    install.reset();
  }
  if (next.truncateFrom != 0) {
    const auto keep = std::find_if(append.begin(), append.end(), [&](const raft::Entry& entry) {
      return entry.index >= next.truncateFrom;
    });
    append.erase(keep, append.end());
    // With entries of this batch left, the cut was within them and the stored log keeps what this
    // batch keeps. With none left the cut may go deeper into the stored log than this batch's own.
    if (append.empty()) {
      truncateFrom =
          truncateFrom == 0 ? next.truncateFrom : std::min(truncateFrom, next.truncateFrom);
    }
  }
  if (!append.empty() && !next.append.empty()) {
    CHECK_EQ(next.append.front().index, append.back().index + 1);
  }
  append.insert(append.end(), std::make_move_iterator(next.append.begin()),
                std::make_move_iterator(next.append.end()));
  if (next.install) {
    install = std::move(next.install);
  }
  compactThrough = std::max(compactThrough, next.compactThrough);
  if (next.hardState) {
    hardState = next.hardState;
  }
}

std::size_t LogBatch::bytes() const {
  std::size_t bytes = 0;
  for (const raft::Entry& entry : append) {
    bytes += raft::EntryBytes(entry);
  }
  return bytes;
}

}  // namespace conclave::persist
