// The multiplexing channel, over a stream in memory with a clock that the test moves, and over TCP.
#include "thrift/wire/channel.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <thrift/TApplicationException.h>

#include "tests/wire/testing.h"
#include "thrift/wire/resolver.h"
#include "thrift/wire/tcp_stream.h"

namespace conclave::wire::testing {
namespace {

using idl::v1::CoordError;
using idl::v1::GetResult;
using GetOutcome = CallResult<GetResult, CoordError>;

// Tasks and timers on virtual time.
class ManualScheduler final : public Scheduler {
 public:
  void Post(Task task) override { PostAfter(0, std::move(task)); }

  TimerId PostAfter(std::int64_t delay_ns, Task task) override {
    const TimerId id = ++last_;
    tasks_[{now_ns_ + std::max<std::int64_t>(delay_ns, 0), id}] = std::move(task);
    return id;
  }

  bool Cancel(TimerId timer) override {
    return std::erase_if(tasks_,
                         [timer](const auto& entry) { return entry.first.second == timer; }) > 0;
  }

  [[nodiscard]] std::int64_t NowNs() const override { return now_ns_; }

  void Advance(std::int64_t by_ns) {
    const std::int64_t until_ns = now_ns_ + by_ns;
    while (!tasks_.empty() && tasks_.begin()->first.first <= until_ns) {
      auto node = tasks_.extract(tasks_.begin());
      now_ns_ = std::max(now_ns_, node.key().first);
      node.mapped()();
    }
    now_ns_ = until_ns;
  }

  [[nodiscard]] std::size_t waiting() const { return tasks_.size(); }

 private:
  std::int64_t now_ns_ = 1;
  TimerId last_ = 0;
  std::map<std::pair<std::int64_t, TimerId>, Task> tasks_;
};

// What the test holds of a stream that the channel owns.
struct Link {
  FrameStream::Callbacks callbacks;
  std::vector<std::string> sent;
  std::size_t output_bytes = 0;
  bool destroyed = false;
};

class MemoryStream final : public FrameStream {
 public:
  explicit MemoryStream(std::shared_ptr<Link> link) : link_(std::move(link)) {}

  ~MemoryStream() override { link_->destroyed = true; }

  MemoryStream(const MemoryStream&) = delete;
  MemoryStream& operator=(const MemoryStream&) = delete;
  MemoryStream(MemoryStream&&) = delete;
  MemoryStream& operator=(MemoryStream&&) = delete;

  void Send(std::string_view frame) override { link_->sent.emplace_back(frame); }

  [[nodiscard]] std::size_t output_bytes() const override { return link_->output_bytes; }

 private:
  const std::shared_ptr<Link> link_;
};

class ChannelTest : public ::testing::Test {
 protected:
  ChannelTest() { Make({}); }

  void Make(const ChannelOptions& options) {
    channel_ = std::make_unique<Channel>(
        scheduler_,
        [this](FrameStream::Callbacks callbacks) {
          link_ = std::make_shared<Link>();
          link_->callbacks = std::move(callbacks);
          return std::make_unique<MemoryStream>(link_);
        },
        options);
  }

  void Open() {
    channel_->Open();
    link_->callbacks.on_open();
  }

  // The outcome lands in outcomes_ under `path`.
  CallId Get(const std::string& path, std::int64_t timeout_ns = 0) {
    const idl::v1::Ctx ctx;
    idl::v1::GetRequest request;
    request.path = path;
    idl::v1::Coord_getData_pargs pargs;
    pargs.ctx = &ctx;
    pargs.request = &request;
    return Invoke<idl::v1::Coord_getData_presult, GetResult, CoordError>(
        *channel_, {.method = "getData", .timeout_ns = timeout_ns}, pargs,
        [this, path](GetOutcome outcome) {
          EXPECT_FALSE(outcomes_.contains(path)) << "answered twice";
          order_.push_back(path);
          outcomes_.emplace(path, std::move(outcome));
        });
  }

