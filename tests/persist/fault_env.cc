#include "tests/persist/fault_env.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>

#include <glog/logging.h>

namespace conclave::persist::testing {

namespace {

constexpr std::uint64_t kSectorBytes = 512;

leveldb::Status Errno(const std::string& name, int error) {
  return error == ENOENT ? leveldb::Status::NotFound(name, std::strerror(error))
                         : leveldb::Status::IOError(name, std::strerror(error));
}

class Lock final : public leveldb::FileLock {
 public:
  Lock(std::string name, std::uint64_t life) : name_(std::move(name)), life_(life) {}

  const std::string& name() const { return name_; }

  std::uint64_t life() const { return life_; }

 private:
  const std::string name_;
  const std::uint64_t life_;
};

class NoLogger final : public leveldb::Logger {
 public:
  void Logv(const char* /*format*/, std::va_list /*arguments*/) override {}
};

}  // namespace

class FaultEnv::WritableNode final : public DiskFile, public leveldb::WritableFile {
 public:
  WritableNode(FaultEnv* env, NodePtr node, std::string name, std::uint64_t life)
      : env_(env), node_(std::move(node)), name_(std::move(name)), life_(life) {}

  leveldb::Status WriteAt(std::uint64_t offset, const leveldb::Slice& data) override {
    return env_->WriteAt(node_, life_, name_, offset, data);
  }

  leveldb::Status Append(const leveldb::Slice& data) override {
    const leveldb::Status status = WriteAt(position_, data);
    position_ += data.size();
    return status;
  }

  leveldb::Status Flush() override { return leveldb::Status::OK(); }

  leveldb::Status Sync() override { return env_->SyncNode(node_, life_, name_); }

  leveldb::Status Close() override { return env_->CloseNode(life_, name_); }

 private:
  FaultEnv* const env_;
  const NodePtr node_;
  const std::string name_;
  const std::uint64_t life_;
  std::uint64_t position_ = 0;
};

class FaultEnv::ReadableNode final : public leveldb::RandomAccessFile {
 public:
  ReadableNode(FaultEnv* env, NodePtr node, std::string name)
      : env_(env), node_(std::move(node)), name_(std::move(name)) {}

  leveldb::Status Read(std::uint64_t offset, std::size_t n, leveldb::Slice* result,
                       char* scratch) const override {
    const std::lock_guard lock(env_->mutex_);
    *result = leveldb::Slice();
    if (leveldb::Status status = env_->Strike(Operation::kRead, name_, nullptr); !status.ok()) {
      return status;
    }
    *result = leveldb::Slice(scratch, node_->content.Read(offset, n, scratch));
    return leveldb::Status::OK();
  }

 private:
  FaultEnv* const env_;
  const NodePtr node_;
  const std::string name_;
};

class FaultEnv::SequentialNode final : public leveldb::SequentialFile {
 public:
  SequentialNode(FaultEnv* env, NodePtr node, std::string name)
      : file_(env, std::move(node), std::move(name)) {}

  leveldb::Status Read(std::size_t n, leveldb::Slice* result, char* scratch) override {
    const leveldb::Status status = file_.Read(position_, n, result, scratch);
    position_ += result->size();
    return status;
  }

  leveldb::Status Skip(std::uint64_t n) override {
    position_ += n;
    return leveldb::Status::OK();
  }

 private:
  ReadableNode file_;
  std::uint64_t position_ = 0;
};

FaultEnv::FaultEnv() {
  const auto root = std::make_shared<Node>();
  root->directory = true;
  names_["/"] = root;
  durable_names_["/"] = root;
}

FaultEnv::~FaultEnv() = default;

// --- Changes and faults ---

void FaultEnv::OnChange(std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  on_change_ = std::move(callback);
}

leveldb::Status FaultEnv::Changed() {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    ++changes_;
    if (!on_change_) {
      return leveldb::Status::OK();
    }
    callback = on_change_;
  }
  callback();
  return leveldb::Status::OK();
}

// --- Faults ---

void FaultEnv::Inject(Fault fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(std::move(fault));
}

void FaultEnv::ClearFaults() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
  struck_ = 0;
}

std::uint64_t FaultEnv::faults_struck() const {
  const std::lock_guard lock(mutex_);
  return struck_;
}

void FaultEnv::SetCapacity(std::optional<std::uint64_t> bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

// REQUIRES: mutex_ is held.
leveldb::Status FaultEnv::Strike(Operation operation, const std::string& name,
                                 std::size_t* arrives) {
  for (Fault& fault : faults_) {
    if (fault.operation != operation || fault.nth == 0 ||
        !std::string_view(name).ends_with(fault.suffix)) {
      continue;
    }
    if (--fault.nth > 0) {
      continue;
    }
    fault.nth = fault.sticky ? 1 : 0;
    ++struck_;
    if (arrives != nullptr) {
      *arrives = fault.short_write_bytes;
    }
    return Errno(name, fault.error == FaultError::kIo ? EIO : ENOSPC);
  }
  return leveldb::Status::OK();
}

std::uint64_t FaultEnv::BytesUsed() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, node] : names_) {
    bytes += node->content.size();
  }
  return bytes;
}

