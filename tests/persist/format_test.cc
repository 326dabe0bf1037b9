// persist/FORMAT.md is a contract: its worked example is read from the page itself.
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "persist/codec.h"

namespace conclave::persist {
namespace {

struct Example {
  std::string key;
  std::string value;
};

// Hexadecimal bytes behind "key" and "value" in the fenced block named "example".
Example ReadExample() {
  std::ifstream page(CONCLAVE_PERSIST_FORMAT);
  Example example;
  std::string* into = nullptr;
  bool inside = false;
  for (std::string word; page >> word;) {
    if (word.starts_with("```")) {
      inside = word == "```example";
    } else if (inside && (word == "key" || word == "value")) {
      into = word == "key" ? &example.key : &example.value;
    } else if (inside && into != nullptr) {
      into->push_back(static_cast<char>(std::stoi(word, nullptr, 16)));
    }
  }
  return example;
}

TEST(Format, TheWorkedExampleDecodes) {
  const Example example = ReadExample();
  ASSERT_EQ(ParseEntryKey(example.key), 7U);
  const auto batch = DecodeBatch(7, example.value);
  ASSERT_TRUE(batch) << batch.error();
  EXPECT_EQ(batch->previous_chain, 0x1122334455667788U);
  ASSERT_EQ(batch->entries.size(), 1U);
  const raft::Entry& entry = batch->entries.front();
  EXPECT_EQ(entry.id(), (raft::EntryId{3, 7}));
  EXPECT_EQ(entry.kind, raft::EntryKind::kCommand);
  EXPECT_EQ(*entry.data, "hi");
  EXPECT_EQ(EncodeBatch(batch->previous_chain, batch->entries), example.value);
  EXPECT_EQ(EntryKey(7), example.key);
}

}  // namespace
}  // namespace conclave::persist
