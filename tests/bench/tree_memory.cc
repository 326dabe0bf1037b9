// What a znode costs in memory: the obvious layout against the tree's own.
//
// Builds 1,000 directories of 1,000 znodes with 100 bytes of data each, in a child process per
// layout so that neither sees the other's heap, and prints bytes per znode as the allocator counts
// them and as the kernel does. Run: build/release/tests/bench/tree_memory
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coord/tree/path.h"
#include "coord/tree/stat.h"
#include "coord/tree/tree.h"
#include "coord/tree/value.h"

namespace {

constexpr int kDirectories = 1000;
constexpr int kZnodesPerDirectory = 1000;
constexpr std::size_t kDataBytes = 100;

using conclave::tree::Tree;
using conclave::tree::Value;

// A map of full paths, a shared pointer per znode, a set of names per parent.
class ObviousTree {
 public:
  ObviousTree() { znodes_["/"] = std::make_shared<Znode>(); }

  void Create(const std::string& path, const std::string& data) {
    auto znode = std::make_shared<Znode>();
    znode->data = data;
    znodes_.at(std::string(conclave::tree::ParentPath(path)))
        ->children.emplace(conclave::tree::BaseName(path));
    znodes_.emplace(path, std::move(znode));
  }

  void Settle() {}

 private:
  struct Znode {
    std::string data;
    conclave::tree::Stat stat;
    std::int32_t ccount = 0;
    std::set<std::string> children;
  };

  std::unordered_map<std::string, std::shared_ptr<Znode>> znodes_;
};

class OurTree {
 public:
  void Create(const std::string& path, const std::string& data) {
    Value::Fields fields;
    fields.czxid = fields.mzxid = ++zxid_;
    tree_.AddChild(*tree_.Find(conclave::tree::ParentPath(path)), path,
                   Value::Make(fields, conclave::tree::BaseName(path), data), zxid_);
  }

  // As after a checkpoint: until then the keys of what changed are held, too.
  void Settle() {
    conclave::tree::FrozenRows rows;
    tree_.dirty().BeginFreeze(zxid_, &rows);
    while (!tree_.dirty().complete()) {
      tree_.dirty().FreezeSlice(tree_, 1000);
    }
    tree_.dirty().EndFreeze();
  }

 private:
  Tree tree_;
  std::int64_t zxid_ = 0;
};

std::string PathOf(int directory, int znode) {
  char text[64];
  if (znode < 0) {
    std::snprintf(text, sizeof text, "/dir-%04d", directory);
  } else {
    std::snprintf(text, sizeof text, "/dir-%04d/node-%04d", directory, znode);
  }
  return text;
}

long ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  long total = 0;
  long resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::size_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// `stride` walks the names in another order than theirs: a B-tree fills its nodes best in order.
template <typename Layout>
void Measure(const char* name, int stride) {
  const std::string data(kDataBytes, 'x');
  const long resident_before = ResidentBytes();
  const std::size_t allocated_before = AllocatedBytes();
  const auto begin = std::chrono::steady_clock::now();
  auto* layout = new Layout;  // Never freed: the process ends.
  for (int d = 0; d < kDirectories; ++d) {
    layout->Create(PathOf(d, -1), "");
    for (int i = 0; i < kZnodesPerDirectory; ++i) {
      layout->Create(PathOf(d, i * stride % kZnodesPerDirectory), data);
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  layout->Settle();
  malloc_trim(0);
  const double count = double{kDirectories} * (kZnodesPerDirectory + 1);
  std::printf("%-28s %8.1f bytes/znode allocated %8.1f resident %7.0f ns/create\n", name,
              static_cast<double>(AllocatedBytes() - allocated_before) / count,
              static_cast<double>(ResidentBytes() - resident_before) / count,
              took.count() * 1e9 / count);
  std::fflush(stdout);
}

template <typename Layout>
bool MeasureApart(const char* name, int stride) {
  const pid_t child = fork();
  if (child == 0) {
    Measure<Layout>(name, stride);
    std::_Exit(0);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

int main() {
  const bool ok = MeasureApart<ObviousTree>("obvious, in order", 1) &&
                  MeasureApart<ObviousTree>("obvious, scattered", 617) &&
                  MeasureApart<OurTree>("ours, in order", 1) &&
                  MeasureApart<OurTree>("ours, scattered", 617);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
