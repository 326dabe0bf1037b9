// Executes operations on the tree for one entry, and can take all of them back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coord/tree/change.h"
#include "coord/tree/command.h"
#include "coord/tree/limits.h"
#include "coord/tree/reply.h"
#include "coord/tree/sessions.h"
#include "coord/tree/tree.h"

namespace conclave::tree {

// What an operation needs a right to. The values are ZooKeeper's permission bits.
enum class Permission : std::uint8_t { kRead = 1, kWrite = 2, kCreate = 4, kDelete = 8 };

// Role: all judgement about operations (order of errors, versions, names of sequentials, limits)
// and their effects at one zxid. Each Execute sees the effects of the ones before; Rollback undoes
// them all, newest first, and leaves tree, sessions and digest exactly as they were.
//
// Thread: the one that applies; lives within one Apply.
class Transaction {
 public:
  struct Context {
    std::int64_t zxid = 0;
    std::int64_t wall_ms = 0;
    std::int64_t session = 0;  // Live.
    std::string_view identity;
    std::string_view tenant;
    bool reversible = false;  // Rollback may be called.
  };

  Transaction(Tree& tree, Sessions& sessions, const Limits& limits, const Context& context)
      : tree_(tree), sessions_(sessions), limits_(limits), context_(context) {}

  // Executes one operation, whose path may be taken; on any code but kOk it had no effect.
  OpResult Execute(Op& op);
  OpResult Execute(Create& op);
  OpResult Execute(Delete& op);
  OpResult Execute(SetData& op);
  OpResult Execute(const Check& op);

  // Deletes what the session owns, in order of creation.
  void DeleteEphemerals(std::int64_t session);

  // REQUIRES: the context says reversible.
  void Rollback();

  // The changes made, in order; call once, at the end.
  std::vector<Change> TakeChanges() { return std::move(changes_); }

 private:
  struct CreateUndo {
    Tree::ParentBefore parent;
  };

  struct DeleteUndo {
    Znode znode;
    std::int64_t parent_pzxid;
  };

  struct SetUndo {
    ValueRef value;
  };

  struct Undo {
    std::string path;
    std::variant<CreateUndo, DeleteUndo, SetUndo> how;
  };

  // Judges a create up to its final path.
  OpResult JudgeCreate(const Create& op, const Znode** parent, std::string* path) const;
  // The existing znode that an operation means, by path and version, or why not.
  OpResult JudgeExisting(std::string_view path, std::int32_t version, Permission permission,
                         const Znode** znode) const;
  // The parent that the path of a create or delete names: everything before the last slash.
  const Znode* FindParentOf(std::string_view path) const;
  OpResult CheckValueSize(std::string_view path, const std::optional<std::string>& data) const;
  // Whether the caller may do this to the znode.
  bool Permits(const Znode& znode, Permission permission) const;

  void DeleteAt(const Znode& parent, std::string path);
  void RecordChange(ChangeType type, std::string path, ValueRef value, const Stat& stat);

  Tree& tree_;
  Sessions& sessions_;
  const Limits& limits_;
  const Context context_;
  std::vector<Change> changes_;
  std::vector<Undo> undo_;
};

}  // namespace conclave::tree