  // Runs the calls that were sent through a dispatcher and hands the answers back, last first.
  void Serve() {
    std::vector<std::string> answers;
    TestService service(state_, nullptr);
    CallDispatcher dispatcher(service.processor(), {}, counters_,
                              [&](std::string_view reply) { answers.emplace_back(reply); });
    for (const std::string& frame : std::exchange(link_->sent, {})) {
      ASSERT_TRUE(dispatcher.OnFrame(frame).has_value());
    }
    const auto link = link_;
    for (auto answer = answers.rbegin(); answer != answers.rend(); ++answer) {
      link->callbacks.on_frame(*answer);
    }
  }

  CallFailure Failure(const std::string& path) {
    return std::get<CallFailure>(outcomes_.at(path).error());
  }

  ManualScheduler scheduler_;
  SharedState state_;
  Counters counters_;
  std::shared_ptr<Link> link_;
  std::unique_ptr<Channel> channel_;
  std::map<std::string, GetOutcome> outcomes_;
  std::vector<std::string> order_;
};

TEST_F(ChannelTest, MatchesAnswersThatComeInAnotherOrder) {
  for (const Protocol protocol : {Protocol::kBinary, Protocol::kCompact}) {
    outcomes_.clear();
    order_.clear();
    Make({.protocol = protocol});
    Open();
    Get("/a");
    Get("/missing");
    Get("/c");
    EXPECT_EQ(channel_->outstanding(), 3U);
    EXPECT_EQ(DetectProtocol(link_->sent.at(0)), protocol);
    Serve();
    EXPECT_EQ(order_, (std::vector<std::string>{"/c", "/missing", "/a"}));
    EXPECT_EQ(outcomes_.at("/a")->data, "/a");
    EXPECT_EQ(std::get<CoordError>(outcomes_.at("/missing").error()).code,
              idl::v1::ErrorCode::NO_NODE);
    EXPECT_EQ(channel_->outstanding(), 0U);
  }
}

TEST_F(ChannelTest, CallsWaitForTheConnection) {
  channel_->Open();
  Get("/a");
  EXPECT_EQ(channel_->state(), Channel::State::kOpening);
  link_->callbacks.on_open();
  EXPECT_EQ(channel_->state(), Channel::State::kOpen);
  Serve();
  EXPECT_TRUE(outcomes_.at("/a").has_value());
}

TEST_F(ChannelTest, EachCallHasItsOwnDeadline) {
  Open();
  Get("/late", 300);
  Get("/early", 100);
  Get("/never");
  scheduler_.Advance(99);
  EXPECT_TRUE(outcomes_.empty());
  scheduler_.Advance(1);
  EXPECT_EQ(order_, std::vector<std::string>{"/early"});
  EXPECT_EQ(Failure("/early").kind, CallFailure::Kind::kTimeout);
  EXPECT_TRUE(Failure("/early").may_have_been_sent);
  Get("/between", 100);
  scheduler_.Advance(200);
  EXPECT_EQ(order_, (std::vector<std::string>{"/early", "/between", "/late"}));
  EXPECT_EQ(channel_->outstanding(), 1U);
  // Late answers are dropped; the one in time still counts.
  Serve();
  EXPECT_EQ(order_.size(), 4U);
  EXPECT_TRUE(outcomes_.at("/never").has_value());
  EXPECT_EQ(channel_->state(), Channel::State::kOpen);
}

TEST_F(ChannelTest, ACloseFailsAllInOrderAndSaysWhetherTheyMayHaveLeft) {
  channel_->Open();
  Get("/before");
  link_->callbacks.on_closed({CloseKind::kConnect, "refused"});
  EXPECT_FALSE(Failure("/before").may_have_been_sent);
  EXPECT_EQ(Failure("/before").close_kind, CloseKind::kConnect);

  std::optional<CloseReason> reason;
  channel_->OnClosed([&](const CloseReason& why) { reason = why; });
  Open();
  for (int i = 0; i < 20; ++i) {
    Get("/" + std::to_string(i));
  }
  order_.clear();
  link_->callbacks.on_closed({CloseKind::kReset, "reset"});
  ASSERT_EQ(order_.size(), 20U);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(order_[i], "/" + std::to_string(i));
  }
  EXPECT_TRUE(Failure("/3").may_have_been_sent);
  EXPECT_EQ(Failure("/3").message, "reset");
  EXPECT_EQ(reason->kind, CloseKind::kReset);
  EXPECT_TRUE(link_->destroyed);
}

TEST_F(ChannelTest, ACallWhileClosedFailsLater) {
  Get("/a");
  EXPECT_TRUE(outcomes_.empty());
  scheduler_.Advance(0);
  EXPECT_EQ(Failure("/a").kind, CallFailure::Kind::kClosed);
  EXPECT_FALSE(Failure("/a").may_have_been_sent);
}

TEST_F(ChannelTest, OpensAgainAfterACloseAndIgnoresTheOldStream) {
  Open();
  Get("/old");
  const auto old = link_;
  channel_->Close("moving on");
  EXPECT_EQ(Failure("/old").message, "moving on");
  Open();
  Get("/new");
  old->callbacks.on_frame("garbage");
  old->callbacks.on_closed({CloseKind::kReset, "late"});
  EXPECT_EQ(channel_->state(), Channel::State::kOpen);
  Serve();
  EXPECT_TRUE(outcomes_.at("/new").has_value());
}

TEST_F(ChannelTest, BoundsWhatIsOutstanding) {
  Make({.calls_max = 2, .output_bytes_max = 1'000});
  Open();
  Get("/a");
  Get("/b");
  Get("/c");
  scheduler_.Advance(0);
  EXPECT_EQ(Failure("/c").kind, CallFailure::Kind::kOverloaded);
  EXPECT_FALSE(Failure("/c").may_have_been_sent);
  Serve();
  link_->output_bytes = 1'001;
  Get("/d");
  scheduler_.Advance(0);
  EXPECT_EQ(Failure("/d").kind, CallFailure::Kind::kOverloaded);
  link_->output_bytes = 1'000;
  Get("/e");
  Serve();
  EXPECT_TRUE(outcomes_.at("/e").has_value());
}

TEST_F(ChannelTest, DoesNotSendFramesOverTheLimit) {
  ChannelOptions options;
  options.limits.frame_bytes_max = 500;
  Make(options);
  Open();
  Get("/" + std::string(600, 'a'));
  scheduler_.Advance(0);
  EXPECT_TRUE(link_->sent.empty());
  EXPECT_EQ(Failure("/" + std::string(600, 'a')).kind, CallFailure::Kind::kTooLarge);
  Get("/" + std::string(400, 'a'));
  EXPECT_EQ(link_->sent.size(), 1U);
}

TEST_F(ChannelTest, AnAnswerThatDoesNotDecodeClosesTheConnection) {
  Open();
  Get("/a");
  Get("/b");
  TestService service(state_, nullptr);
  std::string answer;
  CallDispatcher dispatcher(service.processor(), {}, counters_,
                            [&](std::string_view reply) { answer = reply; });
  ASSERT_TRUE(dispatcher.OnFrame(link_->sent.at(0)).has_value());
  link_->callbacks.on_frame(answer.substr(0, answer.size() - 4));
  EXPECT_EQ(Failure("/a").kind, CallFailure::Kind::kMalformed);
  EXPECT_EQ(Failure("/b").kind, CallFailure::Kind::kClosed);
  EXPECT_EQ(channel_->state(), Channel::State::kClosed);
}

TEST_F(ChannelTest, HostileAnswersCostNoMemory) {
  const std::size_t before = ResidentBytes();
  for (const std::string& frame :
       {std::string("\x80\x01\x00\x02\x7f\xff\xff\xff", 8),
        std::string("\x82\x41\x01\xff\xff\xff\xff\x07", 8), std::string("nonsense"),
        std::string("\x80"), std::string("\x82")}) {
    Open();
    link_->callbacks.on_frame(frame);
    EXPECT_EQ(channel_->state(), Channel::State::kClosed);
  }
  EXPECT_LT(ResidentBytes(), before + kMemorySlack);
}

TEST_F(ChannelTest, CarriesApplicationExceptions) {
  Open();
  Get("/throw");
  Serve();
  EXPECT_EQ(Failure("/throw").kind, CallFailure::Kind::kApplication);
  EXPECT_EQ(Failure("/throw").message, "internal error");
  EXPECT_EQ(channel_->state(), Channel::State::kOpen);
}

TEST_F(ChannelTest, ACancelledCallIsNotHeardOfAgain) {
  Open();
  const CallId id = Get("/a", 100);
  EXPECT_TRUE(channel_->Cancel(id));
  EXPECT_FALSE(channel_->Cancel(id));
  Serve();
  scheduler_.Advance(1'000);
  EXPECT_TRUE(outcomes_.empty());
  EXPECT_EQ(scheduler_.waiting(), 0U);
}

TEST_F(ChannelTest, OneTimerServesManyDeadlines) {
  Open();
  for (int i = 0; i < 1'000; ++i) {
    Get("/" + std::to_string(i), 1'000 + i);
  }
  EXPECT_EQ(scheduler_.waiting(), 1U);
  scheduler_.Advance(1'499);
  EXPECT_EQ(order_.size(), 500U);
}

TEST_F(ChannelTest, MayBeDestroyedInsideACallback) {
  Open();
  const idl::v1::Ctx ctx;
  const idl::v1::GetRequest request;
  idl::v1::Coord_getData_pargs pargs;
  pargs.ctx = &ctx;
  pargs.request = &request;
  int answers = 0;
  for (int i = 0; i < 3; ++i) {
    Invoke<idl::v1::Coord_getData_presult, GetResult, CoordError>(*channel_, {.method = "getData"},
                                                                  pargs, [&](const GetOutcome&) {
                                                                    ++answers;
                                                                    channel_.reset();
                                                                  });
  }
  const auto link = link_;
  link->callbacks.on_closed({CloseKind::kReset, "gone"});
  EXPECT_EQ(answers, 1) << "a callback after the channel was gone";
}

// --- over TCP -----------------------------------------------------------------------------------

class TcpChannelTest : public ::testing::Test {
 protected:
  Channel& Connect(const HostPort& to, std::int64_t connect_timeout_ms = 3'000) {
    options_.to = to;
    options_.connect_timeout_ms = connect_timeout_ms;
    channel_ = std::make_unique<Channel>(
        server_.loop,
        [this](FrameStream::Callbacks callbacks) {
          return DialTcp(server_.loop, resolver_, options_, std::move(callbacks));
        },
        ChannelOptions{});
    channel_->OnClosed([this](const CloseReason& reason) { reason_ = reason; });
    channel_->Open();
    return *channel_;
  }

  HostPort Address() const { return {"127.0.0.1", server_.address.port()}; }

  void Get(const std::string& path, std::function<void(const GetOutcome&)> done) {
    const idl::v1::Ctx ctx;
    idl::v1::GetRequest request;
    request.path = path;
    idl::v1::Coord_getData_pargs pargs;
    pargs.ctx = &ctx;
    pargs.request = &request;
    Invoke<idl::v1::Coord_getData_presult, GetResult, CoordError>(
        *channel_, {.method = "getData", .timeout_ns = 5'000'000'000}, pargs, std::move(done));
  }

  TestServer server_;
  SystemResolver resolver_{server_.loop};
  TcpStreamOptions options_;
  std::unique_ptr<Channel> channel_;
  std::optional<CloseReason> reason_;
};

TEST_F(TcpChannelTest, CallsByNameAndSurvivesALargeAnswer) {
  Connect({"localhost", server_.address.port()});
  std::size_t bytes = 0;
  Get("/size/3000000", [&](const GetOutcome& outcome) { bytes = outcome->data.size(); });
  ASSERT_TRUE(RunUntil(server_.loop, [&] { return bytes > 0; }));
  EXPECT_EQ(bytes, 3'000'000U);
}

TEST_F(TcpChannelTest, SendsAndAnswersManyInFewSystemCalls) {
  Counters client;
  options_.counters = &client;
  Connect(Address());
  ASSERT_TRUE(RunUntil(server_.loop, [&] { return channel_->state() == Channel::State::kOpen; }));
  int answers = 0;
  constexpr int kRounds = 20;
  constexpr int kOutstanding = 256;
  for (int round = 1; round <= kRounds; ++round) {
    for (int i = 0; i < kOutstanding; ++i) {
      Get("/a", [&](const GetOutcome& outcome) { answers += outcome.has_value() ? 1 : 0; });
    }
    ASSERT_TRUE(RunUntil(server_.loop, [&] { return answers == round * kOutstanding; }));
  }
  EXPECT_EQ(server_.counters.replies.load(), std::uint64_t{kRounds * kOutstanding});
  EXPECT_LE(server_.counters.send_calls.load() * 5, server_.counters.replies.load());
  EXPECT_LE(client.send_calls.load() * 5, client.frames_sent.load());
}

TEST_F(TcpChannelTest, SaysWhyItCannotConnect) {
  SocketAddress unused;
  {
    TestServer other;
    unused = other.address;
  }
  Connect({"127.0.0.1", unused.port()});
  ASSERT_TRUE(RunUntil(server_.loop, [&] { return reason_.has_value(); }));
  EXPECT_EQ(reason_->kind, CloseKind::kConnect);
  EXPECT_NE(reason_->message.find("127.0.0.1:"), std::string::npos);
  EXPECT_NE(reason_->message.find("Connection refused"), std::string::npos);

  reason_.reset();
  Connect({"no such host", 1});
  ASSERT_TRUE(RunUntil(server_.loop, [&] { return reason_.has_value(); }));
  EXPECT_EQ(reason_->kind, CloseKind::kResolve);
}

// A resolver that never answers, and one that gives a dead address before a good one.
class FakeResolver final : public Resolver {
 public:
  FakeResolver(Scheduler& scheduler, Addresses addresses)
      : scheduler_(scheduler), addresses_(std::move(addresses)) {}

  void Resolve(const HostPort& /*host_port*/, Done done) override {
    if (!addresses_.empty()) {
      scheduler_.Post([done = std::move(done), addresses = addresses_] { done(addresses); });
    }
  }

 private:
  Scheduler& scheduler_;
  const Addresses addresses_;
};

TEST_F(TcpChannelTest, GivesUpConnectingInTime) {
  FakeResolver silent(server_.loop, {});
  std::optional<CloseReason> reason;
  const auto stream =
      DialTcp(server_.loop, silent, {.to = {"somewhere", 1}, .connect_timeout_ms = 20},
              {.on_open = [] {},
               .on_frame = [](std::string_view) {},
               .on_closed = [&](const CloseReason& why) { reason = why; }});
  ASSERT_TRUE(RunUntil(server_.loop, [&] { return reason.has_value(); }));
  EXPECT_EQ(reason->kind, CloseKind::kConnectTimeout);
}

TEST_F(TcpChannelTest, TriesTheNextAddress) {
  SocketAddress dead;
  {
    TestServer other;
    dead = other.address;
  }
  FakeResolver two(server_.loop, {dead, server_.address});
  bool open = false;
  const auto stream =
      DialTcp(server_.loop, two, {.to = {"two", 1}},
              {.on_open = [&] { open = true; },
               .on_frame = [](std::string_view) {},
               .on_closed = [](const CloseReason& why) { ADD_FAILURE() << why.message; }});
  EXPECT_TRUE(RunUntil(server_.loop, [&] { return open; }));
}

TEST_F(TcpChannelTest, HearsOfAServerThatGoesAwayAndConnectsAgain) {
  Connect(Address());
  std::optional<GetOutcome> first;
  Get("/close", [&](const GetOutcome& outcome) { first = outcome; });
  ASSERT_TRUE(RunUntil(server_.loop, [&] { return reason_.has_value(); }));
  ASSERT_TRUE(first.has_value());
  EXPECT_TRUE(first->has_value()) << "the answer must leave before the close";
  EXPECT_EQ(reason_->kind, CloseKind::kRemote);
  channel_->Open();
  bool answered = false;
  Get("/a", [&](const GetOutcome& outcome) { answered = outcome.has_value(); });
  EXPECT_TRUE(RunUntil(server_.loop, [&] { return answered; }));
}

}  // namespace
}  // namespace conclave::wire::testing
