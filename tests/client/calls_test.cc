// Reads and writes through trouble: exactly once, in order, by their deadlines, with honest errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/client_fixture.h"

namespace conclave::client_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CallsTest : public ClientTest {};

TEST_F(CallsTest, WhatTheTreeAnswersIsHandedOn) {
  Client& client = OpenClient();
  const auto created = Create(client, "/a", "one");
  ASSERT_TRUE(created.ok());
  EXPECT_EQ(created->path, "/a");
  EXPECT_EQ(created->zxid, created->stat.czxid);

  const auto got = Get(client, "/a");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->data, "one");

  const auto missing = Get(client, "/missing");
  EXPECT_EQ(missing.code(), Code::kNoNode);
  EXPECT_EQ(missing.error().path, "/missing");
  EXPECT_EQ(missing.error().action(), Action::kAnswer);

  const auto bad_version =
      Await<Written>([&](auto done) { client.SetAsync("/a", "two", 7, {}, done); });
  EXPECT_EQ(bad_version.code(), Code::kBadVersion);
  EXPECT_EQ(Await<Written>([&](auto done) { client.RemoveAsync("/a", 0, {}, done); }).code(),
            Code::kOk);
  EXPECT_FALSE(
      Await<Existence>([&](auto done) { client.ExistsAsync("/a", {}, done); })->stat.has_value());
}

TEST_F(CallsTest, NullAndEmptyAreDifferent) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/null", std::nullopt).ok());
  ASSERT_TRUE(Create(client, "/empty", "").ok());
  EXPECT_EQ(Get(client, "/null")->data, std::nullopt);
  EXPECT_EQ(Get(client, "/empty")->data, "");
}

TEST_F(CallsTest, AFailedMultiNamesItsOperation) {
  Client& client = OpenClient();
  const auto result = Await<MultiResult>([&](auto done) {
    client.MultiAsync({Op::Create("/x", "1"), Op::Check("/no")}, {}, done);
  });
  EXPECT_EQ(result.code(), Code::kNoNode);
  EXPECT_EQ(result.error().op_index, 1);
  EXPECT_FALSE(cluster.tree.contains("/x"));
}

TEST_F(CallsTest, ListsAllPages) {
  Client& client = OpenClient();
  ASSERT_TRUE(Await<void>([&](auto done) { client.CreatePathAsync("/p/q", {}, done); }).ok());
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Create(client, "/p/q/" + std::to_string(i), {}).ok());
  }
  const auto all = Await<ChildList>([&](auto done) { client.ChildrenAsync("/p/q", {}, done); });
  EXPECT_THAT(all->names, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7"));
  EXPECT_TRUE(all->complete);
  EXPECT_EQ(cluster.CountCalls("children"), 3);

  ChildrenOptions page;
  page.count_max = 2;
  page.after = "3";
  const auto two = Await<ChildList>([&](auto done) { client.ChildrenAsync("/p/q", page, done); });
  EXPECT_THAT(two->names, ElementsAre("4", "5"));
  EXPECT_FALSE(two->complete);
}

TEST_F(CallsTest, AWriteWhoseAnswerIsLostIsExecutedOnceAndAnswered) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "0").ok());
  bool broken = false;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "setData" && !std::exchange(broken, true) ? Break(true) : Fault{};
  };
  const int home = Home(client);
  const auto set = Set(client, "/a", "1");
  ASSERT_TRUE(set.ok()) << set.error().ToString();
  EXPECT_EQ(set->stat.version, 1);
  EXPECT_EQ(cluster.CountCalls("setData"), 2);
  EXPECT_NE(Home(client), home) << "the retry went to another member";
  EXPECT_THAT(cluster.applied, ElementsAre("open", "create /a", "set /a 1"));
}

TEST_F(CallsTest, PipelinedWritesStayInOrderOverAReconnect) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  // The third of ten is the last that the first member executes; its answers are lost, and what
  // came after it too.
  cluster.on_call = [&](const std::string& method, const idl::Ctx& ctx, int) {
    if (method != "setData" || cluster.connects > 1) {
      return Fault{};
    }
    return ctx.seq == 4 ? Break(true) : ctx.seq > 4 ? Break(false) : Mute(true);
  };
  std::vector<std::string> answered;
  for (int i = 0; i < 10; ++i) {
    client.SetAsync("/a", std::to_string(i), kAnyVersion, {}, [&, i](Result<Written> set) {
      EXPECT_TRUE(set.ok());
      answered.push_back(std::to_string(i));
    });
  }
  ASSERT_TRUE(executor.AdvanceUntil([&] { return answered.size() == 10; }));
  EXPECT_THAT(cluster.applied,
              ElementsAre("open", "create /a", "set /a 0", "set /a 1", "set /a 2", "set /a 3",
                          "set /a 4", "set /a 5", "set /a 6", "set /a 7", "set /a 8", "set /a 9"));
  EXPECT_THAT(answered, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));
}

