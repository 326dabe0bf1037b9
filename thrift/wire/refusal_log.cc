#include "thrift/wire/refusal_log.h"

#include <utility>

#include <glog/logging.h>

namespace conclave::wire {
namespace {

constexpr std::int64_t kWindowNs = 1'000'000'000;
constexpr std::uint32_t kLinesPerWindow = 10;

std::string_view DefaultDetail(Refusal refusal) {
  switch (refusal) {
    case Refusal::kTooManyConnections:
      return "the limit on connections is reached";
    case Refusal::kTooManyFromAddress:
      return "the limit on connections from one address is reached";
    case Refusal::kNotFramed:
      return "a negative frame length: an unframed Thrift client? The framed transport is needed";
    case Refusal::kHttp:
      return "an HTTP request on a Thrift port";
    case Refusal::kTls:
      return "a TLS hello on a port without TLS";
    case Refusal::kFirstFrameLate:
      return "no frame came within the time limit";
    case Refusal::kFrameIncomplete:
      return "a frame was begun and not completed within the time limit";
    case Refusal::kIdle:
      return "nothing was received within the time limit";
    case Refusal::kOutputStalled:
      return "the other side does not read";
    case Refusal::kOutputOverBudget:
      return "all connections together have too much output waiting, and this one most";
    default:
      return "";
  }
}

}  // namespace

void RefusalLog::Write(std::int64_t now_ns, Refusal refusal, std::string_view from,
                       std::string_view detail) {
  Window& window = windows_.at(static_cast<std::size_t>(refusal));
  if (now_ns - window.began_ns >= kWindowNs) {
    window.began_ns = now_ns;
    window.lines = 0;
  }
  if (window.lines == kLinesPerWindow) {
    ++window.held_back;
    return;
  }
  ++window.lines;
  const std::uint64_t held_back = std::exchange(window.held_back, 0);
  LOG(WARNING) << "wire.refused port=" << port_name_ << " reason=" << RefusalName(refusal)
               << " from=" << from << " detail=\""
               << (detail.empty() ? DefaultDetail(refusal) : detail) << '"'
               << (held_back > 0 ? " lines_held_back=" + std::to_string(held_back) : "");
}

}  // namespace conclave::wire
