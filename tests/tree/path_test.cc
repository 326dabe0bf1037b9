#include "coord/tree/path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace conclave::tree {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view path, const Limits& limits = Limits()) {
  const auto valid = ValidatePath(path, limits);
  if (valid.has_value()) {
    return "";
  }
  EXPECT_EQ(valid.error().code, Code::kInvalidArgument);
  return valid.error().message;
}

std::string Utf8(char32_t c) {
  std::string out;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
  return out;
}

TEST(PathTest, RulesOfZooKeeper) {
  struct Row {
    std::string path;
    std::string error;  // Empty: valid.
  };

  const Row rows[] = {
      {"/", ""},
      {"/a", ""},
      {"/a/b c/d", ""},
      {"/...", ""},
      {"/.a", ""},
      {"/a..", ""},
      {"/a/.../b", ""},
      {"/ü/日本", ""},
      {"", "it is empty"},
      {"a", "does not begin with \"/\""},
      {"a/b", "does not begin with \"/\""},
      {"/a/", "ends with \"/\""},
      {"//", "ends with \"/\""},
      {"//a", "component at byte 1 is empty"},
      {"/a//b", "component at byte 3 is empty"},
      {"/.", "relative components"},
      {"/..", "relative components"},
      {"/a/./b", "relative components"},
      {"/a/../b", "relative components"},
      {"/a/..", "relative components"},
      {std::string("/a\0b", 4), "U+0000 at byte 2"},
      {"/a\x01", "U+0001 at byte 2"},
      {"/a\tb", "U+0009 at byte 2"},
      {"/a\x7f", "U+007F at byte 2"},
      {"/\xff", "byte 1 does not begin a UTF-8 character"},
      {"/\xc3", "byte 1 does not begin a UTF-8 character"},
      {"/\xc0\xaf", "byte 1 does not begin a UTF-8 character"},      // Overlong "/".
      {"/\xe0\x80\xaf", "byte 1 does not begin a UTF-8 character"},  // Overlong "/".
      {"/\xc3/b", "byte 1 does not begin a UTF-8 character"},
      {"/x\x80", "byte 2 does not begin a UTF-8 character"},
      {"/\xed\xa0\x80", "U+D800 at byte 1"},      // A surrogate written by itself.
      {"/\xf0\x9f\x98\x80", "U+1F600 at byte 1"}  // An emoji: surrogates to Java.
  };
  for (const Row& row : rows) {
    if (row.error.empty()) {
      EXPECT_EQ(ErrorOf(row.path), "") << row.path;
    } else {
      EXPECT_THAT(ErrorOf(row.path), HasSubstr(row.error)) << row.path;
    }
  }
}

TEST(PathTest, EveryEdgeOfTheRefusedCharacters) {
  for (const char32_t refused : {0x01, 0x1f, 0x7f, 0x9f, 0xd800, 0xdfff, 0xe000, 0xf8ff, 0xfff0,
                                 0xfffd, 0xffff, 0x10000, 0x10ffff}) {
    EXPECT_NE(ErrorOf("/x" + Utf8(refused)), "") << std::hex << static_cast<unsigned>(refused);
  }
  for (const char32_t allowed : {0x20, 0x7e, 0xa0, 0x7ff, 0x800, 0xd7ff, 0xf900, 0xffef}) {
    EXPECT_EQ(ErrorOf("/x" + Utf8(allowed)), "") << std::hex << static_cast<unsigned>(allowed);
  }
}

TEST(PathTest, LimitsAreInclusiveAndNamed) {
  Limits limits;
  limits.path_bytes_max = 10;
  EXPECT_EQ(ErrorOf("/345678901", limits), "");
  EXPECT_THAT(ErrorOf("/3456789012", limits), HasSubstr("11 bytes, and the limit is 10; shorten"));

  limits = Limits();
  EXPECT_EQ(ErrorOf("/" + std::string(255, 'a')), "");
  EXPECT_EQ(ErrorOf("/" + std::string(255, 'a') + "/" + std::string(255, 'b')), "");
  EXPECT_THAT(ErrorOf("/a/" + std::string(256, 'a')),
              HasSubstr("component at byte 3 has 256 bytes, and the limit is 255"));

  std::string deep;
  for (int i = 0; i < 64; ++i) {
    deep += "/x";
  }
  EXPECT_EQ(ErrorOf(deep), "");
  EXPECT_THAT(ErrorOf(deep + "/x"), HasSubstr("65 components deep, and the limit is 64"));
}

TEST(PathTest, TakingApart) {
  EXPECT_EQ(ParentPath("/"), "");
  EXPECT_EQ(ParentPath("/a"), "/");
  EXPECT_EQ(ParentPath("/a/bc"), "/a");
  EXPECT_EQ(BaseName("/"), "");
  EXPECT_EQ(BaseName("/a"), "a");
  EXPECT_EQ(BaseName("/a/bc"), "bc");
  EXPECT_EQ(JoinPath("/", "a"), "/a");
  EXPECT_EQ(JoinPath("/a", "b"), "/a/b");
  EXPECT_EQ(DepthOf("/"), 0U);
  EXPECT_EQ(DepthOf("/a"), 1U);
  EXPECT_EQ(DepthOf("/a/b"), 2U);
}

TEST(PathTest, SelfOrBeneath) {
  EXPECT_TRUE(IsSelfOrBeneath("/a", "/a"));
  EXPECT_TRUE(IsSelfOrBeneath("/a/b", "/a"));
  EXPECT_FALSE(IsSelfOrBeneath("/ab", "/a"));
  EXPECT_FALSE(IsSelfOrBeneath("/", "/a"));
  EXPECT_TRUE(IsSelfOrBeneath("/a", "/"));
  EXPECT_TRUE(IsSelfOrBeneath("/", "/"));
}

TEST(PathTest, SequenceSuffixes) {
  EXPECT_EQ(SequenceSuffix(0), "0000000000");
  EXPECT_EQ(SequenceSuffix(42), "0000000042");
  EXPECT_EQ(SequenceSuffix(2147483647), "2147483647");
  EXPECT_EQ(SequenceSuffix(-2147483647 - 1), "-2147483648");
  EXPECT_EQ(SequenceSuffix(-1), "-000000001");
}

TEST(PathTest, PrintableIsSafeForMessages) {
  EXPECT_EQ(PrintablePath("/ü/a"), "/ü/a");
  EXPECT_EQ(PrintablePath(std::string("/a\0\n\xff", 5)), "/a\\x00\\x0a\\xff");
  EXPECT_EQ(PrintablePath("/abcdef", 4), "/abc...");
  EXPECT_EQ(PrintablePath("/abc", 4), "/abc");
}

}  // namespace
}  // namespace conclave::tree
