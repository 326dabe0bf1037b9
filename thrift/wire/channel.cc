#include "thrift/wire/channel.h"

#include <algorithm>
#include <exception>
#include <set>
#include <vector>

#include <glog/logging.h>
#include <thrift/TApplicationException.h>

namespace conclave::wire {

using apache::thrift::TApplicationException;
using apache::thrift::protocol::T_CALL;
using apache::thrift::protocol::T_EXCEPTION;
using apache::thrift::protocol::T_ONEWAY;
using apache::thrift::protocol::T_REPLY;
using apache::thrift::protocol::TMessageType;
using apache::thrift::protocol::TProtocol;

struct Channel::Impl : std::enable_shared_from_this<Channel::Impl> {
  struct Pending {
    Answer answer;
    std::int64_t deadline_ns = 0;  // 0: none
  };

  Impl(Scheduler& scheduler_in, StreamFactory factory_in, ChannelOptions options_in)
      : scheduler(scheduler_in),
        factory(std::move(factory_in)),
        options(options_in),
        reader(options.limits.container_size_max) {}

  // A call's number on the wire: the low bits of its id, never negative, because some languages
  // print it, and never that of another outstanding call, because those are fewer.
  static std::int32_t Seqid(CallId id) { return static_cast<std::int32_t>(id & 0x7fffffff); }

  void Opened();
  void Closed(const CloseReason& reason);
  void Received(std::string_view frame);
  void Deliver(const MessageHeader& header, TProtocol& in);
  void BreakOff(const std::string& why);
  void FailAll(const CallFailure& failure);
  tl::expected<void, CallFailure> Send(std::string_view method, TMessageType type,
                                       std::int32_t seqid, const Encode& encode);
  void FailLater(Answer answer, CallFailure failure);
  void ArmTimer();
  void Expire();

