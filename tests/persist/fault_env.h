// A disk in memory that can lose, tear, refuse and flip what it is given.
//
// The model is POSIX at its strictest. A write is in the page cache until its file is synced; an
// entry of a directory (creation, rename, removal) is in the cache until the directory is synced. A
// crash keeps what was synced and, of the rest, what a policy and a seed choose: nothing, all, a
// prefix in order, or any subset, where a write is kept or lost by sectors of 512 bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <leveldb/env.h>

#include "persist/disk.h"
#include "tests/persist/file_bytes.h"

namespace conclave::persist::testing {

/// What a crash keeps of the writes and directory entries that were not synced.
enum class CrashPolicy {
  kDropAll,  ///< Nothing.
  kKeepAll,  ///< Everything, as when only the process is killed.
  kPrefix,   ///< A random number of the oldest, the last of them torn (a journal that was cut).
  kSubset,   ///< Each sector and each entry or not, independently (reordered write-back).
};

/// The operations that can be made to fail.
enum class Operation { kCreate, kWrite, kSync, kSyncDirectory, kRename, kRemove, kRead, kClose };

enum class FaultError { kIo, kNoSpace };

/// Thread: any. Deterministic: same calls and seeds, same bytes. Time is a counter.
class FaultEnv final : public leveldb::Env, public Disk {
 public:
  FaultEnv();
  ~FaultEnv() override;

  // --- Crashes ---

  /// The machine stops here: unsynced state is resolved by `policy` and `seed`, locks are gone, and
  /// files still open are dead (their operations fail for ever). Faults are cleared.
  void Crash(CrashPolicy policy, std::uint64_t seed);

  /// The disk that a crash at this moment would leave, as an Env of its own; this one goes on.
  std::unique_ptr<FaultEnv> CrashImage(CrashPolicy policy, std::uint64_t seed) const;

  /// Called after every operation that changes something, without a lock held, so that it may call
  /// CrashImage. For the enumeration of crash states.
  void OnChange(std::function<void()> callback);

  // --- Faults ---

  struct Fault {
    Operation operation = Operation::kWrite;
    /// The how manyeth matching operation fails, from 1.
    std::uint64_t nth = 1;
    FaultError error = FaultError::kIo;
    /// Only files whose name ends so; empty: any.
    std::string suffix;
    /// Every later matching operation fails as well.
    bool sticky = false;
    /// Of a failing write this many bytes arrive first; where they replace others, the whole
    /// sectors of them, as no kernel stops within one.
    std::size_t short_write_bytes = 0;
  };

  /// Arms a fault; several may be armed. A failed sync leaves what it covered readable but never
  /// durable, as Linux does: the pages are marked clean.
  void Inject(Fault fault);
  void ClearFaults();
  /// Faults that have struck since they were cleared last.
  std::uint64_t faults_struck() const;

  /// From now on the sum of the sizes of all files may not pass this; writes beyond it arrive up to
  /// the limit and fail with ENOSPC.
  void SetCapacity(std::optional<std::uint64_t> bytes);

  // --- The disk from outside ---

  std::vector<std::string> Files() const;
  std::string Content(const std::string& name) const;
  /// Replaces or makes a file, durably.
  void SetContent(const std::string& name, std::string_view content);
  void FlipBit(const std::string& name, std::uint64_t bit);
  /// As FlipBit, but seen by those who have the file open too: rot under a running server.
  void CorruptOpenFile(const std::string& name, std::uint64_t bit);
  /// Durably and with everything below it.
  void Erase(const std::string& name);
  std::uint64_t bytes_used() const;
  /// Operations that changed something so far.
  std::uint64_t changes() const;
  std::uint64_t syncs() const;
  /// FNV of all names and contents, for the test of determinism.
  std::uint64_t Hash() const;

  // --- leveldb::Env ---

