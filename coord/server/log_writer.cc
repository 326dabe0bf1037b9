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
    raft::PersistId id = 0;  // 0: of SubmitOwn
    persist::LogBatch batch;
    std::function<void()> durable = {};
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
      written.written = std::move(batch.append);
      links.core->Post([self = shared_from_this(),
                        written = std::make_shared<const Written>(std::move(written))] {
        self->Report(*written);
      });
    }
  }

  bool Take(Written* written, persist::LogBatch* batch) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closed || waiting.empty()) {
      running = false;
      return false;
    }
    std::size_t bytes = 0;
    do {
      Waiting next = std::move(waiting.front());
      waiting.pop_front();
      bytes += next.batch.bytes();
      batch->Merge(std::move(next.batch));
      if (next.id != 0) {
        written->through = next.id;
      }
      if (next.durable) {
        written->durable.push_back(std::move(next.durable));
      }
      // An install begins a write: what comes before it may be of the log that it empties.
    } while (!waiting.empty() && bytes < kWriteBytesMax && !waiting.front().batch.install);
    written->entries = batch->append.size();
    for (const raft::Entry& entry : batch->append) {
      written->bytes += entry.data_bytes();
    }
    return true;
  }

  // On the core executor.
  void Report(const Written& written) {
    if (links.written && written.through != 0) {
      links.written(written);
    }
    for (const std::function<void()>& durable : written.durable) {
      if (links.written) {  // still somebody there
        durable();
      }
    }
  }

  // Returns whether a task on the log executor is to be posted.
  bool Queue(Waiting next) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closed) {
      return false;
    }
    waiting.push_back(std::move(next));
    return !std::exchange(running, true);
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
  if (shared_->Queue({.id = id, .batch = std::move(batch), .durable = {}})) {
    shared_->links.log->Post([shared = shared_] { shared->WriteWaiting(); });
  }
}

void LogWriter::SubmitOwn(persist::LogBatch batch, std::function<void()> durable) {
  if (shared_->Queue({.id = 0, .batch = std::move(batch), .durable = std::move(durable)})) {
    shared_->links.log->Post([shared = shared_] { shared->WriteWaiting(); });
  }
}

}  // namespace conclave::server
