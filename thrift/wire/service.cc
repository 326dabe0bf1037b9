#include "thrift/wire/service.h"

#include <exception>
#include <utility>

#include <glog/logging.h>
#include <thrift/TApplicationException.h>

#include "thrift/wire/protocol.h"

namespace conclave::wire {

using apache::thrift::TApplicationException;
using apache::thrift::async::TAsyncDispatchProcessor;
using apache::thrift::protocol::T_CALL;
using apache::thrift::protocol::T_ONEWAY;
using apache::thrift::protocol::T_REPLY;
using apache::thrift::protocol::TProtocol;
using apache::thrift::protocol::TProtocolException;
using apache::thrift::transport::TTransportException;

struct CallBuffers {
  explicit CallBuffers(const Limits& limits) : reader(limits.container_size_max) {}

  MessageReader reader;
  // One for all calls: a reply is written and taken from it in one go.
  MessageWriter writer;
};

std::shared_ptr<CallBuffers> MakeCallBuffers(const Limits& limits) {
  return std::make_shared<CallBuffers>(limits);
}

// Kept by the dispatcher and by every call without a reply: generated code answers through a
// processor and an output protocol that it knows by address only.
struct CallDispatcher::Impl {
  Impl(std::shared_ptr<Processor> processor_in, const Limits& limits_in, Counters& counters_in,
       Sink sink_in, std::shared_ptr<CallBuffers> buffers_in)
      : processor(std::move(processor_in)),
        limits(limits_in),
        counters(counters_in),
        sink(std::move(sink_in)),
        buffers(buffers_in ? std::move(buffers_in) : MakeCallBuffers(limits_in)) {}

  const std::shared_ptr<Processor> processor;
  const Limits limits;
  Counters& counters;
  Sink sink;  // empty once the dispatcher is gone
  const std::shared_ptr<CallBuffers> buffers;
  std::size_t calls_in_flight = 0;
  std::size_t bytes_in_flight = 0;
};

struct Call::State {
  State(std::shared_ptr<CallDispatcher::Impl> impl_in, MessageHeader header_in,
        Protocol protocol_in, std::size_t bytes_in)
      : impl(std::move(impl_in)),
        header(std::move(header_in)),
        protocol(protocol_in),
        frame_bytes(bytes_in) {
    ++impl->calls_in_flight;
    impl->bytes_in_flight += frame_bytes;
  }

  ~State() {
    if (!answered) {
      LOG_IF(ERROR, impl->sink != nullptr)
          << "wire.call_dropped method=" << header.name << " seqid=" << header.seqid
          << " a handler has let go of a call without answering it";
      Finish();
    }
  }

  State(const State&) = delete;
  State& operator=(const State&) = delete;
  State(State&&) = delete;
  State& operator=(State&&) = delete;

  void Finish() {
    CHECK(!answered) << "wire: two answers to one call of " << header.name;
    answered = true;
    --impl->calls_in_flight;
    impl->bytes_in_flight -= frame_bytes;
  }

  TProtocol& output() const { return impl->buffers->writer.protocol(protocol); }

  void Fail(int type, const std::string& message);
  void SendWritten();

  const std::shared_ptr<CallDispatcher::Impl> impl;
  const MessageHeader header;
  const Protocol protocol;
  const std::size_t frame_bytes;
  bool answered = false;
  bool malformed = false;
};

void Call::State::Fail(int type, const std::string& message) {
  WriteApplicationException(impl->buffers->writer.Begin(protocol), header, type, message);
  SendWritten();
}

// Sends what has been written as the reply: nothing for a one-way method.
void Call::State::SendWritten() {
  MessageWriter& writer = impl->buffers->writer;
  const std::string_view bytes = writer.bytes();
  if (bytes.size() > impl->limits.frame_bytes_max) {
    Fail(TApplicationException::INTERNAL_ERROR, "the reply of " + std::to_string(bytes.size()) +
                                                    " bytes is over the frame limit of " +
                                                    std::to_string(impl->limits.frame_bytes_max));
    return;
  }
  if (!bytes.empty() && impl->sink && header.type != T_ONEWAY) {
    ++impl->counters.replies;
    impl->sink(bytes);
  }
  writer.Reset();
}

const std::string& Call::method() const { return state_->header.name; }

TProtocol& Call::BeginReply() {
  state_->Finish();
  TProtocol& out = state_->impl->buffers->writer.Begin(state_->protocol);
  out.writeMessageBegin(state_->header.name, T_REPLY, state_->header.seqid);
  return out;
}

void Call::EndReply() {
  state_->output().writeMessageEnd();
  state_->SendWritten();
}

void Call::Fail(int type, const std::string& message) {
  state_->Finish();
  state_->Fail(type, message);
}

class GeneratedProcessor final : public Processor {
 public:
  explicit GeneratedProcessor(std::shared_ptr<TAsyncDispatchProcessor> processor)
      : processor_(std::move(processor)) {}

