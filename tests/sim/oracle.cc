#include "tests/sim/oracle.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "coord/tree/code.h"

namespace conclave::sim {

using tree_model::ModelOp;
using tree_model::ModelResult;

namespace {

std::string ParentOf(const std::string& path) {
  const std::string parent = path.substr(0, path.find_last_of('/'));
  return parent.empty() ? "/" : parent;
}

ModelOp ToModel(const tree::Op& op) {
  return std::visit(
      [](const auto& one) {
        using T = std::decay_t<decltype(one)>;
        ModelOp made;
        made.path = one.path;
        if constexpr (std::is_same_v<T, tree::Create>) {
          made.kind = ModelOp::Kind::kCreate;
          made.data = one.data;
          made.ephemeral = tree::IsEphemeral(one.mode);
          made.sequential = tree::IsSequential(one.mode);
        } else if constexpr (std::is_same_v<T, tree::Delete>) {
          made.kind = ModelOp::Kind::kDelete;
          made.version = one.version;
        } else if constexpr (std::is_same_v<T, tree::SetData>) {
          made.kind = ModelOp::Kind::kSet;
          made.data = one.data;
          made.version = one.version;
        } else {
          made.kind = ModelOp::Kind::kCheck;
          made.version = one.version;
        }
        return made;
      },
      op);
}

}  // namespace

std::vector<ModelOp> ToModel(const tree::Command& command, bool* is_multi) {
  *is_multi = std::holds_alternative<tree::Multi>(command);
  std::vector<ModelOp> ops;
  if (const auto* multi = std::get_if<tree::Multi>(&command)) {
    for (const tree::Op& op : multi->ops) {
      ops.push_back(ToModel(op));
    }
  } else if (const auto* create = std::get_if<tree::Create>(&command)) {
    ops.push_back(ToModel(tree::Op(*create)));
  } else if (const auto* remove = std::get_if<tree::Delete>(&command)) {
    ops.push_back(ToModel(tree::Op(*remove)));
  } else if (const auto* set = std::get_if<tree::SetData>(&command)) {
    ops.push_back(ToModel(tree::Op(*set)));
  }
  return ops;
}

void Oracle::Judge(const std::vector<raft::Entry>& log,
                   const std::function<std::int64_t(std::uint64_t)>& applied_at) {
  std::vector<const ReadRecord*> reads;
  for (const ReadRecord& read : history_->reads) {
    reads.push_back(&read);
  }
  std::stable_sort(reads.begin(), reads.end(),
                   [](const auto* a, const auto* b) { return a->zxid < b->zxid; });
  auto next = reads.begin();
  for (const raft::Entry& entry : log) {
    for (; next != reads.end() && (*next)->zxid < static_cast<std::int64_t>(entry.index); ++next) {
      CheckRead(**next);
    }
    if (entry.kind == raft::EntryKind::kCommand) {
      Apply(entry, applied_at(entry.index));
    }
  }
  const auto last = static_cast<std::int64_t>(log.size());
  for (; next != reads.end(); ++next) {
    if ((*next)->zxid > last) {
      journal_->Fail("D1: a read showed zxid {}, the log ends at {}", (*next)->zxid, last);
      return;
    }
    CheckRead(**next);
  }
  for (const auto& [id, session] : history_->sessions) {
    CheckSession(session);
  }
  library_.Finish(changes_);
}

void Oracle::Apply(const raft::Entry& entry, std::int64_t applied_ns) {
  const auto decoded = tree::DecodeEntry(*entry.data);
  if (!decoded) {
    journal_->Fail("entry {} cannot be read: {}", entry.index, decoded.error().message);
    return;
  }
  const auto zxid = static_cast<std::int64_t>(entry.index);
  const tree::Command& command = decoded->command;
  if (const auto* open = std::get_if<tree::OpenSession>(&command)) {
    Open(zxid, *open);
  } else if (const auto* close = std::get_if<tree::CloseSession>(&command)) {
    Close(zxid, decoded->header, *close, applied_ns);
  } else if (std::holds_alternative<tree::TakeOver>(command)) {
    const ModelResult taken =
        model_.TakeOver(static_cast<long long>(zxid), decoded->header.session, decoded->header.seq);
    journal_->Count("sessions taken over", taken.code == "Ok" ? 1 : 0);
  } else {
    bool is_multi = false;
    const std::vector<ModelOp> ops = ToModel(command, &is_multi);
    if (!ops.empty()) {
      Request(zxid, decoded->header, ops, is_multi);
    }
  }
}

void Oracle::Open(std::int64_t zxid, const tree::OpenSession& open) {
  if (nonces_.try_emplace(open.nonce, zxid).second) {
    nonce_of_[zxid] = open.nonce;
    model_.Open(zxid);
  }
}

void Oracle::Close(std::int64_t zxid, const tree::EntryHeader& header,
                   const tree::CloseSession& close, std::int64_t applied_ns) {
  const auto live = model_.sessions.find(close.session);
  if (live == model_.sessions.end() ||
      (header.session != 0 && header.seq != live->second.last_seq + 1)) {
    return;
  }
  if (close.reason == tree::CloseReason::kExpired) {
    journal_->Count("expiries");
    const auto known = history_->sessions.find(close.session);
    if (known != history_->sessions.end() && applied_ns >= 0 &&
        applied_ns < known->second.promised_until_ns) {
      journal_->Fail("C6: session {} expired {} ms before what its client was promised",
                     close.session, (known->second.promised_until_ns - applied_ns) / kMs);
    }
  }
  std::int32_t ordinal = 0;
  for (const std::string& path : model_.Close(zxid, close.session)) {
    Add(tree::EventType::kDeleted, path, zxid, &ordinal);
  }
  ended_[close.session] = zxid;
  nonces_.erase(nonce_of_[close.session]);
}

void Oracle::Add(tree::EventType type, const std::string& path, std::int64_t zxid,
                 std::int32_t* ordinal) {
  changes_.push_back({.type = type, .path = path, .cursor = {zxid, (*ordinal)++}});
}

void Oracle::Request(std::int64_t zxid, const tree::EntryHeader& header,
                     const std::vector<ModelOp>& ops, bool is_multi) {
  const std::pair<std::int64_t, std::int64_t> key{header.session, header.seq};
  const ModelResult result = model_.Request(zxid, header.wall_ms, header.session, header.seq,
                                            header.acked_through, ops, is_multi);
  if (result.zxid != zxid) {
    return;  // over, a gap, or executed before
  }
  if (!executed_.emplace(key, result).second) {
    journal_->Fail("C3: session {} seq {} was executed twice", key.first, key.second);
  }
  if (result.code == "Ok") {
    std::int32_t ordinal = 0;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      const ModelResult& one = is_multi ? result.multi[i] : result;
      switch (ops[i].kind) {
        case ModelOp::Kind::kCreate:
          Add(tree::EventType::kCreated, one.path, zxid, &ordinal);
          break;
        case ModelOp::Kind::kDelete:
          Add(tree::EventType::kDeleted, ops[i].path, zxid, &ordinal);
          break;
        case ModelOp::Kind::kSet:
          Add(tree::EventType::kDataChanged, ops[i].path, zxid, &ordinal);
          break;
        case ModelOp::Kind::kCheck:
          break;
      }
    }
  }
  library_.Executed(zxid, key.first, ops, result, model_);
  if (const LibraryWrite* told = library_.WriteAt(zxid, key.first); told != nullptr) {
    CheckLibraryWrite(*told, key.first, result, ops);
  }
  const auto session = history_->sessions.find(key.first);
  if (session == history_->sessions.end()) {
    return;
  }
  const auto write = session->second.writes.find(key.second);
  if (write != session->second.writes.end()) {
    CheckWrite(write->second, key.first, key.second, result, ops);
  }
}

