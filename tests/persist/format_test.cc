// persist/FORMAT.md is a contract: its worked example is read from the page itself.
#include <fstream>
#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "persist/codec.h"
#include "persist/snapshot_codec.h"

namespace conclave::persist {
namespace {

// Hexadecimal bytes behind each of `names` in the fenced block `block`.
std::map<std::string, std::string> ReadExample(const std::string& block,
                                               const std::set<std::string>& names) {
  std::ifstream page(CONCLAVE_PERSIST_FORMAT);
  std::map<std::string, std::string> example;
  std::string* into = nullptr;
  bool inside = false;
  for (std::string word; page >> word;) {
    if (word.starts_with("```")) {
      inside = word == "```" + block;
    } else if (inside && names.contains(word)) {
      into = &example[word];
    } else if (inside && into != nullptr) {
      into->push_back(static_cast<char>(std::stoi(word, nullptr, 16)));
    }
  }
  return example;
}

TEST(Format, TheWorkedExampleDecodes) {
  auto example = ReadExample("example", {"key", "value"});
  ASSERT_EQ(ParseEntryKey(example["key"]), 7U);
  const auto batch = DecodeBatch(7, example["value"]);
  ASSERT_TRUE(batch) << batch.error();
  EXPECT_EQ(batch->previous_chain, 0x1122334455667788U);
  ASSERT_EQ(batch->entries.size(), 1U);
  const raft::Entry& entry = batch->entries.front();
  EXPECT_EQ(entry.id(), (raft::EntryId{3, 7}));
  EXPECT_EQ(entry.kind, raft::EntryKind::kCommand);
  EXPECT_EQ(*entry.data, "hi");
  EXPECT_EQ(EncodeBatch(batch->previous_chain, batch->entries), example["value"]);
  EXPECT_EQ(EntryKey(7), example["key"]);
}

TEST(Format, TheWorkedExampleOfASnapshotDecodes) {
  auto example = ReadExample("snapshot", {"rowkey", "rowvalue", "infokey", "info", "chunk"});
  EXPECT_EQ(example["rowkey"], StoredRowKey("a"));
  const auto row = DecodeRow("a", example["rowvalue"]);
  ASSERT_TRUE(row) << row.error();
  EXPECT_EQ(row->value, "hi");
  EXPECT_EQ(example["infokey"], kInfoKey);
  const auto info = DecodeInfo(example["info"]);
  ASSERT_TRUE(info) << info.error();
  EXPECT_EQ(info->meta.last, (raft::EntryId{3, 7}));
  EXPECT_EQ(info->meta.chain, 0x1122334455667788U);
  EXPECT_EQ(info->digest, "d");
  EXPECT_EQ(info->totals, (RowTotals{1, 3, row->checksum}));
  EXPECT_EQ(EncodeInfo(*info), example["info"]);
  std::string chunk;
  PutChunkRow(&chunk, *row);
  EXPECT_EQ(chunk, example["chunk"]);
}

}  // namespace
}  // namespace conclave::persist
