// Conclave over its Thrift port, as a good client uses it: many calls outstanding on a connection,
// told apart by Thrift's seqid, each write with the next number of the connection's session.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/random.h>

#include "tests/bench/load/bytes.h"
#include "tests/bench/load/conclave_calls.h"
#include "tests/bench/load/target.h"

namespace conclave::bench {
namespace {

constexpr std::size_t kNonceBytes = 16;

enum class CallKind : std::uint8_t { kFree, kOpen, kWrite, kRead, kWatch, kPoll, kPing };

struct State final : Connection::State {
  struct Call {
    CallKind kind = CallKind::kFree;
    OpKind op = OpKind::kSet;
    bool parked = false;  // not sent; waits for Retry
    std::uint64_t tag = 0;
    std::int64_t seq = 0;
    std::string path;   // with retry only
    std::string value;  // with retry only
  };

  std::string nonce;
  std::int64_t session = 0;
  std::string secret;
  std::int64_t last_zxid = 0;
  std::int64_t last_watch = 0;
  calls::Cursor cursor;
  // Writes: numbers given out, and which of them behind acked_through have been answered.
  std::int64_t last_seq = 0;
  std::int64_t acked_through = 0;
  std::deque<bool> answered;
  std::size_t writes = 0;  // under way
  // The least number that was refused without having been executed; 0: none. Nothing behind it can
  // be executed, so no write is sent until all are answered; then the numbers are used again.
  std::int64_t refused_from = 0;
  // Calls under way; the index is the seqid.
  std::vector<Call> calls;
  std::vector<std::int32_t> free;

  std::int32_t Take() {
    if (free.empty()) {
      calls.emplace_back();
      return static_cast<std::int32_t>(calls.size() - 1);
    }
    const std::int32_t seqid = free.back();
    free.pop_back();
    return seqid;
  }

  Call& at(std::int32_t seqid) { return calls[static_cast<std::size_t>(seqid)]; }

  void Release(std::int32_t seqid) {
    at(seqid).kind = CallKind::kFree;
    free.push_back(seqid);
  }

  void Refused(std::int64_t seq) {
    refused_from = refused_from == 0 ? seq : std::min(refused_from, seq);
  }

  void UseRefusedNumbersAgain() {
    if (refused_from != 0 && writes == 0) {
      last_seq = acked_through = refused_from - 1;
      answered.clear();
      refused_from = 0;
    }
  }

  void Acknowledge(std::int64_t seq) {
    answered[static_cast<std::size_t>(seq - acked_through - 1)] = true;
    while (!answered.empty() && answered.front()) {
      answered.pop_front();
      ++acked_through;
    }
  }
};

// Said by a member that has not executed a write and will not.
bool NotExecuted(std::int32_t error) {
  return error == calls::kErrorOverloaded || error == calls::kErrorSequenceGap ||
         error == calls::kErrorUnavailable || error == calls::kErrorNoSpace;
}

bool WorthRetrying(std::int32_t error) {
  return error == calls::kErrorSequenceGap || error == calls::kErrorNotLeader ||
         error == calls::kErrorUnavailable || error == calls::kErrorOverloaded ||
         error == calls::kErrorUnknownOutcome;
}

Outcome OutcomeOf(std::int32_t error) {
  if (error == 0) {
    return Outcome::kOk;
  }
  if (error == calls::kErrorUnknownOutcome) {
    return Outcome::kUnknown;
  }
  return error == calls::kErrorOverloaded ? Outcome::kOverloaded : Outcome::kError;
}

class ConclaveTarget final : public Target {
 public:
  using Target::Target;

  void Hello(Connection& connection) override {
    if (connection.state == nullptr || !options().retry) {
      connection.state = std::make_unique<State>();
    }
    auto& state = static_cast<State&>(*connection.state);
    if (state.session != 0) {
      // The session goes on; what was under way is repeated by the next Retry.
      for (std::size_t i = 0; i < state.calls.size(); ++i) {
        if (state.calls[i].kind == CallKind::kWrite) {
          state.calls[i].parked = true;
        } else if (state.calls[i].kind != CallKind::kFree) {
          state.Release(static_cast<std::int32_t>(i));
        }
      }
      BecomeReady(connection, state);
      return;
    }
    if (state.nonce.empty()) {
      state.nonce.resize(kNonceBytes);
      if (getrandom(state.nonce.data(), kNonceBytes, 0) != static_cast<ssize_t>(kNonceBytes)) {
        std::perror("getrandom");
      }
    }
    SendOpen(connection, state);
  }

