#include "tests/bench/load/engine.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace conclave::bench {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 18;
constexpr std::size_t kTrimBytes = std::size_t{1} << 20;

std::uint64_t Clock(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

}  // namespace

std::uint64_t NowNs() { return Clock(CLOCK_MONOTONIC); }

std::uint64_t WallNs() { return Clock(CLOCK_REALTIME); }

Engine::Engine(Target& target, Listener& listener)
    : target_(target),
      listener_(listener),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      buffer_(kReadBytes) {
  if (epoll_ < 0) {
    Die("epoll_create1");
  }
  std::signal(SIGPIPE, SIG_IGN);
  target_.set_listener(&listener);
}

Engine::~Engine() {
  for (const auto& connection : connections_) {
    if (connection->fd >= 0) {
      close(connection->fd);
    }
  }
  close(epoll_);
}

Connection& Engine::Open(std::uint16_t port) {
  connections_.push_back(std::make_unique<Connection>());
  Connection& connection = *connections_.back();
  connection.index = connections_.size() - 1;
  connection.port = port;
  Redial(connection);
  return connection;
}

void Engine::Redial(Connection& connection) {
  if (connection.fd >= 0) {
    close(connection.fd);
  }
  connection.in.clear();
  connection.out.clear();
  connection.in_begin = connection.out_begin = 0;
  connection.ready = connection.closed = false;
  connection.connecting = connection.wants_output = true;
  connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection.fd < 0) {
    Die("socket");
  }
  const int on = 1;
  setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(connection.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 &&
      errno != EINPROGRESS) {
    Close(connection);
    return;
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT;
  event.data.ptr = &connection;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
}

void Engine::Close(Connection& connection) {
  if (connection.closed) {
    return;
  }
  connection.closed = true;
  connection.ready = false;
  close(connection.fd);
  connection.fd = -1;
  listener_.OnClosed(connection);
}

void Engine::Send(Connection& connection, const Request& request) {
  if (connection.ready) {
    target_.Send(connection, request);
    Mark(connection);
  }
}

void Engine::Heartbeat(Connection& connection) {
  if (connection.ready) {
    target_.Heartbeat(connection);
    Mark(connection);
  }
}

void Engine::Retry(Connection& connection) {
  if (connection.ready) {
    target_.Retry(connection);
    Mark(connection);
  }
}

void Engine::Mark(Connection& connection) {
  if (!connection.dirty && !connection.closed) {
    connection.dirty = true;
    dirty_.push_back(&connection);
  }
}

void Engine::Want(Connection& connection, bool output) {
  if (connection.wants_output == output) {
    return;
  }
  connection.wants_output = output;
  epoll_event event{};
  event.events = output ? std::uint32_t{EPOLLIN | EPOLLOUT} : std::uint32_t{EPOLLIN};
  event.data.ptr = &connection;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
}

void Engine::Flush(Connection& connection) {
  connection.dirty = false;
  if (connection.closed || connection.connecting) {
    return;
  }
  while (connection.out_begin < connection.out.size()) {
    const ssize_t sent = send(connection.fd, connection.out.data() + connection.out_begin,
                              connection.out.size() - connection.out_begin, MSG_NOSIGNAL);
    if (sent > 0) {
      connection.out_begin += static_cast<std::size_t>(sent);
    } else if (sent < 0 && errno == EAGAIN) {
      break;
    } else {
      Close(connection);
      return;
    }
  }
  const bool more = connection.out_begin < connection.out.size();
  if (!more) {
    connection.out.clear();
    connection.out_begin = 0;
  } else if (connection.out_begin > kTrimBytes) {
    connection.out.erase(0, connection.out_begin);
    connection.out_begin = 0;
  }
  Want(connection, more);
}

void Engine::FlushAll() {
  // Flush may close, and what listens to that may mark others.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    Flush(*dirty_[i]);
  }
  dirty_.clear();
}

void Engine::Connected(Connection& connection, std::uint32_t events) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0 || (events & EPOLLERR) != 0) {
    Close(connection);
  } else if ((events & EPOLLOUT) != 0) {
    connection.connecting = false;
    target_.Hello(connection);
    Mark(connection);
  }
}

void Engine::Read(Connection& connection) {
  bool over = false;
  while (true) {
    const ssize_t got = recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got > 0) {
      connection.in.append(buffer_.data(), static_cast<std::size_t>(got));
    }
    if (got == static_cast<ssize_t>(buffer_.size())) {
      continue;
    }
    over = got == 0 || (got < 0 && errno != EAGAIN);
    break;
  }
  if (!target_.Parse(connection)) {
    std::fprintf(stderr, "port %u: an answer that makes no sense\n", connection.port);
    over = true;
  }
  if (connection.in_begin == connection.in.size()) {
    connection.in.clear();
    connection.in_begin = 0;
  } else if (connection.in_begin > kTrimBytes) {
    connection.in.erase(0, connection.in_begin);
    connection.in_begin = 0;
  }
  if (over) {
    Close(connection);
  } else {
    Mark(connection);
  }
}

void Engine::Poll(int timeout_ms) {
  FlushAll();
  std::array<epoll_event, 256> events{};
  const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    auto& connection = *static_cast<Connection*>(event.data.ptr);
    if (connection.closed) {
      continue;
    }
    if (connection.connecting) {
      Connected(connection, event.events);
      continue;
    }
    if ((event.events & EPOLLOUT) != 0) {
      Mark(connection);
    }
    if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
      Read(connection);
    }
  }
  FlushAll();
}

}  // namespace conclave::bench
