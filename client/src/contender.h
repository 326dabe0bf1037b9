// One attempt to hold a lock: from its contender's znode to the end of the grant. What Lock and
// Election share.
//
// The layout of a lock at path L (native):
//   L/c-<session, 16 hex digits>-<10 digits>   a contender: ephemeral, sequential; data: who it is
//   L                                          data: the claim of the last holder (see Claim)
// The contender with the lowest number is the first. A contender watches only the one before it, so
// that a release wakes one waiter. The first one claims the lock by the multi
//   {check own contender exists, set L's data to the claim}
// and holds it from then on until its contender is gone. Only the first can be the first: all
// others have later numbers, and the check fails if its contender has gone meanwhile (session
// expired, removed by an operator). So claims of one lock follow each other and the zxid of the
// claim, the mzxid of L, is a fencing token that rises with every grant for ever, also if L is
// removed and created again. (The zxid of the contender's creation would not do: two contenders may
// be created by one multi, and it says nothing about when the lock was granted.)
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <conclave/types.h>

#include "client/src/core.h"

namespace conclave::internal {

// The data of a lock's znode: the name of the holder's contender, a line feed, the holder's value.
struct Claim {
  std::string contender;
  std::string value;

  std::string Encode() const { return contender + "\n" + value; }

  // Empty if it is not a claim.
  static std::optional<Claim> Decode(const Data& data);
};

// The number of a contender's name; empty if the name is not one of this layout.
std::optional<std::int32_t> ContenderNumber(std::string_view name);
// Numbers wrap after 2^31 contenders: a comes before b if the way from a to b is the shorter one.
bool ComesBefore(std::int32_t a, std::int32_t b);

struct ContenderOptions {
  std::string path;   // Of the lock.
  std::string value;  // Data of the contender, and in the claim.
  bool wait = true;   // False: give up if it is not the first (kNodeExists).
  BootTime deadline = BootTime::max();
};

// Thread: what stands under "any thread" from any, the rest on the loop.
class Contender : public std::enable_shared_from_this<Contender> {
 public:
  // `granted` is called on the loop, once: with no error when the lock is held.
  Contender(std::shared_ptr<Core> core, ContenderOptions options,
            std::function<void(Status)> granted);

  // --- Any thread.
  void Start();
  // Gives up waiting: answered with kDeadlineExceeded and this message.
  void Withdraw(std::string why);
  // `released` is called on the loop, once, within `timeout`; the removal goes on in any case.
  void Release(std::chrono::nanoseconds timeout, std::function<void(Status)> released);
  void OnLost(std::function<void(const Error&)> lost);
  bool Held() const;
  bool ValidNow() const;

  const std::string& contender_path() const { return contender_path_; }  // Once granted.

  std::int64_t token() const { return token_; }  // Once granted.

  BootTime valid_until() const;
  std::vector<Op> Guard() const;

  Core& core() const { return *core_; }

 private:
  enum class Phase { kNew, kCreating, kQueued, kClaiming, kClaimed, kHeld, kOver };

  void Create();
  void OnCreated(Result<Created> created);
  void FindOwn(const Error& dropped);
  void FindAmong(std::vector<std::string> paths, const Error& dropped);
  void WatchSelf(std::int64_t czxid);
  void CheckSelf();
  void List();
  void OnListed(Result<ChildList> children);
  void AwaitPredecessor(const std::string& predecessor);
  void ClaimLock();
  void OnClaimed(Result<MultiResult> result);
  void GrantWhenValid();
  void OnSession(SessionState state);
  void OnDeadline();
  // Not granted: answers with the error and removes the contender if there is one.
  void Fail(Error error);
  void Lose(Error error);
  void RemoveNode(std::function<void(Status)> done);
  // Stops watches, timers and listening.
  void Leave();
  Task Weakly(void (Contender::*step)());
  WatchId WatchOnce(const std::string& path, std::optional<Cursor> from,
                    void (Contender::*on_event)());

  const std::shared_ptr<Core> core_;
  const ContenderOptions options_;

  // Loop only.
  std::function<void(Status)> granted_;
  Phase phase_ = Phase::kNew;
  bool withdrawn_ = false;
  bool listing_ = false;
  bool list_again_ = false;
  WatchId self_watch_ = 0;
  WatchId predecessor_watch_ = 0;
  Core::ListenerId listener_ = 0;
  TimerId deadline_timer_ = 0;
  TimerId valid_timer_ = 0;

  // Written on the loop before the grant, constant afterwards.
  std::string name_;
  std::string contender_path_;
  std::int64_t token_ = 0;
  std::int32_t claim_version_ = 0;

  mutable std::mutex mu_;
  bool held_ = false;                                // Guarded by mu_.
  bool released_ = false;                            // Guarded by mu_.
  std::optional<Error> lost_;                        // Guarded by mu_.
  std::function<void(const Error&)> lost_callback_;  // Guarded by mu_.
};

}  // namespace conclave::internal
