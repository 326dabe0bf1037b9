// What doors ask for.
#include <algorithm>
#include <type_traits>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {
namespace {

constexpr std::int64_t kTimeoutMsMax = 600'000;

// What an entry needs besides its strings.
constexpr std::size_t kEntryOverhead = 256;

std::size_t BytesOf(const tree::Op& op) {
  return std::visit(
      [](const auto& one) {
        std::size_t bytes = one.path.size() + 32;
        if constexpr (requires { one.data; }) {
          bytes += one.data ? one.data->size() : 0;
        }
        return bytes;
      },
      op);
}

// The largest data in a command and about what its entry will take.
std::size_t BytesOf(const tree::Command& command) {
  std::size_t bytes = kEntryOverhead;
  if (const auto* multi = std::get_if<tree::Multi>(&command)) {
    for (const tree::Op& op : multi->ops) {
      bytes += BytesOf(op);
    }
  } else if (const auto* create = std::get_if<tree::Create>(&command)) {
    bytes += BytesOf(tree::Op(*create));
  } else if (const auto* remove = std::get_if<tree::Delete>(&command)) {
    bytes += remove->path.size();
  } else if (const auto* set = std::get_if<tree::SetData>(&command)) {
    bytes += set->path.size() + (set->data ? set->data->size() : 0);
  }
  return bytes;
}

bool FromClient(const tree::Command& command) {
  return std::holds_alternative<tree::Create>(command) ||
         std::holds_alternative<tree::Delete>(command) ||
         std::holds_alternative<tree::SetData>(command) ||
         std::holds_alternative<tree::Multi>(command) ||
         std::holds_alternative<tree::TakeOver>(command) ||
         std::holds_alternative<tree::CloseSession>(command);
}

tree::WatchMode DefaultMode(const ReadRequest& request) {
  if (std::holds_alternative<GetRequest>(request.op)) {
    return tree::WatchMode::kData;
  }
  return std::holds_alternative<ExistsRequest>(request.op) ? tree::WatchMode::kExist
                                                           : tree::WatchMode::kChild;
}

const std::string& PathOf(const ReadRequest& request) {
  return std::visit([](const auto& op) -> const std::string& { return op.path; }, request.op);
}

}  // namespace

// --- answers ------------------------------------------------------------------------------------

ReplyHead Server::Core::BaseHead(std::int64_t session) const {
  ReplyHead head;
  head.member = options_.id;
  head.cluster = hello_.cluster;
  head.zxid = static_cast<std::int64_t>(applier_->applied());
  head.leader = leader_;
  if (leader_ != 0) {
    const auto& members = applier_->machine().members();
    const auto published = members.find(leader_);
    if (published != members.end()) {
      head.leader_address = published->second.client_address;
    }
  }
  if (session != 0) {
    if (const auto confirmed_ns = touch_.ConfirmedAt(session)) {
      head.confirmed_age_ms = (NowNs() - *confirmed_ns) / kNsPerMs;
    }
  }
  return head;
}

ReplyHead Server::Core::HeadFor(const Caller& caller, std::int64_t zxid) {
  // Many refusals come before the secret has been looked at, and one of them for the secret itself:
  // a session's events are not for those who do not know it, and must not be taken from it. (One
  // that is gone has been closed by this very caller, else it would have no home any more.)
  const tree::Sessions& sessions = applier_->machine().sessions();
  const bool own = caller.session != 0 && (sessions.Find(caller.session) == nullptr ||
                                           sessions.Authenticate(caller.session, caller.secret));
  ReplyHead head = BaseHead(own ? caller.session : 0);
  if (zxid != 0) {
    head.zxid = zxid;
  }
  if (own && !CONCLAVE_MUTANT(41)) {
    homes_->FillHead(caller.session, caller.no_events, NowNs(), &head);
  }
  return head;
}

Failure Server::Core::MakeFailure(tree::Code code, std::string message, std::string path) const {
  Failure failure;
  failure.error.code = code;
  failure.error.message = std::move(message);
  failure.error.path = std::move(path);
  failure.error.zxid = applier_ ? static_cast<std::int64_t>(applier_->applied()) : 0;
  return failure;
}

