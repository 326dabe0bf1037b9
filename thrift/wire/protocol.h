// Thrift's protocols over one frame in memory, with the limits that libthrift 0.17 does not set by
// itself: without them a message of seven bytes makes it allocate 512 MiB.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

namespace conclave::wire {

enum class Protocol : std::uint8_t { kBinary, kCompact };

/// By the first byte of a message: 0x80 binary (strict), 0x82 compact.
std::optional<Protocol> DetectProtocol(std::string_view frame);

/// Reads messages out of frames; one object serves any number of frames, one after the other.
///
/// Thread: one.
class MessageReader {
 public:
  explicit MessageReader(std::uint32_t container_size_max);
  ~MessageReader();
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;
  MessageReader(MessageReader&&) = delete;
  MessageReader& operator=(MessageReader&&) = delete;

  /// Begins a frame. The bytes must stay until the next Begin. The protocol throws Thrift's
  /// exceptions on everything that does not decode: no string can be longer than the frame, no
  /// container larger than the limit, no nesting deeper than 64.
  apache::thrift::protocol::TProtocol& Begin(std::string_view frame, Protocol protocol);

 private:
  class Input;
  class Compact;

  std::shared_ptr<Input> input_;
  apache::thrift::protocol::TBinaryProtocolT<apache::thrift::transport::TMemoryBuffer> binary_;
  std::unique_ptr<Compact> compact_;
};

/// Elements of a list that somebody has encoded already.
class ListElements {
 public:
  ListElements() = default;
  ListElements(const ListElements&) = delete;
  ListElements& operator=(const ListElements&) = delete;
  ListElements(ListElements&&) = delete;
  ListElements& operator=(ListElements&&) = delete;

  [[nodiscard]] virtual std::uint32_t count() const = 0;
  /// Writes them one after the other, through `out` or as bytes to its transport.
  virtual void Write(apache::thrift::protocol::TProtocol& out, Protocol which) const = 0;

 protected:
  ~ListElements() = default;
};

/// While it lives, the first list of structs that a MessageWriter of this thread is given empty
/// gets these elements instead: what is the same in many messages is then neither put into the
/// generated structs of each nor encoded for each. They must outlive it; null: nothing happens.
class ListSplice {
 public:
  explicit ListSplice(const ListElements* elements);
  ~ListSplice();
  ListSplice(const ListSplice&) = delete;
  ListSplice& operator=(const ListSplice&) = delete;
  ListSplice(ListSplice&&) = delete;
  ListSplice& operator=(ListSplice&&) = delete;
};

/// Writes messages into a buffer that is used again and again.
///
/// Thread: one.
class MessageWriter {
 public:
  MessageWriter();
  ~MessageWriter();
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
  std::shared_ptr<apache::thrift::transport::TMemoryBuffer> output_;
  std::unique_ptr<apache::thrift::protocol::TProtocol> binary_;
  std::unique_ptr<apache::thrift::protocol::TProtocol> compact_;
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
