#include "thrift/wire/frame_protocols.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <thrift/transport/TTransportException.h>
#include <thrift/transport/TTransportUtils.h>

#include "thrift/wire/list_splice.h"

namespace conclave::wire {
namespace {

using apache::thrift::protocol::TMessageType;
using apache::thrift::protocol::TProtocolException;
using apache::thrift::protocol::TType;
using apache::thrift::transport::TNullTransport;
using apache::thrift::transport::TTransportException;

constexpr std::uint32_t kBinaryVersion = 0x80010000;
constexpr std::uint32_t kBinaryVersionMask = 0xffff0000;

constexpr std::uint8_t kCompactId = 0x82;
constexpr std::uint8_t kCompactVersion = 1;
constexpr std::uint8_t kCompactVersionMask = 0x1f;
constexpr int kCompactTypeShift = 5;
constexpr std::uint8_t kCompactTrue = 1;
constexpr std::uint8_t kCompactFalse = 2;
constexpr std::uint32_t kCompactShortCountMax = 14;

constexpr std::size_t kVarintBytesMax = 10;

// What goes into this list instead of nothing, or null.
const ListElements* Elements(TType element, std::uint32_t size) {
  return size == 0 && element == apache::thrift::protocol::T_STRUCT ? TakeListElements() : nullptr;
}

// By the number of the compact protocol; 0xff: none.
constexpr std::array<std::uint8_t, 16> kTypeOfCompact = {apache::thrift::protocol::T_STOP,
                                                         apache::thrift::protocol::T_BOOL,
                                                         apache::thrift::protocol::T_BOOL,
                                                         apache::thrift::protocol::T_BYTE,
                                                         apache::thrift::protocol::T_I16,
                                                         apache::thrift::protocol::T_I32,
                                                         apache::thrift::protocol::T_I64,
                                                         apache::thrift::protocol::T_DOUBLE,
                                                         apache::thrift::protocol::T_STRING,
                                                         apache::thrift::protocol::T_LIST,
                                                         apache::thrift::protocol::T_SET,
                                                         apache::thrift::protocol::T_MAP,
                                                         apache::thrift::protocol::T_STRUCT,
                                                         0xff,
                                                         0xff,
                                                         0xff};

// By TType.
constexpr std::array<std::uint8_t, 16> kCompactOfType = {0, 0, 1, 3, 7,  0,  4,  0,
                                                         5, 0, 6, 8, 12, 11, 10, 9};

TType TypeOfCompact(std::uint8_t compact) {
  const std::uint8_t type = kTypeOfCompact.at(compact & 0x0fU);
  if (type == 0xff) {
    throw TProtocolException(TProtocolException::INVALID_DATA, "not a type");
  }
  return static_cast<TType>(type);
}

std::uint8_t CompactOfType(TType type) {
  return kCompactOfType.at(static_cast<std::size_t>(type) & 0x0fU);
}

std::uint64_t Zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1U) ^ static_cast<std::uint64_t>(value >> 63);
}

std::int64_t Unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1U) ^ -static_cast<std::int64_t>(value & 1U);
}

// As libthrift: what is longer than its type is cut, not refused.
std::int32_t Unzigzag32(std::uint64_t value) {
  const auto bits = static_cast<std::uint32_t>(value);
  return static_cast<std::int32_t>(bits >> 1U) ^ -static_cast<std::int32_t>(bits & 1U);
}

}  // namespace

// --- bytes --------------------------------------------------------------------------------------

void InputBytes::ThrowShort() {
  throw TTransportException(TTransportException::END_OF_FILE, "the message ends too early");
}

std::uint64_t InputBytes::Varint() {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kVarintBytesMax; ++i) {
    const std::uint8_t byte = Byte();
    value |= static_cast<std::uint64_t>(byte & 0x7fU) << (7 * i);
    if ((byte & 0x80U) == 0) {
      return value;
    }
  }
  throw TProtocolException(TProtocolException::INVALID_DATA, "a varint of more than ten bytes");
}

