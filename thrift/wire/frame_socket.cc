#include "thrift/wire/frame_socket.h"

#include <array>
#include <system_error>
#include <utility>

#include <event2/event.h>
#include <glog/logging.h>

#include "thrift/wire/frame_server.h"

namespace conclave::wire {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;

// One read, and how many reads one connection may have before it is the others' turn.
constexpr std::size_t kReadBytes = 64 << 10;
constexpr int kReadsPerTurn = 4;

// Output is sent before the end of the turn when so much of it waits.
constexpr std::size_t kEagerFlushBytes = 64 << 10;

constexpr int kPiecesPerSend = 64;
constexpr std::int64_t kLingerNs = 1'000 * kNsPerMs;

// One per loop would do; one per thread is the same. It need not outlive a read turn, because what
// is left of it then is copied.
std::array<char, kReadBytes>& ReadScratch() {
  thread_local std::array<char, kReadBytes> scratch;
  return scratch;
}

std::string ErrorText(int error) { return std::system_category().message(error); }

}  // namespace

FrameSocket::FrameSocket(EventLoop& loop, std::unique_ptr<Stream> stream, const Limits& limits,
                         Counters& counters, ServerBudget* budget)
    : loop_(loop),
      limits_(limits),
      counters_(counters),
      budget_(budget),
      stream_(std::move(stream)),
      reader_(limits.frame_bytes_max) {}

FrameSocket::~FrameSocket() { Abandon(); }

void FrameSocket::Start(Handler* handler) {
  handler_ = handler;
  started_ns_ = loop_.NowNs();
  received_ns_ = started_ns_;
  read_event_ = event_new(loop_.base(), stream_->fd(), EV_READ | EV_PERSIST, &OnReadable, this);
  CHECK(read_event_ != nullptr);
  UpdateEvents();
}

void FrameSocket::OnReadable(int /*fd*/, short /*what*/, void* self) {
  const auto keep = static_cast<FrameSocket*>(self)->shared_from_this();
  keep->ReadTurn();
}

void FrameSocket::OnWritable(int /*fd*/, short /*what*/, void* self) {
  const auto keep = static_cast<FrameSocket*>(self)->shared_from_this();
  keep->Flush();
}

void FrameSocket::ReadTurn() {
  auto& scratch = ReadScratch();
  for (int i = 0; i < kReadsPerTurn && (phase_ != Phase::kDoomed && phase_ != Phase::kClosed);
       ++i) {
    const IoResult result = stream_->Read(scratch.data(), scratch.size());
    ++counters_.receive_calls;
    if (result.status == IoStatus::kEnd) {
      Close({CloseKind::kRemote, "closed by the other side"});
      return;
    }
    if (result.status == IoStatus::kFailed) {
      Close({CloseKind::kReset, ErrorText(result.error)});
      return;
    }
    if (result.status != IoStatus::kDone) {
      return;
    }
    counters_.bytes_received += result.bytes;
    if (phase_ == Phase::kOpen) {
      received_ns_ = loop_.NowNs();
      reader_.Append({scratch.data(), result.bytes});
      DeliverFrames();
    }
    // Less than asked for: nothing is left, and asking for it would be a system call for nothing.
    if (paused_ || result.bytes < scratch.size()) {
      return;
    }
  }
}

// Delivers what is complete, until the handler pauses or closes.
void FrameSocket::DeliverFrames() {
  bool completed = false;
  while (phase_ == Phase::kOpen && !paused_) {
    const FrameReader::Item item = reader_.Next();
    if (item.kind == FrameReader::Kind::kNeedMore) {
      break;
    }
    completed = true;
    if (item.kind == FrameReader::Kind::kFrame) {
      ++counters_.frames_received;
      got_frame_ = true;
      handler_->OnFrame(item.bytes);
    } else if (item.kind == FrameReader::Kind::kTooLarge) {
      got_frame_ = true;
      handler_->OnTooLarge(item.bytes, item.declared_bytes);
    } else {
      handler_->OnRefused(item.refusal, "");
      CHECK(phase_ != Phase::kOpen) << "wire: a refused connection goes on";
    }
  }
  if (phase_ != Phase::kOpen) {
    return;
  }
  reader_.Retain();
  if (paused_ || !reader_.holds_bytes()) {
    partial_since_ns_ = 0;
  } else if (completed || partial_since_ns_ == 0) {
    partial_since_ns_ = received_ns_;
  }
}

