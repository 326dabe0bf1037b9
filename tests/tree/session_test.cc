// Sessions, exactly once, time, versions, members, and what makes a member stop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SessionTest : public ::testing::Test {
 protected:
  static Limits Small() {
    Limits limits;
    limits.replies_per_session_max = 4;
    limits.reply_bytes_per_session_max = 1100;
    return limits;
  }

  void TearDown() override {
    EXPECT_EQ(machine.state.Audit(), "");
    EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
  }

  const Session& Find(std::int64_t id) { return *machine.state.sessions().Find(id); }

  // The session's request `seq`, again or for the first time.
  ApplyResult Send(std::int64_t session, std::int64_t seq, const Command& command) {
    return machine.Apply(machine.Header(session, seq), command);
  }

  // Everything but what every applied entry moves: its zxid and the elapsed time.
  Digest Contents() {
    Digest digest = machine.state.tree().digest();
    digest += machine.state.sessions().digest();
    return digest;
  }

  Machine machine{Small()};
};

OpenSession Opening(std::uint8_t nonce, std::uint8_t secret = 9) {
  OpenSession open;
  open.timeout_ms = 5000;
  open.nonce.fill(nonce);
  open.secret.fill(secret);
  return open;
}

TEST_F(SessionTest, TheIdIsTheZxidOfTheOpening) {
  const ApplyResult result = machine.Apply({}, Opening(1));
  EXPECT_EQ(result.reply.session, machine.zxid);
  EXPECT_EQ(result.reply.timeout_ms, 5000);
  EXPECT_EQ(result.reply.secret, Opening(1).secret);
  ASSERT_EQ(result.session_events.size(), 1U);
  EXPECT_EQ(result.session_events[0].type, SessionEventType::kOpened);
  EXPECT_EQ(result.session_events[0].session, machine.zxid);
  EXPECT_EQ(Find(machine.zxid).last_seq, 0);
}

TEST_F(SessionTest, AnOpeningIsDeduplicatedByItsNonceWhileTheSessionLives) {
  const std::int64_t first = machine.Apply({}, Opening(1, 7)).reply.session;
  const ApplyResult again = machine.Apply({}, Opening(1, 8));
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.reply.session, first);
  EXPECT_EQ(again.reply.secret, Opening(1, 7).secret) << "the secret of the first opening holds";
  EXPECT_TRUE(again.session_events.empty());
  EXPECT_EQ(machine.state.sessions().size(), 1U);
  EXPECT_NE(machine.Apply({}, Opening(2)).reply.session, first);
  machine.Close(first);
  const ApplyResult anew = machine.Apply({}, Opening(1, 8));
  EXPECT_FALSE(anew.duplicate);
  EXPECT_EQ(anew.reply.session, machine.zxid);
}

TEST_F(SessionTest, OpeningsThatMakeNoSense) {
  OpenSession open = Opening(1);
  open.timeout_ms = 0;
  EXPECT_EQ(machine.Apply({}, open).reply.code, Code::kInvalidArgument);
  EXPECT_EQ(machine.Apply({}, Opening(0)).reply.code, Code::kInvalidArgument);
  EXPECT_EQ(machine.Apply({}, Opening(1, 0)).reply.code, Code::kInvalidArgument);
  EXPECT_EQ(machine.state.sessions().size(), 0U);
}

TEST_F(SessionTest, Authenticate) {
  const std::int64_t id = machine.Apply({}, Opening(1, 7)).reply.session;
  const Sessions& sessions = machine.state.sessions();
  Bytes16 secret = Opening(1, 7).secret;
  EXPECT_TRUE(sessions.Authenticate(id, secret).has_value());
  for (std::size_t i = 0; i < secret.size(); ++i) {
    Bytes16 wrong = secret;
    wrong[i] ^= 1;
    const auto refused = sessions.Authenticate(id, wrong);
    ASSERT_FALSE(refused.has_value()) << i;
    EXPECT_EQ(refused.error().code, Code::kSessionExpired);
    EXPECT_THAT(refused.error().message, HasSubstr("wrong secret"));
  }
  EXPECT_THAT(sessions.Authenticate(id + 1, secret).error().message, HasSubstr("never opened"));
}