TEST_F(CallsTest, AGapIsFilledInOrder) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  int refused = 0;
  // The first write is refused for load: those behind it meet a gap.
  cluster.on_call = [&](const std::string& method, const idl::Ctx& ctx, int) {
    return method == "setData" && ctx.seq == 2 && refused++ < 3 ? Fail(idl::ErrorCode::OVERLOADED)
                                                                : Fault{};
  };
  int answered = 0;
  for (int i = 0; i < 5; ++i) {
    client.SetAsync("/a", std::to_string(i), kAnyVersion, {}, [&](Result<Written> set) {
      EXPECT_TRUE(set.ok());
      ++answered;
    });
  }
  ASSERT_TRUE(executor.AdvanceUntil([&] { return answered == 5; }));
  EXPECT_THAT(cluster.applied, ElementsAre("open", "create /a", "set /a 0", "set /a 1", "set /a 2",
                                           "set /a 3", "set /a 4"));
}

TEST_F(CallsTest, ARefusedWriteIsGivenUpAndNeverExecuted) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  bool overloaded = true;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "setData" && overloaded ? Fail(idl::ErrorCode::OVERLOADED) : Fault{};
  };
  const BootTime before = executor.Now();
  const auto refused = Set(client, "/a", "refused", seconds(3));
  EXPECT_EQ(refused.code(), Code::kOverloaded);
  EXPECT_EQ(executor.Now() - before, seconds(3));
  EXPECT_GT(cluster.CountCalls("setData"), 5);
  overloaded = false;
  EXPECT_TRUE(Set(client, "/a", "later").ok());
  EXPECT_THAT(cluster.applied, ElementsAre("open", "create /a", "set /a later"));
}

TEST_F(CallsTest, AWriteGivenUpDoesNotHoldUpThoseBehindIt) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx& ctx, int) {
    return method == "setData" && ctx.seq == 2 ? Fail(idl::ErrorCode::OVERLOADED) : Fault{};
  };
  std::optional<Result<Written>> first;
  std::optional<Result<Written>> second;
  std::optional<Result<Node>> read;
  client.SetAsync("/a", "refused", kAnyVersion, {seconds(2)}, Into(first));
  client.SetAsync("/a", "behind", kAnyVersion, {seconds(5)}, Into(second));
  client.GetAsync("/a", {}, Into(read));
  ASSERT_TRUE(executor.AdvanceUntil([&] { return first && second && read; }));
  EXPECT_EQ(first->code(), Code::kOverloaded);
  EXPECT_TRUE(second->ok());
  EXPECT_EQ((*read)->data, "behind");
  // A write without effect has taken the number of the one that was given up.
  EXPECT_THAT(cluster.applied, ElementsAre("open", "create /a", "multi 1", "set /a behind"));
}

TEST_F(CallsTest, AnUnansweredWriteIsUnknownNotFailedAndItsNumberIsSettled) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "setData" ? Mute(true) : Fault{};
  };
  const auto unknown = Set(client, "/a", "1", seconds(2));
  EXPECT_EQ(unknown.code(), Code::kUnknownOutcome);
  EXPECT_EQ(unknown.error().action(), Action::kOutcomeUnknown);
  EXPECT_THAT(unknown.error().ToString(), HasSubstr("/a"));
  cluster.on_call = nullptr;
  cluster.BreakConnections();
  EXPECT_TRUE(Set(client, "/a", "2").ok());
  EXPECT_THAT(cluster.applied, ElementsAre("open", "create /a", "set /a 1", "set /a 2"));
}

TEST_F(CallsTest, AMemberThatNeverAnswersAWriteIsLeft) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  const int home = Home(client);
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int member) {
    return method == "setData" && member == home ? Mute(false) : Fault{};
  };
  EXPECT_TRUE(Set(client, "/a", "1", seconds(60)).ok());
  EXPECT_NE(Home(client), home);
}

TEST_F(CallsTest, NotSentMeansUnavailableWithTheReason) {
  for (int member = 1; member <= 3; ++member) {
    cluster.Stop(member);
  }
  Client& client = NewClient();
  const auto set = Set(client, "/a", "1", seconds(1));
  EXPECT_EQ(set.code(), Code::kUnavailable);
  EXPECT_THAT(set.error().message, HasSubstr("connection refused"));
  EXPECT_TRUE(cluster.applied.empty());
}

TEST_F(CallsTest, AReadPastItsDeadlineSaysThatNothingHappened) {
  Client& client = OpenClient();
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "getData" ? Mute(false) : Fault{};
  };
  const auto read = Get(client, "/", {.timeout = milliseconds(700)});
  EXPECT_EQ(read.code(), Code::kDeadlineExceeded);
}

