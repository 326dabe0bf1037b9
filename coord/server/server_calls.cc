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

ReplyHead Server::Core::BaseHead(std::int64_t session, std::int64_t now_ns) const {
  ReplyHead head;
  head.member = options_.id;
  head.cluster = hello_.cluster;
  head.zxid = static_cast<std::int64_t>(applier_->applied());
  if (session != 0) {
    if (const auto confirmed_ns = touch_.ConfirmedAt(session)) {
      head.confirmed_age_ms = (now_ns - *confirmed_ns) / kNsPerMs;
    }
  }
  return head;
}

void Server::Core::NameLeader(ReplyHead* head) const {
  head->leader = leader_;
  const auto& members = applier_->machine().members();
  const auto published = members.find(leader_);
  if (published != members.end()) {
    head->leader_address = published->second.client_address;
  }
}

void Server::Core::FillHead(const Caller& caller, bool authentic, std::int64_t zxid,
                            ReplyHead* head) {
  // Many refusals come before the secret has been looked at, and one of them for the secret itself:
  // a session's events are not for those who do not know it, and must not be taken from it. (One
  // that is gone has been closed by this very caller, else it would have no home any more.)
  const tree::Sessions& sessions = applier_->machine().sessions();
  const bool own = caller.session != 0 && (authentic || sessions.Find(caller.session) == nullptr ||
                                           sessions.Authenticate(caller.session, caller.secret));
  const std::int64_t now_ns = NowNs();
  *head = BaseHead(own ? caller.session : 0, now_ns);
  if (zxid != 0) {
    head->zxid = zxid;
  }
  if (own && !CONCLAVE_MUTANT(41)) {
    homes_->FillHead(caller.session, caller.no_events, now_ns, head);
  }
}

Failure Server::Core::MakeFailure(tree::Code code, std::string message, std::string path) const {
  Failure failure;
  failure.error.code = code;
  failure.error.message = std::move(message);
  failure.error.path = std::move(path);
  failure.error.zxid = applier_ ? static_cast<std::int64_t>(applier_->applied()) : 0;
  return failure;
}

