#include "thrift/wire/protocol.h"

#include <limits>
#include <utility>

#include <glog/logging.h>
#include <thrift/TApplicationException.h>
// Debian's libthrift instantiates the protocols for its own transports only.
#include <thrift/protocol/TBinaryProtocol.tcc>
#include <thrift/protocol/TCompactProtocol.tcc>

namespace conclave::wire {

using apache::thrift::TApplicationException;
using apache::thrift::protocol::T_EXCEPTION;
using apache::thrift::protocol::T_STRUCT;
using apache::thrift::protocol::TBinaryProtocolT;
using apache::thrift::protocol::TCompactProtocolT;
using apache::thrift::protocol::TProtocol;
using apache::thrift::protocol::TType;
using apache::thrift::transport::TMemoryBuffer;

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

// A memory buffer that looks at bytes of others. TMemoryBuffer's own way of doing so allocates.
class MessageReader::Input final : public TMemoryBuffer {
 public:
  Input() : TMemoryBuffer(0) {}

  void Observe(std::string_view bytes) {
    // Only read from: TMemoryBuffer has no type for that.
    auto* const begin = reinterpret_cast<std::uint8_t*>(const_cast<char*>(bytes.data()));  // NOLINT
    owner_ = false;
    buffer_ = begin;
    bufferSize_ = static_cast<std::uint32_t>(bytes.size());
    setReadBuffer(begin, bufferSize_);
    // Reads are bounded by the write position in this class, and nothing can be written.
    wBase_ = begin + bufferSize_;
    wBound_ = wBase_;
    // Else the sum over all frames would count against the bound for one message.
    resetConsumedMessageSize();
  }
};

class MessageReader::Compact final : public TCompactProtocolT<TMemoryBuffer> {
 public:
  using TCompactProtocolT::TCompactProtocolT;

  // A message that does not decode leaves the object in the middle of its structs; the next one,
  // perhaps another client's, would then be misread.
  void Begin(std::int32_t string_limit) {
    string_limit_ = string_limit;
    while (!lastField_.empty()) {
      lastField_.pop();
    }
    lastFieldId_ = 0;
    boolValue_.hasBoolValue = false;
  }
};

MessageReader::MessageReader(std::uint32_t container_size_max)
    : input_(std::make_shared<Input>()),
      binary_(input_, 0, static_cast<std::int32_t>(container_size_max), true, true),
      compact_(
          std::make_unique<Compact>(input_, 0, static_cast<std::int32_t>(container_size_max))) {}

MessageReader::~MessageReader() = default;

TProtocol& MessageReader::Begin(std::string_view frame, Protocol protocol) {
  CHECK(!frame.empty());  // a limit of 0 would mean none
  CHECK_LE(frame.size(), std::size_t{std::numeric_limits<std::int32_t>::max()});
  input_->Observe(frame);
  const auto string_limit = CONCLAVE_MUTANT(45) ? 0 : static_cast<std::int32_t>(frame.size());
  if (protocol == Protocol::kBinary) {
    binary_.setStringSizeLimit(string_limit);
    return binary_;
  }
  compact_->Begin(string_limit);
  return *compact_;
}

namespace {

thread_local const ListElements* pending_list = nullptr;

template <typename Base, Protocol kWhich>
class Splicing final : public Base {
 public:
  using Base::Base;

  std::uint32_t writeListBegin_virt(TType type, std::uint32_t size) override {
    if (pending_list == nullptr || size != 0 || type != T_STRUCT) {
      return Base::writeListBegin(type, size);
    }
    const ListElements& elements = *std::exchange(pending_list, nullptr);
    const std::uint32_t written = Base::writeListBegin(T_STRUCT, elements.count());
    elements.Write(*this, kWhich);
    return written;
  }
};

}  // namespace

ListSplice::ListSplice(const ListElements* elements) {
  CHECK(pending_list == nullptr) << "wire: one splice at a time";
  pending_list = elements;
}

ListSplice::~ListSplice() { pending_list = nullptr; }

MessageWriter::MessageWriter()
    : output_(std::make_shared<TMemoryBuffer>()),
      binary_(std::make_unique<Splicing<TBinaryProtocolT<TMemoryBuffer>, Protocol::kBinary>>(
          output_, 0, 0, true, true)),
      compact_(std::make_unique<Splicing<TCompactProtocolT<TMemoryBuffer>, Protocol::kCompact>>(
          output_, 0, 0)) {}

MessageWriter::~MessageWriter() = default;

TProtocol& MessageWriter::Begin(Protocol which) {
  output_->resetBuffer();
  return protocol(which);
}

TProtocol& MessageWriter::protocol(Protocol which) {
  return which == Protocol::kBinary ? *binary_ : *compact_;
}

std::string_view MessageWriter::bytes() const {
  std::uint8_t* data = nullptr;
  std::uint32_t size = 0;
  output_->getBuffer(&data, &size);
  return {reinterpret_cast<const char*>(data), size};  // NOLINT: Thrift's bytes are unsigned
}

void MessageWriter::Reset() {
  constexpr std::uint32_t kKeepBytes = 256 << 10;
  if (output_->getBufferSize() > kKeepBytes) {
    output_->resetBuffer(TMemoryBuffer::defaultSize);
  } else {
    output_->resetBuffer();
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
