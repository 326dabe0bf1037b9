#include "tests/sim/client_links.h"

#include <algorithm>
#include <charconv>

namespace conclave::sim {

// --- the executor -------------------------------------------------------------------------------

ClientExecutor::ClientExecutor(SimLoop* loop, std::int64_t drift_ppm)
    : loop_(loop), ppm_(drift_ppm) {}

conclave::BootTime ClientExecutor::Now() const {
  const std::int64_t now_ns = loop_->now_ns();
  return conclave::BootTime(std::chrono::nanoseconds(now_ns + now_ns / 1000 * ppm_ / 1000));
}

void ClientExecutor::Post(conclave::Task task) { Enqueue({.task = std::move(task)}); }

conclave::TimerId ClientExecutor::PostAfter(std::chrono::nanoseconds delay, conclave::Task task) {
  // Its clock counts in steps: never before the delay has passed on it.
  constexpr std::int64_t kStepNs = 2'000;
  const conclave::TimerId timer = next_timer_++;
  const std::int64_t true_ns = delay.count() <= 0 ? 0 : TrueNs(delay) + kStepNs;
  timers_[timer] = loop_->At(loop_->now_ns() + true_ns, [this, alive = std::weak_ptr<bool>(alive_),
                                                         task = std::move(task), timer]() mutable {
    if (!alive.expired()) {
      timers_.erase(timer);
      Enqueue({.task = std::move(task), .timer = timer});
    }
  });
  return timer;
}

void ClientExecutor::Cancel(conclave::TimerId id) {
  if (id == 0) {
    return;
  }
  if (const auto at = timers_.find(id); at != timers_.end()) {
    loop_->Cancel(at->second);
    timers_.erase(at);
  }
  std::erase_if(waiting_, [id](const Waiting& one) { return one.timer == id; });
}

void ClientExecutor::Enqueue(Waiting waiting) {
  waiting_.push_back(std::move(waiting));
  Arm();
}

void ClientExecutor::Arm() {
  if (armed_ || waiting_.empty()) {
    return;
  }
  armed_ = true;
  loop_->At(std::max(loop_->now_ns(), paused_until_ns_),
            [this, alive = std::weak_ptr<bool>(alive_)] {
              if (!alive.expired()) {
                RunNext();
              }
            });
}

void ClientExecutor::RunNext() {
  armed_ = false;
  if (waiting_.empty() || paused_until_ns_ > loop_->now_ns()) {
    Arm();
    return;
  }
  const Waiting next = std::move(waiting_.front());
  waiting_.pop_front();
  Arm();
  running_ = true;
  next.task();
  running_ = false;
}

void ClientExecutor::PauseUntil(std::int64_t at_ns) {
  const std::int64_t from_ns = std::max(paused_until_ns_, loop_->now_ns());
  if (at_ns > from_ns) {
    paused_ns_ += at_ns - from_ns;
    paused_until_ns_ = at_ns;
  }
}

void ClientExecutor::Resume() {
  paused_ns_ = paused_ns();
  paused_until_ns_ = 0;
  armed_ = false;  // at the end of the pause it will find nothing to do, or something: no matter
  Arm();
}

// --- connections --------------------------------------------------------------------------------

struct ClientTransport::Link {
  raft::MemberId member = 0;
  Callbacks callbacks;
  bool open = true;   // the client still has it, and has not been told of its end
  bool dead = false;  // no frame passes any more, in either direction
  std::int64_t out_ns = 0;
  std::int64_t in_ns = 0;
  std::size_t unread_bytes = 0;      // sent by the member, not yet taken by the client
  std::vector<std::string> waiting;  // frames from before it was open
  bool opened = false;
  std::shared_ptr<ClientPort::Connection> at_member;
};

class ClientTransport::Connection final : public conclave::FrameConnection {
 public:
  Connection(ClientTransport* transport, std::shared_ptr<Link> link)
      : transport_(transport), link_(std::move(link)) {}

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ~Connection() override {
    link_->open = false;
    transport_->Abandon(link_);
  }

  void Send(std::string frame) override { transport_->ToMember(link_, std::move(frame)); }

