// Thrift's two protocols over bytes in memory: the same wire as libthrift's classes, at a fraction
// of their cost, and bounded from the start. Read and written through TProtocol by generated code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <thrift/Thrift.h>
#include <thrift/protocol/TProtocolException.h>
#include <thrift/protocol/TVirtualProtocol.h>

namespace conclave::wire {

enum class Protocol : std::uint8_t { kBinary, kCompact };

/// Bytes to read. Throws TTransportException (END_OF_FILE) past their end.
class InputBytes {
 public:
  explicit InputBytes(std::uint32_t container_size_max) : container_size_max_(container_size_max) {}

  /// The bytes must stay until the next Begin.
  void Begin(std::string_view bytes) {
    at_ = bytes.data();
    end_ = bytes.data() + bytes.size();
  }

  [[nodiscard]] std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }

  std::uint8_t Byte() { return static_cast<std::uint8_t>(*Take(1)); }

  const char* Take(std::size_t count) {
    if (left() < count) {
      ThrowShort();
    }
    const char* const taken = at_;
    at_ += count;
    return taken;
  }

  /// Seven bits a byte, lowest first.
  std::uint64_t Varint();
  std::uint32_t BigEndian32();
  std::uint64_t BigEndian64();

  /// Elements of a container, judged before anything is made for them: each takes a byte at least.
  std::uint32_t Count(std::int64_t declared) const;

  void String(std::int64_t declared, std::string& into);

 private:
  [[noreturn]] static void ThrowShort();

  const std::uint32_t container_size_max_;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

/// Bytes written. Keeps its memory between messages.
class OutputBytes {
 public:
  [[nodiscard]] std::string_view bytes() const { return {buffer_.get(), size_}; }

  [[nodiscard]] std::size_t capacity() const { return capacity_; }

  void Clear() { size_ = 0; }

  /// Clears, and gives the memory back.
  void Release();

  /// Room for `count` more; what is written there counts once Advance says so.
  char* Room(std::size_t count) {
    if (capacity_ - size_ < count) {
      Grow(count);
    }
    return buffer_.get() + size_;
  }

  void Advance(std::size_t count) { size_ += count; }

  void Byte(std::uint8_t value) {
    *Room(1) = static_cast<char>(value);
    Advance(1);
  }

  void Bytes(std::string_view bytes);
  void Varint(std::uint64_t value);
  void BigEndian(std::uint64_t value, std::size_t bytes);

 private:
  void Grow(std::size_t count);

  std::unique_ptr<char[]> buffer_;  // NOLINT: raw room, not objects
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

namespace protocol = apache::thrift::protocol;

/// What both protocols read and write in the same way: nothing at all.
template <typename Self>
class FrameProtocol : public protocol::TVirtualProtocol<Self> {
 public:
  FrameProtocol();

  std::uint32_t readMessageEnd() { return 0; }  // NOLINT(readability-identifier-naming): Thrift's

  std::uint32_t readFieldEnd() { return 0; }  // NOLINT

  std::uint32_t readMapEnd() { return 0; }  // NOLINT

  std::uint32_t readListEnd() { return 0; }  // NOLINT

  std::uint32_t readSetEnd() { return 0; }  // NOLINT

  std::uint32_t writeMessageEnd() { return 0; }  // NOLINT

  std::uint32_t writeFieldEnd() { return 0; }  // NOLINT

  std::uint32_t writeMapEnd() { return 0; }  // NOLINT

  std::uint32_t writeListEnd() { return 0; }  // NOLINT

  std::uint32_t writeSetEnd() { return 0; }  // NOLINT
};

// NOLINTBEGIN(readability-identifier-naming): the names are Thrift's

class BinaryReader final : public FrameProtocol<BinaryReader> {
 public:
  explicit BinaryReader(InputBytes* in) : in_(in) {}

  std::uint32_t readMessageBegin(std::string& name, protocol::TMessageType& type,
                                 std::int32_t& seqid);

  std::uint32_t readStructBegin(std::string& /*name*/) { return 0; }

  std::uint32_t readStructEnd() { return 0; }

  std::uint32_t readFieldBegin(std::string& name, protocol::TType& type, std::int16_t& id);
  std::uint32_t readMapBegin(protocol::TType& key, protocol::TType& value, std::uint32_t& size);
  std::uint32_t readListBegin(protocol::TType& element, std::uint32_t& size);

  std::uint32_t readSetBegin(protocol::TType& element, std::uint32_t& size) {
    return readListBegin(element, size);
  }

  std::uint32_t readBool(bool& value);
  std::uint32_t readBool(std::vector<bool>::reference value);
  std::uint32_t readByte(std::int8_t& value);
  std::uint32_t readI16(std::int16_t& value);
  std::uint32_t readI32(std::int32_t& value);
  std::uint32_t readI64(std::int64_t& value);
  std::uint32_t readDouble(double& value);
  std::uint32_t readString(std::string& value);