void FrameSocket::Send(std::string_view payload) {
  if (phase_ != Phase::kOpen && phase_ != Phase::kSendingRest) {
    return;
  }
  ++counters_.frames_sent;
  const std::size_t before = output_.bytes();
  output_.PushFrame(payload);
  AfterSend(before);
}

void FrameSocket::SendRaw(std::string_view bytes) {
  if (phase_ != Phase::kOpen) {
    return;
  }
  const std::size_t before = output_.bytes();
  output_.PushRaw(bytes);
  AfterSend(before);
}

void FrameSocket::AfterSend(std::size_t before) {
  loop_.RequestTurnEnd(this);
  const bool much =
      output_.bytes() >= kEagerFlushBytes || output_.bytes() > limits_.output_bytes_max;
  if (much && !wants_write_) {
    Flush();
    if (phase_ == Phase::kDoomed) {
      return;
    }
  }
  AccountOutput();
  if (output_.bytes() > limits_.output_bytes_max && before > 0) {
    // One reply may be as large as it likes; a second one has to wait for room.
    handler_->OnRefused(Refusal::kOutputOverLimit,
                        std::to_string(output_.bytes()) + " bytes wait to be sent");
    return;
  }
  if (budget_ != nullptr && budget_->OverOutput()) {
    handler_->OnOutputOverBudget();
  }
}

void FrameSocket::Flush() {
  while (!output_.empty() && (phase_ == Phase::kOpen || phase_ == Phase::kSendingRest)) {
    std::array<iovec, kPiecesPerSend> pieces{};
    const int count = output_.Gather(pieces.data(), kPiecesPerSend);
    const IoResult result = stream_->Write(pieces.data(), count);
    ++counters_.send_calls;
    if (result.status == IoStatus::kFailed || result.status == IoStatus::kEnd) {
      Close({CloseKind::kReset, ErrorText(result.error)});
      return;
    }
    if (result.status != IoStatus::kDone) {
      if (blocked_since_ns_ == 0) {
        blocked_since_ns_ = loop_.NowNs();
      }
      break;
    }
    counters_.bytes_sent += result.bytes;
    output_.Consume(result.bytes);
    blocked_since_ns_ = output_.empty() ? 0 : loop_.NowNs();
  }
  AccountOutput();
  if (phase_ == Phase::kSendingRest && output_.empty()) {
    stream_->EndOutput();
    phase_ = Phase::kLingering;
    lingering_until_ns_ = loop_.NowNs() + kLingerNs;
  }
  UpdateEvents();
}

void FrameSocket::AccountOutput() {
  const auto delta =
      static_cast<std::int64_t>(output_.bytes()) - static_cast<std::int64_t>(output_accounted_);
  if (delta == 0) {
    return;
  }
  output_accounted_ = output_.bytes();
  counters_.output_bytes += static_cast<std::uint64_t>(delta);
  if (budget_ != nullptr) {
    budget_->AddOutput(delta);
  }
}

void FrameSocket::UpdateEvents() {
  if (read_event_ == nullptr) {
    return;
  }
  const bool read = !paused_ && phase_ != Phase::kDoomed;
  const bool reads = event_pending(read_event_, EV_READ, nullptr) != 0;
  if (read != reads) {
    CHECK_EQ(read ? event_add(read_event_, nullptr) : event_del(read_event_), 0);
  }
  const bool write = !output_.empty() && blocked_since_ns_ != 0 && phase_ != Phase::kDoomed;
  if (write != wants_write_) {
    wants_write_ = write;
    if (write_event_ == nullptr) {
      // Most connections never need one.
      write_event_ =
          event_new(loop_.base(), stream_->fd(), EV_WRITE | EV_PERSIST, &OnWritable, this);
      CHECK(write_event_ != nullptr);
    }
    CHECK_EQ(write ? event_add(write_event_, nullptr) : event_del(write_event_), 0);
  }
}