TEST_F(CallsTest, ServersKeepOnlyRepliesThatAreStillWanted) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "-").ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Set(client, "/a", std::to_string(i)).ok());
  }
  EXPECT_LE(cluster.sessions.at(client.session_id()).replies.size(), 1U);
}

TEST_F(CallsTest, AReadSeesTheWritesBeforeItEvenWhenTheyAreHeldUp) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "old").ok());
  int refused = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "setData" && refused++ < 4 ? Fail(idl::ErrorCode::UNAVAILABLE) : Fault{};
  };
  std::optional<Result<Written>> set;
  std::optional<Result<Node>> got;
  client.SetAsync("/a", "new", kAnyVersion, {}, Into(set));
  client.GetAsync("/a", {.timeout = {}, .mode = ReadMode::kSession}, Into(got));
  ASSERT_TRUE(executor.AdvanceUntil([&] { return got.has_value(); }));
  EXPECT_EQ((*got)->data, "new");
}

TEST_F(CallsTest, ReadsCarryWhatTheSessionHasSeen) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  const std::int64_t seen = cluster.ForeignSet("/a", "2");
  ASSERT_TRUE(Get(client, "/a").ok());
  cluster.Stop(Home(client));
  std::int64_t asked = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx& ctx, int) {
    asked = method == "getData" ? ctx.minZxid : asked;
    return Fault{};
  };
  ASSERT_TRUE(Get(client, "/a", {.timeout = {}, .mode = ReadMode::kSession}).ok());
  EXPECT_GE(asked, seen);
  asked = 0;
  ASSERT_TRUE(Get(client, "/a", {.timeout = {}, .mode = ReadMode::kStale}).ok());
  EXPECT_EQ(asked, 0);
}

TEST_F(CallsTest, NoSpaceIsToldAtOnceAndReadsGoOn) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "setData" || method == "multi" ? Fail(idl::ErrorCode::NO_SPACE) : Fault{};
  };
  const BootTime before = executor.Now();
  EXPECT_EQ(Set(client, "/a", "2").code(), Code::kNoSpace);
  EXPECT_LT(executor.Now() - before, milliseconds(100));
  EXPECT_EQ(Get(client, "/a")->data, "1");
  cluster.on_call = nullptr;
  EXPECT_TRUE(Set(client, "/a", "3").ok());
}

TEST_F(CallsTest, MembersWithoutSpaceForASessionAreNotCalledUnreachable) {
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "openSession" ? Fail(idl::ErrorCode::NO_SPACE) : Fault{};
  };
  Client& client = NewClient();
  const auto created = Create(client, "/a", "1");
  EXPECT_EQ(created.code(), Code::kNoSpace) << created.error().ToString();
  EXPECT_EQ(created.error().path, "/a");
  cluster.on_call = nullptr;
  EXPECT_TRUE(Create(client, "/a", "1").ok());
}

TEST_F(CallsTest, ANumberRefusedBeforeAgreementIsFilled) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx& ctx, int) {
    return method == "setData" && ctx.seq == 2 ? Fail(idl::ErrorCode::INVALID_ARGUMENT) : Fault{};
  };
  EXPECT_EQ(Set(client, "/a", "2").code(), Code::kInvalidArgument);
  EXPECT_TRUE(Set(client, "/a", "3").ok());
  EXPECT_TRUE(Set(client, "/a", "4").ok());
  EXPECT_EQ(cluster.applied.back(), "set /a 4");
}

TEST_F(CallsTest, ForgottenAcknowledgedWritesEndTheSessionLoudly) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  ASSERT_TRUE(Set(client, "/a", "2").ok());
  cluster.sessions.at(client.session_id()).last_seq = 0;  // A disk put back to an older state.
  EXPECT_EQ(Set(client, "/a", "3").code(), Code::kSessionExpired);
  EXPECT_EQ(client.state(), SessionState::kExpired);
}

TEST_F(CallsTest, OneCallTooManyIsRefusedAtOnce) {
  Options options;
  options.outstanding_calls_max = 4;
  Client& client = OpenClient(options);
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "getData" ? Mute(false) : Fault{};
  };
  std::vector<Code> codes;
  for (int i = 0; i < 6; ++i) {
    client.GetAsync("/", {}, [&](const Result<Node>& node) { codes.push_back(node.code()); });
  }
  executor.Settle();
  EXPECT_THAT(codes, ElementsAre(Code::kOverloaded, Code::kOverloaded));
  executor.Advance(seconds(11));
  EXPECT_EQ(codes.size(), 6U);
  cluster.on_call = nullptr;
  EXPECT_TRUE(Get(client, "/").ok()) << "room again";
}

