// What production puts behind the server's seams (rule 20) besides links and storage: the clock,
// the loops, chance, the room on the disk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coord/server/executor.h"
#include "coord/server/seams.h"
#include "thrift/wire/event_loop.h"

namespace conclave::doors {

// An event loop of the wire as an executor of the server.
//
// Thread: as Executor. Borrows the loop.
class LoopExecutor final : public server::Executor {
 public:
  explicit LoopExecutor(wire::EventLoop* loop) : loop_(loop) {}

  void Post(Task task) override { loop_->Post(std::move(task)); }

  server::TimerId PostAfter(std::int64_t delay_ns, Task task) override {
    return loop_->PostAfter(delay_ns, std::move(task));
  }

  bool Cancel(server::TimerId timer) override { return loop_->Cancel(timer); }

  [[nodiscard]] std::int64_t NowNs() const override { return loop_->NowNs(); }

 private:
  wire::EventLoop* const loop_;
};

// The machine's time of day.
class SystemWallClock final : public server::WallClock {
 public:
  [[nodiscard]] std::int64_t NowMs() const override;
};

// The kernel's generator, read in blocks: secrets of sessions come from here. A failure to read is
// fatal, since nothing safe could be done instead.
class SystemRandom final : public raft::RandomSource {
 public:
  std::uint64_t Next() override;

 private:
  static constexpr std::size_t kBlock = 64;
  std::vector<std::uint64_t> block_;
};

// Bytes that an unprivileged process may still write below `directory`; UINT64_MAX if the system
// does not say, so that an odd file system does not refuse writes for ever.
[[nodiscard]] std::uint64_t FreeSpace(const std::string& directory);

}  // namespace conclave::doors
