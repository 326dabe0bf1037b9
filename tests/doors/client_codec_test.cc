// Requests of clients that cannot be handed on are refused by the name of the field; replies carry
// everything that the server said.

#include "coord/doors/client_codec.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "coord/doors/event_encoder.h"
#include "thrift/wire/protocol.h"

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;

// A value that this version does not know, as it comes from the wire.
template <typename Enum>
Enum Unknown(int value) {
  return static_cast<Enum>(value);
}

idl::Ctx GoodCtx() {
  idl::Ctx ctx;
  ctx.session = 7;
  ctx.secret = std::string(16, 's');
  ctx.seq = 3;
  ctx.ackedThrough = 2;
  ctx.afterSeq = 1;
  ctx.minZxid = 99;
  ctx.deadlineMs = 500;
  return ctx;
}

TEST(ClientCodec, CallerTakesEverything) {
  idl::Ctx ctx = GoodCtx();
  ctx.__set_clusterId(std::string(16, 'c'));
  ctx.noEvents = true;
  const auto caller = CallerFromWire(ctx, "127.0.0.1:5", 100);
  ASSERT_TRUE(caller.has_value());
  EXPECT_EQ(caller->session, 7);
  EXPECT_EQ(caller->secret[0], 's');
  EXPECT_EQ(caller->seq, 3);
  EXPECT_EQ(caller->acked_through, 2);
  EXPECT_EQ(caller->after_seq, 1);
  EXPECT_EQ(caller->min_zxid, 99);
  EXPECT_EQ(caller->timeout_ms, 400) << "what the call has waited is taken off its deadline";
  EXPECT_EQ((*caller->cluster)[15], 'c');
  EXPECT_TRUE(caller->no_events);
  EXPECT_EQ(caller->identity, "127.0.0.1:5");
}

