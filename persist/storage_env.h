// The leveldb::Env that every database of a member runs on. LevelDB's own leaves gaps that a log of
// acknowledged writes cannot live with; each is closed here:
//
//  - All databases of a process share one background thread, so a compaction of one stalls another.
//    A StorageEnv has a thread of its own, or none (see Background).
//  - A new write-ahead file is not made durable in its directory, nor is a rename or a removal.
//    Here the directory is synced after each.
//  - Growing a file makes every sync write the file's size too. Write-ahead files are extended with
//    zeros in steps, so that most syncs find their blocks allocated. Files are never recycled:
//    what a former life left behind the end would be taken for records.
//  - Errors of closing a file are dropped, and a failed append is forgotten by the next write,
//  which
//    is then acknowledged and lost at the next start. Here the first failure is kept, every later
//    write to any file fails, and failure() tells.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <leveldb/env.h>

#include "persist/disk.h"

namespace conclave::persist {

/// Thread: any, except DrainBackground (see there). Borrows `base` and `disk` for its whole life.
/// One StorageEnv per database: its thread and its first failure are the database's.
class StorageEnv final : public leveldb::EnvWrapper {
 public:
  /// Who runs LevelDB's background work (flushes and compactions).
  enum class Background {
    /// A thread that belongs to this StorageEnv.
    kThread,
    /// Nobody until DrainBackground is called, which must follow every call into LevelDB: a write
    /// that needs room would wait for ever. For simulation, where one thread is all there is.
    kQueued,
  };

  struct Options {
    Background background = Background::kThread;
    /// Write-ahead files grow by this many zeros at a time; 0 turns pre-allocation off. A step
    /// costs one longer sync, and at most this much disk beyond what is used. Needs `disk`.
    std::uint64_t log_preallocate_bytes = std::uint64_t{1} << 20U;
    /// Called after every sync of a file with how long it took, from the thread that synced (the
    /// caller of LevelDB for write-ahead files, the background thread for others).
    std::function<void(bool write_ahead, std::uint64_t micros)> on_sync;
    /// Monotonic time for on_sync; empty: the steady clock.
    std::function<std::uint64_t()> now_micros;

    /// For writing single files with the same care, beside a database: no thread, nobody to tell.
    static Options Plain() {
      Options options;
      options.background = Background::kQueued;
      return options;
    }
  };

  /// `disk` may be null: then files are written through `base`, without pre-allocation and without
  /// syncs of directories (an in-memory Env needs neither).
  StorageEnv(leveldb::Env* base, Disk* disk, Options options);
  StorageEnv(const StorageEnv&) = delete;
  StorageEnv& operator=(const StorageEnv&) = delete;
  StorageEnv(StorageEnv&&) = delete;
  StorageEnv& operator=(StorageEnv&&) = delete;
  /// Runs what is still queued, then joins the thread. REQUIRES: databases on it are closed.
  ~StorageEnv() override;

  /// Runs queued background work on this thread until there is none. REQUIRES: kQueued, and calls
  /// into the database come from this thread only.
  void DrainBackground();

  /// The first failure of a write, sync, close, creation or rename; OK if there was none.
  leveldb::Status failure() const;

  /// Bytes written to files so far, pre-allocation included; only grows.
  std::uint64_t bytes_written() const;

  leveldb::Status NewWritableFile(const std::string& name, leveldb::WritableFile** file) override;
  /// Always NotSupported: appending to what an earlier life of the process left is never safe here.
  leveldb::Status NewAppendableFile(const std::string& name, leveldb::WritableFile** file) override;
  leveldb::Status NewRandomAccessFile(const std::string& name,
                                      leveldb::RandomAccessFile** file) override;
  leveldb::Status RenameFile(const std::string& from, const std::string& to) override;
  leveldb::Status RemoveFile(const std::string& name) override;
  leveldb::Status CreateDir(const std::string& name) override;
  void Schedule(void (*function)(void*), void* arg) override;
  void SleepForMicroseconds(int micros) override;

 private:
  class File;
  friend class File;

  struct Job {
    void (*function)(void*);
    void* arg;
  };

  void BackgroundMain();
  /// Keeps the first failure and passes `status` through.
  leveldb::Status Note(leveldb::Status status);
  leveldb::Status SyncDirectoryOf(const std::string& name);
  void CountBytes(std::uint64_t bytes);
  std::uint64_t Now() const;

  // Constant after construction.
  Disk* const disk_;
  const Options options_;

  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  leveldb::Status failure_;
  std::uint64_t bytes_written_ = 0;
  std::thread thread_;
};

}  // namespace conclave::persist
