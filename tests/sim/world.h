// The members of one run and what they stand on: clocks that run wrong, disks that crash, links.
// What is done to them is nemesis.h; what must hold of them is checked here and in wire_checker.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coord/server/executor.h"
#include "coord/server/seams.h"
#include "coord/server/server.h"
#include "tests/persist/fault_env.h"
#include "tests/server/sim_loop.h"
#include "tests/server/sim_network.h"
#include "tests/sim/client_port.h"
#include "tests/sim/committed_log.h"
#include "tests/sim/disk_view.h"
#include "tests/sim/journal.h"
#include "tests/sim/knobs.h"
#include "tests/sim/wire_checker.h"

namespace conclave::sim {

// An executor whose clock has an offset and runs too fast or too slow.
class SkewedExecutor final : public server::Executor {
 public:
  SkewedExecutor(SimLoop* loop, std::function<std::int64_t()> latency, std::int64_t offset_ns,
                 std::int64_t drift_ppm)
      : loop_(loop), inner_(loop, std::move(latency)), offset_ns_(offset_ns), ppm_(drift_ppm) {}

  void Post(Task task) override { inner_.Post(std::move(task)); }

  server::TimerId PostAfter(std::int64_t delay_ns, Task task) override;

  bool Cancel(server::TimerId timer) override { return inner_.Cancel(timer); }

  std::int64_t NowNs() const override;

  // A shorter pause within a longer one changes nothing: what waits must not be overtaken.
  void PauseUntil(std::int64_t at_ns) {
    paused_until_ns_ = paused_until_ns_ < at_ns ? at_ns : paused_until_ns_;
    inner_.PauseUntil(paused_until_ns_);
  }

 private:
  const SimLoop* const loop_;
  server::testing::SimExecutor inner_;
  const std::int64_t offset_ns_;
  const std::int64_t ppm_;
  std::int64_t paused_until_ns_ = 0;
};

// Thread: one. Members are 1..n.
class World {
 public:
  World(const Knobs& knobs, Journal* journal);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  SimLoop& loop() { return loop_; }

  server::testing::SimNetwork& network() { return network_; }

  Journal& journal() { return *journal_; }

  SimRandom& random() { return random_; }

  WireChecker& checker() { return checker_; }

  const Knobs& knobs() const { return knobs_; }

  std::size_t size() const { return members_.size(); }

  // --- one member ---

  bool running(raft::MemberId id) const;
  // Its disk is not what it was. Of the voters, fewer than would stop the cluster must be.
  bool lost(raft::MemberId id) const;
  // Those with a vote by the last committed configuration; before there is one, the initial ones.
  std::vector<raft::MemberId> voters() const;
  // One of them: whether a majority of the voters is left if it loses its disk too.
  bool Expendable(raft::MemberId id) const;
  // What is committed of the log on its disk names its incarnation: it may vote (rule 11).
  bool registered(raft::MemberId id);
  server::Server& server(raft::MemberId id);
  persist::testing::FaultEnv& env(raft::MemberId id);
  // Its door for clients; null while it is not running.
  ClientPort* port(raft::MemberId id);

  // Starts a member; one that cannot start because its disk is full is tried again later.
  void Start(raft::MemberId id);
  // Ends it without a word and starts it again later, unless `stay_down`.
  void Crash(raft::MemberId id, persist::testing::CrashPolicy policy, bool stay_down = false);
  // Ends it between two operations of its disk, from now the `nth`.
  void CrashAtOperation(raft::MemberId id, std::uint64_t nth);
  void Pause(raft::MemberId id, std::int64_t duration_ns);
  // The next operations of its disk fail; the member has to die of it and come back.
  void FailSync(raft::MemberId id, std::uint64_t nth);
  void FillDisk(raft::MemberId id, std::uint64_t bytes_left);
  void SetFreeSpace(raft::MemberId id, std::uint64_t bytes);
  void SlowDisk(raft::MemberId id, std::int64_t sync_ns);
  void JumpWallClock(raft::MemberId id, std::int64_t ms);
  // An emptied disk. The cluster will not take the member back.
  void Wipe(raft::MemberId id);
  // Turns one bit of one of its files over, under the running member or of one that has stopped.
  // It has to notice, now or at its next start, and to stay away; or the bit has no meaning.
  void FlipBit(raft::MemberId id, bool running);
  // Gives it the disk of another member: it must not start.
  void SwapDisk(raft::MemberId id, raft::MemberId other);
  // Remembers the disk as it is; and puts that back, if nothing that anybody relies on goes with
  // what came after it (rule 11: within one life of a disk nobody can notice that).
  void KeepDisk(raft::MemberId id);
  void PutBackDisk(raft::MemberId id);
  // An operator gives a member that has lost its disk an empty one, and starts it.
  void ReplaceDisk(raft::MemberId id);
  // Members that the cluster has taken back count again.
  void NoteReadmitted();
  // Ends every fault of a disk or a clock.
  void Repair(raft::MemberId id);

  // Runs on the member's core executor, if it is still the same life by then. Returns false if the
  // member is not running.
  bool OnCore(raft::MemberId id, std::function<void(server::Server&)> what);

  // --- the run ---

  // Runs until `done` holds, `limit_ns` have passed, or something is violated.
  bool RunUntil(const std::function<bool()>& done, std::int64_t limit_ns);
  void RunFor(std::int64_t duration_ns);

  // The member that leads in the newest term, 0 if none.
  raft::MemberId leader() const;

  // From now on nothing is struck by chance.
  void Calm() {
    calm_ = true;
    network_.Calm();
  }

  // Told when a member has gone.
  std::function<void(raft::MemberId)> on_gone;

  // When an entry was first applied anywhere.
  std::int64_t applied_at_ns(std::uint64_t index) const;

  const CommittedLog& committed() const { return committed_; }

  // The disk of a member as it is now.
  DiskView Look(raft::MemberId id);

  // Counts of members that have gone are kept.
  server::Counters TotalCounters() const;

 private:
  struct Member;
  class MemberWatcher;
  class JumpingClock;

  void EndLife(Member& member);
  void Reap();
  void Bury(Member& member);
  void StartLater(raft::MemberId id, std::int64_t delay_ns);
  server::Seams MakeSeams(Member& member);
  void OnApplied(raft::MemberId id, std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                 std::uint64_t digest);

  void OnEntry(const raft::Entry& entry) { committed_.Add(entry); }

  void OnInstalled(raft::MemberId id, std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                   std::uint64_t digest);
  void Interrupt(raft::MemberId from, raft::MemberId to, const server::PeerMessage& message);
  void Tap(raft::MemberId from, raft::MemberId to, server::PeerMessage& message);
  std::int64_t SyncLatency(const Member& member);
  void Refused(Member& member, const std::string& why);
  bool OthersHave(const DiskView& disk, raft::MemberId id);

  const Knobs knobs_;
  Journal* const journal_;
  SimLoop loop_;
  SimRandom random_;
  WireChecker checker_;
  CommittedLog committed_;
  server::testing::SimNetwork network_;
  std::map<raft::MemberId, Member> members_;
  std::vector<raft::MemberId> dying_;
  bool calm_ = false;
  std::map<std::uint64_t, std::int64_t> applied_at_;
  server::Counters gone_;
};

}  // namespace conclave::sim