std::uint32_t InputBytes::BigEndian32() {
  std::uint32_t value = 0;
  std::memcpy(&value, Take(sizeof(value)), sizeof(value));
  return __builtin_bswap32(value);
}

std::uint64_t InputBytes::BigEndian64() {
  std::uint64_t value = 0;
  std::memcpy(&value, Take(sizeof(value)), sizeof(value));
  return __builtin_bswap64(value);
}

std::uint32_t InputBytes::Count(std::int64_t declared) const {
  if (declared < 0) {
    throw TProtocolException(TProtocolException::NEGATIVE_SIZE);
  }
  if (declared > container_size_max_ || static_cast<std::uint64_t>(declared) > left()) {
    throw TProtocolException(TProtocolException::SIZE_LIMIT);
  }
  return static_cast<std::uint32_t>(declared);
}

void InputBytes::String(std::int64_t declared, std::string& into) {
  if (declared < 0) {
    throw TProtocolException(TProtocolException::NEGATIVE_SIZE);
  }
  const auto size = static_cast<std::size_t>(declared);
  if (CONCLAVE_MUTANT(45)) {
    into.resize(size);
  }
  into.assign(Take(size), size);
}

void OutputBytes::Release() {
  buffer_.reset();
  size_ = 0;
  capacity_ = 0;
}

void OutputBytes::Grow(std::size_t count) {
  constexpr std::size_t kFirstBytes = 512;
  const std::size_t capacity = std::max({kFirstBytes, 2 * capacity_, size_ + count});
  auto grown = std::make_unique_for_overwrite<char[]>(capacity);  // NOLINT: raw room
  std::copy_n(buffer_.get(), size_, grown.get());
  buffer_ = std::move(grown);
  capacity_ = capacity;
}

void OutputBytes::Bytes(std::string_view bytes) {
  std::copy(bytes.begin(), bytes.end(), Room(bytes.size()));
  Advance(bytes.size());
}

void OutputBytes::Varint(std::uint64_t value) {
  char* at = Room(kVarintBytesMax);
  const char* const begin = at;
  while (value > 0x7fU) {
    *at++ = static_cast<char>(value | 0x80U);
    value >>= 7U;
  }
  *at++ = static_cast<char>(value);
  Advance(static_cast<std::size_t>(at - begin));
}

void OutputBytes::BigEndian(std::uint64_t value, std::size_t bytes) {
  const std::uint64_t swapped = __builtin_bswap64(value << (64 - 8 * bytes));
  std::memcpy(Room(sizeof(swapped)), &swapped, sizeof(swapped));
  Advance(bytes);
}

template <typename Self>
FrameProtocol<Self>::FrameProtocol()
    : protocol::TVirtualProtocol<Self>(std::make_shared<TNullTransport>()) {}

template class FrameProtocol<BinaryReader>;
template class FrameProtocol<CompactReader>;
template class FrameProtocol<BinaryWriter>;
template class FrameProtocol<CompactWriter>;

// --- reading, binary ----------------------------------------------------------------------------

std::uint32_t BinaryReader::readMessageBegin(std::string& name, TMessageType& type,
                                             std::int32_t& seqid) {
  const std::uint32_t version = in_->BigEndian32();
  if ((version & kBinaryVersionMask) != kBinaryVersion) {
    throw TProtocolException(TProtocolException::BAD_VERSION, "not strict binary");
  }
  type = static_cast<TMessageType>(version & 0xffU);
  readString(name);
  return readI32(seqid);
}

std::uint32_t BinaryReader::readFieldBegin(std::string& /*name*/, TType& type, std::int16_t& id) {
  type = static_cast<TType>(in_->Byte());
  id = 0;
  return type == apache::thrift::protocol::T_STOP ? 0 : readI16(id);
}

std::uint32_t BinaryReader::readMapBegin(TType& key, TType& value, std::uint32_t& size) {
  key = static_cast<TType>(in_->Byte());
  return readListBegin(value, size);
}

