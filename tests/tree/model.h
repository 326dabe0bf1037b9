// A second, naive statement of what the tree is, to compare the real one with.
//
// Written from the specification alone: a map of full paths, a vector per session, everything
// copied before a multi and put back if it fails. It shares no code with coord/tree, only the words
// of a request and of a result, given here in the plainest types.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace conclave::tree_model {

struct ModelOp {
  enum class Kind { kCreate, kDelete, kSet, kCheck };
  Kind kind = Kind::kCreate;
  std::string path;
  std::optional<std::string> data;
  bool ephemeral = false;
  bool sequential = false;
  int version = -1;
};

struct ModelNode {
  std::optional<std::string> data;
  long long czxid = 0;
  long long mzxid = 0;
  long long pzxid = 0;
  long long ctime = 0;
  long long mtime = 0;
  int version = 0;
  int creates = 0;  // Of children, ever.
  long long owner = 0;
  long long born = 0;  // Rises with every create anywhere: the order of creation.
};

struct ModelResult {
  std::string code = "Ok";  // The name of the code.
  std::string path;
  long long zxid = 0;
  long long expected_seq = 0;
  std::vector<ModelResult> multi;
};

struct ModelSession {
  long long last_seq = 0;
  long long acked = 0;
  long long lost_through = 0;                // Numbers of processes that it was taken from.
  std::map<long long, ModelResult> answers;  // All of them; what may be asked is decided on asking.
};

class Model {
 public:
  Model();

  // `ops` of one entry; `is_multi` tells a multi of one from the operation alone.
  ModelResult Request(long long zxid, long long wall, long long session, long long seq,
                      long long acked, const std::vector<ModelOp>& ops, bool is_multi);

  void Open(long long id) { sessions[id] = ModelSession(); }

  // The session goes on in another process: nothing that an earlier one has sent is executed any
  // more. `expected_seq` of the result is the number of its next request, or, of a gap, the one to
  // take it over with.
  ModelResult TakeOver(long long zxid, long long session, long long seq);

  // The paths that went, in order.
  std::vector<std::string> Close(long long zxid, long long id);

  int ChildCount(const std::string& path) const;
  std::vector<std::string> ChildNames(const std::string& path) const;

  std::map<std::string, ModelNode> nodes;
  std::map<long long, ModelSession> sessions;

 private:
  ModelResult Do(const ModelOp& op, long long session);
  ModelResult DoCreate(const ModelOp& op, long long session);
  ModelResult DoDelete(const ModelOp& op);
  ModelResult DoSetOrCheck(const ModelOp& op);
  void Remove(const std::string& path);

  long long zxid_ = 0;
  long long wall_ = 0;
  long long born_ = 0;
};

}  // namespace conclave::tree_model
