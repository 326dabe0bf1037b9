// The wire's channel on the seams that the client was given.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <conclave/executor.h>
#include <conclave/transport.h>

#include "thrift/wire/frame_stream.h"
#include "thrift/wire/scheduler.h"

namespace conclave::internal {

class SchedulerAdapter final : public wire::Scheduler {
 public:
  explicit SchedulerAdapter(Executor* executor) : executor_(executor) {}

  void Post(Task task) override { executor_->Post(std::move(task)); }

  wire::TimerId PostAfter(std::int64_t delay_ns, Task task) override {
    return executor_->PostAfter(std::chrono::nanoseconds(delay_ns), std::move(task));
  }

  bool Cancel(wire::TimerId timer) override {
    executor_->Cancel(timer);
    return true;
  }

  std::int64_t NowNs() const override { return executor_->Now().time_since_epoch().count(); }

 private:
  Executor* executor_;
};

// A connection of the client's transport as the wire's channel sees it.
class StreamAdapter final : public wire::FrameStream {
 public:
  StreamAdapter(Transport& transport, const Endpoint& endpoint, Callbacks callbacks)
      : connection_(transport.Connect(
            endpoint,
            {.on_open = std::move(callbacks.on_open),
             .on_frame = std::move(callbacks.on_frame),
             .on_closed = [closed = std::move(callbacks.on_closed)](const std::string& reason) {
               closed({.kind = wire::CloseKind::kRemote, .message = reason});
             }})) {}

  void Send(std::string_view frame) override { connection_->Send(std::string(frame)); }

  std::size_t output_bytes() const override { return 0; }  // Bounded by the table of calls.

 private:
  std::unique_ptr<FrameConnection> connection_;
};

}  // namespace conclave::internal