TEST_F(SessionTest, EphemeralsGoInTheEntryThatEndsTheSessionInOrderOfCreation) {
  const std::int64_t session = machine.Open();
  machine.Create(session, "/z", "", CreateMode::kEphemeral);
  const auto ephemeral = [](const char* path) { return Create{path, {}, CreateMode::kEphemeral}; };
  machine.Call(session,
               Multi{{ephemeral("/m"), Create{"/keep"}, ephemeral("/keep/b"), ephemeral("/a")}});
  machine.Create(session, "/keep/0", {}, CreateMode::kEphemeral);
  machine.Call(session, Delete{"/m"});
  machine.Create(session, "/m", {}, CreateMode::kEphemeral);

  const ApplyResult result = machine.Close(session, CloseReason::kExpired);
  std::vector<std::string> order;
  for (const Change& change : result.changes) {
    EXPECT_EQ(change.type, ChangeType::kDeleted);
    EXPECT_EQ(change.zxid, machine.zxid);
    EXPECT_EQ(change.ordinal, static_cast<std::int32_t>(order.size()));
    order.push_back(change.path);
  }
  EXPECT_THAT(order, ElementsAre("/z", "/keep/b", "/a", "/keep/0", "/m"));
  ASSERT_EQ(result.session_events.size(), 1U);
  EXPECT_EQ(result.session_events[0].type, SessionEventType::kExpired);
  EXPECT_EQ(result.session_events[0].session, session);
  EXPECT_EQ(machine.StatOf("/keep").pzxid, machine.zxid);
  EXPECT_EQ(machine.StatOf("/keep").cversion, 4);
  EXPECT_TRUE(machine.Exists("/keep"));
  EXPECT_EQ(machine.state.sessions().Find(session), nullptr);
}

TEST_F(SessionTest, AnEndedSessionExecutesNothing) {
  const std::int64_t session = machine.Open();
  const ApplyResult closed = machine.Close(session);
  EXPECT_EQ(closed.session_events.at(0).type, SessionEventType::kClosed);
  const Reply reply = machine.Create(session, "/x");
  EXPECT_EQ(reply.code, Code::kSessionExpired);
  EXPECT_EQ(reply.zxid, 0);
  EXPECT_FALSE(machine.Exists("/x"));
  const std::int64_t other = machine.Open();
  machine.Create(other, "/y");
  const Digest before = Contents();
  for (const Command& command :
       {Command(SetData{"/y", "1"}), Command(Delete{"/y"}),
        Command(
            Multi{{Op(SetData{"/y", "1"}), Op(Create{"/y/z", "", CreateMode::kPersistent})}})}) {
    EXPECT_EQ(machine.Call(session, command).code, Code::kSessionExpired);
    EXPECT_EQ(Contents(), before);
  }
  const ApplyResult again = machine.Close(session);
  EXPECT_EQ(again.reply.code, Code::kSessionExpired);
  EXPECT_TRUE(again.session_events.empty());
}

TEST_F(SessionTest, AClientsOwnCloseKeepsItsPlaceInTheOrder) {
  const std::int64_t session = machine.Open();
  const std::int64_t other = machine.Open();
  const CloseSession close{session};
  EXPECT_EQ(Send(session, 2, close).reply.code, Code::kSequenceGap);
  EXPECT_EQ(Send(other, 1, close).reply.code, Code::kInvalidArgument);
  EXPECT_NE(machine.state.sessions().Find(session), nullptr);
  EXPECT_EQ(Send(session, 1, Create{"/x"}).reply.code, Code::kOk);
  EXPECT_EQ(Send(session, 2, close).reply.code, Code::kOk);
  EXPECT_EQ(machine.state.sessions().Find(session), nullptr);
}

// --- Exactly once ---

TEST_F(SessionTest, ADuplicateGetsTheIdenticalReplyAndHasNoEffect) {
  const std::int64_t session = machine.Open();
  machine.Create(session, "/q");
  const Command create = Create{"/q/n-", "v", CreateMode::kPersistentSequential};
  const ApplyResult first = Send(session, 2, create);
  const Digest contents = Contents();
  const ApplyResult again = Send(session, 2, create);
  EXPECT_TRUE(again.duplicate);
  EXPECT_FALSE(first.duplicate);
  EXPECT_EQ(again.reply, first.reply);
  EXPECT_EQ(again.reply.path, "/q/n-0000000000");
  EXPECT_EQ(again.reply.zxid, machine.zxid - 1);
  EXPECT_TRUE(again.changes.empty());
  EXPECT_EQ(Contents(), contents);
}