  void Send(Connection& connection, const Request& request) override {
    auto& state = static_cast<State&>(*connection.state);
    const std::int32_t seqid = state.Take();
    State::Call& call = state.at(seqid);
    call.op = request.kind;
    call.tag = request.tag;
    call.parked = false;
    switch (request.kind) {
      case OpKind::kSet:
      case OpKind::kCreate:
        call.kind = CallKind::kWrite;
        call.seq = ++state.last_seq;
        state.writes += 1;
        state.answered.push_back(false);
        if (options().retry) {
          call.path = request.path;
          call.value = request.value;
        }
        AppendWrite(connection, state, seqid, request.path, request.value);
        break;
      case OpKind::kGet:
      case OpKind::kLocalGet: {
        call.kind = CallKind::kRead;
        calls::Context context = ContextOf(state);
        context.after_seq = state.last_seq;
        context.min_zxid = state.last_zxid;
        calls::AppendGetData(connection.out, seqid, context, request.path,
                             request.kind == OpKind::kGet ? calls::ReadMode::kLinearizable
                                                          : calls::ReadMode::kSession);
        break;
      }
      case OpKind::kWatch:
        call.kind = CallKind::kWatch;
        calls::AppendAddWatch(connection.out, seqid, ContextOf(state), ++state.last_watch,
                              request.path);
        break;
    }
  }

  void Heartbeat(Connection& connection) override {
    if (options().park_poll) {
      return;  // the poll is the heartbeat
    }
    auto& state = static_cast<State&>(*connection.state);
    const std::int32_t seqid = state.Take();
    state.at(seqid).kind = CallKind::kPing;
    calls::AppendPing(connection.out, seqid, ContextOf(state));
  }

  void Retry(Connection& connection) override {
    auto& state = static_cast<State&>(*connection.state);
    std::vector<std::int32_t> again;
    for (std::size_t i = 0; i < state.calls.size(); ++i) {
      if (state.calls[i].kind == CallKind::kWrite && state.calls[i].parked) {
        again.push_back(static_cast<std::int32_t>(i));
      }
    }
    std::sort(again.begin(), again.end(), [&state](std::int32_t a, std::int32_t b) {
      return state.at(a).seq < state.at(b).seq;
    });
    for (const std::int32_t seqid : again) {
      State::Call& call = state.at(seqid);
      call.parked = false;
      AppendWrite(connection, state, seqid, call.path, call.value);
    }
  }

