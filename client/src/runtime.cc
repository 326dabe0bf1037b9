#include "client/src/runtime.h"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "thrift/wire/event_loop.h"
#include "thrift/wire/resolver.h"
#include "thrift/wire/tcp_stream.h"

namespace conclave::internal {
namespace {

class LoopExecutor final : public Executor {
 public:
  explicit LoopExecutor(wire::EventLoop& loop) : loop_(loop) {}

  void Post(Task task) override { loop_.Post(std::move(task)); }

  bool RunsHere() const override { return loop_.OnLoopThread(); }

  TimerId PostAfter(std::chrono::nanoseconds delay, Task task) override {
    return loop_.PostAfter(delay.count(), std::move(task));
  }

  void Cancel(TimerId id) override { loop_.Cancel(id); }

  BootTime Now() const override { return BootTime(std::chrono::nanoseconds(loop_.NowNs())); }

 private:
  wire::EventLoop& loop_;
};

// The application's callbacks. What waits is taken all at once: one wake-up for a burst.
class CallbackThread final : public TaskRunner {
 public:
  CallbackThread() : thread_([this] { Run(); }) {}

  ~CallbackThread() override {
    {
      const std::lock_guard lock(mu_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  CallbackThread(const CallbackThread&) = delete;
  CallbackThread& operator=(const CallbackThread&) = delete;

  void Post(Task task) override {
    bool idle = false;
    {
      const std::lock_guard lock(mu_);
      idle = waiting_.empty();
      waiting_.push_back(std::move(task));
    }
    if (idle) {
      wake_.notify_one();
    }
  }

  bool RunsHere() const override { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  void Run() {
    std::vector<Task> running;
    while (true) {
      {
        std::unique_lock lock(mu_);
        wake_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
        if (waiting_.empty()) {
          return;
        }
        running.swap(waiting_);
      }
      for (Task& task : running) {
        task();
        task = nullptr;  // What it holds goes now, not after the burst.
      }
      running.clear();
    }
  }

  std::mutex mu_;
  std::condition_variable wake_;
  std::vector<Task> waiting_;  // Guarded by mu_.
  bool stop_ = false;          // Guarded by mu_.
  std::thread thread_;
};

class TcpConnection final : public FrameConnection {
 public:
  explicit TcpConnection(std::unique_ptr<wire::FrameStream> stream) : stream_(std::move(stream)) {}

  void Send(std::string frame) override { stream_->Send(frame); }

 private:
  std::unique_ptr<wire::FrameStream> stream_;
};

class TcpTransport final : public Transport {
 public:
  TcpTransport(wire::EventLoop& loop, const Options& options) : loop_(loop), resolver_(loop) {
    options_.connect_timeout_ms = options.connect_timeout.count();
    options_.limits.frame_bytes_max = static_cast<std::uint32_t>(options.frame_bytes_max);
    options_.limits.output_bytes_max = 2 * options.outstanding_bytes_max;
  }

  std::unique_ptr<FrameConnection> Connect(const Endpoint& endpoint, Callbacks callbacks) override {
    wire::TcpStreamOptions options = options_;
    options.to = {.host = endpoint.host, .port = endpoint.port};
    return std::make_unique<TcpConnection>(wire::DialTcp(
        loop_, resolver_, options,
        {.on_open = std::move(callbacks.on_open),
         .on_frame = std::move(callbacks.on_frame),
         .on_closed = [closed = std::move(callbacks.on_closed)](const wire::CloseReason& reason) {
           closed(reason.message);
         }}));
  }

 private:
  wire::EventLoop& loop_;
  wire::SystemResolver resolver_;
  wire::TcpStreamOptions options_;
};

std::function<std::uint64_t()> SystemRandom() {
  auto engine = std::make_shared<std::mt19937_64>();
  std::random_device device;
  std::seed_seq seed{device(), device(), device(), device(), device(), device()};
  engine->seed(seed);
  return [engine] { return (*engine)(); };
}

}  // namespace

// Destroyed in the reverse order: callbacks that the loop has posted run before their thread ends.
struct Runtime::Parts {
  explicit Parts(const Options& options)
      : loop("conclave"),
        executor(loop.loop()),
        transport(std::make_unique<TcpTransport>(loop.loop(), options)) {}

  ~Parts() {
    loop.Await([this] { transport.reset(); });  // What belongs to the loop is destroyed on it.
  }

  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  CallbackThread callbacks;
  wire::LoopThread loop;
  LoopExecutor executor;
  std::unique_ptr<TcpTransport> transport;
};

Runtime::Runtime(const Options& options) : parts_(std::make_unique<Parts>(options)) {}

Runtime::~Runtime() {
  if (parts_->callbacks.RunsHere()) {
    std::thread([parts = std::move(parts_)]() mutable { parts.reset(); }).detach();
  }
}

Seams Runtime::seams() {
  return Seams{.loop = &parts_->executor,
               .callbacks = &parts_->callbacks,
               .transport = parts_->transport.get(),
               .random = SystemRandom()};
}

void Runtime::Await(const Task& task) { parts_->loop.Await(task); }

}  // namespace conclave::internal
