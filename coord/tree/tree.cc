#include "coord/tree/tree.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/tree/directory.h"
#include "coord/tree/path.h"

namespace conclave::tree {
namespace {

tl::unexpected<Error> NoNode(std::string_view path) {
  Error error;
  error.code = Code::kNoNode;
  error.message = fmt::format("{} does not exist", PrintablePath(path));
  error.path = PrintablePath(path, kErrorPathBytesMax);
  return tl::unexpected<Error>(std::move(error));
}

// The znode at the root or at a child of the root, with empty data and zxid 0.
Znode InitialZnode(std::string_view name) { return Znode(Value::Make({}, name, "")); }

}  // namespace

Tree::Tree() : root_(InitialZnode("")) {
  znode_count_ = 1;
  dirty_.Created(root_, "/");
  digest_ += ValueItem("/", root_.value());
  AddInitial(root_, "zookeeper");
  const Znode& zookeeper = *FindChild(root_, "zookeeper");
  AddInitial(zookeeper, "quota");
  AddInitial(zookeeper, "config");
  digest_ += ChildrenItem("/", root_);
  digest_ += ChildrenItem("/zookeeper", zookeeper);
}

void Tree::AddInitial(const Znode& parent, std::string_view name) {
  const std::string parent_path = parent.name().empty() ? "/" : "/zookeeper";
  const auto [child, inserted] = parent.Promote().children.insert(InitialZnode(name));
  CHECK(inserted);
  ++znode_count_;
  const std::string path = JoinPath(parent_path, name);
  digest_ += ValueItem(path, child->value());
  dirty_.Created(*child, path);
}

// --- Reads ---

const Znode* Tree::FindChild(const Znode& parent, std::string_view name) const {
  if (!parent.is_directory()) {
    return nullptr;
  }
  const auto& children = parent.directory().children;
  const auto found = children.find(name);
  return found == children.end() ? nullptr : &*found;
}

const Znode* Tree::Find(std::string_view path) const {
  if (path.empty() || path.front() != '/') {
    return nullptr;
  }
  if (path.size() == 1) {
    return &root_;
  }
  const Znode* at = &root_;
  for (std::size_t begin = 1; begin <= path.size() && at != nullptr;) {
    const std::size_t slash = path.find('/', begin);
    const std::size_t end = slash == std::string_view::npos ? path.size() : slash;
    at = FindChild(*at, path.substr(begin, end - begin));  // No znode has an empty name.
    begin = end + 1;
  }
  return at;
}

tl::expected<GetResult, Error> Tree::Get(std::string_view path) const {
  const Znode* znode = Find(path);
  if (znode == nullptr) {
    return NoNode(path);
  }
  return GetResult{znode->ShareValue(), znode->stat()};
}

tl::expected<Stat, Error> Tree::Exists(std::string_view path) const {
  if (path.find('\0') != std::string_view::npos) {
    Error error;
    error.code = Code::kInvalidArgument;
    error.message = fmt::format("path \"{}\": it contains U+0000", PrintablePath(path));
    error.path = PrintablePath(path, kErrorPathBytesMax);
    return tl::unexpected<Error>(std::move(error));
  }
  const Znode* znode = Find(path);
  if (znode == nullptr) {
    return NoNode(path);
  }
  return znode->stat();
}

tl::expected<ChildrenPage, Error> Tree::Children(std::string_view path, std::string_view after,
                                                 std::size_t count_max,
                                                 std::size_t bytes_max) const {
  const Znode* znode = Find(path);
  if (znode == nullptr) {
    return NoNode(path);
  }
  ChildrenPage page;
  page.stat = znode->stat();
  if (!znode->is_directory()) {
    return page;
  }
  const auto& children = znode->directory().children;
  std::size_t bytes = 0;
  for (auto it = after.empty() ? children.begin() : children.upper_bound(after);
       it != children.end(); ++it) {
    const std::string_view name = it->name();
    bytes += name.size();
    if (!page.names.empty() && (page.names.size() >= count_max || bytes > bytes_max)) {
      page.more = true;
      break;
    }
    page.names.emplace_back(name);
  }
  return page;
}

void Tree::VisitBeneath(const Znode& znode, std::string& path,
                        void (*visit)(void*, std::string_view, const Znode&), void* context) const {
  visit(context, path, znode);
  if (!znode.is_directory()) {
    return;
  }
  const std::size_t length = path.size();
  for (const Znode& child : znode.directory().children) {
    if (length > 1) {
      path += '/';
    }
    path += child.name();
    VisitBeneath(child, path, visit, context);
    path.resize(length);
  }
}

// --- Digest ---

DigestItem Tree::ValueItemOf(std::string_view path) {
  DigestItem item(DigestItem::Kind::kValue);
  item.Add(path);
  return item;
}

Digest Tree::ValueItem(DigestItem item, const Value& value) {
  item.Add(value.czxid()).Add(value.mzxid()).Add(value.ctime_ms()).Add(value.mtime_ms());
  item.Add(value.version()).Add(value.aversion()).Add(value.ephemeral_owner());
  item.Add(std::int64_t{value.create_ordinal()});
  item.Add(std::int64_t{value.has_data() ? 1 : 0}).Add(value.data());
  return item.Finish();
}

Digest Tree::ChildrenItem(std::string_view path, const Znode& znode) {
  if (!znode.is_directory()) {
    return {};  // A leaf: its value says it all.
  }
  DigestItem item(DigestItem::Kind::kChildren);
  item.Add(path).Add(znode.ccount()).Add(znode.pzxid()).Add(znode.num_children());
  return item.Finish();
}

Digest Tree::RecomputeDigest() const {
  Digest digest;
  ForEach([&digest](std::string_view path, const Znode& znode) {
    digest += ValueItem(path, znode.value());
    digest += ChildrenItem(path, znode);
  });
  return digest;
}

// --- Changes ---

const Znode& Tree::Parent(std::string_view path) const {
  const Znode* parent = Find(ParentPath(path));
  CHECK(parent != nullptr) << path;
  return *parent;
}

Tree::ParentBefore Tree::AddChild(const Znode& parent, std::string_view path, ValueRef value,
                                  std::int64_t zxid) {
  const std::string_view parent_path = ParentPath(path);
  const ParentBefore before{!parent.is_directory(), parent.ccount(), parent.pzxid()};
  dirty_.Changing(parent, parent_path);
  Exclude(parent_path, ChildrenItem(parent_path, parent));
  Include(path, ValueItem(path, *value));
  data_bytes_ += static_cast<std::uint64_t>(value->data_length());
  ++znode_count_;

  Directory& directory = parent.Promote();
  const auto [child, inserted] = directory.children.insert(Znode(std::move(value)));
  CHECK(inserted) << path;
  dirty_.Created(*child, path);
  directory.ccount = static_cast<std::int32_t>(static_cast<std::uint32_t>(directory.ccount) + 1U);
  directory.pzxid = zxid;
  Include(parent_path, ChildrenItem(parent_path, parent));
  return before;
}

void Tree::UndoAddChild(std::string_view path, const ParentBefore& before) {
  const Znode& parent = Parent(path);
  RemoveChild(parent, path, before.pzxid);  // Notes the change of the parent, too.
  const std::string_view parent_path = ParentPath(path);
  Exclude(parent_path, ChildrenItem(parent_path, parent));
  parent.directory().ccount = before.ccount;
  if (before.was_leaf) {
    parent.Demote();
  }
  Include(parent_path, ChildrenItem(parent_path, parent));
}

Znode Tree::RemoveChild(const Znode& parent, std::string_view path, std::int64_t zxid) {
  const std::string_view parent_path = ParentPath(path);
  Directory& directory = parent.directory();
  const auto found = directory.children.find(BaseName(path));
  CHECK(found != directory.children.end()) << path;
  CHECK_EQ(found->num_children(), 0) << path;
  dirty_.Changing(parent, parent_path);
  dirty_.Removing(*found, path);
  Exclude(parent_path, ChildrenItem(parent_path, parent));
  Exclude(path, ValueItem(path, found->value()));
  Exclude(path, ChildrenItem(path, *found));
  data_bytes_ -= static_cast<std::uint64_t>(found->value().data_length());
  --znode_count_;

  Znode child(std::move(const_cast<Znode&>(*found)));
  directory.children.erase(found);  // By position: compares no names any more.
  directory.pzxid = zxid;
  Include(parent_path, ChildrenItem(parent_path, parent));
  return child;
}

void Tree::UndoRemoveChild(std::string_view path, Znode child, std::int64_t pzxid) {
  const Znode& parent = Parent(path);
  const std::string_view parent_path = ParentPath(path);
  Directory& directory = parent.directory();
  dirty_.Changing(parent, parent_path);
  Exclude(parent_path, ChildrenItem(parent_path, parent));
  Include(path, ValueItem(path, child.value()));
  Include(path, ChildrenItem(path, child));
  data_bytes_ += static_cast<std::uint64_t>(child.value().data_length());
  ++znode_count_;
  const auto [at, inserted] = directory.children.insert(std::move(child));
  CHECK(inserted) << path;
  dirty_.Created(*at, path);
  directory.pzxid = pzxid;
  Include(parent_path, ChildrenItem(parent_path, parent));
}

ValueRef Tree::ReplaceValue(const Znode& znode, std::string_view path, ValueRef value) {
  dirty_.Changing(znode, path);
  dirty_.Replaced(znode.value().data_length(), value->data_length());
  const DigestItem item = ValueItemOf(path);
  Exclude(path, ValueItem(item, znode.value()));
  data_bytes_ -= static_cast<std::uint64_t>(znode.value().data_length());
  Include(path, ValueItem(item, *value));
  data_bytes_ += static_cast<std::uint64_t>(value->data_length());
  return znode.ExchangeValue(std::move(value));
}

}  // namespace conclave::tree
