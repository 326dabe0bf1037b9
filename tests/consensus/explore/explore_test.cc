// The exploration itself: that what it leaves out may be left out, and that it finds what is wrong.

#include <string>

#include <gmock/gmock.h>

#include "tests/consensus/explore/histories.h"

namespace conclave::raft::explore {
namespace {

Bounds Small(std::uint8_t campaigns, std::uint8_t proposals, std::uint8_t crashes) {
  Bounds bounds;
  bounds.exact = true;
  bounds.budget.campaigns = campaigns;
  bounds.budget.proposals = proposals;
  bounds.budget.crashes = crashes;
  bounds.visited_bytes = std::size_t{16} << 20;
  bounds.rules.send_once = true;
  return bounds;
}

/// With the messages that a right core ignores: this one may not.
Bounds Keeping(Bounds bounds) {
  bounds.drop_ignored = false;
  return bounds;
}

Report Explore(const Bounds& bounds) {
  Catalogue catalogue(bounds.rules);
  catalogue.DoubtEvery(bounds.doubt_every);
  return Search(bounds, catalogue).Run();
}

std::string Words(const Report& report) {
  std::string words = report.violation.value_or("nothing violated");
  for (const std::string& line : report.scenario) {
    words += "\n  " + line;
  }
  return words;
}

TEST(Explore, OneElectionWithACrash) {
  const Report report = Explore(Small(1, 1, 1));
  EXPECT_FALSE(report.violation) << Words(report);
  EXPECT_TRUE(report.complete);
  EXPECT_GT(report.states, 10000U);
  EXPECT_GT(report.depth, 20U);
}

TEST(Explore, TwoElections) {
  const Report report = Explore(Small(2, 0, 0));
  EXPECT_FALSE(report.violation) << Words(report);
  EXPECT_TRUE(report.complete);
  EXPECT_GT(report.states, 50000U);
}

TEST(Explore, HistoriesOverTwoElections) {
  Bounds bounds = Small(2, 1, 0);
  bounds.exact = false;
  bounds.rules.synchronous_disk = bounds.rules.keep_past = true;
  bounds.rules.pipeline = 1;
  Catalogue catalogue(bounds.rules);
  const Report report = HistorySearch(bounds, catalogue).Run();
  EXPECT_FALSE(report.violation) << *report.violation;
  EXPECT_TRUE(report.complete);
  EXPECT_GT(report.rounds, 1U);  // The last one met nothing that was not known.
  EXPECT_GT(report.states, 1000U);
}

TEST(Explore, SymmetryLeavesOutNothing) {
  Bounds bounds = Small(1, 1, 1);
  const Report symmetric = Explore(bounds);
  bounds.symmetry = false;
  const Report all = Explore(bounds);
  ASSERT_TRUE(symmetric.complete && all.complete);
  // Each state stands for as many as it has different renamings.
  EXPECT_EQ(symmetric.orbit_states, all.states);
  EXPECT_LT(symmetric.states, all.states / 5);
}

TEST(Explore, WhatIsDroppedWouldBeIgnored) {
  const Bounds bounds = Small(2, 0, 0);
  Catalogue catalogue(bounds.rules);
  Search search(bounds, catalogue);
  ASSERT_TRUE(search.Run().complete);
  std::uint64_t checked = 0;
  EXPECT_EQ(search.CheckIgnored(7, checked), std::nullopt);
  EXPECT_GT(checked, 1000U);
}

TEST(Explore, WhatIsNotIgnoredThoughDroppedIsNoticed) {
  Bounds bounds = Small(2, 0, 0);
  bounds.rules.plant = Plant::kCountRefusal;
  Catalogue catalogue(bounds.rules);
  Search search(bounds, catalogue);
  EXPECT_FALSE(search.Run().violation);
  std::uint64_t checked = 0;
  EXPECT_NE(search.CheckIgnored(1, checked), std::nullopt);
}

TEST(Explore, ALossAddsNoMemberState) {
  Bounds bounds = Small(1, 1, 0);
  bounds.symmetry = false;  // Else it depends on the order which of the renamed ones are met.
  const Report without = Explore(bounds);
  bounds.budget.losses = 1;
  const Report with = Explore(bounds);
  EXPECT_GT(with.states, without.states);
  EXPECT_EQ(with.member_states, without.member_states);
}

TEST(Explore, RepetitionWithoutLimitIsCheaperThanOne) {
  Bounds bounds = Small(1, 1, 0);
  const Report any = Explore(bounds);
  bounds.any_duplicates = bounds.rules.send_once = false;
  bounds.budget.duplicates = 1;
  const Report one = Explore(bounds);
  EXPECT_TRUE(any.complete && one.complete);
  EXPECT_FALSE(one.violation) << Words(one);
  EXPECT_LT(any.states, one.states / 5);
}

TEST(Explore, TheFingerprintOfAMemberMissesNothing) {
  Bounds bounds = Small(2, 0, 0);
  bounds.doubt_every = 5;  // Dies at the first difference.
  const Report report = Explore(bounds);
  EXPECT_TRUE(report.complete);
  EXPECT_GT(report.doubts, 500U);
}

struct Planted {
  const char* name;
  Plant plant;
  Bounds bounds;
  const char* broken;  ///< The invariants of which one must be reported.
};

class ExplorePlant : public ::testing::TestWithParam<Planted> {};

TEST_P(ExplorePlant, IsFoundAndExplained) {
  Bounds bounds = GetParam().bounds;
  bounds.rules.plant = GetParam().plant;
  const Report report = Explore(bounds);
  ASSERT_TRUE(report.violation);
  EXPECT_THAT(*report.violation, ::testing::ContainsRegex(GetParam().broken)) << Words(report);
  EXPECT_GE(report.scenario.size(), 4U);
  EXPECT_LE(report.scenario.size(), 25U) << Words(report);
  EXPECT_THAT(report.scenario.front(), ::testing::HasSubstr("campaigns"));
}

INSTANTIATE_TEST_SUITE_P(
    All, ExplorePlant,
    ::testing::Values(
        Planted{"AcknowledgeEarly", Plant::kAcknowledgeEarly, Small(1, 0, 1), "R[48]"},
        Planted{"ForgetVote", Plant::kForgetVote, Small(2, 0, 1), "R[16]"},
        Planted{"ForgetTail", Plant::kForgetTail, Small(2, 0, 1), "R[4578]"},
        Planted{"AnyLogWins", Plant::kAnyLogWins, Small(2, 0, 0), "R[45]"},
        Planted{"CountRefusal", Plant::kCountRefusal, Keeping(Small(2, 0, 0)), "R[1456]"}),
    [](const auto& planted) { return std::string(planted.param.name); });

}  // namespace
}  // namespace conclave::raft::explore
