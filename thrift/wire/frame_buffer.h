// Bytes to frames and frames to bytes, without a socket: a frame is a length of four bytes, highest
// first, and as many bytes of payload.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/uio.h>

#include "thrift/wire/counters.h"

namespace conclave::wire {

inline constexpr std::size_t kFrameHeaderBytes = 4;

void EncodeFrameHeader(std::uint32_t payload_bytes, char* into);

/// Cuts received bytes into frames. Holds no memory between frames, and for an unfinished frame as
/// much as has been received of it, never what its length declares.
///
/// Use: Append a chunk; Next until kNeedMore or until you want no more; Retain before the chunk's
/// memory goes away.
class FrameReader {
 public:
  explicit FrameReader(std::uint32_t frame_bytes_max) : frame_bytes_max_(frame_bytes_max) {}

  enum class Kind : std::uint8_t {
    kNeedMore,
    kFrame,     // `bytes` is the payload, valid until the next call
    kTooLarge,  // a frame over the limit has been skipped; `bytes` is how its payload begins
    kRefused,   // not frames at all, or too large to skip: give up the connection
  };

  struct Item {
    Kind kind = Kind::kNeedMore;
    std::string_view bytes;
    std::uint64_t declared_bytes = 0;  // kTooLarge, kRefused
    Refusal refusal{};                 // kRefused
  };

  /// REQUIRES: the previous chunk was used up or retained.
  void Append(std::string_view chunk) { chunk_ = chunk; }

  Item Next();

  /// Copies what is left of the chunk.
  void Retain();

  /// A frame has begun and is not complete (complete ones may also wait, after a pause).
  [[nodiscard]] bool holds_bytes() const {
    return position_ < buffer_.size() || !chunk_.empty() || skip_bytes_ > 0;
  }

  /// Memory held, for tests.
  [[nodiscard]] std::size_t capacity() const {
    return buffer_.capacity() + skipped_head_.capacity();
  }

 private:
  // What begins with these bytes is (or is not) a frame that we take.
  Item Judge(std::string_view header) const;
  Item Skip();
  void Take(bool from_buffer, std::size_t bytes);
  void CompactBuffer();
  void DropConsumed();

  const std::uint32_t frame_bytes_max_;
  std::string buffer_;            // received before, not yet cut; begins at position_
  std::size_t position_ = 0;      // bytes before it have been handed out
  std::string_view chunk_;        // just received, after all of buffer_
  std::uint64_t skip_bytes_ = 0;  // of a frame over the limit, still to come
  std::uint64_t skip_declared_ = 0;
  std::string skipped_head_;
};

/// Frames that wait to be sent, in order, small ones side by side so that many leave in few pieces.
class OutputQueue {
 public:
  /// Adds a frame: the header and a copy of the payload.
  void PushFrame(std::string_view payload);
  /// Adds bytes as they are.
  void PushRaw(std::string_view bytes);

  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  [[nodiscard]] bool empty() const { return bytes_ == 0; }

  /// Fills up to `count_max` pieces with what is in front. Returns how many.
  int Gather(iovec* pieces, int count_max) const;

  /// Forgets what has been sent. REQUIRES: sent <= bytes().
  void Consume(std::size_t sent);

  /// Forgets all and gives the memory back.
  void Clear();

 private:
  std::vector<std::string> chunks_;  // those before front_ have been sent
  std::size_t front_ = 0;
  std::size_t front_sent_ = 0;  // of chunks_[front_]
  std::size_t bytes_ = 0;       // not sent yet
};

}  // namespace conclave::wire
