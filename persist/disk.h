// What storage needs from an operating system and leveldb::Env does not offer: positional writes
// (so that a file can be pre-allocated with zeros and filled afterwards) and syncs of directories.
// PosixDisk is the real one; the tests' FaultEnv implements the same interface in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <leveldb/env.h>
#include <leveldb/slice.h>
#include <leveldb/status.h>

namespace conclave::persist {

/// A file being written. Thread: any, one call at a time.
class DiskFile {
 public:
  DiskFile() = default;
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;
  DiskFile(DiskFile&&) = delete;
  DiskFile& operator=(DiskFile&&) = delete;
  virtual ~DiskFile() = default;

  /// Writes all of `data` at `offset`, growing the file as needed. After an error any part of the
  /// range may have been written.
  virtual leveldb::Status WriteAt(std::uint64_t offset, const leveldb::Slice& data) = 0;
  /// Returns once everything written is durable. After an error nothing can be said about any write
  /// since the last sync that succeeded, and trying again proves nothing: the kernel may have
  /// dropped the pages and marked them clean.
  virtual leveldb::Status Sync() = 0;
  /// Releases the file. An error may be the first sign of a write that did not reach the disk.
  virtual leveldb::Status Close() = 0;
};

/// Thread: any.
class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  Disk(Disk&&) = delete;
  Disk& operator=(Disk&&) = delete;
  virtual ~Disk() = default;

  /// Creates `name`, or empties it if it exists; readable by the owner only (mode 0600). The entry
  /// in the directory is durable only after SyncDirectory.
  virtual leveldb::Status Create(const std::string& name, std::unique_ptr<DiskFile>* file) = 0;
  /// Opens `name` for reads at any position by read calls. Never by a mapping: a bad sector would
  /// then be a signal instead of an error, and tables would count as memory of the process.
  virtual leveldb::Status OpenForRead(const std::string& name,
                                      std::unique_ptr<leveldb::RandomAccessFile>* file) = 0;
  /// Makes creations, renames and removals in `directory` durable.
  virtual leveldb::Status SyncDirectory(const std::string& directory) = 0;
  /// Creates `directory` readable by the owner only (mode 0700). An existing one is an error.
  virtual leveldb::Status CreatePrivateDirectory(const std::string& directory) = 0;
  /// OK if `directory` is a directory in which this process may create files; else says what is
  /// wrong. Takes access away from group and others, or warns where it may not.
  virtual leveldb::Status CheckPrivateDirectory(const std::string& directory) = 0;
};

/// The process-wide Disk of the operating system. Belongs to the library.
Disk* PosixDisk();

/// The directory part of `name`: "a/b" for "a/b/c", "." for a bare name.
std::string DirectoryOf(const std::string& name);

/// True if the status stands for a full disk (ENOSPC or EDQUOT, by the text that LevelDB keeps).
bool IsNoSpace(const leveldb::Status& status);

}  // namespace conclave::persist
