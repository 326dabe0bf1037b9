// What doors ask for at the member where a session polls.
#include <utility>

#include "coord/server/server_core.h"

namespace conclave::server {

void Server::Core::AddWatch(Caller caller, AddWatchRequest request, Callback<AddWatchReply> done) {
  auto call = std::make_unique<AddWatchCall>(std::move(caller), std::move(done));
  call->request = std::move(request);
  if (auto refusal = RefuseWait()) {
    Refuse(std::move(call), std::move(*refusal));
    return;
  }
  Authenticate(std::move(call), true, [this](std::unique_ptr<AddWatchCall> admitted) {
    // "From now on" must not mean a state older than the session has seen elsewhere.
    ReadPath::Condition condition;
    condition.min_zxid = admitted->caller.min_zxid;
    condition.after_seq = admitted->caller.after_seq;
    AwaitTurn<&Core::FinishAddWatch>(std::move(admitted), condition);
  });
}

void Server::Core::FinishAddWatch(std::unique_ptr<AddWatchCall> call, Fresh ok) {
  const std::int64_t session = call->caller.session;
  const AddWatchRequest& request = call->request;
  if (!ok || applier_->machine().sessions().Find(session) == nullptr) {
    Refuse(std::move(call), ok ? MakeFailure(tree::Code::kSessionExpired, "the session has ended")
                               : Failure{.error = std::move(ok.error()), .expected_seq = 0});
    return;
  }
  const tree::RegisterResult result =
      homes_->Register(session, request.watch, request.since, NowNs());
  Answer<AddWatchReply> answer = AddWatchReply{.id = result.id, .since = result.since};
  if (result.status == tree::RegisterStatus::kTooMany) {
    answer = tl::unexpected(MakeFailure(tree::Code::kOverloaded, "too many watches at this member",
                                        request.watch.path));
  } else if (result.status == tree::RegisterStatus::kBehind) {
    answer = tl::unexpected(
        MakeFailure(tree::Code::kInvalidArgument,
                    "`since` lies before what the session has been told already; use "
                    "resumeWatches with replaceAll",
                    request.watch.path));
  }
  Send(std::move(call), 0, std::move(answer));
  SchedulePump();
}

void Server::Core::RemoveWatch(Caller caller, tree::WatchId watch_id,
                               Callback<RemoveWatchReply> done) {
  using RemoveCall = Call<RemoveWatchReply>;
  Authenticate(std::make_unique<RemoveCall>(std::move(caller), std::move(done)), true,
               [this, watch_id](std::unique_ptr<RemoveCall> call) {
                 const bool removed = homes_->Unregister(call->caller.session, watch_id);
                 Send(std::move(call), 0, RemoveWatchReply{.removed = removed});
               });
}

void Server::Core::ResumeWatches(Caller caller, ResumeWatchesRequest request,
                                 Callback<ResumeWatchesReply> done) {
  using ResumeCall = Call<ResumeWatchesReply>;
  Authenticate(std::make_unique<ResumeCall>(std::move(caller), std::move(done)), true,
               [this, request = std::move(request)](std::unique_ptr<ResumeCall> call) {
                 ResumeHere(std::move(call), request);
               });
}

void Server::Core::ResumeHere(std::unique_ptr<Call<ResumeWatchesReply>> call,
                              const ResumeWatchesRequest& request) {
  const std::int64_t session = call->caller.session;
  const tree::RegisterResult result = homes_->Resume(session, request, NowNs());
  if (result.status != tree::RegisterStatus::kOk) {
    Refuse(std::move(call), MakeFailure(result.status == tree::RegisterStatus::kTooMany
                                            ? tree::Code::kOverloaded
                                            : tree::Code::kInvalidArgument,
                                        "the watches cannot be registered here"));
    return;
  }
  ResumeWatchesReply reply;
  call->head = BaseHead(session, NowNs());
  call->head.resync = result.resync;
  if (result.resync) {
    reply.elsewhere = Elsewhere(request.cursor);
  }
  // No events in this head: a long list may come in several calls with the same cursor, and what
  // is told now could not be matched against the watches that are still to come.
  call->head.cursor = request.cursor;
  call->answer.emplace(std::move(reply));
  Deliver(std::move(call));
  SchedulePump();
}

void Server::Core::Poll(Caller caller, PollRequest request, Callback<PollReply> done) {
  using PollCall = Call<PollReply>;
  Authenticate(std::make_unique<PollCall>(std::move(caller), std::move(done)), true,
               [this, request](std::unique_ptr<PollCall> call) {
                 if (cut_off_) {
                   ++counters_.polls_dropped;
                   Refuse(std::move(call),
                          MakeFailure(tree::Code::kUnavailable,
                                      "this member has not heard a leader for too long"));
                   return;
                 }
                 homes_->Poll(call->caller.session, request, NowNs(), std::move(call->done));
               });
}

}  // namespace conclave::server
