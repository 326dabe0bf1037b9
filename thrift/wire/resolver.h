// Names to addresses without stopping a loop.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <tl/expected.hpp>

#include "thrift/wire/address.h"
#include "thrift/wire/scheduler.h"

namespace conclave::wire {

/// Thread: the scheduler's own. The callback comes on the scheduler, never inside Resolve.
class Resolver {
 public:
  using Addresses = std::vector<SocketAddress>;  // in the order to try; not empty
  using Done = std::function<void(tl::expected<Addresses, std::string>)>;

  Resolver() = default;
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  Resolver(Resolver&&) = delete;
  Resolver& operator=(Resolver&&) = delete;
  virtual ~Resolver() = default;

  /// Looks a name up anew; nothing is remembered, so that a name that moves is followed. A caller
  /// that goes away before the callback must make its callback harmless.
  virtual void Resolve(const HostPort& host_port, Done done) = 0;
};

/// getaddrinfo on a thread of its own, started at the first name that needs it: /etc/hosts,
/// nsswitch and all. Numeric hosts are answered without it.
class SystemResolver final : public Resolver {
 public:
  /// `scheduler` must outlive the resolver.
  explicit SystemResolver(Scheduler& scheduler);
  /// Waits for a lookup under way; callbacks not yet made are dropped.
  ~SystemResolver() override;
  SystemResolver(const SystemResolver&) = delete;
  SystemResolver& operator=(const SystemResolver&) = delete;
  SystemResolver(SystemResolver&&) = delete;
  SystemResolver& operator=(SystemResolver&&) = delete;

  void Resolve(const HostPort& host_port, Done done) override;

 private:
  struct State;
  static void Work(const std::shared_ptr<State>& state);

  Scheduler& scheduler_;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace conclave::wire
