// Tree: the slow scrub.
#include <algorithm>
#include <utility>
#include <vector>

#include "coord/tree/directory.h"
#include "coord/tree/tree.h"

namespace conclave::tree {
namespace {

// A row costs more the more there is to hash.
constexpr std::size_t kBytesPerRow = 4096;

// Whether `path` comes after `other` in the order of ForEach: as bytes, with the slash below
// everything else.
bool ComesAfter(std::string_view path, std::string_view other) {
  const auto rank = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c); };
  const std::size_t both = std::min(path.size(), other.size());
  for (std::size_t i = 0; i < both; ++i) {
    if (path[i] != other[i]) {
      return rank(path[i]) > rank(other[i]);
    }
  }
  return path.size() > other.size();
}

}  // namespace

bool Tree::Scrubbed(std::string_view path) const {
  switch (scrub_.place) {
    case ScrubPlace::kNotRunning:
      return false;
    case ScrubPlace::kAtPath:
      return !ComesAfter(path, scrub_.path);
    case ScrubPlace::kBehindAll:
      break;
  }
  return true;
}

void Tree::Include(std::string_view path, const Digest& item) {
  digest_ += item;
  if (scrub_.place != ScrubPlace::kNotRunning && Scrubbed(path)) {
    scrub_.sum += item;
  }
}

void Tree::Exclude(std::string_view path, const Digest& item) {
  digest_ -= item;
  if (scrub_.place != ScrubPlace::kNotRunning && Scrubbed(path)) {
    scrub_.sum -= item;
  }
}

std::size_t Tree::ScrubSlice(std::size_t rows_max) {
  using Children = decltype(Directory::children);

  // What is still to come beneath a parent whose path has `length` bytes.
  struct Level {
    Children::const_iterator next;
    Children::const_iterator end;
    std::size_t length;
  };

  std::size_t rows = 0;
  std::string path = "/";
  std::vector<Level> levels;
  const auto visit = [&](const Znode& znode) {
    rows += 1 + static_cast<std::size_t>(znode.value().data_length()) / kBytesPerRow;
    scrub_.sum += ValueItem(path, znode.value());
    scrub_.sum += ChildrenItem(path, znode);
  };
  const auto enter = [&levels](const Znode& znode, std::size_t length) {
    if (znode.is_directory()) {
      const Children& children = znode.directory().children;
      levels.push_back({children.begin(), children.end(), length});
    }
  };

  enter(root_, 1);
  if (scrub_.place == ScrubPlace::kNotRunning) {
    visit(root_);
  } else {
    // Down to the last one visited, or to where it would be if it is gone by now.
    path = scrub_.path;
    const Znode* at = &root_;
    for (std::size_t begin = 1; begin < path.size() && at != nullptr && at->is_directory();) {
      const std::size_t end = std::min(path.find('/', begin), path.size());
      const std::string_view name = std::string_view(path).substr(begin, end - begin);
      levels.back().next = at->directory().children.upper_bound(name);
      at = FindChild(*at, name);
      if (at != nullptr) {
        enter(*at, end);
      }
      begin = end + 1;
    }
  }
  while (rows < rows_max && !levels.empty()) {
    Level& level = levels.back();
    if (level.next == level.end) {
      levels.pop_back();
      continue;
    }
    const Znode& znode = *level.next++;
    path.resize(level.length);
    if (level.length > 1) {
      path += '/';
    }
    path += znode.name();
    const std::size_t length = path.size();
    visit(znode);
    enter(znode, length);
  }
  scrub_.place = levels.empty() ? ScrubPlace::kBehindAll : ScrubPlace::kAtPath;
  scrub_.path = std::move(path);
  return rows;
}

}  // namespace conclave::tree
