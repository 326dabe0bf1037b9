// The leveldb::Env that every database of a member runs on. LevelDB's own leaves gaps that a log of
// acknowledged writes cannot live with; each is closed here:
//
//  - All databases of a process share one background thread, so a compaction of one stalls another.
//    A StorageEnv has a thread of its own, or none (see Background).
//  - A new write-ahead file is not made durable in its directory, nor is a rename or a removal.
//    Here the directory is synced after each.
//  - Growing a file makes every sync write the file's size too. Write-ahead files are extended with
//    zeros in steps, so that most syncs find their blocks allocated; and the next one is made ready
//    in the background, so that not even those steps wait. Files are never recycled: what a former
//    life left behind the end would be taken for records.
//  - A table of megabytes that is synced in one go keeps the disk from the log for as long. Tables
//    are synced in pieces while they are written.
//  - Errors of closing a file are dropped, and a failed append is forgotten by the next write,
//    which is then acknowledged and lost at the next start. Here the first failure is kept, every
//    later write to any file fails, and failure() tells.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
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
    /// When a write-ahead file has half of this in it, the next one is made ready in the
    /// background, so large and full of zeros, under the name kSpareName; 0: none is. Needs `disk`.
    std::uint64_t log_spare_bytes = 0;
    /// Called after every sync that LevelDB asks for of a file with how long it took, from the
    /// thread that synced (the caller of LevelDB for write-ahead files, the background thread for
    /// others).
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

  /// In the directory of the database. What an earlier life left there is to be removed.
  static constexpr std::string_view kSpareName = "NEXT";

  /// `disk` may be null: then files are written through `base`, without pre-allocation and without
  /// syncs of directories (an in-memory Env needs neither).
  StorageEnv(leveldb::Env* base, Disk* disk, Options options);
  StorageEnv(const StorageEnv&) = delete;
  StorageEnv& operator=(const StorageEnv&) = delete;
  StorageEnv(StorageEnv&&) = delete;
  StorageEnv& operator=(StorageEnv&&) = delete;
  /// Runs what is still queued, then joins the thread. REQUIRES: databases on it are closed.
  ~StorageEnv() override;

  /// Runs queued background work on this thread until there is none (a spare file included).
  /// REQUIRES: kQueued, and calls into the database come from this thread only.
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

  // A write-ahead file to be: zeros and nothing else.
  struct Spare {
    std::string name;
    std::unique_ptr<DiskFile> file;
    std::uint64_t bytes = 0;
  };

  void BackgroundMain();
  /// REQUIRES: mutex_ is held.
  void StartThread();
  /// Runs what is next, without the lock; false if there is nothing.
  bool RunOne(std::unique_lock<std::mutex>* lock);
  /// Opens `name` for LevelDB, made of the spare file if there is one. Returns how many zeros it
  /// holds in `*allocated`.
  leveldb::Status OpenWriteAhead(const std::string& name, std::unique_ptr<DiskFile>* file,
                                 std::uint64_t* allocated);
  /// Has the next write-ahead file in `directory` be made ready.
  void WantSpare(const std::string& directory);
  /// A piece of the spare file that is wanted; ready_ once it is whole. Background only.
  void PrepareSpare();
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
  std::string spare_wanted_;    // the directory; empty: none is wanted
  std::optional<Spare> ready_;  // durable as it is
  leveldb::Status failure_;
  std::uint64_t bytes_written_ = 0;
  std::thread thread_;

  // Whoever runs the background work.
  Spare preparing_;
};

}  // namespace conclave::persist
