#include "tests/sim/library_actor.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace conclave::sim {

using conclave::SessionState;
using std::chrono::milliseconds;

namespace {

std::int64_t DrawDrift(World* world, std::uint64_t number) {
  const std::int64_t ppm = world->knobs().drift_ppm;
  SimRandom random(world->knobs().seed * 211 + number);
  return ppm == 0
             ? 0
             : static_cast<std::int64_t>(random.Uniform(0, 2 * static_cast<std::uint64_t>(ppm))) -
                   ppm;
}

}  // namespace

LibraryActor::LibraryActor(World* world, History* history, std::uint64_t number)
    : world_(world),
      history_(history),
      number_(number),
      random_(world->knobs().seed * 131 + number),
      drift_ppm_(DrawDrift(world, number)),
      executor_(&world->loop(), drift_ppm_),
      callbacks_(&world->loop(), drift_ppm_),
      transport_(world, &executor_, world->knobs().seed * 151 + number,
                 fmt::format("process-{}:1", number)) {
  lock_path_ = fmt::format("/l{}", random_.Uniform(0, 1));
}

LibraryActor::~LibraryActor() = default;

// --- the client ---------------------------------------------------------------------------------

void LibraryActor::Start() {
  Begin({});
  TickLater();
}

void LibraryActor::BeginLater(std::int64_t delay_ms, std::optional<conclave::SavedSession> resume) {
  world_->loop().At(world_->loop().now_ns() + delay_ms * kMs, [this, resume = std::move(resume)] {
    if (client_ == nullptr && !quit_) {
      Begin(resume);
    }
  });
}

