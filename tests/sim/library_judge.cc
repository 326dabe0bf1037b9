#include "tests/sim/library_judge.h"

#include <algorithm>
#include <limits>
#include <set>

#include "coord/tree/code.h"

namespace conclave::sim {

using tree_model::ModelOp;

namespace {

std::string ParentOf(const std::string& path) {
  const std::string parent = path.substr(0, path.find_last_of('/'));
  return parent.empty() ? "/" : parent;
}

bool IsUnder(const std::string& path, const std::string& root) {
  return path == root || root == "/" ||
         (path.size() > root.size() && path.compare(0, root.size(), root) == 0 &&
          path[root.size()] == '/');
}

// The words of a request: two requests with the same words are not told apart.
std::string WordsOf(const std::vector<ModelOp>& ops) {
  std::string words;
  for (const ModelOp& op : ops) {
    words += fmt::format("{} {} {} {}{} {};", static_cast<int>(op.kind), op.path,
                         op.data ? "=" + *op.data : "null", op.ephemeral ? 'e' : '-',
                         op.sequential ? 's' : '-', op.version);
  }
  return words;
}

}  // namespace

bool IsAnswer(const LibraryWrite& write) {
  const tree::Action action = tree::ActionOf(write.reply.code);
  return write.ended && (action == tree::Action::kNone || action == tree::Action::kAnswer) &&
         write.reply.code != tree::Code::kSequenceGap &&
         write.reply.code != tree::Code::kDeadlineExceeded;
}

std::vector<EventRecord> EventsOf(tree::WatchMode mode, const std::string& path,
                                  const EventRecord& change) {
  const bool self = change.path == path;
  const bool child = change.type != tree::EventType::kDataChanged && change.path != "/" &&
                     ParentOf(change.path) == path;
  const EventRecord of_children{tree::EventType::kChildrenChanged, path, change.cursor};
  switch (mode) {
    case tree::WatchMode::kPersistentRecursive:
      return IsUnder(change.path, path) ? std::vector{change} : std::vector<EventRecord>{};
    case tree::WatchMode::kChild:
      if (self && change.type == tree::EventType::kDeleted) {
        return {change};
      }
      return child ? std::vector{of_children} : std::vector<EventRecord>{};
    case tree::WatchMode::kPersistent:
      if (child && !self) {
        return {of_children};
      }
      [[fallthrough]];
    default:
      return self ? std::vector{change} : std::vector<EventRecord>{};
  }
}

void LibraryJudge::Index() {
  if (indexed_) {
    return;
  }
  indexed_ = true;
  for (const LibraryLife& life : history_->lives) {
    for (const LibraryWrite& write : life.writes) {
      Tally& tally = tallies_[{life.session, WordsOf(write.ops)}];
      const tree::Action action =
          write.ended ? tree::ActionOf(write.reply.code) : tree::Action::kOutcomeUnknown;
      if (IsAnswer(write) && write.reply.zxid > 0) {
        by_zxid_[{write.reply.zxid, life.session}] = &write;
        ++tally.least;
        ++tally.most;
      } else if (write.ended && write.reply.code == tree::Code::kReplyDropped) {
        ++tally.least;
        ++tally.most;
      } else if (action == tree::Action::kOutcomeUnknown) {
        ++tally.most;
      }
    }
  }
}

const LibraryWrite* LibraryJudge::WriteAt(std::int64_t zxid, std::int64_t session) {
  Index();
  const auto at = by_zxid_.find({zxid, session});
  if (at == by_zxid_.end()) {
    return nullptr;
  }
  found_[{zxid, session}] = true;
  return at->second;
}

void LibraryJudge::Executed(std::int64_t zxid, std::int64_t session,
                            const std::vector<ModelOp>& ops, const tree_model::ModelResult& result,
                            const tree_model::Model& model) {
  Index();
  ++tallies_[{session, WordsOf(ops)}].executed;
  const LibraryWrite* told = WriteAt(zxid, session);
  if (told != nullptr && WordsOf(told->ops) != WordsOf(ops)) {
    journal_->Fail("C3: session {}: the answer at zxid {} is that of another write", session, zxid);
  }
  if (result.code != "Ok" || ops.size() < 2 || ops[0].kind != ModelOp::Kind::kCheck ||
      ops[0].path.find("/c-") == std::string::npos) {
    return;
  }
  const std::string lock = ParentOf(ops[0].path);
  if (ops[1].kind == ModelOp::Kind::kSet && ops[1].path == lock) {
    Claim(zxid, session, ops, model);
    return;
  }
  const Holder& holder = holders_[lock];
  const std::string data = ops.back().data.value_or("");
  if (data != fmt::format("{} {}", lock, holder.token) || holder.contender != ops[0].path) {
    journal_->Fail("C7: session {} wrote '{}' at zxid {} while {} holds {} with token {}", session,
                   data, zxid, holder.contender, lock, holder.token);
  }
}

void LibraryJudge::Claim(std::int64_t zxid, std::int64_t session, const std::vector<ModelOp>& ops,
                         const tree_model::Model& model) {
  const std::string& contender = ops[0].path;
  const std::string lock = ParentOf(contender);
  Holder& holder = holders_[lock];
  const auto before = model.nodes.find(holder.contender);
  if (before != model.nodes.end() && before->second.czxid == holder.czxid &&
      holder.contender != contender) {
    journal_->Fail("C7: {} claims {} at zxid {} while {} holds it", contender, lock, zxid,
                   holder.contender);
  }
  const auto number = [](const std::string& name) {
    return name.size() < 10 ? name : name.substr(name.size() - 10);
  };
  for (const std::string& other : model.ChildNames(lock)) {
    if (number(other) < number(contender)) {
      journal_->Fail("C7: {} claims {} at zxid {} before {}", contender, lock, zxid, other);
    }
  }
  const auto self = model.nodes.find(contender);
  holder = {.contender = contender,
            .czxid = self == model.nodes.end() ? 0 : self->second.czxid,
            .token = zxid};
  claims_[{lock, zxid}] = session;
  journal_->Count("locks claimed");
}

void LibraryJudge::Finish(const std::vector<EventRecord>& changes) {
  Index();
  std::set<std::int64_t> sessions;
  for (const LibraryLife& life : history_->lives) {
    sessions.insert(life.session);
    CheckLife(life);
    CheckOrder(life);
    for (const auto& [id, watch] : life.watches) {
      CheckWatch(life, watch, changes);
    }
  }
  for (const auto& [key, tally] : tallies_) {
    const auto& [session, words] = key;
    if (session == 0 || !sessions.contains(session)) {
      continue;
    }
    // The library writes on its own account too: numbers that are only filled, and locks.
    const bool own = words.starts_with("3 / ") || words.find(" /l") != std::string::npos;
    if (tally.executed < tally.least || (tally.executed > tally.most && !own)) {
      journal_->Fail("C3: session {} executed [{}] {} times; by what it was told {} to {} times",
                     session, words, tally.executed, tally.least, tally.most);
    }
  }
  for (const LibraryGrant& grant : history_->grants) {
    const auto claim = claims_.find({grant.path, grant.token});
    if (claim == claims_.end() || claim->second != grant.session) {
      journal_->Fail("C7: session {} was granted {} with token {}, which is no claim of it",
                     grant.session, grant.path, grant.token);
    }
  }
}

void LibraryJudge::CheckLife(const LibraryLife& life) {
  for (const LibraryWrite& write : life.writes) {
    if (IsAnswer(write) && write.reply.zxid > 0 &&
        !found_.contains({write.reply.zxid, life.session})) {
      journal_->Fail("D1: session {} was answered {} at zxid {}, which is not in the log",
                     life.session, tree::NameOf(write.reply.code), write.reply.zxid);
    }
  }
}

void LibraryJudge::CheckOrder(const LibraryLife& life) {
  std::int64_t written = 0;
  for (const auto& [index, read_zxid] : life.order) {
    if (index < 0) {
      if (read_zxid != 0 && read_zxid < written) {
        journal_->Fail("C2: session {}: a read shows zxid {}, a write issued before it was at {}",
                       life.session, read_zxid, written);
      }
      continue;
    }
    const LibraryWrite& write = life.writes[static_cast<std::size_t>(index)];
    if (!IsAnswer(write) || !found_.contains({write.reply.zxid, life.session})) {
      continue;
    }
    if (write.reply.zxid <= written) {
      journal_->Fail(
          "C2: session {}: the write [{}] was answered {} at zxid {}, one issued before "
          "it took effect at {}",
          life.session, WordsOf(write.ops), tree::NameOf(write.reply.code), write.reply.zxid,
          written);
    }
    written = write.reply.zxid;
  }
}

void LibraryJudge::CheckWatch(const LibraryLife& life, const LibraryWatch& watch,
                              const std::vector<EventRecord>& changes) {
  if (watch.since < 0) {
    return;
  }
  const auto fail = [&](const std::string& what) {
    journal_->Fail("C8: session {}: the watch on {} (mode {}, since {}) {}", life.session,
                   watch.path, static_cast<int>(watch.mode), watch.since, what);
  };
  // What it has to tell, and how far of that it has come.
  std::vector<EventRecord> due;
  const tree::Cursor since = tree::Cursor::EndOf(watch.since);
  for (const EventRecord& change : changes) {
    if (change.cursor > since) {
      const auto events = EventsOf(watch.mode, watch.path, change);
      due.insert(due.end(), events.begin(), events.end());
    }
  }
  std::size_t next = 0;
  bool resynced = false;
  for (const LibraryEvent& told : watch.events) {
    if (told.resync) {
      while (next < due.size() && due[next].cursor <= told.event.cursor) {
        ++next;
      }
      resynced = true;
      continue;
    }
    if (next == due.size() || due[next] != told.event) {
      fail(fmt::format("told of {} at {}.{}, due was {}", told.event.path, told.event.cursor.zxid,
                       told.event.cursor.ordinal,
                       next == due.size()
                           ? "nothing"
                           : fmt::format("{} at {}.{}", due[next].path, due[next].cursor.zxid,
                                         due[next].cursor.ordinal)));
      return;
    }
    ++next;
  }
  const bool done = tree::IsOneShot(watch.mode) && (next > 0 || resynced);
  if (!done && next < due.size() && due[next].cursor.zxid <= watch.told_zxid) {
    fail(fmt::format("did not tell of {} at {}.{}, and a reply showed zxid {}", due[next].path,
                     due[next].cursor.zxid, due[next].cursor.ordinal, watch.told_zxid));
  }
}

}  // namespace conclave::sim
