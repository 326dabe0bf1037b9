#include "tests/sim/nemesis.h"

#include <algorithm>

namespace conclave::sim {

using persist::testing::CrashPolicy;
using raft::MemberId;

Nemesis::Nemesis(World* world)
    : world_(world), random_(world->knobs().seed * 7 + 5), operator_(world) {
  const FaultClasses& faults = world->knobs().faults;
  const bool several = world->size() > 1;
  const auto add = [this](bool on, void (Nemesis::*strike)()) {
    if (on) {
      enabled_.push_back(strike);
    }
  };
  add(faults.crash, &Nemesis::Crash);
  add(faults.crash_writing, &Nemesis::CrashWriting);
  add(faults.partition && several, &Nemesis::Partition);
  add(faults.one_way && several, &Nemesis::OneWay);
  add(faults.one_link && several, &Nemesis::OneLink);
  add(faults.pause, &Nemesis::Pause);
  add(faults.failed_sync, &Nemesis::FailSync);
  add(faults.disk_full, &Nemesis::FillDisk);
  add(faults.low_space, &Nemesis::LowSpace);
  add(faults.slow_disk, &Nemesis::SlowDisk);
  add(faults.wall_jump, &Nemesis::JumpWall);
  add(faults.wipe, &Nemesis::WipeOne);
  add(faults.flip, &Nemesis::FlipOne);
  add(faults.swap, &Nemesis::SwapOne);
  add(faults.old_disk, &Nemesis::PutBackOne);
  add(faults.matrix && several, &Nemesis::Matrix);
  for (int i = 0; i < 3; ++i) {
    add(faults.membership, &Nemesis::Membership);
  }
}

void Nemesis::Start() {
  if (enabled_.empty()) {
    return;
  }
  world_->loop().At(world_->loop().now_ns() + Spacing(), [this] {
    if (!stopped_) {
      Strike();
      Start();
    }
  });
}

std::int64_t Nemesis::Spacing() {
  const auto mean = static_cast<std::uint64_t>(world_->knobs().fault_spacing_ms);
  return static_cast<std::int64_t>(random_.Uniform(mean / 4, mean * 2)) * kMs;
}

void Nemesis::Strike() {
  // Between faults of the network it heals, so that something is left to break.
  if (random_.Uniform(0, 2) == 0) {
    world_->journal().Note("links heal");
    world_->network().HealAll();
  }
  (this->*enabled_[random_.Uniform(0, enabled_.size() - 1)])();
}

MemberId Nemesis::Victim() {
  if (world_->knobs().aim_at_leader && random_.Uniform(0, 3) != 0) {
    if (const MemberId leader = world_->leader(); leader != 0) {
      return leader;
    }
  }
  return random_.Uniform(1, world_->size());
}

MemberId Nemesis::Other(MemberId than) {
  const MemberId other = random_.Uniform(1, world_->size() - 1);
  return other >= than ? other + 1 : other;
}

void Nemesis::Crash() {
  constexpr CrashPolicy kPolicies[] = {CrashPolicy::kDropAll, CrashPolicy::kKeepAll,
                                       CrashPolicy::kPrefix, CrashPolicy::kSubset};
  world_->Crash(Victim(), kPolicies[random_.Uniform(0, 3)]);
}

void Nemesis::CrashWriting() {
  const MemberId victim = Victim();
  if (world_->running(victim)) {
    world_->CrashAtOperation(victim, random_.Uniform(1, 40));
  }
}

void Nemesis::CutSome() {
  world_->journal().Count("partitions");
  const MemberId victim = Victim();
  std::set<MemberId> side{victim};
  if (world_->size() > 3 && random_.Uniform(0, 1) == 0) {
    side.insert(Other(victim));
  }
  world_->journal().Note("member {} and {} more are cut off", victim, side.size() - 1);
  for (MemberId a = 1; a <= world_->size(); ++a) {
    for (MemberId b = a + 1; b <= world_->size(); ++b) {
      if (side.contains(a) != side.contains(b)) {
        world_->network().Cut(a, b);
      }
    }
  }
}

void Nemesis::OneWay() {
  const MemberId from = Victim();
  const MemberId to = Other(from);
  world_->journal().Count("one-way cuts");
  world_->journal().Note("what member {} says to {} vanishes", from, to);
  world_->network().CutOneWay(from, to);
}

void Nemesis::OneLink() {
  const MemberId a = Victim();
  const MemberId b = Other(a);
  world_->journal().Count("cut links");
  world_->journal().Note("members {} and {} do not see each other", a, b);
  world_->network().Cut(a, b);
}

void Nemesis::Pause() {
  const bool longer = random_.Uniform(0, 3) == 0;
  world_->Pause(Victim(),
                static_cast<std::int64_t>(random_.Uniform(1, longer ? 5'000 : 400)) * kMs);
}

void Nemesis::FailSync() {
  const MemberId victim = Victim();
  if (world_->running(victim)) {
    world_->journal().Count("failed syncs");
    world_->FailSync(victim, random_.Uniform(1, 20));
  }
}

void Nemesis::FillDisk() {
  const MemberId victim = Victim();
  world_->journal().Count("full disks");
  world_->FillDisk(victim, random_.Uniform(0, 20'000));
  world_->loop().At(
      world_->loop().now_ns() + static_cast<std::int64_t>(random_.Uniform(50, 4'000)) * kMs,
      [this, victim] {
        world_->journal().Note("member {}: room again", victim);
        world_->Repair(victim);
      });
}

void Nemesis::LowSpace() {
  const MemberId victim = Victim();
  world_->journal().Count("disks short of room");
  // Between the two thresholds, below both, nothing.
  constexpr std::uint64_t kRoom[] = {std::uint64_t{500} << 20U, std::uint64_t{30} << 20U, 1'000'000,
                                     0};
  world_->SetFreeSpace(victim, kRoom[random_.Uniform(0, 3)]);
  world_->loop().At(
      world_->loop().now_ns() + static_cast<std::int64_t>(random_.Uniform(50, 4'000)) * kMs,
      [this, victim] { world_->SetFreeSpace(victim, std::uint64_t{1} << 40); });
}

void Nemesis::SlowDisk() {
  const MemberId victim = Victim();
  world_->journal().Count("slow disks");
  const bool stalled = random_.Uniform(0, 3) == 0;
  if (stalled) {
    world_->journal().Count("disks that stall for seconds");
  }
  world_->SlowDisk(victim,
                   static_cast<std::int64_t>(random_.Uniform(1, stalled ? 8'000 : 1'200)) * kMs);
  world_->loop().At(
      world_->loop().now_ns() +
          static_cast<std::int64_t>(random_.Uniform(50, stalled ? 9'000 : 3'000)) * kMs,
      [this, victim] { world_->SlowDisk(victim, 0); });
}

void Nemesis::JumpWall() {
  world_->journal().Count("jumps of the time of day");
  world_->JumpWallClock(Victim(), static_cast<std::int64_t>(random_.Uniform(0, 20'000)) - 10'000);
}

// Only while the rest is still a majority, and once all are known to the cluster: a member whose
// disk goes before that is a new member. And not while the operator changes who is a majority.
MemberId Nemesis::Expendable() {
  for (const MemberId id : world_->voters()) {
    if (!world_->lost(id) && !world_->registered(id)) {
      return 0;
    }
  }
  const MemberId victim = Victim();
  return !operator_.busy() && world_->Expendable(victim) ? victim : 0;
}

void Nemesis::WipeOne() {
  if (const MemberId victim = Expendable(); victim != 0) {
    world_->Wipe(victim);
  }
}

void Nemesis::FlipOne() {
  if (const MemberId victim = Expendable(); victim != 0) {
    world_->FlipBit(victim, random_.Uniform(0, 1) == 0);
  }
}

void Nemesis::SwapOne() {
  const MemberId victim = Expendable();
  if (victim != 0) {
    world_->SwapDisk(victim, Other(victim));
  }
}

// Kept first; put back later, after a crash and a moment in which the others catch up.
void Nemesis::PutBackOne() {
  const MemberId victim = Expendable();
  if (victim == 0 || !world_->running(victim)) {
    return;
  }
  world_->KeepDisk(victim);
  world_->loop().At(
      world_->loop().now_ns() + static_cast<std::int64_t>(random_.Uniform(300, 3'000)) * kMs,
      [this, victim] {
        if (!stopped_ && Expendable() != 0 && !world_->lost(victim)) {
          world_->Crash(victim, CrashPolicy::kDropAll);
          world_->loop().At(world_->loop().now_ns() + 300 * kMs,
                            [this, victim] { world_->PutBackDisk(victim); });
        }
      });
}

void Nemesis::Matrix() {
  world_->journal().Count("random matrices of links");
  world_->journal().Note("each direction of each link is cut or not");
  for (MemberId from = 1; from <= world_->size(); ++from) {
    for (MemberId to = 1; to <= world_->size(); ++to) {
      if (from != to && random_.Uniform(0, 2) == 0) {
        world_->network().CutOneWay(from, to);
      }
    }
  }
}

void Nemesis::Heal() {
  stopped_ = true;
  operator_.Calm();
  world_->Calm();
  for (MemberId id = 1; id <= world_->size(); ++id) {
    world_->Repair(id);
  }
  world_->network().HealAll();
  for (const MemberId id : world_->voters()) {
    world_->Start(id);
  }
}

std::vector<MemberId> Nemesis::LeaveMajority() {
  // A member that does not know yet that the cluster knows it has no vote.
  const std::vector<MemberId> voters = world_->voters();
  std::vector<MemberId> healthy;
  std::vector<MemberId> whole;
  for (const MemberId id : voters) {
    if (!world_->lost(id)) {
      whole.push_back(id);
      if (world_->registered(id)) {
        healthy.push_back(id);
      }
    }
  }
  for (std::size_t i = healthy.size(); i > 1; --i) {
    std::swap(healthy[i - 1], healthy[random_.Uniform(0, i - 1)]);
  }
  const std::size_t least = voters.size() / 2 + 1;
  if (healthy.size() < least) {
    healthy = whole;
  } else {
    healthy.resize(random_.Uniform(least, healthy.size()));
  }
  std::sort(healthy.begin(), healthy.end());
  // A learner is given a vote at any moment, by a leader that heard from it just now: it stays.
  const raft::Configuration* const configuration = world_->committed().configuration();
  const auto learns = [configuration](MemberId id) {
    const raft::Member* member = configuration == nullptr ? nullptr : configuration->Find(id);
    return member != nullptr && member->kind == raft::MemberKind::kLearner;
  };
  for (MemberId id = 1; id <= world_->size(); ++id) {
    if (std::binary_search(healthy.begin(), healthy.end(), id) || learns(id)) {
      world_->Start(id);
    } else if (random_.Uniform(0, 1) == 0) {
      world_->Crash(id, CrashPolicy::kDropAll, true);
    } else {
      world_->network().Isolate(id);
    }
  }
  std::string names;
  for (const MemberId id : healthy) {
    names += fmt::format(" {}", id);
  }
  world_->journal().Note("faults end; connected and alive:{}", names);
  return healthy;
}

}  // namespace conclave::sim
