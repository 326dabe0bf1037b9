#include "thrift/wire/protocol.h"

#include <thrift/TApplicationException.h>

namespace conclave::wire {

using apache::thrift::TApplicationException;
using apache::thrift::protocol::T_EXCEPTION;
using apache::thrift::protocol::TProtocol;

std::optional<Protocol> DetectProtocol(std::string_view frame) {
  if (frame.empty()) {
    return std::nullopt;
  }
  switch (static_cast<std::uint8_t>(frame[0])) {
    case 0x80:
      return Protocol::kBinary;
    case 0x82:
      return Protocol::kCompact;
    default:
      return std::nullopt;
  }
}

MessageReader::MessageReader(std::uint32_t container_size_max)
    : input_(container_size_max), binary_(&input_), compact_(&input_) {}

TProtocol& MessageReader::Begin(std::string_view frame, Protocol protocol) {
  input_.Begin(frame);
  if (protocol == Protocol::kBinary) {
    return binary_;
  }
  compact_.Begin();
  return compact_;
}

MessageWriter::MessageWriter() : binary_(&output_), compact_(&output_) {}

TProtocol& MessageWriter::Begin(Protocol which) {
  Reset();
  return protocol(which);
}

TProtocol& MessageWriter::protocol(Protocol which) {
  if (which == Protocol::kBinary) {
    return binary_;
  }
  return compact_;
}

std::string_view MessageWriter::bytes() const { return output_.bytes(); }

void MessageWriter::Reset() {
  constexpr std::size_t kKeepBytes = std::size_t{256} << 10;
  compact_.Begin();
  if (output_.capacity() > kKeepBytes) {
    output_.Release();
  } else {
    output_.Clear();
  }
}

void WriteApplicationException(TProtocol& protocol, const MessageHeader& call, int type,
                               const std::string& message) {
  const TApplicationException exception(
      static_cast<TApplicationException::TApplicationExceptionType>(type), message);
  protocol.writeMessageBegin(call.name, T_EXCEPTION, call.seqid);
  exception.write(&protocol);
  protocol.writeMessageEnd();
}

}  // namespace conclave::wire
