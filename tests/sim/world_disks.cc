// What happens to the disks of members.
#include <algorithm>
#include <utility>

#include "consensus/configuration.h"
#include "tests/sim/disk_view.h"
#include "tests/sim/world_member.h"

namespace conclave::sim {

using persist::testing::CrashPolicy;
using persist::testing::FaultEnv;
using raft::MemberId;

bool World::lost(MemberId id) const {
  const Member& member = members_.at(id);
  return member.wiped || member.damaged || member.put_back;
}

std::vector<MemberId> World::voters() const {
  std::vector<MemberId> ids;
  if (const raft::Configuration* configuration = committed_.configuration()) {
    for (const raft::Member& member : configuration->members) {
      if (member.kind == raft::MemberKind::kVoter) {
        ids.push_back(member.id);
      }
    }
    return ids;
  }
  for (MemberId id = 1; id <= knobs_.members; ++id) {
    ids.push_back(id);
  }
  return ids;
}

bool World::Expendable(MemberId id) const {
  const std::vector<MemberId> all = voters();
  if (lost(id) || std::ranges::find(all, id) == all.end()) {
    return false;
  }
  const auto left = static_cast<std::size_t>(
      std::ranges::count_if(all, [this](MemberId voter) { return !lost(voter); }));
  return 2 * (left - 1) > all.size();
}

bool World::registered(MemberId id) {
  Member& member = members_.at(id);
  if (member.known_registered && !lost(id)) {
    return true;
  }
  const DiskView disk = ReadDisk(*member.env, id, random_.Next());
  for (auto at = disk.configurations.rbegin(); at != disk.configurations.rend(); ++at) {
    const raft::Entry* entry = disk.At(at->index);
    if (entry != nullptr && checker_.ChainAt(at->index) != entry->chain) {
      continue;  // not committed
    }
    const raft::Member* self = at->configuration.Find(id);
    member.known_registered = self != nullptr && self->incarnation != 0;
    return member.known_registered;
  }
  return false;
}

void World::ReplaceDisk(MemberId id) {
  Member& member = members_.at(id);
  journal_->Note("member {} is given an empty disk", id);
  Crash(id, CrashPolicy::kDropAll, true);
  member.env->Erase("/data");
  checker_.Wiped(id);
  member.wiped = true;
  member.damaged = member.put_back = false;
  member.known_registered = false;
  member.stay_down = false;
  Start(id);
}

void World::NoteReadmitted() {
  const raft::Configuration* configuration = committed_.configuration();
  for (auto& [id, member] : members_) {
    if (configuration == nullptr || !member.wiped || member.server == nullptr) {
      continue;
    }
    if (configuration->Counts(id, member.server->status().incarnation)) {
      journal_->Note("member {} has a vote again", id);
      journal_->Count("members re-admitted");
      member.wiped = member.damaged = member.put_back = false;
      member.known_registered = false;
    }
  }
}

void World::FailSync(MemberId id, std::uint64_t nth) {
  Member& member = members_.at(id);
  journal_->Note("member {}: sync {} from now fails", id, nth);
  member.disk_fault = true;
  member.env->Inject({.operation = persist::testing::Operation::kSync, .nth = nth, .suffix = {}});
}

void World::FillDisk(MemberId id, std::uint64_t bytes_left) {
  Member& member = members_.at(id);
  journal_->Note("member {}: {} bytes left on the disk", id, bytes_left);
  member.disk_fault = true;
  member.env->SetCapacity(member.env->bytes_used() + bytes_left);
}

void World::SetFreeSpace(MemberId id, std::uint64_t bytes) {
  journal_->Note("member {}: reports {} bytes of room", id, bytes);
  members_.at(id).free_space = bytes;
}

void World::SlowDisk(MemberId id, std::int64_t sync_ns) {
  journal_->Note("member {}: syncs take {} ms more", id, sync_ns / kMs);
  members_.at(id).slow_sync_ns = sync_ns;
}

void World::Wipe(MemberId id) {
  Member& member = members_.at(id);
  journal_->Note("member {} loses its disk", id);
  journal_->Count("wiped disks");
  if (member.server != nullptr) {
    Crash(id, CrashPolicy::kDropAll);
  }
  member.env->Erase("/data");
  member.wiped = true;
  checker_.Wiped(id);
}

void World::Repair(MemberId id) {
  Member& member = members_.at(id);
  member.env->ClearFaults();
  if (!member.dying) {
    member.env->OnChange({});
    member.operations_left = 0;
  }
  member.env->SetCapacity(std::nullopt);
  member.free_space = kPlentyOfSpace;
  member.slow_sync_ns = 0;
}

void World::FlipBit(MemberId id, bool running) {
  Member& member = members_.at(id);
  if (!running) {
    Crash(id, CrashPolicy::kSubset);
  }
  std::vector<std::string> files;
  for (const std::string& name : member.env->Files()) {
    if (name.starts_with("/data/") && !member.env->Content(name).empty()) {
      files.push_back(name);
    }
  }
  if (files.empty()) {
    return;
  }
  // Kinds of files are as likely as each other, however many there are of one.
  const std::string& like = files[random_.Uniform(0, files.size() - 1)];
  const std::string& name = random_.Uniform(0, 1) == 0 ? like : files.back();
  // Where something has been written: of what is zero most is never looked at.
  const std::string content = member.env->Content(name);
  std::uint64_t byte = random_.Uniform(0, content.size() - 1);
  for (int tries = 0; tries < 50 && content[byte] == 0; ++tries) {
    byte = random_.Uniform(0, content.size() - 1);
  }
  const std::uint64_t bit = byte * 8 + random_.Uniform(0, 7);
  journal_->Note("member {}: bit {} of {} turns over", id, bit, name);
  journal_->Count("bit flips");
  member.damaged = true;
  if (running) {
    member.env->CorruptOpenFile(name, bit);
  } else {
    member.env->FlipBit(name, bit);
  }
}

void World::SwapDisk(MemberId id, MemberId other) {
  Member& member = members_.at(id);
  auto image = members_.at(other).env->CrashImage(CrashPolicy::kKeepAll, random_.Next());
  if (lost(other) || !image->FileExists("/data/IDENTITY")) {
    return;  // nobody's yet, or it may be this member's own
  }
  journal_->Note("member {} is given the disk of member {}", id, other);
  journal_->Count("swapped disks");
  Crash(id, CrashPolicy::kDropAll);
  member.damaged = true;
  member.env = std::move(image);
  Start(id);
  if (running(id)) {
    journal_->Fail("D4: member {} starts on the disk of member {}", id, other);
  }
}

void World::KeepDisk(MemberId id) {
  Member& member = members_.at(id);
  member.kept_disk = member.env->CrashImage(CrashPolicy::kDropAll, random_.Next());
}

// Whether all other members hold what this disk does, and none can still ask for a vote in a term
// in which it may have given one.
bool World::OthersHave(const DiskView& disk, MemberId id) {
  for (const auto& [other, member] : members_) {
    if (other == id || lost(other)) {
      continue;
    }
    const DiskView at = ReadDisk(*member.env, other, random_.Next());
    const raft::HardState& state = at.hardState;
    const bool term = state.currentTerm > disk.hardState.currentTerm ||
                      (state.currentTerm == disk.hardState.currentTerm &&
                       (state.votedFor != other || checker_.LeaderOf(state.currentTerm) == other));
    const std::uint64_t chain = disk.log.empty() ? disk.start_chain : disk.log.back().chain;
    if (!at.error.empty() || !term || !at.Holds(disk.last(), chain)) {
      return false;
    }
  }
  return true;
}

void World::PutBackDisk(MemberId id) {
  Member& member = members_.at(id);
  if (member.kept_disk == nullptr || member.server != nullptr || !registered(id)) {
    return;
  }
  const DiskView now = ReadDisk(*member.env, id, random_.Next());
  if (!now.error.empty() || !OthersHave(now, id)) {
    return;
  }
  const DiskView then = ReadDisk(*member.kept_disk, id, random_.Next());
  if (!then.error.empty() || then.last() >= now.last()) {
    return;
  }
  journal_->Note("member {}: its disk is put back from entry {} to {}", id, now.last(),
                 then.last());
  journal_->Count("disks put back");
  member.env = std::move(member.kept_disk);
  member.put_back = true;
  checker_.Wiped(id);
}

}  // namespace conclave::sim
