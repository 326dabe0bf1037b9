#include "tests/server/client.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace conclave::server::testing {
namespace {

constexpr std::int64_t kAnswerLimitMs = 30'000;

}  // namespace

Client::Client(Cluster* cluster, raft::MemberId member, std::uint64_t seed)
    : cluster_(cluster), member_(member), random_(seed) {}

Client::~Client() = default;

template <typename T>
Called<T> Client::Wait(const std::function<void(Callback<T>)>& call) {
  auto called = std::make_shared<Called<T>>();
  call([called](ReplyHead head, Answer<T> answer) {
    EXPECT_FALSE(called->answered) << "a call was answered twice";
    called->answered = true;
    called->head = std::move(head);
    called->answer = std::move(answer);
  });
  EXPECT_FALSE(called->answered) << "a call was answered inside the call";
  cluster_->Until([called] { return called->answered; }, kAnswerLimitMs);
  if (called->answered) {
    Take(called->head, false);
    cluster_->trace().Add(static_cast<std::uint64_t>(called->code()));
  }
  return *called;
}

Caller Client::MakeCaller(bool write) {
  Caller caller;
  caller.session = session_;
  caller.secret = secret_;
  caller.min_zxid = last_zxid_;
  caller.identity = "test";
  if (write) {
    caller.seq = ++seq_;
    caller.acked_through = acked_;
  } else {
    caller.after_seq = acked_;
  }
  return caller;
}

void Client::Impersonate(std::int64_t session, const tree::Bytes16& secret) {
  session_ = session;
  secret_ = secret;
}

Called<OpenSessionReply> Client::TryOpen(std::int64_t timeout_ms) {
  OpenSessionRequest request;
  request.timeout_ms = timeout_ms;
  for (std::uint8_t& byte : request.nonce) {
    byte = static_cast<std::uint8_t>(random_.Next());
  }
  auto called = Wait<OpenSessionReply>([&](Callback<OpenSessionReply> done) {
    cluster_->server(member_).OpenSession(request, std::move(done));
  });
  if (called.ok()) {
    session_ = called.answer->session;
    secret_ = called.answer->secret;
    last_zxid_ = std::max(last_zxid_, called.head.zxid);
    cursor_ = tree::Cursor::EndOf(session_);
    seq_ = acked_ = 0;
  }
  return called;
}

bool Client::Open(std::int64_t timeout_ms) { return TryOpen(timeout_ms).ok(); }

Called<WriteReply> Client::Write(tree::Command command) {
  const Caller caller = MakeCaller(true);
  auto called = Wait<WriteReply>([&](Callback<WriteReply> done) {
    cluster_->server(member_).Write(caller, std::move(command), std::move(done));
  });
  if (called.answered) {
    Settle(caller.seq, called.code());
  }
  return called;
}

void Client::Settle(std::int64_t seq, tree::Code code) {
  const tree::Action action = tree::ActionOf(code);
  if (action == tree::Action::kNone ||
      (action == tree::Action::kAnswer && code != tree::Code::kSequenceGap)) {
    acked_ = std::max(acked_, seq);
  } else if (action != tree::Action::kOutcomeUnknown) {
    seq_ = std::min(seq_, seq - 1);
  }
}

Called<WriteReply> Client::Repeat(tree::Command command) {
  Caller caller = MakeCaller(false);
  caller.seq = seq_;
  caller.acked_through = seq_ - 1;
  return Wait<WriteReply>([&](Callback<WriteReply> done) {
    cluster_->server(member_).Write(caller, std::move(command), std::move(done));
  });
}

Called<WriteReply> Client::Create(std::string path, std::string data, tree::CreateMode mode) {
  return Write(tree::Create{.path = std::move(path), .data = std::move(data), .mode = mode});
}

Called<WriteReply> Client::Set(std::string path, std::string data) {
  return Write(tree::SetData{.path = std::move(path), .data = std::move(data)});
}

Called<WriteReply> Client::Delete(std::string path) {
  return Write(tree::Delete{.path = std::move(path)});
}

Called<Nothing> Client::Close() {
  const Caller caller = MakeCaller(true);
  return Wait<Nothing>([&](Callback<Nothing> done) {
    cluster_->server(member_).CloseSession(caller, std::move(done));
  });
}

Called<ReadReply> Client::Get(std::string path, ReadMode mode, std::optional<ReadWatch> watch) {
  return Wait<ReadReply>([&](Callback<ReadReply> done) {
    ReadRequest request{.op = GetRequest{std::move(path)}, .mode = mode, .watch = watch};
    cluster_->server(member_).Read(MakeCaller(false), std::move(request), std::move(done));
  });
}

Called<ReadReply> Client::Exists(std::string path, ReadMode mode, std::optional<ReadWatch> watch) {
  return Wait<ReadReply>([&](Callback<ReadReply> done) {
    ReadRequest request{.op = ExistsRequest{std::move(path)}, .mode = mode, .watch = watch};
    cluster_->server(member_).Read(MakeCaller(false), std::move(request), std::move(done));
  });
}

