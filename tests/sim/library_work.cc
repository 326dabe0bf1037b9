// What programs with the client library do.
#include <algorithm>
#include <limits>
#include <utility>

#include "tests/sim/library_actor.h"
#include "tests/sim/library_words.h"

namespace conclave::sim {

using std::chrono::milliseconds;
using tree_model::ModelOp;

namespace {

constexpr std::size_t kRecentMax = 30;
constexpr std::int64_t kIdleNs = 10 * kMs;  // until it looks again whether there is anything to do
constexpr std::size_t kWatchesMax = 4;

void FillRead(const conclave::Node& node, ReadRecord* read) {
  read->data = node.data;
  read->stat = ToTree(node.stat);
  read->zxid = node.zxid;
}

void FillRead(const conclave::Existence& existence, ReadRecord* read) {
  read->exists = existence.stat.has_value();
  if (existence.stat) {
    read->stat = ToTree(*existence.stat);
  }
  read->zxid = existence.zxid;
}

void FillRead(const conclave::ChildList& children, ReadRecord* read) {
  read->names = children.names;
  read->stat = ToTree(children.stat);
  read->zxid = children.zxid;
}

}  // namespace

void LibraryActor::TickLater() {
  const std::int64_t pause_ns =
      (stuck() ? kIdleNs : 0) + static_cast<std::int64_t>(random_.Uniform(
                                    0, static_cast<std::uint64_t>(world_->knobs().think_ms * kMs)));
  world_->loop().At(world_->loop().now_ns() + pause_ns, [this] {
    if (!quit_) {
      executor_.Post([this] { Tick(); });
    }
  });
}

void LibraryActor::Tick() {
  if (quit_) {
    return;
  }
  TickLater();
  if (client_ == nullptr || over_) {
    return;
  }
  NoteSession();
  if (stopping_) {
    Settle();
    return;
  }
  Misbehave();
  if (client_ == nullptr) {
    return;
  }
  if (calm_ && grant_ && Percent(30)) {
    LetGo();  // others wait for it, and have to be seen to get it
  }
  while (outstanding_ < depth_ && !closing_) {
    Step();
    if (Percent(50)) {
      break;
    }
  }
}

// What ends with the faults: nothing is begun, what is held is let go, and a last sync tells of
// everything there is.
void LibraryActor::Settle() {
  LetGo();
  lock_.reset();
  if (outstanding_ > 0 || settled_ || contending_) {
    return;
  }
  const Issued issued = Issue(5'000);
  client_->SyncAsync({milliseconds(5'000)}, [this, generation = generation_,
                                             issued](conclave::Result<std::int64_t> sync) {
    if (!Answered(generation, issued, "sync")) {
      return;
    }
    if (sync.ok()) {
      Told(*sync);
      settled_ = true;
    } else {
      world_->journal().Note("process {}: sync: {}", number_, sync.error().ToString());
    }
  });
}

void LibraryActor::Misbehave() {
  const Knobs& knobs = world_->knobs();
  SimLoop& loop = world_->loop();
  if (calm_ || loop.now_ns() < misbehaves_ns_) {
    return;
  }
  misbehaves_ns_ = loop.now_ns() + static_cast<std::int64_t>(random_.Uniform(100, 4'000)) * kMs;
  const auto session_ms = static_cast<std::uint64_t>(knobs.session_timeout_ms);
  const std::uint64_t dice = random_.Uniform(0, 4);
  if (dice == 0 && knobs.give_up) {
    GiveUp();
  } else if (dice == 1 && !contending_ && !grant_) {
    HandOver();
  } else if (dice == 2 && knobs.client_pauses) {
    const auto ms = static_cast<std::int64_t>(random_.Uniform(1, 3 * session_ms));
    world_->journal().Note("process {} stands still for {} ms", number_, ms);
    world_->journal().Count("processes that stood still");
    executor_.PauseUntil(loop.now_ns() + ms * kMs);
    callbacks_.PauseUntil(loop.now_ns() + ms * kMs);
  } else if (dice == 3 && knobs.slow_consumers) {
    const auto ms = static_cast<std::int64_t>(random_.Uniform(1, session_ms));
    world_->journal().Count("slow callbacks");
    callbacks_.PauseUntil(loop.now_ns() + ms * kMs);
  } else if (dice == 4 && knobs.client_cuts) {
    const raft::MemberId member = random_.Uniform(1, world_->size());
    const auto ms = static_cast<std::int64_t>(random_.Uniform(1, 2 * session_ms));
    world_->journal().Note("process {} and member {}: silence for {} ms", number_, member, ms);
    world_->journal().Count("clients cut off from a member");
    transport_.Silence(member, loop.now_ns() + ms * kMs);
  }
}

void LibraryActor::Step() {
  const std::uint64_t dice = random_.Uniform(0, 999);
  if (calm_ && granted_ == 0 && !contending_) {
    Contend();
  } else if (dice < 3) {
    Close();
  } else if (dice < 40) {
    ToggleWatch();
  } else if (dice < 120) {
    Contend();
  } else if (dice < 220 && grant_) {
    UseGrant();
  } else if (dice < 650) {
    Write();
  } else {
    Read();
  }
}

// --- calls --------------------------------------------------------------------------------------

std::int64_t LibraryActor::DrawTimeoutMs() {
  return Percent(70) ? 0 : static_cast<std::int64_t>(random_.Uniform(20, 3'000));
}

LibraryActor::Issued LibraryActor::Issue(std::int64_t timeout_ms) {
  ++outstanding_;
  const std::int64_t own_ms = timeout_ms == 0 ? call_timeout_ms_ : timeout_ms;
  return {.at_ns = world_->loop().now_ns(),
          .deadline_ns = executor_.TrueNs(milliseconds(own_ms)),
          .paused_ns = executor_.paused_ns() + callbacks_.paused_ns()};
}

bool LibraryActor::Answered(std::uint64_t generation, const Issued& issued, const char* what) {
  if (generation != generation_) {
    return false;
  }
  --outstanding_;
  NoteSession();
  const std::int64_t took_ns = world_->loop().now_ns() - issued.at_ns;
  const std::int64_t paused_ns = executor_.paused_ns() + callbacks_.paused_ns() - issued.paused_ns;
  if (took_ns > issued.deadline_ns + paused_ns + 2 * kMs) {
    world_->journal().Fail("L2: process {}: a {} of {} ms took {} ms, {} of them standing still",
                           number_, what, issued.deadline_ns / kMs, took_ns / kMs, paused_ns / kMs);
  }
  return true;
}

std::string LibraryActor::DrawKey() {
  return fmt::format("/s/k{}", random_.Uniform(0, world_->knobs().keys - 1));
}

ModelOp LibraryActor::DrawOp() {
  const std::uint64_t dice = random_.Uniform(0, 99);
  ModelOp op;
  op.data = fmt::format("p{}.{}", number_, ++data_);
  if (Percent(5)) {
    op.data.reset();
  }
  op.path = DrawKey();
  if (dice < 4) {
    op.path = "/s";
  } else if (dice < 34) {
    op.kind = ModelOp::Kind::kSet;
    op.version = Percent(30) ? static_cast<int>(random_.Uniform(0, 3)) : -1;
  } else if (dice < 55) {
    op.ephemeral = Percent(50);
    op.sequential = Percent(50);
  } else if (dice < 70) {
    op.path += "/n-";
    op.sequential = true;
    op.ephemeral = Percent(50);
  } else {
    const bool recent = dice >= 78 && !recent_.empty();
    if (recent) {
      op.path = recent_[random_.Uniform(0, recent_.size() - 1)];
    }
    op.kind = recent && dice >= 95 ? ModelOp::Kind::kSet : ModelOp::Kind::kDelete;
    if (op.kind == ModelOp::Kind::kDelete) {
      op.data.reset();
    }
  }
  return op;
}

void LibraryActor::WriteEnded(std::size_t index, tree::Reply reply, std::int32_t op_index) {
  const tree::Action action = tree::ActionOf(reply.code);
  if (action == tree::Action::kBroken) {
    world_->journal().Fail("process {}: a write is answered: {}", number_, reply.message);
  }
  LibraryWrite& write = life_->writes[index];
  write.ended = true;
  write.op_index = op_index;
  if (reply.zxid > 0 && (action == tree::Action::kNone || action == tree::Action::kAnswer)) {
    Told(reply.zxid);
  }
  ++answered_;
  world_->journal().hash().Add(static_cast<std::uint64_t>(reply.zxid));
  world_->journal().Count(action == tree::Action::kNone || action == tree::Action::kAnswer
                              ? "library: writes answered"
                              : (action == tree::Action::kOutcomeUnknown
                                     ? "library: writes of unknown outcome"
                                     : "library: writes not done"));
  if (action == tree::Action::kNone && write.ops[0].kind == ModelOp::Kind::kCreate &&
      !reply.path.empty()) {
    recent_.push_back(reply.path);
    if (recent_.size() > kRecentMax) {
      recent_.pop_front();
    }
  }
  write.reply = std::move(reply);
}

void LibraryActor::Write() {
  LibraryWrite write;
  write.known_zxid = history_->known_zxid;
  const bool multi = Percent(12);
  const std::uint64_t count = multi ? random_.Uniform(1, 4) : 1;
  for (std::uint64_t i = 0; i < count; ++i) {
    write.ops.push_back(DrawOp());
    if (multi && Percent(25)) {
      write.ops.back().kind = ModelOp::Kind::kCheck;
      write.ops.back().data.reset();
      write.ops.back().ephemeral = write.ops.back().sequential = false;
    }
  }
  write.is_multi = multi;
  const std::size_t index = life_->writes.size();
  const ModelOp op = write.ops[0];
  std::vector<conclave::Op> ops;
  for (const ModelOp& one : write.ops) {
    ops.push_back(ToLibrary(one));
  }
  life_->writes.push_back(std::move(write));
  life_->order.emplace_back(static_cast<std::int64_t>(index), 0);
  const std::int64_t timeout_ms = DrawTimeoutMs();
  const conclave::CallOptions options{milliseconds(timeout_ms)};
  const auto ended = [this, generation = generation_, issued = Issue(timeout_ms),
                      index](const auto& result) {
    if (Answered(generation, issued, "write")) {
      WriteEnded(index, result.ok() ? ReplyOf(*result) : ReplyOf(result.error()),
                 result.ok() ? -1 : result.error().op_index);
    }
  };
  if (multi) {
    client_->MultiAsync(std::move(ops), options, ended);
  } else if (op.kind == ModelOp::Kind::kCreate) {
    client_->CreateAsync(op.path, op.data, ModeOf(op), options, ended);
  } else if (op.kind == ModelOp::Kind::kSet) {
    client_->SetAsync(op.path, op.data, op.version, options, ended);
  } else {
    client_->RemoveAsync(op.path, op.version, options, ended);
  }
}

template <typename T>
void LibraryActor::ReadEnded(ReadRecord read, const conclave::Result<T>& result) {
  ++answered_;
  if (result.ok()) {
    FillRead(*result, &read);
  } else {
    const conclave::Error& error = result.error();
    if (error.action() == conclave::Action::kBroken) {
      world_->journal().Fail("process {}: a read is answered: {}", number_, error.ToString());
    }
    read.code = ToTree(error.code);
    read.zxid = error.zxid;
    if (error.code != conclave::Code::kNoNode || error.zxid == 0) {
      return;  // the state was not looked at
    }
  }
  read.session = life_->session;
  const bool strict = read.request.mode == server::ReadMode::kLinearizable;
  world_->journal().Count(strict ? "library: linearizable reads" : "library: other reads");
  if (read.zxid < read.known_zxid) {
    world_->journal().Fail(
        "C1: process {}: a read shows zxid {}, and {} was known when it was asked", number_,
        read.zxid, read.known_zxid);
  }
  Told(read.zxid);
  history_->reads.push_back(std::move(read));
}

void LibraryActor::Read() {
  ReadRecord read;
  std::string path = Percent(20) && !recent_.empty() ? recent_.back() : DrawKey();
  const std::uint64_t mode = random_.Uniform(0, 9);
  read.request.mode = mode < 5   ? server::ReadMode::kLinearizable
                      : mode < 9 ? server::ReadMode::kSession
                                 : server::ReadMode::kStale;
  read.known_zxid = mode < 5 ? history_->known_zxid : (mode < 9 ? life_->told_zxid : 0);
  const auto as = mode < 5   ? conclave::ReadMode::kLinearizable
                  : mode < 9 ? conclave::ReadMode::kSession
                             : conclave::ReadMode::kStale;
  const std::int64_t timeout_ms = DrawTimeoutMs();
  const Issued issued = Issue(timeout_ms);
  const std::size_t order = life_->order.size();
  life_->order.emplace_back(-1, 0);
  const std::uint64_t dice = random_.Uniform(0, 99);
  if (dice < 50) {
    read.request.op = server::GetRequest{path};
  } else if (dice < 75) {
    read.request.op = server::ExistsRequest{path};
  } else {
    path = Percent(50) ? "/s" : path;
    read.request.op = server::ChildrenRequest{.path = path, .after = {}};
  }
  const auto ended = [this, generation = generation_, issued, read, order](const auto& result) {
    if (!Answered(generation, issued, "read")) {
      return;
    }
    ReadEnded(read, result);
    if (result.ok() && read.request.mode != server::ReadMode::kStale) {
      life_->order[order].second = result->zxid;
    }
  };
  if (dice < 50) {
    client_->GetAsync(path, {milliseconds(timeout_ms), as}, ended);
  } else if (dice < 75) {
    client_->ExistsAsync(path, {milliseconds(timeout_ms), as}, ended);
  } else {
    conclave::ChildrenOptions options;
    options.timeout = milliseconds(timeout_ms);
    options.mode = as;
    client_->ChildrenAsync(path, options, ended);
  }
}

void LibraryActor::Close() {
  closing_ = true;
  grant_.reset();  // whoever closes its session gives up what it holds
  const Issued issued = Issue(0);
  client_->CloseAsync({}, [this, generation = generation_, issued](const conclave::Status& closed) {
    if (Answered(generation, issued, "close")) {
      world_->journal().Count(closed.ok() ? "sessions closed" : "library: closes not answered");
      closing_ = false;  // or over by now
      if (SessionRecord* session = record(); closed.ok() && session != nullptr) {
        session->told_over_zxid = std::numeric_limits<std::int64_t>::max();
      }
    }
  });
}

// --- watches ------------------------------------------------------------------------------------

void LibraryActor::ToggleWatch() {
  std::vector<std::int64_t> live;
  for (const std::int64_t id : watching_) {
    if (life_->watches.at(id).since >= 0) {
      live.push_back(id);
    }
  }
  if (live.size() >= kWatchesMax || (!live.empty() && Percent(20))) {
    const std::int64_t id = live[random_.Uniform(0, live.size() - 1)];
    client_->Unwatch(id);
    life_->watches.at(id).over = true;
    watching_.erase(id);
    return;
  }
  constexpr conclave::WatchMode kModes[] = {
      conclave::WatchMode::kDataOnce, conclave::WatchMode::kExistsOnce,
      conclave::WatchMode::kChildrenOnce, conclave::WatchMode::kPersistent,
      conclave::WatchMode::kPersistentRecursive};
  constexpr tree::WatchMode kTreeModes[] = {tree::WatchMode::kData, tree::WatchMode::kExist,
                                            tree::WatchMode::kChild, tree::WatchMode::kPersistent,
                                            tree::WatchMode::kPersistentRecursive};
  const std::uint64_t mode = random_.Uniform(0, 4);
  const std::string path = Percent(30) ? "/s" : DrawKey();
  const Issued issued = Issue(0);
  auto id = std::make_shared<std::int64_t>(0);
  *id = client_->WatchAsync(
      path, kModes[mode],
      [this, generation = generation_, id](const conclave::Event& event) {
        OnEvent(generation, *id, event);
      },
      {},
      [this, generation = generation_, issued, id](conclave::Result<std::int64_t> since) {
        if (!Answered(generation, issued, "watch")) {
          return;
        }
        LibraryWatch& watch = life_->watches.at(*id);
        if (since.ok()) {
          watch.since = *since;
          world_->journal().Count("library: watches");
        } else {
          watch.over = true;
          watching_.erase(*id);
        }
      });
  watching_.insert(*id);
  life_->watches[*id] = {.path = path, .mode = kTreeModes[mode], .events = {}};
}

}  // namespace conclave::sim
