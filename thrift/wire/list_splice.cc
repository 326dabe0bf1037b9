#include "thrift/wire/list_splice.h"

#include <utility>

#include <glog/logging.h>

namespace conclave::wire {
namespace {

thread_local const ListElements* pending_list = nullptr;

}  // namespace

ListSplice::ListSplice(const ListElements* elements) {
  CHECK(pending_list == nullptr) << "wire: one splice at a time";
  pending_list = elements;
}

ListSplice::~ListSplice() { pending_list = nullptr; }

const ListElements* TakeListElements() { return std::exchange(pending_list, nullptr); }

}  // namespace conclave::wire
