#include "tests/bench/load/target.h"

namespace conclave::bench {

std::unique_ptr<Target> MakeTarget(std::string_view name, const TargetOptions& options) {
  if (name == "conclave") {
    return MakeConclave(options);
  }
  if (name == "zookeeper") {
    return MakeZooKeeper(options);
  }
  if (name == "etcd") {
    return MakeEtcd(options);
  }
  return nullptr;
}

}  // namespace conclave::bench
