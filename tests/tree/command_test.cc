// The bytes of entries and of stored replies.
#include "coord/tree/command.h"

#include <fstream>
#include <random>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coord/tree/reply.h"
#include "coord/tree/state_machine.h"

namespace conclave::tree {
namespace {

using ::testing::HasSubstr;

EntryHeader FullHeader() {
  EntryHeader header;
  header.wall_ms = -5;
  header.elapsed_ns = INT64_MAX;
  header.session = 42;
  header.seq = 7;
  header.acked_through = 6;
  header.origin_member = UINT64_MAX;
  header.origin_request = 1234567890123;
  header.identity = "alice";
  header.tenant = std::string("t\0x", 3);
  return header;
}

std::vector<Command> AllCommands() {
  const Bytes16 bytes{1, 2, 3, 255};
  Multi multi;
  multi.ops = {Create{"/a", "x", CreateMode::kEphemeralSequential}, Delete{"/a", 3},
               SetData{"/a", std::nullopt, -1}, Check{"/a", INT32_MIN}};
  return {OpenSession{30'000, bytes, Bytes16{9}},
          CloseSession{-1, CloseReason::kExpired},
          Create{"/a", std::nullopt, CreateMode::kEphemeral},
          Create{"/a", "", CreateMode::kPersistent},
          Create{"", std::string(100'000, 'x'), static_cast<CreateMode>(200)},
          Delete{"/a/b", 5},
          SetData{"/a", "data", 0},
          multi,
          Multi{},
          SetFeatureLevel{17},
          PublishMember{3, 4, "host:1", "host:2"},
          TakeOver{}};
}

TEST(CommandTest, EveryCommandComesBack) {
  for (const Command& command : AllCommands()) {
    const Entry entry{FullHeader(), command};
    const auto decoded = DecodeEntry(EncodeEntry(entry.header, entry.command));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
    EXPECT_EQ(*decoded, entry) << command.index();
  }
}

TEST(CommandTest, EveryTruncationAndExtensionIsRefused) {
  for (const Command& command : AllCommands()) {
    const std::string bytes = EncodeEntry(FullHeader(), command);
    if (bytes.size() > 10'000) {
      continue;
    }
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const auto decoded = DecodeEntry(std::string_view(bytes).substr(0, length));
      ASSERT_FALSE(decoded.has_value()) << command.index() << " cut to " << length;
      EXPECT_EQ(decoded.error().kind, DecodeError::Kind::kMalformed);
    }
    EXPECT_FALSE(DecodeEntry(bytes + std::string(1, '\0')).has_value());
  }
}

// A refusal here would stop every member for what one client sent.
TEST(CommandTest, TheSmallestOperationsInAnyNumber) {
  for (const Op& op : {Op(Delete{""}), Op(Check{""}), Op(SetData{""}), Op(Create{""})}) {
    for (const std::size_t count : {1U, 2U, 11U, 1000U, 100'000U}) {
      const Multi multi{std::vector<Op>(count, op)};
      const auto decoded = DecodeEntry(EncodeEntry({}, multi));
      ASSERT_TRUE(decoded.has_value()) << count << ": " << decoded.error().message;
      EXPECT_EQ(std::get<Multi>(decoded->command).ops.size(), count);
    }
  }
}

TEST(CommandTest, StampTouchesTheTimeOnly) {
  for (const Command& command : AllCommands()) {
    EntryHeader header = FullHeader();
    std::string bytes = EncodeEntry(header, command);
    ASSERT_TRUE(StampTime(bytes, 111, 222));
    header.wall_ms = 111;
    header.elapsed_ns = 222;
    EXPECT_EQ(bytes, EncodeEntry(header, command));
  }
  std::string junk = "short";
  EXPECT_FALSE(StampTime(junk, 1, 2));
  EXPECT_EQ(junk, "short");
  std::string other(100, '\2');
  EXPECT_FALSE(StampTime(other, 1, 2));
  EXPECT_EQ(other, std::string(100, '\2'));
}

TEST(CommandTest, WhatANewerVersionWrites) {
  std::string bytes = EncodeEntry({}, Multi{{Check{"/a", 1}}});
  std::string unknown_op = bytes;
  unknown_op[unknown_op.size() - 11] = 5;
  EXPECT_EQ(DecodeEntry(unknown_op).error().kind, DecodeError::Kind::kUnknownCommand);
  std::string reserved = bytes;
  reserved[4] = 1;
  EXPECT_EQ(DecodeEntry(reserved).error().kind, DecodeError::Kind::kMalformed);
  std::string reason = EncodeEntry({}, CloseSession{1, CloseReason::kClosed});
  reason.back() = 3;
  EXPECT_EQ(DecodeEntry(reason).error().kind, DecodeError::Kind::kMalformed);
}

TEST(CommandTest, AHugeDeclaredCountAllocatesNothing) {
  std::string bytes = EncodeEntry({}, Multi{});
  bytes.replace(bytes.size() - 4, 4, "\xff\xff\xff\xff");
  const auto decoded = DecodeEntry(bytes);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_THAT(decoded.error().message, HasSubstr("a multi of 4294967295 operations in 0 bytes"));
}

// Whatever the bytes are, decoding answers, and what decodes can be applied.
TEST(CommandTest, MutatedEntriesNeverCrash) {
  std::mt19937_64 random(20'240'607);  // NOLINT: the same sequence in every run.
  const std::vector<Command> commands = AllCommands();
  StateMachine machine;
  std::int64_t zxid = 0;
  int decoded = 0;
  for (int round = 0; round < 30'000; ++round) {
    const Command& command = commands[random() % commands.size()];
    std::string bytes = EncodeEntry(FullHeader(), command);
    if (bytes.size() > 10'000) {
      continue;
    }
    for (std::uint64_t i = random() % 4; i > 0; --i) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 8 == 0) {
      bytes.resize(random() % (bytes.size() + 10));
    }
    const ApplyResult result = machine.Apply(++zxid, bytes);
    decoded += result.fatal.has_value() ? 0 : 1;
  }
  EXPECT_GT(decoded, 1000);
  EXPECT_EQ(machine.digest(), machine.RecomputeDigest());
  for (int round = 0; round < 10'000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random());
    }
    EXPECT_FALSE(DecodeEntry(bytes).has_value());
    DecodeReply(bytes);
  }
}

Reply FullReply() {
  Reply reply;
  reply.code = Code::kBadVersion;
  reply.message = "why";
  reply.path = "/a";
  reply.stat.czxid = 1;
  reply.stat.num_children = -1;
  reply.multi.resize(2);
  reply.multi[0].code = Code::kNoNode;
  reply.multi[1].path = "/b";
  reply.multi[1].stat.pzxid = 9;
  reply.session = 3;
  reply.secret = {4, 5};
  reply.timeout_ms = 6;
  reply.zxid = 7;
  reply.expected_seq = 8;
  return reply;
}

TEST(ReplyTest, ComesBack) {
  for (const Reply& reply : {Reply(), FullReply()}) {
    const auto decoded = DecodeReply(EncodeReply(reply));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, reply);
  }
}

TEST(ReplyTest, DamageIsRefused) {
  const std::string bytes = EncodeReply(FullReply());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(DecodeReply(std::string_view(bytes).substr(0, length)).has_value()) << length;
  }
  EXPECT_FALSE(DecodeReply(bytes + "x").has_value());
  std::string code = bytes;
  code[1] = static_cast<char>(200);
  EXPECT_FALSE(DecodeReply(code).has_value());
}

// The worked example of FORMAT.md, read from the page itself.
TEST(FormatTest, TheWorkedExampleIsTrue) {
  std::ifstream page(CONCLAVE_SOURCE_DIR "/coord/tree/FORMAT.md");
  ASSERT_TRUE(page.is_open());
  std::string bytes;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line == "```hex") {
      inside = true;
    } else if (line == "```") {
      inside = false;
    } else if (inside) {
      std::istringstream words(line.substr(0, line.find('#')));
      for (std::string word; words >> word;) {
        bytes += static_cast<char>(std::stoi(word, nullptr, 16));
      }
    }
  }
  const auto decoded = DecodeEntry(bytes);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EntryHeader header;
  header.wall_ms = 1'700'000'000'000;
  header.elapsed_ns = 5'000'000'000;
  header.session = 258;
  header.seq = 3;
  header.acked_through = 2;
  header.origin_member = 1;
  header.origin_request = 77;
  header.identity = "bob";
  EXPECT_EQ(decoded->header, header);
  EXPECT_EQ(decoded->command, Command(Create{"/app/n-", "hi", CreateMode::kEphemeralSequential}));
  EXPECT_EQ(EncodeEntry(decoded->header, decoded->command), bytes);
}

}  // namespace
}  // namespace conclave::tree