  leveldb::Status NewSequentialFile(const std::string& name,
                                    leveldb::SequentialFile** file) override;
  leveldb::Status NewRandomAccessFile(const std::string& name,
                                      leveldb::RandomAccessFile** file) override;
  leveldb::Status NewWritableFile(const std::string& name, leveldb::WritableFile** file) override;
  bool FileExists(const std::string& name) override;
  leveldb::Status GetChildren(const std::string& directory,
                              std::vector<std::string>* names) override;
  leveldb::Status RemoveFile(const std::string& name) override;
  leveldb::Status CreateDir(const std::string& name) override;
  leveldb::Status RemoveDir(const std::string& name) override;
  leveldb::Status GetFileSize(const std::string& name, std::uint64_t* size) override;
  leveldb::Status RenameFile(const std::string& from, const std::string& to) override;
  leveldb::Status LockFile(const std::string& name, leveldb::FileLock** lock) override;
  leveldb::Status UnlockFile(leveldb::FileLock* lock) override;
  void Schedule(void (*function)(void*), void* arg) override;
  void StartThread(void (*function)(void*), void* arg) override;
  leveldb::Status GetTestDirectory(std::string* path) override;
  leveldb::Status NewLogger(const std::string& name, leveldb::Logger** logger) override;
  std::uint64_t NowMicros() override;
  void SleepForMicroseconds(int micros) override;

  // --- Disk ---

  leveldb::Status Create(const std::string& name, std::unique_ptr<DiskFile>* file) override;
  leveldb::Status OpenForRead(const std::string& name,
                              std::unique_ptr<leveldb::RandomAccessFile>* file) override;
  leveldb::Status SyncDirectory(const std::string& directory) override;
  leveldb::Status CreatePrivateDirectory(const std::string& directory) override;
  leveldb::Status CheckPrivateDirectory(const std::string& directory) override;

 private:
  struct Write {
    std::uint64_t offset;
    FileBytes data;
  };

  struct Node {
    bool directory = false;
    FileBytes content;           // as a process sees it
    FileBytes durable;           // as of the last sync
    std::vector<Write> pending;  // since then, in order
  };

  using NodePtr = std::shared_ptr<Node>;
  using Names = std::map<std::string, NodePtr, std::less<>>;

  // A change of directory entries that waits for the sync of the directory of `to`.
  struct EntryChange {
    std::string from;  // the name that goes; empty: none
    std::string to;    // the name that comes; empty: none
    NodePtr node;      // of `to`

    const std::string& name() const { return to.empty() ? from : to; }
  };

  class WritableNode;
  class ReadableNode;
  class SequentialNode;

  leveldb::Status Strike(Operation operation, const std::string& name, std::size_t* arrives);
  leveldb::Status Changed();
  leveldb::Status WriteAt(const NodePtr& node, std::uint64_t life, const std::string& name,
                          std::uint64_t offset, const leveldb::Slice& data);
  leveldb::Status SyncNode(const NodePtr& node, std::uint64_t life, const std::string& name);
  leveldb::Status CloseNode(std::uint64_t life, const std::string& name);
  leveldb::Status MakeNode(const std::string& name, bool directory, NodePtr* node);
  NodePtr Find(std::string_view name) const;
  std::uint64_t BytesUsed() const;
  std::uint64_t Life() const;
  static std::string_view DirectoryOf(std::string_view name);
  static void Apply(const EntryChange& change, Names* names);
  static FileBytes Survive(const Node& node, CrashPolicy policy, std::mt19937_64* random);
  Names SurvivingNames(CrashPolicy policy, std::mt19937_64* random) const;

  // Guarded by mutex_.
  mutable std::mutex mutex_;
  Names names_;
  Names durable_names_;
  std::vector<EntryChange> pending_;
  std::set<std::string> locks_;
  std::uint64_t life_ = 1;  // files of an earlier one are dead
  std::vector<Fault> faults_;
  std::uint64_t struck_ = 0;
  std::optional<std::uint64_t> capacity_;
  std::uint64_t changes_ = 0;
  std::uint64_t syncs_ = 0;
  std::uint64_t now_micros_ = 0;
  std::function<void()> on_change_;
};

}  // namespace conclave::persist::testing
