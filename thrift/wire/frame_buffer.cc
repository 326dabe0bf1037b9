#include "thrift/wire/frame_buffer.h"

#include <algorithm>
#include <array>
#include <limits>

#include <glog/logging.h>

namespace conclave::wire {
namespace {

// A frame over the limit, but not over this, is read and thrown away, so that the call that it
// carries can be answered with an error that names the limit. Beyond, the connection is closed.
constexpr std::uint64_t kSkipBytesMax = std::uint64_t{64} << 20;

// Enough of a skipped frame to find the name and number of its call.
constexpr std::size_t kSkippedHeadBytes = 256;

// A buffer that has grown past this is given back when it is empty.
constexpr std::size_t kKeepCapacity = 1024;

// Output is kept in pieces of this size: small frames side by side, large ones in several. Pieces
// of one size leave no holes in the heap when many connections have much to send and are dropped.
constexpr std::size_t kChunkBytes = 16 << 10;

// Places of pieces that have been sent are not worth tidying up while they are so few.
constexpr std::size_t kSentKept = 8;

std::uint32_t DecodeFrameHeader(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i) {
    value = (value << 8) | static_cast<std::uint8_t>(bytes[i]);
  }
  return value;
}

bool LooksLikeHttp(std::string_view header) {
  constexpr std::array<std::string_view, 9> kMethods = {"GET ", "POST", "PUT ", "HEAD", "DELE",
                                                        "OPTI", "PATC", "TRAC", "CONN"};
  return std::find(kMethods.begin(), kMethods.end(), header.substr(0, 4)) != kMethods.end();
}

}  // namespace

void EncodeFrameHeader(std::uint32_t payload_bytes, char* into) {
  into[0] = static_cast<char>(payload_bytes >> 24);
  into[1] = static_cast<char>(payload_bytes >> 16);
  into[2] = static_cast<char>(payload_bytes >> 8);
  into[3] = static_cast<char>(payload_bytes);
}

FrameReader::Item FrameReader::Judge(std::string_view header) const {
  const std::uint32_t declared = DecodeFrameHeader(header);
  Item item;
  item.kind = Kind::kFrame;
  item.declared_bytes = declared;
  if (declared > 0 && declared <= frame_bytes_max_) {
    return item;
  }
  item.kind = Kind::kRefused;
  if (declared == 0) {
    item.refusal = Refusal::kMalformed;
  } else if (LooksLikeHttp(header)) {
    item.refusal = Refusal::kHttp;
  } else if (header[0] == 0x16 && header[1] == 0x03) {
    item.refusal = Refusal::kTls;
  } else if (declared > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max())) {
    item.refusal = Refusal::kNotFramed;
  } else {
    item.refusal = Refusal::kFrameTooLarge;
    item.kind = declared <= kSkipBytesMax ? Kind::kTooLarge : Kind::kRefused;
  }
  return item;
}

void FrameReader::DropConsumed() {
  if (position_ < buffer_.size()) {
    return;
  }
  position_ = 0;
  if (buffer_.capacity() > kKeepCapacity) {
    std::string().swap(buffer_);  // an assignment would keep the memory
  } else {
    buffer_.clear();
  }
}

FrameReader::Item FrameReader::Next() {
  if (skip_bytes_ > 0) {
    return Skip();
  }
  DropConsumed();
  for (;;) {
    const bool buffered = position_ < buffer_.size();
    const std::string_view view = buffered ? std::string_view(buffer_).substr(position_) : chunk_;
    std::size_t wanted = kFrameHeaderBytes;
    if (view.size() >= kFrameHeaderBytes) {
      Item item = Judge(view);
      if (item.kind == Kind::kRefused) {
        return item;
      }
      if (item.kind == Kind::kTooLarge) {
        Take(buffered, kFrameHeaderBytes);
        skip_bytes_ = item.declared_bytes;
        skip_declared_ = item.declared_bytes;
        skipped_head_.clear();
        return Skip();
      }
      wanted += item.declared_bytes;
      if (view.size() >= wanted) {
        item.bytes = view.substr(kFrameHeaderBytes, item.declared_bytes);
        Take(buffered, wanted);
        return item;
      }
    }
    if (!buffered || chunk_.empty()) {
      return {};
    }
    // A frame that began in the buffer goes on in the chunk: bring the rest of it (or of its
    // header).
    CompactBuffer();
    const std::size_t missing = std::min(wanted - buffer_.size(), chunk_.size());
    buffer_.append(chunk_.substr(0, missing));
    chunk_.remove_prefix(missing);
  }
}

