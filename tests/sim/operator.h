// The operator of a run: adds, promotes, removes and re-admits members and hands leadership over,
// one thing at a time, through whichever member answers, and asks again until it knows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coord/server/member_api.h"
#include "tests/sim/world.h"

namespace conclave::sim {

// Thread: one. Must outlive every task of the world's loop.
class Operator {
 public:
  explicit Operator(World* world);
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  // Begins something, unless something is under way.
  void Strike();

  // Begins nothing new but what brings lost members back.
  void Calm() { calm_ = true; }

  bool busy() const { return busy_; }

 private:
  bool DrawCommand(server::MemberCommand* command);
  bool Readmit();
  // Whether the voters that are left without this one can lose no more than are lost already.
  bool MayGo(raft::MemberId id) const;
  void Begin(server::MemberCommand command);
  void Ask();
  void AskAgain(std::uint64_t attempt, const std::string& why);
  void End(const std::string& how);

  World* const world_;
  SimRandom random_;
  bool calm_ = false;
  bool busy_ = false;
  std::uint64_t attempt_ = 0;
  int tries_ = 0;
  server::MemberCommand command_;
};

}  // namespace conclave::sim
