// Cutting bytes into frames and putting frames together, without a socket.
#include "thrift/wire/frame_buffer.h"

#include <array>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace conclave::wire {
namespace {

constexpr std::uint32_t kLimit = 1'000;

std::string Frame(std::string_view payload) {
  std::array<char, kFrameHeaderBytes> header{};
  EncodeFrameHeader(static_cast<std::uint32_t>(payload.size()), header.data());
  return std::string(header.data(), header.size()).append(payload);
}

std::string Header(std::uint32_t declared) {
  std::array<char, kFrameHeaderBytes> header{};
  EncodeFrameHeader(declared, header.data());
  return {header.data(), header.size()};
}

// Feeds the pieces; every item but kNeedMore is written down as text.
std::vector<std::string> Read(FrameReader& reader, const std::vector<std::string>& pieces) {
  std::vector<std::string> items;
  for (const std::string& piece : pieces) {
    // A copy of its own, destroyed before the next: a view kept too long shows under asan.
    const std::string chunk = piece;
    reader.Append(chunk);
    for (;;) {
      const FrameReader::Item item = reader.Next();
      if (item.kind == FrameReader::Kind::kNeedMore) {
        break;
      }
      if (item.kind == FrameReader::Kind::kFrame) {
        items.emplace_back(item.bytes);
      } else if (item.kind == FrameReader::Kind::kTooLarge) {
        items.push_back("too large " + std::to_string(item.declared_bytes) + " " +
                        std::string(item.bytes.substr(0, 4)));
      } else {
        items.push_back("refused " + std::string(RefusalName(item.refusal)));
        return items;
      }
    }
    reader.Retain();
  }
  return items;
}

TEST(FrameReaderTest, CutsAtEveryPairOfByteBoundaries) {
  const std::string bytes = Frame("first") + Frame("x") + Frame(std::string(70, 'y'));
  const std::vector<std::string> expected = {"first", "x", std::string(70, 'y')};
  for (std::size_t a = 0; a <= bytes.size(); ++a) {
    for (std::size_t b = a; b <= bytes.size(); ++b) {
      FrameReader reader(kLimit);
      ASSERT_EQ(Read(reader, {bytes.substr(0, a), bytes.substr(a, b - a), bytes.substr(b)}),
                expected)
          << a << ' ' << b;
      EXPECT_FALSE(reader.holds_bytes());
    }
  }
}

TEST(FrameReaderTest, TakesOneByteAtATime) {
  std::vector<std::string> pieces;
  for (const char byte : Frame("first") + Frame("second")) {
    pieces.emplace_back(1, byte);
  }
  FrameReader reader(kLimit);
  EXPECT_EQ(Read(reader, pieces), (std::vector<std::string>{"first", "second"}));
}

TEST(FrameReaderTest, LimitIsTheLargestFrameTaken) {
  for (const std::uint32_t size : {kLimit - 1, kLimit}) {
    FrameReader reader(kLimit);
    EXPECT_EQ(Read(reader, {Frame(std::string(size, 'a'))}).at(0).size(), size);
  }
  FrameReader reader(kLimit);
  EXPECT_EQ(Read(reader, {Frame(std::string(kLimit + 1, 'a'))}),
            std::vector<std::string>{"too large 1001 aaaa"});
}

TEST(FrameReaderTest, GoesOnAfterASkippedFrameWhereverItIsCut) {
  const std::string bytes = Frame("a") + Frame(std::string(kLimit + 50, 'b')) + Frame("c");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    FrameReader reader(kLimit);
    ASSERT_EQ(Read(reader, {bytes.substr(0, cut), bytes.substr(cut)}),
              (std::vector<std::string>{"a", "too large 1050 bbbb", "c"}))
        << cut;
  }
}

