#include "tests/sim/disk_view.h"

#include <memory>
#include <utility>

#include "persist/log_store.h"
#include "tests/server/sim_loop.h"

namespace conclave::sim {

DiskView ReadDisk(const persist::testing::FaultEnv& disk, raft::MemberId member, std::uint64_t seed,
                  persist::testing::CrashPolicy policy) {
  DiskView view;
  const std::unique_ptr<persist::testing::FaultEnv> image = disk.CrashImage(policy, seed);
  std::vector<std::string> names;
  if (!image->GetChildren("/data", &names).ok() || names.empty()) {
    return view;  // nothing yet
  }
  server::testing::SimRandom random(seed);
  persist::LogStore::Options options;
  options.env = image.get();
  options.disk = image.get();
  options.storage.background = persist::StorageEnv::Background::kQueued;
  options.data_dir = "/data";
  options.member = member;
  options.cluster_name = "conclave";
  options.random = &random;
  auto store = persist::LogStore::Open(options);
  if (!store) {
    view.error = store.error().message;
    return view;
  }
  raft::Restored restored = (*store)->TakeRestored();
  view.hardState = restored.hardState;
  view.start = restored.start;
  view.start_chain = restored.start_chain;
  view.configurations = std::move(restored.configurations);
  raft::Index next = view.start.index + 1;
  while (next <= (*store)->last_index()) {
    auto read = (*store)->Read(next, (*store)->last_index(), std::size_t{4} << 20U);
    if (!read) {
      view.error = read.error();
      return view;
    }
    next += read->size();
    view.log.insert(view.log.end(), std::make_move_iterator(read->begin()),
                    std::make_move_iterator(read->end()));
  }
  return view;
}

}  // namespace conclave::sim
