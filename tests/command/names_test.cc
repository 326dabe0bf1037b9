// Which names of files can be those of znodes, and the other small translations.

#include <string>

#include <gtest/gtest.h>

#include "client/command/context.h"
#include "client/command/exit_codes.h"
#include "client/command/output.h"
#include "client/command/paths.h"
#include "client/command/transfer.h"
#include "coord/tree/limits.h"
#include "coord/tree/path.h"

namespace conclave::command {
namespace {

// The command has its own copy of the rule, as it must not link the server's.
TEST(BadName, AgreesWithTheService) {
  std::vector<std::string> names = {"",
                                    "a",
                                    ".",
                                    "..",
                                    "...",
                                    ".a",
                                    "a b",
                                    "\xff",
                                    "\xc0\x80",
                                    "\xc3",
                                    std::string(255, 'x'),
                                    std::string(256, 'x'),
                                    std::string(128, 'x') + "\xf0"};
  for (std::uint32_t c = 1; c <= 0x10ffff; c += c < 0x300 ? 1 : 0x1f) {
    std::string utf8;
    if (c < 0x80) {
      utf8 = {static_cast<char>(c)};
    } else if (c < 0x800) {
      utf8 = {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
    } else if (c < 0x10000) {
      utf8 = {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3f)),
              static_cast<char>(0x80 | (c & 0x3f))};
    } else {
      utf8 = {static_cast<char>(0xf0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3f)),
              static_cast<char>(0x80 | (c >> 6 & 0x3f)), static_cast<char>(0x80 | (c & 0x3f))};
    }
    if (c != '/') {  // separates names in a path
      names.push_back("n" + utf8);
    }
  }
  for (const std::string& name : names) {
    const bool valid = !name.empty() && tree::ValidatePath("/" + name, tree::Limits()).has_value();
    EXPECT_EQ(BadName(name).empty(), valid) << Printable(name) << ": " << BadName(name);
  }
  EXPECT_FALSE(BadName("a/b").empty());
  EXPECT_FALSE(BadName(std::string("a\0b", 3)).empty());
}

TEST(Printable, EscapesWhatIsNoText) {
  EXPECT_EQ(Printable("a\nb"), "a\\x0ab");
  EXPECT_EQ(Printable("gr\xc3\xbcn \xff"), "gr\xc3\xbcn \\xff");
}

TEST(ValueText, IsOneSafeLine) {
  EXPECT_EQ(ValueText(std::nullopt), "(null)");
  EXPECT_EQ(ValueText(""), "");
  EXPECT_EQ(ValueText("a\n\x1b[2J\x7f"), "a^J^[[2J^?");
  EXPECT_EQ(ValueText("\xff\xc2\x9b"), "<FF><C2><9B>");
  EXPECT_EQ(ValueText(std::string(100, 'x')), std::string(60, 'x') + "... (100 bytes)");
}

TEST(ParentOf, OfEveryKind) {
  EXPECT_EQ(ParentOf("/a/b"), "/a");
  EXPECT_EQ(ParentOf("/a"), "/");
  EXPECT_EQ(ParentOf("/"), "");
  EXPECT_EQ(ParentOf("a"), "");
  EXPECT_EQ(JoinPath("/", "a"), "/a");
  EXPECT_EQ(JoinPath("/a", "b"), "/a/b");
}

TEST(ParseDuration, UnitsAndNonsense) {
  const auto ms = [](const char* text) { return ParseDuration(text).value().count(); };
  EXPECT_EQ(ms("500ms"), 500);
  EXPECT_EQ(ms("10"), 10'000);
  EXPECT_EQ(ms("1.5s"), 1'500);
  EXPECT_EQ(ms("2m"), 120'000);
  EXPECT_EQ(ms("1h"), 3'600'000);
  EXPECT_EQ(ms("0"), 0);
  for (const char* text : {"", "s", "-1s", "10 s", "10d", "1e30", "nan", "inf", "0x10"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(ExitCodeOf, EveryCode) {
  const auto exit_code = [](Code code) {
    Error error;
    error.code = code;
    return ExitCodeOf(error);
  };
  EXPECT_EQ(exit_code(Code::kNoNode), 4);
  EXPECT_EQ(exit_code(Code::kNodeExists), 1);
  EXPECT_EQ(exit_code(Code::kBadVersion), 5);
  EXPECT_EQ(exit_code(Code::kInvalidArgument), 3);
  EXPECT_EQ(exit_code(Code::kUnavailable), 2);
  EXPECT_EQ(exit_code(Code::kNotLeader), 2);
  EXPECT_EQ(exit_code(Code::kOverloaded), 1);
  EXPECT_EQ(exit_code(Code::kNoSpace), 1);
  EXPECT_EQ(exit_code(Code::kUnknownOutcome), 8);
  EXPECT_EQ(exit_code(Code::kDeadlineExceeded), 6);
  EXPECT_EQ(exit_code(Code::kSessionExpired), 7);
  EXPECT_EQ(exit_code(Code::kCorruption), 1);
}

}  // namespace
}  // namespace conclave::command
