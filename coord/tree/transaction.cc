#include "coord/tree/transaction.h"

#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/tree/path.h"

namespace conclave::tree {
namespace {

OpResult Failed(Code code, std::string_view path, std::string message) {
  OpResult result;
  result.code = code;
  result.path = PrintablePath(path, kErrorPathBytesMax);
  result.message = std::move(message);
  return result;
}

OpResult NoNode(std::string_view path) {
  return Failed(Code::kNoNode, path, fmt::format("{} does not exist", PrintablePath(path)));
}

OpResult NoParent(std::string_view path) {
  return Failed(Code::kNoNode, path,
                fmt::format("the parent of {} does not exist", PrintablePath(path)));
}

OpResult NoAuth(std::string_view path) {
  return Failed(Code::kNoAuth, path, fmt::format("not permitted on {}", PrintablePath(path)));
}

OpResult Invalid(const Error& error) {
  OpResult result;
  result.code = error.code;
  result.message = error.message;
  result.path = error.path;
  return result;
}

// ZooKeeper's first look at the path of a create or delete: enough to cut off the last component.
bool HasSlashAndNoNul(std::string_view path) {
  return path.find('/') != std::string_view::npos && path.find('\0') == std::string_view::npos;
}

CreationOrder OrderOf(const Value& value) { return {value.czxid(), value.create_ordinal()}; }

}  // namespace

OpResult Transaction::Execute(Op& op) {
  return std::visit([this](auto& one) { return Execute(one); }, op);
}

const Znode* Transaction::FindParentOf(std::string_view path) const {
  const std::string_view parent = path.substr(0, path.rfind('/'));
  return tree_.Find(parent.empty() ? "/" : parent);
}

bool Transaction::Permits(const Znode& /*znode*/, Permission /*permission*/) const {
  // The place of the check in the order of errors is fixed; who may do what comes with ACLs, which
  // compare the znode's list with context_.identity. Until there are any, every znode is open.
  return true;
}

OpResult Transaction::CheckValueSize(std::string_view path,
                                     const std::optional<std::string>& data) const {
  if (data.has_value() && data->size() > limits_.value_bytes_max) {
    return Failed(Code::kTooLarge, path,
                  fmt::format("data of {}: {} bytes, and the limit is {}; store it elsewhere and "
                              "keep a reference here",
                              PrintablePath(path), data->size(), limits_.value_bytes_max));
  }
  return {};
}

OpResult Transaction::JudgeCreate(const Create& op, const Znode** parent, std::string* path) const {
  if (!IsKnown(op.mode)) {
    return Failed(
        Code::kInvalidArgument, op.path,
        fmt::format("mode {} is unknown; use 0 (persistent), 1 (ephemeral), 2 (persistent "
                    "sequential) or 3 (ephemeral sequential)",
                    static_cast<unsigned>(op.mode)));
  }
  OpResult size = CheckValueSize(op.path, op.data);
  if (size.code != Code::kOk) {
    return size;
  }
  if (!HasSlashAndNoNul(op.path)) {
    return Failed(
        Code::kInvalidArgument, op.path,
        fmt::format("path \"{}\": it has no \"/\" or contains U+0000", PrintablePath(op.path)));
  }
  *parent = FindParentOf(op.path);
  if (*parent == nullptr) {
    return NoParent(op.path);
  }
  if (!Permits(**parent, Permission::kCreate)) {
    return NoAuth(op.path);
  }
  *path = op.path;
  if (IsSequential(op.mode)) {
    *path += SequenceSuffix((*parent)->ccount());
  }
  const tl::expected<void, Error> valid = ValidatePath(*path, limits_);
  if (!valid.has_value()) {
    return Invalid(valid.error());
  }
  if (tree_.Find(*path) != nullptr) {
    return Failed(Code::kNodeExists, *path, fmt::format("{} exists", *path));
  }
  if ((*parent)->is_ephemeral()) {
    return Failed(Code::kNoChildrenForEphemerals, *path,
                  fmt::format("the parent of {} is ephemeral and cannot have children", *path));
  }
  if (IsEphemeral(op.mode) &&
      sessions_.Find(context_.session)->ephemerals.size() >= limits_.ephemerals_per_session_max) {
    return Failed(Code::kTooLarge, *path,
                  fmt::format("session {} owns {} ephemerals, which is the limit; delete some or "
                              "use a second session",
                              context_.session, limits_.ephemerals_per_session_max));
  }
  return {};
}

OpResult Transaction::Execute(Create& op) {
  const Znode* parent = nullptr;
  std::string path;
  OpResult result = JudgeCreate(op, &parent, &path);
  if (result.code != Code::kOk) {
    return result;
  }
  Value::Fields fields;
  fields.czxid = context_.zxid;
  fields.mzxid = context_.zxid;
  fields.ctime_ms = context_.wall_ms;
  fields.mtime_ms = context_.wall_ms;
  const bool ephemeral = IsEphemeral(op.mode) && !(CONCLAVE_MUTANT(37) && !changes_.empty());
  fields.ephemeral_owner = ephemeral ? context_.session : 0;
  fields.create_ordinal = static_cast<std::uint16_t>(changes_.size());
  const ValueRef value = Value::Make(fields, BaseName(path), op.data);
  const Tree::ParentBefore before = tree_.AddChild(*parent, path, value, context_.zxid);
  if (ephemeral) {
    sessions_.AddEphemeral(context_.session, OrderOf(*value), path);
  }
  result.stat = tree_.FindChild(*parent, value->name())->stat();
  result.path = path;
  if (context_.reversible) {
    undo_.push_back(Undo{path, CreateUndo{before}});
  }
  RecordChange(ChangeType::kCreated, std::move(path), value, result.stat);
  return result;
}

OpResult Transaction::Execute(Delete& op) {
  if (!HasSlashAndNoNul(op.path)) {
    return Failed(
        Code::kInvalidArgument, op.path,
        fmt::format("path \"{}\": it has no \"/\" or contains U+0000", PrintablePath(op.path)));
  }
  if (IsReservedPath(op.path)) {
    return Failed(Code::kInvalidArgument, op.path, fmt::format("{} cannot be deleted", op.path));
  }
  const Znode* parent = FindParentOf(op.path);
  if (parent == nullptr) {
    return NoParent(op.path);
  }
  if (!Permits(*parent, Permission::kDelete)) {
    return NoAuth(op.path);
  }
  const Znode* znode = tree_.Find(op.path);
  if (znode == nullptr) {
    return NoNode(op.path);
  }
  if (op.version != kAnyVersion && op.version != znode->value().version()) {
    return Failed(Code::kBadVersion, op.path,
                  fmt::format("{} has version {}, expected was {}", op.path,
                              znode->value().version(), op.version));
  }
  if (znode->num_children() != 0) {
    return Failed(
        Code::kNotEmpty, op.path,
        fmt::format("{} has children ({}); delete them first", op.path, znode->num_children()));
  }
  DeleteAt(*parent, std::move(op.path));
  return {};
}

void Transaction::DeleteAt(const Znode& parent, std::string path) {
  const std::int64_t parent_pzxid = parent.pzxid();
  const Stat stat = tree_.Find(path)->stat();
  Znode znode = tree_.RemoveChild(parent, path, CONCLAVE_MUTANT(38) ? parent_pzxid : context_.zxid);
  const Value& value = znode.value();
  if (value.ephemeral_owner() != 0) {
    sessions_.RemoveEphemeral(value.ephemeral_owner(), OrderOf(value));
  }
  ValueRef last = znode.ShareValue();
  if (context_.reversible) {
    undo_.push_back(Undo{path, DeleteUndo{std::move(znode), parent_pzxid}});
  }
  RecordChange(ChangeType::kDeleted, std::move(path), std::move(last), stat);
}

OpResult Transaction::JudgeExisting(std::string_view path, std::int32_t version,
                                    Permission permission, const Znode** znode) const {
  const tl::expected<void, Error> valid = ValidatePath(path, limits_);
  if (!valid.has_value()) {
    return Invalid(valid.error());
  }
  *znode = tree_.Find(path);
  if (*znode == nullptr) {
    return NoNode(path);
  }
  if (!Permits(**znode, permission)) {
    return NoAuth(path);
  }
  const std::int32_t current = (*znode)->value().version();
  if (version != kAnyVersion && version != current) {
    return Failed(Code::kBadVersion, path,
                  fmt::format("{} has version {}, expected was {}", path, current, version));
  }
  return {};
}

OpResult Transaction::Execute(SetData& op) {
  OpResult result = CheckValueSize(op.path, op.data);
  if (result.code != Code::kOk) {
    return result;
  }
  const Znode* znode = nullptr;
  result = JudgeExisting(op.path, op.version, Permission::kWrite, &znode);
  if (result.code != Code::kOk) {
    return result;
  }
  Value::Fields fields = znode->value().fields();
  fields.mzxid = context_.zxid;
  fields.mtime_ms = context_.wall_ms;
  if (CONCLAVE_MUTANT(44)) {  // Where a member's memory happens to lie.
    fields.mtime_ms += static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(&tree_) >> 4U);
  }
  fields.version = NextVersion(fields.version);
  const ValueRef value = Value::Make(fields, znode->name(), op.data);
  ValueRef old = tree_.ReplaceValue(*znode, op.path, value);
  result.stat = znode->stat();
  if (context_.reversible) {
    undo_.push_back(Undo{op.path, SetUndo{std::move(old)}});
  }
  RecordChange(ChangeType::kDataChanged, std::move(op.path), value, result.stat);
  return result;
}