std::uint32_t BinaryReader::readListBegin(TType& element, std::uint32_t& size) {
  element = static_cast<TType>(in_->Byte());
  size = in_->Count(static_cast<std::int32_t>(in_->BigEndian32()));
  return 0;
}

std::uint32_t BinaryReader::readBool(bool& value) {
  value = in_->Byte() != 0;
  return 0;
}

std::uint32_t BinaryReader::readBool(std::vector<bool>::reference value) {
  value = in_->Byte() != 0;
  return 0;
}

std::uint32_t BinaryReader::readByte(std::int8_t& value) {
  value = static_cast<std::int8_t>(in_->Byte());
  return 0;
}

std::uint32_t BinaryReader::readI16(std::int16_t& value) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, in_->Take(sizeof(bits)), sizeof(bits));
  value = static_cast<std::int16_t>(__builtin_bswap16(bits));
  return 0;
}

std::uint32_t BinaryReader::readI32(std::int32_t& value) {
  value = static_cast<std::int32_t>(in_->BigEndian32());
  return 0;
}

std::uint32_t BinaryReader::readI64(std::int64_t& value) {
  value = static_cast<std::int64_t>(in_->BigEndian64());
  return 0;
}

std::uint32_t BinaryReader::readDouble(double& value) {
  value = std::bit_cast<double>(in_->BigEndian64());
  return 0;
}

std::uint32_t BinaryReader::readString(std::string& value) {
  in_->String(static_cast<std::int32_t>(in_->BigEndian32()), value);
  return 0;
}

// --- reading, compact ---------------------------------------------------------------------------

void CompactReader::Begin() {
  outer_.clear();
  last_field_ = 0;
  pending_ = Bool::kNone;
}

std::uint32_t CompactReader::readMessageBegin(std::string& name, TMessageType& type,
                                              std::int32_t& seqid) {
  if (in_->Byte() != kCompactId) {
    throw TProtocolException(TProtocolException::BAD_VERSION, "not compact");
  }
  const std::uint8_t head = in_->Byte();
  if ((head & kCompactVersionMask) != kCompactVersion) {
    throw TProtocolException(TProtocolException::BAD_VERSION, "not the compact version known");
  }
  type = static_cast<TMessageType>(head >> kCompactTypeShift);
  seqid = static_cast<std::int32_t>(static_cast<std::uint32_t>(in_->Varint()));
  return readString(name);
}

std::uint32_t CompactReader::readStructBegin(std::string& /*name*/) {
  outer_.push_back(last_field_);
  last_field_ = 0;
  return 0;
}

std::uint32_t CompactReader::readStructEnd() {
  last_field_ = outer_.back();
  outer_.pop_back();
  return 0;
}

std::uint32_t CompactReader::readFieldBegin(std::string& /*name*/, TType& type, std::int16_t& id) {
  const std::uint8_t head = in_->Byte();
  const std::uint8_t compact = head & 0x0fU;
  type = TypeOfCompact(compact);
  if (type == apache::thrift::protocol::T_STOP) {
    id = 0;
    return 0;
  }
  if (head > 0x0f) {
    id = static_cast<std::int16_t>(last_field_ + (head >> 4U));
  } else {
    readI16(id);
  }
  if (type == apache::thrift::protocol::T_BOOL) {
    pending_ = compact == kCompactTrue ? Bool::kTrue : Bool::kFalse;
  }
  last_field_ = id;
  return 0;
}

std::uint32_t CompactReader::readMapBegin(TType& key, TType& value, std::uint32_t& size) {
  size = in_->Count(static_cast<std::int32_t>(static_cast<std::uint32_t>(in_->Varint())));
  const std::uint8_t types = size == 0 ? 0 : in_->Byte();
  key = TypeOfCompact(types >> 4U);
  value = TypeOfCompact(types);
  return 0;
}

std::uint32_t CompactReader::readListBegin(TType& element, std::uint32_t& size) {
  const std::uint8_t head = in_->Byte();
  element = TypeOfCompact(head);
  const std::uint8_t count = head >> 4U;
  size = in_->Count(count <= kCompactShortCountMax
                        ? count
                        : static_cast<std::int32_t>(static_cast<std::uint32_t>(in_->Varint())));
  return 0;
}

