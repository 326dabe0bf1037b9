#include "client/src/calls.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "client/src/codec.h"

namespace conclave::internal {
namespace {

// Submits the request and converts its reply, if there is one, by `convert`.
template <class Wanted, class T, class Convert>
void SubmitAs(Core& core, CallKind kind, Request request, CallHow how, OnLoop<T> done,
              Convert convert) {
  core.Submit(
      kind, std::move(request), how.deadline,
      [done = std::move(done), convert = std::move(convert)](Result<Reply> reply) {
        if (!reply.ok()) {
          done(reply.error());
          return;
        }
        done(convert(std::get<Wanted>(*reply)));
      },
      how.unbounded);
}

// Less than is left here, so that the member's own word on a failure arrives in time.
std::int32_t ServerTimeoutMs(const Core& core, const CallHow& how) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(how.deadline - core.loop().Now());
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(left.count() * 8 / 10, 1, 600'000));
}

struct Listing {
  std::shared_ptr<Core> core;
  std::string path;
  ChildrenOptions options;
  CallHow how;
  OnLoop<ChildList> done;
  ChildList result;
};

void NextPage(const std::shared_ptr<Listing>& listing) {
  idl::ChildrenRequest request;
  request.__set_path(listing->path);
  request.__set_mode(ToIdl(listing->options.mode));
  request.__set_after(listing->result.names.empty() ? listing->options.after
                                                    : listing->result.names.back());
  request.__set_countMax(listing->options.count_max);
  const auto on_page = [listing](Result<Reply> reply) {
    if (!reply.ok()) {
      listing->done(reply.error());
      return;
    }
    auto& page = std::get<idl::ChildrenResult>(*reply);
    ChildList& result = listing->result;
    if (result.names.empty()) {
      result.stat = FromIdl(page.stat);
    }
    const bool progress = !page.names.empty();
    result.names.insert(result.names.end(), std::make_move_iterator(page.names.begin()),
                        std::make_move_iterator(page.names.end()));
    result.zxid = page.head.zxid;
    result.complete = !page.more;
    if (page.more && progress && listing->options.count_max == 0) {
      NextPage(listing);
    } else {
      listing->done(std::move(result));
    }
  };
  listing->core->Submit(CallKind::kRead, std::move(request), listing->how.deadline, on_page,
                        listing->how.unbounded);
}

struct PathCreation {
  std::shared_ptr<Core> core;
  std::vector<std::string> missing;  // The deepest first; the last one is to be created next.
  CallHow how;
  OnLoop<void> done;
};

void CreateNext(const std::shared_ptr<PathCreation>& creation) {
  CreateNode(*creation->core, Op::Create(creation->missing.back(), std::nullopt), creation->how,
             [creation](Result<Created> created) {
               auto& missing = creation->missing;
               if (created.ok() || created.code() == Code::kNodeExists) {
                 missing.pop_back();
                 if (missing.empty()) {
                   creation->done({});
                 } else {
                   CreateNext(creation);
                 }
                 return;
               }
               const std::size_t slash = missing.back().rfind('/');
               if (created.code() != Code::kNoNode || slash == 0 || slash == std::string::npos) {
                 creation->done(created.error());
                 return;
               }
               missing.push_back(missing.back().substr(0, slash));
               CreateNext(creation);
             });
}

}  // namespace

void CreateNode(Core& core, const Op& create, CallHow how, OnLoop<Created> done) {
  SubmitAs<idl::CreateResult>(
      core, CallKind::kWrite, MakeCreate(create.path, create.data, create.mode), how,
      std::move(done), [](idl::CreateResult& reply) {
        return Created{std::move(reply.path), FromIdl(reply.stat), reply.head.zxid};
      });
}

void GetNode(Core& core, std::string path, ReadMode mode, CallHow how, OnLoop<Node> done) {
  idl::GetRequest request;
  request.__set_path(std::move(path));
  request.__set_mode(ToIdl(mode));
  SubmitAs<idl::GetResult>(core, CallKind::kRead, std::move(request), how, std::move(done),
                           [](idl::GetResult& reply) {
                             Node node{std::nullopt, FromIdl(reply.stat), reply.head.zxid};
                             if (reply.__isset.data) {
                               node.data = std::move(reply.data);
                             }
                             return node;
                           });
}

void SetNode(Core& core, const Op& set, CallHow how, OnLoop<Written> done) {
  SubmitAs<idl::SetDataResult>(core, CallKind::kWrite, MakeSet(set.path, set.data, set.version),
                               how, std::move(done), [](idl::SetDataResult& reply) {
                                 return Written{FromIdl(reply.stat), reply.head.zxid};
                               });
}

void RemoveNode(Core& core, const Op& remove, CallHow how, OnLoop<Written> done) {
  SubmitAs<idl::RemoveResult>(core, CallKind::kWrite, MakeRemove(remove.path, remove.version), how,
                              std::move(done), [](idl::RemoveResult& reply) {
                                return Written{Stat{}, reply.head.zxid};
                              });
}

void NodeExists(Core& core, std::string path, ReadMode mode, CallHow how, OnLoop<Existence> done) {
  idl::ExistsRequest request;
  request.__set_path(std::move(path));
  request.__set_mode(ToIdl(mode));
  SubmitAs<idl::ExistsResult>(core, CallKind::kRead, std::move(request), how, std::move(done),
                              [](idl::ExistsResult& reply) {
                                Existence existence{std::nullopt, reply.head.zxid};
                                if (reply.__isset.stat) {
                                  existence.stat = FromIdl(reply.stat);
                                }
                                return existence;
                              });
}

void ListChildren(Core& core, std::string path, ChildrenOptions options, CallHow how,
                  OnLoop<ChildList> done) {
  auto listing = std::make_shared<Listing>();
  listing->core = core.shared_from_this();
  listing->path = std::move(path);
  listing->options = std::move(options);
  listing->how = how;
  listing->done = std::move(done);
  NextPage(listing);
}

void RunMulti(Core& core, std::vector<Op> ops, CallHow how, OnLoop<MultiResult> done) {
  idl::MultiRequest request;
  for (Op& op : ops) {
    request.ops.push_back(ToIdl(std::move(op)));
  }
  request.__isset.ops = true;
  SubmitAs<idl::MultiResult>(core, CallKind::kWrite, std::move(request), how, std::move(done),
                             [](idl::MultiResult& reply) { return FromIdl(std::move(reply)); });
}

void CreatePath(Core& core, std::string path, CallHow how, OnLoop<void> done) {
  if (path == "/") {
    core.RunOnLoop([done = std::move(done)] { done({}); });
    return;
  }
  auto creation = std::make_shared<PathCreation>();
  creation->core = core.shared_from_this();
  creation->missing.push_back(std::move(path));
  creation->how = how;
  creation->done = std::move(done);
  CreateNext(creation);
}

void SyncMember(Core& core, CallHow how, OnLoop<std::int64_t> done) {
  idl::SyncRequest request;
  request.__set_path("/");
  SubmitAs<idl::SyncResult>(core, CallKind::kRead, std::move(request), how, std::move(done),
                            [](idl::SyncResult& reply) { return reply.head.zxid; });
}

void ReadClusterStatus(Core& core, CallHow how, OnLoop<ClusterStatus> done) {
  SubmitAs<idl::ClusterStatusResult>(
      core, CallKind::kFree, idl::ClusterStatusRequest(), how, std::move(done),
      [](idl::ClusterStatusResult& reply) { return FromIdl(reply); });
}

void ReadMembers(Core& core, CallHow how, OnLoop<MemberList> done) {
  SubmitAs<idl::ListMembersResult>(core, CallKind::kFree, idl::ListMembersRequest(), how,
                                   std::move(done),
                                   [](idl::ListMembersResult& reply) { return FromIdl(reply); });
}

void ChangeMembers(Core& core, const MemberChange& change, CallHow how,
                   OnLoop<MemberChanged> done) {
  idl::ChangeMemberRequest request;
  request.__set_kind(static_cast<idl::MemberChangeKind::type>(change.kind));
  request.__set_id(static_cast<std::int64_t>(change.id));
  request.__set_peerAddress(change.peer_address);
  request.__set_timeoutMs(ServerTimeoutMs(core, how));
  SubmitAs<idl::ChangeMemberResult>(core, CallKind::kFree, std::move(request), how, std::move(done),
                                    [](idl::ChangeMemberResult& reply) {
                                      return MemberChanged{reply.configurationIndex, reply.changed};
                                    });
}

void MoveLeader(Core& core, std::uint64_t to, CallHow how, OnLoop<LeaderMoved> done) {
  idl::TransferLeaderRequest request;
  request.__set_to(static_cast<std::int64_t>(to));
  request.__set_timeoutMs(ServerTimeoutMs(core, how));
  SubmitAs<idl::TransferLeaderResult>(
      core, CallKind::kFree, std::move(request), how, std::move(done),
      [](idl::TransferLeaderResult& reply) {
        return LeaderMoved{static_cast<std::uint64_t>(reply.leader), reply.changed};
      });
}

void CloseSession(Core& core, CallHow how, OnLoop<void> done) {
  SubmitAs<idl::CloseResult>(core, CallKind::kWrite, CloseRequest(), how, std::move(done),
                             [](idl::CloseResult&) { return Status(); });
}

void WaitUntilOpen(Core& core, CallHow how, OnLoop<void> done) {
  if (core.options().open_session) {
    SubmitAs<idl::PingResult>(core, CallKind::kSession, PingRequest(), how, std::move(done),
                              [](idl::PingResult&) { return Status(); });
  } else {
    SubmitAs<idl::ClusterStatusResult>(core, CallKind::kFree, idl::ClusterStatusRequest(), how,
                                       std::move(done),
                                       [](idl::ClusterStatusResult&) { return Status(); });
  }
}

}  // namespace conclave::internal
