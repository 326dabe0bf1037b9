// Our two protocols against libthrift's: the same bytes for the same values, and the same values
// from the same bytes, whatever a contract may declare.
#include "thrift/wire/protocol.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <conclave_idl/conclave_client_types.h>
#include <gtest/gtest.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

namespace conclave::wire {
namespace {

using apache::thrift::protocol::TBinaryProtocol;
using apache::thrift::protocol::TCompactProtocol;
using apache::thrift::protocol::TMessageType;
using apache::thrift::protocol::TProtocol;
using apache::thrift::protocol::TType;
using apache::thrift::transport::TMemoryBuffer;

// A value of any type, drawn at random; written, read back and compared.
struct Value {
  TType type = apache::thrift::protocol::T_STOP;
  std::int64_t number = 0;
  double real = 0;
  std::string text;
  TType key_type = apache::thrift::protocol::T_STOP;  // of maps; also the element's of the others
  TType element_type = apache::thrift::protocol::T_STOP;
  std::vector<std::int16_t> ids;  // of a struct's fields
  std::vector<Value> parts;       // fields, elements, or key, value, key, value

  bool operator==(const Value&) const = default;
};

class Drawn {
 public:
  explicit Drawn(std::uint32_t seed) : random_(seed) {}

  Value Struct(int depth) {
    Value value;
    value.type = apache::thrift::protocol::T_STRUCT;
    std::int32_t id = static_cast<std::int32_t>(Below(3)) - 1;
    for (std::uint64_t fields = Below(6); fields > 0; --fields) {
      id += static_cast<std::int32_t>(Below(4) == 0 ? 1 + Below(200) : 1);
      value.ids.push_back(static_cast<std::int16_t>(id));
      value.parts.push_back(Any(Type(depth), depth));
    }
    return value;
  }

 private:
  std::uint64_t Below(std::uint64_t bound) { return random_() % bound; }

  TType Type(int depth) {
    using namespace apache::thrift::protocol;  // NOLINT: its enumerators
    static constexpr TType kTypes[] = {T_BOOL,   T_BYTE,   T_I16,  T_I32, T_I64, T_DOUBLE,
                                       T_STRING, T_STRUCT, T_LIST, T_SET, T_MAP};
    return kTypes[Below(depth > 0 ? 11 : 7)];
  }

  Value Any(TType type, int depth) {
    using namespace apache::thrift::protocol;  // NOLINT: its enumerators
    if (type == T_STRUCT) {
      return Struct(depth - 1);
    }
    Value value;
    value.type = type;
    const auto bits = static_cast<std::int64_t>(random_() >> Below(64));
    value.number = Below(2) == 0 ? bits : -bits;
    switch (type) {
      case T_BOOL:
        value.number = bits & 1;
        break;
      case T_BYTE:
        value.number = static_cast<std::int8_t>(value.number);
        break;
      case T_I16:
        value.number = static_cast<std::int16_t>(value.number);
        break;
      case T_I32:
        value.number = static_cast<std::int32_t>(value.number);
        break;
      case T_I64:
        break;
      case T_DOUBLE:
        value.real = static_cast<double>(value.number) / 7;
        value.number = 0;
        break;
      case T_STRING:
        value.number = 0;
        value.text.assign(Below(4) == 0 ? Below(400) : Below(20), static_cast<char>(bits));
        break;
      default: {
        value.number = 0;
        value.key_type = Type(depth - 1);
        value.element_type = Type(depth - 1);
        const std::uint64_t count = Below(4) == 0 ? Below(40) : Below(4);
        for (std::uint64_t i = 0; i < count; ++i) {
          if (type == T_MAP) {
            value.parts.push_back(Any(value.key_type, depth - 1));
          }
          value.parts.push_back(Any(value.element_type, depth - 1));
        }
        if (type != T_MAP || count == 0) {
          value.key_type = T_STOP;  // not on the wire
        }
        if (type == T_MAP && count == 0) {
          value.element_type = T_STOP;  // nor this, in compact
        }
      }
    }
    return value;
  }

