// A client on virtual time against the fake cluster.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <conclave/client.h>
#include <gtest/gtest.h>

#include "tests/client/fake_cluster.h"
#include "tests/client/virtual_executor.h"

namespace conclave::client_test {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ClientTest : public ::testing::Test {
 protected:
  explicit ClientTest(int members = 3) : cluster(executor, members) {}

  ~ClientTest() override {
    clients_.clear();
    executor.Settle();
    callbacks.Settle();
  }

  // A client that has not run yet. Its callbacks run where everything does, unless told otherwise.
  Client& NewClient(Options options = {}, TaskRunner* where = nullptr) {
    options.endpoints = cluster.Endpoints();
    auto* seen = &states_[clients_.size()];
    options.on_session = [seen](const SessionChange& change) { seen->push_back(change.state); };
    Seams seams;
    seams.loop = &executor;
    seams.callbacks = where != nullptr ? where : &executor;
    seams.transport = &cluster;
    seams.random = [this] {
      return random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    };
    auto client = Client::Start(std::move(options), seams);
    EXPECT_TRUE(client.ok()) << client.error().ToString();
    clients_.push_back(std::move(*client));
    return *clients_.back();
  }

  // A client with an open session.
  Client& OpenClient(Options options = {}, TaskRunner* where = nullptr) {
    Client& client = NewClient(std::move(options), where);
    EXPECT_TRUE(executor.AdvanceUntil([&] { return client.state() == SessionState::kConnected; }));
    return client;
  }

  void Destroy(Client& client) {
    std::erase_if(clients_, [&](const auto& owned) { return owned.get() == &client; });
    executor.Settle();
  }

  const std::vector<SessionState>& states(std::size_t client = 0) { return states_[client]; }

  int Home(const Client& client) { return cluster.HomeOf(client.session_id()); }

  // Keeps the results of a call for a test to look at.
  template <class T>
  static Callback<T> Into(std::optional<Result<T>>& slot) {
    return [&slot](Result<T> result) {
      EXPECT_FALSE(slot.has_value()) << "called back twice";
      slot.emplace(std::move(result));
    };
  }

  // Runs an asynchronous call to its end on virtual time.
  template <class T, class Start>
  Result<T> Await(Start start) {
    auto slot = std::make_shared<std::optional<Result<T>>>();
    start([slot](Result<T> result) { slot->emplace(std::move(result)); });
    if (!executor.AdvanceUntil([&] { return slot->has_value(); })) {
      return Error{.code = Code::kInternal,
                   .message = "the call never ended",
                   .path = {},
                   .zxid = 0,
                   .op_index = -1};
    }
    return std::move(**slot);
  }

  Result<Written> Set(Client& client, const std::string& path, const std::string& data,
                      milliseconds timeout = seconds(10)) {
    return Await<Written>(
        [&](auto done) { client.SetAsync(path, data, kAnyVersion, {timeout}, done); });
  }

  Result<Node> Get(Client& client, const std::string& path, ReadOptions options = {}) {
    return Await<Node>([&](auto done) { client.GetAsync(path, options, done); });
  }

  Result<Created> Create(Client& client, const std::string& path, Data data,
                         CreateMode mode = CreateMode::kPersistent) {
    return Await<Created>([&](auto done) { client.CreateAsync(path, data, mode, {}, done); });
  }

  VirtualExecutor executor;
  VirtualExecutor callbacks;  // For clients whose callbacks are to be slow.
  FakeCluster cluster;

 private:
  std::uint64_t random_ = 42;
  std::map<std::size_t, std::vector<SessionState>> states_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace conclave::client_test
