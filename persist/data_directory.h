// The directory given by --data_dir: made, checked, locked, and signed with an identity.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <leveldb/env.h>
#include <tl/expected.hpp>

#include "persist/disk.h"
#include "persist/error.h"
#include "persist/identity.h"

namespace conclave::persist {

/// Holds the lock of a data directory from Acquire to destruction. Thread: any, one call at a time.
class DataDirectory {
 public:
  /// Makes `path` if it does not exist, takes the lock, reads IDENTITY if there is one. Refuses
  /// what is not a directory of ours: a file, one that cannot be written, one with other people's
  /// files, one that has an IDENTITY but lost its database, or the other way round a database that
  /// lost its CURRENT. Changes nothing in a directory that it refuses.
  static tl::expected<std::unique_ptr<DataDirectory>, Error> Acquire(leveldb::Env* env, Disk* disk,
                                                                     const std::string& path);

  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;
  DataDirectory(DataDirectory&&) = delete;
  DataDirectory& operator=(DataDirectory&&) = delete;
  ~DataDirectory();

  const std::string& path() const { return path_; }

  /// Of the LevelDB of the log.
  std::string database() const { return path_ + "/raft"; }

  /// True if the database has been made (perhaps not yet signed).
  bool has_database() const { return has_database_; }

  /// What the file IDENTITY says; nothing if there is none.
  const std::optional<Identity>& identity() const { return identity_; }

  /// Writes IDENTITY: whole or not at all, durable on return.
  tl::expected<void, Error> WriteIdentity(const Identity& identity);

 private:
  DataDirectory(leveldb::Env* env, Disk* disk, std::string path);
  tl::expected<void, Error> Make();
  tl::expected<void, Error> Lock();
  tl::expected<void, Error> Inspect();
  tl::expected<void, Error> InspectDatabase();

  leveldb::Env* const env_;
  Disk* const disk_;
  const std::string path_;
  leveldb::FileLock* lock_ = nullptr;
  bool has_database_ = false;
  std::optional<Identity> identity_;
};

/// `status` as an error of kind kIo or kNoSpace; `what` says what was being done.
Error IoError(const std::string& what, const leveldb::Status& status);

}  // namespace conclave::persist
