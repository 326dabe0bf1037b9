// What doors ask for at the member where a session polls.
#include <utility>

#include "coord/server/server_core.h"

namespace conclave::server {

void Server::Core::AddWatch(Caller caller, AddWatchRequest request, Callback<AddWatchReply> done) {
  auto fail = Failing<AddWatchReply>(caller, done);
  if (auto refusal = RefuseWait()) {
    fail(std::move(*refusal));
    return;
  }
  const auto add = [=, this](tl::expected<void, tree::Error> ok) {
    if (!ok || applier_->machine().sessions().Find(caller.session) == nullptr) {
      fail(ok ? MakeFailure(tree::Code::kSessionExpired, "the session has ended")
              : Failure{.error = ok.error(), .expected_seq = 0});
      return;
    }
    const tree::RegisterResult result =
        homes_->Register(caller.session, request.watch, request.since, NowNs());
    Answer<AddWatchReply> answer = AddWatchReply{.id = result.id, .since = result.since};
    if (result.status == tree::RegisterStatus::kTooMany) {
      answer = tl::unexpected(MakeFailure(tree::Code::kOverloaded,
                                          "too many watches at this member", request.watch.path));
    } else if (result.status == tree::RegisterStatus::kBehind) {
      answer = tl::unexpected(
          MakeFailure(tree::Code::kInvalidArgument,
                      "`since` lies before what the session has been told already; use "
                      "resumeWatches with replaceAll",
                      request.watch.path));
    }
    Send<AddWatchReply>(caller, 0, std::move(answer), done);
    SchedulePump();
  };
  // "From now on" must not mean a state older than the session has seen elsewhere.
  Authenticate(caller, true, fail, [=, this] {
    ReadPath::Condition condition;
    condition.min_zxid = caller.min_zxid;
    condition.after_seq = caller.after_seq;
    AwaitTurn(caller, condition, add);
  });
}

void Server::Core::RemoveWatch(Caller caller, tree::WatchId watch_id,
                               Callback<RemoveWatchReply> done) {
  Authenticate(caller, true, Failing<RemoveWatchReply>(caller, done), [=, this] {
    const bool removed = homes_->Unregister(caller.session, watch_id);
    Send<RemoveWatchReply>(caller, 0, RemoveWatchReply{.removed = removed}, done);
  });
}

void Server::Core::ResumeWatches(Caller caller, ResumeWatchesRequest request,
                                 Callback<ResumeWatchesReply> done) {
  Authenticate(caller, true, Failing<ResumeWatchesReply>(caller, done), [=, this] {
    const tree::RegisterResult result = homes_->Resume(caller.session, request, NowNs());
    if (result.status != tree::RegisterStatus::kOk) {
      Send<ResumeWatchesReply>(
          caller, 0,
          tl::unexpected(MakeFailure(result.status == tree::RegisterStatus::kTooMany
                                         ? tree::Code::kOverloaded
                                         : tree::Code::kInvalidArgument,
                                     "the watches cannot be registered here")),
          done);
      return;
    }
    ResumeWatchesReply reply;
    ReplyHead head = BaseHead(caller.session);
    head.resync = result.resync;
    if (result.resync) {
      reply.elsewhere = Elsewhere(request.cursor);
    }
    // No events in this head: a long list may come in several calls with the same cursor, and what
    // is told now could not be matched against the watches that are still to come.
    head.cursor = request.cursor;
    Deliver([done, head = std::move(head), reply = std::move(reply)]() mutable {
      done(std::move(head), std::move(reply));
    });
    SchedulePump();
  });
}

void Server::Core::Poll(Caller caller, PollRequest request, Callback<PollReply> done) {
  auto fail = Failing<PollReply>(caller, done);
  Authenticate(caller, true, fail, [=, this] {
    if (cut_off_) {
      ++counters_.polls_dropped;
      fail(
          MakeFailure(tree::Code::kUnavailable, "this member has not heard a leader for too long"));
      return;
    }
    homes_->Poll(caller.session, request, NowNs(), done);
  });
}

}  // namespace conclave::server
