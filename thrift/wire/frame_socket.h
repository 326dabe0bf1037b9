// Frames over one connected stream on an event loop: what both ends of a connection have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "thrift/wire/counters.h"
#include "thrift/wire/event_loop.h"
#include "thrift/wire/frame_buffer.h"
#include "thrift/wire/frame_stream.h"
#include "thrift/wire/limits.h"
#include "thrift/wire/stream.h"

struct event;

namespace conclave::wire {

class ServerBudget;

/// Owned by a shared pointer: it keeps itself alive while it calls its handler, which may close it.
///
/// Thread: the loop's.
/// Invariants:
///   1. Frames and OnClosed come from the loop's turn, never inside a method of this class; after
///      OnClosed nothing comes.
///   2. It is not read from while paused, and holds at most one read's bytes then.
class FrameSocket final : public TurnEndHook, public std::enable_shared_from_this<FrameSocket> {
 public:
  class Handler {
   public:
    Handler() = default;
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;
    Handler(Handler&&) = delete;
    Handler& operator=(Handler&&) = delete;

    virtual void OnFrame(std::string_view payload) = 0;
    /// A frame over the limit was skipped; its payload begins with `head`.
    virtual void OnTooLarge(std::string_view head, std::uint64_t declared_bytes) = 0;
    /// What was received is refused, or too much waits to be sent (then inside Send): the handler
    /// closes, at once or after a farewell.
    virtual void OnRefused(Refusal refusal, const std::string& detail) = 0;
    /// More output waits, over all connections, than may. Called inside Send.
    virtual void OnOutputOverBudget() = 0;
    virtual void OnClosed(const CloseReason& reason) = 0;

   protected:
    ~Handler() = default;
  };

  /// All must outlive it; `budget` may be null. Call Start next.
  FrameSocket(EventLoop& loop, std::unique_ptr<Stream> stream, const Limits& limits,
              Counters& counters, ServerBudget* budget);
  ~FrameSocket() override;
  FrameSocket(const FrameSocket&) = delete;
  FrameSocket& operator=(const FrameSocket&) = delete;
  FrameSocket(FrameSocket&&) = delete;
  FrameSocket& operator=(FrameSocket&&) = delete;

  /// `handler` must stay until OnClosed or Abandon.
  void Start(Handler* handler);

  /// Queues a frame for the end of the turn, or sends at once if much waits.
  void Send(std::string_view payload);
  /// The same with bytes that are no frame.
  void SendRaw(std::string_view bytes);

  /// Back-pressure: no frame is delivered until Resume, which takes effect at the end of the turn.
  void Pause();
  void Resume();

  [[nodiscard]] bool paused() const { return paused_; }

  /// Closes at the end of the turn; what waits to be sent is dropped.
  void Close(CloseReason reason);
  /// Receives nothing more, sends what waits, tells the other side that this is all, and closes
  /// when that has closed too or after a second.
  void CloseAfterOutput(CloseReason reason);

  /// Closes now and never calls the handler again.
  void Abandon();

  /// Whether a time limit has passed, and which. `busy`: calls are in flight, so silence is fine.
  [[nodiscard]] bool Overdue(std::int64_t now_ns, bool busy, Refusal& refusal) const;

  [[nodiscard]] std::size_t output_bytes() const { return output_.bytes(); }

  [[nodiscard]] bool closing() const { return phase_ != Phase::kOpen; }

  /// When the frame now delivered was complete.
  [[nodiscard]] std::int64_t received_ns() const { return received_ns_; }

  void OnTurnEnd() override;

 private:
  enum class Phase : std::uint8_t {
    kOpen,
    kSendingRest,  // CloseAfterOutput; what is received is thrown away
    kLingering,    // all sent and said so; waits for the other side's end
    kDoomed,       // closes at the end of the turn
    kClosed,
  };

  static void OnReadable(int fd, short what, void* self);
  static void OnWritable(int fd, short what, void* self);

  void ReadTurn();
  void DeliverFrames();
  void Flush();
  void AfterSend(std::size_t before);
  void UpdateEvents();
  void AccountOutput();
  void Finish();
  void ReleaseSocket();

  // Constant after construction.
  EventLoop& loop_;
  const Limits limits_;
  Counters& counters_;
  ServerBudget* const budget_;

  std::unique_ptr<Stream> stream_;
  Handler* handler_ = nullptr;
  event* read_event_ = nullptr;
  event* write_event_ = nullptr;
  FrameReader reader_;
  OutputQueue output_;
  std::size_t output_accounted_ = 0;  // what counters and budget know of
  CloseReason reason_;
  Phase phase_ = Phase::kOpen;
  bool paused_ = false;
  bool resume_requested_ = false;
  bool wants_write_ = false;
  bool got_frame_ = false;
  std::int64_t received_ns_ = 0;
  std::int64_t started_ns_ = 0;
  std::int64_t partial_since_ns_ = 0;  // 0: no frame has begun
  std::int64_t blocked_since_ns_ = 0;  // 0: the kernel takes what there is; else last progress
  std::int64_t lingering_until_ns_ = 0;
};

}  // namespace conclave::wire
