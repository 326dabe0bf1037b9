// export: each znode below a path becomes a file or a directory.

#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/command/output.h"
#include "client/command/paths.h"
#include "client/command/progress.h"
#include "client/command/transfer.h"

namespace conclave::command {
namespace {

constexpr std::size_t kCallsMax = 128;

// Files and directories below one directory, and never outside of it: every step down is taken
// from the directory above and follows no link, whatever lies there.
class Target {
 public:
  Target(int root, bool force) : root_(root), force_(force) {}

  ~Target() {
    CloseParent();
    close(root_);
  }

  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  // Paths are relative, without a slash in front; empty is the directory itself.
  Status MakeDirectory(const std::string& path) {
    if (path.empty()) {
      return {};
    }
    const auto [parent, name] = Split(path);
    const auto directory = Parent(parent);
    if (!directory) {
      return directory.error();
    }
    if (mkdirat(*directory, name.c_str(), 0777) == 0) {
      return {};
    }

    struct stat state {};

    if (errno == EEXIST && force_ &&
        fstatat(*directory, name.c_str(), &state, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(state.st_mode)) {
      return {};
    }
    return Failure(path, EEXIST);
  }

  Status WriteFile(const std::string& path, const std::string& bytes) {
    const auto [parent, name] = Split(path);
    const auto directory = Parent(parent);
    if (!directory) {
      return directory.error();
    }
    // What is there goes first, rather than being written to: it may have other names.
    if (force_ && unlinkat(*directory, name.c_str(), 0) != 0 && errno != ENOENT) {
      return Failure(path, errno);
    }
    const int file = openat(*directory, name.c_str(),
                            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file < 0) {
      return Failure(path, errno);
    }
    int error = 0;
    for (std::size_t at = 0; at < bytes.size() && error == 0;) {
      const ssize_t written = write(file, bytes.data() + at, bytes.size() - at);
      written < 0 ? void(error = errno) : void(at += static_cast<std::size_t>(written));
    }
    if (close(file) != 0 && error == 0) {
      error = errno;
    }
    return error == 0 ? Status() : Failure(path, error);
  }

 private:
  static std::pair<std::string, std::string> Split(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::pair(std::string(), path)
                                      : std::pair(path.substr(0, slash), path.substr(slash + 1));
  }

  static Error Failure(const std::string& path, int error_number) {
    Error error;
    error.code = Code::kInvalidArgument;
    error.message = fmt::format("{}: {}", Printable(path), std::strerror(error_number));
    return error;
  }

  // Kept open: files come many to a directory.
  Result<int> Parent(const std::string& path) {
    if (path.empty()) {
      return root_;
    }
    if (parent_ >= 0 && path == parent_path_) {
      return parent_;
    }
    CloseParent();
    int at = root_;
    for (std::size_t begin = 0; begin <= path.size();) {
      const std::size_t end = std::min(path.find('/', begin), path.size());
      const std::string name = path.substr(begin, end - begin);
      const int next = openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      const int error_number = errno;
      if (at != root_) {
        close(at);
      }
      if (next < 0) {
        return Failure(path, error_number);
      }
      at = next;
      begin = end + 1;
    }
    parent_ = at;
    parent_path_ = path;
    return at;
  }

  void CloseParent() {
    if (parent_ >= 0) {
      close(parent_);
      parent_ = -1;
    }
  }

  const int root_;
  const bool force_;
  int parent_ = -1;
  std::string parent_path_;
};

// Reads the tree, many calls at a time, and writes what has come.
class Exporter {
 public:
  Exporter(Client& client, const ExportArguments& arguments, Target& target)
      : client_(client), arguments_(arguments), target_(target) {}

  Status Run() {
    Progress progress;
    todo_.push_back({});
    Status status;
    while (status && (under_way_ > 0 || !todo_.empty())) {
      while (!todo_.empty() && under_way_ < kCallsMax) {
        // The last first: the list of what is to do stays short.
        std::string path = std::move(todo_.back());
        todo_.pop_back();
        ReadNode(path);
      }
      status = Await();
      if (progress.Due()) {
        progress.Show(fmt::format("{} znodes, {}", znodes_, BytesText(bytes_)));
      }
    }
    while (under_way_ > 0) {
      (void)Await();  // the first failure is told
    }
    return status;
  }

  [[nodiscard]] std::size_t znodes() const { return znodes_; }

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  [[nodiscard]] std::size_t gone() const { return gone_; }

 private:
  [[nodiscard]] std::string FullPath(const std::string& path) const {
    return path.empty() ? arguments_.path : JoinPath(arguments_.path, path);
  }

  // What comes back is handled by this thread, in Await.
  void Post(std::function<Status()> arrived) {
    const std::lock_guard lock(mutex_);
    arrived_.push_back(std::move(arrived));
    changed_.notify_one();
  }

