#include "tests/client/fake_handler.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace conclave::client_test {

using apache::thrift::TDelayedException;

namespace {

idl::CoordError MakeError(idl::ErrorCode::type code, const std::string& path = {}) {
  idl::CoordError error;
  error.__set_code(code);
  error.__set_message("fake: error " + std::to_string(code));
  error.__set_path(path);
  return error;
}

// What was answered to a write: the error or the result.
template <class T>
struct Stored {
  std::optional<idl::CoordError> error;
  T result;
};

}  // namespace

template <class T, class Execute>
void Handler::Serve(const std::string& method, const idl::Ctx& ctx, const Cob<T>& cob,
                    const ExnCob& exn, Execute execute) {
  cluster.calls.push_back("m" + std::to_string(member) + " " + method);
  const Fault fault = cluster.on_call ? cluster.on_call(method, ctx, member) : Fault{};
  const auto open = link.lock();
  if (open == nullptr) {
    return;
  }
  switch (fault.kind) {
    case Fault::Kind::kBreakBefore:
      cluster.unanswered_.emplace_back(cob);
      open->Break("broken before " + method);
      return;
    case Fault::Kind::kMuteBefore:
      cluster.unanswered_.emplace_back(cob);
      return;
    case Fault::Kind::kFail:
      exn(TDelayedException::delayException(fault.error));
      return;
    case Fault::Kind::kRaw:
      cluster.unanswered_.emplace_back(cob);
      open->ToClient(fault.raw);
      return;
    default:
      break;
  }
  T result;
  const auto error = execute(result);
  if (fault.kind == Fault::Kind::kBreakAfter) {
    cluster.unanswered_.emplace_back(cob);
    open->Break("broken after " + method);
  } else if (fault.kind == Fault::Kind::kMuteAfter) {
    cluster.unanswered_.emplace_back(cob);
  } else if (error) {
    idl::CoordError with_head = *error;
    with_head.__set_zxid(cluster.zxid);
    cluster.FillHead(with_head.head, ctx, member);
    with_head.__isset.head = true;
    exn(TDelayedException::delayException(with_head));
  } else {
    cluster.FillHead(result.head, ctx, member);
    result.__isset.head = true;
    cob(result);
  }
}

template <class T, class Execute>
Handler::Outcome Handler::Write(const idl::Ctx& ctx, T& result, Execute execute) {
  if (auto expired = cluster.CheckSession(ctx)) {
    return expired;
  }
  FakeCluster::Session& session = cluster.sessions.at(ctx.session);
  if (ctx.seq > session.last_seq + 1) {
    idl::CoordError gap = MakeError(idl::ErrorCode::SEQUENCE_GAP);
    gap.__set_expectedSeq(session.last_seq + 1);
    return gap;
  }
  session.acked_through = std::max(session.acked_through, ctx.ackedThrough);
  session.replies.erase(session.replies.begin(),
                        session.replies.upper_bound(session.acked_through));
  if (ctx.seq <= session.taken_over_through) {
    return MakeError(idl::ErrorCode::SESSION_EXPIRED);
  }
  if (ctx.seq <= session.last_seq) {
    const auto stored = session.replies.find(ctx.seq);
    if (stored == session.replies.end()) {
      return MakeError(idl::ErrorCode::REPLY_DROPPED);
    }
    const auto& kept = std::any_cast<const Stored<T>&>(stored->second);
    result = kept.result;
    return kept.error;
  }
  session.last_seq = ctx.seq;
  Stored<T> kept;
  kept.error = execute(kept.result);
  kept.result.head.__set_zxid(cluster.zxid);
  result = kept.result;
  if (cluster.sessions.contains(ctx.session)) {
    cluster.sessions.at(ctx.session).replies[ctx.seq] = kept;
  }
  // Reads may have been waiting for this number.
  cluster.executor_.Post([this] { cluster.Wake(); });
  return kept.error;
}

template <class T, class Execute>
void Handler::Read(const std::string& method, const idl::Ctx& ctx, const Cob<T>& cob,
                   const ExnCob& exn, Execute execute) {
  const auto attempt = [this, method, ctx, cob, exn, execute] {
    const auto session = cluster.sessions.find(ctx.session);
    if (session != cluster.sessions.end() && session->second.last_seq < ctx.afterSeq) {
      return false;
    }
    Serve<T>(method, ctx, cob, exn, [&](T& result) -> Outcome {
      if (ctx.session != 0) {
        if (auto expired = cluster.CheckSession(ctx)) {
          return expired;
        }
      }
      return execute(result);
    });
    return true;
  };
  if (!attempt()) {
    cluster.parked_reads_.push_back(attempt);
  }
}

