#include "tests/tree/model.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <sstream>

namespace conclave::tree_model {
namespace {

ModelResult Answer(const std::string& code) {
  ModelResult result;
  result.code = code;
  return result;
}

// Only ASCII is fed to the model: the tables of path_test.cc have the other characters.
bool IsValid(const std::string& path) {
  if (path == "/") {
    return true;
  }
  if (path.empty() || path[0] != '/' || path.back() == '/') {
    return false;
  }
  std::istringstream parts(path.substr(1));
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
    for (const char c : part) {
      if (c < 32 || c > 126) {
        return false;
      }
    }
  }
  return true;
}

std::string ParentOf(const std::string& path) {
  const std::string parent = path.substr(0, path.find_last_of('/'));
  return parent.empty() ? "/" : parent;
}

bool HasSlash(const std::string& path) { return path.find('/') != std::string::npos; }

}  // namespace

Model::Model() {
  for (const char* path : {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}) {
    nodes[path].data = "";
  }
}

std::vector<std::string> Model::ChildNames(const std::string& path) const {
  std::vector<std::string> names;
  const std::string prefix = path == "/" ? "/" : path + "/";
  for (auto it = nodes.lower_bound(prefix); it != nodes.end(); ++it) {
    const std::string& candidate = it->first;
    if (candidate.compare(0, prefix.size(), prefix) != 0) {
      break;
    }
    const std::string rest = candidate.substr(prefix.size());
    if (!rest.empty() && rest.find('/') == std::string::npos) {
      names.push_back(rest);
    }
  }
  return names;  // The order of the map is that of bytes, also among names of one prefix.
}

int Model::ChildCount(const std::string& path) const {
  return static_cast<int>(ChildNames(path).size());
}

ModelResult Model::DoCreate(const ModelOp& op, long long session) {
  if (!HasSlash(op.path)) {
    return Answer("InvalidArgument");
  }
  const auto parent = nodes.find(ParentOf(op.path));
  if (parent == nodes.end()) {
    return Answer("NoNode");
  }
  std::string path = op.path;
  if (op.sequential) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%010d", parent->second.creates);
    path += digits;
  }
  if (!IsValid(path)) {
    return Answer("InvalidArgument");
  }
  if (nodes.count(path) != 0) {
    return Answer("NodeExists");
  }
  if (parent->second.owner != 0) {
    return Answer("NoChildrenForEphemerals");
  }
  parent->second.creates += 1;
  parent->second.pzxid = zxid_;
  ModelNode node;
  node.data = op.data;
  node.czxid = node.mzxid = node.pzxid = zxid_;
  node.ctime = node.mtime = wall_;
  node.owner = op.ephemeral ? session : 0;
  node.born = ++born_;
  nodes[path] = node;
  ModelResult result;
  result.path = path;
  return result;
}

void Model::Remove(const std::string& path) {
  nodes.erase(path);
  nodes[ParentOf(path)].pzxid = zxid_;
}

ModelResult Model::DoDelete(const ModelOp& op) {
  static const std::set<std::string> kKept = {"/", "/zookeeper", "/zookeeper/quota",
                                              "/zookeeper/config"};
  if (!HasSlash(op.path) || kKept.count(op.path) != 0) {
    return Answer("InvalidArgument");
  }
  const auto node = nodes.find(op.path);
  if (node == nodes.end()) {
    return Answer("NoNode");
  }
  if (op.version != -1 && op.version != node->second.version) {
    return Answer("BadVersion");
  }
  if (ChildCount(op.path) > 0) {
    return Answer("NotEmpty");
  }
  Remove(op.path);
  return {};
}

ModelResult Model::DoSetOrCheck(const ModelOp& op) {
  if (!IsValid(op.path)) {
    return Answer("InvalidArgument");
  }
  const auto node = nodes.find(op.path);
  if (node == nodes.end()) {
    return Answer("NoNode");
  }
  if (op.version != -1 && op.version != node->second.version) {
    return Answer("BadVersion");
  }
  if (op.kind == ModelOp::Kind::kSet) {
    node->second.data = op.data;
    node->second.version += 1;
    node->second.mzxid = zxid_;
    node->second.mtime = wall_;
  }
  return {};
}

ModelResult Model::Do(const ModelOp& op, long long session) {
  switch (op.kind) {
    case ModelOp::Kind::kCreate:
      return DoCreate(op, session);
    case ModelOp::Kind::kDelete:
      return DoDelete(op);
    default:
      return DoSetOrCheck(op);
  }
}

ModelResult Model::TakeOver(long long zxid, long long session, long long seq) {
  const auto found = sessions.find(session);
  if (found == sessions.end()) {
    return Answer("SessionExpired");
  }
  ModelSession& owner = found->second;
  ModelResult result = Answer(seq == owner.last_seq + 1 ? "Ok" : "SequenceGap");
  if (result.code == "Ok") {
    constexpr long long kJump = 1'048'576;
    owner.last_seq = owner.acked = owner.lost_through = seq + kJump;
    result.zxid = zxid;
  }
  result.expected_seq = owner.last_seq + 1;
  return result;
}

ModelResult Model::Request(long long zxid, long long wall, long long session, long long seq,
                           long long acked, const std::vector<ModelOp>& ops, bool is_multi) {
  zxid_ = zxid;
  wall_ = wall;
  const auto found = sessions.find(session);
  if (found == sessions.end()) {
    return Answer("SessionExpired");
  }
  ModelSession& owner = found->second;
  if (seq > owner.last_seq + 1) {
    ModelResult gap = Answer("SequenceGap");
    gap.expected_seq = owner.last_seq + 1;
    return gap;
  }
  if (seq <= owner.lost_through) {
    return Answer("SessionExpired");
  }
  if (seq <= owner.last_seq) {
    return seq <= owner.acked ? Answer("ReplyDropped") : owner.answers[seq];
  }
  ModelResult result;
  if (!is_multi) {
    result = Do(ops[0], session);
  } else {
    const auto before = nodes;
    for (const ModelOp& op : ops) {
      result.multi.push_back(result.code == "Ok" ? Do(op, session)
                                                 : Answer("RuntimeInconsistency"));
      if (result.code == "Ok") {
        result.code = result.multi.back().code;
      }
    }
    if (result.code != "Ok") {
      nodes = before;
      for (ModelResult& one : result.multi) {
        one.path.clear();
      }
    }
  }
  result.zxid = zxid;
  owner.last_seq = seq;
  owner.acked = std::max(owner.acked, std::min(acked, seq - 1));
  owner.answers[seq] = result;
  return result;
}

std::vector<std::string> Model::Close(long long zxid, long long id) {
  zxid_ = zxid;
  std::vector<std::pair<long long, std::string>> owned;
  for (const auto& [path, node] : nodes) {
    if (node.owner == id) {
      owned.emplace_back(node.born, path);
    }
  }
  std::sort(owned.begin(), owned.end());
  std::vector<std::string> paths;
  for (const auto& [born, path] : owned) {
    Remove(path);
    paths.push_back(path);
  }
  sessions.erase(id);
  return paths;
}

}  // namespace conclave::tree_model
