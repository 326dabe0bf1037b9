// Every installed header, an executor and a transport of one's own: what links against the exported
// interface alone.
#include <cstdio>
#include <deque>

#include <conclave/client.h>
#include <conclave/election.h>
#include <conclave/error.h>
#include <conclave/executor.h>
#include <conclave/lock.h>
#include <conclave/options.h>
#include <conclave/transport.h>
#include <conclave/types.h>
#include <conclave/version.h>

namespace {

class OwnExecutor final : public conclave::Executor {
 public:
  void Post(conclave::Task task) override { tasks_.push_back(std::move(task)); }

  bool RunsHere() const override { return true; }

  conclave::TimerId PostAfter(std::chrono::nanoseconds, conclave::Task) override { return 1; }

  void Cancel(conclave::TimerId) override {}

  conclave::BootTime Now() const override { return conclave::BootClock::now(); }

  void Run() {
    while (!tasks_.empty()) {
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      task();
    }
  }

 private:
  std::deque<conclave::Task> tasks_;
};

class NoTransport final : public conclave::Transport {
 public:
  class Connection final : public conclave::FrameConnection {
   public:
    void Send(std::string) override {}
  };

  std::unique_ptr<conclave::FrameConnection> Connect(const conclave::Endpoint& endpoint,
                                                     Callbacks) override {
    last = endpoint.ToString();
    return std::make_unique<Connection>();
  }

  std::string last;
};

}  // namespace

int main() {
  OwnExecutor executor;
  NoTransport transport;
  conclave::Options options;
  options.endpoints = "[::1]:9001";
  auto client = conclave::Client::Start(
      options, {.loop = &executor, .callbacks = &executor, .transport = &transport, .random = [] {
                  return std::uint64_t{4};
                }});
  if (!client.ok() || (*client)->state() != conclave::SessionState::kConnecting) {
    return 1;
  }
  const conclave::Lock lock(**client, "/lock");
  const conclave::Election election(**client, "/election");
  executor.Run();
  client->reset();
  executor.Run();
  std::printf("%s %s %s\n", std::string(conclave::Version()).c_str(), transport.last.c_str(),
              std::string(conclave::CodeText(conclave::Code::kNoNode)).c_str());
  return transport.last == "[::1]:9001" ? 0 : 1;
}
