#include "coord/doors/system.h"

#include <cerrno>

#include <glog/logging.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <time.h>

namespace conclave::doors {

std::int64_t SystemWallClock::NowMs() const {
  timespec now{};
  PCHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

std::uint64_t SystemRandom::Next() {
  if (block_.empty()) {
    block_.resize(kBlock);
    char* to = reinterpret_cast<char*>(block_.data());
    std::size_t missing = block_.size() * sizeof(block_[0]);
    while (missing > 0) {
      const ssize_t read = getrandom(to, missing, 0);
      if (read < 0) {
        PCHECK(errno == EINTR) << "getrandom";
        continue;
      }
      to += read;
      missing -= static_cast<std::size_t>(read);
    }
  }
  const std::uint64_t value = block_.back();
  block_.pop_back();
  return value;
}

std::uint64_t FreeSpace(const std::string& directory) {
  struct statvfs info {};

  if (statvfs(directory.c_str(), &info) != 0) {
    return UINT64_MAX;
  }
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace conclave::doors
