// What is loaded: one adapter for each server, all behind the same interface and all as cheap as
// they can be, since the load shares the machine with what it measures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::bench {

enum class OpKind : std::uint8_t {
  kSet,       // overwrites a znode
  kGet,       // the freshest read: ZooKeeper has only its local one
  kLocalGet,  // the cheapest read that is offered to a session; may be stale
  kCreate,    // makes a znode (etcd: puts)
  kWatch,     // is answered when the watch stands; then Listener::OnEvent
};

struct Request {
  OpKind kind = OpKind::kSet;
  std::string_view path;
  std::string_view value;
  std::uint64_t tag = 0;  // comes back with the answer
};

enum class Outcome : std::uint8_t {
  kOk,
  kError,
  kOverloaded,  // said to be not executed for want of room
  kUnknown,     // a write whose fate is not known: its deadline has passed
};

struct Connection {
  /// What an adapter knows about the connection.
  struct State {
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    State(State&&) = delete;
    State& operator=(State&&) = delete;
    virtual ~State() = default;
  };

  int fd = -1;
  std::size_t index = 0;
  std::uint16_t port = 0;
  bool connecting = false;
  bool ready = false;
  bool closed = false;
  bool dirty = false;         // stands in the engine's list of those with output
  bool wants_output = false;  // waits for the socket to take more
  std::string in;
  std::size_t in_begin = 0;
  std::string out;
  std::size_t out_begin = 0;
  std::unique_ptr<State> state;
};

class Listener {
 public:
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  Listener(Listener&&) = delete;
  Listener& operator=(Listener&&) = delete;
  virtual ~Listener() = default;

  /// The connection may be used: after the handshake, and with it the session if one was wanted.
  virtual void OnReady(Connection& connection) = 0;
  virtual void OnAnswer(Connection& connection, std::uint64_t tag, Outcome outcome) = 0;
  /// A watch has told of one change.
  virtual void OnEvent(Connection& connection) = 0;
  virtual void OnClosed(Connection& connection) = 0;
};

struct TargetOptions {
  /// etcd: with a lease. The others have a session anyway.
  bool session = false;
  std::int32_t session_timeout_ms = 30'000;
  /// Conclave: keep one poll for events parked, as a client with watches or an idle one does.
  bool park_poll = false;
  std::int32_t poll_wait_ms = 10'000;
  /// Conclave: writes that were not executed, or whose fate is unknown, are repeated with the same
  /// session and number (Retry), and the session is carried over to the next connection.
  bool retry = false;
};

class Target {
 public:
  explicit Target(const TargetOptions& options) : options_(options) {}

  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  Target(Target&&) = delete;
  Target& operator=(Target&&) = delete;
  virtual ~Target() = default;

  void set_listener(Listener* listener) { listener_ = listener; }

  /// TCP is up. Leads to Listener::OnReady.
  virtual void Hello(Connection& connection) = 0;
  /// Appends one call to connection.out. REQUIRES: ready.
  virtual void Send(Connection& connection, const Request& request) = 0;
  /// Takes the whole messages at connection.in_begin. False: they make no sense.
  virtual bool Parse(Connection& connection) = 0;
  /// Keeps the session alive.
  virtual void Heartbeat(Connection& connection) = 0;

  /// Sends again what has to be sent again.
  virtual void Retry(Connection& connection) { (void)connection; }

  /// Whether a write may be sent now: Conclave's numbers stand still after a refusal until what was
  /// sent behind it has been answered.
  [[nodiscard]] virtual bool Accepts(const Connection& connection) const {
    return connection.ready;
  }

  /// A watch tells of one change only and has to be set again.
  [[nodiscard]] virtual bool one_shot_watches() const { return false; }

  /// Where creates of znodes need parents.
  [[nodiscard]] virtual bool has_directories() const { return true; }

 protected:
  [[nodiscard]] const TargetOptions& options() const { return options_; }

  [[nodiscard]] Listener& listener() const { return *listener_; }

  [[nodiscard]] static std::string_view Unread(const Connection& connection) {
    return std::string_view(connection.in).substr(connection.in_begin);
  }

 private:
  const TargetOptions options_;
  Listener* listener_ = nullptr;
};

std::unique_ptr<Target> MakeConclave(const TargetOptions& options);
std::unique_ptr<Target> MakeZooKeeper(const TargetOptions& options);
std::unique_ptr<Target> MakeEtcd(const TargetOptions& options);
/// Null if there is none of this name.
std::unique_ptr<Target> MakeTarget(std::string_view name, const TargetOptions& options);

}  // namespace conclave::bench
