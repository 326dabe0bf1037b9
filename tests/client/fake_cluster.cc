#include "tests/client/fake_cluster.h"

#include <cstdio>
#include <limits>
#include <utility>

#include "tests/client/fake_handler.h"

namespace conclave::client_test {
namespace {

idl::CoordError MakeError(idl::ErrorCode::type code, const std::string& path = {}) {
  idl::CoordError error;
  error.__set_code(code);
  error.__set_message("fake: error " + std::to_string(code));
  error.__set_path(path);
  return error;
}

std::string ParentOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

idl::Change MakeChange(idl::EventType::type type, const std::string& path) {
  idl::Change change;
  change.__set_type(type);
  change.__set_path(path);
  return change;
}

bool Below(const std::string& path, const std::string& ancestor) {
  return ancestor == "/" || path == ancestor || path.rfind(ancestor + "/", 0) == 0;
}

// Which event, if any, a watch gets for a change.
std::optional<idl::EventType::type> Matches(const idl::WatchSpec& watch,
                                            const idl::Change& change) {
  const bool same = watch.path == change.path;
  const bool child_change = change.type != idl::EventType::DATA_CHANGED && change.path != "/" &&
                            ParentOf(change.path) == watch.path;
  switch (watch.mode) {
    case idl::WatchMode::DATA:
    case idl::WatchMode::EXIST:
      return same ? std::optional(change.type) : std::nullopt;
    case idl::WatchMode::CHILD:
      if (same && change.type == idl::EventType::DELETED) {
        return change.type;
      }
      return child_change ? std::optional(idl::EventType::CHILDREN_CHANGED) : std::nullopt;
    case idl::WatchMode::PERSISTENT:
      if (same) {
        return change.type;
      }
      return child_change ? std::optional(idl::EventType::CHILDREN_CHANGED) : std::nullopt;
    default:
      return Below(change.path, watch.path) ? std::optional(change.type) : std::nullopt;
  }
}

bool OneShot(const idl::WatchSpec& watch) {
  return watch.mode != idl::WatchMode::PERSISTENT &&
         watch.mode != idl::WatchMode::PERSISTENT_RECURSIVE;
}

bool Later(const idl::Change& change, const idl::Cursor& cursor) {
  return change.zxid > cursor.zxid ||
         (change.zxid == cursor.zxid && change.ordinal > cursor.ordinal);
}

class FakeConnection final : public FrameConnection {
 public:
  FakeConnection(Executor& executor, std::shared_ptr<FakeCluster::Link> link)
      : executor_(executor), link_(std::move(link)) {}

  ~FakeConnection() override { link_->open = false; }

  FakeConnection(const FakeConnection&) = delete;
  FakeConnection& operator=(const FakeConnection&) = delete;

  void Send(std::string frame) override {
    executor_.Post([link = link_, frame = std::move(frame)] { link->FromClient(frame); });
  }

