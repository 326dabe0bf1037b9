// The bytes of a configuration, and what a change makes of one.

#include <string>

#include <gmock/gmock.h>

#include "consensus/membership.h"

namespace conclave::raft {
namespace {

using Kind = ConfigChange::Kind;

Configuration Sample() {
  Configuration configuration;
  configuration.clusterId.fill(7);
  configuration.members = {{1, 11, MemberKind::kVoter, "one:1"},
                           {2, 22, MemberKind::kVoter, std::string(255, 'x')},
                           {3, 0, MemberKind::kLearner, ""},
                           {9, 99, MemberKind::kObserver, "[::1]:9"}};
  return configuration;
}

TEST(Configuration, TravelsWithAddresses) {
  const Configuration sample = Sample();
  const std::string bytes = sample.Encode();
  EXPECT_EQ(bytes.front(), 2);
  EXPECT_EQ(Configuration::Decode(bytes), sample);
}

TEST(Configuration, Format1IsReadWithoutAddresses) {
  std::string bytes(1, 1);
  bytes.append(16, 7);
  bytes.append(std::string("\2\0\0\0", 4));
  bytes.append(std::string("\1\0\0\0\0\0\0\0\13\0\0\0\0\0\0\0\1", 17));
  bytes.append(std::string("\2\0\0\0\0\0\0\0\26\0\0\0\0\0\0\0\2", 17));
  const auto read = Configuration::Decode(bytes);
  ASSERT_TRUE(read);
  Configuration wanted;
  wanted.clusterId.fill(7);
  wanted.members = {{1, 11, MemberKind::kVoter, ""}, {2, 22, MemberKind::kLearner, ""}};
  EXPECT_EQ(*read, wanted);
  bytes.pop_back();
  EXPECT_FALSE(Configuration::Decode(bytes));
}

TEST(Configuration, WhatIsCutShortOrTooLongIsRefused) {
  const std::string bytes = Sample().Encode();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Configuration::Decode(bytes.substr(0, size))) << size;
  }
  EXPECT_FALSE(Configuration::Decode(bytes + '\0'));
}

TEST(Configuration, NonsenseIsRefused) {
  Configuration sample = Sample();
  std::string bytes = sample.Encode();
  for (const char format : {char{0}, char{3}, char{127}}) {
    bytes[0] = format;
    EXPECT_FALSE(Configuration::Decode(bytes));
  }
  bytes = sample.Encode();
  bytes[21] = 0;  // The id of the first member.
  EXPECT_FALSE(Configuration::Decode(bytes));
  bytes = sample.Encode();
  bytes[21 + 16] = 4;  // Its kind.
  EXPECT_FALSE(Configuration::Decode(bytes));
  std::swap(sample.members[0], sample.members[1]);
  EXPECT_FALSE(Configuration::Decode(sample.Encode()));
  sample.members = {{1, 1, MemberKind::kLearner, ""}};
  EXPECT_FALSE(Configuration::Decode(sample.Encode())) << "nobody has a vote";
}

TEST(Configuration, TheNumberOfMembersIsBounded) {
  Configuration full;
  for (MemberId id = 1; id <= kMembersMax; ++id) {
    full.members.push_back({id, id, MemberKind::kVoter, "a"});
  }
  EXPECT_EQ(Configuration::Decode(full.Encode()), full);
  std::string bytes = full.Encode();
  bytes[17] = 65;
  bytes.append(std::string("\377\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0", 18));
  EXPECT_FALSE(Configuration::Decode(bytes));
  const auto more = Changed(full, {Kind::kAddLearner, 100, "a"});
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error(), ConfigChangeError::kTooManyMembers);
}

ConfigChangeError ErrorOf(const ConfigChange& change) {
  const auto result = Changed(Sample(), change);
  return result ? ConfigChangeError{} : result.error();
}

TEST(Change, Refusals) {
  EXPECT_EQ(ErrorOf({Kind::kAddLearner, 0, "a"}), ConfigChangeError::kBadId);
  EXPECT_EQ(ErrorOf({Kind::kRemove, MemberId{1} << 62, ""}), ConfigChangeError::kBadId);
  EXPECT_EQ(ErrorOf({Kind::kAddLearner, 4, ""}), ConfigChangeError::kBadAddress);
  EXPECT_EQ(ErrorOf({Kind::kAddObserver, 4, std::string(256, 'x')}),
            ConfigChangeError::kBadAddress);
  EXPECT_EQ(ErrorOf({Kind::kUpdateAddress, 1, ""}), ConfigChangeError::kBadAddress);
  EXPECT_EQ(ErrorOf({Kind::kReadmit, 1, std::string(256, 'x')}), ConfigChangeError::kBadAddress);
  EXPECT_EQ(ErrorOf({Kind::kAddLearner, 3, "a"}), ConfigChangeError::kAlreadyMember);
  for (const Kind kind : {Kind::kPromote, Kind::kRemove, Kind::kReadmit, Kind::kUpdateAddress}) {
    EXPECT_EQ(ErrorOf({kind, 4, "a"}), ConfigChangeError::kUnknownMember);
  }
  EXPECT_EQ(ErrorOf({Kind::kPromote, 1, ""}), ConfigChangeError::kAlreadyVoter);
  Configuration alone = Sample();
  alone.members.erase(alone.members.begin());
  EXPECT_EQ(Changed(alone, {Kind::kRemove, 2, ""}).error(), ConfigChangeError::kLastVoter);
  EXPECT_EQ(Changed(alone, {Kind::kReadmit, 2, ""}).error(), ConfigChangeError::kLastVoter);
}

TEST(Change, Effects) {
  const Configuration before = Sample();
  Configuration after = *Changed(before, {Kind::kAddLearner, 4, "four:4"});
  ASSERT_NE(after.Find(4), nullptr);
  EXPECT_EQ(*after.Find(4), (Member{4, 0, MemberKind::kLearner, "four:4"}));
  EXPECT_EQ(Configuration::Decode(after.Encode()), after) << "in order";
  after = *Changed(before, {Kind::kAddObserver, 100, "o"});
  EXPECT_EQ(after.members.back(), (Member{100, 0, MemberKind::kObserver, "o"}));
  after = *Changed(before, {Kind::kPromote, 9, ""});
  EXPECT_EQ(*after.Find(9), (Member{9, 99, MemberKind::kVoter, "[::1]:9"}));
  after = *Changed(before, {Kind::kRemove, 2, ""});
  EXPECT_EQ(after.Find(2), nullptr);
  EXPECT_EQ(after.members.size(), 3U);
  after = *Changed(before, {Kind::kReadmit, 1, ""});
  EXPECT_EQ(*after.Find(1), (Member{1, 0, MemberKind::kLearner, "one:1"}));
  after = *Changed(before, {Kind::kReadmit, 9, "new:9"});
  EXPECT_EQ(*after.Find(9), (Member{9, 0, MemberKind::kObserver, "new:9"}));
  after = *Changed(before, {Kind::kUpdateAddress, 3, "three"});
  EXPECT_EQ(*after.Find(3), (Member{3, 0, MemberKind::kLearner, "three"}));
}

TEST(Change, EveryReasonHasWords) {
  for (int i = 1; i <= 13; ++i) {
    EXPECT_STRNE(ToString(static_cast<ConfigChangeError>(i)), "unknown") << i;
  }
  for (int i = 1; i <= 7; ++i) {
    EXPECT_STRNE(ToString(static_cast<TransferError>(i)), "unknown") << i;
  }
  EXPECT_STREQ(ToString(MemberKind::kLearner), "learner");
}

}  // namespace
}  // namespace conclave::raft