void Oracle::CheckWrite(const WriteRecord& write, std::int64_t session, std::int64_t seq,
                        const ModelResult& result, const std::vector<ModelOp>& ops) {
  if (result.zxid <= write.known_zxid) {
    journal_->Fail("C1: session {} seq {} took effect at {}, and {} was known when it was sent",
                   session, seq, result.zxid, write.known_zxid);
  }
  if (!write.answered) {
    return;
  }
  const tree::Reply& reply = write.reply;
  const bool ok = reply.code == tree::Code::kOk;
  if (tree::NameOf(reply.code) != result.code || reply.zxid != result.zxid ||
      (ok && reply.path != result.path) || reply.multi.size() != result.multi.size()) {
    journal_->Fail("C3: session {} seq {} was answered {} {} at {}, the model says {} {} at {}",
                   session, seq, tree::NameOf(reply.code), reply.path, reply.zxid, result.code,
                   result.path, result.zxid);
    return;
  }
  for (std::size_t i = 0; i < result.multi.size(); ++i) {
    if (tree::NameOf(reply.multi[i].code) != result.multi[i].code ||
        (ok && reply.multi[i].path != result.multi[i].path)) {
      journal_->Fail("C9: session {} seq {} operation {}: {} {}, the model says {} {}", session,
                     seq, i, tree::NameOf(reply.multi[i].code), reply.multi[i].path,
                     result.multi[i].code, result.multi[i].path);
    }
  }
  const bool has_stat = ok && result.multi.empty() && ops[0].kind != ModelOp::Kind::kDelete;
  if (has_stat) {
    const std::string path = ops[0].kind == ModelOp::Kind::kCreate ? result.path : ops[0].path;
    const auto data = model_.nodes.at(path).data;
    const std::string differs = Differs(path, data.has_value(), data.value_or(""), reply.stat);
    if (!differs.empty()) {
      journal_->Fail("C10: session {} seq {}: {}", session, seq, differs);
    }
  }
}

