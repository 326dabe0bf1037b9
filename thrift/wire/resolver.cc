#include "thrift/wire/resolver.h"

#include <cstring>
#include <utility>

#include <netdb.h>
#include <pthread.h>

namespace conclave::wire {
namespace {

tl::expected<Resolver::Addresses, std::string> LookUp(const HostPort& host_port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(host_port.port);
  const int error = getaddrinfo(host_port.host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return tl::make_unexpected("cannot resolve " + host_port.host + ": " + gai_strerror(error));
  }
  Resolver::Addresses addresses;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    address.size = info->ai_addrlen;
    addresses.push_back(address);
  }
  freeaddrinfo(found);
  if (addresses.empty()) {
    return tl::make_unexpected("cannot resolve " + host_port.host + ": no address");
  }
  return addresses;
}

}  // namespace

struct SystemResolver::State {
  struct Job {
    HostPort host_port;
    Done done;
  };

  Scheduler* scheduler = nullptr;
  std::mutex mu;
  std::condition_variable changed;
  std::deque<Job> jobs;   // guarded by mu
  bool stopping = false;  // guarded by mu
};

SystemResolver::SystemResolver(Scheduler& scheduler)
    : scheduler_(scheduler), state_(std::make_shared<State>()) {
  state_->scheduler = &scheduler;
}

SystemResolver::~SystemResolver() {
  {
    const std::lock_guard lock(state_->mu);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void SystemResolver::Resolve(const HostPort& host_port, Done done) {
  const std::weak_ptr<State> state = state_;
  if (auto numeric = NumericAddress(host_port)) {
    scheduler_.Post([state, done = std::move(done), address = *numeric] {
      if (state.lock() != nullptr) {
        done(Addresses{address});
      }
    });
    return;
  }
  if (!thread_.joinable()) {
    thread_ = std::thread(&SystemResolver::Work, state_);
    pthread_setname_np(thread_.native_handle(), "resolver");
  }
  {
    const std::lock_guard lock(state_->mu);
    state_->jobs.push_back({host_port, std::move(done)});
  }
  state_->changed.notify_one();
}

void SystemResolver::Work(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mu);
  for (;;) {
    state->changed.wait(lock, [&state] { return state->stopping || !state->jobs.empty(); });
    if (state->stopping) {
      return;
    }
    State::Job job = std::move(state->jobs.front());
    state->jobs.pop_front();
    lock.unlock();
    auto result = LookUp(job.host_port);
    lock.lock();
    if (state->stopping) {
      return;
    }
    // Under the lock, so that a resolver that is gone posts nothing more.
    state->scheduler->Post([weak = std::weak_ptr<State>(state), done = std::move(job.done),
                            result = std::move(result)]() mutable {
      if (weak.lock() != nullptr) {
        done(std::move(result));
      }
    });
  }
}

}  // namespace conclave::wire