leveldb::Status FaultEnv::WriteAt(const NodePtr& node, std::uint64_t life, const std::string& name,
                                  std::uint64_t offset, const leveldb::Slice& data) {
  {
    const std::lock_guard lock(mutex_);
    if (life != life_) {
      return Errno(name, EIO);
    }
    std::size_t arrives = data.size();
    leveldb::Status status = Strike(Operation::kWrite, name, &arrives);
    if (status.ok() && capacity_) {
      const std::uint64_t end = offset + data.size();
      const std::uint64_t grows = end > node->content.size() ? end - node->content.size() : 0;
      const std::uint64_t used = BytesUsed();
      const std::uint64_t room = *capacity_ > used ? *capacity_ - used : 0;
      if (grows > room) {
        ++struck_;
        arrives -= std::min<std::uint64_t>(arrives, grows - room);
        status = Errno(name, ENOSPC);
      }
    }
    if (arrives < data.size() && offset + arrives < node->content.size()) {
      const std::uint64_t end = (offset + arrives) / kSectorBytes * kSectorBytes;
      arrives = static_cast<std::size_t>(end - std::min(end, offset));
    }
    const std::string_view text(data.data(), std::min(arrives, data.size()));
    if (!text.empty()) {
      node->content.Write(offset, text);
      node->pending.push_back({offset, FileBytes(text)});
    }
    if (!status.ok()) {
      return status;
    }
  }
  return Changed();
}

leveldb::Status FaultEnv::SyncNode(const NodePtr& node, std::uint64_t life,
                                   const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    if (life != life_) {
      return Errno(name, EIO);
    }
    if (leveldb::Status status = Strike(Operation::kSync, name, nullptr); !status.ok()) {
      node->pending.clear();  // Readable still, durable never.
      return status;
    }
    for (const Write& write : node->pending) {
      node->durable.Write(write.offset, write.data);
    }
    node->pending.clear();
    ++syncs_;
  }
  return Changed();
}

leveldb::Status FaultEnv::CloseNode(std::uint64_t life, const std::string& name) {
  const std::lock_guard lock(mutex_);
  return life == life_ ? Strike(Operation::kClose, name, nullptr) : Errno(name, EIO);
}

// --- leveldb::Env and Disk ---

leveldb::Status FaultEnv::NewSequentialFile(const std::string& name,
                                            leveldb::SequentialFile** file) {
  const std::lock_guard lock(mutex_);
  const NodePtr node = Find(name);
  *file = nullptr;
  if (node == nullptr || node->directory) {
    return Errno(name, ENOENT);
  }
  *file = new SequentialNode(this, node, name);
  return leveldb::Status::OK();
}

leveldb::Status FaultEnv::NewRandomAccessFile(const std::string& name,
                                              leveldb::RandomAccessFile** file) {
  std::unique_ptr<leveldb::RandomAccessFile> opened;
  leveldb::Status status = OpenForRead(name, &opened);
  *file = opened.release();
  return status;
}

leveldb::Status FaultEnv::OpenForRead(const std::string& name,
                                      std::unique_ptr<leveldb::RandomAccessFile>* file) {
  const std::lock_guard lock(mutex_);
  const NodePtr node = Find(name);
  if (node == nullptr || node->directory) {
    return Errno(name, ENOENT);
  }
  *file = std::make_unique<ReadableNode>(this, node, name);
  return leveldb::Status::OK();
}

leveldb::Status FaultEnv::MakeNode(const std::string& name, bool directory, NodePtr* node) {
  const std::lock_guard lock(mutex_);
  if (leveldb::Status status = Strike(Operation::kCreate, name, nullptr); !status.ok()) {
    return status;
  }
  const NodePtr parent = Find(DirectoryOf(name));
  if (parent == nullptr || !parent->directory) {
    return Errno(name, ENOENT);
  }
  const NodePtr existing = Find(name);
  if (existing != nullptr && (directory || existing->directory)) {
    return Errno(name, EEXIST);
  }
  *node = std::make_shared<Node>();
  (*node)->directory = directory;
  pending_.push_back({"", name, *node});
  Apply(pending_.back(), &names_);
  return leveldb::Status::OK();
}

leveldb::Status FaultEnv::Create(const std::string& name, std::unique_ptr<DiskFile>* file) {
  NodePtr node;
  if (leveldb::Status status = MakeNode(name, false, &node); !status.ok()) {
    return status;
  }
  *file = std::make_unique<WritableNode>(this, node, name, Life());
  return Changed();
}

leveldb::Status FaultEnv::NewWritableFile(const std::string& name, leveldb::WritableFile** file) {
  *file = nullptr;
  NodePtr node;
  if (leveldb::Status status = MakeNode(name, false, &node); !status.ok()) {
    return status;
  }
  *file = new WritableNode(this, node, name, Life());
  return Changed();
}

leveldb::Status FaultEnv::CreateDir(const std::string& name) {
  NodePtr node;
  leveldb::Status status = MakeNode(name, true, &node);
  return status.ok() ? Changed() : status;
}

leveldb::Status FaultEnv::CreatePrivateDirectory(const std::string& directory) {
  return CreateDir(directory);
}

