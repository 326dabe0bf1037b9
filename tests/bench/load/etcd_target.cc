// etcd's gRPC over HTTP/2, by hand: a gRPC library would cost many times what is measured. Header
// blocks of answers are not decoded: a unary answer with a DATA frame is a success, one that ends
// without is an error.
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "tests/bench/load/bytes.h"
#include "tests/bench/load/hpack.h"
#include "tests/bench/load/protobuf.h"
#include "tests/bench/load/target.h"

namespace conclave::bench {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kFrameHeaderBytes = 9;
constexpr std::size_t kMessageHeaderBytes = 5;  // of gRPC: compressed or not, length
constexpr std::int64_t kWindowDefault = 65'535;
constexpr std::uint32_t kWindowMax = 0x7fffffff;
constexpr std::uint64_t kCreditAfterBytes = 8 << 20;

enum FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
};

constexpr std::uint8_t kEndStream = 1;  // and "acknowledged" of SETTINGS and PING
constexpr std::uint8_t kEndHeaders = 4;

enum Path : std::uint8_t { kPut, kRange, kLeaseGrant, kKeepAlive, kWatchCall };

constexpr std::string_view kPaths[] = {
    "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range", "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseKeepAlive", "/etcdserverpb.Watch/Watch"};

struct Stream {
  Path path = kPut;
  std::uint64_t tag = 0;
  std::string received;
};

struct State final : Connection::State {
  struct Block {
    std::string bytes;
    std::uint64_t additions = UINT64_MAX;  // of the encoder when it was made; never: not made yet
  };

  struct Waiting {
    std::string message;
    Stream stream;
  };

  std::uint32_t next_stream = 1;
  std::int64_t window = kWindowDefault;
  std::uint64_t uncredited = 0;
  HpackEncoder encoder;
  Block blocks[std::size(kPaths)];
  std::unordered_map<std::uint32_t, Stream> streams;
  std::deque<Waiting> waiting;  // for room in the window
  std::string message;
  std::uint64_t lease = 0;
  std::uint32_t keep_alive = 0;
};

void AppendFrame(std::string& out, FrameType type, std::uint8_t flags, std::uint32_t stream,
                 std::string_view payload) {
  PutU32(out, static_cast<std::uint32_t>(payload.size()) << 8U | type);
  PutU8(out, flags);
  PutU32(out, stream);
  out.append(payload);
}

void AppendWindowUpdate(std::string& out, std::uint32_t stream, std::uint32_t more) {
  std::string payload;
  PutU32(payload, more);
  AppendFrame(out, kWindowUpdate, 0, stream, payload);
}

class EtcdTarget final : public Target {
 public:
  using Target::Target;

