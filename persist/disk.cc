#include "persist/disk.h"

#include <cerrno>
#include <ios>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

namespace conclave::persist {

namespace {

std::string ErrorText(int error) { return std::generic_category().message(error); }

leveldb::Status PosixError(const std::string& context, int error) {
  if (error == ENOENT) {
    return leveldb::Status::NotFound(context, ErrorText(error));
  }
  return leveldb::Status::IOError(context, ErrorText(error));
}

class PosixFile final : public DiskFile {
 public:
  PosixFile(std::string name, int fd) : name_(std::move(name)), fd_(fd) {}

  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;
  PosixFile(PosixFile&&) = delete;
  PosixFile& operator=(PosixFile&&) = delete;

  ~PosixFile() override {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }

  leveldb::Status WriteAt(std::uint64_t offset, const leveldb::Slice& data) override {
    const char* next = data.data();
    std::size_t left = data.size();
    auto position = static_cast<off_t>(offset);
    while (left > 0) {
      const ssize_t written = ::pwrite(fd_, next, left, position);
      if (written < 0) {
        if (errno == EINTR) {
          continue;
        }
        return PosixError(name_, errno);
      }
      next += written;
      left -= static_cast<std::size_t>(written);
      position += written;
    }
    return leveldb::Status::OK();
  }

  leveldb::Status Sync() override {
    if (::fdatasync(fd_) != 0) {
      return PosixError(name_, errno);
    }
    return leveldb::Status::OK();
  }

  leveldb::Status Close() override {
    const int fd = std::exchange(fd_, -1);
    // EINTR from close: on Linux the descriptor is gone, and everything that counts was synced.
    if (fd >= 0 && ::close(fd) != 0 && errno != EINTR) {
      return PosixError(name_, errno);
    }
    return leveldb::Status::OK();
  }

 private:
  const std::string name_;
  int fd_;
};

class PosixReader final : public leveldb::RandomAccessFile {
 public:
  PosixReader(std::string name, int fd) : name_(std::move(name)), fd_(fd) {}

  PosixReader(const PosixReader&) = delete;
  PosixReader& operator=(const PosixReader&) = delete;
  PosixReader(PosixReader&&) = delete;
  PosixReader& operator=(PosixReader&&) = delete;

  ~PosixReader() override { ::close(fd_); }

  leveldb::Status Read(std::uint64_t offset, std::size_t n, leveldb::Slice* result,
                       char* scratch) const override {
    std::size_t done = 0;
    while (done < n) {
      const ssize_t got = ::pread(fd_, scratch + done, n - done, static_cast<off_t>(offset + done));
      if (got < 0) {
        if (errno == EINTR) {
          continue;
        }
        *result = leveldb::Slice();
        return PosixError(name_, errno);
      }
      if (got == 0) {
        break;
      }
      done += static_cast<std::size_t>(got);
    }
    *result = leveldb::Slice(scratch, done);
    return leveldb::Status::OK();
  }

 private:
  const std::string name_;
  const int fd_;
};

class PosixDiskImpl final : public Disk {
 public:
  leveldb::Status Create(const std::string& name, std::unique_ptr<DiskFile>* file) override {
    const int fd = ::open(name.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
      return PosixError(name, errno);
    }
    *file = std::make_unique<PosixFile>(name, fd);
    return leveldb::Status::OK();
  }

  leveldb::Status OpenForRead(const std::string& name,
                              std::unique_ptr<leveldb::RandomAccessFile>* file) override {
    const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      return PosixError(name, errno);
    }
    *file = std::make_unique<PosixReader>(name, fd);
    return leveldb::Status::OK();
  }

  leveldb::Status SyncDirectory(const std::string& directory) override {
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
      return PosixError(directory, errno);
    }
    leveldb::Status status;
    if (::fsync(fd) != 0) {
      status = PosixError(directory, errno);
    }
    ::close(fd);
    return status;
  }

  leveldb::Status CreatePrivateDirectory(const std::string& directory) override {
    if (::mkdir(directory.c_str(), 0700) != 0) {
      return PosixError(directory, errno);
    }
    return leveldb::Status::OK();
  }

  leveldb::Status CheckPrivateDirectory(const std::string& directory) override {
    struct stat info {};

    if (::stat(directory.c_str(), &info) != 0) {
      return PosixError(directory, errno);
    }
    if (!S_ISDIR(info.st_mode)) {
      return leveldb::Status::InvalidArgument(directory, "is not a directory");
    }
    if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
      return PosixError(directory, errno);
    }
    if ((info.st_mode & 077U) != 0 && ::chmod(directory.c_str(), 0700) != 0) {
      // A mounted volume may belong to someone else. The files in it are private all the same.
      LOG(WARNING) << "data_dir_open_to_others path=" << directory << " (mode " << std::oct
                   << (info.st_mode & 0777U) << std::dec
                   << " cannot be changed: " << ErrorText(errno) << ")";
    }
    return leveldb::Status::OK();
  }
};

}  // namespace

Disk* PosixDisk() {
  static PosixDiskImpl disk;
  return &disk;
}

std::string DirectoryOf(const std::string& name) {
  const std::size_t slash = name.find_last_of('/');
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : name.substr(0, slash);
}

bool IsNoSpace(const leveldb::Status& status) {
  // leveldb::Status keeps no errno; both the kernel's and LevelDB's paths append strerror's text.
  const std::string text = status.ToString();
  return text.find(ErrorText(ENOSPC)) != std::string::npos ||
         text.find(ErrorText(EDQUOT)) != std::string::npos;
}

}  // namespace conclave::persist
