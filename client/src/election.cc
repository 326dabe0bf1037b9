#include "conclave/election.h"

#include <atomic>
#include <utility>

#include "client/src/blocking.h"
#include "client/src/calls.h"
#include "client/src/contender.h"
#include "client/src/waiting_contenders.h"

namespace conclave {

using internal::Block;
using internal::Claim;
using internal::Core;
using internal::OnLoop;
using internal::Posted;

namespace {

using MaybeLeader = std::optional<Leader>;

// Who has claimed last, if that contender is still there.
void ReadLeader(const std::shared_ptr<Core>& core, const std::string& path, internal::CallHow how,
                OnLoop<MaybeLeader> done) {
  internal::GetNode(*core, path, ReadMode::kLinearizable, how,
                    [core, path, how, done](Result<Node> node) {
                      if (!node.ok()) {
                        node.code() == Code::kNoNode ? done(MaybeLeader()) : done(node.error());
                        return;
                      }
                      const auto claim = Claim::Decode(node->data);
                      if (!claim) {
                        done(MaybeLeader());
                        return;
                      }
                      Leader leader{claim->value, node->stat.mzxid, path + "/" + claim->contender};
                      const std::string contender = leader.path;
                      internal::NodeExists(
                          *core, contender, ReadMode::kLinearizable, how,
                          [done, leader = std::move(leader)](Result<Existence> existence) {
                            if (!existence.ok()) {
                              done(existence.error());
                            } else if (existence->stat && existence->stat->czxid <= leader.token) {
                              done(MaybeLeader(leader));
                            } else {
                              done(MaybeLeader());
                            }
                          });
                    });
}

}  // namespace

struct Observation::State : std::enable_shared_from_this<Observation::State> {
  std::shared_ptr<Core> core;
  std::string path;
  std::function<void(const MaybeLeader&)> changed;
  WatchId watch = 0;
  std::atomic<bool> ended{false};

  // Loop only.
  bool reading = false;
  bool read_again = false;
  std::optional<MaybeLeader> told;

  void Start(internal::CallHow how, OnLoop<std::int64_t> registered) {
    auto slot = std::make_shared<internal::WatchSlot>();
    slot->on_loop = true;
    slot->on_event = [weak = weak_from_this()](const Event& event) {
      if (const auto self = weak.lock()) {
        self->OnEvent(event);
      }
    };
    internal::WatchTable::Watch spec;
    spec.path = path;
    spec.mode = WatchMode::kPersistentRecursive;
    spec.slot = std::move(slot);
    watch = core->AddWatch(std::move(spec), how.deadline, std::move(registered));
  }

  // Candidates come and go without a change of leader: only claims and the end of the leader's
  // contender count.
  void OnEvent(const Event& event) {
    const bool of_leader = told && *told && event.path == (**told).path;
    if (event.type == EventType::kResync || event.path == path || of_leader || reading) {
      Read();
    }
  }

  void Read() {
    if (ended || std::exchange(reading, true)) {
      read_again = true;
      return;
    }
    read_again = false;
    ReadLeader(core, path, internal::kUnbounded,
               [self = shared_from_this()](const Result<MaybeLeader>& leader) {
                 self->reading = false;
                 if (self->read_again) {
                   self->Read();
                 } else if (leader.ok() && !(self->told.has_value() && *self->told == *leader)) {
                   self->told = *leader;
                   self->Tell(*leader);
                 }
               });
  }

  void Tell(const MaybeLeader& leader) {
    core->PostCallback([self = shared_from_this(), leader] {
      if (!self->ended) {
        self->changed(leader);
      }
    });
  }

  void End() {
    if (!ended.exchange(true)) {
      core->Unwatch(watch);
    }
  }
};

Observation::~Observation() {
  if (state_ != nullptr) {
    state_->End();
  }
}

Observation::Observation(Observation&&) noexcept = default;

Observation& Observation::operator=(Observation&& other) noexcept {
  if (this != &other) {
    if (state_ != nullptr) {
      state_->End();
    }
    state_ = std::move(other.state_);
  }
  return *this;
}

struct Election::State {
  std::shared_ptr<Core> core;
  std::string path;
  internal::WaitingContenders waiting;

  void Contend(std::string value, std::chrono::milliseconds timeout,
               std::function<void(Result<Grant>)> done) {
    waiting.Contend(core,
                    {.path = path,
                     .value = std::move(value),
                     .wait = true,
                     .deadline = internal::WaitDeadline(*core, timeout)},
                    internal::GrantMaker::For(std::move(done)));
  }
};

Election::Election(Client& client, std::string path) : state_(std::make_shared<State>()) {
  state_->core = client.core_;
  state_->path = std::move(path);
}

Election::~Election() { state_->waiting.Withdraw("the Election object was destroyed"); }

Result<Grant> Election::Campaign(std::string value, std::chrono::milliseconds timeout) {
  return Block<Grant>(*state_->core, [&](OnLoop<Grant> done) {
    state_->Contend(std::move(value), timeout, std::move(done));
  });
}

void Election::CampaignAsync(std::string value, std::chrono::milliseconds timeout,
                             Callback<Grant> done) {
  state_->Contend(std::move(value), timeout, Posted(*state_->core, std::move(done)));
}

Result<std::optional<Leader>> Election::GetLeader(CallOptions options) {
  return Block<MaybeLeader>(*state_->core, [&](OnLoop<MaybeLeader> done) {
    ReadLeader(state_->core, state_->path,
               {.deadline = state_->core->DeadlineAfter(options.timeout), .unbounded = false},
               std::move(done));
  });
}

void Election::GetLeaderAsync(CallOptions options, Callback<std::optional<Leader>> done) {
  ReadLeader(state_->core, state_->path,
             {.deadline = state_->core->DeadlineAfter(options.timeout), .unbounded = false},
             Posted(*state_->core, std::move(done)));
}

void Observation::Start(const std::shared_ptr<Core>& core, const std::string& path,
                        std::function<void(const std::optional<Leader>&)> changed,
                        CallOptions options, std::function<void(Result<Observation>)> done) {
  auto state = std::make_shared<State>();
  state->core = core;
  state->path = path;
  state->changed = std::move(changed);
  const internal::CallHow how{.deadline = core->DeadlineAfter(options.timeout), .unbounded = false};
  internal::CreatePath(*core, path, how, [state, how, done = std::move(done)](const Status& made) {
    if (!made.ok()) {
      done(made.error());
      return;
    }
    state->Start(how, [state, done](const Result<std::int64_t>& registered) {
      if (!registered.ok()) {
        done(registered.error());
        return;
      }
      Observation observation;
      observation.state_ = state;
      done(std::move(observation));
      state->Read();
    });
  });
}

Result<Observation> Election::Observe(std::function<void(const std::optional<Leader>&)> changed,
                                      CallOptions options) {
  return Block<Observation>(*state_->core, [&](OnLoop<Observation> done) {
    Observation::Start(state_->core, state_->path, std::move(changed), options, std::move(done));
  });
}

void Election::ObserveAsync(std::function<void(const std::optional<Leader>&)> changed,
                            CallOptions options, Callback<Observation> done) {
  Observation::Start(state_->core, state_->path, std::move(changed), options,
                     Posted(*state_->core, std::move(done)));
}

const std::string& Election::path() const { return state_->path; }

}  // namespace conclave