TEST_F(SessionTest, AFailureIsAnAnswerToo) {
  const std::int64_t session = machine.Open();
  const ApplyResult first = Send(session, 1, Delete{"/x"});
  EXPECT_EQ(first.reply.code, Code::kNoNode);
  Send(session, 2, Create{"/x"});
  const ApplyResult again = Send(session, 1, Delete{"/x"});
  EXPECT_EQ(again.reply, first.reply);
  EXPECT_TRUE(machine.Exists("/x"));
}

TEST_F(SessionTest, AMultiIsStoredWhole) {
  const std::int64_t session = machine.Open();
  const Multi fine{{Create{"/x", "1"}, SetData{"/x", "2"}, Check{"/x"}}};
  const Multi failed{{Create{"/y"}, Check{"/none"}, Create{"/z"}}};
  const Reply first = Send(session, 1, fine).reply;
  const Reply second = Send(session, 2, failed).reply;
  EXPECT_EQ(Send(session, 1, fine).reply, first);
  EXPECT_EQ(Send(session, 2, failed).reply, second);
  EXPECT_EQ(first.multi.size(), 3U);
}

TEST_F(SessionTest, AGapIsToldTheExpectedNumberAndHasNoEffect) {
  const std::int64_t session = machine.Open();
  Send(session, 1, Create{"/a"});
  const Digest contents = Contents();
  EntryHeader header = machine.Header(session, 3);
  header.acked_through = 1;
  const Reply reply = machine.Apply(header, Create{"/c"}).reply;
  EXPECT_EQ(reply.code, Code::kSequenceGap);
  EXPECT_EQ(reply.expected_seq, 2);
  EXPECT_EQ(reply.zxid, 0);
  EXPECT_THAT(reply.message, HasSubstr("expected 2"));
  EXPECT_EQ(Contents(), contents);
  EXPECT_EQ(Send(session, 2, Create{"/b"}).reply.code, Code::kOk);
  EXPECT_EQ(Send(session, 3, Create{"/c"}).reply.code, Code::kOk);
}

TEST_F(SessionTest, NumbersBeginAtOne) {
  const std::int64_t session = machine.Open();
  for (const std::int64_t seq : {std::int64_t{0}, std::int64_t{-1}, INT64_MIN}) {
    EXPECT_EQ(Send(session, seq, Create{"/a"}).reply.code, Code::kInvalidArgument);
  }
  EXPECT_EQ(Send(session, INT64_MAX, Create{"/a"}).reply.code, Code::kSequenceGap);
  EXPECT_FALSE(machine.Exists("/a"));
}

TEST_F(SessionTest, SessionsNumberForThemselves) {
  const std::int64_t a = machine.Open();
  const std::int64_t b = machine.Open();
  EXPECT_EQ(Send(a, 1, Create{"/a"}).reply.code, Code::kOk);
  const ApplyResult other = Send(b, 1, Create{"/b"});
  EXPECT_FALSE(other.duplicate);
  EXPECT_TRUE(machine.Exists("/b"));
}

TEST_F(SessionTest, TakingOverLeavesTheOldProcessNoNumber) {
  const std::int64_t session = machine.Open();
  machine.Create(session, "/a");
  EXPECT_EQ(Send(session, INT64_MAX, TakeOver{}).reply.expected_seq, 2);
  EXPECT_EQ(Send(session, 1, TakeOver{}).reply.code, Code::kSequenceGap)
      << "the number of a create";
  const Reply taken = Send(session, 2, TakeOver{}).reply;
  EXPECT_EQ(taken.code, Code::kOk);
  EXPECT_EQ(taken.expected_seq, 2 + kTakeOverJump + 1);
  EXPECT_EQ(Find(session).replies.size(), 0U);
  for (const std::int64_t seq :
       {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, taken.expected_seq - 1}) {
    const ApplyResult late = Send(session, seq, Create{"/late"});
    EXPECT_EQ(late.reply.code, Code::kSessionExpired) << seq;
    EXPECT_THAT(late.reply.message, HasSubstr("taken over"));
  }
  EXPECT_FALSE(machine.Exists("/late"));
  EXPECT_EQ(Send(session, taken.expected_seq, Create{"/b"}).reply.path, "/b");
  EXPECT_EQ(Send(session, taken.expected_seq, Create{"/b"}).reply.path, "/b") << "a retry";
  EXPECT_EQ(machine.state.Audit(), "");
  EXPECT_EQ(machine.state.digest(), machine.state.RecomputeDigest());
}

