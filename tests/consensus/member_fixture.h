#pragma once

// What the tests of membership and of hand-over share.

#include <functional>
#include <optional>
#include <string>

#include <gmock/gmock.h>

#include "tests/consensus/cluster.h"

namespace conclave::raft::testing {

using Kind = ConfigChange::Kind;

class Members : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(invented_ || !cluster_.violation()) << *cluster_.violation();
  }

  /// Members 1 to count; 1 leads term 1 and everyone has its first entry.
  void Lead(MemberId count, const std::function<void(Options&)>& tweak = nullptr) {
    cluster_.AddMany(count, tweak);
    for (MemberId id = 2; id <= count; ++id) {
      cluster_.PeerUp(1, id);
    }
    cluster_.Campaign(1);
    cluster_.Settle();
    cluster_.Run(6);
    ASSERT_EQ(cluster_.Leader(), 1U);
    ASSERT_EQ(At(count).commitIndex, 1U);
  }

  /// Starts a member that is in no configuration and waits to be added.
  void Join(MemberId id, const std::function<void(Options&)>& tweak = nullptr) {
    cluster_.Add(id, {}, tweak);
  }

  Status At(MemberId id) { return cluster_.raft(id).status(); }

  const Configuration& ConfigOf(MemberId id) {
    shown_ = At(id).configuration.configuration;
    return shown_;
  }

  MemberKind KindOf(MemberId at, MemberId id) { return ConfigOf(at).Find(id)->kind; }

  PeerStatus PeerAt(MemberId at, MemberId id) {
    for (const PeerStatus& peer : At(at).peers) {
      if (peer.id == id) {
        return peer;
      }
    }
    return {};
  }

  /// The newest message of type M from one to the other, which stays under way.
  template <typename M>
  std::optional<M> Last(MemberId from, MemberId to) {
    for (auto packet = cluster_.packets().rbegin(); packet != cluster_.packets().rend(); ++packet) {
      if (packet->from == from && packet->to == to) {
        if (const auto* message = std::get_if<M>(&packet->message)) {
          return *message;
        }
      }
    }
    return std::nullopt;
  }

  /// True if there was one of type M from one to the other.
  template <typename M>
  bool Deliver(MemberId from, MemberId to) {
    return cluster_.DeliverOne([&](const Packet& packet) {
      return packet.from == from && packet.to == to && std::holds_alternative<M>(packet.message);
    });
  }

  void DropAll() {
    cluster_.Drop([](const Packet&) { return true; });
  }

  /// What `candidate` would ask `voter` for, if it had the voter's log and counted on it.
  RequestVote Request(MemberId candidate, MemberId voter, Term term, bool pre_vote = false) {
    const Status status = At(voter);
    RequestVote request;
    request.term = term;
    request.lastLogIndex = status.last.index;
    request.lastLogTerm = status.last.term;
    request.preVote = pre_vote;
    request.incarnation = cluster_.node(candidate).options.incarnation;
    request.voterIncarnation = cluster_.node(voter).options.incarnation;
    return request;
  }

  bool Grants(MemberId candidate, MemberId voter, const RequestVote& request) {
    DropAll();
    cluster_.Inject(candidate, voter, request);
    const auto reply = Last<RequestVoteReply>(voter, candidate);
    return reply && reply->voteGranted;
  }

  Cluster cluster_{7};
  /// The test has put messages into the mouth of members that never wrote what they say.
  bool invented_ = false;

 private:
  Configuration shown_;
};

inline void NoPromotion(Options& options) { options.promote_learners = false; }

/// Changes of the membership.
class Membership : public Members {
 protected:
  /// A leader 1 of `voters` with learner `id` that has caught up and stays a learner.
  void LeadWithLearner(MemberId voters, MemberId id) {
    Lead(voters, NoPromotion);
    AddCaughtUp(id);
  }

  void AddCaughtUp(MemberId id) {
    Join(id, NoPromotion);
    ASSERT_TRUE(cluster_.Change(1, Kind::kAddLearner, id));
    ASSERT_TRUE(cluster_.RunUntil([&] { return PeerAt(1, id).caught_up; }, 40));
    ASSERT_TRUE(cluster_.RunUntil([&] { return At(1).commitIndex == At(1).last.index; }, 10));
    ASSERT_TRUE(ConfigOf(1).Names(id, 1000 + id));
  }

  ConfigChangeError Error(MemberId at, Kind kind, MemberId id) {
    const auto result = cluster_.Change(at, kind, id);
    return result ? ConfigChangeError{} : result.error();
  }
};

}  // namespace conclave::raft::testing
