// Put before libc (LD_PRELOAD), makes each sync of a file take longer: a slower disk under a real
// server. CONCLAVE_BENCH_SYNC_US says by how much, in microseconds. For measurements alone; it
// stands below every Env, and Go's programs, which do not go through libc, do not notice it.
#include <cstdlib>
#include <ctime>

#include <dlfcn.h>
#include <unistd.h>

namespace {

timespec Delay() {
  const char* text = std::getenv("CONCLAVE_BENCH_SYNC_US");
  const long microseconds = text == nullptr ? 0 : std::atol(text);
  return {.tv_sec = microseconds / 1'000'000, .tv_nsec = microseconds % 1'000'000 * 1'000};
}

int Slowly(const char* name, int fd) {
  static const timespec kDelay = Delay();
  nanosleep(&kDelay, nullptr);
  using Sync = int (*)(int);
  const auto next = reinterpret_cast<Sync>(dlsym(RTLD_NEXT, name));
  return next(fd);
}

}  // namespace

extern "C" {
__attribute__((visibility("default"))) int fsync(int fd) { return Slowly("fsync", fd); }

__attribute__((visibility("default"))) int fdatasync(int fd) { return Slowly("fdatasync", fd); }
}