TEST_F(SessionTest, AcknowledgedRepliesAreForgotten) {
  const std::int64_t session = machine.Open();
  for (int i = 1; i <= 3; ++i) {
    machine.Create(session, "/n" + std::to_string(i));
  }
  EXPECT_EQ(Find(session).replies.size(), 3U);
  machine.acked[session] = 2;
  machine.Create(session, "/n4");
  EXPECT_EQ(Find(session).replies.size(), 2U);
  EXPECT_EQ(Find(session).acked_through, 2);
  const Reply forgotten = Send(session, 2, Create{"/n2"}).reply;
  EXPECT_EQ(forgotten.code, Code::kReplyDropped);
  EXPECT_THAT(forgotten.message, HasSubstr("it was acknowledged"));
  EXPECT_EQ(Send(session, 3, Create{"/n3"}).reply.path, "/n3");

  machine.acked[session] = 1;  // An older request that comes late takes nothing back.
  machine.Create(session, "/n5");
  EXPECT_EQ(Find(session).acked_through, 2);
  machine.acked[session] = INT64_MAX;  // More than there is.
  machine.Create(session, "/n6");
  EXPECT_EQ(Find(session).acked_through, 5);
  EXPECT_EQ(Find(session).replies.size(), 1U);
  EXPECT_EQ(Send(session, 6, Create{"/n6"}).reply.path, "/n6");
}

TEST_F(SessionTest, PastTheCountTheOldestReplyGoesButNeverASecondExecution) {
  const std::int64_t session = machine.Open();
  machine.Create(session, "/q");
  for (int i = 2; i <= 5; ++i) {
    machine.Call(session, SetData{"/q", "x"});
  }
  EXPECT_EQ(Find(session).replies.size(), 4U);
  const Reply gone = Send(session, 1, Create{"/q"}).reply;
  EXPECT_EQ(gone.code, Code::kReplyDropped);
  EXPECT_THAT(gone.message, HasSubstr("too many newer ones"));
  EXPECT_EQ(Send(session, 2, SetData{"/q", "x"}).reply.stat.version, 1);
  EXPECT_EQ(machine.StatOf("/q").version, 4);
}

TEST_F(SessionTest, PastTheBytesTheOldestBodyGoes) {
  const std::int64_t session = machine.Open();
  const std::string name(250, 'n');
  machine.Create(session, "/" + name);
  const std::int64_t first_zxid = machine.zxid;
  machine.Create(session, "/" + name + "/" + name);
  EXPECT_EQ(Find(session).reply_bytes,
            Find(session).replies[0].body().size() + Find(session).replies[1].body().size());
  EXPECT_FALSE(Find(session).replies[0].dropped());
  machine.Create(session, "/a" + name);
  EXPECT_TRUE(Find(session).replies[0].dropped());
  EXPECT_FALSE(Find(session).replies[1].dropped());
  EXPECT_LE(Find(session).reply_bytes, 1100U);
  const ApplyResult dropped = Send(session, 1, Create{"/" + name});
  EXPECT_TRUE(dropped.duplicate);
  EXPECT_EQ(dropped.reply.code, Code::kReplyDropped);
  EXPECT_EQ(dropped.reply.zxid, first_zxid);
  EXPECT_THAT(dropped.reply.message, HasSubstr("was applied at zxid"));
  EXPECT_EQ(Send(session, 3, Create{"/a" + name}).reply.path, "/a" + name);
}

