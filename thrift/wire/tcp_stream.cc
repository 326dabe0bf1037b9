#include "thrift/wire/tcp_stream.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include <event2/event.h>
#include <glog/logging.h>
#include <sys/socket.h>
#include <unistd.h>

#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_socket.h"
#include "thrift/wire/resolver.h"

namespace conclave::wire {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kCheckIntervalNs = 1'000 * kNsPerMs;

std::string ErrorText(int error) { return std::system_category().message(error); }

// The connection itself. Kept alive by TcpStream and, while it calls back, by itself, so that a
// callback may destroy the TcpStream.
class Dialer final : public FrameSocket::Handler, public std::enable_shared_from_this<Dialer> {
 public:
  Dialer(EventLoop& loop, const TcpStreamOptions& options, FrameStream::Callbacks callbacks)
      : loop_(loop),
        options_(options),
        callbacks_(std::move(callbacks)),
        counters_(options.counters != nullptr ? *options.counters : own_counters_) {}

  ~Dialer() { Stop(); }

  Dialer(const Dialer&) = delete;
  Dialer& operator=(const Dialer&) = delete;
  Dialer(Dialer&&) = delete;
  Dialer& operator=(Dialer&&) = delete;

  void Start(Resolver& resolver) {
    if (options_.connect_timeout_ms > 0) {
      timer_ = loop_.PostAfter(options_.connect_timeout_ms * kNsPerMs, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) {
          self->Fail(
              CloseKind::kConnectTimeout,
              "no connection within " + std::to_string(self->options_.connect_timeout_ms) + " ms");
        }
      });
    }
    resolver.Resolve(options_.to, [weak = weak_from_this()](auto addresses) {
      const auto self = weak.lock();
      if (self == nullptr || self->stopped_) {
        return;
      }
      if (!addresses) {
        self->Fail(CloseKind::kResolve, addresses.error());
        return;
      }
      self->addresses_ = std::move(*addresses);
      self->TryNext();
    });
  }

  void Send(std::string_view frame) {
    if (stopped_) {
      return;
    }
    if (socket_ != nullptr) {
      socket_->Send(frame);
    } else {
      early_.PushFrame(frame);
    }
  }

  [[nodiscard]] std::size_t output_bytes() const {
    return socket_ != nullptr ? socket_->output_bytes() : early_.bytes();
  }

  // No callback comes after this.
  void Stop() {
    stopped_ = true;
    loop_.Cancel(timer_);
    DropAttempt();
    if (socket_ != nullptr) {
      socket_->Abandon();
    }
    early_.Clear();
  }

  void OnFrame(std::string_view payload) override {
    const auto keep = shared_from_this();  // the callback may destroy the stream, and so itself
    callbacks_.on_frame(payload);
  }

  void OnTooLarge(std::string_view /*head*/, std::uint64_t declared_bytes) override {
    OnRefused(Refusal::kFrameTooLarge, std::to_string(declared_bytes) + " bytes");
  }

  void OnRefused(Refusal refusal, const std::string& detail) override {
    counters_.Refuse(refusal);
    socket_->Close({CloseKind::kRefused,
                    std::string(RefusalName(refusal)) + (detail.empty() ? "" : ": " + detail)});
  }

  void OnOutputOverBudget() override {}

  void OnClosed(const CloseReason& reason) override { Fail(reason.kind, reason.message); }

 private:
  static void OnConnectable(int /*fd*/, short /*what*/, void* self) {
    const auto keep = static_cast<Dialer*>(self)->shared_from_this();
    keep->ConnectDone();
  }

  // Tells the user and ends. `this` may be gone afterwards unless the caller holds it.
  void Fail(CloseKind kind, const std::string& why) {
    if (stopped_) {
      return;
    }
    const auto keep = shared_from_this();
    Stop();
    callbacks_.on_closed({kind, options_.to.ToString() + ": " + why});
  }

  void DropAttempt() {
    if (connect_event_ != nullptr) {
      event_free(std::exchange(connect_event_, nullptr));
    }
    if (connecting_ >= 0) {
      close(std::exchange(connecting_, -1));
    }
  }

  void TryNext() {
    while (next_address_ < addresses_.size()) {
      const SocketAddress& address = addresses_[next_address_++];
      connecting_ =
          socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (connecting_ < 0) {
        last_error_ = errno;
        continue;
      }
      if (connect(connecting_, address.get(), address.size) != 0 && errno != EINPROGRESS) {
        last_error_ = errno;
        DropAttempt();
        continue;
      }
      connect_event_ = event_new(loop_.base(), connecting_, EV_WRITE, &OnConnectable, this);
      CHECK(connect_event_ != nullptr && event_add(connect_event_, nullptr) == 0);
      return;
    }
    Fail(CloseKind::kConnect, ErrorText(last_error_));
  }

  void ConnectDone() {
    int error = 0;
    socklen_t size = sizeof(error);
    PCHECK(getsockopt(connecting_, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    if (error != 0) {
      last_error_ = error;
      DropAttempt();
      TryNext();
      return;
    }
    event_free(std::exchange(connect_event_, nullptr));
    SetConnectionOptions(connecting_);
    socket_ = std::make_shared<FrameSocket>(loop_, MakePlainStream(std::exchange(connecting_, -1)),
                                            options_.limits, counters_, nullptr);
    socket_->Start(this);
    if (!early_.empty()) {
      std::string frames;
      frames.reserve(early_.bytes());
      while (!early_.empty()) {
        iovec piece{};
        early_.Gather(&piece, 1);
        frames.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
        early_.Consume(piece.iov_len);
      }
      socket_->SendRaw(frames);
    }
    loop_.Cancel(timer_);
    CheckLater();
    callbacks_.on_open();
  }

  void CheckLater() {
    timer_ = loop_.PostAfter(kCheckIntervalNs, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr || self->stopped_) {
        return;
      }
      Refusal refusal{};
      if (self->socket_->Overdue(self->loop_.NowNs(), true, refusal)) {
        self->OnRefused(refusal, "");
      }
      self->CheckLater();
    });
  }

  EventLoop& loop_;
  const TcpStreamOptions options_;
  const FrameStream::Callbacks callbacks_;
  Counters own_counters_;
  Counters& counters_;
  Resolver::Addresses addresses_;
  std::size_t next_address_ = 0;
  int last_error_ = ECONNREFUSED;
  int connecting_ = -1;
  event* connect_event_ = nullptr;
  TimerId timer_ = kNoTimer;  // connect timeout, then the check of time limits
  OutputQueue early_;         // sent before the connection was open
  std::shared_ptr<FrameSocket> socket_;
  bool stopped_ = false;
};