TEST(ClientCodec, ADeadlineThatHasPassedIsStillADeadline) {
  EXPECT_EQ(CallerFromWire(GoodCtx(), "", 10'000)->timeout_ms, 1) << "0 would mean the default";
}

TEST(ClientCodec, CallersAreRefusedByField) {
  idl::Ctx secret = GoodCtx();
  secret.secret = "short";
  EXPECT_EQ(CallerFromWire(secret, "", 0).error(), "ctx.secret: 5 bytes; it must have 16");
  idl::Ctx cluster = GoodCtx();
  cluster.__set_clusterId("x");
  EXPECT_EQ(CallerFromWire(cluster, "", 0).error(), "ctx.clusterId: 1 bytes; a cluster id has 16");
  idl::Ctx deadline = GoodCtx();
  deadline.deadlineMs = -1;
  EXPECT_EQ(CallerFromWire(deadline, "", 0).error(), "ctx.deadlineMs: -1 is negative");
  idl::Ctx without_session;
  EXPECT_TRUE(CallerFromWire(without_session, "", 0).has_value()) << "no session needs no secret";
}

TEST(ClientCodec, NullAndEmptyDataStayApart) {
  idl::CreateRequest create;
  create.path = "/a";
  EXPECT_FALSE(CreateFromWire(create).data.has_value());
  create.__set_data("");
  EXPECT_EQ(CreateFromWire(create).data, "");
  idl::SetDataRequest set;
  EXPECT_FALSE(SetDataFromWire(set).data.has_value());
  EXPECT_EQ(SetDataFromWire(set).version, -1) << "any version, unless said otherwise";
}

TEST(ClientCodec, CreateModes) {
  const auto mode = [](int wire) {
    idl::CreateRequest create;
    create.mode = static_cast<idl::CreateMode::type>(wire);
    return CreateFromWire(create).mode;
  };
  EXPECT_EQ(mode(0), tree::CreateMode::kPersistent);
  EXPECT_EQ(mode(1), tree::CreateMode::kPersistent);
  EXPECT_EQ(mode(2), tree::CreateMode::kEphemeral);
  EXPECT_EQ(mode(3), tree::CreateMode::kPersistentSequential);
  EXPECT_EQ(mode(4), tree::CreateMode::kEphemeralSequential);
  EXPECT_FALSE(tree::IsKnown(mode(5))) << "for apply to refuse";
}

TEST(ClientCodec, MultiInOrderAndWithoutAnOperation) {
  idl::MultiRequest wire;
  wire.ops.resize(4);
  wire.ops[0].__isset.create = true;
  wire.ops[0].create.path = "/a";
  wire.ops[1].__isset.setData = true;
  wire.ops[1].setData.path = "/b";
  wire.ops[2].__isset.remove = true;
  wire.ops[2].remove.path = "/c";
  wire.ops[3].__isset.check = true;
  wire.ops[3].check.path = "/d";
  wire.ops[3].check.expectedVersion = 5;
  const auto multi = MultiFromWire(wire);
  ASSERT_TRUE(multi.has_value());
  EXPECT_EQ(std::get<tree::Create>(multi->ops[0]).path, "/a");
  EXPECT_EQ(std::get<tree::SetData>(multi->ops[1]).path, "/b");
  EXPECT_EQ(std::get<tree::Delete>(multi->ops[2]).path, "/c");
  EXPECT_EQ(std::get<tree::Check>(multi->ops[3]), (tree::Check{"/d", 5}));
  wire.ops.emplace_back();
  EXPECT_EQ(MultiFromWire(wire).error(), "ops[4]: none of create, setData, remove, check is set");
}

TEST(ClientCodec, ReadAndWatchModes) {
  EXPECT_EQ(*ReadModeFromWire(idl::ReadMode::UNKNOWN), server::ReadMode::kLinearizable);
  EXPECT_EQ(*ReadModeFromWire(idl::ReadMode::LINEARIZABLE), server::ReadMode::kLinearizable);
  EXPECT_EQ(*ReadModeFromWire(idl::ReadMode::SESSION), server::ReadMode::kSession);
  EXPECT_EQ(*ReadModeFromWire(idl::ReadMode::STALE), server::ReadMode::kStale);
  EXPECT_EQ(ReadModeFromWire(Unknown<idl::ReadMode::type>(4)).error(),
            "mode: 4 is no read mode; use 1 to 3");
  idl::WatchSpec spec;
  EXPECT_EQ(WatchFromWire(spec).error(), "watch.mode: 0 is no watch mode; use 1 to 5");
  spec.mode = idl::WatchMode::PERSISTENT_RECURSIVE;
  spec.watchId = 8;
  spec.path = "/w";
  spec.withValue = true;
  const auto watch = WatchFromWire(spec);
  EXPECT_EQ(watch->id, 8);
  EXPECT_EQ(watch->path, "/w");
  EXPECT_EQ(watch->mode, tree::WatchMode::kPersistentRecursive);
  EXPECT_TRUE(watch->with_value);
  idl::ReadWatch with_read;
  EXPECT_FALSE(ReadWatchFromWire(with_read)->mode.has_value()) << "the one that fits the call";
  with_read.mode = Unknown<idl::WatchMode::type>(9);
  EXPECT_FALSE(ReadWatchFromWire(with_read).has_value());
}

tree::Event EventOf(tree::ChangeType type, std::optional<std::string_view> data, bool with_value) {
  auto change = std::make_shared<tree::Change>();
  change->type = type;
  change->path = "/dir/node";
  change->value = tree::Value::Make({}, "node", data);
  change->stat.version = 4;
  tree::Event event;
  event.type = static_cast<tree::EventType>(type);
  event.cursor = {12, 3};
  event.watch_ids = {5, 6};
  event.with_value = with_value;
  event.change = std::move(change);
  return event;
}

// As a client reads it.
idl::Head Sent(const server::ReplyHead& head, EventEncoder& encoder, wire::Protocol which) {
  wire::MessageWriter writer;
  const EventEncoder::List events(encoder, head.events);
  {
    const wire::ListSplice splice(head.events.empty() ? nullptr : &events);
    HeadToWire(head).write(&writer.Begin(which));
  }
  wire::MessageReader reader(10'000);
  idl::Head read;
  read.read(&reader.Begin(writer.bytes(), which));
  return read;
}

idl::Head Sent(const server::ReplyHead& head) {
  EventEncoder encoder;
  return Sent(head, encoder, wire::Protocol::kBinary);
}

TEST(ClientCodec, HeadCarriesEventsWithTheValueThatWasAskedFor) {
  server::ReplyHead head;
  head.member = 2;
  head.zxid = 12;
  head.cluster.fill(1);
  head.cursor = tree::Cursor{12, 3};
  head.resync = true;
  head.confirmed_age_ms = 250;
  head.events = {EventOf(tree::ChangeType::kDataChanged, "v", true),
                 EventOf(tree::ChangeType::kDataChanged, std::nullopt, true),
                 EventOf(tree::ChangeType::kDataChanged, "v", false),
                 EventOf(tree::ChangeType::kDeleted, "v", true)};
  const idl::Head wire = Sent(head);
  EXPECT_EQ(wire.memberId, 2);
  EXPECT_EQ(wire.zxid, 12);
  EXPECT_EQ(wire.clusterId, std::string(16, '\1'));
  EXPECT_EQ(wire.cursor.zxid, 12);
  EXPECT_EQ(wire.cursor.ordinal, 3);
  EXPECT_TRUE(wire.resync);
  EXPECT_EQ(wire.confirmedAgeMs, 250);
  ASSERT_EQ(wire.events.size(), 4U);
  const idl::Change& valued = wire.events[0].change;
  EXPECT_EQ(wire.events[0].watchIds, (std::vector<std::int64_t>{5, 6}));
  EXPECT_EQ(valued.type, idl::EventType::DATA_CHANGED);
  EXPECT_EQ(valued.path, "/dir/node");
  EXPECT_EQ(valued.zxid, 12);
  EXPECT_EQ(valued.ordinal, 3);
  EXPECT_TRUE(valued.hasValue);
  EXPECT_EQ(valued.data, "v");
  EXPECT_EQ(valued.stat.version, 4);
  EXPECT_TRUE(wire.events[1].change.hasValue);
  EXPECT_FALSE(wire.events[1].change.__isset.data) << "null data";
  EXPECT_FALSE(wire.events[2].change.hasValue) << "not asked for";
  EXPECT_FALSE(wire.events[3].change.hasValue) << "what is deleted has no value";
}

TEST(ClientCodec, ChildEventsNameTheParent) {
  tree::Event event = EventOf(tree::ChangeType::kCreated, "v", true);
  event.type = tree::EventType::kChildrenChanged;
  event.trigger = tree::Trigger::kParent;
  server::ReplyHead head;
  head.events = {event};
  const idl::Head wire = Sent(head);
  EXPECT_EQ(wire.events[0].change.path, "/dir");
  EXPECT_FALSE(wire.events[0].change.hasValue);
}

TEST(ClientCodec, AChangeIsEncodedOnceForAllThatAreToldOfIt) {
  for (const wire::Protocol which : {wire::Protocol::kBinary, wire::Protocol::kCompact}) {
    EventEncoder encoder;
    tree::Event event = EventOf(tree::ChangeType::kDataChanged, "value", true);
    for (std::int64_t session = 1; session <= 100; ++session) {
      server::ReplyHead head;
      head.zxid = 1000 + session;
      event.watch_ids = {session, session + 1};
      head.events = {event};
      const idl::Head wire = Sent(head, encoder, which);
      ASSERT_EQ(wire.zxid, 1000 + session);
      ASSERT_EQ(wire.events.size(), 1U);
      ASSERT_EQ(wire.events[0].watchIds, event.watch_ids);
      ASSERT_EQ(wire.events[0].change, ChangeToWire(event));
    }
    EXPECT_EQ(encoder.encoded(), 1U);
    // Who did not ask for the value does not get it, and another change is another one.
    server::ReplyHead head;
    event.with_value = false;
    head.events = {event, EventOf(tree::ChangeType::kDeleted, "value", true)};
    const idl::Head wire = Sent(head, encoder, which);
    ASSERT_EQ(wire.events.size(), 2U);
    EXPECT_FALSE(wire.events[0].change.hasValue);
    EXPECT_EQ(wire.events[1].change.type, idl::EventType::DELETED);
    EXPECT_EQ(encoder.encoded(), 3U);
  }
}

TEST(ClientCodec, AnEventWithoutItsChangeIsToldByItsPath) {
  tree::Event event;
  event.type = tree::EventType::kDeleted;
  event.cursor = {9, 0};
  event.watch_ids = {4};
  server::ReplyHead head;
  for (const char* path : {"/gone", "/too"}) {
    event.watched_path = std::make_shared<const std::string>(path);
    head.events.push_back(event);
  }
  const idl::Head wire = Sent(head);
  ASSERT_EQ(wire.events.size(), 2U);
  EXPECT_EQ(wire.events[0].change.path, "/gone");
  EXPECT_EQ(wire.events[1].change.path, "/too");
}

TEST(ClientCodec, AnEmptyHeadClaimsNothing) {
  const idl::Head wire = Sent({});
  EXPECT_FALSE(wire.__isset.events);
  EXPECT_FALSE(wire.__isset.cursor);
  EXPECT_FALSE(wire.__isset.confirmedAgeMs);
  EXPECT_TRUE(wire.clusterId.empty());
}

TEST(ClientCodec, ErrorsSayWhatToDo) {
  server::ReplyHead head;
  head.member = 3;
  head.zxid = 50;
  head.leader_address = "127.0.0.1:9002";
  server::Failure failure;
  failure.error.code = tree::Code::kSequenceGap;
  failure.error.path = "/p";
  failure.expected_seq = 8;
  const idl::CoordError wire = ErrorToWire(head, failure);
  EXPECT_EQ(wire.code, idl::ErrorCode::SEQUENCE_GAP);
  EXPECT_FALSE(wire.message.empty()) << "the table's text, for want of a better one";
  EXPECT_EQ(wire.path, "/p");
  EXPECT_EQ(wire.zxid, 50);
  EXPECT_EQ(wire.leaderHint, "127.0.0.1:9002");
  EXPECT_EQ(wire.expectedSeq, 8);
  EXPECT_EQ(wire.memberId, 3);
  EXPECT_EQ(wire.head.zxid, 50);
}

TEST(ClientCodec, AFailedMultiIsAResult) {
  tree::Reply reply;
  reply.code = tree::Code::kNoNode;
  reply.multi.resize(3);
  reply.multi[1].code = tree::Code::kNoNode;
  reply.multi[1].message = "no /x";
  reply.multi[2].code = tree::Code::kRuntimeInconsistency;
  const idl::MultiResult wire = MultiToWire(reply);
  EXPECT_FALSE(wire.committed);
  ASSERT_EQ(wire.results.size(), 3U);
  EXPECT_EQ(wire.results[0].code, idl::ErrorCode::OK);
  EXPECT_FALSE(wire.results[0].__isset.stat);
  EXPECT_EQ(wire.results[1].code, idl::ErrorCode::NO_NODE);
  EXPECT_EQ(wire.results[1].message, "no /x");
  EXPECT_EQ(wire.results[2].code, idl::ErrorCode::RUNTIME_INCONSISTENCY);
}

}  // namespace
}  // namespace conclave::doors
