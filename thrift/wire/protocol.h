// Messages in frames: either of Thrift's protocols, chosen by the first byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "thrift/wire/frame_protocols.h"

namespace conclave::wire {

/// By the first byte of a message: 0x80 binary (strict), 0x82 compact.
std::optional<Protocol> DetectProtocol(std::string_view frame);

/// Reads messages out of frames; one object serves any number of frames, one after the other.
///
/// Thread: one.
class MessageReader {
 public:
  explicit MessageReader(std::uint32_t container_size_max);
  ~MessageReader() = default;
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;
  MessageReader(MessageReader&&) = delete;
  MessageReader& operator=(MessageReader&&) = delete;

  /// Begins a frame. The bytes must stay until the next Begin. The protocol throws Thrift's
  /// exceptions on everything that does not decode: no string can be longer than the frame, no
  /// container larger than the limit, no nesting deeper than 64.
  apache::thrift::protocol::TProtocol& Begin(std::string_view frame, Protocol protocol);

 private:
  InputBytes input_;
  BinaryReader binary_;
  CompactReader compact_;
};

/// Writes messages into a buffer that is used again and again.
///
/// Thread: one.
class MessageWriter {
 public:
  MessageWriter();
  ~MessageWriter() = default;
  MessageWriter(const MessageWriter&) = delete;
  MessageWriter& operator=(const MessageWriter&) = delete;
  MessageWriter(MessageWriter&&) = delete;
  MessageWriter& operator=(MessageWriter&&) = delete;

  /// Begins a message; what was written before is forgotten.
  apache::thrift::protocol::TProtocol& Begin(Protocol protocol);
  /// The protocol to write with, without forgetting anything.
  apache::thrift::protocol::TProtocol& protocol(Protocol protocol);

  /// What has been written since Begin; valid until the next write.
  [[nodiscard]] std::string_view bytes() const;
  /// Forgets it, and the buffer too if it has become large.
  void Reset();

 private:
  OutputBytes output_;
  BinaryWriter binary_;
  CompactWriter compact_;
};

/// Name, type and number of a message.
struct MessageHeader {
  std::string name;
  apache::thrift::protocol::TMessageType type{};
  std::int32_t seqid = 0;
};

/// A whole message that carries a TApplicationException. REQUIRES: a valid `type`, see
/// apache::thrift::TApplicationException::TApplicationExceptionType.
void WriteApplicationException(apache::thrift::protocol::TProtocol& protocol,
                               const MessageHeader& call, int type, const std::string& message);

}  // namespace conclave::wire