void Oracle::CheckLibraryWrite(const LibraryWrite& write, std::int64_t session,
                               const ModelResult& result, const std::vector<ModelOp>& ops) {
  const auto at = static_cast<std::size_t>(write.op_index);
  if (write.op_index < 0) {
    CheckWrite({.known_zxid = write.known_zxid,
                .acknowledged = true,
                .answered = true,
                .reply = write.reply,
                .answers = 1},
               session, 0, result, ops);
  } else if (at >= result.multi.size() || result.code != tree::NameOf(write.reply.code) ||
             result.multi[at].code != result.code) {
    journal_->Fail(
        "C9: session {}: the multi at {} was answered {} for operation {}, the model "
        "says {}",
        session, result.zxid, tree::NameOf(write.reply.code), at, result.code);
  }
}

std::string Oracle::Differs(const std::string& path, bool has_data, std::string_view data,
                            const tree::Stat& stat) const {
  const auto at = model_.nodes.find(path);
  if (at == model_.nodes.end()) {
    return fmt::format("{} should not exist", path);
  }
  const tree_model::ModelNode& node = at->second;
  const int children = model_.ChildCount(path);
  const auto describe = [](const auto&... fields) { return (fmt::format("{} ", fields) + ...); };
  const std::string expected =
      describe(node.data.has_value() ? 1 : 0, node.data.value_or(""), node.czxid, node.mzxid,
               node.pzxid, node.ctime, node.mtime, node.version, 2 * node.creates - children,
               node.owner, node.data.value_or("").size(), children);
  const std::string found = describe(has_data ? 1 : 0, data, stat.czxid, stat.mzxid, stat.pzxid,
                                     stat.ctime_ms, stat.mtime_ms, stat.version, stat.cversion,
                                     stat.ephemeral_owner, stat.data_length, stat.num_children);
  return expected == found ? "" : fmt::format("{} is [{}], should be [{}]", path, found, expected);
}

void Oracle::CheckRead(const ReadRecord& read) {
  const std::string path = std::visit([](const auto& op) { return op.path; }, read.request.op);
  const auto node = model_.nodes.find(path);
  const bool exists = node != model_.nodes.end();
  std::string wrong;
  if (std::holds_alternative<server::ExistsRequest>(read.request.op)) {
    if (read.exists != exists) {
      wrong = fmt::format("{} {}", path, exists ? "exists" : "does not exist");
    }
  } else if ((read.code == tree::Code::kOk) != exists) {
    wrong = fmt::format("{} {}", path, exists ? "exists" : "does not exist");
  }
  if (wrong.empty() && exists) {
    const bool has_value = std::holds_alternative<server::GetRequest>(read.request.op);
    wrong = has_value ? Differs(path, read.data.has_value(), read.data.value_or(""), read.stat)
                      : Differs(path, node->second.data.has_value(), node->second.data.value_or(""),
                                read.stat);
  }
  if (wrong.empty() && exists && std::holds_alternative<server::ChildrenRequest>(read.request.op) &&
      read.names != model_.ChildNames(path)) {
    wrong = fmt::format("{} has other children", path);
  }
  if (!wrong.empty()) {
    journal_->Fail("C1: a read of session {} at zxid {}: {}", read.session, read.zxid, wrong);
  }
}

