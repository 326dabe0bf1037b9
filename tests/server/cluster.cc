#include "tests/server/cluster.h"

#include <algorithm>

#include <fmt/format.h>
#include <glog/logging.h>
#include <gtest/gtest.h>

namespace conclave::server::testing {

void SafetyChecker::Applied(raft::MemberId member, std::uint64_t index, std::uint64_t term,
                            std::uint64_t chain, std::uint64_t digest) {
  const auto [at, first] = applied_.try_emplace(index, Applied_{term, chain, digest});
  if (first) {
    return;
  }
  EXPECT_EQ(at->second.term, term) << "member " << member << " at index " << index;
  EXPECT_EQ(at->second.chain, chain) << "member " << member << " at index " << index;
  if (!divergence_allowed_) {
    EXPECT_EQ(at->second.digest, digest) << "member " << member << " at index " << index;
  }
}

void SafetyChecker::Leader(raft::MemberId member, std::uint64_t term) {
  const auto [at, first] = leaders_.try_emplace(term, member);
  EXPECT_TRUE(first || at->second == member)
      << "term " << term << " has two leaders: " << at->second << " and " << member;
}

void Cluster::Watcher::OnApplied(std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                                 std::uint64_t digest) {
  cluster->checker_.Applied(member, index, term, chain, digest);
  cluster->trace().Add(member);
  cluster->trace().Add(index);
  cluster->trace().Add(digest);
}

void Cluster::Watcher::OnLeader(std::uint64_t term) {
  cluster->checker_.Leader(member, term);
  cluster->trace().Add(term);
}

Cluster::Cluster(ClusterOptions options)
    : options_(std::move(options)),
      wall_clock_(&loop_),
      network_(&loop_, options_.network, options_.seed * 2 + 1),
      random_(options_.seed * 2) {
  for (raft::MemberId id = 1; id <= options_.members; ++id) {
    Make(id, options_.members);
  }
}

void Cluster::Make(raft::MemberId id, raft::MemberId last) {
  Member& member = members_[id];
  member.options.id = id;
  member.options.data_dir = "/data";
  member.options.client_address = fmt::format("client-{}:1", id);
  member.options.admin_address = fmt::format("admin-{}:1", id);
  for (raft::MemberId peer = 1; peer <= last; ++peer) {
    member.options.members.push_back({peer, fmt::format("peer-{}:1", peer)});
  }
  if (options_.tune) {
    options_.tune(member.options);
  }
  member.env = std::make_unique<persist::testing::FaultEnv>();
  member.random = std::make_unique<SimRandom>(random_.Next());
  member.observer = std::make_unique<Watcher>(this, id);
}

void Cluster::Prepare(raft::MemberId id) {
  CHECK(!members_.contains(id));
  Make(id, id);
  members_.at(id).options.join = true;
}

Cluster::~Cluster() {
  for (auto& [id, member] : members_) {
    EndLife(member);
  }
}

std::optional<std::string> Cluster::Start(raft::MemberId id) {
  Member& member = members_.at(id);
  CHECK(member.server == nullptr) << "member " << id << " is running";
  member.fatal.clear();
  member.core = std::make_unique<SimExecutor>(&loop_, nullptr);
  member.log = std::make_unique<SimExecutor>(&loop_, [this, &member] {
    return member.sync_delay_ns + static_cast<std::int64_t>(random_.Uniform(
                                      static_cast<std::uint64_t>(options_.sync_min_ns),
                                      static_cast<std::uint64_t>(options_.sync_max_ns)));
  });
  member.background = std::make_unique<SimExecutor>(&loop_, [this] {
    return static_cast<std::int64_t>(
        random_.Uniform(0, static_cast<std::uint64_t>(options_.background_max_ns)));
  });
  member.transport = std::make_unique<SimTransport>(&network_, member.core.get(), id);
  Seams seams;
  seams.core = member.core.get();
  seams.log = member.log.get();
  seams.background = member.background.get();
  seams.transport = member.transport.get();
  seams.env = member.env.get();
  seams.disk = member.env.get();
  seams.storage_background = persist::StorageEnv::Background::kQueued;
  seams.wall_clock = &wall_clock_;
  seams.random = member.random.get();
  seams.observer = member.observer.get();
  seams.fatal = [&member](std::string_view reason) {
    if (member.fatal.empty()) {
      member.fatal = reason;
    }
  };
  seams.free_space = [&member] { return member.free_space; };
  member.server = std::make_unique<Server>(member.options, std::move(seams));
  const auto started = member.server->Start();
  if (!started) {
    EndLife(member);
    return started.error();
  }
  return std::nullopt;
}

void Cluster::StartAll() {
  for (auto& [id, member] : members_) {
    if (member.server == nullptr) {
      const auto error = Start(id);
      ASSERT_FALSE(error.has_value()) << *error;
    }
  }
}

void Cluster::EndLife(Member& member) {
  if (member.transport != nullptr) {
    member.transport->Stop();
  }
  member.server.reset();
  member.transport.reset();
  member.background.reset();
  member.log.reset();
  member.core.reset();
}

void Cluster::Kill(raft::MemberId id, bool forget) {
  Member& member = members_.at(id);
  // The disk stops first: what closing the log would still write is not written by a dead process.
  member.env->Crash(
      forget ? persist::testing::CrashPolicy::kDropAll : persist::testing::CrashPolicy::kKeepAll,
      random_.Next());
  EndLife(member);
}

void Cluster::StopInOrder(raft::MemberId id) {
  bool stopped = false;
  server(id).Stop([&stopped] { stopped = true; });
  ASSERT_TRUE(Until([&stopped] { return stopped; })) << "member " << id << " does not stop";
  EndLife(members_.at(id));
}

void Cluster::WipeDisk(raft::MemberId id) {
  CHECK(!running(id));
  members_.at(id).env->Erase("/data");
}

void Cluster::Pause(raft::MemberId id, std::int64_t duration_ns) {
  Member& member = members_.at(id);
  member.core->PauseUntil(loop_.now_ns() + duration_ns);
  member.log->PauseUntil(loop_.now_ns() + duration_ns);
  member.background->PauseUntil(loop_.now_ns() + duration_ns);
}

void Cluster::StallLog(raft::MemberId id, std::int64_t duration_ns) {
  members_.at(id).log->PauseUntil(loop_.now_ns() + duration_ns);
}

void Cluster::StallBackground(raft::MemberId id, std::int64_t duration_ns) {
  members_.at(id).background->PauseUntil(loop_.now_ns() + duration_ns);
}

bool Cluster::Until(const std::function<bool()>& done, std::int64_t limit_ms) {
  return loop_.RunUntil(done, limit_ms * kMs);
}

raft::MemberId Cluster::leader() const {
  raft::MemberId best = 0;
  std::uint64_t best_term = 0;
  for (const auto& [id, member] : members_) {
    if (member.server == nullptr) {
      continue;
    }
    const Status status = member.server->status();
    if (status.role == MemberRole::kLeader && status.term > best_term && status.ready) {
      best = id;
      best_term = status.term;
    }
  }
  return best;
}

raft::MemberId Cluster::AwaitLeader(std::int64_t limit_ms) {
  raft::MemberId found = 0;
  Until(
      [this, &found] {
        const raft::MemberId candidate = leader();
        std::size_t followers = 0;
        for (const auto& [id, member] : members_) {
          if (member.server != nullptr && candidate != 0 &&
              member.server->status().leader == candidate) {
            ++followers;
          }
        }
        found = followers > members_.size() / 2 ? candidate : 0;
        return found != 0;
      },
      limit_ms);
  return found;
}

raft::MemberId Cluster::Follower(std::size_t nth) {
  const raft::MemberId leading = AwaitLeader();
  for (const auto& [id, member] : members_) {
    if (member.server != nullptr && id != leading && nth-- == 0) {
      return id;
    }
  }
  return 0;
}

bool Cluster::AwaitConverged(std::int64_t limit_ms) {
  return Until(
      [this] {
        std::optional<Status> first;
        for (const auto& [id, member] : members_) {
          if (member.server == nullptr) {
            continue;
          }
          const Status status = member.server->status();
          if (!first) {
            first = status;
          }
          if (!status.ready || status.applied_index != first->applied_index ||
              status.digest != first->digest || status.applied_index != status.commit_index) {
            return false;
          }
        }
        return first.has_value();
      },
      limit_ms);
}

}  // namespace conclave::server::testing
