// Trees of files to znodes and back. deploy/docs/command.md describes the two for users.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

#include "client/command/context.h"

namespace conclave::command {

// A directory is a znode with null data, a file a znode with its bytes. A znode with data *and*
// children is a directory with this file in it, which holds the data.
inline constexpr std::string_view kDataFile = ".conclave-data";

struct ImportArguments {
  std::string directory;
  std::string path;
  bool update = false;
  bool skip_too_large = false;
  bool skip_bad_names = false;
};

struct ExportArguments {
  std::string path;
  std::string directory;
  ReadMode mode = ReadMode::kLinearizable;
  bool force = false;
};

int RunImport(const Context& context, const ImportArguments& arguments);
int RunExport(const Context& context, const ExportArguments& arguments);

// Why a file of this name cannot be a znode; empty if it can. The rules of the service's paths.
[[nodiscard]] std::string BadName(std::string_view name);
// A name of any bytes as text on one line.
[[nodiscard]] std::string Printable(std::string_view name);

// Bounds what is under way. Thread: any.
class Window {
 public:
  Window(std::size_t calls_max, std::size_t bytes_max)
      : calls_max_(calls_max), bytes_max_(bytes_max) {}

  // Waits until there is room. One call always fits, however large.
  void Take(std::size_t bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(
        lock, [&] { return calls_ == 0 || (calls_ < calls_max_ && bytes_ + bytes <= bytes_max_); });
    ++calls_;
    bytes_ += bytes;
  }

  void Give(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    --calls_;
    bytes_ -= bytes;
    changed_.notify_all();
  }

  // Waits until nothing is under way.
  void Drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return calls_ == 0; });
  }

 private:
  const std::size_t calls_max_;
  const std::size_t bytes_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t calls_ = 0;  // under mutex_, like the next
  std::size_t bytes_ = 0;
};

}  // namespace conclave::command