void Handler::openSession(Cob<idl::OpenResult> cob, ExnCob exn, const idl::OpenRequest& request) {
  Serve<idl::OpenResult>("openSession", {}, cob, exn, [&](idl::OpenResult& result) -> Outcome {
    auto found = std::find_if(cluster.sessions.begin(), cluster.sessions.end(),
                              [&](auto& entry) { return entry.second.nonce == request.nonce; });
    if (found == cluster.sessions.end()) {
      FakeCluster::Session session;
      session.secret = cluster.secret_of_next_session;
      session.nonce = request.nonce;
      session.timeout_ms = request.timeoutMs;
      cluster.Changed({});
      cluster.applied.push_back("open");
      found = cluster.sessions.emplace(cluster.zxid, session).first;
    }
    cluster.member(member).position[found->first] = cluster.changes_.size();
    result.__set_session(found->first);
    result.__set_secret(found->second.secret);
    result.__set_timeoutMs(found->second.timeout_ms);
    return std::nullopt;
  });
}

void Handler::closeSession(Cob<idl::CloseResult> cob, ExnCob exn, const idl::Ctx& ctx) {
  Serve<idl::CloseResult>("closeSession", ctx, cob, exn, [&](idl::CloseResult& result) {
    return Write(ctx, result, [&](idl::CloseResult&) -> Outcome {
      cluster.applied.push_back("close");
      cluster.CloseSession(ctx.session);
      return std::nullopt;
    });
  });
}

void Handler::takeOver(Cob<idl::TakeOverResult> cob, ExnCob exn, const idl::Ctx& ctx) {
  Serve<idl::TakeOverResult>(
      "takeOver", ctx, cob, exn, [&](idl::TakeOverResult& result) -> Outcome {
        if (auto expired = cluster.CheckSession(ctx)) {
          return expired;
        }
        FakeCluster::Session& session = cluster.sessions.at(ctx.session);
        if (ctx.seq != session.last_seq + 1) {
          idl::CoordError gap = MakeError(idl::ErrorCode::SEQUENCE_GAP);
          gap.__set_expectedSeq(session.last_seq + 1);
          return gap;
        }
        session.last_seq += 1'000;
        session.acked_through = session.taken_over_through = session.last_seq;
        session.replies.clear();
        result.__set_nextSeq(session.last_seq + 1);
        return std::nullopt;
      });
}

void Handler::create(Cob<idl::CreateResult> cob, ExnCob exn, const idl::Ctx& ctx,
                     const idl::CreateRequest& request) {
  Serve<idl::CreateResult>("create", ctx, cob, exn, [&](idl::CreateResult& result) {
    return Write(ctx, result, [&](idl::CreateResult& made) -> Outcome {
      cluster.applied.push_back("create " + request.path);
      std::vector<idl::Change> changes;
      auto error = cluster.ApplyCreate(request, ctx.session, changes, made.path, made.stat);
      if (!error) {
        cluster.Changed(std::move(changes));
      }
      return error;
    });
  });
}

void Handler::setData(Cob<idl::SetDataResult> cob, ExnCob exn, const idl::Ctx& ctx,
                      const idl::SetDataRequest& request) {
  Serve<idl::SetDataResult>("setData", ctx, cob, exn, [&](idl::SetDataResult& result) {
    return Write(ctx, result, [&](idl::SetDataResult& set) -> Outcome {
      cluster.applied.push_back("set " + request.path + " " + request.data);
      std::vector<idl::Change> changes;
      auto error = cluster.ApplySet(request, changes, set.stat);
      if (!error) {
        cluster.Changed(std::move(changes));
      }
      return error;
    });
  });
}

void Handler::removeNode(Cob<idl::RemoveResult> cob, ExnCob exn, const idl::Ctx& ctx,
                         const idl::RemoveRequest& request) {
  Serve<idl::RemoveResult>("removeNode", ctx, cob, exn, [&](idl::RemoveResult& result) {
    return Write(ctx, result, [&](idl::RemoveResult&) -> Outcome {
      cluster.applied.push_back("remove " + request.path);
      std::vector<idl::Change> changes;
      auto error = cluster.ApplyRemove(request.path, request.expectedVersion, changes);
      if (!error) {
        cluster.Changed(std::move(changes));
      }
      return error;
    });
  });
}

void Handler::multi(Cob<idl::MultiResult> cob, ExnCob exn, const idl::Ctx& ctx,
                    const idl::MultiRequest& request) {
  Serve<idl::MultiResult>("multi", ctx, cob, exn, [&](idl::MultiResult& result) {
    return Write(ctx, result, [&](idl::MultiResult& done) -> Outcome {
      cluster.applied.push_back("multi " + std::to_string(request.ops.size()));
      cluster.ApplyMulti(request, ctx.session, done);
      return std::nullopt;
    });
  });
}