  Scheduler& scheduler;
  const StreamFactory factory;
  const ChannelOptions options;
  MessageReader reader;
  MessageWriter writer;
  std::function<void()> on_open;
  std::function<void(const CloseReason&)> on_closed;
  std::unique_ptr<FrameStream> stream;
  State state = State::kClosed;
  std::uint64_t stream_number = 0;  // callbacks of an earlier stream are not ours
  bool gone = false;                // the Channel is destroyed
  CallId next_call = 1;
  std::unordered_map<std::int32_t, std::pair<CallId, Pending>> pending;
  std::set<std::pair<std::int64_t, CallId>> deadlines;
  TimerId timer = kNoTimer;
  std::int64_t timer_due_ns = 0;
};

void Channel::Impl::Opened() {
  state = State::kOpen;
  if (on_open) {
    on_open();
  }
}

void Channel::Impl::Closed(const CloseReason& reason) {
  const auto keep = shared_from_this();
  // Calls made while it was opening have not left, so they have not been executed.
  const bool was_open = state == State::kOpen;
  state = State::kClosed;
  ++stream_number;
  const std::unique_ptr<FrameStream> ended = std::move(stream);
  FailAll({.kind = CallFailure::Kind::kClosed,
           .may_have_been_sent = was_open,
           .message = reason.message,
           .close_kind = reason.kind});
  if (!gone && on_closed) {
    on_closed(reason);
  }
}

void Channel::Impl::FailAll(const CallFailure& failure) {
  std::vector<std::pair<CallId, Answer>> failed;
  failed.reserve(pending.size());
  for (auto& [seqid, call] : pending) {
    failed.emplace_back(call.first, std::move(call.second.answer));
  }
  pending.clear();
  deadlines.clear();
  // In the order of the calls, not of the table's hash.
  std::sort(failed.begin(), failed.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [id, answer] : failed) {
    if (gone) {
      return;
    }
    answer(tl::make_unexpected(failure));
  }
}

void Channel::Impl::BreakOff(const std::string& why) {
  if (state != State::kClosed) {
    Closed({CloseKind::kRefused, why});
  }
}

void Channel::Impl::Received(std::string_view frame) {
  const auto keep = shared_from_this();
  const auto protocol = DetectProtocol(frame);
  if (!protocol) {
    BreakOff("an answer that is neither Thrift binary nor compact");
    return;
  }
  MessageHeader header;
  TProtocol* in = nullptr;
  try {
    in = &reader.Begin(frame, *protocol);
    in->readMessageBegin(header.name, header.type, header.seqid);
  } catch (const std::exception& error) {
    BreakOff(std::string("an answer that does not decode: ") + error.what());
    return;
  }
  if (header.type != T_REPLY && header.type != T_EXCEPTION) {
    BreakOff("a message of type " + std::to_string(header.type) + " is not an answer");
    return;
  }
  Deliver(header, *in);
}

void Channel::Impl::Deliver(const MessageHeader& header, TProtocol& in) {
  const auto found = pending.find(header.seqid);
  if (found == pending.end()) {
    return;  // too late, or cancelled
  }
  const CallId id = found->second.first;
  Pending call = std::move(found->second.second);
  pending.erase(found);
  if (call.deadline_ns != 0) {
    deadlines.erase({call.deadline_ns, id});
  }
  bool answered = false;
  try {
    if (header.type == T_EXCEPTION) {
      TApplicationException exception;
      exception.read(&in);
      answered = true;
      call.answer(tl::make_unexpected(CallFailure{.kind = CallFailure::Kind::kApplication,
                                                  .may_have_been_sent = true,
                                                  .message = exception.what()}));
    } else {
      call.answer(&in);
    }
  } catch (const std::exception& error) {
    const std::string why = "the answer to " + header.name + " does not decode: " + error.what();
    if (!answered) {
      call.answer(tl::make_unexpected(CallFailure{
          .kind = CallFailure::Kind::kMalformed, .may_have_been_sent = true, .message = why}));
    }
    if (!gone) {
      BreakOff(why);
    }
  }
}

tl::expected<void, CallFailure> Channel::Impl::Send(std::string_view method, TMessageType type,
                                                    std::int32_t seqid, const Encode& encode) {
  const auto failed = [](CallFailure::Kind kind, std::string message) {
    return tl::make_unexpected(CallFailure{.kind = kind, .message = std::move(message)});
  };
  if (state == State::kClosed) {
    return failed(CallFailure::Kind::kClosed, "not connected");
  }
  if (pending.size() >= options.calls_max || stream->output_bytes() > options.output_bytes_max) {
    return failed(CallFailure::Kind::kOverloaded, "too many calls or bytes are outstanding");
  }
  TProtocol& out = writer.Begin(options.protocol);
  out.writeMessageBegin(std::string(method), type, seqid);
  encode(out);
  out.writeMessageEnd();
  const std::size_t size = writer.bytes().size();
  if (size > options.limits.frame_bytes_max) {
    writer.Reset();
    return failed(CallFailure::Kind::kTooLarge, std::string(method) + " of " +
                                                    std::to_string(size) +
                                                    " bytes is over the frame limit of " +
                                                    std::to_string(options.limits.frame_bytes_max));
  }
  stream->Send(writer.bytes());
  writer.Reset();
  return {};
}

void Channel::Impl::FailLater(Answer answer, CallFailure failure) {
  scheduler.Post(
      [weak = weak_from_this(), answer = std::move(answer), failure = std::move(failure)] {
        const auto self = weak.lock();
        if (self != nullptr && !self->gone) {
          answer(tl::make_unexpected(failure));
        }
      });
}

// One timer for all deadlines, set for one at or before the earliest.
void Channel::Impl::ArmTimer() {
  if (deadlines.empty()) {
    return;
  }
  const std::int64_t due_ns = deadlines.begin()->first;
  if (timer != kNoTimer && timer_due_ns <= due_ns) {
    return;
  }
  scheduler.Cancel(timer);
  timer_due_ns = due_ns;
  timer = scheduler.PostAfter(due_ns - scheduler.NowNs(), [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self != nullptr && !self->gone) {
      self->timer = kNoTimer;
      self->Expire();
    }
  });
}