class TcpStream final : public FrameStream {
 public:
  explicit TcpStream(std::shared_ptr<Dialer> dialer) : dialer_(std::move(dialer)) {}

  ~TcpStream() override { dialer_->Stop(); }

  TcpStream(const TcpStream&) = delete;
  TcpStream& operator=(const TcpStream&) = delete;
  TcpStream(TcpStream&&) = delete;
  TcpStream& operator=(TcpStream&&) = delete;

  void Send(std::string_view frame) override { dialer_->Send(frame); }

  [[nodiscard]] std::size_t output_bytes() const override { return dialer_->output_bytes(); }

 private:
  const std::shared_ptr<Dialer> dialer_;
};

}  // namespace

std::unique_ptr<FrameStream> DialTcp(EventLoop& loop, Resolver& resolver,
                                     const TcpStreamOptions& options,
                                     FrameStream::Callbacks callbacks) {
  TcpStreamOptions adapted = options;
  // The side that dials hears nothing until it has asked, and then perhaps for long.
  adapted.limits.first_frame_ms = 0;
  adapted.limits.idle_ms = 0;
  auto dialer = std::make_shared<Dialer>(loop, adapted, std::move(callbacks));
  dialer->Start(resolver);
  return std::make_unique<TcpStream>(std::move(dialer));
}

}  // namespace conclave::wire
