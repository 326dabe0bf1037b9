#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

#include "tests/sim/peer_bytes.h"
#include "tests/sim/world_member.h"

namespace conclave::sim {

using persist::testing::CrashPolicy;
using persist::testing::FaultEnv;
using raft::MemberId;

namespace {

constexpr int kSamplesMax = 12;  // of whole disks, per run

}  // namespace

server::TimerId SkewedExecutor::PostAfter(std::int64_t delay_ns, Task task) {
  const std::int64_t true_ns = delay_ns <= 0 ? 0 : delay_ns - delay_ns / 1'000'000 * ppm_ + 1;
  return inner_.PostAfter(true_ns, std::move(task));
}

std::int64_t SkewedExecutor::NowNs() const {
  const std::int64_t now_ns = loop_->now_ns();
  return now_ns + now_ns / 1000 * ppm_ / 1000 + offset_ns_;
}

World::World(const Knobs& knobs, Journal* journal)
    : knobs_(knobs),
      journal_(journal),
      random_(knobs.seed * 3 + 1),
      checker_(journal),
      committed_(journal),
      network_(
          &loop_,
          [this] {
            server::testing::SimNetworkOptions options = knobs_.network;
            options.tap = [this](MemberId from, MemberId to, server::PeerMessage& message) {
              Tap(from, to, message);
            };
            return options;
          }(),
          knobs.seed * 3 + 2) {
  journal_->SetLoop(&loop_);
  for (MemberId id = 1; id <= knobs_.members + knobs_.spares; ++id) {
    Member& member = members_[id];
    member.id = id;
    member.options = knobs_.server;
    member.options.id = id;
    member.options.data_dir = "/data";
    member.options.client_address = fmt::format("client-{}:1", id);
    member.options.admin_address = fmt::format("admin-{}:1", id);
    for (MemberId peer = 1; peer <= knobs_.members; ++peer) {
      member.options.members.push_back({peer, fmt::format("peer-{}:1", peer)});
    }
    if (id > knobs_.members) {
      member.options.members.push_back({id, fmt::format("peer-{}:1", id)});
      member.options.join = true;
    }
    member.env = std::make_unique<FaultEnv>();
    member.random = std::make_unique<SimRandom>(random_.Next());
    member.wall_clock = std::make_unique<JumpingClock>(&loop_);
    member.watcher = std::make_unique<MemberWatcher>(this, id);
    if (knobs_.drift_ppm > 0) {
      const auto wide = static_cast<std::uint64_t>(knobs_.drift_ppm);
      member.drift_ppm = static_cast<std::int64_t>(random_.Uniform(0, 2 * wide)) - knobs_.drift_ppm;
    }
  }
}

World::~World() {
  for (auto& [id, member] : members_) {
    EndLife(member);
  }
}

bool World::running(MemberId id) const { return members_.at(id).server != nullptr; }

server::Server& World::server(MemberId id) { return *members_.at(id).server; }

FaultEnv& World::env(MemberId id) { return *members_.at(id).env; }

ClientPort* World::port(MemberId id) { return members_.at(id).port.get(); }

std::int64_t World::SyncLatency(const Member& member) {
  return member.slow_sync_ns +
         static_cast<std::int64_t>(random_.Uniform(static_cast<std::uint64_t>(knobs_.sync_min_ns),
                                                   static_cast<std::uint64_t>(knobs_.sync_max_ns)));
}

server::Seams World::MakeSeams(Member& member) {
  server::Seams seams;
  seams.core = member.core.get();
  seams.log = member.log.get();
  seams.background = member.background.get();
  seams.transport = member.transport.get();
  seams.env = member.env.get();
  seams.disk = member.env.get();
  seams.storage_background = persist::StorageEnv::Background::kQueued;
  seams.wall_clock = member.wall_clock.get();
  seams.random = member.random.get();
  seams.observer = member.watcher.get();
  seams.fatal = [this, &member](std::string_view reason) {
    if (!member.dying) {
      member.fatal = reason;
      member.dying = true;
      dying_.push_back(member.id);
    }
  };
  seams.free_space = [&member] { return member.free_space; };
  return seams;
}

void World::Start(MemberId id) {
  Member& member = members_.at(id);
  if (member.server != nullptr || member.stay_down) {
    return;
  }
  // A machine that boots counts its time from somewhere else.
  const auto offset_ns = static_cast<std::int64_t>(random_.Uniform(0, 1'000)) * kMs;
  member.core = std::make_unique<SkewedExecutor>(&loop_, nullptr, offset_ns, member.drift_ppm);
  member.log = std::make_unique<SkewedExecutor>(
      &loop_, [this, &member] { return SyncLatency(member); }, offset_ns, member.drift_ppm);
  member.background = std::make_unique<SkewedExecutor>(
      &loop_, [this] { return static_cast<std::int64_t>(random_.Uniform(0, 4 * kMs)); }, offset_ns,
      member.drift_ppm);
  member.transport =
      std::make_unique<server::testing::SimTransport>(&network_, member.core.get(), id);
  member.server = std::make_unique<server::Server>(member.options, MakeSeams(member));
  member.last_applied = 0;
  checker_.Started(id);
  const auto started = member.server->Start();
  if (started) {
    journal_->Note("member {} started", id);
    member.port = std::make_unique<ClientPort>(member.core.get(), &member.server);
    return;
  }
  if (member.dying) {
    return;  // it crashed while it started
  }
  Refused(member, started.error());
}

void World::Refused(Member& member, const std::string& why) {
  journal_->Note("member {} does not start: {}", member.id, why);
  EndLife(member);
  member.env->Crash(CrashPolicy::kKeepAll, random_.Next());
  if (member.damaged) {
    journal_->Count("damaged disks refused at start");
    member.stay_down = true;
    return;
  }
  if (!member.disk_fault) {
    journal_->Fail("member {} does not start on a good disk: {}", member.id, why);
  }
  StartLater(member.id, 300 * kMs);
}

void World::StartLater(MemberId id, std::int64_t delay_ns) {
  loop_.At(loop_.now_ns() + delay_ns, [this, id] { Start(id); });
}

void World::EndLife(Member& member) {
  if (member.transport != nullptr) {
    member.transport->Stop();
  }
  member.port.reset();
  member.server.reset();
  member.transport.reset();
  member.background.reset();
  member.log.reset();
  member.core.reset();
}

void World::Crash(MemberId id, CrashPolicy policy, bool stay_down) {
  Member& member = members_.at(id);
  member.stay_down = member.stay_down || stay_down;
  if (member.server == nullptr) {
    return;
  }
  journal_->Note("member {} crashes, policy {}", id, static_cast<int>(policy));
  journal_->Count("crashes");
  member.env->OnChange({});
  // The disk stops first: what closing the log would still write is not written by a dead process.
  member.env->Crash(policy, random_.Next());
  Bury(member);
}

void World::Bury(Member& member) {
  const MemberId id = member.id;
  const server::Counters last = member.server->status().counters;
  gone_.writes_duplicate += last.writes_duplicate;
  gone_.digest_mismatches += last.digest_mismatches;
  gone_.writes_forwarded += last.writes_forwarded;
  EndLife(member);
  member.dying = false;
  member.fatal.clear();
  member.operations_left = 0;
  if (on_gone) {
    on_gone(id);
  }
  const auto delay_ms =
      static_cast<std::int64_t>(random_.Uniform(static_cast<std::uint64_t>(knobs_.restart_min_ms),
                                                static_cast<std::uint64_t>(knobs_.restart_max_ms)));
  StartLater(id, delay_ms * kMs);
}

void World::CrashAtOperation(MemberId id, std::uint64_t nth) {
  Member& member = members_.at(id);
  if (member.operations_left != 0) {
    return;
  }
  member.operations_left = nth;
  member.env->OnChange([this, &member] {
    if (member.operations_left == 0 || --member.operations_left > 0 || member.dying) {
      return;
    }
    constexpr CrashPolicy kPolicies[] = {CrashPolicy::kDropAll, CrashPolicy::kKeepAll,
                                         CrashPolicy::kPrefix, CrashPolicy::kSubset};
    member.image = member.env->CrashImage(kPolicies[random_.Uniform(0, 3)], random_.Next());
    member.dying = true;
    dying_.push_back(member.id);
  });
}

// Members that died within the event that has just run.
void World::Reap() {
  const std::vector<MemberId> dying = std::exchange(dying_, {});
  for (const MemberId id : dying) {
    Member& member = members_.at(id);
    if (!member.dying || member.server == nullptr) {
      continue;
    }
    member.env->OnChange({});
    if (member.image != nullptr) {
      journal_->Note("member {} crashes between two operations of its disk", id);
      journal_->Count("crashes while writing");
      const std::unique_ptr<FaultEnv> old = std::exchange(member.env, std::move(member.image));
      Bury(member);
      continue;
    }
    journal_->Note("member {} ends: {}", id, member.fatal);
    journal_->Count(member.damaged ? "ends by a damaged disk" : "ends by a failed disk");
    if (!member.disk_fault && !member.damaged) {
      journal_->Fail("member {} ends on a good disk: {}", id, member.fatal);
    }
    member.env->Crash(CrashPolicy::kPrefix, random_.Next());
    Bury(member);
  }
}

void World::Pause(MemberId id, std::int64_t duration_ns) {
  Member& member = members_.at(id);
  if (member.server != nullptr) {
    journal_->Note("member {} stands still for {} ms", id, duration_ns / kMs);
    journal_->Count("pauses");
    member.core->PauseUntil(loop_.now_ns() + duration_ns);
    member.log->PauseUntil(loop_.now_ns() + duration_ns);
    member.background->PauseUntil(loop_.now_ns() + duration_ns);
  }
}

void World::JumpWallClock(MemberId id, std::int64_t ms) {
  members_.at(id).wall_clock->offset_ms += ms;
}

bool World::OnCore(MemberId id, std::function<void(server::Server&)> what) {
  Member& member = members_.at(id);
  if (member.server == nullptr) {
    return false;
  }
  member.core->Post([&member, what = std::move(what)] { what(*member.server); });
  return true;
}

bool World::RunUntil(const std::function<bool()>& done, std::int64_t limit_ns) {
  loop_.RunUntil(
      [this, &done] {
        if (!dying_.empty()) {
          Reap();
        }
        return journal_->failed() || done();
      },
      limit_ns);
  return !journal_->failed() && done();
}

void World::RunFor(std::int64_t duration_ns) {
  RunUntil([] { return false; }, duration_ns);
}

MemberId World::leader() const {
  MemberId best = 0;
  std::uint64_t best_term = 0;
  for (const auto& [id, member] : members_) {
    if (member.server == nullptr) {
      continue;
    }
    const server::Status status = member.server->status();
    if (status.role == server::MemberRole::kLeader && status.term > best_term) {
      best = id;
      best_term = status.term;
    }
  }
  return best;
}

std::int64_t World::applied_at_ns(std::uint64_t index) const {
  const auto at = applied_at_.find(index);
  return at == applied_at_.end() ? -1 : at->second;
}

void World::OnApplied(MemberId id, std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                      std::uint64_t digest) {
  Member& member = members_.at(id);
  if (index != member.last_applied + 1) {
    journal_->Fail("member {} applied index {} after {}", id, index, member.last_applied);
  }
  member.last_applied = index;
  const bool first = applied_at_.try_emplace(index, loop_.now_ns()).second;
  journal_->hash().Add(id * 1'000'003 + index);
  journal_->hash().Add(digest);
  checker_.Applied(id, index, term, chain, digest);
  if (!first || checker_.samples_taken() >= kSamplesMax || random_.Uniform(0, 199) != 0) {
    return;
  }
  std::map<MemberId, DiskView> disks;
  std::vector<std::vector<MemberId>> voters;
  std::vector<const raft::Configuration*> around = committed_.AroundIndex(index);
  for (const raft::Configuration* configuration : around) {
    std::vector<MemberId>& ids = voters.emplace_back();
    for (const raft::Member& one : configuration->members) {
      if (one.kind == raft::MemberKind::kVoter) {
        ids.push_back(one.id);
      }
    }
  }
  if (voters.empty()) {
    voters.push_back(this->voters());
  }
  // The leader may act by the next configuration already, which has one vote less or more.
  if (knobs_.faults.membership) {
    const std::vector<MemberId> all = voters.front();
    for (std::size_t i = 0; i < all.size() && all.size() > 1; ++i) {
      std::vector<MemberId>& less = voters.emplace_back(all);
      less.erase(less.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  for (const auto& [peer, other] : members_) {
    if (!lost(peer)) {
      disks[peer] = ReadDisk(*other.env, peer, random_.Next());
    }
  }
  checker_.CheckQuorum(index, chain, disks, voters);
}

void World::OnInstalled(MemberId id, std::uint64_t index, std::uint64_t term, std::uint64_t chain,
                        std::uint64_t digest) {
  Member& member = members_.at(id);
  if (index < member.last_applied) {
    journal_->Fail("R10: member {} goes back from index {} to a snapshot at {}", id,
                   member.last_applied, index);
  }
  const bool loaded = member.last_applied == 0;
  journal_->Note("member {} {} a snapshot at {}", id, loaded ? "starts from" : "installs", index);
  journal_->Count(loaded ? "starts from a snapshot" : "snapshots installed");
  member.last_applied = index;
  journal_->hash().Add(digest);
  checker_.Installed(id, index, term, chain, digest);
}

// Strikes members that take part in the transfer of a snapshot, by where it is.
void World::Interrupt(MemberId from, MemberId to, const server::PeerMessage& message) {
  if (calm_ || knobs_.interrupt_percent == 0 ||
      random_.Uniform(0, 99) >= knobs_.interrupt_percent) {
    return;
  }
  MemberId receiver = to;
  const char* where = nullptr;
  if (const auto* chunk = std::get_if<server::SnapshotChunk>(&message)) {
    where = chunk->after_key.empty() ? "installs interrupted at the first chunk"
            : chunk->last            ? "installs interrupted at the last chunk"
                                     : "installs interrupted at a middle chunk";
  } else if (const auto* ack = std::get_if<server::SnapshotAck>(&message);
             ack != nullptr && ack->state == server::SnapshotState::kVerifying) {
    where = "installs interrupted at the flip";
    receiver = from;
  }
  if (where == nullptr) {
    return;
  }
  journal_->Note("{}: from member {} to {}", where, from, to);
  journal_->Count(where);
  const std::uint64_t dice = random_.Uniform(0, 3);
  const MemberId sender = receiver == to ? from : to;
  loop_.At(loop_.now_ns() + static_cast<std::int64_t>(random_.Uniform(0, 3)) * kMs,
           [this, receiver, sender, dice] {
             if (dice < 2) {
               CrashAtOperation(receiver, random_.Uniform(1, 25));
             } else if (dice == 2) {
               Crash(receiver, CrashPolicy::kSubset);
             } else {
               Crash(sender, CrashPolicy::kPrefix);
             }
           });
}

void World::Tap(MemberId from, MemberId to, server::PeerMessage& message) {
  Interrupt(from, to, message);
  if (const auto* raft = std::get_if<raft::Message>(&message)) {
    checker_.Sent(from, to, *raft);
    if (!lost(from) && checker_.WantsDisk(*raft) && checker_.samples_taken() < kSamplesMax &&
        random_.Uniform(0, 149) == 0) {
      checker_.CheckPersisted(from, to, *raft,
                              ReadDisk(*members_.at(from).env, from, random_.Next()));
    }
  }
  if (knobs_.codec) {
    journal_->Count("messages through the codec");
    if (auto copy = ThroughBytes(message)) {
      message = std::move(*copy);
    } else {
      journal_->Fail("a message of member {} does not survive its bytes", from);
    }
  }
}

DiskView World::Look(MemberId id) {
  return ReadDisk(*members_.at(id).env, id, random_.Next(), CrashPolicy::kKeepAll);
}

server::Counters World::TotalCounters() const {
  server::Counters total = gone_;
  for (const auto& [id, member] : members_) {
    if (member.server != nullptr) {
      const server::Counters counters = member.server->status().counters;
      total.writes_duplicate += counters.writes_duplicate;
      total.digest_mismatches += counters.digest_mismatches;
      total.writes_forwarded += counters.writes_forwarded;
    }
  }
  return total;
}

}  // namespace conclave::sim