std::int64_t Server::Core::DeadlineNs(std::int64_t timeout_ms, std::int64_t default_ms) const {
  const std::int64_t ms = timeout_ms <= 0 ? default_ms : std::min(timeout_ms, kTimeoutMsMax);
  return NowNs() + ms * kNsPerMs;
}

// --- admission (rule 10: for load, size and want of a leader, never for what is in the tree) ----

std::optional<Failure> Server::Core::Closed(const Caller& caller) const {
  if (!started_ || dead_ || stopping_) {
    return MakeFailure(tree::Code::kUnavailable,
                       stopping_ ? "this member is stopping" : "this member is not running");
  }
  if (!broken_.empty()) {
    return MakeFailure(tree::Code::kCorruption, broken_);
  }
  if (!outside_.empty()) {
    return MakeFailure(tree::Code::kUnavailable, outside_);
  }
  if (Starving() && MajorityRoom() != Room::kFull) {
    return MakeFailure(tree::Code::kUnavailable, own_room_.reason);
  }
  if (caller.cluster && *caller.cluster != hello_.cluster && hello_.cluster != raft::ClusterId{}) {
    return MakeFailure(tree::Code::kInvalidArgument,
                       "this is another cluster than the one that the client knows");
  }
  return std::nullopt;
}

std::optional<Failure> Server::Core::RefuseWrite(const Caller& caller, const tree::Command& command,
                                                 std::size_t bytes) const {
  if (!FromClient(command)) {
    return MakeFailure(tree::Code::kInvalidArgument, "not a command of a client");
  }
  if (caller.seq < 1) {
    return MakeFailure(tree::Code::kInvalidArgument, "seq of a write is 1 and up");
  }
  if (bytes > options_.request_bytes_max) {
    return MakeFailure(tree::Code::kTooLarge,
                       fmt::format("the request takes {} bytes, --request_bytes_max={}", bytes,
                                   options_.request_bytes_max));
  }
  if (!split_.empty()) {
    return MakeFailure(tree::Code::kUnavailable, split_);
  }
  const bool releases = PassesWhenShort(command);
  if (auto full = RefuseForRoom(releases ? Room::kFull : Room::kShort)) {
    return full;
  }
  // An eighth on top is kept for what makes load go away.
  const std::size_t share = releases ? 8 : 0;
  const std::size_t count_max =
      options_.pending_requests_max + (share == 0 ? 0 : options_.pending_requests_max / share);
  const std::size_t bytes_max =
      options_.pending_bytes_max + (share == 0 ? 0 : options_.pending_bytes_max / share);
  if (admitted_count_ >= count_max || admitted_bytes_ + bytes > bytes_max) {
    return MakeFailure(tree::Code::kOverloaded,
                       fmt::format("{} writes of {} bytes are waiting at this member",
                                   admitted_count_, admitted_bytes_));
  }
  return std::nullopt;
}

// What waits for a fresh state is bounded, whoever asks.
std::optional<Failure> Server::Core::RefuseWait() const {
  if (reads_ != nullptr && reads_->pending() >= options_.pending_requests_max) {
    return MakeFailure(tree::Code::kOverloaded, "too many reads are waiting at this member");
  }
  return std::nullopt;
}

// --- sessions -----------------------------------------------------------------------------------

