// Elects one leader among the candidates of an application, and tells everybody who it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <conclave/client.h>
#include <conclave/lock.h>

namespace conclave {

struct Leader {
  std::string value;       // What the leader has campaigned with: its address, say.
  std::int64_t token = 0;  // The leader's fencing token; rises with every leader.
  std::string path;        // The leader's contender znode.

  bool operator==(const Leader&) const = default;
};

// While one lives, changes of leadership are told. Destroying it ends that, as Client::Unwatch
// does.
class Observation {
 public:
  Observation() = default;
  ~Observation();
  Observation(Observation&&) noexcept;
  Observation& operator=(Observation&&) noexcept;

 private:
  friend class Election;
  struct State;

  static void Start(const std::shared_ptr<internal::Core>& core, const std::string& path,
                    std::function<void(const std::optional<Leader>&)> changed, CallOptions options,
                    std::function<void(Result<Observation>)> done);

  std::shared_ptr<State> state_;
};

// A leader is the holder of a lock at the election's path, so all that Grant says holds for it: to
// lead is to hold a Grant; to resign is to release it; to be deposed is OnLost.
//
// Thread: any. The client must outlive the Election and the Observation.
class Election {
 public:
  Election(Client& client, std::string path);
  ~Election();  // Campaigns that still wait are withdrawn and answered with kDeadlineExceeded.
  Election(const Election&) = delete;
  Election& operator=(const Election&) = delete;

  // Returns when this candidate has been elected. Errors as in Lock::Acquire. `value` is what
  // observers are told, up to 64 KiB. A timeout of 0 waits without limit.
  Result<Grant> Campaign(std::string value,
                         std::chrono::milliseconds timeout = std::chrono::milliseconds{0});
  void CampaignAsync(std::string value, std::chrono::milliseconds timeout, Callback<Grant> done);

  // Who leads now; empty if nobody does.
  Result<std::optional<Leader>> GetLeader(CallOptions options = {});
  void GetLeaderAsync(CallOptions options, Callback<std::optional<Leader>> done);

  // `changed` is called with the leader of now, and then whenever that has changed (it may skip a
  // leader of a very short time, and comes in the order of their tokens). The election's path is
  // created if it is missing. It ends with the session; Options::on_session tells.
  Result<Observation> Observe(std::function<void(const std::optional<Leader>&)> changed,
                              CallOptions options = {});

  void ObserveAsync(std::function<void(const std::optional<Leader>&)> changed, CallOptions options,
                    Callback<Observation> done);

  const std::string& path() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace conclave