  Status Await() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !arrived_.empty(); });
    const std::function<Status()> arrived = std::move(arrived_.front());
    arrived_.pop_front();
    lock.unlock();
    --under_way_;
    return arrived();
  }

  void ReadNode(const std::string& path) {
    ++under_way_;
    ReadOptions options;
    options.mode = arguments_.mode;
    client_.GetAsync(FullPath(path), options, [this, path](Result<Node> node) {
      Post([this, path, node = std::move(node)] { return OnNode(path, node); });
    });
  }

  Status OnNode(const std::string& path, const Result<Node>& node) {
    if (!node) {
      return OnError(path, node.error());
    }
    ++znodes_;
    bytes_ += node->data ? node->data->size() : 0;
    const bool directory = path.empty() || !node->data || node->stat.num_children > 0;
    if (!directory) {
      return target_.WriteFile(path, *node->data);
    }
    if (Status made = target_.MakeDirectory(path); !made) {
      return made;
    }
    if (node->data) {
      const std::string file(kDataFile);
      if (Status written = target_.WriteFile(path.empty() ? file : path + "/" + file, *node->data);
          !written) {
        return written;
      }
    }
    if (node->stat.num_children > 0) {
      ListChildren(path);
    }
    return {};
  }

  void ListChildren(const std::string& path) {
    ++under_way_;
    ChildrenOptions options;
    options.mode = arguments_.mode;
    client_.ChildrenAsync(FullPath(path), options, [this, path](Result<ChildList> children) {
      Post([this, path, children = std::move(children)] { return OnChildren(path, children); });
    });
  }

  Status OnChildren(const std::string& path, const Result<ChildList>& children) {
    if (!children) {
      return OnError(path, children.error());
    }
    for (const std::string& name : children->names) {
      // The service has no such names; but what it says must not lead out of the directory.
      if (std::string bad = BadName(name); !bad.empty() || name == kDataFile) {
        Error error;
        error.code = Code::kInvalidArgument;
        error.path = FullPath(path);
        error.message = fmt::format("the child {} cannot be a file: {}", Printable(name),
                                    bad.empty() ? "the name is taken for data" : bad);
        return error;
      }
      todo_.push_back(path.empty() ? name : path + "/" + name);
    }
    return {};
  }

  // What has been removed since its parent was listed is left out.
  Status OnError(const std::string& path, const Error& error) {
    if (error.code == Code::kNoNode && !path.empty()) {
      ++gone_;
      return {};
    }
    return error;
  }

  Client& client_;
  const ExportArguments& arguments_;
  Target& target_;
  std::vector<std::string> todo_;
  std::size_t under_way_ = 0;
  std::size_t znodes_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t gone_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<Status()>> arrived_;  // under mutex_
};

// The directory to write to: made, or empty, or with --force anything.
Result<int> OpenTarget(const ExportArguments& arguments) {
  Error error;
  error.code = Code::kInvalidArgument;
  std::error_code failed;
  std::filesystem::create_directories(arguments.directory, failed);
  const bool empty = !failed && std::filesystem::is_empty(arguments.directory, failed);
  if (!failed && !empty && !arguments.force) {
    error.message = arguments.directory + " is not empty (--force writes into it)";
    return error;
  }
  const int root =
      failed ? -1 : open(arguments.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) {
    error.message = fmt::format("{}: {}", arguments.directory,
                                failed ? failed.message() : std::strerror(errno));
    return error;
  }
  return root;
}

}  // namespace

int RunExport(const Context& context, const ExportArguments& arguments) {
  const auto began = std::chrono::steady_clock::now();
  auto client = context.Look();
  if (!client) {
    return Fail("export", client.error());
  }
  // Before a directory is made for nothing.
  ReadOptions options;
  options.mode = arguments.mode;
  if (const auto node = (*client)->Get(arguments.path, options); !node) {
    return Fail("export " + arguments.path, node.error());
  }
  const auto root = OpenTarget(arguments);
  if (!root) {
    return Fail("export", root.error());
  }
  Target target(*root, arguments.force);
  Exporter exporter(**client, arguments, target);
  if (const Status done = exporter.Run(); !done) {
    return Fail("export " + arguments.path, done.error());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  if (context.json()) {
    PrintJson(context, {{"path", arguments.path},
                        {"directory", arguments.directory},
                        {"znodes", exporter.znodes()},
                        {"bytes", exporter.bytes()},
                        {"gone", exporter.gone()},
                        {"seconds", took.count()}});
  } else {
    fmt::print("{} znodes with {} in {:.1f} s\n", exporter.znodes(), BytesText(exporter.bytes()),
               took.count());
  }
  return kExitOk;
}

}  // namespace conclave::command
