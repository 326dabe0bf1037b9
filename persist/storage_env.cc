#include "persist/storage_env.h"

#include <chrono>
#include <string_view>
#include <utility>

#include <glog/logging.h>

namespace conclave::persist {

namespace {

// As much as LevelDB's own file buffers: a record of a small batch is one write call.
constexpr std::size_t kBufferBytes = 64 << 10;

bool IsWriteAheadFile(const std::string& name) { return std::string_view(name).ends_with(".log"); }

}  // namespace

// A file that LevelDB writes: buffered, and over a Disk pre-allocated if it is a write-ahead file.
// Invariant with pre-allocation: [written_, allocated_) has been written with zeros.
class StorageEnv::File final : public leveldb::WritableFile {
 public:
  File(StorageEnv* env, std::unique_ptr<DiskFile> disk_file,
       std::unique_ptr<leveldb::WritableFile> base_file, bool write_ahead)
      : env_(env),
        write_ahead_(write_ahead),
        step_(disk_file != nullptr && write_ahead ? env->options_.log_preallocate_bytes : 0),
        disk_file_(std::move(disk_file)),
        base_file_(std::move(base_file)) {}

  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File(File&&) = delete;
  File& operator=(File&&) = delete;

  ~File() override {
    if (!closed_) {
      // LevelDB drops write-ahead files without closing them; what Close finds is in failure().
      const leveldb::Status status = Close();
      LOG_IF(ERROR, !status.ok()) << "closing a database file failed: " << status.ToString();
    }
  }

  leveldb::Status Append(const leveldb::Slice& data) override {
    if (leveldb::Status status = env_->failure(); !status.ok()) {
      return status;
    }
    if (base_file_ != nullptr) {
      return env_->Note(base_file_->Append(data));
    }
    buffer_.append(data.data(), data.size());
    return buffer_.size() >= kBufferBytes ? WriteOut() : leveldb::Status::OK();
  }

  leveldb::Status Flush() override {
    if (leveldb::Status status = env_->failure(); !status.ok()) {
      return status;
    }
    // LevelDB flushes after every fragment of a record. A write-ahead record counts only once it is
    // synced, and all of ours are, so its fragments can go to the kernel in one call by then.
    if (base_file_ != nullptr) {
      return env_->Note(base_file_->Flush());
    }
    return write_ahead_ ? leveldb::Status::OK() : WriteOut();
  }

  leveldb::Status Sync() override {
    if (leveldb::Status status = env_->failure(); !status.ok()) {
      return status;
    }
    const std::uint64_t start = env_->Now();
    leveldb::Status status;
    if (base_file_ != nullptr) {
      status = env_->Note(base_file_->Sync());
    } else {
      status = WriteOut();
      if (status.ok()) {
        status = disk_file_->Sync();
        status = CONCLAVE_MUTANT(29) ? leveldb::Status::OK() : env_->Note(status);
      }
    }
    if (status.ok() && env_->options_.on_sync) {
      env_->options_.on_sync(write_ahead_, env_->Now() - start);
    }
    return status;
  }

  leveldb::Status Close() override {
    if (closed_) {
      return leveldb::Status::OK();
    }
    closed_ = true;
    if (base_file_ != nullptr) {
      return env_->Note(base_file_->Close());
    }
    leveldb::Status status = env_->failure();
    if (status.ok()) {
      status = WriteOut();
    }
    const leveldb::Status closed = env_->Note(disk_file_->Close());
    return status.ok() ? closed : status;
  }

 private:
  leveldb::Status WriteOut() {
    if (buffer_.empty()) {
      return leveldb::Status::OK();
    }
    const std::uint64_t end = written_ + buffer_.size();
    const std::size_t data_size = buffer_.size();
    if (step_ > 0 && end > allocated_) {
      // Data and zeros in one call: the sync that follows the data pays for both.
      const std::uint64_t grown = (end / step_ + 1) * step_;
      buffer_.resize(data_size + static_cast<std::size_t>(grown - end), '\0');
      allocated_ = grown;
    }
    leveldb::Status status = env_->Note(disk_file_->WriteAt(written_, buffer_));
    env_->CountBytes(buffer_.size());
    written_ = end;
    if (buffer_.capacity() > 4 * kBufferBytes) {
      buffer_ = std::string();  // A step of zeros was in it; do not keep a megabyte per file.
      buffer_.reserve(kBufferBytes);
    } else {
      buffer_.clear();
    }
    return status;
  }

  // Constant after construction.
  StorageEnv* const env_;
  const bool write_ahead_;
  const std::uint64_t step_;
  const std::unique_ptr<DiskFile> disk_file_;
  const std::unique_ptr<leveldb::WritableFile> base_file_;