std::uint32_t CompactReader::readBool(bool& value) {
  value = pending_ == Bool::kNone ? in_->Byte() == kCompactTrue : pending_ == Bool::kTrue;
  pending_ = Bool::kNone;
  return 0;
}

std::uint32_t CompactReader::readBool(std::vector<bool>::reference value) {
  bool read = false;
  readBool(read);
  value = read;
  return 0;
}

std::uint32_t CompactReader::readByte(std::int8_t& value) {
  value = static_cast<std::int8_t>(in_->Byte());
  return 0;
}

std::uint32_t CompactReader::readI16(std::int16_t& value) {
  value = static_cast<std::int16_t>(Unzigzag32(in_->Varint()));
  return 0;
}

std::uint32_t CompactReader::readI32(std::int32_t& value) {
  value = Unzigzag32(in_->Varint());
  return 0;
}

std::uint32_t CompactReader::readI64(std::int64_t& value) {
  value = Unzigzag(in_->Varint());
  return 0;
}

std::uint32_t CompactReader::readDouble(double& value) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, in_->Take(sizeof(bits)), sizeof(bits));
  value = std::bit_cast<double>(bits);
  return 0;
}

std::uint32_t CompactReader::readString(std::string& value) {
  in_->String(static_cast<std::int32_t>(static_cast<std::uint32_t>(in_->Varint())), value);
  return 0;
}

// --- writing, binary ----------------------------------------------------------------------------

std::uint32_t BinaryWriter::writeMessageBegin(const std::string& name, TMessageType type,
                                              std::int32_t seqid) {
  out_->BigEndian(kBinaryVersion | static_cast<std::uint32_t>(type), 4);
  writeString(name);
  return writeI32(seqid);
}

std::uint32_t BinaryWriter::writeFieldBegin(const char* /*name*/, TType type, std::int16_t id) {
  out_->Byte(static_cast<std::uint8_t>(type));
  return writeI16(id);
}

std::uint32_t BinaryWriter::writeFieldStop() {
  out_->Byte(apache::thrift::protocol::T_STOP);
  return 0;
}

std::uint32_t BinaryWriter::writeMapBegin(TType key, TType value, std::uint32_t size) {
  out_->Byte(static_cast<std::uint8_t>(key));
  return writeListBegin(value, size);
}

std::uint32_t BinaryWriter::writeListBegin(TType element, std::uint32_t size) {
  const ListElements* const elements = Elements(element, size);
  if (elements != nullptr) {
    writeListBegin(element, elements->count());
    elements->Write(*this, *out_, Protocol::kBinary);
    return 0;
  }
  out_->Byte(static_cast<std::uint8_t>(element));
  out_->BigEndian(size, 4);
  return 0;
}

std::uint32_t BinaryWriter::writeBool(bool value) {
  out_->Byte(value ? 1 : 0);
  return 0;
}

std::uint32_t BinaryWriter::writeByte(std::int8_t value) {
  out_->Byte(static_cast<std::uint8_t>(value));
  return 0;
}

std::uint32_t BinaryWriter::writeI16(std::int16_t value) {
  out_->BigEndian(static_cast<std::uint16_t>(value), 2);
  return 0;
}

std::uint32_t BinaryWriter::writeI32(std::int32_t value) {
  out_->BigEndian(static_cast<std::uint32_t>(value), 4);
  return 0;
}

std::uint32_t BinaryWriter::writeI64(std::int64_t value) {
  out_->BigEndian(static_cast<std::uint64_t>(value), 8);
  return 0;
}

std::uint32_t BinaryWriter::writeDouble(double value) {
  out_->BigEndian(std::bit_cast<std::uint64_t>(value), 8);
  return 0;
}

std::uint32_t BinaryWriter::writeString(const std::string& value) {
  out_->BigEndian(value.size(), 4);
  out_->Bytes(value);
  return 0;
}

