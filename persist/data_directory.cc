#include "persist/data_directory.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>

#include "persist/readmission.h"
#include "persist/snapshot_store.h"
#include "persist/storage_env.h"

namespace conclave::persist {

namespace {

constexpr std::string_view kIdentityFile = "IDENTITY";
constexpr std::string_view kIdentityTemporary = "IDENTITY.new";
constexpr std::string_view kLockFile = "LOCK";
constexpr std::string_view kDatabase = "raft";

// What every fresh file system or tool may leave in an empty directory.
bool IsIgnorable(std::string_view name) { return name.starts_with('.') || name == "lost+found"; }

bool IsOurs(std::string_view name) {
  return name == kIdentityFile || name == kIdentityTemporary || name == kLockFile ||
         name == kDatabase || ParseGenerationName(name) != 0;
}

// Files that exist only once a LevelDB has been made completely.
bool IsDatabaseContent(std::string_view name) {
  return name.ends_with(".log") || name.ends_with(".ldb") || name.ends_with(".sst");
}

}  // namespace

Error IoError(const std::string& what, const leveldb::Status& status) {
  if (IsNoSpace(status)) {
    return {ErrorKind::kNoSpace,
            fmt::format("{}: the disk is full ({}). Free space and start again.", what,
                        status.ToString())};
  }
  return {ErrorKind::kIo, fmt::format("{}: {}", what, status.ToString())};
}

DataDirectory::DataDirectory(leveldb::Env* env, Disk* disk, std::string path)
    : env_(env), disk_(disk), path_(std::move(path)) {}

DataDirectory::~DataDirectory() {
  if (lock_ != nullptr) {
    const leveldb::Status status = env_->UnlockFile(lock_);
    LOG_IF(WARNING, !status.ok()) << "cannot unlock " << path_ << ": " << status.ToString();
  }
}

tl::expected<std::unique_ptr<DataDirectory>, Error> DataDirectory::Acquire(
    leveldb::Env* env, Disk* disk, const std::string& path) {
  std::unique_ptr<DataDirectory> directory(new DataDirectory(env, disk, path));
  return directory->Make()
      .and_then([&] { return directory->Lock(); })
      .and_then([&] { return directory->Inspect(); })
      .map([&] { return std::move(directory); });
}

tl::expected<void, Error> DataDirectory::Make() {
  if (path_.empty()) {
    return tl::unexpected(Error{ErrorKind::kDirectory, "--data_dir is empty; name a directory."});
  }
  if (!env_->FileExists(path_)) {
    leveldb::Status made =
        disk_ != nullptr ? disk_->CreatePrivateDirectory(path_) : env_->CreateDir(path_);
    if (made.ok() && disk_ != nullptr) {
      made = disk_->SyncDirectory(DirectoryOf(path_));
    }
    if (!made.ok()) {
      const Error io = IoError(
          fmt::format("--data_dir={} does not exist and cannot be made (its parent must exist and "
                      "be writable)",
                      path_),
          made);
      return tl::unexpected(
          Error{io.kind == ErrorKind::kIo ? ErrorKind::kDirectory : io.kind, io.message});
    }
  }
  if (disk_ == nullptr) {
    return {};
  }
  if (const leveldb::Status usable = disk_->CheckPrivateDirectory(path_); !usable.ok()) {
    return tl::unexpected(
        Error{ErrorKind::kDirectory,
              fmt::format("--data_dir={} cannot be used: {}. Name a directory that belongs to the "
                          "user that the server runs as.",
                          path_, usable.ToString())});
  }
  return {};
}

tl::expected<void, Error> DataDirectory::Lock() {
  // Looked at before the lock is taken: taking it makes a file, and a directory full of other
  // people's files is to be left as it is.
  std::vector<std::string> names;
  if (const leveldb::Status status = env_->GetChildren(path_, &names); !status.ok()) {
    return tl::unexpected(IoError("cannot list --data_dir=" + path_, status));
  }
  std::sort(names.begin(), names.end());
  const bool ours = std::find(names.begin(), names.end(), kIdentityFile) != names.end() ||
                    std::find(names.begin(), names.end(), kDatabase) != names.end();
  for (const std::string& name : names) {
    if (!ours && !IsOurs(name) && !IsIgnorable(name)) {
      return tl::unexpected(Error{
          ErrorKind::kDirectory,
          fmt::format("--data_dir={} holds no Conclave data but other files, \"{}\" for one. Name "
                      "an empty or new directory, or the one that this member used before.",
                      path_, name)});
    }
  }
  const std::string file = fmt::format("{}/{}", path_, kLockFile);
  if (const leveldb::Status status = env_->LockFile(file, &lock_); !status.ok()) {
    lock_ = nullptr;
    if (IsNoSpace(status)) {
      return tl::unexpected(IoError("cannot lock --data_dir=" + path_, status));
    }
    return tl::unexpected(
        Error{ErrorKind::kLocked,
              fmt::format("--data_dir={} is in use by another server ({}). Two servers never share "
                          "a directory: stop the other one, or give this one its own.",
                          path_, status.ToString())});
  }
  return {};
}

tl::expected<void, Error> DataDirectory::Inspect() {
  const std::string file = fmt::format("{}/{}", path_, kIdentityFile);
  if (env_->FileExists(file)) {
    std::string text;
    if (const leveldb::Status status = leveldb::ReadFileToString(env_, file, &text); !status.ok()) {
      return tl::unexpected(IoError("cannot read " + file, status));
    }
    auto decoded = DecodeIdentity(text, file);
    if (!decoded) {
      return tl::unexpected(decoded.error());
    }
    identity_ = std::move(*decoded);
  }
  return InspectDatabase();
}

tl::expected<void, Error> DataDirectory::InspectDatabase() {
  std::vector<std::string> names;
  if (env_->FileExists(database())) {
    if (const leveldb::Status status = env_->GetChildren(database(), &names); !status.ok()) {
      return tl::unexpected(IoError("cannot list " + database(), status));
    }
  }
  const bool has_content =
      std::any_of(names.begin(), names.end(), [](const auto& n) { return IsDatabaseContent(n); });
  has_database_ = std::find(names.begin(), names.end(), "CURRENT") != names.end();
  if (has_database_ || (!identity_ && !has_content)) {
    return {};  // Complete, or a directory whose making was interrupted at the very start.
  }
  return tl::unexpected(
      Error{ErrorKind::kDamaged,
            fmt::format("{} has lost its log: {} of --data_dir={} is missing. Keep a copy of the "
                        "directory for a look, then {}; its old incarnation must not come back.",
                        path_, has_content ? "the file raft/CURRENT" : "the database raft/", path_,
                        kReadmission)});
}

tl::expected<void, Error> DataDirectory::WriteIdentity(const Identity& identity) {
  // Through a file of another name, so that a crash leaves either no IDENTITY or a whole one.
  StorageEnv writer(env_, disk_, StorageEnv::Options::Plain());
  const std::string temporary = fmt::format("{}/{}", path_, kIdentityTemporary);
  leveldb::WritableFile* raw = nullptr;
  leveldb::Status status = writer.NewWritableFile(temporary, &raw);
  const std::unique_ptr<leveldb::WritableFile> file(raw);
  if (status.ok()) {
    status = file->Append(EncodeIdentity(identity));
  }
  if (status.ok()) {
    status = file->Sync();
  }
  if (status.ok()) {
    status = file->Close();
  }
  if (status.ok()) {
    status = writer.RenameFile(temporary, fmt::format("{}/{}", path_, kIdentityFile));
  }
  if (!status.ok()) {
    return tl::unexpected(IoError(fmt::format("cannot write {}/{}", path_, kIdentityFile), status));
  }
  identity_ = identity;
  return {};
}

}  // namespace conclave::persist