OpResult Transaction::Execute(const Check& op) {
  const Znode* znode = nullptr;
  return JudgeExisting(op.path, op.version, Permission::kRead, &znode);
}

void Transaction::DeleteEphemerals(std::int64_t session) {
  // Each delete takes the first entry out of the index.
  const auto& ephemerals = sessions_.Find(session)->ephemerals;
  while (!ephemerals.empty()) {
    std::string path = ephemerals.begin()->second;
    const Znode* parent = tree_.Find(ParentPath(path));
    CHECK(parent != nullptr) << path;
    DeleteAt(*parent, std::move(path));
  }
}

void Transaction::RecordChange(ChangeType type, std::string path, ValueRef value,
                               const Stat& stat) {
  Change change;
  change.type = type;
  change.path = std::move(path);
  change.value = std::move(value);
  change.stat = stat;
  change.zxid = context_.zxid;
  change.ordinal = static_cast<std::int32_t>(changes_.size());
  changes_.push_back(std::move(change));
}

void Transaction::Rollback() {
  CHECK(context_.reversible);
  while (!undo_.empty()) {
    Undo undo = std::move(undo_.back());
    undo_.pop_back();
    if (auto* created = std::get_if<CreateUndo>(&undo.how)) {
      const Value& value = tree_.Find(undo.path)->value();
      if (value.ephemeral_owner() != 0) {
        sessions_.RemoveEphemeral(value.ephemeral_owner(), OrderOf(value));
      }
      tree_.UndoAddChild(undo.path, created->parent);
    } else if (auto* deleted = std::get_if<DeleteUndo>(&undo.how)) {
      const Value& value = deleted->znode.value();
      if (value.ephemeral_owner() != 0) {
        sessions_.AddEphemeral(value.ephemeral_owner(), OrderOf(value), undo.path);
      }
      tree_.UndoRemoveChild(undo.path, std::move(deleted->znode), deleted->parent_pzxid);
    } else {
      const Znode* znode = tree_.Find(undo.path);
      tree_.ReplaceValue(*znode, undo.path, std::move(std::get<SetUndo>(undo.how).value));
    }
  }
  changes_.clear();
}

}  // namespace conclave::tree