  void Hello(Connection& connection) override {
    auto fresh = std::make_unique<State>();
    State& state = *fresh;
    connection.state = std::move(fresh);
    connection.out.append(kPreface);
    std::string settings;
    const auto set = [&settings](std::uint16_t name, std::uint32_t value) {
      PutU16(settings, name);
      PutU32(settings, value);
    };
    set(1, 0);           // no dynamic table for what the server sends: nothing of it is decoded
    set(2, 0);           // no push
    set(4, kWindowMax);  // of each stream
    AppendFrame(connection.out, kSettings, 0, 0, settings);
    AppendWindowUpdate(connection.out, 0, kWindowMax - static_cast<std::uint32_t>(kWindowDefault));
    if (options().session) {
      state.message.clear();
      protobuf::AppendNumber(state.message, 1,
                             static_cast<std::uint64_t>(options().session_timeout_ms / 1'000));
      Unary(connection, state, {.path = kLeaseGrant, .tag = 0, .received = {}});
    } else {
      connection.ready = true;
      listener().OnReady(connection);
    }
  }

  void Send(Connection& connection, const Request& request) override {
    auto& state = static_cast<State&>(*connection.state);
    std::string& message = state.message;
    message.clear();
    switch (request.kind) {
      case OpKind::kSet:
      case OpKind::kCreate:
        protobuf::AppendBytes(message, 1, request.path);
        protobuf::AppendBytes(message, 2, request.value);
        Unary(connection, state, {.path = kPut, .tag = request.tag, .received = {}});
        break;
      case OpKind::kGet:
      case OpKind::kLocalGet:
        protobuf::AppendBytes(message, 1, request.path);
        if (request.kind == OpKind::kLocalGet) {
          protobuf::AppendNumber(message, 7, 1);  // serializable
        }
        Unary(connection, state, {.path = kRange, .tag = request.tag, .received = {}});
        break;
      case OpKind::kWatch: {
        std::string create;
        protobuf::AppendBytes(create, 1, request.path);
        protobuf::AppendBytes(message, 1, create);
        OpenStream(connection, state, message, false,
                   {.path = kWatchCall, .tag = request.tag, .received = {}});
        break;
      }
    }
  }

  void Heartbeat(Connection& connection) override {
    auto& state = static_cast<State&>(*connection.state);
    if (state.lease == 0) {
      return;
    }
    std::string message;
    protobuf::AppendNumber(message, 1, state.lease);
    if (state.keep_alive == 0) {
      state.keep_alive = OpenStream(connection, state, message, false,
                                    {.path = kKeepAlive, .tag = 0, .received = {}});
    } else {
      AppendMessage(connection, state, state.keep_alive, message, false);
    }
  }

  bool Parse(Connection& connection) override {
    auto& state = static_cast<State&>(*connection.state);
    while (!connection.closed) {
      const std::string_view unread = Unread(connection);
      if (unread.size() < kFrameHeaderBytes) {
        break;
      }
      const std::size_t size = GetU32(unread.data()) >> 8U;
      if (unread.size() < kFrameHeaderBytes + size) {
        break;
      }
      const auto type = static_cast<std::uint8_t>(unread[3]);
      const auto flags = static_cast<std::uint8_t>(unread[4]);
      const std::uint32_t stream = GetU32(unread.data() + 5) & kWindowMax;
      connection.in_begin += kFrameHeaderBytes + size;
      OnFrame(connection, state, type, flags, stream, unread.substr(kFrameHeaderBytes, size));
    }
    return true;
  }

  [[nodiscard]] bool has_directories() const override { return false; }

 private:
  // The header block of a call; after the first it is five bytes, made once.
  static const std::string& BlockFor(State& state, Path path) {
    State::Block& block = state.blocks[path];
    while (block.additions != state.encoder.additions()) {
      block.bytes.clear();
      block.additions = state.encoder.additions();
      state.encoder.Append(block.bytes, ":method", "POST");
      state.encoder.Append(block.bytes, ":scheme", "http");
      state.encoder.Append(block.bytes, ":path", kPaths[path]);
      state.encoder.Append(block.bytes, ":authority", "127.0.0.1");
      state.encoder.Append(block.bytes, "content-type", "application/grpc");
      state.encoder.Append(block.bytes, "te", "trailers");
      if (block.additions != state.encoder.additions()) {
        break;  // it holds literals: to be sent once
      }
    }
    return block.bytes;
  }

  static void AppendMessage(Connection& connection, State& state, std::uint32_t stream,
                            std::string_view message, bool end) {
    const std::size_t size = kMessageHeaderBytes + message.size();
    PutU32(connection.out, static_cast<std::uint32_t>(size) << 8U | kData);
    PutU8(connection.out, end ? kEndStream : std::uint8_t{0});
    PutU32(connection.out, stream);
    PutU8(connection.out, 0);
    PutBlob(connection.out, message);
    state.window -= static_cast<std::int64_t>(size);
  }

  static std::uint32_t OpenStream(Connection& connection, State& state, std::string_view message,
                                  bool end, Stream stream) {
    const std::uint32_t id = state.next_stream;
    state.next_stream += 2;
    AppendFrame(connection.out, kHeaders, kEndHeaders, id, BlockFor(state, stream.path));
    AppendMessage(connection, state, id, message, end);
    state.streams.emplace(id, std::move(stream));
    return id;
  }

  static bool Fits(const State& state, std::string_view message) {
    return state.window >= static_cast<std::int64_t>(kMessageHeaderBytes + message.size());
  }

  static void Unary(Connection& connection, State& state, Stream stream) {
    if (!state.waiting.empty() || !Fits(state, state.message)) {
      state.waiting.push_back({state.message, std::move(stream)});
      return;
    }
    OpenStream(connection, state, state.message, true, std::move(stream));
  }

  void OnFrame(Connection& connection, State& state, std::uint8_t type, std::uint8_t flags,
               std::uint32_t id, std::string_view payload) {
    switch (type) {
      case kSettings:
        if ((flags & kEndStream) == 0) {
          AppendFrame(connection.out, kSettings, kEndStream, 0, {});
        }
        break;
      case kPing:
        if ((flags & kEndStream) == 0) {
          AppendFrame(connection.out, kPing, kEndStream, 0, payload);
        }
        break;
      case kWindowUpdate:
        if (id == 0 && payload.size() == 4) {
          state.window += GetU32(payload.data()) & kWindowMax;
          while (!state.waiting.empty() && Fits(state, state.waiting.front().message)) {
            OpenStream(connection, state, state.waiting.front().message, true,
                       std::move(state.waiting.front().stream));
            state.waiting.pop_front();
          }
        }
        break;
      case kGoAway:
        std::fprintf(stderr, "etcd: GOAWAY\n");
        break;
      case kData:
        OnData(connection, state, id, payload);
        break;
      case kReset:
        OnEnd(connection, state, id);
        break;
      case kHeaders:
        if ((flags & kEndStream) != 0) {
          OnEnd(connection, state, id);
        }
        break;
      default:
        break;
    }
  }

  void OnData(Connection& connection, State& state, std::uint32_t id, std::string_view payload) {
    state.uncredited += payload.size();
    if (state.uncredited > kCreditAfterBytes) {
      AppendWindowUpdate(connection.out, 0, static_cast<std::uint32_t>(state.uncredited));
      state.uncredited = 0;
    }
    auto found = state.streams.find(id);
    if (found == state.streams.end()) {
      return;
    }
    found->second.received.append(payload);
    while (found != state.streams.end() && found->second.received.size() >= kMessageHeaderBytes) {
      const std::string& received = found->second.received;
      const std::size_t size = GetU32(received.data() + 1);
      if (received.size() < kMessageHeaderBytes + size) {
        return;
      }
      const std::string message = received.substr(kMessageHeaderBytes, size);
      found->second.received.erase(0, kMessageHeaderBytes + size);
      const Path path = found->second.path;
      const std::uint64_t tag = found->second.tag;
      if (path != kKeepAlive && path != kWatchCall) {
        state.streams.erase(found);
      }
      OnMessage(connection, state, path, tag, message);
      found = state.streams.find(id);
    }
  }

  void OnMessage(Connection& connection, State& state, Path path, std::uint64_t tag,
                 std::string_view message) {
    switch (path) {
      case kPut:
      case kRange:
        listener().OnAnswer(connection, tag, Outcome::kOk);
        break;
      case kLeaseGrant:
        state.lease = protobuf::NumberIn(message, 2);
        connection.ready = true;
        listener().OnReady(connection);
        break;
      case kKeepAlive:
        break;
      case kWatchCall:
        if (protobuf::NumberIn(message, 3) != 0) {  // created
          listener().OnAnswer(connection, tag, Outcome::kOk);
        }
        if (protobuf::Has(message, 11)) {
          listener().OnEvent(connection);
        }
        break;
    }
  }

  void OnEnd(Connection& connection, State& state, std::uint32_t id) {
    const auto found = state.streams.find(id);
    if (found == state.streams.end()) {
      return;
    }
    const Path path = found->second.path;
    const std::uint64_t tag = found->second.tag;
    state.streams.erase(found);
    if (path == kKeepAlive) {
      state.keep_alive = 0;
    } else if (path == kLeaseGrant) {
      std::fprintf(stderr, "etcd: no lease\n");
    } else {
      listener().OnAnswer(connection, tag, Outcome::kError);
    }
  }
};

}  // namespace

std::unique_ptr<Target> MakeEtcd(const TargetOptions& options) {
  return std::make_unique<EtcdTarget>(options);
}

}  // namespace conclave::bench