void Channel::Impl::Expire() {
  const std::int64_t now_ns = scheduler.NowNs();
  while (!gone && !deadlines.empty() && deadlines.begin()->first <= now_ns) {
    const CallId id = deadlines.begin()->second;
    deadlines.erase(deadlines.begin());
    const auto found = pending.find(Seqid(id));
    CHECK(found != pending.end() && found->second.first == id);
    const Answer answer = std::move(found->second.second.answer);
    pending.erase(found);
    answer(tl::make_unexpected(CallFailure{.kind = CallFailure::Kind::kTimeout,
                                           .may_have_been_sent = state == State::kOpen,
                                           .message = "no answer in time"}));
  }
  if (!gone) {
    ArmTimer();
  }
}

Channel::Channel(Scheduler& scheduler, StreamFactory factory, ChannelOptions options)
    : impl_(std::make_shared<Impl>(scheduler, std::move(factory), options)) {}

Channel::~Channel() {
  impl_->gone = true;
  impl_->scheduler.Cancel(impl_->timer);
  impl_->stream.reset();
}

void Channel::Open() {
  Impl& impl = *impl_;
  CHECK(impl.state == State::kClosed) << "wire: a channel is opened twice";
  impl.state = State::kOpening;
  const std::uint64_t number = ++impl.stream_number;
  const auto self = [weak = std::weak_ptr<Impl>(impl_), number]() -> std::shared_ptr<Impl> {
    auto locked = weak.lock();
    const bool ours = locked != nullptr && !locked->gone && locked->stream_number == number;
    return ours ? locked : nullptr;
  };
  impl.stream = impl.factory({.on_open =
                                  [self] {
                                    if (const auto locked = self()) {
                                      locked->Opened();
                                    }
                                  },
                              .on_frame =
                                  [self](std::string_view frame) {
                                    if (const auto locked = self()) {
                                      locked->Received(frame);
                                    }
                                  },
                              .on_closed =
                                  [self](const CloseReason& reason) {
                                    if (const auto locked = self()) {
                                      locked->Closed(reason);
                                    }
                                  }});
}

void Channel::Close(std::string_view message) {
  if (impl_->state != State::kClosed) {
    impl_->Closed({CloseKind::kLocal, std::string(message)});
  }
}

Channel::State Channel::state() const { return impl_->state; }

void Channel::OnOpen(std::function<void()> callback) { impl_->on_open = std::move(callback); }

void Channel::OnClosed(std::function<void(const CloseReason&)> callback) {
  impl_->on_closed = std::move(callback);
}

CallId Channel::Call(const CallOptions& options, const Encode& encode, Answer answer) {
  Impl& impl = *impl_;
  const CallId id = impl.next_call++;
  const std::int32_t seqid = Impl::Seqid(id);
  CHECK(!impl.pending.contains(seqid)) << "wire: a call has been outstanding for 2^31 others";
  if (auto sent = impl.Send(options.method, T_CALL, seqid, encode); !sent) {
    impl.FailLater(std::move(answer), std::move(sent.error()));
    return id;
  }
  Impl::Pending call{.answer = std::move(answer)};
  if (options.timeout_ns > 0) {
    call.deadline_ns = impl.scheduler.NowNs() + options.timeout_ns;
    impl.deadlines.emplace(call.deadline_ns, id);
  }
  impl.pending.emplace(seqid, std::make_pair(id, std::move(call)));
  impl.ArmTimer();
  return id;
}

tl::expected<void, CallFailure> Channel::Notify(std::string_view method, const Encode& encode) {
  return impl_->Send(method, T_ONEWAY, 0, encode);
}

bool Channel::Cancel(CallId call) {
  Impl& impl = *impl_;
  const auto found = impl.pending.find(Impl::Seqid(call));
  if (found == impl.pending.end() || found->second.first != call) {
    return false;
  }
  if (found->second.second.deadline_ns != 0) {
    impl.deadlines.erase({found->second.second.deadline_ns, call});
  }
  // Destroyed after the table is whole again.
  const Answer answer = std::move(found->second.second.answer);
  impl.pending.erase(found);
  return true;
}

std::size_t Channel::outstanding() const { return impl_->pending.size(); }

std::size_t Channel::output_bytes() const {
  return impl_->stream != nullptr ? impl_->stream->output_bytes() : 0;
}

}  // namespace conclave::wire