void Server::Core::OpenSession(OpenSessionRequest request, Callback<OpenSessionReply> done) {
  const Caller caller{};
  auto fail = Failing<OpenSessionReply>(caller, done);
  if (auto closed = Closed(caller)) {
    fail(std::move(*closed));
    return;
  }
  if (!split_.empty()) {
    fail(MakeFailure(tree::Code::kUnavailable, split_));
    return;
  }
  if (auto full = RefuseForRoom(Room::kFull)) {
    fail(std::move(*full));
    return;
  }
  if (admitted_count_ >= options_.pending_requests_max) {
    ++counters_.writes_refused;
    fail(MakeFailure(tree::Code::kOverloaded, "too many writes are waiting at this member"));
    return;
  }
  tree::OpenSession open;
  open.timeout_ms = static_cast<std::int32_t>(std::clamp(
      request.timeout_ms, options_.session_timeout_min_ms, options_.session_timeout_max_ms));
  open.nonce = request.nonce;
  for (std::size_t i = 0; i < open.secret.size(); i += 8) {
    const std::uint64_t bits = seams_.random->Next();
    for (std::size_t j = 0; j < 8; ++j) {
      open.secret[i + j] = static_cast<std::uint8_t>(bits >> (8 * j));
    }
  }
  Caller opener;
  opener.identity = std::move(request.identity);
  opener.tenant = std::move(request.tenant);
  ++admitted_count_;
  ++counters_.writes_accepted;
  SubmitWrite(opener, open, DeadlineNs(request.deadline_ms, options_.write_timeout_ms),
              [this, caller, done, fail](WritePath::Outcome outcome) {
                --admitted_count_;
                if (!outcome) {
                  fail(Failure{.error = outcome.error(), .expected_seq = 0});
                  return;
                }
                if (outcome->code != tree::Code::kOk) {
                  fail(MakeFailure(outcome->code, outcome->message));
                  return;
                }
                Touch(outcome->session);
                OpenSessionReply reply;
                reply.session = outcome->session;
                reply.secret = outcome->secret;
                reply.timeout_ms = outcome->timeout_ms;
                Send<OpenSessionReply>(caller, outcome->zxid, reply, done);
              });
}

void Server::Core::CloseSession(Caller caller, Callback<Nothing> done) {
  const tree::CloseSession close{.session = caller.session, .reason = tree::CloseReason::kClosed};
  Write(std::move(caller), close, [done = std::move(done)](ReplyHead head, Answer<WriteReply> r) {
    if (r) {
      done(std::move(head), Nothing{});
    } else {
      done(std::move(head), tl::unexpected(std::move(r.error())));
    }
  });
}

void Server::Core::Ping(Caller caller, Callback<PingReply> done) {
  Authenticate(caller, false, Failing<PingReply>(caller, done), [this, caller, done] {
    if (cut_off_) {
      Send<PingReply>(caller, 0,
                      tl::unexpected(MakeFailure(tree::Code::kUnavailable,
                                                 "this member has not heard a leader")),
                      done);
      return;
    }
    Send<PingReply>(caller, 0, PingReply{.timeout_ms = SessionTimeoutMs(caller.session)}, done);
  });
}

// --- writes -------------------------------------------------------------------------------------

void Server::Core::SubmitWrite(const Caller& caller, tree::Command command,
                               std::int64_t deadline_ns,
                               std::function<void(WritePath::Outcome)> done) {
  WritePath::Request request;
  request.header.session = caller.session;
  request.header.seq = caller.seq;
  request.header.acked_through = caller.acked_through;
  request.header.identity = caller.identity;
  request.header.tenant = caller.tenant;
  request.command = std::move(command);
  request.deadline_ns = deadline_ns;
  request.done = std::move(done);
  writes_->Submit(std::move(request));
  SchedulePump();
}

void Server::Core::Write(Caller caller, tree::Command command, Callback<WriteReply> done) {
  const std::size_t bytes = BytesOf(command);
  std::optional<Failure> refusal = Closed(caller);
  if (!refusal) {
    refusal = RefuseWrite(caller, command, bytes);
    counters_.writes_refused += refusal ? 1 : 0;
  }
  if (refusal) {
    Send<WriteReply>(caller, 0, tl::unexpected(std::move(*refusal)), std::move(done));
    return;
  }
  ++admitted_count_;
  admitted_bytes_ += bytes;
  ++counters_.writes_accepted;
  auto call = std::make_shared<WriteCall>();
  call->deadline_ns = DeadlineNs(caller.timeout_ms, options_.write_timeout_ms);
  call->caller = std::move(caller);
  call->command = std::move(command);
  call->done = std::move(done);
  call->bytes = bytes;
  call->since_ns = NowNs();
  Authenticate(
      call->caller, true,
      [this, call](Failure failure) { AnswerWrite(*call, 0, tl::unexpected(std::move(failure))); },
      [this, call] {
        lanes_.Enter(call->caller.session, SessionLanes::Kind::kWrite,
                     [this, call](SessionLanes::Ticket ticket) {
                       SubmitWrite(call->caller, std::move(call->command), call->deadline_ns,
                                   [this, call, ticket](WritePath::Outcome outcome) {
                                     OnWriteOutcome(*call, std::move(outcome));
                                     lanes_.Leave(call->caller.session, ticket);
                                   });
                     });
      });
}

