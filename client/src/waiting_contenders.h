// The acquisitions that one Lock or Election object has under way.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <conclave/lock.h>

#include "client/src/contender.h"

namespace conclave::internal {

// Thread: any.
class WaitingContenders {
 public:
  using Done = std::function<void(Result<std::shared_ptr<Contender>>)>;

  // `done` is called on the loop with the holder, or with why there is none.
  void Contend(const std::shared_ptr<Core>& core, ContenderOptions options, Done done);
  void Withdraw(const std::string& why);

 private:
  std::mutex mu_;
  std::vector<std::weak_ptr<Contender>> waiting_;  // Guarded by mu_; cleaned when it grows.
};

// A timeout of 0 waits without limit.
BootTime WaitDeadline(const Core& core, std::chrono::milliseconds timeout);

struct GrantMaker {
  // What to call with the contender so that `done` gets the grant.
  static WaitingContenders::Done For(std::function<void(Result<Grant>)> done);
};

}  // namespace conclave::internal
