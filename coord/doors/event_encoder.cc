#include "coord/doors/event_encoder.h"

#include <algorithm>
#include <utility>

#include "coord/doors/client_codec.h"

namespace conclave::doors {
namespace {

using apache::thrift::protocol::T_I64;
using apache::thrift::protocol::T_LIST;
using apache::thrift::protocol::T_STRUCT;
using apache::thrift::protocol::TProtocol;

// An entry of a few changes is told of in turn to everyone; the newest is kept whatever its size.
constexpr std::size_t kRecentMax = 8;
constexpr std::size_t kRecentBytesMax = std::size_t{256} << 10;

}  // namespace

// The struct Event of the contract around the shared bytes of its Change.
void EventEncoder::List::Write(TProtocol& out, wire::OutputBytes& bytes,
                               wire::Protocol which) const {
  for (const tree::Event& event : events_) {
    out.writeStructBegin("Event");
    out.writeFieldBegin("watchIds", T_LIST, 1);
    out.writeListBegin(T_I64, static_cast<std::uint32_t>(event.watch_ids.size()));
    for (const tree::WatchId id : event.watch_ids) {
      out.writeI64(id);
    }
    out.writeListEnd();
    out.writeFieldEnd();
    out.writeFieldBegin("change", T_STRUCT, 2);
    bytes.Bytes(encoder_.ChangeOf(event, which));
    out.writeFieldEnd();
    out.writeFieldStop();
    out.writeStructEnd();
  }
}

std::string_view EventEncoder::ChangeOf(const tree::Event& event, wire::Protocol which) {
  if (event.change == nullptr) {
    return Encode(event, which);
  }
  const auto known = std::find_if(recent_.begin(), recent_.end(), [&](const Encoded& one) {
    return one.change == event.change && one.trigger == event.trigger &&
           one.with_value == event.with_value && one.which == which;
  });
  if (known != recent_.end()) {
    return known->bytes;
  }
  recent_.push_front({.change = event.change,
                      .trigger = event.trigger,
                      .with_value = event.with_value,
                      .which = which,
                      .bytes = std::string(Encode(event, which))});
  recent_bytes_ += recent_.front().bytes.size();
  while (recent_.size() > kRecentMax || (recent_.size() > 1 && recent_bytes_ > kRecentBytesMax)) {
    recent_bytes_ -= recent_.back().bytes.size();
    recent_.pop_back();
  }
  return recent_.front().bytes;
}

// Valid until the next call.
std::string_view EventEncoder::Encode(const tree::Event& event, wire::Protocol which) {
  ++encoded_;
  scratch_.Reset();
  ChangeToWire(event).write(&scratch_.Begin(which));
  return scratch_.bytes();
}

}  // namespace conclave::doors
