#include "thrift/wire/counters.h"

namespace conclave::wire {

std::string_view RefusalName(Refusal refusal) {
  switch (refusal) {
    case Refusal::kTooManyConnections:
      return "too_many_connections";
    case Refusal::kTooManyFromAddress:
      return "too_many_from_address";
    case Refusal::kFrameTooLarge:
      return "frame_too_large";
    case Refusal::kNotFramed:
      return "not_framed";
    case Refusal::kHttp:
      return "http";
    case Refusal::kTls:
      return "tls";
    case Refusal::kUnknownProtocol:
      return "unknown_protocol";
    case Refusal::kMalformed:
      return "malformed";
    case Refusal::kFirstFrameLate:
      return "first_frame_late";
    case Refusal::kFrameIncomplete:
      return "frame_incomplete";
    case Refusal::kIdle:
      return "idle";
    case Refusal::kOutputOverLimit:
      return "output_over_limit";
    case Refusal::kOutputOverBudget:
      return "output_over_budget";
    case Refusal::kOutputStalled:
      return "output_stalled";
  }
  return "unknown";
}

}  // namespace conclave::wire
