// The bytes of entries: who shares them, and how they look in messages and batches.
#include "consensus/shared_bytes.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "consensus/entry_codec.h"

namespace conclave::raft {
namespace {

TEST(SharedBytes, NullIsNotEmpty) {
  const SharedBytes null;
  const SharedBytes empty(std::make_shared<const std::string>());
  EXPECT_EQ(null, nullptr);
  EXPECT_FALSE(null);
  EXPECT_FALSE(empty == nullptr);
  EXPECT_FALSE(null == empty);
  EXPECT_EQ(*empty, "");
  EXPECT_TRUE(SharedBytes(std::shared_ptr<const std::string>()) == nullptr);
}

TEST(SharedBytes, APartKeepsTheWhole) {
  auto whole = std::make_shared<const std::string>("one two three");
  SharedBytes part(whole, std::string_view(*whole).substr(4, 3));
  const std::weak_ptr<const std::string> watch = whole;
  whole.reset();
  EXPECT_EQ(*part, "two");
  SharedBytes moved = std::move(part);
  EXPECT_EQ(part, nullptr) << "NOLINT: what was moved from is null";
  EXPECT_EQ(*moved, "two");
  moved = nullptr;
  EXPECT_TRUE(watch.expired());
}

TEST(EntryCodec, EntriesAreFoundAsTheyWereAndShareTheBytes) {
  const std::vector<Entry> entries = {
      {3, 10, EntryKind::kNoop, 1, nullptr},
      {3, 11, EntryKind::kConfig, 2, std::make_shared<const std::string>("members")},
      {4, 12, EntryKind::kCommand, ~std::uint64_t{0}, std::make_shared<const std::string>()}};
  std::string bytes = "before";
  EncodeEntries(entries, &bytes);
  const auto owner = std::make_shared<const std::string>(bytes);
  std::string_view rest = std::string_view(*owner).substr(6);
  for (const Entry& entry : entries) {
    EXPECT_GE(rest.size(), EncodedBytes(entry));
    Entry found;
    found.index = entry.index;
    EXPECT_EQ(TakeEntry(owner, &rest, &found), "");
    EXPECT_EQ(found.id(), entry.id());
    EXPECT_EQ(found.kind, entry.kind);
    EXPECT_EQ(found.chain, entry.chain);
    EXPECT_EQ(found.data, entry.data);
    if (found.data) {
      EXPECT_GE(found.data->data(), owner->data());
      EXPECT_LE(found.data->data() + found.data->size(), owner->data() + owner->size());
    }
  }
  EXPECT_TRUE(rest.empty());
}

}  // namespace
}  // namespace conclave::raft