TEST_F(SessionTest, AReplyOverTheCapByItselfKeepsOnlyItsZxid) {
  const std::int64_t session = machine.Open();
  machine.Create(session, "/small");
  const std::string name(250, 'n');
  Multi multi;
  for (char c = 'a'; c < 'f'; ++c) {
    multi.ops.emplace_back(Create{"/" + name + c});
  }
  EXPECT_EQ(Send(session, 2, multi).reply.multi.size(), 5U);
  EXPECT_EQ(Send(session, 2, multi).reply.code, Code::kReplyDropped);
  EXPECT_EQ(Send(session, 1, Create{"/small"}).reply.path, "/small");
}

// --- Time, versions, members ---

TEST_F(SessionTest, ElapsedTimeNeverGoesBack) {
  machine.elapsed_ns = 50;
  machine.Open();
  EXPECT_EQ(machine.state.elapsed_ns(), 50);
  machine.elapsed_ns = 20;
  machine.Open();
  EXPECT_EQ(machine.state.elapsed_ns(), 50);
  machine.elapsed_ns = 60;
  machine.Open();
  EXPECT_EQ(machine.state.elapsed_ns(), 60);
}

TEST_F(SessionTest, TheResultNamesWhomTheReplyBelongsTo) {
  EntryHeader header = machine.Header(7, 8);
  header.origin_member = 3;
  header.origin_request = 99;
  const ApplyResult result = machine.Apply(header, Create{"/x"});
  EXPECT_EQ(result.session, 7);
  EXPECT_EQ(result.seq, 8);
  EXPECT_EQ(result.origin_member, 3U);
  EXPECT_EQ(result.origin_request, 99U);
}

TEST_F(SessionTest, FeatureLevels) {
  EXPECT_EQ(machine.state.feature_level(), 1);
  EXPECT_EQ(machine.Apply({}, SetFeatureLevel{1}).reply.code, Code::kOk);
  EXPECT_EQ(machine.Apply({}, SetFeatureLevel{0}).reply.code, Code::kInvalidArgument);
  const Digest before = machine.state.digest();
  const ApplyResult result = machine.Apply({}, SetFeatureLevel{2});
  ASSERT_TRUE(result.fatal.has_value());
  EXPECT_EQ(result.fatal->kind, Fatal::Kind::kUnknownFeatureLevel);
  EXPECT_THAT(result.fatal->message, HasSubstr("upgrade this member"));
  EXPECT_EQ(machine.state.digest(), before);
}

TEST_F(SessionTest, MembersPublishThemselves) {
  machine.Apply({}, PublishMember{2, 77, "h:1", "h:2"});
  machine.Apply({}, PublishMember{1, 66, "g:1", ""});
  const MemberInfo expected{77, "h:1", "h:2", machine.zxid - 1};
  EXPECT_EQ(machine.state.members().at(2), expected);
  machine.Apply({}, PublishMember{2, 78, "h:3", "h:4"});
  EXPECT_EQ(machine.state.members().at(2).client_address, "h:3");
  EXPECT_EQ(machine.state.members().size(), 2U);
  EXPECT_EQ(machine.Apply({}, PublishMember{2, 1, std::string(513, 'h'), ""}).reply.code,
            Code::kTooLarge);
}

TEST_F(SessionTest, AnUnreadableEntryStopsTheMemberAndChangesNothing) {
  const std::string good = EncodeEntry({}, Opening(1));
  const Digest before = machine.state.digest();
  const auto kind = [&](std::string bytes) {
    const ApplyResult result = machine.state.Apply(machine.zxid + 1, bytes);
    EXPECT_TRUE(result.fatal.has_value());
    EXPECT_EQ(machine.state.digest(), before);
    return result.fatal->kind;
  };
  EXPECT_EQ(kind(""), Fatal::Kind::kMalformedEntry);
  EXPECT_EQ(kind(good.substr(0, good.size() - 1)), Fatal::Kind::kMalformedEntry);
  EXPECT_EQ(kind(good + "x"), Fatal::Kind::kMalformedEntry);
  std::string newer = good;
  newer[0] = 2;
  EXPECT_EQ(kind(newer), Fatal::Kind::kUnknownFormat);
  std::string unknown = good;
  unknown[2] = 99;
  EXPECT_EQ(kind(unknown), Fatal::Kind::kUnknownCommand);
}

}  // namespace
}  // namespace conclave::tree