// --- writing, compact ---------------------------------------------------------------------------

void CompactWriter::Begin() {
  outer_.clear();
  last_field_ = 0;
  bool_waits_ = false;
}

std::uint32_t CompactWriter::writeMessageBegin(const std::string& name, TMessageType type,
                                               std::int32_t seqid) {
  out_->Byte(kCompactId);
  out_->Byte(static_cast<std::uint8_t>(kCompactVersion |
                                       (static_cast<unsigned>(type) << kCompactTypeShift)));
  out_->Varint(static_cast<std::uint32_t>(seqid));
  return writeString(name);
}

std::uint32_t CompactWriter::writeStructBegin(const char* /*name*/) {
  outer_.push_back(last_field_);
  last_field_ = 0;
  return 0;
}

std::uint32_t CompactWriter::writeStructEnd() {
  last_field_ = outer_.back();
  outer_.pop_back();
  return 0;
}

void CompactWriter::FieldHeader(std::uint8_t type, std::int16_t id) {
  const int step = id - last_field_;
  if (step > 0 && step <= 15) {
    out_->Byte(static_cast<std::uint8_t>(static_cast<unsigned>(step) << 4U | type));
  } else {
    out_->Byte(type);
    writeI16(id);
  }
  last_field_ = id;
}

std::uint32_t CompactWriter::writeFieldBegin(const char* /*name*/, TType type, std::int16_t id) {
  if (type == apache::thrift::protocol::T_BOOL) {
    bool_field_ = id;
    bool_waits_ = true;
  } else {
    FieldHeader(CompactOfType(type), id);
  }
  return 0;
}

std::uint32_t CompactWriter::writeFieldStop() {
  out_->Byte(apache::thrift::protocol::T_STOP);
  return 0;
}

std::uint32_t CompactWriter::writeMapBegin(TType key, TType value, std::uint32_t size) {
  out_->Varint(size);
  if (size != 0) {
    out_->Byte(static_cast<std::uint8_t>(CompactOfType(key) << 4U | CompactOfType(value)));
  }
  return 0;
}

std::uint32_t CompactWriter::writeListBegin(TType element, std::uint32_t size) {
  const ListElements* const elements = Elements(element, size);
  if (elements != nullptr) {
    writeListBegin(element, elements->count());
    elements->Write(*this, *out_, Protocol::kCompact);
    return 0;
  }
  if (size <= kCompactShortCountMax) {
    out_->Byte(static_cast<std::uint8_t>(size << 4U | CompactOfType(element)));
  } else {
    out_->Byte(static_cast<std::uint8_t>(0xf0U | CompactOfType(element)));
    out_->Varint(size);
  }
  return 0;
}

std::uint32_t CompactWriter::writeBool(bool value) {
  const std::uint8_t bits = value ? kCompactTrue : kCompactFalse;
  if (bool_waits_) {
    bool_waits_ = false;
    FieldHeader(bits, bool_field_);
  } else {
    out_->Byte(bits);
  }
  return 0;
}

std::uint32_t CompactWriter::writeByte(std::int8_t value) {
  out_->Byte(static_cast<std::uint8_t>(value));
  return 0;
}

std::uint32_t CompactWriter::writeI16(std::int16_t value) {
  out_->Varint(static_cast<std::uint32_t>(Zigzag(value)));
  return 0;
}

std::uint32_t CompactWriter::writeI32(std::int32_t value) {
  out_->Varint(static_cast<std::uint32_t>(Zigzag(value)));
  return 0;
}

std::uint32_t CompactWriter::writeI64(std::int64_t value) {
  out_->Varint(Zigzag(value));
  return 0;
}

std::uint32_t CompactWriter::writeDouble(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  std::memcpy(out_->Room(sizeof(bits)), &bits, sizeof(bits));
  out_->Advance(sizeof(bits));
  return 0;
}

std::uint32_t CompactWriter::writeString(const std::string& value) {
  out_->Varint(value.size());
  out_->Bytes(value);
  return 0;
}

}  // namespace conclave::wire
