// import: each file below a directory becomes a znode.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
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

namespace fs = std::filesystem;

constexpr std::uintmax_t kValueBytesMax = std::uintmax_t{1} << 20;
constexpr std::size_t kPathBytesMax = 4096;
constexpr std::size_t kDepthMax = 64;
constexpr std::size_t kCallsMax = 256;
constexpr std::size_t kBytesMax = std::size_t{16} << 20;
constexpr std::size_t kListedMax = 20;

struct Entry {
  std::string path;  // of the znode
  std::string file;  // where its data is; empty: null data
  std::uintmax_t size = 0;
};

// What is there to import, parents before their children.
struct Found {
  std::vector<Entry> entries;
  std::uintmax_t bytes = 0;
  std::size_t links = 0;
  std::size_t others = 0;  // sockets, devices, ...
  std::vector<std::string> too_large;
  std::vector<std::string> bad_names;
  std::string failure;  // a directory that cannot be read
};

std::size_t DepthOf(const std::string& path) {
  return path == "/" ? 0 : static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
}

class Scan {
 public:
  Scan(const fs::path& root, const std::string& path) { Directory(root, path); }

  Found& found() { return found_; }

 private:
  // The directory's own znode first: a file in it may hold its data.
  void Directory(const fs::path& directory, const std::string& path) {
    Entry own{path, {}, 0};
    const fs::path data = directory / kDataFile;
    std::error_code error;
    if (fs::is_regular_file(fs::symlink_status(data, error)) && Fits(data)) {
      own.file = data.string();
      own.size = fs::file_size(data, error);
      found_.bytes += own.size;
    }
    found_.entries.push_back(std::move(own));
    std::vector<fs::directory_entry> children;
    fs::directory_iterator at(directory, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
      children.push_back(*at);
    }
    if (error) {
      found_.failure = fmt::format("{}: {}", Printable(directory.string()), error.message());
      return;
    }
    std::sort(children.begin(), children.end());
    for (const fs::directory_entry& child : children) {
      if (found_.failure.empty()) {
        Child(child, path);
      }
    }
  }

  void Child(const fs::directory_entry& child, const std::string& parent) {
    const std::string name = child.path().filename().string();
    if (name == kDataFile) {
      return;
    }
    std::error_code error;
    const fs::file_status status = child.symlink_status(error);
    const bool directory = fs::is_directory(status);
    if (!directory && !fs::is_regular_file(status)) {
      (fs::is_symlink(status) ? found_.links : found_.others) += 1;
      return;
    }
    const std::string path = JoinPath(parent, name);
    std::string bad = BadName(name);
    if (bad.empty() && (path.size() > kPathBytesMax || DepthOf(path) > kDepthMax)) {
      bad = fmt::format("the path would be {} bytes and {} components long", path.size(),
                        DepthOf(path));
    }
    if (!bad.empty()) {
      found_.bad_names.push_back(fmt::format("{}: {}", Printable(child.path().string()), bad));
    } else if (directory) {
      Directory(child.path(), path);
    } else if (Fits(child.path())) {
      const std::uintmax_t size = child.file_size(error);
      found_.entries.push_back({path, child.path().string(), size});
      found_.bytes += size;
    }
  }

  bool Fits(const fs::path& file) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(file, error);
    if (!error && size > kValueBytesMax) {
      found_.too_large.push_back(fmt::format("{}: {}", Printable(file.string()), BytesText(size)));
      return false;
    }
    return true;
  }

  Found found_;
};

// Lists what cannot be imported. Whether that is all right with the arguments.
bool Accept(const std::vector<std::string>& refused, const char* why, const char* option,
            bool skip) {
  if (refused.empty()) {
    return true;
  }
  fmt::print(stderr, "conclave: import: {} {}{}:\n", refused.size(), why, skip ? ", left out" : "");
  for (std::size_t i = 0; i < std::min(refused.size(), kListedMax); ++i) {
    fmt::print(stderr, "  {}\n", refused[i]);
  }
  if (refused.size() > kListedMax) {
    fmt::print(stderr, "  and {} more\n", refused.size() - kListedMax);
  }
  if (!skip) {
    fmt::print(stderr, "conclave: import: nothing was imported; {} leaves them out\n", option);
  }
  return skip;
}

Error FileError(const std::string& file, const std::string& what) {
  Error error;
  error.code = Code::kInvalidArgument;
  error.message = fmt::format("{}: {}", Printable(file), what);
  return error;
}

// The whole file. It may have changed since it was found: a link is not followed now either.
Result<std::string> ReadFile(const std::string& file) {
  const int descriptor = open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) {
    return FileError(file, std::strerror(errno));
  }

  struct stat state {};

  std::string bytes;
  std::string problem;
  if (fstat(descriptor, &state) != 0 || !S_ISREG(state.st_mode)) {
    problem = "is no regular file any more";
  }
  // One byte beyond what it had tells whether it has grown.
  bytes.resize(std::min<std::size_t>(static_cast<std::size_t>(std::max<off_t>(0, state.st_size)),
                                     kValueBytesMax) +
               1);
  std::size_t size = 0;
  while (problem.empty()) {
    const ssize_t got = read(descriptor, bytes.data() + size, bytes.size() - size);
    if (got < 0) {
      problem = std::strerror(errno);
    } else if (got == 0) {
      break;
    } else if ((size += static_cast<std::size_t>(got)) > kValueBytesMax) {
      problem = fmt::format("has grown beyond {} meanwhile", BytesText(kValueBytesMax));
    } else if (size == bytes.size()) {
      bytes.resize(kValueBytesMax + 1);
    }
  }
  close(descriptor);
  if (!problem.empty()) {
    return FileError(file, problem);
  }
  bytes.resize(size);
  return bytes;
}

