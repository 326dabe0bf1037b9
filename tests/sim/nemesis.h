// Makes things fail, as the knobs of the run say.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

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

  // Ends all faults, and leaves a random majority of members that have their disks alone with each
  // other: the rest is dead or cut off. Returns the majority.
  std::vector<raft::MemberId> HealMajority();

 private:
  void Strike();
  raft::MemberId Victim();
  raft::MemberId Other(raft::MemberId than);
  void CutSome();
  void WipeOne();
  std::int64_t Spacing();

  World* const world_;
  SimRandom random_;
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
};

}  // namespace conclave::sim
