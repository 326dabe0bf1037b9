// ZooKeeper's own protocol (jute), from its public description: frames with a length of four bytes,
// a request header {xid, type}, answers in the order of the requests.
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>

#include "tests/bench/load/bytes.h"
#include "tests/bench/load/jute.h"
#include "tests/bench/load/target.h"

namespace conclave::bench {
namespace {

struct State final : Connection::State {
  struct Call {
    std::int32_t xid;
    std::uint64_t tag;
  };

  std::int32_t xid = 1;
  bool open = false;
  std::deque<Call> calls;
};

class ZooKeeperTarget final : public Target {
 public:
  using Target::Target;

  void Hello(Connection& connection) override {
    connection.state = std::make_unique<State>();
    jute::AppendConnect(connection.out, options().session_timeout_ms);
  }

  void Send(Connection& connection, const Request& request) override {
    auto& state = static_cast<State&>(*connection.state);
    const std::int32_t xid = state.xid++;
    switch (request.kind) {
      case OpKind::kSet:
        jute::AppendSetData(connection.out, xid, request.path, request.value);
        break;
      case OpKind::kGet:
      case OpKind::kLocalGet:
        jute::AppendGetData(connection.out, xid, request.path, false);
        break;
      case OpKind::kWatch:
        jute::AppendGetData(connection.out, xid, request.path, true);
        break;
      case OpKind::kCreate:
        jute::AppendCreate(connection.out, xid, request.path, request.value);
        break;
    }
    state.calls.push_back({xid, request.tag});
  }

  void Heartbeat(Connection& connection) override { jute::AppendPing(connection.out); }

  bool Parse(Connection& connection) override {
    auto& state = static_cast<State&>(*connection.state);
    while (!connection.closed) {
      const std::string_view unread = Unread(connection);
      if (unread.size() < 4 || unread.size() - 4 < GetU32(unread.data())) {
        break;
      }
      const std::string_view frame = unread.substr(4, GetU32(unread.data()));
      connection.in_begin += 4 + frame.size();
      if (!(state.open ? OnFrame(connection, state, frame) : OnConnect(connection, state, frame))) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] bool one_shot_watches() const override { return true; }

 private:
  bool OnConnect(Connection& connection, State& state, std::string_view frame) {
    if (jute::SessionOf(frame) == 0) {
      std::fprintf(stderr, "zookeeper: no session\n");
      return false;
    }
    state.open = true;
    connection.ready = true;
    listener().OnReady(connection);
    return true;
  }

  bool OnFrame(Connection& connection, State& state, std::string_view frame) {
    const jute::ReplyHeader header = jute::HeaderOf(frame);
    if (!header.valid) {
      return false;
    }
    if (header.xid == jute::kPingXid) {
      return true;
    }
    if (header.xid == jute::kEventXid) {
      listener().OnEvent(connection);
      return true;
    }
    if (state.calls.empty() || state.calls.front().xid != header.xid) {
      return false;
    }
    const std::uint64_t tag = state.calls.front().tag;
    state.calls.pop_front();
    listener().OnAnswer(connection, tag, header.error == 0 ? Outcome::kOk : Outcome::kError);
    return true;
  }
};

}  // namespace

std::unique_ptr<Target> MakeZooKeeper(const TargetOptions& options) {
  return std::make_unique<ZooKeeperTarget>(options);
}

}  // namespace conclave::bench
