// Bytes over a connected socket. The seam for TLS: the frame code above it asks what it may do next
// and does not know whether the bytes are encrypted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <sys/uio.h>

namespace conclave::wire {

enum class IoStatus : std::uint8_t {
  kDone,       // `bytes` were moved, at least one
  kWantRead,   // nothing moved: try again when the socket is readable
  kWantWrite,  // nothing moved: try again when it is writable
  kEnd,        // the other side has closed in order
  kFailed,     // `error` says why; the stream is unusable
};

struct IoResult {
  IoStatus status = IoStatus::kFailed;
  std::size_t bytes = 0;
  int error = 0;  // errno
};

/// Owns the socket. Never blocks.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Stream(Stream&&) = delete;
  Stream& operator=(Stream&&) = delete;
  virtual ~Stream() = default;

  [[nodiscard]] virtual int fd() const = 0;
  virtual IoResult Read(char* into, std::size_t bytes_max) = 0;
  /// May move a part. REQUIRES: 0 < count <= 64.
  virtual IoResult Write(const iovec* pieces, int count) = 0;
  /// Says that nothing more will be written; the other side reads an end.
  virtual void EndOutput() = 0;
};

/// Takes over a connected non-blocking socket.
std::unique_ptr<Stream> MakePlainStream(int socket);

/// Sets what every connection of ours has: no delay, and a dead peer noticed within half a minute.
void SetConnectionOptions(int socket);

}  // namespace conclave::wire
