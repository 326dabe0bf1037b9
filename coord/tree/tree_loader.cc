#include "coord/tree/tree_loader.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/tree/directory.h"
#include "coord/tree/path.h"

namespace conclave::tree {

TreeLoader::TreeLoader(Tree* tree) : tree_(tree) {
  tree_->root_ = Znode(ValueRef());
  tree_->znode_count_ = 0;
  tree_->data_bytes_ = 0;
  tree_->digest_ = Digest();
  tree_->dirty_ = DirtyZnodes();
}

std::string TreeLoader::Judge(const ZnodeRow& row) {
  const std::string& path = row.path;
  if (path.size() <= 1) {
    return levels_.empty() ? std::string() : "there are two roots";
  }
  const std::string_view parent = ParentPath(path);
  while (!levels_.empty()) {
    const Level& level = levels_.back();
    if (level.path_bytes == parent.size() &&
        parent == std::string_view(path_).substr(0, parent.size())) {
      break;
    }
    levels_.pop_back();
  }
  if (levels_.empty()) {
    return fmt::format("the parent of {} is missing", path);
  }
  const Znode& znode = *levels_.back().znode;
  if (znode.is_ephemeral()) {
    return fmt::format("the parent of {} is ephemeral", path);
  }
  if (!znode.is_directory()) {
    return fmt::format("the parent of {} never had children", path);
  }
  return {};
}

const Znode& TreeLoader::Add(const ZnodeRow& row) {
  Znode made(Value::Make(row.fields, BaseName(row.path), row.data));
  if (row.is_directory) {
    Directory& directory = made.Promote();
    directory.ccount = row.ccount;
    directory.pzxid = row.pzxid;
  }
  const Znode* at = &tree_->root_;
  if (levels_.empty()) {
    tree_->root_ = std::move(made);
  } else {
    auto& children = levels_.back().znode->directory().children;
    at = &*children.insert(children.end(), std::move(made));
  }
  ++tree_->znode_count_;
  tree_->data_bytes_ += static_cast<std::uint64_t>(at->value().data_length());
  path_ = row.path;
  levels_.push_back({path_.size(), at});
  return *at;
}

void TreeLoader::Finish(std::int64_t zxid) {
  tree_->digest_ = tree_->RecomputeDigest();
  tree_->dirty_ = DirtyZnodes(zxid);
}

}  // namespace conclave::tree
