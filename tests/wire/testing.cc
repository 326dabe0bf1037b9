#include "tests/wire/testing.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thrift/TApplicationException.h>
#include <unistd.h>

namespace conclave::wire::testing {
namespace {

using apache::thrift::protocol::T_CALL;
using apache::thrift::protocol::T_EXCEPTION;

template <class Pargs>
std::string Encode(Protocol protocol, const std::string& name, std::int32_t seqid,
                   const Pargs& pargs) {
  MessageWriter writer;
  auto& out = writer.Begin(protocol);
  out.writeMessageBegin(name, T_CALL, seqid);
  pargs.write(&out);
  out.writeMessageEnd();
  return std::string(writer.bytes());
}

}  // namespace

std::string GetCall(Protocol protocol, std::int32_t seqid, const std::string& path) {
  idl::v1::Ctx ctx;
  ctx.minZxid = seqid;
  idl::v1::GetRequest request;
  request.path = path;
  idl::v1::Coord_getData_pargs pargs;
  pargs.ctx = &ctx;
  pargs.request = &request;
  return Encode(protocol, "getData", seqid, pargs);
}

std::string PollCall(Protocol protocol, std::int32_t seqid, std::int32_t wait_ms) {
  const idl::v1::Ctx ctx;
  idl::v1::PollRequest request;
  request.waitMs = wait_ms;
  idl::v1::Coord_poll_pargs pargs;
  pargs.ctx = &ctx;
  pargs.request = &request;
  return Encode(protocol, "poll", seqid, pargs);
}

std::string WakeCall(Protocol protocol, std::int32_t seqid) {
  const idl::v1::Ctx ctx;
  const idl::v1::SetDataRequest request;
  idl::v1::Coord_setData_pargs pargs;
  pargs.ctx = &ctx;
  pargs.request = &request;
  return Encode(protocol, "setData", seqid, pargs);
}

std::string MultiCall(Protocol protocol, std::int32_t seqid, std::size_t ops) {
  const idl::v1::Ctx ctx;
  idl::v1::MultiRequest request;
  request.ops.resize(ops);
  idl::v1::Coord_multi_pargs pargs;
  pargs.ctx = &ctx;
  pargs.request = &request;
  return Encode(protocol, "multi", seqid, pargs);
}

std::string Framed(std::string_view payload) {
  std::array<char, kFrameHeaderBytes> header{};
  EncodeFrameHeader(static_cast<std::uint32_t>(payload.size()), header.data());
  return std::string(header.data(), header.size()).append(payload);
}

Answer DecodeAnswer(std::string_view payload) {
  Answer answer;
  const auto protocol = DetectProtocol(payload);
  CHECK(protocol.has_value());
  MessageReader reader(10'000);
  auto& in = reader.Begin(payload, *protocol);
  in.readMessageBegin(answer.header.name, answer.header.type, answer.header.seqid);
  if (answer.header.type == T_EXCEPTION) {
    apache::thrift::TApplicationException exception;
    exception.read(&in);
    answer.application_error = exception.what();
    answer.application_type = exception.getType();
  } else if (answer.header.name == "getData") {
    idl::v1::Coord_getData_result result;
    result.read(&in);
    answer.data = result.success.data;
    answer.zxid = result.success.head.zxid;
    answer.has_declared_error = result.__isset.error;
    answer.error = result.error;
  } else if (answer.header.name == "poll") {
    idl::v1::Coord_poll_result result;
    result.read(&in);
    answer.zxid = result.success.head.zxid;
  }
  return answer;
}

bool RunUntil(EventLoop& loop, const std::function<bool()>& condition) {
  bool late = false;
  const TimerId guard = loop.PostAfter(10'000'000'000, [&late] { late = true; });
  // Conditions may look at sockets that the loop does not watch, so it must turn even if idle.
  TimerId beat = kNoTimer;
  const std::function<void()> again = [&] { beat = loop.PostAfter(1'000'000, again); };
  again();
  while (!late && !condition()) {
    loop.RunTurn(true);
  }
  loop.Cancel(guard);
  loop.Cancel(beat);
  return !late;
}

RawClient::RawClient(const SocketAddress& to, int receive_buffer_bytes) {
  socket_ = socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  PCHECK(socket_ >= 0);
  if (receive_buffer_bytes > 0) {
    PCHECK(setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                      sizeof(receive_buffer_bytes)) == 0);
  }
  PCHECK(connect(socket_, to.get(), to.size) == 0) << to.ToString();
  PCHECK(fcntl(socket_, F_SETFL, O_NONBLOCK) == 0);
}

RawClient::RawClient(RawClient&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      received_(std::move(other.received_)),
      ended_(other.ended_) {}

RawClient::~RawClient() {
  if (socket_ >= 0) {
    close(socket_);
  }
}

std::size_t RawClient::Write(std::string_view bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t put = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (put < 0) {
      ended_ = ended_ || (errno != EAGAIN && errno != EINTR);
      break;
    }
    sent += static_cast<std::size_t>(put);
  }
  return sent;
}

void RawClient::Receive() {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
    if (got > 0) {
      received_.append(buffer.data(), static_cast<std::size_t>(got));
      continue;
    }
    ended_ = ended_ || got == 0 || (errno != EAGAIN && errno != EINTR);
    return;
  }
}

std::vector<std::string> RawClient::frames() const {
  std::vector<std::string> frames;
  FrameReader reader(64 << 20);
  reader.Append(received_);
  for (;;) {
    const FrameReader::Item item = reader.Next();
    if (item.kind != FrameReader::Kind::kFrame) {
      return frames;
    }
    frames.emplace_back(item.bytes);
  }
}

TestServer::TestServer(const Limits& limits, const ServerLimits& server_limits)
    : budget(server_limits),
      server(loop, budget, counters, {.name = "test", .limits = limits},
             [this](Caller& caller) { return std::make_unique<TestService>(state, &caller); }) {
  const auto any_port = NumericAddress({"127.0.0.1", 0});
  CHECK(any_port.has_value());
  const auto bound = server.Listen(*any_port);
  CHECK(bound.has_value()) << bound.error();
  address = *bound;
}

std::size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::size_t PeakResidentBytes() {
  rusage usage{};
  CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  return static_cast<std::size_t>(usage.ru_maxrss) << 10U;
}

std::size_t ThreadCount() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

}  // namespace conclave::wire::testing