void Server::Core::OnWriteOutcome(WriteCall& call, WritePath::Outcome outcome) {
  if (seams_.metrics != nullptr) {
    seams_.metrics->Observe(Timing::kWrite, NowNs() - call.since_ns);
  }
  if (!outcome) {
    AnswerWrite(call, 0,
                tl::unexpected(Failure{.error = std::move(outcome.error()), .expected_seq = 0}));
  } else if (outcome->code != tree::Code::kOk && outcome->multi.empty()) {
    Failure failure = MakeFailure(outcome->code, outcome->message, outcome->path);
    failure.error.zxid = outcome->zxid != 0 ? outcome->zxid : failure.error.zxid;
    failure.expected_seq = outcome->expected_seq;
    AnswerWrite(call, 0, tl::unexpected(std::move(failure)));
  } else {
    const std::int64_t zxid = outcome->zxid;
    AnswerWrite(call, zxid, std::move(*outcome));
  }
}

// The end of an admitted write.
void Server::Core::AnswerWrite(WriteCall& call, std::int64_t zxid, Answer<WriteReply> answer) {
  --admitted_count_;
  admitted_bytes_ -= call.bytes;
  Send<WriteReply>(call.caller, zxid, std::move(answer), std::move(call.done));
}

// --- reads --------------------------------------------------------------------------------------

void Server::Core::Read(Caller caller, ReadRequest request, Callback<ReadReply> done) {
  if (auto refusal = RefuseWait()) {
    Send<ReadReply>(caller, 0, tl::unexpected(std::move(*refusal)), std::move(done));
    return;
  }
  const bool linearizable = request.mode == ReadMode::kLinearizable;
  const bool stale = request.mode == ReadMode::kStale;
  ++(linearizable ? counters_.reads_linearizable
                  : (stale ? counters_.reads_stale : counters_.reads_session));

  struct Call {
    Caller caller;
    ReadRequest request;
    Callback<ReadReply> done;
    std::int64_t begun_ns;
  };

  const bool session_needed = request.watch.has_value();
  auto call =
      std::make_shared<Call>(Call{std::move(caller), std::move(request), std::move(done), NowNs()});
  auto fail = [this, call](Failure failure) {
    Send<ReadReply>(call->caller, 0, tl::unexpected(std::move(failure)), std::move(call->done));
  };
  Authenticate(call->caller, session_needed, fail, [this, call, linearizable, stale] {
    ReadPath::Condition condition;
    condition.fresh = linearizable;
    condition.min_zxid = stale ? 0 : call->caller.min_zxid;
    condition.after_seq = stale ? 0 : call->caller.after_seq;
    AwaitTurn(call->caller, condition, [this, call](tl::expected<void, tree::Error> ok) {
      Answer<ReadReply> answer =
          ok ? ExecuteRead(call->caller, call->request)
             : tl::unexpected(Failure{.error = std::move(ok.error()), .expected_seq = 0});
      Send<ReadReply>(call->caller, 0, std::move(answer), std::move(call->done));
      if (call->request.mode == ReadMode::kLinearizable && seams_.metrics != nullptr) {
        seams_.metrics->Observe(Timing::kLinearizableRead, NowNs() - call->begun_ns);
      }
    });
  });
}

