// Makes things fail, as the knobs of the run say.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "tests/sim/operator.h"
#include "tests/sim/world.h"

namespace conclave::sim {

// Thread: one. Must outlive every task of the world's loop.
class Nemesis {
 public:
  explicit Nemesis(World* world);
  Nemesis(const Nemesis&) = delete;
  Nemesis& operator=(const Nemesis&) = delete;

  // Strikes until Stop, with the spacing of the knobs.
  void Start();

  void Stop() { stopped_ = true; }

  // Ends all faults but cuts nobody off yet.
  void Heal();
  // Leaves a random majority of the voters that have their disks alone with each other: the rest is
  // dead or cut off. Returns the majority.
  std::vector<raft::MemberId> LeaveMajority();

  const Operator& oper() const { return operator_; }

 private:
  void Strike();
  raft::MemberId Victim();
  raft::MemberId Other(raft::MemberId than);
  void CutSome();
  void WipeOne();
  void FlipOne();
  void SwapOne();
  void PutBackOne();
  void Matrix();
  // One that may lose its disk: the others are still a majority. 0: none.
  raft::MemberId Expendable();
  std::int64_t Spacing();

  World* const world_;
  SimRandom random_;
  Operator operator_;
  std::vector<void (Nemesis::*)()> enabled_;
  bool stopped_ = false;

  void Crash();
  void CrashWriting();

  void Partition() { CutSome(); }

  void OneWay();
  void OneLink();
  void Pause();
  void FailSync();
  void FillDisk();
  void LowSpace();
  void SlowDisk();
  void JumpWall();

  void Membership() { operator_.Strike(); }
};

}  // namespace conclave::sim
