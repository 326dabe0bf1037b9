#include "conclave/lock.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "client/src/blocking.h"
#include "client/src/calls.h"
#include "client/src/contender.h"
#include "client/src/waiting_contenders.h"

namespace conclave {

using internal::Block;
using internal::Contender;
using internal::Posted;

Grant::Grant(std::shared_ptr<Contender> contender) : contender_(std::move(contender)) {}

Grant::~Grant() {
  if (contender_ != nullptr) {
    contender_->Release(contender_->core().session_timeout(), [](const Status&) {});
  }
}

Grant::Grant(Grant&&) noexcept = default;

Grant& Grant::operator=(Grant&& other) noexcept {
  if (this != &other) {
    Grant old(std::move(contender_));  // Releases what was held.
    contender_ = std::move(other.contender_);
  }
  return *this;
}

const std::string& Grant::path() const {
  static const std::string kNone;
  return contender_ == nullptr ? kNone : contender_->contender_path();
}

std::int64_t Grant::token() const { return contender_ == nullptr ? 0 : contender_->token(); }

BootTime Grant::valid_until() const {
  return contender_ == nullptr ? BootTime::min() : contender_->valid_until();
}

bool Grant::valid() const { return contender_ != nullptr && contender_->ValidNow(); }

void Grant::OnLost(std::function<void(const Error& reason)> lost) {
  if (contender_ != nullptr) {
    contender_->OnLost(std::move(lost));
  }
}

std::vector<Op> Grant::Guard() const {
  return contender_ == nullptr ? std::vector<Op>() : contender_->Guard();
}

Status Grant::Release(CallOptions options) {
  if (contender_ == nullptr) {
    return {};
  }
  internal::Core& core = contender_->core();
  return Block<void>(core, [&](internal::OnLoop<void> done) {
    contender_->Release(core.TimeoutOf(options.timeout), std::move(done));
  });
}

void Grant::ReleaseAsync(CallOptions options, Callback<void> done) {
  if (contender_ == nullptr) {
    done({});
    return;
  }
  internal::Core& core = contender_->core();
  contender_->Release(core.TimeoutOf(options.timeout), Posted(core, std::move(done)));
}

struct Lock::State {
  std::shared_ptr<internal::Core> core;
  std::string path;
  LockOptions options;
  internal::WaitingContenders waiting;

  void Contend(bool wait, BootTime deadline, internal::WaitingContenders::Done done) {
    waiting.Contend(core,
                    {.path = path, .value = options.holder, .wait = wait, .deadline = deadline},
                    std::move(done));
  }
};

Lock::Lock(Client& client, std::string path, LockOptions options)
    : state_(std::make_shared<State>()) {
  state_->core = client.core_;
  state_->path = std::move(path);
  state_->options = std::move(options);
}

Lock::~Lock() { state_->waiting.Withdraw("the Lock object was destroyed"); }

Result<Grant> Lock::Acquire(std::chrono::milliseconds timeout) {
  return Block<Grant>(*state_->core, [&](internal::OnLoop<Grant> done) {
    state_->Contend(true, internal::WaitDeadline(*state_->core, timeout),
                    internal::GrantMaker::For(std::move(done)));
  });
}

void Lock::AcquireAsync(std::chrono::milliseconds timeout, Callback<Grant> done) {
  state_->Contend(true, internal::WaitDeadline(*state_->core, timeout),
                  internal::GrantMaker::For(Posted(*state_->core, std::move(done))));
}

Result<Grant> Lock::TryAcquire(CallOptions options) {
  return Block<Grant>(*state_->core, [&](internal::OnLoop<Grant> done) {
    state_->Contend(false, state_->core->DeadlineAfter(options.timeout),
                    internal::GrantMaker::For(std::move(done)));
  });
}

void Lock::TryAcquireAsync(CallOptions options, Callback<Grant> done) {
  state_->Contend(false, state_->core->DeadlineAfter(options.timeout),
                  internal::GrantMaker::For(Posted(*state_->core, std::move(done))));
}

const std::string& Lock::path() const { return state_->path; }

}  // namespace conclave
