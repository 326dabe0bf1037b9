#include "tests/bench/load/machine.h"

#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/load/engine.h"

namespace conclave::bench {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

double TicksToSeconds(double ticks) { return ticks / static_cast<double>(sysconf(_SC_CLK_TCK)); }

// The fields of /proc/PID/stat behind the name, which may hold blanks itself.
void AddCpu(const std::string& directory, ProcessUse& use) {
  std::ifstream file(directory + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    return;
  }
  constexpr int kUserTime = 12;  // counted from the field behind the name
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  double user = 0;
  double system = 0;
  for (int i = 1; i < kUserTime && fields >> field; ++i) {
  }
  fields >> user >> system;
  use.cpu_seconds += TicksToSeconds(user + system);
}

void AddMemory(const std::string& directory, ProcessUse& use) {
  std::ifstream file(directory + "/statm");
  double size = 0;
  double resident = 0;
  if (file >> size >> resident) {
    use.resident_mb += resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / kMiB;
  }
}

void AddCalls(const std::string& directory, ProcessUse& use) {
  std::ifstream file(directory + "/io");
  std::string name;
  std::uint64_t value = 0;
  while (file >> name >> value) {
    use.write_calls += name == "syscw:" ? value : 0;
    use.read_calls += name == "syscr:" ? value : 0;
  }
}

void AddDisks(MachineUse& use) {
  std::ifstream file("/proc/diskstats");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string major;
    std::string minor;
    std::string name;
    fields >> major >> minor >> name;
    if (name.rfind("loop", 0) == 0 || name.rfind("ram", 0) == 0) {
      continue;
    }
    constexpr int kWrites = 4;  // counted from the field behind the name, from 0
    constexpr int kFlushes = 15;
    std::uint64_t value = 0;
    for (int i = 0; fields >> value; ++i) {
      use.disk_writes += i == kWrites ? value : 0;
      use.disk_flushes += i == kFlushes ? value : 0;
    }
  }
}

}  // namespace

ProcessUse UseOf(const std::vector<pid_t>& processes) {
  ProcessUse use;
  for (const pid_t process : processes) {
    const std::string directory = "/proc/" + std::to_string(process);
    AddCpu(directory, use);
    AddMemory(directory, use);
    AddCalls(directory, use);
  }
  return use;
}

double OwnCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

MachineUse UseOfMachine() {
  MachineUse use;
  std::ifstream file("/proc/stat");
  std::string cpu;
  double user = 0;
  double nice = 0;
  double system = 0;
  double idle = 0;
  double wait = 0;
  double interrupts = 0;
  double soft = 0;
  double stolen = 0;
  if (file >> cpu >> user >> nice >> system >> idle >> wait >> interrupts >> soft >> stolen) {
    use.busy_seconds = TicksToSeconds(user + nice + system + interrupts + soft);
    use.stolen_seconds = TicksToSeconds(stolen);
  }
  AddDisks(use);
  return use;
}

double CalibrateMs() {
  constexpr int kRounds = 8'000'000;
  const std::uint64_t begun_ns = NowNs();
  std::uint64_t state = 88172645463325252ULL;
  for (int i = 0; i < kRounds; ++i) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
  }
  volatile std::uint64_t kept = state;
  (void)kept;
  return static_cast<double>(NowNs() - begun_ns) / 1e6;
}

Interval::Interval(std::vector<pid_t> processes) : processes_(std::move(processes)) {}

void Interval::Begin() {
  before_ = UseOf(processes_);
  machine_before_ = UseOfMachine();
  own_before_ = OwnCpuSeconds();
  begun_ns_ = NowNs();
}

void Interval::End() {
  seconds_ = static_cast<double>(NowNs() - begun_ns_) / 1e9;
  own_after_ = OwnCpuSeconds();
  machine_after_ = UseOfMachine();
  after_ = UseOf(processes_);
}

double Interval::other_cores() const {
  const double busy = machine_after_.busy_seconds - machine_before_.busy_seconds;
  return (busy - server_cpu() - client_cpu()) / seconds_;
}

double Interval::stolen_cores() const {
  return (machine_after_.stolen_seconds - machine_before_.stolen_seconds) / seconds_;
}

double Interval::flushes_per_second() const {
  return static_cast<double>(machine_after_.disk_flushes - machine_before_.disk_flushes) / seconds_;
}

double Interval::disk_writes_per_second() const {
  return static_cast<double>(machine_after_.disk_writes - machine_before_.disk_writes) / seconds_;
}

}  // namespace conclave::bench
