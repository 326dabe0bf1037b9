// Between the words of the client library and those of the history and the model.
#pragma once

#include <utility>

#include <conclave/error.h>
#include <conclave/types.h>

#include "coord/tree/code.h"
#include "coord/tree/reply.h"
#include "tests/tree/model.h"

namespace conclave::sim {

inline tree::Code ToTree(conclave::Code code) { return static_cast<tree::Code>(code); }

inline tree::Stat ToTree(const conclave::Stat& stat) {
  return {.czxid = stat.czxid,
          .mzxid = stat.mzxid,
          .pzxid = stat.pzxid,
          .ctime_ms = stat.ctime_ms,
          .mtime_ms = stat.mtime_ms,
          .version = stat.version,
          .cversion = stat.cversion,
          .aversion = stat.aversion,
          .ephemeral_owner = stat.ephemeral_owner,
          .data_length = stat.data_length,
          .num_children = stat.num_children};
}

inline conclave::CreateMode ModeOf(const tree_model::ModelOp& op) {
  if (op.sequential) {
    return op.ephemeral ? conclave::CreateMode::kEphemeralSequential
                        : conclave::CreateMode::kPersistentSequential;
  }
  return op.ephemeral ? conclave::CreateMode::kEphemeral : conclave::CreateMode::kPersistent;
}

inline conclave::Op ToLibrary(const tree_model::ModelOp& op) {
  switch (op.kind) {
    case tree_model::ModelOp::Kind::kCreate:
      return conclave::Op::Create(op.path, op.data, ModeOf(op));
    case tree_model::ModelOp::Kind::kDelete:
      return conclave::Op::Remove(op.path, op.version);
    case tree_model::ModelOp::Kind::kSet:
      return conclave::Op::Set(op.path, op.data, op.version);
    case tree_model::ModelOp::Kind::kCheck:
      break;
  }
  return conclave::Op::Check(op.path, op.version);
}

inline tree_model::ModelOp ToModel(const conclave::Op& op) {
  using tree_model::ModelOp;
  ModelOp made;
  made.kind = op.kind == conclave::Op::Kind::kCheck ? ModelOp::Kind::kCheck : ModelOp::Kind::kSet;
  made.path = op.path;
  made.data = op.data;
  made.version = op.version;
  return made;
}

inline tree::Reply ReplyOf(const conclave::Error& error) {
  tree::Reply reply;
  reply.code = ToTree(error.code);
  reply.message = error.message;
  reply.path = error.path;
  reply.zxid = error.zxid;
  return reply;
}

inline tree::Reply ReplyOf(const conclave::Created& created) {
  tree::Reply reply;
  reply.path = created.path;
  reply.stat = ToTree(created.stat);
  reply.zxid = created.zxid;
  return reply;
}

inline tree::Reply ReplyOf(const conclave::Written& written) {
  tree::Reply reply;
  reply.stat = ToTree(written.stat);
  reply.zxid = written.zxid;
  return reply;
}

inline tree::Reply ReplyOf(const conclave::MultiResult& multi) {
  tree::Reply reply;
  reply.zxid = multi.zxid;
  for (const conclave::OpResult& one : multi.results) {
    tree::OpResult result;
    result.code = ToTree(one.code);
    result.path = one.path;
    reply.multi.push_back(std::move(result));
  }
  return reply;
}

}  // namespace conclave::sim
