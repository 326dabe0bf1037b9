#include "persist/storage_env.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include <glog/logging.h>

namespace conclave::persist {

namespace {

// As much as LevelDB's own file buffers: a record of a small batch is one write call.
constexpr std::size_t kBufferBytes = 64 << 10;

// What is written beside the log reaches the disk in pieces of this size, so that a sync of the log
// never waits for more.
constexpr std::size_t kPieceBytes = 256 << 10;

bool IsWriteAheadFile(const std::string& name) { return std::string_view(name).ends_with(".log"); }

}  // namespace

// A file that LevelDB writes: buffered, and over a Disk pre-allocated if it is a write-ahead file.
// Invariant with pre-allocation: [written_, allocated_) has been written with zeros.
class StorageEnv::File final : public leveldb::WritableFile {
 public:
  File(StorageEnv* env, const std::string& name, std::unique_ptr<DiskFile> disk_file,
       std::unique_ptr<leveldb::WritableFile> base_file, std::uint64_t allocated)
      : env_(env),
        directory_(DirectoryOf(name)),
        write_ahead_(IsWriteAheadFile(name)),
        step_(disk_file != nullptr && write_ahead_ ? env->options_.log_preallocate_bytes : 0),
        disk_file_(std::move(disk_file)),
        base_file_(std::move(base_file)),
        allocated_(allocated) {}

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
    // LevelDB flushes after every fragment of a record and every block of a table. Nothing is read
    // back or counts before it is synced or closed, so it can go to the kernel in one call by then.
    return base_file_ != nullptr ? env_->Note(base_file_->Flush()) : leveldb::Status::OK();
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
    const std::uint64_t spare = env_->options_.log_spare_bytes;
    if (step_ > 0 && spare > 0 && end > spare / 2 && !spare_asked_) {
      spare_asked_ = true;
      env_->WantSpare(directory_);
    }
    unsynced_ += data_size;
    if (status.ok() && step_ == 0 && unsynced_ >= kPieceBytes) {
      unsynced_ = 0;
      status = env_->Note(disk_file_->Sync());
    }
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
  const std::string directory_;
  const bool write_ahead_;
  const std::uint64_t step_;
  const std::unique_ptr<DiskFile> disk_file_;
  const std::unique_ptr<leveldb::WritableFile> base_file_;

  // One thread at a time, as leveldb::WritableFile demands.
  std::string buffer_;
  std::uint64_t written_ = 0;  // bytes of LevelDB's that went to the file
  std::uint64_t allocated_;    // size of the file, zeros included
  std::size_t unsynced_ = 0;   // bytes since the last piece was synced
  bool spare_asked_ = false;
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
  std::uint64_t allocated = 0;
  leveldb::Status status;
  if (disk_ != nullptr && IsWriteAheadFile(name)) {
    status = OpenWriteAhead(name, &disk_file, &allocated);
  } else if (disk_ != nullptr) {
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
  *file = new File(this, name, std::move(disk_file), std::move(base_file), allocated);
  return leveldb::Status::OK();
}

leveldb::Status StorageEnv::OpenWriteAhead(const std::string& name, std::unique_ptr<DiskFile>* file,
                                           std::uint64_t* allocated) {
  std::optional<Spare> spare;
  {
    const std::lock_guard lock(mutex_);
    spare = std::exchange(ready_, std::nullopt);
  }
  if (!spare) {
    return disk_->Create(name, file);
  }
  *file = std::move(spare->file);
  *allocated = spare->bytes;
  return target()->RenameFile(spare->name, name);
}

void StorageEnv::WantSpare(const std::string& directory) {
  {
    const std::lock_guard lock(mutex_);
    if (ready_ || !spare_wanted_.empty()) {
      return;
    }
    spare_wanted_ = directory;
    StartThread();
  }
  work_.notify_one();
}

void StorageEnv::PrepareSpare() {
  leveldb::Status status = failure();
  if (status.ok() && preparing_.file == nullptr) {
    preparing_.name = spare_wanted_ + "/" + std::string(kSpareName);
    status = Note(disk_->Create(preparing_.name, &preparing_.file));
  }
  if (status.ok()) {
    const std::uint64_t piece =
        std::min<std::uint64_t>(kPieceBytes, options_.log_spare_bytes - preparing_.bytes);
    status = Note(preparing_.file->WriteAt(preparing_.bytes,
                                           std::string(static_cast<std::size_t>(piece), '\0')));
    preparing_.bytes += piece;
    CountBytes(piece);
  }
  if (status.ok()) {
    status = Note(preparing_.file->Sync());
  }
  if (!status.ok() || preparing_.bytes == options_.log_spare_bytes) {
    const std::lock_guard lock(mutex_);
    spare_wanted_.clear();
    if (status.ok()) {
      ready_ = std::move(preparing_);
    }
    preparing_ = Spare();
  }
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
    StartThread();
  }
  work_.notify_one();
}

void StorageEnv::StartThread() {
  if (options_.background == Background::kThread && !thread_.joinable()) {
    thread_ = std::thread([this] { BackgroundMain(); });
  }
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
  while (RunOne(&lock)) {
  }
}

bool StorageEnv::RunOne(std::unique_lock<std::mutex>* lock) {
  if (!jobs_.empty()) {
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock->unlock();
    job.function(job.arg);
    lock->lock();
    return true;
  }
  if (!spare_wanted_.empty()) {  // After LevelDB's own work, which a write may wait for.
    lock->unlock();
    PrepareSpare();
    lock->lock();
    return true;
  }
  return false;
}

void StorageEnv::BackgroundMain() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !jobs_.empty() || !spare_wanted_.empty(); });
    if (stopping_) {
      spare_wanted_.clear();
    }
    if (!RunOne(&lock) && stopping_) {
      return;
    }
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