void Handler::getData(Cob<idl::GetResult> cob, ExnCob exn, const idl::Ctx& ctx,
                      const idl::GetRequest& request) {
  Read<idl::GetResult>("getData", ctx, cob, exn,
                       [this, request](idl::GetResult& result) -> Outcome {
                         const auto node = cluster.tree.find(request.path);
                         if (node == cluster.tree.end()) {
                           return MakeError(idl::ErrorCode::NO_NODE, request.path);
                         }
                         if (node->second.data) {
                           result.__set_data(*node->second.data);
                         }
                         result.__set_stat(node->second.stat);
                         return std::nullopt;
                       });
}

void Handler::exists(Cob<idl::ExistsResult> cob, ExnCob exn, const idl::Ctx& ctx,
                     const idl::ExistsRequest& request) {
  Read<idl::ExistsResult>("exists", ctx, cob, exn,
                          [this, request](idl::ExistsResult& result) -> Outcome {
                            const auto node = cluster.tree.find(request.path);
                            if (node != cluster.tree.end()) {
                              result.__set_stat(node->second.stat);
                            }
                            return std::nullopt;
                          });
}

void Handler::children(Cob<idl::ChildrenResult> cob, ExnCob exn, const idl::Ctx& ctx,
                       const idl::ChildrenRequest& request) {
  Read<idl::ChildrenResult>(
      "children", ctx, cob, exn, [this, request](idl::ChildrenResult& result) -> Outcome {
        if (!cluster.tree.contains(request.path)) {
          return MakeError(idl::ErrorCode::NO_NODE, request.path);
        }
        constexpr std::size_t kPage = 3;  // Small, so that listings have several pages.
        const std::size_t limit =
            request.countMax > 0 ? static_cast<std::size_t>(request.countMax) : kPage;
        const std::string prefix = request.path == "/" ? "/" : request.path + "/";
        std::vector<std::string> names;
        for (const auto& [path, node] : cluster.tree) {
          const std::string name = path.rfind(prefix, 0) == 0 ? path.substr(prefix.size()) : "";
          if (!name.empty() && name.find('/') == std::string::npos && name > request.after) {
            names.push_back(name);
          }
        }
        result.__set_more(names.size() > limit);
        names.resize(std::min(names.size(), limit));
        result.__set_names(names);
        result.__set_stat(cluster.tree.at(request.path).stat);
        return std::nullopt;
      });
}

void Handler::addWatch(Cob<idl::AddWatchResult> cob, ExnCob exn, const idl::Ctx& ctx,
                       const idl::AddWatchRequest& request) {
  Serve<idl::AddWatchResult>("addWatch", ctx, cob, exn, [&](idl::AddWatchResult&) -> Outcome {
    if (auto expired = cluster.CheckSession(ctx)) {
      return expired;
    }
    auto& at = cluster.member(member);
    auto& watches = at.watches[ctx.session];
    idl::Cursor since = cluster.End();
    if (request.__isset.since) {
      since = request.since;
      const idl::Cursor& sent = at.sent[ctx.session];
      if (!watches.empty() &&
          std::tie(since.zxid, since.ordinal) < std::tie(sent.zxid, sent.ordinal)) {
        return MakeError(idl::ErrorCode::INVALID_ARGUMENT);
      }
      at.position[ctx.session] = cluster.PositionBehind(since);
      cluster.executor_.Post([this] { cluster.Wake(); });
    }
    watches[request.watch.watchId] = {request.watch, since};
    return std::nullopt;
  });
}

void Handler::removeWatch(Cob<idl::RemoveWatchResult> cob, ExnCob exn, const idl::Ctx& ctx,
                          const idl::RemoveWatchRequest& request) {
  Serve<idl::RemoveWatchResult>(
      "removeWatch", ctx, cob, exn, [&](idl::RemoveWatchResult& result) -> Outcome {
        auto expired = cluster.CheckSession(ctx);
        if (!expired) {
          auto& watches = cluster.member(member).watches;
          const auto of_session = watches.find(ctx.session);
          result.__set_removed(of_session != watches.end() &&
                               of_session->second.erase(request.watchId) > 0);
        }
        return expired;
      });
}