void FrameReader::Take(bool from_buffer, std::size_t bytes) {
  if (from_buffer) {
    position_ += bytes;
  } else {
    chunk_.remove_prefix(bytes);
  }
}

void FrameReader::CompactBuffer() {
  if (position_ > 0) {
    buffer_.erase(0, position_);
    position_ = 0;
  }
}

FrameReader::Item FrameReader::Skip() {
  for (const bool from_buffer : {true, false}) {
    const std::string_view view =
        from_buffer ? std::string_view(buffer_).substr(position_) : chunk_;
    const std::size_t taken = std::min<std::uint64_t>(view.size(), skip_bytes_);
    skipped_head_.append(view.substr(0, std::min(taken, kSkippedHeadBytes - skipped_head_.size())));
    Take(from_buffer, taken);
    skip_bytes_ -= taken;
  }
  if (skip_bytes_ > 0) {
    DropConsumed();
    return {};
  }
  Item item;
  item.kind = Kind::kTooLarge;
  item.bytes = skipped_head_;
  item.declared_bytes = skip_declared_;
  return item;
}

void FrameReader::Retain() {
  DropConsumed();
  if (!chunk_.empty()) {
    CompactBuffer();
    buffer_.append(chunk_);
    chunk_ = {};
  }
}

void OutputQueue::PushFrame(std::string_view payload) {
  std::array<char, kFrameHeaderBytes> header{};
  EncodeFrameHeader(static_cast<std::uint32_t>(payload.size()), header.data());
  PushRaw({header.data(), header.size()});
  PushRaw(payload);
}

void OutputQueue::PushRaw(std::string_view bytes) {
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    if (chunks_.size() == front_ || chunks_.back().size() == kChunkBytes) {
      chunks_.emplace_back().reserve(std::min(kChunkBytes, bytes.size()));
    }
    std::string& tail = chunks_.back();
    const std::size_t taken = std::min(bytes.size(), kChunkBytes - tail.size());
    if (tail.capacity() < tail.size() + taken) {
      tail.reserve(std::min(kChunkBytes, 2 * (tail.size() + taken)));
    }
    tail.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
  }
}

int OutputQueue::Gather(iovec* pieces, int count_max) const {
  int count = 0;
  std::size_t skip = front_sent_;
  for (std::size_t i = front_; i < chunks_.size() && count < count_max; ++i) {
    const std::string& chunk = chunks_[i];
    pieces[count].iov_base = const_cast<char*>(chunk.data()) + skip;  // NOLINT: only read from
    pieces[count].iov_len = chunk.size() - skip;
    ++count;
    skip = 0;
  }
  return count;
}

void OutputQueue::Consume(std::size_t sent) {
  CHECK_LE(sent, bytes_);
  bytes_ -= sent;
  if (bytes_ == 0) {
    Clear();
    return;
  }
  front_sent_ += sent;
  while (front_sent_ >= chunks_[front_].size()) {
    front_sent_ -= chunks_[front_].size();
    std::string().swap(chunks_[front_++]);  // an assignment would keep the memory
  }
  if (front_ > kSentKept && front_ > chunks_.size() / 2) {
    chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(front_));
    front_ = 0;
  }
}

void OutputQueue::Clear() {
  if (chunks_.capacity() > kSentKept) {
    std::vector<std::string>().swap(chunks_);
  } else {
    chunks_.clear();
  }
  front_ = 0;
  front_sent_ = 0;
  bytes_ = 0;
}

}  // namespace conclave::wire