Called<ReadReply> Client::Children(std::string path, ReadMode mode) {
  return Wait<ReadReply>([&](Callback<ReadReply> done) {
    ReadRequest request;
    request.op = ChildrenRequest{.path = std::move(path), .after = {}};
    request.mode = mode;
    cluster_->server(member_).Read(MakeCaller(false), std::move(request), std::move(done));
  });
}

Called<AddWatchReply> Client::AddWatch(tree::WatchId id, std::string path, tree::WatchMode mode,
                                       bool with_value) {
  return Wait<AddWatchReply>([&](Callback<AddWatchReply> done) {
    AddWatchRequest request;
    request.watch = {.id = id, .path = std::move(path), .mode = mode, .with_value = with_value};
    cluster_->server(member_).AddWatch(MakeCaller(false), std::move(request), std::move(done));
  });
}

Called<ResumeWatchesReply> Client::Resume(std::vector<tree::Watch> watches) {
  return Wait<ResumeWatchesReply>([&](Callback<ResumeWatchesReply> done) {
    ResumeWatchesRequest request;
    for (tree::Watch& watch : watches) {
      request.watches.push_back({.watch = std::move(watch), .since = {}});
    }
    request.cursor = cursor_;
    request.replace_all = true;
    cluster_->server(member_).ResumeWatches(MakeCaller(false), std::move(request), std::move(done));
  });
}

Called<PollReply> Client::Poll(std::int64_t wait_ms, std::int64_t wake_zxid) {
  return Wait<PollReply>([&](Callback<PollReply> done) {
    PollRequest request;
    request.cursor = cursor_;
    request.wait_ms = wait_ms;
    request.wake_zxid = wake_zxid;
    cluster_->server(member_).Poll(MakeCaller(false), request, std::move(done));
  });
}

Called<PingReply> Client::Ping() {
  return Wait<PingReply>([&](Callback<PingReply> done) {
    cluster_->server(member_).Ping(MakeCaller(false), std::move(done));
  });
}

void Client::SendWrite(tree::Command command, Callback<WriteReply> then) {
  const Caller caller = MakeCaller(true);
  cluster_->server(member_).Write(
      caller, std::move(command),
      [this, alive = std::weak_ptr<char>(alive_), caller, then = std::move(then)](
          ReplyHead head, Answer<WriteReply> answer) mutable {
        if (alive.expired()) {
          return;
        }
        Settle(caller.seq, answer ? tree::Code::kOk : answer.error().error.code);
        Take(head, false);
        if (then) {
          then(std::move(head), std::move(answer));
        }
      });
}

void Client::StartPolling(std::int64_t wait_ms) {
  polling_ = true;
  poll_wait_ms_ = wait_ms;
  PollOnce();
}

void Client::PollOnce() {
  if (!polling_) {
    return;
  }
  const std::weak_ptr<char> alive = alive_;
  const auto again_later = [this, alive] {
    cluster_->loop().At(cluster_->loop().now_ns() + 20 * kMs, [this, alive] {
      if (!alive.expired()) {
        PollOnce();
      }
    });
  };
  if (!cluster_->running(member_)) {
    again_later();
    return;
  }
  PollRequest request;
  request.cursor = cursor_;
  request.wait_ms = poll_wait_ms_;
  cluster_->server(member_).Poll(
      MakeCaller(false), request,
      [this, alive, again_later](ReplyHead head, Answer<PollReply> answer) {
        if (alive.expired()) {
          return;
        }
        Take(head, true);
        if (!answer) {
          ++polls_failed_;
          if (answer.error().error.code == tree::Code::kSessionExpired) {
            polling_ = false;
            return;
          }
          again_later();
          return;
        }
        PollOnce();
      });
}

// Events of a head come before the state that it shows, in order, each once.
void Client::Take(const ReplyHead& head, bool from_poll) {
  if (head.confirmed_age_ms) {
    confirmed_age_ms_ = head.confirmed_age_ms;
  }
  resync_ = resync_ || head.resync;
  for (const tree::Event& event : head.events) {
    if (event.cursor < cursor_ ||
        (event.cursor == cursor_ && !seen_.empty() && seen_.back().cursor != event.cursor)) {
      continue;  // had before: an answer was repeated
    }
    EXPECT_TRUE(seen_.empty() || seen_.back().cursor <= event.cursor) << "events out of order";
    EXPECT_LE(event.cursor.zxid, head.zxid) << "an event from after the state that is shown";
    Seen seen;
    seen.type = event.type;
    seen.path = event.path();
    seen.cursor = event.cursor;
    seen.ids = event.watch_ids;
    if (event.with_value && event.change) {
      seen.value = std::string(event.change->value->data());
    }
    cluster_->trace().Add(seen.path);
    cluster_->trace().Add(static_cast<std::uint64_t>(seen.cursor.zxid));
    seen_.push_back(std::move(seen));
  }
  if (head.cursor) {
    cursor_ = std::max(cursor_, *head.cursor);
  }
  if (session_ != 0 && !from_poll) {
    last_zxid_ = std::max(last_zxid_, head.zxid);
  }
}

}  // namespace conclave::server::testing
