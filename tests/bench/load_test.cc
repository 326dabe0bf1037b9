// The parts of the load generator that can be wrong without a server noticing.
#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/bench/load/bytes.h"
#include "tests/bench/load/histogram.h"
#include "tests/bench/load/hpack.h"
#include "tests/bench/load/jute.h"
#include "tests/bench/load/protobuf.h"
#include "tests/bench/load/schedule.h"
#include "tests/bench/load/thrift_binary.h"

namespace conclave::bench {
namespace {

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    text.push_back(kDigits[byte / 16]);
    text.push_back(kDigits[byte % 16]);
  }
  return text;
}

TEST(Bytes, BigEndianAndBack) {
  std::string out;
  PutU8(out, 0x01);
  PutU16(out, 0x0203);
  PutU32(out, 0x04050607);
  PutU64(out, 0x08090a0b0c0d0e0f);
  PutBlob(out, "hi");
  EXPECT_EQ("0102030405060708090a0b0c0d0e0f000000026869", Hex(out));
  ByteReader reader(out);
  EXPECT_EQ(0x01, reader.U8());
  EXPECT_EQ(0x0203, reader.U16());
  EXPECT_EQ(0x04050607U, reader.U32());
  EXPECT_EQ(0x08090a0b0c0d0e0fU, reader.U64());
  EXPECT_EQ("hi", reader.Blob());
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(reader.rest().empty());
}

TEST(Bytes, PastTheEndIsZeroAndNotOk) {
  ByteReader reader("\x01\x02\x03");
  EXPECT_EQ(0U, reader.U32());
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(0, reader.U8());
  ByteReader blob(std::string_view("\0\0\0\5abc", 7));
  EXPECT_EQ("", blob.Blob());
  EXPECT_FALSE(blob.ok());
}

TEST(Bytes, ALengthIsFilledInAfterwards) {
  std::string out = "x";
  const std::size_t at = BeginLength(out);
  out += "abc";
  EndLength(out, at);
  EXPECT_EQ("7800000003616263", Hex(out));
}

