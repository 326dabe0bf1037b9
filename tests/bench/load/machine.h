// What the measured processes and the rest of the machine do meanwhile.
#pragma once

#include <cstdint>
#include <vector>

#include <sys/types.h>

namespace conclave::bench {

/// Sums over processes that are there.
struct ProcessUse {
  double cpu_seconds = 0;
  double resident_mb = 0;         // MiB
  std::uint64_t write_calls = 0;  // system calls that write, sockets included
  std::uint64_t read_calls = 0;
};

ProcessUse UseOf(const std::vector<pid_t>& processes);

/// Of this process.
double OwnCpuSeconds();

struct MachineUse {
  double busy_seconds = 0;    // of all CPUs
  double stolen_seconds = 0;  // taken by the host
  std::uint64_t disk_writes = 0;
  std::uint64_t disk_flushes = 0;
};

MachineUse UseOfMachine();

/// Milliseconds for a fixed amount of work on one thread: how fast the machine is just now.
double CalibrateMs();

/// What happened between two moments.
class Interval {
 public:
  explicit Interval(std::vector<pid_t> processes);

  void Begin();
  void End();

  [[nodiscard]] double seconds() const { return seconds_; }

  [[nodiscard]] double server_cpu() const { return after_.cpu_seconds - before_.cpu_seconds; }

  [[nodiscard]] double client_cpu() const { return own_after_ - own_before_; }

  /// Cores that neither the servers nor this process have used.
  [[nodiscard]] double other_cores() const;
  [[nodiscard]] double stolen_cores() const;

  [[nodiscard]] const ProcessUse& before() const { return before_; }

  [[nodiscard]] const ProcessUse& after() const { return after_; }

  [[nodiscard]] double flushes_per_second() const;
  [[nodiscard]] double disk_writes_per_second() const;

 private:
  const std::vector<pid_t> processes_;
  std::uint64_t begun_ns_ = 0;
  double seconds_ = 0;
  ProcessUse before_;
  ProcessUse after_;
  MachineUse machine_before_;
  MachineUse machine_after_;
  double own_before_ = 0;
  double own_after_ = 0;
};

}  // namespace conclave::bench