// Creates the znodes, many calls at a time. The client executes writes in the order in which they
// are issued, so a parent is there before its children without being waited for.
class Importer {
 public:
  Importer(Client& client, bool update) : client_(client), update_(update) {}

  // Everything is done, or has failed, when it returns.
  Status Run(const Found& found) {
    Progress progress;
    std::uintmax_t bytes = 0;
    for (std::size_t i = 0; i < found.entries.size() && !failed_; ++i) {
      const Entry& entry = found.entries[i];
      Data data;
      if (!entry.file.empty()) {
        auto read = ReadFile(entry.file);
        if (!read) {
          Failed(read.error());
          break;
        }
        data = std::move(*read);
        bytes += data->size();
      }
      Write(entry.path, std::move(data), i == 0);
      if (progress.Due()) {
        progress.Show(fmt::format("{} of {} znodes, {} of {}", done_.load(), found.entries.size(),
                                  BytesText(bytes), BytesText(found.bytes)));
      }
    }
    window_.Drain();
    const std::lock_guard lock(mutex_);
    return error_ ? Status(*error_) : Status();
  }

  [[nodiscard]] std::size_t done() const { return done_; }

  [[nodiscard]] std::size_t updated() const { return updated_; }

 private:
  // `top`: the znode that all goes below, which may be there already.
  void Write(const std::string& path, Data data, bool top) {
    const std::size_t bytes = path.size() + (data ? data->size() : 0);
    window_.Take(bytes);
    // Kept only if it may be needed for a second attempt.
    auto again = std::make_shared<Data>();
    if ((update_ || top) && data) {
      *again = data;
    }
    client_.CreateAsync(path, std::move(data), CreateMode::kPersistent, {},
                        [this, path, bytes, again, top](const Result<Created>& created) {
                          const bool exists = created.code() == Code::kNodeExists;
                          if (exists && update_ && again->has_value()) {
                            Update(path, bytes, std::move(**again));
                            return;
                          }
                          if (created || (exists && (update_ || (top && !again->has_value())))) {
                            ++done_;
                          } else {
                            Failed(created.error());
                          }
                          window_.Give(bytes);
                        });
  }

  void Update(const std::string& path, std::size_t bytes, std::string data) {
    client_.SetAsync(path, std::move(data), kAnyVersion, {},
                     [this, bytes](const Result<Written>& written) {
                       if (written) {
                         ++done_;
                         ++updated_;
                       } else {
                         Failed(written.error());
                       }
                       window_.Give(bytes);
                     });
  }

  void Failed(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) {
      error_ = error;
    }
    failed_ = true;
  }

  Client& client_;
  const bool update_;
  Window window_{kCallsMax, kBytesMax};
  std::atomic<bool> failed_ = false;
  std::atomic<std::size_t> done_ = 0;
  std::atomic<std::size_t> updated_ = 0;
  std::mutex mutex_;
  std::optional<Error> error_;  // the first, under mutex_
};

void PrintSummary(const Context& context, const ImportArguments& arguments, const Found& found,
                  const Importer& importer, double seconds) {
  if (context.json()) {
    PrintJson(context, {{"path", arguments.path},
                        {"znodes", importer.done()},
                        {"bytes", found.bytes},
                        {"updated", importer.updated()},
                        {"links", found.links},
                        {"other_kinds", found.others},
                        {"too_large", found.too_large},
                        {"bad_names", found.bad_names},
                        {"seconds", seconds}});
    return;
  }
  fmt::print(
      "{} znodes with {} in {:.1f} s, {} of them updated; left out: {} symbolic links, {} "
      "of other kinds, {} too large, {} with bad names\n",
      importer.done(), BytesText(found.bytes), seconds, importer.updated(), found.links,
      found.others, found.too_large.size(), found.bad_names.size());
}

}  // namespace

int RunImport(const Context& context, const ImportArguments& arguments) {
  std::error_code error;
  if (!fs::is_directory(arguments.directory, error)) {
    return FailUsage(fmt::format("import: {} is no directory", arguments.directory));
  }
  Scan scan(arguments.directory, arguments.path);
  const Found& found = scan.found();
  if (!found.failure.empty()) {
    return FailUsage("import: " + found.failure);
  }
  const bool names = Accept(found.bad_names, "names that cannot be those of znodes",
                            "--skip-bad-names", arguments.skip_bad_names);
  const bool sizes = Accept(found.too_large, "files over the limit of 1 MiB", "--skip-too-large",
                            arguments.skip_too_large);
  if (!names || !sizes) {
    return kExitFailed;
  }
  const auto began = std::chrono::steady_clock::now();
  auto client = context.Connect();
  if (!client) {
    return Fail("import", client.error());
  }
  const std::string parent = ParentOf(arguments.path);
  if (!parent.empty() && parent != "/") {
    if (const Status made = (*client)->CreatePath(parent); !made) {
      return Fail("import", made.error());
    }
  }
  Importer importer(**client, arguments.update);
  const Status done = importer.Run(found);
  if (!done) {
    const char* hint = done.code() == Code::kNodeExists ? " (--update writes over it)" : "";
    fmt::print(stderr, "conclave: import: {} of {} znodes were written before{}\n", importer.done(),
               found.entries.size(), hint);
    return Fail("import", done.error());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  PrintSummary(context, arguments, found, importer, took.count());
  return kExitOk;
}

}  // namespace conclave::command
