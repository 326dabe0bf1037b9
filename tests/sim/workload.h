// What a run asks of its clients, whichever interface they use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "consensus/types.h"

namespace conclave::sim {

// Thread: one. Must outlive every task of the world's loop.
class Workload {
 public:
  Workload() = default;
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;
  virtual ~Workload() = default;

  virtual void Start() = 0;
  // Brings what is under way to its end and begins nothing new.
  virtual void Stop() = 0;
  // Stopped, and all is at its end.
  virtual bool idle() const = 0;
  // What it waits for, for people.
  virtual std::string UnderWay() const = 0;
  // Faults end: leaves members outside of this list for good, and behaves.
  virtual void UseOnly(std::vector<raft::MemberId> members) = 0;
  // The member has gone, and connections to it with it.
  virtual void MemberGone(raft::MemberId member) = 0;
  // The end of the run: nothing of it may be left in the world's queue a moment later.
  virtual void Quit() = 0;

  // The session that it keeps alive; 0: none.
  virtual std::int64_t session() const = 0;
  // Whether it has made progress of every kind that it makes.
  virtual bool progressed() const = 0;
};

}  // namespace conclave::sim
