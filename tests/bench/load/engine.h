// One epoll loop over raw sockets: several calls leave by one system call and several answers come
// by one, for every server alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tests/bench/load/target.h"

namespace conclave::bench {

/// CLOCK_MONOTONIC in nanoseconds.
std::uint64_t NowNs();
/// CLOCK_REALTIME in nanoseconds.
std::uint64_t WallNs();

/// Thread: one.
class Engine {
 public:
  /// Both must outlive it.
  Engine(Target& target, Listener& listener);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  Engine(Engine&&) = delete;
  Engine& operator=(Engine&&) = delete;

  /// Begins to connect to a port of this machine's loopback. Stays valid as long as the engine.
  Connection& Open(std::uint16_t port);
  /// Anew, after it has closed or instead of waiting on.
  void Redial(Connection& connection);
  void Close(Connection& connection);

  /// Does nothing on a connection that is not ready.
  void Send(Connection& connection, const Request& request);
  void Heartbeat(Connection& connection);
  void Retry(Connection& connection);

  /// Sends what there is, waits so long for anything to happen, and handles it.
  void Poll(int timeout_ms);

 private:
  void Mark(Connection& connection);
  void Flush(Connection& connection);
  void FlushAll();
  void Connected(Connection& connection, std::uint32_t events);
  void Read(Connection& connection);
  void Want(Connection& connection, bool output);

  Target& target_;
  Listener& listener_;
  const int epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> dirty_;
  std::vector<char> buffer_;
};

}  // namespace conclave::bench