  bool Parse(Connection& connection) override {
    auto& state = static_cast<State&>(*connection.state);
    while (!connection.closed) {
      const std::string_view unread = Unread(connection);
      if (unread.size() < 4 || unread.size() - 4 < GetU32(unread.data())) {
        break;
      }
      const std::string_view payload = unread.substr(4, GetU32(unread.data()));
      connection.in_begin += 4 + payload.size();
      if (!OnReply(connection, state, payload)) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] bool Accepts(const Connection& connection) const override {
    return connection.ready && static_cast<const State&>(*connection.state).refused_from == 0;
  }

 private:
  static calls::Context ContextOf(const State& state) {
    return {.session = state.session,
            .secret = state.secret,
            .seq = 0,
            .acked_through = state.acked_through,
            .after_seq = 0,
            .min_zxid = 0};
  }

  void SendOpen(Connection& connection, State& state) {
    const std::int32_t seqid = state.Take();
    state.at(seqid).kind = CallKind::kOpen;
    calls::AppendOpenSession(connection.out, seqid, options().session_timeout_ms, state.nonce);
  }

  static void AppendWrite(Connection& connection, State& state, std::int32_t seqid,
                          std::string_view path, std::string_view value) {
    const State::Call& call = state.at(seqid);
    calls::Context context = ContextOf(state);
    context.seq = call.seq;
    if (call.op == OpKind::kSet) {
      calls::AppendSetData(connection.out, seqid, context, path, value);
    } else {
      calls::AppendCreate(connection.out, seqid, context, path, value);
    }
  }

  void ParkPoll(Connection& connection, State& state) {
    const std::int32_t seqid = state.Take();
    state.at(seqid).kind = CallKind::kPoll;
    calls::AppendPoll(connection.out, seqid, ContextOf(state), state.cursor,
                      options().poll_wait_ms);
  }

  void BecomeReady(Connection& connection, State& state) {
    connection.ready = true;
    if (options().park_poll) {
      ParkPoll(connection, state);
    }
    listener().OnReady(connection);
  }

  bool OnReply(Connection& connection, State& state, std::string_view payload) {
    const calls::Reply reply = calls::ReadReply(payload);
    if (!reply.valid || reply.seqid < 0 ||
        static_cast<std::size_t>(reply.seqid) >= state.calls.size()) {
      return false;
    }
    state.last_zxid = std::max(state.last_zxid, reply.zxid);
    const State::Call& call = state.at(reply.seqid);
    switch (call.kind) {
      case CallKind::kWrite:
        OnWritten(connection, state, reply);
        return true;
      case CallKind::kRead:
      case CallKind::kWatch: {
        const std::uint64_t tag = call.tag;
        state.Release(reply.seqid);
        listener().OnAnswer(connection, tag, OutcomeOf(reply.error));
        return true;
      }
      case CallKind::kPing:
        state.Release(reply.seqid);
        return true;
      case CallKind::kOpen:
        state.Release(reply.seqid);
        return OnOpened(connection, state, reply, payload);
      case CallKind::kPoll:
        state.Release(reply.seqid);
        return OnPolled(connection, state, reply, payload);
      case CallKind::kFree:
        return false;
    }
    return false;
  }

  void OnWritten(Connection& connection, State& state, const calls::Reply& reply) {
    State::Call& call = state.at(reply.seqid);
    if (options().retry && WorthRetrying(reply.error)) {
      call.parked = true;
      return;
    }
    const std::uint64_t tag = call.tag;
    Outcome outcome = OutcomeOf(reply.error);
    if (NotExecuted(reply.error)) {
      // A gap behind a write that met overload is part of the same refusal.
      outcome = state.refused_from != 0 && reply.error == calls::kErrorSequenceGap
                    ? Outcome::kOverloaded
                    : outcome;
      state.Refused(call.seq);
    } else {
      state.Acknowledge(call.seq);
    }
    state.writes -= 1;
    state.UseRefusedNumbersAgain();
    state.Release(reply.seqid);
    listener().OnAnswer(connection, tag, outcome);
  }

  bool OnOpened(Connection& connection, State& state, const calls::Reply& reply,
                std::string_view payload) {
    if (reply.error != 0) {
      if (WorthRetrying(reply.error)) {
        SendOpen(connection, state);
        return true;
      }
      std::fprintf(stderr, "conclave: no session: error %d\n", reply.error);
      return false;
    }
    const auto opened = calls::ReadOpened(payload);
    if (!opened) {
      return false;
    }
    state.session = opened->session;
    state.secret = opened->secret;
    state.cursor = {.zxid = opened->session, .ordinal = 0};
    BecomeReady(connection, state);
    return true;
  }

  bool OnPolled(Connection& connection, State& state, const calls::Reply& reply,
                std::string_view payload) {
    if (reply.error != 0) {
      std::fprintf(stderr, "conclave: poll: error %d\n", reply.error);
      return WorthRetrying(reply.error);
    }
    const auto polled = calls::ReadPolled(payload);
    if (!polled) {
      return false;
    }
    if (polled->cursor) {
      state.cursor = *polled->cursor;
    }
    ParkPoll(connection, state);
    for (std::uint32_t i = 0; i < polled->events; ++i) {
      listener().OnEvent(connection);
    }
    return true;
  }
};

}  // namespace

std::unique_ptr<Target> MakeConclave(const TargetOptions& options) {
  return std::make_unique<ConclaveTarget>(options);
}

}  // namespace conclave::bench
