// The service of one connection to a member of the fake cluster.
#pragma once

#include <memory>
#include <string>

#include "tests/client/fake_cluster.h"

namespace conclave::client_test {

struct FakeCluster::Link : std::enable_shared_from_this<FakeCluster::Link> {
  Executor* executor = nullptr;
  int member = 0;
  Callbacks callbacks;
  bool open = true;
  bool mute = false;
  std::unique_ptr<wire::CallDispatcher> dispatcher;
  std::function<void()> close;  // Of a connection over a real transport.

  void ToClient(std::string frame);
  void FromClient(const std::string& frame);
  void Break(const std::string& reason);
};

struct Handler final : idl::CoordCobSvIf {
  template <class T>
  using Cob = std::function<void(const T&)>;
  using ExnCob = std::function<void(apache::thrift::TDelayedException*)>;
  using Outcome = FakeCluster::Outcome;

  Handler(FakeCluster& cluster_in, const std::shared_ptr<FakeCluster::Link>& link_in)
      : cluster(cluster_in), link(link_in), member(link_in->member) {}

  void openSession(Cob<idl::OpenResult> cob, ExnCob exn, const idl::OpenRequest& request) override;
  void closeSession(Cob<idl::CloseResult> cob, ExnCob exn, const idl::Ctx& ctx) override;
  void takeOver(Cob<idl::TakeOverResult> cob, ExnCob exn, const idl::Ctx& ctx) override;
  void create(Cob<idl::CreateResult> cob, ExnCob exn, const idl::Ctx& ctx,
              const idl::CreateRequest& request) override;
  void setData(Cob<idl::SetDataResult> cob, ExnCob exn, const idl::Ctx& ctx,
               const idl::SetDataRequest& request) override;
  void removeNode(Cob<idl::RemoveResult> cob, ExnCob exn, const idl::Ctx& ctx,
                  const idl::RemoveRequest& request) override;
  void getData(Cob<idl::GetResult> cob, ExnCob exn, const idl::Ctx& ctx,
               const idl::GetRequest& request) override;
  void exists(Cob<idl::ExistsResult> cob, ExnCob exn, const idl::Ctx& ctx,
              const idl::ExistsRequest& request) override;
  void children(Cob<idl::ChildrenResult> cob, ExnCob exn, const idl::Ctx& ctx,
                const idl::ChildrenRequest& request) override;
  void multi(Cob<idl::MultiResult> cob, ExnCob exn, const idl::Ctx& ctx,
             const idl::MultiRequest& request) override;
  void addWatch(Cob<idl::AddWatchResult> cob, ExnCob exn, const idl::Ctx& ctx,
                const idl::AddWatchRequest& request) override;
  void removeWatch(Cob<idl::RemoveWatchResult> cob, ExnCob exn, const idl::Ctx& ctx,
                   const idl::RemoveWatchRequest& request) override;
  void resumeWatches(Cob<idl::ResumeWatchesResult> cob, ExnCob exn, const idl::Ctx& ctx,
                     const idl::ResumeWatchesRequest& request) override;
  void poll(Cob<idl::PollResult> cob, ExnCob exn, const idl::Ctx& ctx,
            const idl::PollRequest& request) override;
  void sync(Cob<idl::SyncResult> cob, ExnCob exn, const idl::Ctx& ctx,
            const idl::SyncRequest& request) override;
  void ping(Cob<idl::PingResult> cob, ExnCob exn, const idl::Ctx& ctx) override;
  void clusterStatus(Cob<idl::ClusterStatusResult> cob, ExnCob exn,
                     const idl::ClusterStatusRequest& request) override;

  // Serves one call as the fault of the moment says. `execute` fills the result or returns an
  // error.
  template <class T, class Execute>
  void Serve(const std::string& method, const idl::Ctx& ctx, const Cob<T>& cob, const ExnCob& exn,
             Execute execute);
  // A numbered write: executed once, its reply kept.
  template <class T, class Execute>
  Outcome Write(const idl::Ctx& ctx, T& result, Execute execute);
  template <class T, class Execute>
  void Read(const std::string& method, const idl::Ctx& ctx, const Cob<T>& cob, const ExnCob& exn,
            Execute execute);

  FakeCluster& cluster;
  std::weak_ptr<FakeCluster::Link> link;
  int member;
};

}  // namespace conclave::client_test