  std::mt19937_64 random_;
};

void Write(TProtocol& out, const Value& value) {
  using namespace apache::thrift::protocol;  // NOLINT: its enumerators
  switch (value.type) {
    case T_BOOL:
      out.writeBool(value.number != 0);
      break;
    case T_BYTE:
      out.writeByte(static_cast<std::int8_t>(value.number));
      break;
    case T_I16:
      out.writeI16(static_cast<std::int16_t>(value.number));
      break;
    case T_I32:
      out.writeI32(static_cast<std::int32_t>(value.number));
      break;
    case T_I64:
      out.writeI64(value.number);
      break;
    case T_DOUBLE:
      out.writeDouble(value.real);
      break;
    case T_STRING:
      out.writeString(value.text);
      break;
    case T_STRUCT:
      out.writeStructBegin("s");
      for (std::size_t i = 0; i < value.ids.size(); ++i) {
        out.writeFieldBegin("f", value.parts[i].type, value.ids[i]);
        Write(out, value.parts[i]);
        out.writeFieldEnd();
      }
      out.writeFieldStop();
      out.writeStructEnd();
      break;
    default: {
      const auto count = static_cast<std::uint32_t>(value.parts.size());
      if (value.type == T_MAP) {
        out.writeMapBegin(value.key_type, value.element_type, count / 2);
      } else if (value.type == T_SET) {
        out.writeSetBegin(value.element_type, count);
      } else {
        out.writeListBegin(value.element_type, count);
      }
      for (const Value& part : value.parts) {
        Write(out, part);
      }
    }
  }
}

Value Read(TProtocol& in, TType type) {
  using namespace apache::thrift::protocol;  // NOLINT: its enumerators
  Value value;
  value.type = type;
  std::string name;
  std::uint32_t count = 0;
  bool flag = false;
  std::int8_t byte = 0;
  std::int16_t i16 = 0;
  std::int32_t i32 = 0;
  switch (type) {
    case T_BOOL:
      in.readBool(flag);
      value.number = flag ? 1 : 0;
      return value;
    case T_BYTE:
      in.readByte(byte);
      value.number = byte;
      return value;
    case T_I16:
      in.readI16(i16);
      value.number = i16;
      return value;
    case T_I32:
      in.readI32(i32);
      value.number = i32;
      return value;
    case T_I64:
      in.readI64(value.number);
      return value;
    case T_DOUBLE:
      in.readDouble(value.real);
      return value;
    case T_STRING:
      in.readString(value.text);
      return value;
    case T_STRUCT:
      in.readStructBegin(name);
      while (true) {
        TType field = T_STOP;
        in.readFieldBegin(name, field, i16);
        if (field == T_STOP) {
          in.readStructEnd();
          return value;
        }
        value.ids.push_back(i16);
        value.parts.push_back(Read(in, field));
        in.readFieldEnd();
      }
    case T_MAP:
      in.readMapBegin(value.key_type, value.element_type, count);
      for (std::uint32_t i = 0; i < count; ++i) {
        value.parts.push_back(Read(in, value.key_type));
        value.parts.push_back(Read(in, value.element_type));
      }
      return value;
    default:
      if (type == T_SET) {
        in.readSetBegin(value.element_type, count);
      } else {
        in.readListBegin(value.element_type, count);
      }
      for (std::uint32_t i = 0; i < count; ++i) {
        value.parts.push_back(Read(in, value.element_type));
      }
      return value;
  }
}

class ProtocolTest : public ::testing::TestWithParam<Protocol> {
 protected:
  static std::shared_ptr<TProtocol> Stock(const std::shared_ptr<TMemoryBuffer>& buffer) {
    if (GetParam() == Protocol::kBinary) {
      return std::make_shared<TBinaryProtocol>(buffer, 0, 0, true, true);
    }
    return std::make_shared<TCompactProtocol>(buffer, 0, 0);
  }

  static std::string ByStock(const std::function<void(TProtocol&)>& write) {
    auto buffer = std::make_shared<TMemoryBuffer>();
    write(*Stock(buffer));
    return buffer->getBufferAsString();
  }

  std::string ByUs(const std::function<void(TProtocol&)>& write) {
    write(writer_.Begin(GetParam()));
    return std::string(writer_.bytes());
  }

