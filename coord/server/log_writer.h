// Group commit: everything that waits for the disk goes into one synced write.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "consensus/types.h"
#include "coord/server/executor.h"
#include "persist/log_batch.h"

namespace conclave::persist {
class LogStore;
}

namespace conclave::server {

class MetricsSink;

// Hands batches from the core executor to the log executor and reports back. While a write is being
// synced the next ones gather, and the log executor takes all of them in its next wake-up: the
// number of syncs follows the speed of the disk and not the number of requests.
//
// Thread: Submit on the core executor; the writes run on the log executor.
// Invariants: (1) batches become durable in the order submitted; (2) after a failed write nothing
// is written or reported any more.
class LogWriter {
 public:
  // What one synced write did; passed to `written` on the core executor.
  struct Written {
    // This batch and all submitted before it are durable; 0: it held nothing of consensus.
    raft::PersistId through = 0;
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;
    std::vector<std::function<void()>> durable = {};  // of SubmitOwn
    // What was written. It ends where it began: entries share memory with those that the core
    // executor holds, and to let go of them on two threads at once would cost both.
    std::vector<raft::Entry> written = {};
  };

  struct Links {
    Executor* core = nullptr;
    Executor* log = nullptr;
    MetricsSink* metrics = nullptr;  // may be null
    std::function<void(const Written&)> written;
    // The write failed: this member must end (D5). Called on the log executor.
    std::function<void(std::string_view)> fatal;
  };

  // `store` must outlive the writes that run, see Server's destructor.
  LogWriter(persist::LogStore* store, Links links);
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  // What is still queued is not written; nothing is reported any more.
  ~LogWriter();

  void Submit(raft::PersistId id, persist::LogBatch batch);

  // A batch that consensus has not asked for: compaction, another generation of the snapshot. It
  // keeps its place among the others. `durable` is called on the core executor, after `written`; it
  // may be empty.
  void SubmitOwn(persist::LogBatch batch, std::function<void()> durable);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace conclave::server
