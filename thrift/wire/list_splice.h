// What is the same in many messages, encoded once.
#pragma once

#include <cstdint>

#include <thrift/protocol/TProtocol.h>

#include "thrift/wire/frame_protocols.h"

namespace conclave::wire {

/// Elements of a list that somebody has encoded already.
class ListElements {
 public:
  ListElements() = default;
  ListElements(const ListElements&) = delete;
  ListElements& operator=(const ListElements&) = delete;
  ListElements(ListElements&&) = delete;
  ListElements& operator=(ListElements&&) = delete;

  [[nodiscard]] virtual std::uint32_t count() const = 0;
  /// Writes them one after the other, through `out` or as bytes of protocol `which` to `bytes`,
  /// which is where `out` writes.
  virtual void Write(apache::thrift::protocol::TProtocol& out, OutputBytes& bytes,
                     Protocol which) const = 0;

 protected:
  ~ListElements() = default;
};

/// While it lives, the first list of structs that a MessageWriter of this thread is given empty
/// gets these elements instead: what is the same in many messages is then neither put into the
/// generated structs of each nor encoded for each. They must outlive it; null: nothing happens.
class ListSplice {
 public:
  explicit ListSplice(const ListElements* elements);
  ~ListSplice();
  ListSplice(const ListSplice&) = delete;
  ListSplice& operator=(const ListSplice&) = delete;
  ListSplice(ListSplice&&) = delete;
  ListSplice& operator=(ListSplice&&) = delete;
};

/// For the writers of lists: the elements to write instead of none, at most once, or null.
const ListElements* TakeListElements();

}  // namespace conclave::wire