  MessageWriter writer_;
  MessageReader reader_{10'000};
};

TEST_P(ProtocolTest, WritesWhatLibthriftWritesAndReadsItBack) {
  for (std::uint32_t seed = 0; seed < 1'000; ++seed) {
    const Value value = Drawn(seed).Struct(3);
    const auto write = [&](TProtocol& out) {
      out.writeMessageBegin("m" + std::to_string(seed), apache::thrift::protocol::T_REPLY,
                            static_cast<std::int32_t>(seed * 0x9E3779B9U));
      Write(out, value);
      out.writeMessageEnd();
    };
    const std::string bytes = ByUs(write);
    ASSERT_EQ(bytes, ByStock(write)) << "seed " << seed;
    TProtocol& in = reader_.Begin(bytes, GetParam());
    std::string name;
    TMessageType type{};
    std::int32_t number = 0;
    in.readMessageBegin(name, type, number);
    EXPECT_EQ(name, "m" + std::to_string(seed));
    EXPECT_EQ(type, apache::thrift::protocol::T_REPLY);
    EXPECT_EQ(number, static_cast<std::int32_t>(seed * 0x9E3779B9U));
    ASSERT_EQ(Read(in, apache::thrift::protocol::T_STRUCT), value) << "seed " << seed;
    // What nobody knows is skipped to its end, and nothing can be read behind it.
    TProtocol& again = reader_.Begin(bytes, GetParam());
    again.readMessageBegin(name, type, number);
    again.skip(apache::thrift::protocol::T_STRUCT);
    std::int8_t none = 0;
    EXPECT_THROW(again.readByte(none), apache::thrift::TException);
  }
}

TEST_P(ProtocolTest, WhatIsCutOffThrowsAndLeavesNoTrace) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const Value value = Drawn(seed).Struct(3);
    const std::string bytes = ByUs([&](TProtocol& out) { Write(out, value); });
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const std::string cut = bytes.substr(0, length);
      TProtocol& in = reader_.Begin(cut, GetParam());
      EXPECT_THROW(Read(in, apache::thrift::protocol::T_STRUCT), apache::thrift::TException);
    }
    TProtocol& in = reader_.Begin(bytes, GetParam());
    EXPECT_NO_THROW(in.skip(apache::thrift::protocol::T_STRUCT));
  }
}

TEST_P(ProtocolTest, RefusesWhatIsTooLongBeforeMemoryIsTaken) {
  const auto refused = [&](const std::function<void(TProtocol&)>& write,
                           const std::function<void(TProtocol&)>& read) {
    const std::string bytes = ByUs(write);
    TProtocol& in = reader_.Begin(bytes, GetParam());
    EXPECT_THROW(read(in), apache::thrift::TException);
  };
  const auto read_list = [](TProtocol& in) {
    TType type{};
    std::uint32_t size = 0;
    in.readListBegin(type, size);
  };
  // More elements than may be, more than bytes are left for, fewer than none.
  for (const std::uint32_t count : {10'001U, 9'000U, 0x8000'0000U, 0xffff'ffffU}) {
    refused([&](TProtocol& out) { out.writeListBegin(apache::thrift::protocol::T_BYTE, count); },
            read_list);
  }
  std::string text;
  const auto read_text = [&](TProtocol& in) { in.readBinary(text); };
  for (const std::int32_t length : {5, 0x7fff'ffff, -3}) {
    refused(
        [&](TProtocol& out) {
          if (GetParam() == Protocol::kBinary) {
            out.writeI32(length);
          } else {
            out.writeI32(length / 2);  // a zigzag number; as a length it is about twice that
          }
        },
        read_text);
  }
  EXPECT_LT(text.capacity(), 1'000U);
}

TEST_P(ProtocolTest, ASharedWriterGivesLargeMemoryBack) {
  idl::v1::PollResult large;
  large.elsewhere.assign(1, std::string(1 << 20, 'x'));
  EXPECT_GT(ByUs([&](TProtocol& out) { large.write(&out); }).size(), std::size_t{1} << 20);
  writer_.Reset();
  const idl::v1::PollResult small;
  const auto write = [&](TProtocol& out) { small.write(&out); };
  EXPECT_EQ(ByUs(write), ByStock(write));
}

INSTANTIATE_TEST_SUITE_P(Both, ProtocolTest,
                         ::testing::Values(Protocol::kBinary, Protocol::kCompact),
                         [](const auto& of) {
                           return of.param == Protocol::kBinary ? "Binary" : "Compact";
                         });

}  // namespace
}  // namespace conclave::wire