TEST_F(CallsTest, WritesInFlightAreBounded) {
  Options options;
  options.writes_in_flight_max = 3;
  Client& client = OpenClient(options);
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  int under_way = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    under_way += method == "setData" ? 1 : 0;
    return method == "setData" ? Mute(true) : Fault{};
  };
  int answered = 0;
  for (int i = 0; i < 10; ++i) {
    client.SetAsync("/a", std::to_string(i), kAnyVersion, {seconds(60)}, [&](Result<Written> set) {
      EXPECT_TRUE(set.ok());
      ++answered;
    });
  }
  executor.Settle();
  EXPECT_EQ(under_way, 3);
  cluster.on_call = nullptr;
  cluster.BreakConnections();
  EXPECT_TRUE(executor.AdvanceUntil([&] { return answered == 10; }));
}

TEST_F(CallsTest, AValueOverTheFrameLimitIsRefusedAndTheNextWriteGoesThrough) {
  Options options;
  options.frame_bytes_max = 64 * 1024;
  Client& client = OpenClient(options);
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  EXPECT_EQ(Set(client, "/a", std::string(100'000, 'x')).code(), Code::kTooLarge);
  EXPECT_TRUE(Set(client, "/a", "2").ok());
}

TEST_F(CallsTest, HostileAnswersBreakTheConnectionNotTheClient) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  const std::vector<std::string> hostile = {
      "",                                                  // nothing
      "HTTP/1.1 400 Bad Request\r\n\r\n",                  // another protocol
      std::string("\x82\x41\x01", 3),                      // a truncated header
      std::string("\x82\x41\x01\xff\xff\xff\xff\x0f", 8),  // a name of 4 GiB
      std::string("\x80\x01\x00\x02\x7f\xff\xff\xff", 8),  // the same in binary
      std::string("\x82\x21\x01\x03get", 7),               // a call instead of an answer
  };
  for (const std::string& frame : hostile) {
    bool sent = false;
    cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
      return method == "getData" && !std::exchange(sent, true) ? Raw(frame) : Fault{};
    };
    const int before = cluster.connects;
    const auto got = Get(client, "/a");
    ASSERT_TRUE(got.ok()) << got.error().ToString();
    EXPECT_EQ(got->data, "1");
    EXPECT_GT(cluster.connects, before);
  }
}

TEST_F(CallsTest, AnAnswerToNobodyIsIgnored) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  bool sent = false;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    // A reply in compact protocol with sequence number 99 and an empty name.
    return method == "getData" && !std::exchange(sent, true)
               ? Raw(std::string("\x82\x41\x63\x00\x00", 5))
               : Fault{};
  };
  EXPECT_EQ(Get(client, "/a", {.timeout = milliseconds(500)}).code(), Code::kDeadlineExceeded);
  EXPECT_EQ(Get(client, "/a")->data, "1");
  EXPECT_EQ(client.state(), SessionState::kConnected);
}

TEST_F(CallsTest, UnknownCodesAreTreatedByTheirTens) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  int refused = 0;
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "getData" && refused++ == 0 ? Fail(static_cast<idl::ErrorCode::type>(35))
                                                 : Fault{};
  };
  EXPECT_EQ(Get(client, "/a")->data, "1") << "retry later";
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "getData" ? Fail(static_cast<idl::ErrorCode::type>(17)) : Fault{};
  };
  EXPECT_EQ(Get(client, "/a").code(), Code::kNotSupported) << "an answer";
}

TEST_F(CallsTest, EveryCallbackComesWhenTheClientIsDestroyed) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "1").ok());
  cluster.on_call = [&](const std::string& method, const idl::Ctx&, int) {
    return method == "getData" || method == "setData" ? Mute(false) : Fault{};
  };
  std::optional<Result<Node>> read;
  std::optional<Result<Written>> sent;
  client.GetAsync("/a", {}, Into(read));
  client.SetAsync("/a", "2", kAnyVersion, {}, Into(sent));
  executor.Settle();
  Destroy(client);
  ASSERT_TRUE(read && sent);
  EXPECT_EQ(read->code(), Code::kSessionExpired);
  EXPECT_EQ(sent->code(), Code::kUnknownOutcome);
}

TEST_F(CallsTest, CallbacksMayCallAgain) {
  Client& client = OpenClient();
  ASSERT_TRUE(Create(client, "/a", "0").ok());
  int rounds = 0;
  std::function<void(Result<Written>)> again = [&](const Result<Written>& set) {
    EXPECT_TRUE(set.ok());
    if (++rounds < 50) {
      client.SetAsync("/a", std::to_string(rounds), kAnyVersion, {}, again);
    }
  };
  client.SetAsync("/a", "first", kAnyVersion, {}, again);
  EXPECT_TRUE(executor.AdvanceUntil([&] { return rounds == 50; }));
  EXPECT_EQ(cluster.tree.at("/a").data, "49");
}

}  // namespace
}  // namespace conclave::client_test