TEST(Histogram, QuantilesOfKnownValues) {
  Histogram histogram;
  for (std::uint64_t value = 1; value <= 100'000; ++value) {
    histogram.Add(value);
  }
  EXPECT_EQ(100'000U, histogram.count());
  EXPECT_EQ(100'000U, histogram.max());
  EXPECT_DOUBLE_EQ(50'000.5, histogram.mean());
  EXPECT_NEAR(50'000, histogram.Quantile(0.5), 500);
  EXPECT_NEAR(99'000, histogram.Quantile(0.99), 990);
  EXPECT_NEAR(100'000, histogram.Quantile(1), 1'000);
}

TEST(Histogram, EveryBucketHoldsItsMiddleAndBucketsAscend) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t value = random() >> (random() % 64);
    const std::size_t bucket = Histogram::BucketOf(value);
    const double middle = Histogram::MiddleOf(bucket);
    EXPECT_NEAR(static_cast<double>(value), middle, static_cast<double>(value) / 128 + 1) << value;
    if (value > 0) {
      EXPECT_LE(Histogram::BucketOf(value - 1), bucket);
    }
  }
  Histogram largest;
  largest.Add(UINT64_MAX);
  EXPECT_GT(largest.Quantile(0.5), 1.8e19);
}

TEST(Histogram, NothingAddedIsZero) { EXPECT_EQ(0, Histogram().Quantile(0.5)); }

TEST(Schedule, CallsAreDueAtAFixedRateFromTheBeginning) {
  Schedule schedule(1'000, 1e6);  // one each microsecond
  EXPECT_EQ(0U, schedule.Due(999));
  EXPECT_EQ(1U, schedule.Due(1'000));
  EXPECT_EQ(1U, schedule.Due(1'999));
  EXPECT_EQ(2U, schedule.Due(2'000));
  EXPECT_EQ(1'000U, schedule.Take());
  EXPECT_EQ(1U, schedule.Due(2'000));
  EXPECT_EQ(2'000U, schedule.Take());
  EXPECT_EQ(0U, schedule.Due(2'000));
}

TEST(Schedule, ACallerThatComesLateFindsAllThatHasBecomeDue) {
  Schedule schedule(0, 1'000);
  EXPECT_EQ(10'001U, schedule.Due(10'000'000'000));
  for (std::uint64_t i = 0; i < 10'001; ++i) {
    EXPECT_EQ(i * 1'000'000, schedule.Take());
  }
  EXPECT_EQ(0U, schedule.Due(10'000'000'000));
  EXPECT_EQ(10'001U, schedule.taken());
}

// RFC 7541 appendix C.1.
TEST(Hpack, IntegersOfTheRfc) {
  std::string block;
  HpackEncoder::AppendInteger(block, 0, 5, 10);
  HpackEncoder::AppendInteger(block, 0, 5, 1337);
  HpackEncoder::AppendInteger(block, 0, 8, 42);
  EXPECT_EQ("0a1f9a0a2a", Hex(block));
}

// RFC 7541 appendix C.3: three requests on one connection.
TEST(Hpack, RequestsOfTheRfc) {
  HpackEncoder encoder;
  std::string block;
  encoder.Append(block, ":method", "GET");
  encoder.Append(block, ":scheme", "http");
  encoder.Append(block, ":path", "/");
  encoder.Append(block, ":authority", "www.example.com");
  EXPECT_EQ("828684410f7777772e6578616d706c652e636f6d", Hex(block));
  EXPECT_EQ(57U, encoder.table_bytes());
  block.clear();
  encoder.Append(block, ":method", "GET");
  encoder.Append(block, ":scheme", "http");
  encoder.Append(block, ":path", "/");
  encoder.Append(block, ":authority", "www.example.com");
  encoder.Append(block, "cache-control", "no-cache");
  EXPECT_EQ("828684be58086e6f2d6361636865", Hex(block));
  EXPECT_EQ(110U, encoder.table_bytes());
  block.clear();
  encoder.Append(block, ":method", "GET");
  encoder.Append(block, ":scheme", "https");
  encoder.Append(block, ":path", "/index.html");
  encoder.Append(block, ":authority", "www.example.com");
  encoder.Append(block, "custom-key", "custom-value");
  EXPECT_EQ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", Hex(block));
  EXPECT_EQ(164U, encoder.table_bytes());
  EXPECT_EQ(3U, encoder.additions());
}

TEST(Hpack, TheOldestGoWhenTheTableIsFull) {
  HpackEncoder encoder(100);
  std::string block;
  encoder.Append(block, "name-a", "value-a");  // 45 bytes
  encoder.Append(block, "name-b", "value-b");
  EXPECT_EQ(90U, encoder.table_bytes());
  encoder.Append(block, "name-c", "value-c");
  EXPECT_EQ(90U, encoder.table_bytes());
  block.clear();
  encoder.Append(block, "name-c", "value-c");
  encoder.Append(block, "name-b", "value-b");
  EXPECT_EQ("bebf", Hex(block));
  encoder.Append(block, "name-a", "value-a");
  EXPECT_EQ(4U, encoder.additions());
  block.clear();
  encoder.Append(block, "x", std::string(200, 'y'));  // larger than the table: empties it
  EXPECT_EQ(0U, encoder.table_bytes());
}

TEST(Protobuf, NumbersAndBytesAsInTheGuide) {
  std::string message;
  protobuf::AppendNumber(message, 1, 150);
  protobuf::AppendBytes(message, 2, "testing");
  EXPECT_EQ("089601120774657374696e67", Hex(message));
  std::string_view rest = message;
  protobuf::Field field;
  ASSERT_TRUE(protobuf::Next(rest, field));
  EXPECT_EQ(1U, field.number);
  EXPECT_EQ(150U, field.value);
  ASSERT_TRUE(protobuf::Next(rest, field));
  EXPECT_EQ("testing", field.bytes);
  EXPECT_FALSE(protobuf::Next(rest, field));
  EXPECT_EQ(150U, protobuf::NumberIn(message, 1));
  EXPECT_EQ(0U, protobuf::NumberIn(message, 3));
  EXPECT_TRUE(protobuf::Has(message, 2));
  EXPECT_FALSE(protobuf::Has(message, 3));
}

TEST(Protobuf, WhatIsCutOffDoesNotDecode) {
  std::string message;
  protobuf::AppendNumber(message, 1, UINT64_MAX);
  protobuf::AppendBytes(message, 2, "testing");
  for (std::size_t size = 1; size < message.size(); ++size) {
    std::string_view rest = std::string_view(message).substr(0, size);
    protobuf::Field field;
    int whole = 0;
    while (protobuf::Next(rest, field)) {
      ++whole;
    }
    EXPECT_LT(whole, 2) << size;
  }
}

TEST(Jute, FramesOfRequests) {
  std::string out;
  jute::AppendConnect(out, 30'000);
  EXPECT_EQ(
      "0000002d"
      "00000000"
      "0000000000000000"
      "00007530"
      "0000000000000000"
      "00000010"
      "00000000000000000000000000000000"
      "00",
      Hex(out));
  out.clear();
  jute::AppendSetData(out, 7, "/a", "xyz");
  EXPECT_EQ(
      "00000019"
      "00000007"
      "00000005"
      "000000022f61"
      "0000000378797a"
      "ffffffff",
      Hex(out));
  out.clear();
  jute::AppendGetData(out, 8, "/a", true);
  EXPECT_EQ(
      "0000000f"
      "00000008"
      "00000004"
      "000000022f61"
      "01",
      Hex(out));
  out.clear();
  jute::AppendCreate(out, 9, "/a", "");
  EXPECT_EQ(
      "00000031"
      "00000009"
      "00000001"
      "000000022f61"
      "00000000"
      "00000001"
      "0000001f"
      "00000005776f726c64"
      "00000006616e796f6e65"
      "00000000",
      Hex(out));
  out.clear();
  jute::AppendPing(out);
  EXPECT_EQ(
      "00000008"
      "fffffffe"
      "0000000b",
      Hex(out));
}

TEST(Jute, HeadersOfAnswers) {
  std::string frame;
  PutU32(frame, 7);
  PutU64(frame, 99);
  PutU32(frame, static_cast<std::uint32_t>(-101));
  const jute::ReplyHeader header = jute::HeaderOf(frame);
  EXPECT_TRUE(header.valid);
  EXPECT_EQ(7, header.xid);
  EXPECT_EQ(99, header.zxid);
  EXPECT_EQ(-101, header.error);
  EXPECT_FALSE(jute::HeaderOf(std::string_view(frame).substr(0, 15)).valid);
  std::string connected;
  PutU32(connected, 0);
  PutU32(connected, 30'000);
  PutU64(connected, 12345);
  EXPECT_EQ(12345, jute::SessionOf(connected));
  EXPECT_EQ(0, jute::SessionOf("short"));
}

TEST(ThriftBinary, SkipsEveryTypeAndStopsAtWhatIsNone) {
  std::string out;
  thrift::AppendI64(out, 1, 5);
  thrift::AppendI32(out, 2, 6);
  thrift::AppendBool(out, 3, true);
  thrift::AppendString(out, 4, "text");
  thrift::BeginField(out, thrift::kList, 5);
  PutU8(out, thrift::kString);
  PutU32(out, 2);
  PutBlob(out, "a");
  PutBlob(out, "b");
  thrift::BeginField(out, thrift::kMap, 6);
  PutU8(out, thrift::kI16);
  PutU8(out, thrift::kDouble);
  PutU32(out, 1);
  PutU16(out, 1);
  PutU64(out, 2);
  thrift::EndStruct(out);
  const std::string behind = "rest";
  ByteReader reader(out.append(behind));
  EXPECT_TRUE(thrift::Skip(reader, thrift::kStruct));
  EXPECT_EQ(behind, reader.rest());
  for (std::size_t size = 0; size < out.size() - behind.size(); ++size) {
    ByteReader cut(std::string_view(out).substr(0, size));
    EXPECT_FALSE(thrift::Skip(cut, thrift::kStruct) && cut.ok()) << size;
  }
  ByteReader strange("abcd");
  EXPECT_FALSE(thrift::Skip(strange, static_cast<thrift::Type>(99)));
}

}  // namespace
}  // namespace conclave::bench
