// From the name of a method to the generated struct of its arguments and the handler's method: what
// the generated asynchronous processors do, without their two callbacks for each call and without a
// copy of the arguments.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <absl/container/flat_hash_map.h>
#include <glog/logging.h>
#include <thrift/TApplicationException.h>

#include "thrift/wire/service.h"

namespace conclave::wire {

/// Where the answer to a call with this result goes, exactly once; see Call.
template <typename Result>
class Answerer {
 public:
  explicit Answerer(Call call) : call_(std::move(call)) {}

  void Return(const Result& result) { call_.Reply(0, result); }

  /// The exception that the contract numbers 1, as every method's is.
  template <typename Error>
  void Throw(const Error& error) {
    call_.Reply(1, error);
  }

 private:
  Call call_;
};

/// The methods of a service whose handlers are of type `Handler`.
///
/// Thread: any, once all methods have been added.
template <typename Handler>
class MethodTable {
 public:
  /// `kMethod`: void (Handler::*)(Answerer<Result>, Args&), where `Args` is what the generator
  /// makes of the method's arguments; they are the handler's to take from, until it returns.
  template <typename Args, typename Result, void (Handler::*kMethod)(Answerer<Result>, Args&)>
  void Add(std::string_view name) {
    const bool added = methods_.emplace(name, &Run<Args, Result, kMethod>).second;
    CHECK(added) << "wire: two methods named " << name;
  }

  /// As Processor::Dispatch. A method that is not there is answered so.
  void Dispatch(Handler& handler, Call call, apache::thrift::protocol::TProtocol& in) const {
    const auto found = methods_.find(call.method());
    if (found != methods_.end()) {
      found->second(handler, std::move(call), in);
      return;
    }
    in.skip(apache::thrift::protocol::T_STRUCT);
    in.readMessageEnd();
    call.Fail(apache::thrift::TApplicationException::UNKNOWN_METHOD,
              "Invalid method name: '" + call.method() + "'");
  }

  [[nodiscard]] bool contains(std::string_view name) const { return methods_.contains(name); }

 private:
  using Method = void (*)(Handler&, Call, apache::thrift::protocol::TProtocol&);

  template <typename Args, typename Result, void (Handler::*kMethod)(Answerer<Result>, Args&)>
  static void Run(Handler& handler, Call call, apache::thrift::protocol::TProtocol& in) {
    Args args;
    args.read(&in);
    in.readMessageEnd();
    (handler.*kMethod)(Answerer<Result>(std::move(call)), args);
  }

  absl::flat_hash_map<std::string, Method> methods_;  // never walked through
};

}  // namespace conclave::wire
