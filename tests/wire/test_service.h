// A Coord service that answers by itself, for tests of everything below it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <conclave_idl/Coord.h>

#include "thrift/wire/service.h"

namespace conclave::wire::testing {

/// What the connections of one test server share.
struct SharedState {
  std::vector<std::function<void(const idl::v1::PollResult&)>> parked;
  std::int64_t connections = 0;
  std::int64_t closed = 0;
  std::int64_t handled = 0;
  std::int64_t last_received_ns = 0;
  std::string last_address;

  /// Answers every parked poll.
  void WakeAll(std::int64_t zxid) {
    auto waiting = std::move(parked);
    parked.clear();
    idl::v1::PollResult result;
    result.head.zxid = zxid;
    for (const auto& answer : waiting) {
      answer(result);
    }
  }
};

/// getData answers with the path as data, or as the path says: "/missing" a CoordError, "/throw" an
/// exception, "/size/N" N bytes of data, "/close" closes the connection after the answer. poll
/// parks when waitMs > 0. setData wakes all that is parked. All else is answered empty.
class TestHandler final : public idl::v1::CoordCobSvNull {
 public:
  template <class Result>
  using Return = std::function<void(const Result&)>;
  using Throw = std::function<void(apache::thrift::TDelayedException*)>;

  TestHandler(SharedState& state, Caller* caller) : state_(state), caller_(caller) {}

  void getData(Return<idl::v1::GetResult> answer, Throw fail, const idl::v1::Ctx& ctx,
               const idl::v1::GetRequest& request) override {
    ++state_.handled;
    if (caller_ != nullptr) {
      state_.last_received_ns = caller_->received_ns();
      state_.last_address = caller_->address();
    }
    if (request.path == "/missing") {
      idl::v1::CoordError error;
      error.code = idl::v1::ErrorCode::NO_NODE;
      error.path = request.path;
      error.message = "no such znode";
      fail(apache::thrift::TDelayedException::delayException(error));
      return;
    }
    if (request.path == "/throw") {
      throw std::runtime_error("a defect");
    }
    idl::v1::GetResult result;
    result.head.zxid = ctx.minZxid;
    result.__set_data(request.path.starts_with("/size/")
                          ? std::string(std::stoul(request.path.substr(6)), 'x')
                          : request.path);
    if (request.path == "/close") {
      caller_->Close("asked to");
    }
    answer(result);
  }

  void poll(Return<idl::v1::PollResult> answer, Throw /*fail*/, const idl::v1::Ctx& /*ctx*/,
            const idl::v1::PollRequest& request) override {
    ++state_.handled;
    if (request.waitMs > 0) {
      state_.parked.push_back(std::move(answer));
    } else {
      answer({});
    }
  }

  void setData(Return<idl::v1::SetDataResult> answer, Throw /*fail*/, const idl::v1::Ctx& /*ctx*/,
               const idl::v1::SetDataRequest& /*request*/) override {
    ++state_.handled;
    state_.WakeAll(77);
    answer({});
  }

  void multi(Return<idl::v1::MultiResult> answer, Throw /*fail*/, const idl::v1::Ctx& /*ctx*/,
             const idl::v1::MultiRequest& request) override {
    ++state_.handled;
    idl::v1::MultiResult result;
    result.results.resize(request.ops.size());
    answer(result);
  }

 private:
  SharedState& state_;
  Caller* const caller_;
};

class TestService final : public Service {
 public:
  TestService(SharedState& state, Caller* caller)
      : state_(state),
        processor_(Generated(std::make_shared<idl::v1::CoordAsyncProcessor>(
            std::make_shared<TestHandler>(state, caller)))) {
    ++state_.connections;
  }

  std::shared_ptr<Processor> processor() override { return processor_; }

  void OnClosed() override { ++state_.closed; }

 private:
  SharedState& state_;
  std::shared_ptr<Processor> processor_;
};

}  // namespace conclave::wire::testing
