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

// Kept by the dispatcher and by every call without a reply: the generated code answers through a
// processor and an output protocol that it knows by address only.
struct CallDispatcher::Impl {
  struct PendingCall;

  Impl(std::shared_ptr<TAsyncDispatchProcessor> processor_in, const Limits& limits_in,
       Counters& counters_in, Sink sink_in, std::shared_ptr<CallBuffers> buffers_in)
      : processor(std::move(processor_in)),
        limits(limits_in),
        counters(counters_in),
        sink(std::move(sink_in)),
        buffers(buffers_in ? std::move(buffers_in) : MakeCallBuffers(limits_in)) {}

  void Reply(const PendingCall& call);
  void SendException(const MessageHeader& call, Protocol protocol, int type,
                     const std::string& message);

  const std::shared_ptr<TAsyncDispatchProcessor> processor;
  const Limits limits;
  Counters& counters;
  Sink sink;  // empty once the dispatcher is gone
  const std::shared_ptr<CallBuffers> buffers;
  std::size_t calls_in_flight = 0;
  std::size_t bytes_in_flight = 0;
};

struct CallDispatcher::Impl::PendingCall {
  PendingCall(std::shared_ptr<Impl> impl_in, MessageHeader header_in, Protocol protocol_in,
              std::size_t bytes_in)
      : impl(std::move(impl_in)),
        header(std::move(header_in)),
        protocol(protocol_in),
        frame_bytes(bytes_in) {
    ++impl->calls_in_flight;
    impl->bytes_in_flight += frame_bytes;
  }

  ~PendingCall() {
    if (!answered) {
      LOG_IF(ERROR, impl->sink != nullptr)
          << "wire.call_dropped method=" << header.name << " seqid=" << header.seqid
          << " a handler has let go of a call without answering it";
      Finish();
    }
  }

  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;
  PendingCall(PendingCall&&) = delete;
  PendingCall& operator=(PendingCall&&) = delete;

  void Finish() {
    CHECK(!answered) << "wire: two answers to one call of " << header.name;
    answered = true;
    --impl->calls_in_flight;
    impl->bytes_in_flight -= frame_bytes;
  }

  const std::shared_ptr<Impl> impl;
  const MessageHeader header;
  const Protocol protocol;
  const std::size_t frame_bytes;
  bool answered = false;
  bool malformed = false;
};

void CallDispatcher::Impl::SendException(const MessageHeader& call, Protocol protocol, int type,
                                         const std::string& message) {
  MessageWriter& writer = buffers->writer;
  WriteApplicationException(writer.Begin(protocol), call, type, message);
  if (sink && call.type != T_ONEWAY) {
    ++counters.replies;
    sink(writer.bytes());
  }
  writer.Reset();
}

// The generated code has written the reply of `call`, or nothing for a one-way method.
void CallDispatcher::Impl::Reply(const PendingCall& call) {
  MessageWriter& writer = buffers->writer;
  const std::string_view bytes = writer.bytes();
  if (bytes.size() > limits.frame_bytes_max) {
    const std::string message = "the reply of " + std::to_string(bytes.size()) +
                                " bytes is over the frame limit of " +
                                std::to_string(limits.frame_bytes_max);
    SendException(call.header, call.protocol, TApplicationException::INTERNAL_ERROR, message);
    return;
  }
  if (!bytes.empty() && sink && call.header.type != T_ONEWAY) {
    ++counters.replies;
    sink(bytes);
  }
  writer.Reset();
}

CallDispatcher::CallDispatcher(std::shared_ptr<TAsyncDispatchProcessor> processor,
                               const Limits& limits, Counters& counters, Sink sink,
                               std::shared_ptr<CallBuffers> buffers)
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
  // A handler may close the connection, and with it this object.
  const std::shared_ptr<Impl> impl = impl_;
  MessageHeader header;
  TProtocol* in = nullptr;
  try {
    in = &impl->buffers->reader.Begin(frame, *protocol);
    in->readMessageBegin(header.name, header.type, header.seqid);
  } catch (const std::exception& error) {
    return refuse(Refusal::kMalformed, std::string("no message: ") + error.what());
  }
  if (header.type != T_CALL && header.type != T_ONEWAY) {
    return refuse(Refusal::kMalformed,
                  "a message of type " + std::to_string(header.type) + " is not a call");
  }
  ++impl->counters.calls;
  const auto call =
      std::make_shared<Impl::PendingCall>(impl, std::move(header), *protocol, frame.size());
  TProtocol& out = impl->buffers->writer.protocol(*protocol);
  try {
    const auto done = [call](bool healthy) {
      call->malformed = !healthy;
      call->Finish();
      if (healthy) {
        call->impl->Reply(*call);
      }
    };
    impl->processor->dispatchCall(done, in, &out, call->header.name, call->header.seqid);
  } catch (const TProtocolException&) {
    call->malformed = true;  // thrown while the arguments of an unknown method were skipped
  } catch (const TTransportException&) {
    call->malformed = true;
  } catch (const std::exception& error) {
    LOG(ERROR) << "wire.handler_threw method=" << call->header.name << " what=\"" << error.what()
               << '"';
    if (!call->answered) {
      call->Finish();
      impl->SendException(call->header, *protocol, TApplicationException::INTERNAL_ERROR,
                          "internal error");
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
