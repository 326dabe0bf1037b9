#include "coord/server/lost_majority.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/digest_bytes.h"
#include "coord/tree/state_loader.h"
#include "coord/tree/state_machine.h"
#include "persist/log_store.h"
#include "persist/recovery.h"
#include "persist/snapshot_generations.h"

namespace conclave::server {
namespace {

using Problem = std::string;

// The state that the directory holds: its snapshot, and every entry of its log on top.
struct Survivor {
  std::unique_ptr<persist::LogStore> log;
  std::unique_ptr<persist::SnapshotGenerations> generations;
  raft::Restored restored;
  std::unique_ptr<tree::StateMachine> machine;
};

tl::expected<void, Problem> OpenStores(const LostMajorityOptions& options, Survivor& survivor) {
  std::vector<std::string> files;
  if (!options.env->GetChildren(options.data_dir, &files).ok() || files.empty()) {
    // Opening would make a new directory, which has nothing to be recovered.
    return tl::unexpected(fmt::format("{} does not exist or is empty", options.data_dir));
  }
  persist::LogStore::Options log;
  log.env = options.env;
  log.disk = options.disk;
  log.storage.background = options.storage_background;
  log.data_dir = options.data_dir;
  log.member = options.id;
  log.cluster_name = options.cluster_name;
  log.random = options.random;
  auto opened = persist::LogStore::Open(std::move(log));
  if (!opened) {
    return tl::unexpected(opened.error().message);
  }
  survivor.log = std::move(*opened);
  persist::SnapshotOptions snapshots;
  snapshots.env = options.env;
  snapshots.disk = options.disk;
  snapshots.storage.background = options.storage_background;
  snapshots.data_dir = options.data_dir;
  auto generations =
      persist::SnapshotGenerations::Open(std::move(snapshots), survivor.log->generation());
  if (!generations) {
    return tl::unexpected(generations.error().message);
  }
  survivor.generations = std::move(*generations);
  return {};
}

tl::expected<void, Problem> LoadSnapshot(Survivor& survivor) {
  const auto current = survivor.generations->current();
  if (current == nullptr) {
    survivor.restored = survivor.log->TakeRestored();
    survivor.machine = std::make_unique<tree::StateMachine>();
    if (survivor.restored.start.index != 0) {
      return tl::unexpected(
          Problem("the log does not begin at its first entry, and there is no "
                  "checkpoint of what lies before"));
    }
    return {};
  }
  const persist::SnapshotInfo info = current->info();
  tree::StateLoader loader;
  const auto read = current->Load(
      [&loader](std::string_view key, std::string_view value) -> tl::expected<void, std::string> {
        if (!loader.Add(key, value)) {
          return tl::unexpected(loader.error()->message);
        }
        return {};
      });
  if (!read) {
    return tl::unexpected(read.error().message);
  }
  auto machine = loader.Finish(static_cast<std::int64_t>(info.meta.last.index),
                               DigestFromBytes(info.digest).value_or(tree::Digest{}));
  if (!machine) {
    return tl::unexpected("the checkpoint is damaged: " + machine.error().message);
  }
  auto restored = survivor.log->TakeRestored(info.meta);
  if (!restored) {
    return tl::unexpected(restored.error().message);
  }
  survivor.machine = std::move(*machine);
  survivor.restored = std::move(*restored);
  return {};
}

tl::expected<void, Problem> Replay(Survivor& survivor) {
  constexpr std::size_t kBytes = std::size_t{4} << 20;
  raft::Index next = survivor.restored.lastApplied + 1;
  while (next <= survivor.restored.last.index) {
    const auto entries = survivor.log->Read(next, survivor.restored.last.index, kBytes);
    if (!entries) {
      return tl::unexpected(entries.error());
    }
    for (const raft::Entry& entry : *entries) {
      if (entry.kind == raft::EntryKind::kCommand) {
        const auto result =
            survivor.machine->Apply(static_cast<std::int64_t>(entry.index), *entry.data);
        if (result.fatal) {
          return tl::unexpected(
              fmt::format("entry {} cannot be applied: {}", entry.index, result.fatal->message));
        }
      }
      next = entry.index + 1;
    }
  }
  return {};
}

// All rows: those of the snapshot, with those that the replay has changed put over them.
persist::RowSource AllRows(const Survivor& survivor,
                           const std::map<std::string, std::optional<std::string>>& changed) {
  return [&](const persist::RowSink& sink) {
    auto change = changed.begin();
    const auto hand_over_until = [&](std::string_view key) {
      for (; change != changed.end() && change->first < key; ++change) {
        if (change->second) {
          sink(change->first, *change->second);
        }
      }
    };
    if (const auto current = survivor.generations->current(); current != nullptr) {
      const auto read = current->Load(
          [&](std::string_view key, std::string_view value) -> tl::expected<void, std::string> {
            hand_over_until(key);
            if (change != changed.end() && change->first == key) {
              if (change->second) {
                sink(change->first, *change->second);
              }
              ++change;
            } else {
              sink(key, value);
            }
            return {};
          });
      // It was loaded a moment ago, whole. Ending here leaves the directory as it was.
      CHECK(read) << read.error().message;
    }
    for (; change != changed.end(); ++change) {
      if (change->second) {
        sink(change->first, *change->second);
      }
    }
  };
}

tl::expected<void, Problem> CarryOut(Survivor& survivor, const persist::RecoveryPlan& plan) {
  survivor.machine->BeginFreeze();
  while (!survivor.machine->FreezeSlice(SIZE_MAX)) {
  }
  tree::FrozenRows frozen = survivor.machine->TakeFrozen();
  std::map<std::string, std::optional<std::string>> changed;
  frozen.ForEach([&](std::string_view key, std::optional<std::string_view> value) {
    changed.emplace(key, value ? std::optional<std::string>(*value) : std::nullopt);
  });
  const auto done =
      persist::Recover(survivor.log.get(), survivor.generations.get(), plan,
                       DigestBytes(survivor.machine->digest()), AllRows(survivor, changed));
  if (!done) {
    return tl::unexpected(done.error().message);
  }
  return {};
}

raft::ClusterId Draw(raft::RandomSource& random) {
  raft::ClusterId id{};
  for (std::size_t i = 0; i < id.size(); i += 8) {
    const std::uint64_t bits = random.Next();
    for (std::size_t j = 0; j < 8; ++j) {
      id[i + j] = static_cast<std::uint8_t>(bits >> (8 * j));
    }
  }
  return id;
}

}  // namespace

tl::expected<LostMajorityReport, std::string> RecoverLostMajority(
    const LostMajorityOptions& options, bool carry_out) {
  Survivor survivor;
  if (auto ok = OpenStores(options, survivor); !ok) {
    return tl::unexpected(ok.error());
  }
  if (auto ok = LoadSnapshot(survivor); !ok) {
    return tl::unexpected(ok.error());
  }
  if (auto ok = Replay(survivor); !ok) {
    return tl::unexpected(ok.error());
  }
  const raft::Restored& restored = survivor.restored;
  if (restored.last.index == 0 || restored.configurations.empty()) {
    return tl::unexpected(fmt::format(
        "{} holds no log: this member has never been part of a cluster", options.data_dir));
  }
  const auto plan = persist::PlanRecovery(*survivor.log, restored.hardState, Draw(*options.random),
                                          options.peer_address);
  if (!plan) {
    return tl::unexpected(plan.error().message);
  }
  LostMajorityReport report;
  report.old_cluster = restored.hardState.clusterId;
  report.term = restored.hardState.currentTerm;
  report.last = restored.last;
  report.known_committed = restored.commitIndex;
  report.members = restored.configurations.back().configuration;
  report.znodes = survivor.machine->tree().znode_count();
  report.sessions = survivor.machine->sessions().size();
  report.new_cluster = plan->hardState.clusterId;
  report.new_index = plan->meta.last.index;
  if (carry_out) {
    if (auto ok = CarryOut(survivor, *plan); !ok) {
      return tl::unexpected(ok.error());
    }
  }
  return report;
}

}  // namespace conclave::server