  void Dispatch(Call call, TProtocol& in) override {
    const auto& state = call.state_;
    const auto done = [state](bool healthy) {
      state->malformed = !healthy;
      state->Finish();
      if (healthy) {
        state->SendWritten();
      }
    };
    processor_->dispatchCall(done, &in, &state->output(), state->header.name, state->header.seqid);
  }

 private:
  const std::shared_ptr<TAsyncDispatchProcessor> processor_;
};

std::shared_ptr<Processor> Generated(std::shared_ptr<TAsyncDispatchProcessor> processor) {
  return std::make_shared<GeneratedProcessor>(std::move(processor));
}

CallDispatcher::CallDispatcher(std::shared_ptr<Processor> processor, const Limits& limits,
                               Counters& counters, Sink sink, std::shared_ptr<CallBuffers> buffers)
    : impl_(std::make_shared<Impl>(std::move(processor), limits, counters, std::move(sink),
                                   std::move(buffers))) {}

CallDispatcher::~CallDispatcher() { impl_->sink = nullptr; }

std::size_t CallDispatcher::calls_in_flight() const { return impl_->calls_in_flight; }

std::size_t CallDispatcher::bytes_in_flight() const { return impl_->bytes_in_flight; }

tl::expected<void, CallDispatcher::Refused> CallDispatcher::OnFrame(std::string_view frame) {
  const auto refuse = [](Refusal refusal, std::string message) {
    return tl::make_unexpected(Refused{refusal, std::move(message)});
  };
  const auto protocol = DetectProtocol(frame);
  if (!protocol) {
    return refuse(Refusal::kUnknownProtocol, "a frame that is neither Thrift binary nor compact");
  }
  MessageHeader header;
  TProtocol* in = nullptr;
  try {
    in = &impl_->buffers->reader.Begin(frame, *protocol);
    in->readMessageBegin(header.name, header.type, header.seqid);
  } catch (const std::exception& error) {
    return refuse(Refusal::kMalformed, std::string("no message: ") + error.what());
  }
  if (header.type != T_CALL && header.type != T_ONEWAY) {
    return refuse(Refusal::kMalformed,
                  "a message of type " + std::to_string(header.type) + " is not a call");
  }
  ++impl_->counters.calls;
  // A handler may close the connection, and with it this object: from here on `call` has it all.
  const auto call =
      std::make_shared<Call::State>(impl_, std::move(header), *protocol, frame.size());
  try {
    call->impl->processor->Dispatch(Call(call), *in);
  } catch (const TProtocolException&) {
    call->malformed = true;  // thrown while the arguments were read or skipped
  } catch (const TTransportException&) {
    call->malformed = true;
  } catch (const std::exception& error) {
    LOG(ERROR) << "wire.handler_threw method=" << call->header.name << " what=\"" << error.what()
               << '"';
    if (!call->answered) {
      call->Finish();
      call->Fail(TApplicationException::INTERNAL_ERROR, "internal error");
    }
  }
  if (call->malformed) {
    if (!call->answered) {
      call->Finish();
    }
    return refuse(Refusal::kMalformed, "the arguments of " + call->header.name + " do not decode");
  }
  return {};
}

std::string CallDispatcher::TooLargeReply(std::string_view head,
                                          std::uint64_t declared_bytes) const {
  const auto protocol = DetectProtocol(head);
  if (!protocol) {
    return {};
  }
  MessageHeader header;
  try {
    impl_->buffers->reader.Begin(head, *protocol)
        .readMessageBegin(header.name, header.type, header.seqid);
  } catch (const std::exception&) {
    return {};
  }
  if (header.type != T_CALL) {
    return {};
  }
  MessageWriter writer;
  WriteApplicationException(writer.Begin(*protocol), header, TApplicationException::PROTOCOL_ERROR,
                            "the frame of " + std::to_string(declared_bytes) +
                                " bytes is over the limit of " +
                                std::to_string(impl_->limits.frame_bytes_max) + ": not executed");
  return std::string(writer.bytes());
}

}  // namespace conclave::wire