void Handler::resumeWatches(Cob<idl::ResumeWatchesResult> cob, ExnCob exn, const idl::Ctx& ctx,
                            const idl::ResumeWatchesRequest& request) {
  Serve<idl::ResumeWatchesResult>(
      "resumeWatches", ctx, cob, exn, [&](idl::ResumeWatchesResult& result) -> Outcome {
        if (auto expired = cluster.CheckSession(ctx)) {
          return expired;
        }
        const auto other = cluster.elsewhere.find("m" + std::to_string(member) + ":1");
        const bool sent_on = other != cluster.elsewhere.end();
        if (sent_on) {
          result.__set_elsewhere({other->second});
        }
        auto& watches = cluster.member(member).watches[ctx.session];
        if (request.replaceAll) {
          watches.clear();
        }
        for (const idl::WatchSpec& watch : request.watches) {
          watches[watch.watchId] = {watch, watch.__isset.since ? watch.since : request.cursor};
        }
        const std::size_t position = cluster.PositionBehind(request.cursor);
        // As at a member: no events, the head's cursor is the client's own, and polls say it again.
        result.head.__set_cursor(request.cursor);
        result.head.__set_resync(sent_on || position < cluster.forgotten_);
        if (result.head.resync) {
          cluster.member(member).resync[ctx.session] = cluster.End();
        }
        cluster.member(member).position[ctx.session] = std::max(position, cluster.forgotten_);
        return std::nullopt;
      });
}

void Handler::poll(Cob<idl::PollResult> cob, ExnCob exn, const idl::Ctx& ctx,
                   const idl::PollRequest& request) {
  const idl::Cursor& behind = cluster.member(member).resync[ctx.session];
  const bool resync =
      std::tie(request.cursor.zxid, request.cursor.ordinal) < std::tie(behind.zxid, behind.ordinal);
  const auto answer = [this, cob, exn, ctx, resync] {
    Serve<idl::PollResult>("poll", ctx, cob, exn, [&](idl::PollResult& result) -> Outcome {
      auto expired = cluster.CheckSession(ctx);
      if (!expired) {
        result.__set_timeoutMs(cluster.sessions.at(ctx.session).timeout_ms);
        result.head.__set_resync(resync);
        const auto other = cluster.elsewhere.find("m" + std::to_string(member) + ":1");
        if (resync && other != cluster.elsewhere.end()) {
          result.__set_elsewhere({other->second});
        }
      }
      return expired;
    });
  };
  if (!cluster.CheckSession(ctx)) {
    // The client says what it has: what was lost on the way is told again.
    cluster.member(member).position[ctx.session] =
        std::max(cluster.PositionBehind(request.cursor), cluster.forgotten_);
  }
  if (request.waitMs == 0 || resync || cluster.HasEvents(ctx.session, member) ||
      cluster.CheckSession(ctx)) {
    answer();
    return;
  }
  FakeCluster::ParkedPoll parked;
  parked.link = link;
  parked.session = ctx.session;
  parked.member = member;
  parked.answer = answer;
  cluster.polls_.push_back(std::move(parked));
  const auto it = std::prev(cluster.polls_.end());
  it->timer = cluster.executor_.PostAfter(std::chrono::milliseconds(request.waitMs), [this, it] {
    const auto due = std::move(it->answer);
    cluster.polls_.erase(it);
    due();
  });
}

void Handler::sync(Cob<idl::SyncResult> cob, ExnCob exn, const idl::Ctx& ctx,
                   const idl::SyncRequest& /*request*/) {
  Read<idl::SyncResult>("sync", ctx, cob, exn,
                        [](idl::SyncResult&) -> Outcome { return std::nullopt; });
}

void Handler::ping(Cob<idl::PingResult> cob, ExnCob exn, const idl::Ctx& ctx) {
  Serve<idl::PingResult>("ping", ctx, cob, exn, [&](idl::PingResult& result) -> Outcome {
    auto expired = cluster.CheckSession(ctx);
    if (!expired) {
      result.__set_timeoutMs(cluster.sessions.at(ctx.session).timeout_ms);
    }
    return expired;
  });
}

void Handler::clusterStatus(Cob<idl::ClusterStatusResult> cob, ExnCob exn,
                            const idl::ClusterStatusRequest& /*request*/) {
  Serve<idl::ClusterStatusResult>(
      "clusterStatus", {}, cob, exn, [&](idl::ClusterStatusResult& result) -> Outcome {
        result.__set_clusterName("fake");
        result.__set_leader(1);
        for (int id = 1; id <= static_cast<int>(cluster.members_.size()); ++id) {
          idl::MemberInfo info;
          info.__set_id(id);
          info.__set_role(id == 1 ? idl::MemberRole::LEADER : idl::MemberRole::FOLLOWER);
          info.__set_reachable(cluster.member(id).up);
          result.members.push_back(info);
        }
        result.__isset.members = true;
        return std::nullopt;
      });
}

}  // namespace conclave::client_test