void Oracle::CheckSession(const SessionRecord& session) {
  if (session.id <= session.opened_known_zxid) {
    journal_->Fail("C1: session {} opened, and {} was known before", session.id,
                   session.opened_known_zxid);
  }
  if (session.told_over_zxid != 0) {
    const auto ended = ended_.find(session.id);
    if (ended == ended_.end() || ended->second > session.told_over_zxid) {
      journal_->Fail("C6: session {} was called over at zxid {} and was not", session.id,
                     session.told_over_zxid);
    }
  }
  for (const auto& [seq, write] : session.writes) {
    if (write.answered && !executed_.contains({session.id, seq})) {
      journal_->Fail("D1: session {} seq {} was answered {} at {} and is not in the log",
                     session.id, seq, tree::NameOf(write.reply.code), write.reply.zxid);
    }
  }
  const std::vector<tree::Cursor> goes_off = GoesOff(session);
  for (const Segment& segment : session.segments) {
    CheckSegment(session, segment, goes_off);
  }
}

// When each of the session's one-shot watches goes off: with the first change behind its
// registration that matches. {}: never, or it was forgotten before that.
std::vector<tree::Cursor> Oracle::GoesOff(const SessionRecord& session) const {
  std::vector<tree::Cursor> cursors;
  for (const WatchRecord& watch : session.watches) {
    tree::Cursor& at = cursors.emplace_back();
    if (!tree::IsOneShot(watch.watch.mode)) {
      continue;
    }
    auto change = std::partition_point(
        changes_.begin(), changes_.end(),
        [&watch](const EventRecord& one) { return one.cursor <= watch.since; });
    while (change != changes_.end() &&
           EventsOf(watch.watch.mode, watch.watch.path, *change).empty()) {
      ++change;
    }
    if (change != changes_.end() && (!watch.until || change->cursor <= *watch.until)) {
      at = change->cursor;
    }
  }
  return cursors;
}

void Oracle::CheckSegment(const SessionRecord& session, const Segment& segment,
                          const std::vector<tree::Cursor>& goes_off) {
  std::vector<EventRecord> expected;
  const auto first = std::partition_point(
      changes_.begin(), changes_.end(),
      [&segment](const EventRecord& change) { return change.cursor <= segment.from; });
  for (auto change = first; change != changes_.end() && change->cursor <= segment.to; ++change) {
    bool self = false;
    bool parent = false;
    for (std::size_t i = 0; i < session.watches.size(); ++i) {
      const WatchRecord& watch = session.watches[i];
      const bool one_shot = tree::IsOneShot(watch.watch.mode);
      if (change->cursor <= watch.since || (one_shot && change->cursor != goes_off[i])) {
        continue;
      }
      for (const EventRecord& event : EventsOf(watch.watch.mode, watch.watch.path, *change)) {
        const bool of_children = event.type == tree::EventType::kChildrenChanged;
        self = self || !of_children;
        parent = parent || of_children;
      }
    }
    if (self) {
      expected.push_back({change->type, change->path, change->cursor});
    }
    if (parent) {
      expected.push_back(
          {tree::EventType::kChildrenChanged, ParentOf(change->path), change->cursor});
    }
  }
  if (expected == segment.events) {
    return;
  }
  const auto [want, got] =
      std::mismatch(expected.begin(), expected.end(), segment.events.begin(), segment.events.end());
  const auto show = [](const auto& at, const auto& end) {
    return at == end ? std::string("nothing")
                     : fmt::format("{} of {} at {}.{}", static_cast<int>(at->type), at->path,
                                   at->cursor.zxid, at->cursor.ordinal);
  };
  journal_->Fail("C8: session {} between {}.{} and {}.{}: told {}, should be told {}", session.id,
                 segment.from.zxid, segment.from.ordinal, segment.to.zxid, segment.to.ordinal,
                 show(got, segment.events.end()), show(want, expected.end()));
}

}  // namespace conclave::sim
