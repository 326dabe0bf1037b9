#include "client/src/waiting_contenders.h"

#include <utility>

namespace conclave::internal {

void WaitingContenders::Contend(const std::shared_ptr<Core>& core, ContenderOptions options,
                                Done done) {
  auto self = std::make_shared<std::shared_ptr<Contender>>();
  // Until it is answered the contender is kept by its own callback, which it drops with the answer.
  auto contender = std::make_shared<Contender>(core, std::move(options),
                                               [self, done = std::move(done)](Status status) {
                                                 auto holder = std::exchange(*self, nullptr);
                                                 if (status.ok()) {
                                                   done(std::move(holder));
                                                 } else {
                                                   done(status.error());
                                                 }
                                               });
  *self = contender;
  {
    const std::lock_guard lock(mu_);
    std::erase_if(waiting_, [](const auto& weak) { return weak.expired(); });
    waiting_.push_back(contender);
  }
  contender->Start();
}

void WaitingContenders::Withdraw(const std::string& why) {
  std::vector<std::weak_ptr<Contender>> waiting;
  {
    const std::lock_guard lock(mu_);
    waiting.swap(waiting_);
  }
  for (const auto& weak : waiting) {
    if (const auto contender = weak.lock()) {
      contender->Withdraw(why);
    }
  }
}

BootTime WaitDeadline(const Core& core, std::chrono::milliseconds timeout) {
  return timeout > std::chrono::milliseconds(0) ? core.DeadlineAfter(timeout) : BootTime::max();
}

WaitingContenders::Done GrantMaker::For(std::function<void(Result<Grant>)> done) {
  return [done = std::move(done)](Result<std::shared_ptr<Contender>> holder) {
    if (holder.ok()) {
      done(Grant(std::move(*holder)));
    } else {
      done(holder.error());
    }
  };
}

}  // namespace conclave::internal