 private:
  Executor& executor_;
  std::shared_ptr<FakeCluster::Link> link_;
};

}  // namespace

Fault Break(bool after) {
  return {after ? Fault::Kind::kBreakAfter : Fault::Kind::kBreakBefore, {}, {}};
}

Fault Mute(bool after) {
  return {after ? Fault::Kind::kMuteAfter : Fault::Kind::kMuteBefore, {}, {}};
}

Fault Fail(idl::ErrorCode::type code, const std::string& leader_hint) {
  Fault fault{Fault::Kind::kFail, MakeError(code), {}};
  fault.error.__set_leaderHint(leader_hint);
  return fault;
}

Fault Raw(std::string frame) { return {Fault::Kind::kRaw, {}, std::move(frame)}; }

void FakeCluster::Link::ToClient(std::string frame) {
  executor->Post([self = shared_from_this(), frame = std::move(frame)] {
    if (self->open) {
      self->callbacks.on_frame(frame);
    }
  });
}

void FakeCluster::Link::FromClient(const std::string& frame) {
  if (!open || mute) {
    return;
  }
  if (!dispatcher->OnFrame(frame)) {
    Break("refused");
  }
}

void FakeCluster::Link::Break(const std::string& reason) {
  if (close) {
    close();
    return;
  }
  executor->Post([self = shared_from_this(), reason] {
    if (std::exchange(self->open, false)) {
      self->callbacks.on_closed(reason);
    }
  });
}

FakeCluster::FakeCluster(Executor& executor, int members)
    : executor_(executor), members_(static_cast<std::size_t>(members)) {
  tree["/"] = Znode{};
}

FakeCluster::~FakeCluster() = default;

std::string FakeCluster::Endpoints() const {
  std::string text;
  for (std::size_t i = 1; i <= members_.size(); ++i) {
    text += (i == 1 ? "m" : ",m") + std::to_string(i) + ":1";
  }
  return text;
}

std::unique_ptr<FrameConnection> FakeCluster::Connect(const Endpoint& endpoint,
                                                      Callbacks callbacks) {
  ++connects;
  const int id = std::stoi(endpoint.host.substr(1));
  auto link = std::make_shared<Link>();
  link->executor = &executor_;
  link->member = id;
  link->callbacks = std::move(callbacks);
  link->mute = member(id).mute;
  link->dispatcher = std::make_unique<wire::CallDispatcher>(
      wire::Generated(ProcessorFor(*this, link)), wire::Limits{}, counters_,
      [weak = std::weak_ptr<Link>(link)](std::string_view reply) {
        if (const auto open = weak.lock()) {
          open->ToClient(std::string(reply));
        }
      });
  if (!member(id).up) {
    link->Break("connection refused");
  } else {
    links_.push_back(link);
    executor_.Post([link] {
      if (link->open) {
        link->callbacks.on_open();
      }
    });
  }
  return std::make_unique<FakeConnection>(executor_, link);
}

std::shared_ptr<FakeCluster::Link> FakeCluster::Attach(int id, std::function<void()> close) {
  auto link = std::make_shared<Link>();
  link->executor = &executor_;
  link->member = id;
  link->close = std::move(close);
  links_.push_back(link);
  return link;
}

std::shared_ptr<idl::CoordAsyncProcessor> FakeCluster::ProcessorFor(
    FakeCluster& cluster, const std::shared_ptr<Link>& link) {
  return std::make_shared<idl::CoordAsyncProcessor>(std::make_shared<Handler>(cluster, link));
}

void FakeCluster::Detach(Link& link) {
  link.open = false;
  link.close = [] {};
}

void FakeCluster::Stop(int id) {
  member(id).up = false;
  member(id).watches.clear();
  for (const auto& link : links_) {
    if (link->member == id) {
      link->Break("the member died");
    }
  }
}

void FakeCluster::Start(int id) {
  member(id).up = true;
  member(id).mute = false;
  for (const auto& link : links_) {
    link->mute = link->mute && link->member != id;
  }
}

void FakeCluster::Mute(int id) {
  member(id).mute = true;
  for (const auto& link : links_) {
    link->mute = link->mute || link->member == id;
  }
}

void FakeCluster::BreakConnections() {
  for (const auto& link : links_) {
    link->Break("broken by the test");
  }
}

int FakeCluster::CountCalls(const std::string& method) const {
  int count = 0;
  for (const std::string& call : calls) {
    count += call.substr(call.find(' ') + 1) == method ? 1 : 0;
  }
  return count;
}

std::size_t FakeCluster::WatchesAt(int id, std::int64_t session) const {
  const auto& watches = members_.at(static_cast<std::size_t>(id - 1)).watches;
  const auto it = watches.find(session);
  return it == watches.end() ? 0 : it->second.size();
}

int FakeCluster::HomeOf(std::int64_t session) const {
  for (const ParkedPoll& poll : polls_) {
    const auto link = poll.link.lock();
    if (poll.session == session && link != nullptr && link->open) {
      return poll.member;
    }
  }
  return 0;
}

std::int64_t FakeCluster::Changed(std::vector<idl::Change> changes) {
  ++zxid;
  std::int32_t ordinal = 0;
  for (idl::Change& change : changes) {
    change.__set_zxid(zxid);
    change.__set_ordinal(ordinal++);
    const auto node = tree.find(change.path);
    if (node != tree.end()) {
      if (change.type == idl::EventType::CREATED) {
        node->second.stat.czxid = zxid;
      }
      node->second.stat.mzxid = zxid;
      change.__set_stat(node->second.stat);
      if (node->second.data) {
        change.__set_data(*node->second.data);
      }
      change.__set_hasValue(true);
    }
    changes_.push_back(std::move(change));
  }
  executor_.Post([this] { Wake(); });
  return zxid;
}

void FakeCluster::Wake() {
  parked_reads_.remove_if([](const auto& attempt) { return attempt(); });
  for (auto it = polls_.begin(); it != polls_.end();) {
    const auto link = it->link.lock();
    if (link == nullptr || !link->open) {
      executor_.Cancel(it->timer);
      unanswered_.emplace_back(it->answer);
      it = polls_.erase(it);
    } else if (HasEvents(it->session, it->member) || !sessions.contains(it->session)) {
      executor_.Cancel(it->timer);
      const auto answer = std::move(it->answer);
      it = polls_.erase(it);
      answer();
    } else {
      ++it;
    }
  }
}

std::size_t FakeCluster::PositionBehind(const idl::Cursor& cursor) const {
  std::size_t position = 0;
  while (position < changes_.size() && !Later(changes_[position], cursor)) {
    ++position;
  }
  return position;
}

bool FakeCluster::HasEvents(std::int64_t session, int id) {
  const auto watches = member(id).watches.find(session);
  if (watches == member(id).watches.end()) {
    return false;
  }
  for (std::size_t i = member(id).position[session]; i < changes_.size(); ++i) {
    for (const auto& [watch_id, watch] : watches->second) {
      if (Later(changes_[i], watch.since) && Matches(watch.spec, changes_[i])) {
        return true;
      }
    }
  }
  return false;
}

void FakeCluster::DrainEvents(idl::Head& head, std::int64_t session, int id) {
  auto& watches = member(id).watches[session];
  std::size_t& position = member(id).position[session];
  std::vector<idl::Event> events;
  for (; position < changes_.size(); ++position) {
    std::map<idl::EventType::type, idl::Event> by_type;
    std::vector<std::int64_t> over;
    for (const auto& [watch_id, registered] : watches) {
      const idl::WatchSpec& watch = registered.spec;
      const auto type = Matches(watch, changes_[position]);
      if (type && Later(changes_[position], registered.since)) {
        idl::Event& event = by_type[*type];
        event.watchIds.push_back(watch_id);
        event.change = changes_[position];
        event.change.type = *type;
        if (*type == idl::EventType::CHILDREN_CHANGED) {
          event.change.path = watch.path;
          event.change.__isset.data = event.change.__isset.stat = false;
          event.change.hasValue = false;
        }
        if (OneShot(watch)) {
          over.push_back(watch_id);
        }
      }
    }
    for (const std::int64_t watch_id : over) {
      watches.erase(watch_id);
    }
    for (auto& [type, event] : by_type) {
      event.__isset.watchIds = event.__isset.change = true;
      events.push_back(std::move(event));
    }
  }
  if (!events.empty()) {
    head.__set_events(events);
  }
  head.__set_cursor(End());
  member(id).sent[session] = End();
}

void FakeCluster::AnswerPolls(std::int64_t session, int id) {
  for (auto it = polls_.begin(); it != polls_.end();) {
    const auto link = it->link.lock();
    const bool open = link != nullptr && link->open;
    if (open && it->session == session && it->member == id && HasEvents(session, id)) {
      executor_.Cancel(it->timer);
      const auto answer = std::move(it->answer);
      polls_.erase(it);
      answer();
      it = polls_.begin();
    } else {
      ++it;
    }
  }
}

idl::Cursor FakeCluster::End() const {
  idl::Cursor end;
  end.__set_zxid(zxid);
  end.__set_ordinal(std::numeric_limits<std::int32_t>::max());
  return end;
}

void FakeCluster::FillHead(idl::Head& head, const idl::Ctx& ctx, int id) {
  if (head.zxid == 0) {
    head.__set_zxid(zxid);
  }
  head.__set_clusterId(cluster_id);
  head.__set_memberId(id);
  // A member that knows nothing of the session's watches says nothing of where their events end;
  // one where they have all gone off or were removed does.
  if (ctx.session == 0 || head.__isset.cursor || !member(id).watches.contains(ctx.session)) {
    // Nothing.
  } else if (!ctx.noEvents) {
    DrainEvents(head, ctx.session, id);
  } else {
    // A parked poll is answered first; without one the head says that there are events.
    AnswerPolls(ctx.session, id);
    head.__set_cursor(HasEvents(ctx.session, id) ? End() : member(id).sent[ctx.session]);
  }
  if (confirmed_age_ms && ctx.session != 0) {
    head.__set_confirmedAgeMs(*confirmed_age_ms);
  }
}

std::optional<idl::CoordError> FakeCluster::CheckSession(const idl::Ctx& ctx) const {
  const auto session = sessions.find(ctx.session);
  if (session == sessions.end() || session->second.secret != ctx.secret) {
    return MakeError(idl::ErrorCode::SESSION_EXPIRED);
  }
  return std::nullopt;
}

FakeCluster::Outcome FakeCluster::ApplyCreate(const idl::CreateRequest& request,
                                              std::int64_t session,
                                              std::vector<idl::Change>& changes, std::string& path,
                                              idl::Stat& stat) {
  if (request.path.empty() || request.path[0] != '/') {
    return MakeError(idl::ErrorCode::INVALID_ARGUMENT, request.path);
  }
  const auto parent = tree.find(ParentOf(request.path));
  if (parent == tree.end()) {
    return MakeError(idl::ErrorCode::NO_NODE, request.path);
  }
  path = request.path;
  if (request.mode == idl::CreateMode::PERSISTENT_SEQUENTIAL ||
      request.mode == idl::CreateMode::EPHEMERAL_SEQUENTIAL) {
    char digits[16];
    std::snprintf(digits, sizeof digits, "%010d",
                  static_cast<std::int32_t>(parent->second.children_created));
    path += digits;
  }
  if (tree.contains(path)) {
    return MakeError(idl::ErrorCode::NODE_EXISTS, path);
  }
  ++parent->second.children_created;
  ++parent->second.stat.numChildren;
  Znode node;
  if (request.__isset.data) {
    node.data = request.data;
  }
  const bool ephemeral = request.mode == idl::CreateMode::EPHEMERAL ||
                         request.mode == idl::CreateMode::EPHEMERAL_SEQUENTIAL;
  node.stat.__set_ephemeralOwner(ephemeral ? session : 0);
  node.stat.__set_czxid(zxid + 1);
  node.stat.__set_mzxid(zxid + 1);
  stat = node.stat;
  tree[path] = std::move(node);
  changes.push_back(MakeChange(idl::EventType::CREATED, path));
  return std::nullopt;
}

FakeCluster::Outcome FakeCluster::ApplySet(const idl::SetDataRequest& request,
                                           std::vector<idl::Change>& changes, idl::Stat& stat) {
  const auto node = tree.find(request.path);
  if (node == tree.end()) {
    return MakeError(idl::ErrorCode::NO_NODE, request.path);
  }
  if (request.expectedVersion != -1 && request.expectedVersion != node->second.stat.version) {
    return MakeError(idl::ErrorCode::BAD_VERSION, request.path);
  }
  node->second.data = request.__isset.data ? std::optional(request.data) : std::nullopt;
  ++node->second.stat.version;
  node->second.stat.mzxid = zxid + 1;
  stat = node->second.stat;
  changes.push_back(MakeChange(idl::EventType::DATA_CHANGED, request.path));
  return std::nullopt;
}

FakeCluster::Outcome FakeCluster::ApplyRemove(const std::string& path, std::int32_t version,
                                              std::vector<idl::Change>& changes) {
  const auto node = tree.find(path);
  if (node == tree.end()) {
    return MakeError(idl::ErrorCode::NO_NODE, path);
  }
  if (version != -1 && version != node->second.stat.version) {
    return MakeError(idl::ErrorCode::BAD_VERSION, path);
  }
  if (node->second.stat.numChildren > 0) {
    return MakeError(idl::ErrorCode::NOT_EMPTY, path);
  }
  tree.erase(node);
  --tree[ParentOf(path)].stat.numChildren;
  changes.push_back(MakeChange(idl::EventType::DELETED, path));
  return std::nullopt;
}

void FakeCluster::ApplyMulti(const idl::MultiRequest& request, std::int64_t session,
                             idl::MultiResult& result) {
  const auto before = tree;
  std::vector<idl::Change> changes;
  std::vector<idl::OpResult> results;
  bool failed = false;
  for (const idl::Op& op : request.ops) {
    idl::OpResult op_result;
    Outcome outcome;
    std::string path;
    idl::Stat stat;
    if (failed) {
      outcome = MakeError(idl::ErrorCode::RUNTIME_INCONSISTENCY);
    } else if (op.__isset.create) {
      outcome = ApplyCreate(op.create, session, changes, path, stat);
      op_result.__set_path(path);
    } else if (op.__isset.setData) {
      outcome = ApplySet(op.setData, changes, stat);
    } else if (op.__isset.remove) {
      outcome = ApplyRemove(op.remove.path, op.remove.expectedVersion, changes);
    } else {
      const auto node = tree.find(op.check.path);
      if (node == tree.end()) {
        outcome = MakeError(idl::ErrorCode::NO_NODE, op.check.path);
      } else if (op.check.expectedVersion != -1 &&
                 op.check.expectedVersion != node->second.stat.version) {
        outcome = MakeError(idl::ErrorCode::BAD_VERSION, op.check.path);
      }
    }
    op_result.__set_stat(stat);
    op_result.__set_code(outcome ? outcome->code : idl::ErrorCode::OK);
    failed = failed || outcome.has_value();
    results.push_back(op_result);
  }
  if (failed) {
    tree = before;
  } else {
    Changed(std::move(changes));
  }
  result.__set_committed(!failed);
  result.__set_results(results);
}

void FakeCluster::CloseSession(std::int64_t session) {
  std::vector<idl::Change> changes;
  std::vector<std::string> gone;
  for (const auto& [path, node] : tree) {
    if (node.stat.ephemeralOwner == session) {
      gone.push_back(path);
    }
  }
  for (const std::string& path : gone) {
    (void)ApplyRemove(path, -1, changes);
  }
  sessions.erase(session);
  Changed(std::move(changes));
}

void FakeCluster::ForgetWatches(std::int64_t session) {
  for (Member& one : members_) {
    one.watches.erase(session);
  }
}

void FakeCluster::ExpireSession(std::int64_t session) {
  applied.push_back("expire " + std::to_string(session));
  CloseSession(session);
}

std::int64_t FakeCluster::ForeignSet(const std::string& path, const std::string& data) {
  idl::SetDataRequest request;
  request.__set_path(path);
  request.__set_data(data);
  std::vector<idl::Change> changes;
  idl::Stat stat;
  (void)ApplySet(request, changes, stat);
  return Changed(std::move(changes));
}

std::int64_t FakeCluster::ForeignCreate(const std::string& path, const std::string& data) {
  idl::CreateRequest request;
  request.__set_path(path);
  request.__set_data(data);
  std::vector<idl::Change> changes;
  std::string made;
  idl::Stat stat;
  (void)ApplyCreate(request, 0, changes, made, stat);
  return Changed(std::move(changes));
}

void FakeCluster::ForeignRemove(const std::string& path) {
  std::vector<idl::Change> changes;
  (void)ApplyRemove(path, -1, changes);
  Changed(std::move(changes));
}

}  // namespace conclave::client_test