TEST(FrameReaderTest, NamesWhatIsNotFrames) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {std::string("\0\0\0\0", 4), "refused malformed"},
      {"GET / HTTP/1.1\r\n", "refused http"},
      {"POST /x HTTP/1.1\r\n", "refused http"},
      {"\x16\x03\x01\x02", "refused tls"},
      {"\x80\x01\x01\x01", "refused not_framed"},
      {"\xff\xff\xff\xff", "refused not_framed"},
      {Header(0x7fffffff), "refused frame_too_large"},
      {Header((64 << 20) + 1), "refused frame_too_large"},
  };
  for (const auto& [bytes, expected] : cases) {
    FrameReader reader(kLimit);
    EXPECT_EQ(Read(reader, {bytes}), std::vector<std::string>{expected});
  }
}

TEST(FrameReaderTest, MemoryFollowsWhatIsReceivedNotWhatIsDeclared) {
  FrameReader reader(64 << 20);
  EXPECT_TRUE(Read(reader, {Header(64 << 20) + std::string(1'000, 'a')}).empty());
  EXPECT_LT(reader.capacity(), 5'000U);
  FrameReader skipping(kLimit);
  EXPECT_TRUE(Read(skipping, {Header(60 << 20), std::string(1 << 20, 'a')}).empty());
  EXPECT_TRUE(skipping.holds_bytes());
  EXPECT_LT(skipping.capacity(), 5'000U);
}

TEST(FrameReaderTest, GivesMemoryBackAfterALargeFrame) {
  FrameReader reader(1 << 20);
  const std::string bytes = Frame(std::string(1 << 20, 'a'));
  EXPECT_EQ(Read(reader, {bytes.substr(0, 500'000), bytes.substr(500'000), Frame("b")}).size(), 2U);
  EXPECT_LT(reader.capacity(), 2'000U);
}

TEST(FrameReaderTest, KeepsCompleteFramesThroughAPause) {
  FrameReader reader(kLimit);
  {
    const std::string chunk = Frame("one") + Frame("two") + Frame("three").substr(0, 6);
    reader.Append(chunk);
    EXPECT_EQ(reader.Next().bytes, "one");
    reader.Retain();  // as after a pause
  }
  EXPECT_TRUE(reader.holds_bytes());
  reader.Append({});
  EXPECT_EQ(reader.Next().bytes, "two");
  EXPECT_EQ(reader.Next().kind, FrameReader::Kind::kNeedMore);
  EXPECT_EQ(Read(reader, {Frame("three").substr(6)}), std::vector<std::string>{"three"});
}

TEST(OutputQueueTest, SendsEverythingInOrderHoweverMuchIsTaken) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    OutputQueue queue;
    std::string expected;
    std::string sent;
    for (int i = 0; i < 60; ++i) {
      const std::string payload(1 + random() % 40'000, static_cast<char>('a' + i % 26));
      queue.PushFrame(payload);
      expected += Frame(payload);
      std::array<iovec, 3> pieces{};
      const int count = queue.Gather(pieces.data(), pieces.size());
      std::size_t take = random() % 50'000;
      std::size_t taken = 0;
      for (int p = 0; p < count && take > 0; ++p) {
        const iovec& piece = pieces.at(static_cast<std::size_t>(p));
        const std::size_t part = std::min(take, piece.iov_len);
        sent.append(static_cast<const char*>(piece.iov_base), part);
        take -= part;
        taken += part;
      }
      queue.Consume(taken);
    }
    while (!queue.empty()) {
      iovec piece{};
      ASSERT_EQ(queue.Gather(&piece, 1), 1);
      sent.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      queue.Consume(piece.iov_len);
    }
    ASSERT_EQ(sent, expected);
  }
}

TEST(OutputQueueTest, PutsSmallFramesSideBySide) {
  OutputQueue queue;
  for (int i = 0; i < 100; ++i) {
    queue.PushFrame(std::string(100, 'a'));
  }
  std::array<iovec, 64> pieces{};
  EXPECT_EQ(queue.Gather(pieces.data(), pieces.size()), 1);
  EXPECT_EQ(pieces[0].iov_len, 100U * 104U);
}

}  // namespace
}  // namespace conclave::wire