void LibraryActor::Begin(std::optional<conclave::SavedSession> resume) {
  const Knobs& knobs = world_->knobs();
  const auto in = [this](std::uint64_t low, std::uint64_t high) {
    return static_cast<std::int64_t>(random_.Uniform(low, high));
  };
  conclave::Options options;
  for (raft::MemberId id = 1; id <= world_->size(); ++id) {
    options.endpoints += fmt::format("{}client-{}:1", id == 1 ? "" : ",", id);
  }
  call_timeout_ms_ = in(100, 3'000);
  options.session_timeout = milliseconds(knobs.session_timeout_ms);
  options.call_timeout = milliseconds(call_timeout_ms_);
  options.connect_timeout = milliseconds(in(20, 1'000));
  options.backoff_min = milliseconds(in(1, 20));
  options.backoff_max = milliseconds(in(20, 500));
  constexpr std::size_t kWrites[] = {1, 2, 64, 512};
  options.writes_in_flight_max = kWrites[random_.Uniform(0, 3)];
  constexpr std::size_t kCalls[] = {3, 64, 4'096, 4'096};
  options.outstanding_calls_max = kCalls[random_.Uniform(0, 3)];
  constexpr std::size_t kEvents[] = {1, 4, 10'000};
  options.events_queued_max = kEvents[random_.Uniform(0, 2)];
  constexpr std::size_t kDepths[] = {1, 2, 8};
  depth_ = kDepths[random_.Uniform(0, 2)];
  options.resume = std::move(resume);
  ++generation_;
  options.on_session = [this, generation = generation_](const conclave::SessionChange& change) {
    OnSession(generation, change);
  };
  options.log = [this](const std::string& line) {
    world_->journal().Note("process {}: {}", number_, line);
  };
  conclave::Seams seams;
  seams.loop = &executor_;
  seams.callbacks = &callbacks_;
  seams.transport = &transport_;
  seams.random = [this] { return random_.Next(); };
  const bool resumed = options.resume.has_value();
  auto started = conclave::Client::Start(std::move(options), seams);
  if (!started.ok()) {
    world_->journal().Fail("process {}: {}", number_, started.error().ToString());
    return;
  }
  client_ = std::move(*started);
  world_->journal().Note("process {} {}", number_, resumed ? "takes a session up" : "begins");
  history_->lives.emplace_back();
  life_ = &history_->lives.back();
  began_known_zxid_ = resumed ? 0 : history_->known_zxid;
  outstanding_ = 0;
  contending_ = false;
  closing_ = false;
  over_ = false;
  settled_ = false;
}

// Destroys the client: what is under way is called back as unknown or not done.
void LibraryActor::End() {
  for (const std::int64_t id : std::exchange(watching_, {})) {
    life_->watches.at(id).over = true;
  }
  grant_.reset();
  lock_.reset();
  client_.reset();
  ++generation_;
}

void LibraryActor::OnSession(std::uint64_t generation, const conclave::SessionChange& change) {
  if (generation != generation_) {
    return;
  }
  world_->journal().Note("process {}: {}: {}", number_, conclave::SessionStateName(change.state),
                         change.reason);
  world_->journal().Count("library: " + std::string(conclave::SessionStateName(change.state)));
  if (over_) {
    world_->journal().Fail("C6: process {} hears of its session after its end", number_);
  }
  NoteSession();
  if (change.state == SessionState::kExpired) {
    if (SessionRecord* session = record(); session != nullptr) {
      session->told_over_zxid = std::numeric_limits<std::int64_t>::max();
    }
    world_->journal().Count("clients told of the end of their session");
  }
  if (change.state == SessionState::kExpired || change.state == SessionState::kClosed) {
    over_ = true;
    if (SessionRecord* session = record(); session != nullptr && session->told_over_zxid == 0) {
      session->abandoned_ns = world_->loop().now_ns();  // not closed in time: it expires
    }
    const auto delay_ms = static_cast<std::int64_t>(random_.Uniform(1, 500));
    world_->loop().At(world_->loop().now_ns(), [this, generation, delay_ms] {
      if (generation == generation_) {
        End();
        BeginLater(delay_ms);
      }
    });
  }
}

void LibraryActor::NoteSession() {
  const std::int64_t id = client_ == nullptr ? 0 : client_->session_id();
  if (id == 0) {
    return;
  }
  life_->session = id;
  SessionRecord& session = history_->sessions[id];
  if (session.id == 0) {
    session.id = id;
    session.opened_known_zxid = began_known_zxid_;
    history_->known_zxid = std::max(history_->known_zxid, id);
    world_->journal().Note("process {} has session {}", number_, id);
  }
  session.timeout_ms = client_->session_timeout().count();
  // What the library promises, on the clock that it is promised by.
  const auto left = client_->valid_until() - executor_.Now();
  if (left.count() > 0 && client_->valid_until() > conclave::BootTime{}) {
    session.promised_until_ns =
        std::max(session.promised_until_ns, world_->loop().now_ns() + executor_.TrueNs(left) - kMs);
  }
}

SessionRecord* LibraryActor::record() {
  const auto at =
      life_ == nullptr ? history_->sessions.end() : history_->sessions.find(life_->session);
  return at == history_->sessions.end() ? nullptr : &at->second;
}

// As a process that is killed; some time later there is another one.
void LibraryActor::GiveUp() {
  world_->journal().Note("process {} dies", number_);
  world_->journal().Count("processes that died");
  NoteSession();
  if (SessionRecord* session = record(); session != nullptr) {
    session->abandoned_ns = world_->loop().now_ns();
  }
  client_->Detach();
  End();
  BeginLater(static_cast<std::int64_t>(random_.Uniform(10, 3'000)));
}

// The session goes on in another process, whatever is still on its way.
void LibraryActor::HandOver() {
  auto saved = client_->Save();
  if (!saved.ok()) {
    return;
  }
  world_->journal().Count("sessions handed over");
  world_->journal().Note("process {} hands session {} over", number_, saved->id);
  client_->Detach();
  End();
  BeginLater(static_cast<std::int64_t>(random_.Uniform(1, 100)), std::move(*saved));
}

std::int64_t LibraryActor::session() const {
  return client_ == nullptr || over_ ? 0 : client_->session_id();
}

bool LibraryActor::progressed() const { return answered_ >= 5 && granted_ >= 1; }

void LibraryActor::UseOnly(std::vector<raft::MemberId> members) {
  calm_ = true;
  transport_.UseOnly(members);
  transport_.Calm();
  executor_.Resume();
  callbacks_.Resume();
}

void LibraryActor::Stop() { stopping_ = true; }

bool LibraryActor::idle() const { return stopping_ && settled_; }

std::string LibraryActor::UnderWay() const {
  return fmt::format("{} calls{}{}{}{}", outstanding_, contending_ ? ", a lock" : "",
                     grant_ ? ", a grant" : "", client_ == nullptr ? ", no client" : "",
                     over_ ? ", a session that is over" : "");
}

void LibraryActor::Quit() {
  quit_ = true;
  executor_.Resume();
  callbacks_.Resume();
  if (client_ != nullptr) {
    End();
  }
}

// --- events -------------------------------------------------------------------------------------

void LibraryActor::OnEvent(std::uint64_t generation, std::int64_t watch,
                           const conclave::Event& event) {
  if (generation != generation_) {
    return;  // on the application's own executor the last callbacks come after the client's end
  }
  NoteSession();
  LibraryWatch& record = life_->watches.at(watch);
  LibraryEvent told;
  told.resync = event.type == conclave::EventType::kResync;
  told.event = {.type = tree::EventType::kCreated,
                .path = event.path,
                .cursor = {event.cursor.zxid, event.cursor.ordinal}};
  if (!told.resync) {
    constexpr tree::EventType kTypes[] = {tree::EventType::kCreated, tree::EventType::kDeleted,
                                          tree::EventType::kDataChanged,
                                          tree::EventType::kChildrenChanged};
    told.event.type = kTypes[static_cast<std::size_t>(event.type)];
    if (event.cursor.zxid <= life_->told_zxid) {
      world_->journal().Fail("C8: process {} gets an event of zxid {} after a reply that shows {}",
                             number_, event.cursor.zxid, life_->told_zxid);
    }
  }
  if (record.over) {
    world_->journal().Fail("C8: process {} gets an event for a watch that is over", number_);
  }
  world_->journal().Count(told.resync ? "library: resyncs" : "library: events");
  const bool one_shot = record.mode != tree::WatchMode::kPersistent &&
                        record.mode != tree::WatchMode::kPersistentRecursive;
  record.events.push_back(std::move(told));
  if (one_shot) {
    record.over = true;
    watching_.erase(watch);
    record.told_zxid = std::max(record.told_zxid, life_->told_zxid);
    world_->journal().Count("one-shot watches gone off");
  }
}

void LibraryActor::Told(std::int64_t zxid) {
  life_->told_zxid = std::max(life_->told_zxid, zxid);
  history_->known_zxid = std::max(history_->known_zxid, zxid);
  for (const std::int64_t id : watching_) {
    life_->watches.at(id).told_zxid = life_->told_zxid;
  }
}

}  // namespace conclave::sim