 private:
  ClientTransport* const transport_;
  const std::shared_ptr<Link> link_;
};

ClientTransport::ClientTransport(World* world, ClientExecutor* executor, std::uint64_t seed,
                                 std::string name)
    : world_(world), executor_(executor), random_(seed), name_(std::move(name)) {
  for (raft::MemberId id = 1; id <= world->size(); ++id) {
    members_.insert(id);
  }
}

std::int64_t ClientTransport::LatencyNs() {
  if (!calm_ && random_.Uniform(0, 999) == 0) {
    return static_cast<std::int64_t>(random_.Uniform(1, 400)) * kMs;
  }
  return static_cast<std::int64_t>(random_.Uniform(50'000, 800'000));
}

bool ClientTransport::Chance(std::uint32_t millionths) {
  return !calm_ && millionths > 0 && random_.Uniform(0, 999'999) < millionths;
}

bool ClientTransport::Reaches(raft::MemberId member) const {
  const auto silent = silent_until_.find(member);
  return members_.contains(member) &&
         (silent == silent_until_.end() || silent->second <= world_->loop().now_ns());
}

void ClientTransport::UseOnly(const std::vector<raft::MemberId>& members) {
  members_ = std::set<raft::MemberId>(members.begin(), members.end());
}

void ClientTransport::Silence(raft::MemberId member, std::int64_t until_ns) {
  silent_until_[member] = std::max(silent_until_[member], until_ns);
}

std::unique_ptr<conclave::FrameConnection> ClientTransport::Connect(
    const conclave::Endpoint& endpoint, Callbacks callbacks) {
  auto link = std::make_shared<Link>();
  constexpr std::string_view kHost = "client-";
  const std::string number = endpoint.host.substr(std::min(kHost.size(), endpoint.host.size()));
  std::from_chars(number.data(), number.data() + number.size(), link->member);
  link->callbacks = std::move(callbacks);
  world_->loop().At(world_->loop().now_ns() + LatencyNs(), [this, link] { Open(link); });
  return std::make_unique<Connection>(this, link);
}

void ClientTransport::Open(const std::shared_ptr<Link>& link) {
  if (!link->open || !Reaches(link->member)) {
    return;  // who is not reached does not answer
  }
  ClientPort* port = world_->port(link->member);
  if (port == nullptr) {
    Break(link, "connection refused", false);
    return;
  }
  link->at_member = port->Accept(
      name_,
      [this, weak = std::weak_ptr<Link>(link)](std::string frame) {
        if (const auto open = weak.lock()) {
          ToClient(open, std::move(frame));
        }
      },
      [this, weak = std::weak_ptr<Link>(link)](const std::string& reason) {
        if (const auto open = weak.lock()) {
          Break(open, reason, false);
        }
      });
  link->in_ns = world_->loop().now_ns() + LatencyNs();
  world_->loop().At(link->in_ns, [this, link] {
    executor_->Post([this, link] {
      if (!link->open || link->dead) {
        return;
      }
      link->opened = true;
      link->callbacks.on_open();
      for (std::string& frame : std::exchange(link->waiting, {})) {
        ToMember(link, std::move(frame));
      }
    });
  });
}

void ClientTransport::ToMember(const std::shared_ptr<Link>& link, std::string frame) {
  if (link->dead) {
    return;
  }
  if (!link->opened) {
    link->waiting.push_back(std::move(frame));
    return;
  }
  if (Chance(world_->knobs().lost_reply_millionths / 4)) {
    world_->journal().Count("connections of clients broken");
    Break(link, "connection reset", true);
    return;
  }
  link->out_ns = std::max(link->out_ns + 1, world_->loop().now_ns() + LatencyNs());
  world_->loop().At(link->out_ns, [this, link, frame = std::move(frame)]() mutable {
    if (!link->dead && Reaches(link->member) && link->at_member != nullptr) {
      link->at_member->Receive(std::move(frame));
    } else if (!link->dead) {
      link->dead = true;  // a gap in a stream: nothing behind it arrives either
    }
  });
}

void ClientTransport::ToClient(const std::shared_ptr<Link>& link, std::string frame) {
  if (link->dead || !link->open) {
    return;
  }
  if (!Reaches(link->member)) {
    link->dead = true;
    return;
  }
  if (Chance(world_->knobs().lost_reply_millionths)) {
    world_->journal().Count("lost answers");
    Break(link, "connection reset", true);
    return;
  }
  // What waits already counts, not the frame itself: one answer is always let out.
  const bool too_slow = link->unread_bytes > world_->knobs().client_unread_bytes_max;
  link->unread_bytes += frame.size();
  if (too_slow && !calm_) {
    world_->journal().Count("connections dropped for not reading");
    Break(link, "too slow", true);
    return;
  }
  link->in_ns = std::max(link->in_ns + 1, world_->loop().now_ns() + LatencyNs());
  world_->loop().At(link->in_ns, [this, link, frame = std::move(frame)]() mutable {
    executor_->Post([link, frame = std::move(frame)] {
      link->unread_bytes -= frame.size();
      if (link->open) {
        link->callbacks.on_frame(frame);
      }
    });
  });
}

// The client has closed it. A member that cannot be reached finds out later.
void ClientTransport::Abandon(const std::shared_ptr<Link>& link) {
  if (!link->dead) {
    Break(link, "", true);
  } else if (link->at_member != nullptr) {
    SimLoop& loop = world_->loop();
    loop.At(loop.now_ns() + 5'000 * kMs,
            [at_member = std::move(link->at_member)] { at_member->Gone(); });
  }
}

void ClientTransport::Break(const std::shared_ptr<Link>& link, const std::string& reason,
                            bool tell_member) {
  if (link->dead) {
    return;
  }
  link->dead = true;
  SimLoop& loop = world_->loop();
  if (link->at_member != nullptr) {
    // Held until then, so that it is not destroyed inside a call of its own.
    loop.At(loop.now_ns() + LatencyNs(), [at_member = std::move(link->at_member), tell_member] {
      if (tell_member) {
        at_member->Gone();
      }
    });
  }
  if (link->open) {
    loop.At(std::max(link->in_ns, loop.now_ns()) + LatencyNs(), [this, link, reason] {
      executor_->Post([link, reason] {
        if (link->open) {
          link->open = false;
          const auto closed = link->callbacks.on_closed;
          closed(reason);
        }
      });
    });
  }
}

}  // namespace conclave::sim
