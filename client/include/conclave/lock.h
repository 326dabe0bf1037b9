// A lock that many processes can contend for and one at a time holds, in fair order.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <conclave/client.h>

namespace conclave {

namespace internal {
class Contender;
struct GrantMaker;
}  // namespace internal

// The lock, held. Destroying it releases the lock (without waiting for the answer).
//
// A lock is only as good as what checks it: a holder that is suspended, or cut off, does not notice
// that time has passed. So either
//  - hand `token()` to the resource with every request and let it refuse a token lower than one it
//    has seen: tokens of one lock path rise with every grant, for ever; or
//  - for writes to Conclave itself, put Guard() into the same multi: a stale holder's write fails;
//  or
//  - at the least, look at valid() right before each step.
//
// Thread: any. Movable, not copyable.
class Grant {
 public:
  Grant() = default;  // Holds nothing.
  ~Grant();
  Grant(Grant&&) noexcept;
  Grant& operator=(Grant&&) noexcept;

  const std::string& path() const;  // The contender's znode: visible to operators.
  std::int64_t token() const;       // The fencing token.
  // No one else is granted the lock before this instant, which moves on while the client is
  // connected. In the past once the lock is released or lost.
  BootTime valid_until() const;
  // Held, not lost, and valid_until() is in the future.
  bool valid() const;

  // `lost` is called exactly once, where callbacks run, when the lock is lost without having been
  // released: the session expired, could not be confirmed in time (called before the cluster can
  // end it), or somebody removed the contender. If it is lost already, it is called soon. Not
  // called after Release().
  void OnLost(std::function<void(const Error& reason)> lost);

  // Operations for the front of a multi; they fail it unless this grant still holds the lock.
  std::vector<Op> Guard() const;

  // Gives the lock up. kUnknownOutcome or kUnavailable mean only that the answer did not come in
  // time: the release goes on in the background, and the session's end releases in any case.
  Status Release(CallOptions options = {});
  void ReleaseAsync(CallOptions options, Callback<void> done);

 private:
  friend struct internal::GrantMaker;

  explicit Grant(std::shared_ptr<internal::Contender> contender);

  std::shared_ptr<internal::Contender> contender_;
};

struct LockOptions {
  // Data of the contender's znode: who holds or waits, for operators. Up to 64 KiB.
  std::string holder = {};
};

// Thread: any. Acquisitions through one Lock object contend with each other like those of different
// processes; a lock is not re-entrant. The client must outlive the Lock, not the Grant.
class Lock {
 public:
  // `path` is a znode that stands for the lock; it and those above it are created when missing.
  // Nothing else should be below it.
  Lock(Client& client, std::string path, LockOptions options = {});
  ~Lock();  // Acquisitions that still wait are withdrawn and answered with kDeadlineExceeded.
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  // Waits in fair order. kDeadlineExceeded: not acquired in time; the contender has been withdrawn
  // (in the background, if the connection is down). kSessionExpired: at once, when it happens.
  // A timeout of 0 waits without limit.
  Result<Grant> Acquire(std::chrono::milliseconds timeout = std::chrono::milliseconds{0});
  void AcquireAsync(std::chrono::milliseconds timeout, Callback<Grant> done);

  // Only if nobody holds it or waits for it: kNodeExists otherwise.
  Result<Grant> TryAcquire(CallOptions options = {});
  void TryAcquireAsync(CallOptions options, Callback<Grant> done);

  const std::string& path() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace conclave
