// The bytes on disk: round trips, and every single flipped bit or lost byte noticed.
#include "persist/codec.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/persist/log_workload.h"

namespace conclave::persist {
namespace {

std::vector<raft::Entry> ThreeEntries() {
  std::vector<raft::Entry> entries;
  entries.push_back(testing::MakeEntry(77, 3, 10, "ten"));
  raft::Entry noop;
  noop.term = 4;
  noop.index = 11;
  noop.chain = raft::ChainHash(entries.back().chain, noop);
  entries.push_back(noop);
  entries.push_back(testing::MakeEntry(noop.chain, 4, 12, ""));
  return entries;
}

TEST(Codec, KeysSortAsIndicesDo) {
  EXPECT_LT(EntryKey(255), EntryKey(256));
  EXPECT_LT(EntryKey(1), EntryKey(std::uint64_t{1} << 40U));
  EXPECT_LT(std::string(kIdentityKey), EntryKey(0));
  EXPECT_LT(std::string(kStartKey), EntryKey(0));
  EXPECT_EQ(ParseEntryKey(EntryKey(0x0102030405060708)), 0x0102030405060708U);
  EXPECT_EQ(ParseEntryKey("e"), 0U);
  EXPECT_EQ(ParseEntryKey("a/start!!"), 0U);
  EXPECT_LT(EntryKey(255), StateKey(255));
  EXPECT_LT(StateKey(255), EntryKey(256));
  EXPECT_LT(StateKey(~std::uint64_t{0}), std::string(kBehindEntries));
  EXPECT_EQ(ParseStateKey(StateKey(0)), 0U);
  EXPECT_EQ(ParseStateKey(StateKey(0x0102030405060708)), 0x0102030405060708U);
  EXPECT_EQ(ParseStateKey(EntryKey(7)), std::nullopt);
  EXPECT_EQ(ParseEntryKey(StateKey(7)), 0U);
}

TEST(Codec, BatchRoundTripKeepsKindsAndEmptyData) {
  const std::vector<raft::Entry> entries = ThreeEntries();
  const std::string value = EncodeBatch(77, entries);
  const auto batch = DecodeBatch(10, value);
  ASSERT_TRUE(batch) << batch.error();
  ASSERT_EQ(batch->entries.size(), 3U);
  EXPECT_EQ(batch->previous_chain, 77U);
  EXPECT_EQ(*batch->entries[0].data, "ten");
  EXPECT_EQ(batch->entries[1].kind, raft::EntryKind::kNoop);
  EXPECT_EQ(batch->entries[1].data, nullptr);
  ASSERT_NE(batch->entries[2].data, nullptr);
  EXPECT_EQ(*batch->entries[2].data, "");
  EXPECT_EQ(batch->entries[2].chain, entries[2].chain);
}

TEST(Codec, EveryFlippedBitOfABatchIsNoticed) {
  const std::string value = EncodeBatch(77, ThreeEntries());
  for (std::size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string flipped = value;
    flipped[bit / 8] =
        static_cast<char>(static_cast<std::uint8_t>(flipped[bit / 8]) ^ (1U << (bit % 8)));
    EXPECT_FALSE(DecodeBatch(10, flipped)) << "bit " << bit;
  }
}

TEST(Codec, EveryShorterBatchAndEveryTrailingByteIsNoticed) {
  const std::string value = EncodeBatch(77, ThreeEntries());
  for (std::size_t size = 0; size < value.size(); ++size) {
    EXPECT_FALSE(DecodeBatch(10, value.substr(0, size))) << size;
  }
  EXPECT_FALSE(DecodeBatch(10, value + '\0'));
}

TEST(Codec, ABatchUnderAnotherKeyIsNoticed) {
  const auto batch = DecodeBatch(9, EncodeBatch(77, ThreeEntries()));
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error(), "entry 9 does not continue the chain of its predecessors");
}

TEST(Codec, CutBatchIsTheBatchOfItsFirstEntries) {
  const std::vector<raft::Entry> entries = ThreeEntries();
  const std::string value = EncodeBatch(77, entries);
  const auto batch = DecodeBatch(10, value);
  ASSERT_TRUE(batch);
  for (std::size_t count = 1; count <= entries.size(); ++count) {
    EXPECT_EQ(CutBatch(value, *batch, count), EncodeBatch(77, std::span(entries).first(count)));
  }
}

TEST(Codec, StateRoundTripAndEveryFlippedBitNoticed) {
  StoredState state;
  state.hard.currentTerm = 9;
  state.hard.votedFor = 2;
  state.hard.clusterStarted = true;
  state.hard.clusterId[15] = 0xee;
  state.start = {1, 2};
  state.start_chain = 3;
  state.last = {8, 400};
  state.last_chain = 5;
  state.log_bytes = 6;
  const std::string value = EncodeState(state);
  const auto decoded = DecodeState(value);
  ASSERT_TRUE(decoded) << decoded.error();
  EXPECT_EQ(*decoded, state);
  for (std::size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string flipped = value;
    flipped[bit / 8] =
        static_cast<char>(static_cast<std::uint8_t>(flipped[bit / 8]) ^ (1U << (bit % 8)));
    EXPECT_FALSE(DecodeState(flipped)) << "bit " << bit;
  }
  EXPECT_FALSE(DecodeState(""));
  EXPECT_FALSE(DecodeState(value.substr(1)));
}

}  // namespace
}  // namespace conclave::persist