leveldb::Status FaultEnv::CheckPrivateDirectory(const std::string& directory) {
  const std::lock_guard lock(mutex_);
  const NodePtr node = Find(directory);
  if (node == nullptr) {
    return Errno(directory, ENOENT);
  }
  return node->directory ? leveldb::Status::OK()
                         : leveldb::Status::InvalidArgument(directory, "is not a directory");
}

leveldb::Status FaultEnv::SyncDirectory(const std::string& directory) {
  {
    const std::lock_guard lock(mutex_);
    if (leveldb::Status status = Strike(Operation::kSyncDirectory, directory, nullptr);
        !status.ok()) {
      return status;
    }
    std::vector<EntryChange> later;
    for (EntryChange& change : pending_) {
      if (DirectoryOf(change.name()) != directory) {
        later.push_back(std::move(change));
        continue;
      }
      if (change.to.empty()) {
        // Nothing can happen any more to what was in a directory that is gone.
        std::erase_if(later, [&change](const EntryChange& one) {
          return DirectoryOf(one.name()) == change.from;
        });
      }
      Apply(change, &durable_names_);
    }
    pending_ = std::move(later);
    ++syncs_;
  }
  return Changed();
}

bool FaultEnv::FileExists(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return names_.contains(name);
}

leveldb::Status FaultEnv::GetChildren(const std::string& directory,
                                      std::vector<std::string>* names) {
  const std::lock_guard lock(mutex_);
  names->clear();
  const NodePtr node = Find(directory);
  if (node == nullptr || !node->directory) {
    return Errno(directory, ENOENT);
  }
  for (const auto& [name, child] : names_) {
    if (name != "/" && DirectoryOf(name) == directory) {
      names->push_back(name.substr(name.find_last_of('/') + 1));
    }
  }
  return leveldb::Status::OK();
}

leveldb::Status FaultEnv::RemoveFile(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    if (leveldb::Status status = Strike(Operation::kRemove, name, nullptr); !status.ok()) {
      return status;
    }
    if (!names_.contains(name)) {
      return Errno(name, ENOENT);
    }
    pending_.push_back({name, "", nullptr});
    Apply(pending_.back(), &names_);
  }
  return Changed();
}

leveldb::Status FaultEnv::RemoveDir(const std::string& name) { return RemoveFile(name); }

leveldb::Status FaultEnv::GetFileSize(const std::string& name, std::uint64_t* size) {
  const std::lock_guard lock(mutex_);
  const NodePtr node = Find(name);
  *size = node == nullptr ? 0 : node->content.size();
  return node == nullptr ? Errno(name, ENOENT) : leveldb::Status::OK();
}

leveldb::Status FaultEnv::RenameFile(const std::string& from, const std::string& to) {
  {
    const std::lock_guard lock(mutex_);
    if (leveldb::Status status = Strike(Operation::kRename, to, nullptr); !status.ok()) {
      return status;
    }
    const NodePtr node = Find(from);
    if (node == nullptr) {
      return Errno(from, ENOENT);
    }
    pending_.push_back({from, to, node});
    Apply(pending_.back(), &names_);
  }
  return Changed();
}

leveldb::Status FaultEnv::LockFile(const std::string& name, leveldb::FileLock** lock) {
  *lock = nullptr;
  NodePtr node;
  if (!FileExists(name)) {
    if (leveldb::Status status = MakeNode(name, false, &node); !status.ok()) {
      return status;
    }
  }
  const std::lock_guard guard(mutex_);
  if (!locks_.insert(name).second) {
    return leveldb::Status::IOError("lock " + name, "already held by process");
  }
  *lock = new Lock(name, life_);
  return leveldb::Status::OK();
}

leveldb::Status FaultEnv::UnlockFile(leveldb::FileLock* lock) {
  const std::unique_ptr<Lock> held(static_cast<Lock*>(lock));
  const std::lock_guard guard(mutex_);
  if (held->life() == life_) {
    locks_.erase(held->name());  // Else a crash has taken it, and it may be someone else's by now.
  }
  return leveldb::Status::OK();
}

void FaultEnv::Schedule(void (* /*function*/)(void*), void* /*arg*/) {
  LOG(FATAL) << "a database runs on a StorageEnv, which has its own background work";
}

void FaultEnv::StartThread(void (* /*function*/)(void*), void* /*arg*/) {
  LOG(FATAL) << "LevelDB starts no threads but for background work";
}

leveldb::Status FaultEnv::GetTestDirectory(std::string* path) {
  *path = "/test";
  return leveldb::Status::OK();
}

leveldb::Status FaultEnv::NewLogger(const std::string& /*name*/, leveldb::Logger** logger) {
  *logger = new NoLogger();
  return leveldb::Status::OK();
}

std::uint64_t FaultEnv::NowMicros() {
  const std::lock_guard lock(mutex_);
  return ++now_micros_;
}

void FaultEnv::SleepForMicroseconds(int micros) {
  const std::lock_guard lock(mutex_);
  now_micros_ += static_cast<std::uint64_t>(std::max(micros, 0));
}

}  // namespace conclave::persist::testing
