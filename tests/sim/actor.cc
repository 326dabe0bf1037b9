#include "tests/sim/actor.h"

#include <algorithm>
#include <utility>

namespace conclave::sim {

using server::Answer;
using server::ReplyHead;
using tree::Action;
using tree::Code;

namespace {

constexpr std::size_t kWatches = 2;

}  // namespace

Actor::Actor(World* world, History* history, std::uint64_t number)
    : world_(world),
      history_(history),
      number_(number),
      random_(world->knobs().seed * 101 + number) {
  for (raft::MemberId id = 1; id <= world->size(); ++id) {
    members_.push_back(id);
  }
}

// --- the connection -----------------------------------------------------------------------------

std::int64_t Actor::LatencyNs() {
  if (!calm_ && random_.Uniform(0, 999) == 0) {
    return static_cast<std::int64_t>(random_.Uniform(1, 400)) * kMs;
  }
  return static_cast<std::int64_t>(random_.Uniform(50'000, 800'000));
}

bool Actor::LosesReply() {
  const std::uint32_t chance = world_->knobs().lost_reply_millionths;
  return !stopping_ && chance > 0 && random_.Uniform(0, 999'999) < chance;
}

template <typename T>
void Actor::Call(Make<T> make, Take<T> seen, Take<T> then, std::int64_t patience_ms) {
  const std::uint64_t generation = generation_;
  const raft::MemberId member = member_;
  SimLoop& loop = world_->loop();
  auto arrived = std::make_shared<bool>(false);
  const auto deliver = [this, generation, arrived, seen = std::move(seen), then = std::move(then)](
                           ReplyHead head, Answer<T> answer) {
    if (*arrived) {
      world_->journal().Fail("client {}: a call was answered twice", number_);
    }
    *arrived = true;
    if (seen) {
      seen(head, answer);
    }
    if (generation != generation_ || generation == cut_generation_) {
      return;
    }
    in_ns_ = std::max(in_ns_ + 1, world_->loop().now_ns() + LatencyNs());
    if (LosesReply()) {
      cut_generation_ = generation;
      world_->journal().Count("lost answers");
      world_->loop().At(in_ns_, [this, generation] {
        if (generation == generation_) {
          Break();
        }
      });
      return;
    }
    world_->loop().At(in_ns_, [this, generation, then, head = std::move(head),
                               answer = std::move(answer)]() mutable {
      if (generation == generation_) {
        then(head, answer);
      }
    });
  };
  out_ns_ = std::max(out_ns_ + 1, loop.now_ns() + LatencyNs());
  loop.At(out_ns_, [this, generation, member, make = std::move(make), deliver] {
    if (!world_->OnCore(member, [make, deliver](server::Server& at) { make(at, deliver); })) {
      world_->loop().At(world_->loop().now_ns() + LatencyNs(), [this, generation] {
        if (generation == generation_) {
          Break();
        }
      });
    }
  });
  loop.At(loop.now_ns() + patience_ms * kMs, [this, generation, arrived] {
    if (generation == generation_ && !*arrived) {
      Break();
    }
  });
}

// What actor_work.cc calls with.
template void Actor::Call(Make<server::Nothing>, Take<server::Nothing>, Take<server::Nothing>,
                          std::int64_t);
template void Actor::Call(Make<server::WriteReply>, Take<server::WriteReply>,
                          Take<server::WriteReply>, std::int64_t);
template void Actor::Call(Make<server::ReadReply>, Take<server::ReadReply>, Take<server::ReadReply>,
                          std::int64_t);

void Actor::Break() {
  ++generation_;
  ReconnectLater();
}

void Actor::ReconnectLater() {
  if (reconnecting_) {
    return;
  }
  reconnecting_ = true;
  const auto delay_ms = static_cast<std::int64_t>(random_.Uniform(1, 60));
  world_->loop().At(world_->loop().now_ns() + delay_ms * kMs, [this] {
    reconnecting_ = false;
    Connect();
  });
}

void Actor::UseOnly(std::vector<raft::MemberId> members) {
  calm_ = true;
  members_ = std::move(members);
  if (std::find(members_.begin(), members_.end(), member_) == members_.end()) {
    Break();
  }
}

void Actor::MemberGone(raft::MemberId member) {
  if (member == member_) {
    const std::uint64_t generation = generation_;
    cut_generation_ = generation;
    world_->loop().At(world_->loop().now_ns() + LatencyNs(), [this, generation] {
      if (generation == generation_) {
        Break();
      }
    });
  }
}

void Actor::Connect() {
  ++generation_;
  member_ = members_[random_.Uniform(0, members_.size() - 1)];
  if (session_ == 0) {
    if (!stopping_ || opening_) {
      Open();
    }
  } else if (!record().watches.empty()) {
    Resume();
  } else {
    AddWatches();
  }
}

// --- sessions and watches -----------------------------------------------------------------------

bool Actor::Handle(const ReplyHead& head, Code code, const std::string& message) {
  switch (tree::ActionOf(code)) {
    case Action::kNone:
    case Action::kAnswer:
      return false;
    case Action::kSessionOver:
      Over(head.zxid);
      return true;
    case Action::kBroken:
      world_->journal().Fail("client {}: member {} answers {}", number_, head.member, message);
      return true;
    default:
      Break();
      return true;
  }
}

void Actor::Open() {
  if (!opening_) {
    opening_ = true;
    for (std::uint8_t& byte : nonce_) {
      byte = static_cast<std::uint8_t>(random_.Next() | 1U);
    }
    opened_known_zxid_ = history_->known_zxid;
  }
  server::OpenSessionRequest request;
  request.timeout_ms = world_->knobs().session_timeout_ms;
  request.nonce = nonce_;
  Call<server::OpenSessionReply>(
      [request](server::Server& at, server::Callback<server::OpenSessionReply> done) {
        at.OpenSession(request, std::move(done));
      },
      {},
      [this](ReplyHead& head, Answer<server::OpenSessionReply>& answer) {
        if (answer) {
          Opened(head, *answer);
        } else if (!Handle(head, answer.error().error.code, answer.error().error.message)) {
          world_->journal().Fail("client {}: cannot open: {}", number_,
                                 answer.error().error.message);
        }
      },
      world_->knobs().patience_ms);
}

void Actor::Opened(const ReplyHead& head, const server::OpenSessionReply& reply) {
  opening_ = false;
  session_ = reply.session;
  secret_ = reply.secret;
  seq_ = 0;
  last_zxid_ = std::max(last_zxid_, reply.session);
  cursor_ = tree::Cursor::EndOf(session_);
  if (history_->sessions.contains(session_)) {
    world_->journal().Fail("session {} was given to two clients", session_);
  }
  SessionRecord& session = record();
  session.id = session_;
  session.timeout_ms = reply.timeout_ms;
  session.opened_known_zxid = opened_known_zxid_;
  session.segments.push_back({.from = cursor_, .to = cursor_, .events = {}});
  history_->known_zxid = std::max({history_->known_zxid, head.zxid, session_});
  world_->journal().Note("client {} has session {} at member {}", number_, session_, member_);
  AddWatches();
}

void Actor::Over(std::int64_t zxid) {
  SessionRecord& session = record();
  world_->journal().Note("client {}: session {} is over", number_, session_);
  world_->journal().Count("clients told of the end of their session");
  session.told_over_zxid = std::max<std::int64_t>(zxid, 1);
  session_ = 0;
  write_.reset();
  Break();
}

// Falls silent; some time later it is somebody else.
void Actor::GiveUp() {
  world_->journal().Note("client {} leaves session {} alone", number_, session_);
  record().abandoned_ns = world_->loop().now_ns();
  session_ = 0;
  write_.reset();
  ++generation_;
  const auto pause_ms = static_cast<std::int64_t>(random_.Uniform(10, 3'000));
  reconnecting_ = true;
  world_->loop().At(world_->loop().now_ns() + pause_ms * kMs, [this] {
    reconnecting_ = false;
    Connect();
  });
}

void Actor::Resume() {
  server::ResumeWatchesRequest request;
  for (const WatchRecord& watch : record().watches) {
    if (!watch.over) {
      request.watches.push_back({.watch = watch.watch, .since = watch.since});
    }
  }
  request.cursor = cursor_;
  request.replace_all = true;
  Call<server::ResumeWatchesReply>(
      [caller = MakeCaller(), request](server::Server& at,
                                       server::Callback<server::ResumeWatchesReply> done) {
        at.ResumeWatches(caller, request, std::move(done));
      },
      {},
      [this](ReplyHead& head, Answer<server::ResumeWatchesReply>& answer) {
        if (answer) {
          world_->journal().Count(head.resync ? "watches resumed too late" : "resumed watches");
          AddWatches();
        } else if (!Handle(head, answer.error().error.code, answer.error().error.message)) {
          Break();
        }
      },
      world_->knobs().patience_ms);
}

void Actor::AddWatches() {
  if (record().watches.size() >= kWatches) {
    Poll();
    Work();
    return;
  }
  server::AddWatchRequest request;
  const bool first = record().watches.empty();
  request.watch.id = first ? 1 : 2;
  request.watch.path = first ? "/s" : DrawKey();
  request.watch.mode = first ? tree::WatchMode::kPersistentRecursive : tree::WatchMode::kPersistent;
  Call<server::AddWatchReply>(
      [caller = MakeCaller(), request](server::Server& at,
                                       server::Callback<server::AddWatchReply> done) {
        at.AddWatch(caller, request, std::move(done));
      },
      {},
      [this, watch = request.watch](ReplyHead& head, Answer<server::AddWatchReply>& answer) {
        if (answer) {
          record().watches.push_back({.watch = watch, .since = answer->since});
          TakeHead(head, false);
          AddWatches();
        } else if (!Handle(head, answer.error().error.code, answer.error().error.message)) {
          Break();
        }
      },
      world_->knobs().patience_ms);
}

// Instead of an operation. One that is not answered is forgotten: what follows is a resume.
void Actor::AddOneShot() {
  constexpr tree::WatchMode kModes[] = {tree::WatchMode::kData, tree::WatchMode::kExist,
                                        tree::WatchMode::kChild};
  server::AddWatchRequest request;
  request.watch.id = next_watch_++;
  request.watch.path = Percent(20) ? "/s" : DrawKey();
  request.watch.mode = kModes[random_.Uniform(0, 2)];
  unanswered_.insert(request.watch.id);
  Call<server::AddWatchReply>(
      [caller = MakeCaller(), request](server::Server& at,
                                       server::Callback<server::AddWatchReply> done) {
        at.AddWatch(caller, request, std::move(done));
      },
      {},
      [this, watch = request.watch](ReplyHead& head, Answer<server::AddWatchReply>& answer) {
        if (answer) {
          unanswered_.erase(watch.id);
          world_->journal().Count("one-shot watches");
          record().watches.push_back({.watch = watch, .since = answer->since});
          TakeHead(head, false);
          WorkLater();
        } else if (!Handle(head, answer.error().error.code, answer.error().error.message)) {
          Break();
        }
      },
      world_->knobs().patience_ms);
}

void Actor::Poll() {
  server::PollRequest request;
  request.cursor = cursor_;
  request.wait_ms = world_->knobs().session_timeout_ms / 6;
  if (Percent(20)) {
    request.events_max = random_.Uniform(1, 3);
  }
  Call<server::PollReply>(
      [caller = MakeCaller(), request](server::Server& at,
                                       server::Callback<server::PollReply> done) {
        at.Poll(caller, request, std::move(done));
      },
      [this](ReplyHead& head, Answer<server::PollReply>& answer) {
        if (answer) {
          NoteAge(head);
        }
      },
      [this](ReplyHead& head, Answer<server::PollReply>& answer) {
        if (!answer) {
          if (!Handle(head, answer.error().error.code, answer.error().error.message)) {
            Break();
          }
          return;
        }
        TakeHead(head, true);
        if (!head.cursor) {
          world_->journal().Count("homes forgotten");
          resume_again_ = true;  // the member says nothing of the session's watches: it has none
        }
        if (std::exchange(resume_again_, false)) {
          Break();
          return;
        }
        std::int64_t pause_ms = 0;
        if (world_->knobs().slow_consumers && !stopping_ && Percent(10)) {
          world_->journal().Count("slow consumers");
          pause_ms = static_cast<std::int64_t>(
              random_.Uniform(1, static_cast<std::uint64_t>(world_->knobs().session_timeout_ms)));
        }
        const std::uint64_t generation = generation_;
        world_->loop().At(world_->loop().now_ns() + pause_ms * kMs, [this, generation] {
          if (generation == generation_) {
            Poll();
          }
        });
      },
      request.wait_ms + world_->knobs().patience_ms);
}

// Until when the session cannot have ended, from what a member says of its last heartbeat.
void Actor::NoteAge(const ReplyHead& head) {
  if (!head.confirmed_age_ms || session_ == 0) {
    return;
  }
  SessionRecord& session = record();
  // Clocks run wrong by drift_ppm each: the leader's timeout and the member's age.
  const std::int64_t slack_ns =
      (session.timeout_ms + *head.confirmed_age_ms) * world_->knobs().drift_ppm * 2 + 2 * kMs;
  session.promised_until_ns = std::max(
      session.promised_until_ns,
      world_->loop().now_ns() + (session.timeout_ms - *head.confirmed_age_ms) * kMs - slack_ns);
}

void Actor::TakeHead(const ReplyHead& head, bool from_poll) {
  last_zxid_ = std::max(last_zxid_, from_poll ? 0 : head.zxid);
  history_->known_zxid = std::max(history_->known_zxid, head.zxid);
  if (!from_poll) {
    return;  // events come by polls alone; such a head only says where they end
  }
  SessionRecord& session = record();
  if (head.resync) {
    world_->journal().Count("resyncs");
    cursor_ = head.cursor.value_or(cursor_);
    session.segments.push_back({.from = cursor_, .to = cursor_, .events = {}});
    // Whether a one-shot watch has gone off in between nobody knows: it is forgotten, here and,
    // by the resume that follows, at the member.
    for (WatchRecord& watch : session.watches) {
      if (tree::IsOneShot(watch.watch.mode) && !watch.over) {
        watch.over = true;
        watch.until = cursor_;
        resume_again_ = true;
      }
    }
    return;
  }
  Segment& segment = session.segments.back();
  for (const tree::Event& event : head.events) {
    if (event.cursor <= cursor_) {
      continue;  // had before: an answer was repeated
    }
    if (event.cursor.zxid > head.zxid) {
      world_->journal().Fail("C8: an event of zxid {} before a state of {}", event.cursor.zxid,
                             head.zxid);
    }
    // The registration was not answered, and was late behind the resume that followed: a library
    // that knows no such watch tells its program nothing.
    if (std::ranges::all_of(event.watch_ids,
                            [this](tree::WatchId id) { return unanswered_.contains(id); })) {
      world_->journal().Count("events of watches that were not answered");
      continue;
    }
    segment.events.push_back(
        {.type = event.type, .path = std::string(event.path()), .cursor = event.cursor});
    world_->journal().Count("events");
    for (WatchRecord& watch : session.watches) {
      if (!watch.over && tree::IsOneShot(watch.watch.mode) &&
          std::ranges::find(event.watch_ids, watch.watch.id) != event.watch_ids.end()) {
        watch.over = true;
        world_->journal().Count("one-shot watches gone off");
      }
    }
  }
  if (head.cursor) {
    cursor_ = std::max(cursor_, *head.cursor);
  }
  segment.to = cursor_;
}

}  // namespace conclave::sim