  // One thread at a time, as leveldb::WritableFile demands.
  std::string buffer_;
  std::uint64_t written_ = 0;    // bytes of LevelDB's that went to the file
  std::uint64_t allocated_ = 0;  // size of the file, zeros included
  bool closed_ = false;
};

StorageEnv::StorageEnv(leveldb::Env* base, Disk* disk, Options options)
    : leveldb::EnvWrapper(base), disk_(disk), options_(std::move(options)) {}

StorageEnv::~StorageEnv() {
  if (options_.background == Background::kQueued) {
    DrainBackground();
    return;
  }
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    thread = std::move(thread_);
  }
  work_.notify_all();
  if (thread.joinable()) {
    thread.join();
  }
}

leveldb::Status StorageEnv::NewWritableFile(const std::string& name, leveldb::WritableFile** file) {
  *file = nullptr;
  if (leveldb::Status status = failure(); !status.ok()) {
    return status;
  }
  std::unique_ptr<DiskFile> disk_file;
  std::unique_ptr<leveldb::WritableFile> base_file;
  leveldb::Status status;
  if (disk_ != nullptr) {
    status = disk_->Create(name, &disk_file);
  } else {
    leveldb::WritableFile* raw = nullptr;
    status = target()->NewWritableFile(name, &raw);
    base_file.reset(raw);
  }
  if (status.ok()) {
    status = SyncDirectoryOf(name);
  }
  if (!status.ok()) {
    return Note(status);
  }
  *file = new File(this, std::move(disk_file), std::move(base_file), IsWriteAheadFile(name));
  return leveldb::Status::OK();
}

leveldb::Status StorageEnv::NewAppendableFile(const std::string& name,
                                              leveldb::WritableFile** file) {
  *file = nullptr;
  return leveldb::Status::NotSupported(name, "database files are never appended to");
}

leveldb::Status StorageEnv::NewRandomAccessFile(const std::string& name,
                                                leveldb::RandomAccessFile** file) {
  if (disk_ == nullptr) {
    return target()->NewRandomAccessFile(name, file);
  }
  *file = nullptr;
  std::unique_ptr<leveldb::RandomAccessFile> opened;
  leveldb::Status status = disk_->OpenForRead(name, &opened);
  *file = opened.release();
  return status;
}

leveldb::Status StorageEnv::RenameFile(const std::string& from, const std::string& to) {
  if (leveldb::Status status = failure(); !status.ok()) {
    return status;
  }
  leveldb::Status status = target()->RenameFile(from, to);
  if (status.IsNotFound()) {
    return status;  // LevelDB tries to rename an old LOG that may not be there.
  }
  if (status.ok()) {
    status = SyncDirectoryOf(to);
  }
  return Note(status);
}

leveldb::Status StorageEnv::RemoveFile(const std::string& name) {
  leveldb::Status status = failure();
  if (!status.ok()) {
    return status;  // What a failed write left behind is evidence, and the next start needs it.
  }
  status = target()->RemoveFile(name);
  // A file that cannot be removed costs room and nothing else, so it is not a failure of the store.
  return status.ok() ? Note(SyncDirectoryOf(name)) : status;
}

leveldb::Status StorageEnv::CreateDir(const std::string& name) {
  if (disk_ == nullptr) {
    return target()->CreateDir(name);
  }
  if (target()->FileExists(name)) {
    return leveldb::Status::OK();  // LevelDB creates its directory at every opening.
  }
  leveldb::Status status = disk_->CreatePrivateDirectory(name);
  return Note(status.ok() ? SyncDirectoryOf(name) : status);
}

void StorageEnv::Schedule(void (*function)(void*), void* arg) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({function, arg});
    if (options_.background == Background::kThread && !thread_.joinable()) {
      thread_ = std::thread([this] { BackgroundMain(); });
    }
  }
  work_.notify_one();
}

void StorageEnv::SleepForMicroseconds(int micros) {
  // LevelDB sleeps to let its background thread catch up; with none there is nothing to wait for.
  if (options_.background == Background::kThread) {
    target()->SleepForMicroseconds(micros);
  }
}

void StorageEnv::DrainBackground() {
  CHECK(options_.background == Background::kQueued);
  std::unique_lock lock(mutex_);
  while (!jobs_.empty()) {
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    job.function(job.arg);
    lock.lock();
  }
}

void StorageEnv::BackgroundMain() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) {
      return;
    }
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    job.function(job.arg);
    lock.lock();
  }
}

leveldb::Status StorageEnv::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

std::uint64_t StorageEnv::bytes_written() const {
  const std::lock_guard lock(mutex_);
  return bytes_written_;
}

void StorageEnv::CountBytes(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_written_ += bytes;
}

leveldb::Status StorageEnv::Note(leveldb::Status status) {
  if (!status.ok()) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) {
      failure_ = status;
    }
  }
  return status;
}

leveldb::Status StorageEnv::SyncDirectoryOf(const std::string& name) {
  return disk_ == nullptr || CONCLAVE_MUTANT(28) ? leveldb::Status::OK()
                                                 : disk_->SyncDirectory(DirectoryOf(name));
}

std::uint64_t StorageEnv::Now() const {
  if (options_.now_micros) {
    return options_.now_micros();
  }
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

}  // namespace conclave::persist