std::int64_t Server::Core::LimitNs(std::int64_t timeout_ms, std::int64_t default_ms) {
  return (timeout_ms <= 0 ? default_ms : std::min(timeout_ms, kTimeoutMsMax)) * kNsPerMs;
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
  auto call = std::make_unique<Call<OpenSessionReply>>(Caller{}, std::move(done));
  std::optional<Failure> refusal = Closed(call->caller);
  if (!refusal && !split_.empty()) {
    refusal = MakeFailure(tree::Code::kUnavailable, split_);
  }
  if (!refusal) {
    refusal = RefuseForRoom(Room::kFull);
  }
  if (!refusal && admitted_count_ >= options_.pending_requests_max) {
    ++counters_.writes_refused;
    refusal = MakeFailure(tree::Code::kOverloaded, "too many writes are waiting at this member");
  }
  if (refusal) {
    Refuse(std::move(call), std::move(*refusal));
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
  Submit(opener, open, DeadlineNs(request.deadline_ms, options_.write_timeout_ms),
         [this, call = std::move(call)](WritePath::Outcome outcome) mutable {
           --admitted_count_;
           if (!outcome) {
             Refuse(std::move(call), {.error = std::move(outcome.error()), .expected_seq = 0});
             return;
           }
           if (outcome->code != tree::Code::kOk) {
             Refuse(std::move(call), MakeFailure(outcome->code, outcome->message));
             return;
           }
           Touch(outcome->session, NowNs());
           OpenSessionReply reply;
           reply.session = outcome->session;
           reply.secret = outcome->secret;
           reply.timeout_ms = outcome->timeout_ms;
           Send(std::move(call), outcome->zxid, reply);
         });
}

void Server::Core::CloseSession(Caller caller, Callback<Nothing> done) {
  tree::Command close =
      tree::CloseSession{.session = caller.session, .reason = tree::CloseReason::kClosed};
  Write(std::move(caller), std::move(close),
        [done = std::move(done)](ReplyHead head, Answer<WriteReply> r) mutable {
          if (r) {
            done(std::move(head), Nothing{});
          } else {
            done(std::move(head), tl::unexpected(std::move(r.error())));
          }
        });
}

void Server::Core::Ping(Caller caller, Callback<PingReply> done) {
  using PingCall = Call<PingReply>;
  Authenticate(std::make_unique<PingCall>(std::move(caller), std::move(done)), false,
               [this](std::unique_ptr<PingCall> call) {
                 if (cut_off_) {
                   Refuse(std::move(call), MakeFailure(tree::Code::kUnavailable,
                                                       "this member has not heard a leader"));
                   return;
                 }
                 const PingReply reply{.timeout_ms = SessionTimeoutMs(call->caller.session)};
                 Send(std::move(call), 0, reply);
               });
}

// --- writes -------------------------------------------------------------------------------------

// Takes the caller's names with it.
void Server::Core::Submit(Caller& caller, tree::Command&& command, std::int64_t deadline_ns,
                          WritePath::Done&& done) {
  WritePath::Request request;
  request.header.session = caller.session;
  request.header.seq = caller.seq;
  request.header.acked_through = caller.acked_through;
  request.header.identity = std::move(caller.identity);
  request.header.tenant = std::move(caller.tenant);
  request.command = std::move(command);
  request.deadline_ns = deadline_ns;
  request.done = std::move(done);
  writes_->Submit(std::move(request));
  SchedulePump();
}

void Server::Core::Write(Caller&& caller, tree::Command&& command, Callback<WriteReply>&& done) {
  auto call = std::make_unique<WriteCall>(std::move(caller), std::move(done));
  call->command = std::move(command);
  call->bytes = BytesOf(call->command);
  std::optional<Failure> refusal = Closed(call->caller);
  if (!refusal) {
    refusal = RefuseWrite(call->caller, call->command, call->bytes);
    counters_.writes_refused += refusal ? 1 : 0;
  }
  if (refusal) {
    Refuse(std::move(call), std::move(*refusal));
    return;
  }
  call->admitted = true;
  ++admitted_count_;
  admitted_bytes_ += call->bytes;
  ++counters_.writes_accepted;
  call->since_ns = NowNs();
  call->deadline_ns = call->since_ns + LimitNs(call->caller.timeout_ms, options_.write_timeout_ms);
  Authenticate(std::move(call), true, [this](std::unique_ptr<WriteCall> admitted) {
    const std::int64_t session = admitted->caller.session;
    const SessionLanes::Ticket ticket = lanes_.TakeTicket();
    admitted->ticket = ticket;
    lanes_.Enter(session, SessionLanes::Kind::kWrite, ticket,
                 [this, call = std::move(admitted)]() mutable { Submit(std::move(call)); });
  });
}

void Server::Core::Submit(std::unique_ptr<WriteCall> call) {
  WriteCall& of = *call;
  Submit(of.caller, std::move(of.command), of.deadline_ns,
         [this, call = std::move(call)](WritePath::Outcome outcome) mutable {
           const std::int64_t session = call->caller.session;
           const SessionLanes::Ticket ticket = call->ticket;
           OnWriteOutcome(std::move(call), std::move(outcome));
           lanes_.Leave(session, ticket);
         });
}

void Server::Core::OnWriteOutcome(std::unique_ptr<WriteCall> call, WritePath::Outcome outcome) {
  if (seams_.metrics != nullptr) {
    seams_.metrics->Observe(Timing::kWrite, NowNs() - call->since_ns);
  }
  if (!outcome) {
    Refuse(std::move(call), {.error = std::move(outcome.error()), .expected_seq = 0});
  } else if (outcome->code != tree::Code::kOk && outcome->multi.empty()) {
    Failure failure = MakeFailure(outcome->code, outcome->message, outcome->path);
    failure.error.zxid = outcome->zxid != 0 ? outcome->zxid : failure.error.zxid;
    failure.expected_seq = outcome->expected_seq;
    Refuse(std::move(call), std::move(failure));
  } else {
    const std::int64_t zxid = outcome->zxid;
    Send(std::move(call), zxid, std::move(*outcome));
  }
}

// --- reads --------------------------------------------------------------------------------------

void Server::Core::Read(Caller&& caller, ReadRequest&& request, Callback<ReadReply>&& done) {
  auto call = std::make_unique<ReadCall>(std::move(caller), std::move(done));
  call->request = std::move(request);
  if (auto refusal = RefuseWait()) {
    Refuse(std::move(call), std::move(*refusal));
    return;
  }
  const ReadMode mode = call->request.mode;
  ++(mode == ReadMode::kLinearizable
         ? counters_.reads_linearizable
         : (mode == ReadMode::kStale ? counters_.reads_stale : counters_.reads_session));
  call->since_ns = mode == ReadMode::kLinearizable ? NowNs() : 0;
  const bool session_needed = call->request.watch.has_value();
  Authenticate(std::move(call), session_needed, [this, mode](std::unique_ptr<ReadCall> admitted) {
    ReadPath::Condition condition;
    condition.fresh = mode == ReadMode::kLinearizable;
    condition.min_zxid = mode == ReadMode::kStale ? 0 : admitted->caller.min_zxid;
    condition.after_seq = mode == ReadMode::kStale ? 0 : admitted->caller.after_seq;
    AwaitTurn<&Core::FinishRead>(std::move(admitted), condition);
  });
}

void Server::Core::FinishRead(std::unique_ptr<ReadCall> call, Fresh ok) {
  if (call->request.mode == ReadMode::kLinearizable && seams_.metrics != nullptr) {
    seams_.metrics->Observe(Timing::kLinearizableRead, NowNs() - call->since_ns);
  }
  if (!ok) {
    Refuse(std::move(call), {.error = std::move(ok.error()), .expected_seq = 0});
    return;
  }
  Answer<ReadReply> answer = ExecuteRead(call->caller, call->request);
  Send(std::move(call), 0, std::move(answer));
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
  auto call = std::make_unique<Call<Nothing>>(std::move(caller), std::move(done));
  if (auto refusal = RefuseWait()) {
    Refuse(std::move(call), std::move(*refusal));
    return;
  }
  Authenticate(std::move(call), false, [this](std::unique_ptr<Call<Nothing>> admitted) {
    ReadPath::Condition condition;
    condition.fresh = true;
    condition.deadline_ns = DeadlineNs(admitted->caller.timeout_ms, options_.read_timeout_ms);
    reads_->Await(condition, [this, call = std::move(admitted)](Fresh ok) mutable {
      if (ok) {
        Send(std::move(call), 0, Nothing{});
      } else {
        Refuse(std::move(call), {.error = std::move(ok.error()), .expected_seq = 0});
      }
    });
    SchedulePump();
  });
}

}  // namespace conclave::server
