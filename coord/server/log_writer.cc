#include "coord/server/log_writer.h"

#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "coord/server/seams.h"
#include "persist/log_store.h"

namespace conclave::server {
namespace {

// One write takes no more than this together, so that what follows does not wait behind a giant.
constexpr std::size_t kWriteBytesMax = std::size_t{8} << 20;

}  // namespace

// Shared by both executors; lives as long as a task that may run.
struct LogWriter::Shared : std::enable_shared_from_this<LogWriter::Shared> {
  struct Waiting {
    raft::PersistId id = 0;
    persist::LogBatch batch;
  };

  Shared(persist::LogStore* store_arg, Links links_arg)
      : store(store_arg), links(std::move(links_arg)) {}

  // On the log executor: takes what waits, writes it with one sync, and goes on while there is
  // more.
  void WriteWaiting() {
    while (true) {
      Written written;
      persist::LogBatch batch;
      if (!Take(&written, &batch)) {
        return;
      }
      const std::int64_t begun_ns = links.log->NowNs();
      const auto result = store->Write(batch);
      if (links.metrics != nullptr) {
        links.metrics->Observe(Timing::kLogSync, links.log->NowNs() - begun_ns);
      }
      if (!result) {
        {
          const std::lock_guard<std::mutex> lock(mutex);
          closed = true;
        }
        links.fatal(result.error().message);
        return;
      }
      links.core->Post([self = shared_from_this(), written] { self->Report(written); });
    }
  }

  bool Take(Written* written, persist::LogBatch* batch) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closed || waiting.empty()) {
      running = false;
      return false;
    }
    *batch = std::move(waiting.front().batch);
    written->through = waiting.front().id;
    waiting.pop_front();
    std::size_t bytes = batch->bytes();
    while (!waiting.empty() && bytes < kWriteBytesMax) {
      bytes += waiting.front().batch.bytes();
      written->through = waiting.front().id;
      batch->Merge(std::move(waiting.front().batch));
      waiting.pop_front();
    }
    written->entries = batch->append.size();
    for (const raft::Entry& entry : batch->append) {
      written->bytes += entry.data_bytes();
    }
    return true;
  }

  // On the core executor.
  void Report(const Written& written) {
    if (links.written) {
      links.written(written);
    }
  }

  persist::LogStore* const store;
  Links links;  // `written` is emptied by the core executor when the owner goes

  std::mutex mutex;
  // Guarded by mutex.
  std::deque<Waiting> waiting;
  bool running = false;  // a task on the log executor will look at `waiting`
  bool closed = false;
};

LogWriter::LogWriter(persist::LogStore* store, Links links)
    : shared_(std::make_shared<Shared>(store, std::move(links))) {}

LogWriter::~LogWriter() {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  shared_->closed = true;
  shared_->waiting.clear();
  shared_->links.written = nullptr;
}

void LogWriter::Submit(raft::PersistId id, persist::LogBatch batch) {
  {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    if (shared_->closed) {
      return;
    }
    shared_->waiting.push_back({id, std::move(batch)});
    if (shared_->running) {
      return;
    }
    shared_->running = true;
  }
  shared_->links.log->Post([shared = shared_] { shared->WriteWaiting(); });
}

}  // namespace conclave::server