  std::uint32_t readBinary(std::string& value) { return readString(value); }

 private:
  InputBytes* const in_;
};

class CompactReader final : public FrameProtocol<CompactReader> {
 public:
  explicit CompactReader(InputBytes* in) : in_(in) {}

  /// A message that did not decode has left this in the middle of its structs.
  void Begin();

  std::uint32_t readMessageBegin(std::string& name, protocol::TMessageType& type,
                                 std::int32_t& seqid);
  std::uint32_t readStructBegin(std::string& name);
  std::uint32_t readStructEnd();
  std::uint32_t readFieldBegin(std::string& name, protocol::TType& type, std::int16_t& id);
  std::uint32_t readMapBegin(protocol::TType& key, protocol::TType& value, std::uint32_t& size);
  std::uint32_t readListBegin(protocol::TType& element, std::uint32_t& size);

  std::uint32_t readSetBegin(protocol::TType& element, std::uint32_t& size) {
    return readListBegin(element, size);
  }

  std::uint32_t readBool(bool& value);
  std::uint32_t readBool(std::vector<bool>::reference value);
  std::uint32_t readByte(std::int8_t& value);
  std::uint32_t readI16(std::int16_t& value);
  std::uint32_t readI32(std::int32_t& value);
  std::uint32_t readI64(std::int64_t& value);
  std::uint32_t readDouble(double& value);
  std::uint32_t readString(std::string& value);

  std::uint32_t readBinary(std::string& value) { return readString(value); }

 private:
  InputBytes* const in_;
  std::vector<std::int16_t> outer_;  // last fields of the structs around this one
  std::int16_t last_field_ = 0;
  enum class Bool : std::uint8_t { kNone, kFalse, kTrue } pending_ = Bool::kNone;
};

class BinaryWriter final : public FrameProtocol<BinaryWriter> {
 public:
  explicit BinaryWriter(OutputBytes* out) : out_(out) {}

  std::uint32_t writeMessageBegin(const std::string& name, protocol::TMessageType type,
                                  std::int32_t seqid);

  std::uint32_t writeStructBegin(const char* /*name*/) { return 0; }

  std::uint32_t writeStructEnd() { return 0; }

  std::uint32_t writeFieldBegin(const char* name, protocol::TType type, std::int16_t id);
  std::uint32_t writeFieldStop();
  std::uint32_t writeMapBegin(protocol::TType key, protocol::TType value, std::uint32_t size);
  std::uint32_t writeListBegin(protocol::TType element, std::uint32_t size);

  std::uint32_t writeSetBegin(protocol::TType element, std::uint32_t size) {
    return writeListBegin(element, size);
  }

  std::uint32_t writeBool(bool value);
  std::uint32_t writeByte(std::int8_t value);
  std::uint32_t writeI16(std::int16_t value);
  std::uint32_t writeI32(std::int32_t value);
  std::uint32_t writeI64(std::int64_t value);
  std::uint32_t writeDouble(double value);
  std::uint32_t writeString(const std::string& value);

  std::uint32_t writeBinary(const std::string& value) { return writeString(value); }

 private:
  OutputBytes* const out_;
};

class CompactWriter final : public FrameProtocol<CompactWriter> {
 public:
  explicit CompactWriter(OutputBytes* out) : out_(out) {}

  void Begin();

  std::uint32_t writeMessageBegin(const std::string& name, protocol::TMessageType type,
                                  std::int32_t seqid);
  std::uint32_t writeStructBegin(const char* name);
  std::uint32_t writeStructEnd();
  std::uint32_t writeFieldBegin(const char* name, protocol::TType type, std::int16_t id);
  std::uint32_t writeFieldStop();
  std::uint32_t writeMapBegin(protocol::TType key, protocol::TType value, std::uint32_t size);
  std::uint32_t writeListBegin(protocol::TType element, std::uint32_t size);

  std::uint32_t writeSetBegin(protocol::TType element, std::uint32_t size) {
    return writeListBegin(element, size);
  }

  std::uint32_t writeBool(bool value);
  std::uint32_t writeByte(std::int8_t value);
  std::uint32_t writeI16(std::int16_t value);
  std::uint32_t writeI32(std::int32_t value);
  std::uint32_t writeI64(std::int64_t value);
  std::uint32_t writeDouble(double value);
  std::uint32_t writeString(const std::string& value);

  std::uint32_t writeBinary(const std::string& value) { return writeString(value); }

 private:
  void FieldHeader(std::uint8_t type, std::int16_t id);

  OutputBytes* const out_;
  std::vector<std::int16_t> outer_;
  std::int16_t last_field_ = 0;
  std::int16_t bool_field_ = 0;  // its header waits for its value
  bool bool_waits_ = false;
};

// NOLINTEND(readability-identifier-naming)

}  // namespace conclave::wire
