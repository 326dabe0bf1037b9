#include "thrift/wire/stream.h"

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace conclave::wire {
namespace {

class PlainStream final : public Stream {
 public:
  explicit PlainStream(int socket) : socket_(socket) {}

  ~PlainStream() override { close(socket_); }

  PlainStream(const PlainStream&) = delete;
  PlainStream& operator=(const PlainStream&) = delete;
  PlainStream(PlainStream&&) = delete;
  PlainStream& operator=(PlainStream&&) = delete;

  [[nodiscard]] int fd() const override { return socket_; }

  IoResult Read(char* into, std::size_t bytes_max) override {
    const ssize_t got = recv(socket_, into, bytes_max, MSG_DONTWAIT);
    if (got == 0) {
      return {.status = IoStatus::kEnd};
    }
    return Result(got, IoStatus::kWantRead);
  }

  IoResult Write(const iovec* pieces, int count) override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces);  // NOLINT: sendmsg does not write to it
    message.msg_iovlen = static_cast<std::size_t>(count);
    // No signal: a peer that has gone is a result, not the end of the process.
    return Result(sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT), IoStatus::kWantWrite);
  }

  void EndOutput() override { shutdown(socket_, SHUT_WR); }

 private:
  static IoResult Result(ssize_t moved, IoStatus when_blocked) {
    if (moved >= 0) {
      return {.status = IoStatus::kDone, .bytes = static_cast<std::size_t>(moved)};
    }
    if (errno == EAGAIN || errno == EINTR) {
      return {.status = when_blocked};
    }
    return {.status = IoStatus::kFailed, .error = errno};
  }

  const int socket_;
};

void SetOption(int socket, int level, int name, int value) {
  // An option that a kernel does not have only costs the comfort that it brings.
  (void)setsockopt(socket, level, name, &value, sizeof(value));
}

}  // namespace

std::unique_ptr<Stream> MakePlainStream(int socket) {
  return std::make_unique<PlainStream>(socket);
}

void SetConnectionOptions(int socket) {
  SetOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(socket, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  SetOption(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  SetOption(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  SetOption(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
}

}  // namespace conclave::wire
