// Events on their way to clients: a change is encoded once, and its bytes go to everyone who is
// told of it (rule 6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coord/server/api.h"
#include "thrift/wire/list_splice.h"
#include "thrift/wire/protocol.h"

namespace conclave::doors {

/// Keeps the bytes of the last few changes, up to a bound, since those who are told of a change are
/// told of it together.
///
/// Thread: one (a loop's).
class EventEncoder {
 public:
  /// The events of one reply as the elements of Head.events. Borrows both.
  class List final : public wire::ListElements {
   public:
    List(EventEncoder& encoder, const std::vector<tree::Event>& events)
        : encoder_(encoder), events_(events) {}

    [[nodiscard]] std::uint32_t count() const override {
      return static_cast<std::uint32_t>(events_.size());
    }

    void Write(apache::thrift::protocol::TProtocol& out, wire::OutputBytes& bytes,
               wire::Protocol which) const override;

   private:
    EventEncoder& encoder_;
    const std::vector<tree::Event>& events_;
  };

  /// Changes encoded so far. For tests.
  [[nodiscard]] std::uint64_t encoded() const { return encoded_; }

 private:
  struct Encoded {
    std::shared_ptr<const tree::Change> change;  // held: another one cannot come to its address
    tree::Trigger trigger;
    bool with_value;
    wire::Protocol which;
    std::string bytes;
  };

  std::string_view ChangeOf(const tree::Event& event, wire::Protocol which);
  std::string_view Encode(const tree::Event& event, wire::Protocol which);

  std::deque<Encoded> recent_;  // newest first
  std::size_t recent_bytes_ = 0;
  wire::MessageWriter scratch_;
  std::uint64_t encoded_ = 0;
};

}  // namespace conclave::doors