// Waits for the session's turn at this member and for a state that is fresh enough.
void Server::Core::AwaitTurn(const Caller& caller, ReadPath::Condition condition,
                             ReadPath::Done done) {
  const std::int64_t session = caller.session;
  condition.session = session;
  condition.gated = session != 0;
  condition.deadline_ns = DeadlineNs(caller.timeout_ms, options_.read_timeout_ms);
  // A gated wait cannot end before the lane has given the ticket, unless by its deadline later on.
  auto ticket = std::make_shared<SessionLanes::Ticket>(0);
  const ReadPath::Id id = reads_->Await(condition, [this, session, ticket, done = std::move(done)](
                                                       tl::expected<void, tree::Error> ok) {
    done(std::move(ok));
    if (session != 0) {
      lanes_.Leave(session, *ticket);
    }
  });
  if (session != 0) {
    const auto open = [this, id, ticket](SessionLanes::Ticket given) {
      *ticket = given;
      reads_->OpenGate(id);
    };
    *ticket = lanes_.Enter(session, SessionLanes::Kind::kRead, open);
  }
  SchedulePump();
}

Answer<ReadReply> Server::Core::ExecuteRead(const Caller& caller, const ReadRequest& request) {
  if (caller.session != 0) {
    // It may have ended while the read waited.
    const auto valid = applier_->machine().sessions().Authenticate(caller.session, caller.secret);
    if (!valid) {
      return tl::unexpected(MakeFailure(valid.error().code, valid.error().message));
    }
  }
  Answer<ReadReply> answer = LookUp(request);
  const bool first_page = !std::holds_alternative<ChildrenRequest>(request.op) ||
                          std::get<ChildrenRequest>(request.op).after.empty();
  if (!request.watch || !answer || !first_page) {
    return answer;
  }
  tree::Watch watch;
  watch.id = request.watch->watch_id;
  watch.path = PathOf(request);
  watch.mode = request.watch->mode.value_or(DefaultMode(request));
  watch.with_value = request.watch->with_value;
  const tree::RegisterResult registered =
      homes_->Register(caller.session, watch, std::nullopt, NowNs());
  if (registered.status != tree::RegisterStatus::kOk) {
    return tl::unexpected(
        MakeFailure(tree::Code::kOverloaded, "too many watches at this member", watch.path));
  }
  return answer;
}

Answer<ReadReply> Server::Core::LookUp(const ReadRequest& request) const {
  const tree::Tree& tree = applier_->machine().tree();
  ReadReply reply;
  const auto failed = [this](const tree::Error& error) {
    return tl::unexpected(MakeFailure(error.code, error.message, error.path));
  };
  if (const auto* get = std::get_if<GetRequest>(&request.op)) {
    auto found = tree.Get(get->path);
    if (!found) {
      return failed(found.error());
    }
    reply.value = std::move(found->value);
    reply.stat = found->stat;
    return reply;
  }
  if (const auto* exists = std::get_if<ExistsRequest>(&request.op)) {
    const auto found = tree.Exists(exists->path);
    if (!found && found.error().code != tree::Code::kNoNode) {
      return failed(found.error());
    }
    reply.exists = found.has_value();
    reply.stat = found ? *found : tree::Stat{};
    return reply;
  }
  const auto& children = std::get<ChildrenRequest>(request.op);
  const std::size_t bytes_max = children.bytes_max == 0
                                    ? options_.read_bytes_max
                                    : std::min(children.bytes_max, options_.read_bytes_max);
  const std::size_t count_max = children.count_max == 0 ? SIZE_MAX : children.count_max;
  auto page = tree.Children(children.path, children.after, count_max, bytes_max);
  if (!page) {
    return failed(page.error());
  }
  reply.names = std::move(page->names);
  reply.more = page->more;
  reply.stat = page->stat;
  return reply;
}

void Server::Core::Sync(Caller caller, Callback<Nothing> done) {
  auto fail = Failing<Nothing>(caller, done);
  if (auto refusal = RefuseWait()) {
    fail(std::move(*refusal));
    return;
  }
  Authenticate(caller, false, fail, [=, this] {
    ReadPath::Condition condition;
    condition.fresh = true;
    condition.deadline_ns = DeadlineNs(caller.timeout_ms, options_.read_timeout_ms);
    reads_->Await(condition, [=, this](tl::expected<void, tree::Error> ok) {
      if (ok) {
        Send<Nothing>(caller, 0, Nothing{}, done);
      } else {
        fail(Failure{.error = ok.error(), .expected_seq = 0});
      }
    });
    SchedulePump();
  });
}

}  // namespace conclave::server