void FrameSocket::Pause() {
  if (!paused_ && phase_ == Phase::kOpen) {
    paused_ = true;
    ++counters_.read_pauses;
    UpdateEvents();
  }
  resume_requested_ = false;
}

void FrameSocket::Resume() {
  if (paused_ && phase_ == Phase::kOpen && !resume_requested_) {
    resume_requested_ = true;
    loop_.RequestTurnEnd(this);
  }
}

void FrameSocket::Close(CloseReason reason) {
  if (phase_ == Phase::kDoomed || phase_ == Phase::kClosed) {
    return;
  }
  if (phase_ == Phase::kOpen) {
    reason_ = std::move(reason);  // else the first reason counts
  }
  phase_ = Phase::kDoomed;
  // Memory goes now: the connection may be dropped because of it.
  output_.Clear();
  AccountOutput();
  UpdateEvents();
  loop_.RequestTurnEnd(this);
}

void FrameSocket::CloseAfterOutput(CloseReason reason) {
  if (phase_ != Phase::kOpen) {
    return;
  }
  phase_ = Phase::kSendingRest;
  reason_ = std::move(reason);
  paused_ = false;
  resume_requested_ = false;
  UpdateEvents();
  loop_.RequestTurnEnd(this);
}

void FrameSocket::OnTurnEnd() {
  const auto keep = shared_from_this();
  if (phase_ == Phase::kDoomed) {
    Finish();
    return;
  }
  if (resume_requested_) {
    resume_requested_ = false;
    paused_ = false;
    received_ns_ = loop_.NowNs();
    DeliverFrames();
    UpdateEvents();
  }
  if (!wants_write_) {
    Flush();
  }
  if (phase_ == Phase::kDoomed) {
    loop_.CancelTurnEnd(this);
    Finish();
  }
}

void FrameSocket::Finish() {
  phase_ = Phase::kClosed;
  ReleaseSocket();
  Handler* const handler = std::exchange(handler_, nullptr);
  if (handler != nullptr) {
    handler->OnClosed(reason_);
  }
}

void FrameSocket::Abandon() {
  handler_ = nullptr;
  phase_ = Phase::kClosed;
  ReleaseSocket();
}

void FrameSocket::ReleaseSocket() {
  loop_.CancelTurnEnd(this);
  if (read_event_ != nullptr) {
    event_free(std::exchange(read_event_, nullptr));
  }
  if (write_event_ != nullptr) {
    event_free(std::exchange(write_event_, nullptr));
  }
  stream_.reset();
  output_.Clear();
  AccountOutput();
}

bool FrameSocket::Overdue(std::int64_t now_ns, bool busy, Refusal& refusal) const {
  const auto passed = [now_ns](std::int64_t since_ns, std::int64_t limit_ms) {
    return limit_ms > 0 && now_ns - since_ns > limit_ms * kNsPerMs;
  };
  if (phase_ == Phase::kLingering) {
    refusal = Refusal::kIdle;
    return now_ns > lingering_until_ns_;
  }
  if (blocked_since_ns_ != 0 && passed(blocked_since_ns_, limits_.output_stall_ms)) {
    refusal = Refusal::kOutputStalled;
    return true;
  }
  if (phase_ != Phase::kOpen || paused_) {
    return false;
  }
  if (partial_since_ns_ != 0 && passed(partial_since_ns_, limits_.frame_completion_ms)) {
    refusal = Refusal::kFrameIncomplete;
    return true;
  }
  if (!got_frame_ && passed(started_ns_, limits_.first_frame_ms)) {
    refusal = Refusal::kFirstFrameLate;
    return true;
  }
  refusal = Refusal::kIdle;
  return !busy && got_frame_ && passed(received_ns_, limits_.idle_ms);
}

}  // namespace conclave::wire
