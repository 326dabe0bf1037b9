#pragma once

// The part of a state of the cluster that every search has, and what is demanded of it.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/consensus/explore/catalogue.h"

namespace conclave::raft::explore {

/// How often something may happen along one path.
struct Budget {
  std::uint8_t campaigns = 2;  ///< Election timeouts.
  std::uint8_t proposals = 2;
  std::uint8_t crashes = 1;
  std::uint8_t losses = 0;      ///< A message that never arrives is lost already, see Bounds.
  std::uint8_t duplicates = 0;  ///< Not looked at with Bounds::any_duplicates.
  std::uint8_t heartbeats = 0;
  std::uint8_t step_downs = 0;  ///< Leaders that give up for want of a quorum.
  std::uint8_t unused = 0;
};

struct Bounds {
  Budget budget;
  /// The network is part of a state (search.h); else it comes from histories (histories.h).
  bool exact = false;
  /// Every message may arrive any number of times. Each may also never arrive, without limit, since
  /// nothing forces a message of the network to be delivered; `losses` adds the event of its
  /// removal, after which fewer things can happen than without.
  bool any_duplicates = true;
  /// The messages of pre-vote are explored too; else a campaign may succeed or fail in its
  /// pre-vote whatever the others would say, which allows more than they do.
  bool pre_vote = false;
  /// States that differ only in the members' names are one.
  bool symmetry = true;
  /// Messages that a member ignores in its present and every later state are taken off the network.
  bool drop_ignored = true;
  ReplicaRules rules;
  std::uint64_t states_max = ~std::uint64_t{0};
  double seconds_max = 1e9;
  std::size_t visited_bytes = std::size_t{64} << 20;
  std::uint64_t doubt_every = 0;  ///< Catalogue::DoubtEvery.
};

/// One step of a path.
struct Event {
  enum class How : std::uint8_t { kTake, kDuplicate, kLose };

  Input input = 0;
  std::uint8_t slot = 0;  ///< The member's id less one.
  How how = How::kTake;
};

/// A state without its network.
struct ClusterState {
  std::array<MemberState, kMembers> members{};
  Budget left;
  /// The longest prefix that any member ever held for committed, and who led which term: what a
  /// crash makes the members forget.
  Prefix committed = 0;
  std::array<std::uint8_t, 8> leaders{};  ///< By term less 2; 0 for none.
  Fingerprints sums{};                    ///< Of the members, and of the messages if there are any.
  std::uint32_t depth = 0;
  Event event;  ///< That led here.
};

/// What can happen to the member in `slot` without a message, as far as it can now; budgets are
/// looked at by Judge::Spend.
void LocalInputs(const Catalogue& catalogue, const ClusterState& state, std::size_t slot,
                 bool pre_vote, std::vector<Input>& inputs);

/// Of a clock that only goes forward.
double SteadySeconds();

/// Steps and invariants of states. R1 one leader per term, R3 log matching, R4 leader completeness,
/// R5 state-machine safety, R8 what is committed is on a quorum of disks; R2, R6 and R7 concern one
/// member alone and are checked where it takes an input (replica.h).
class Judge {
 public:
  explicit Judge(Catalogue& catalogue) : catalogue_(catalogue) {}

  ClusterState First(const Budget& budget) const;

  /// False if the budget does not allow it.
  static bool Spend(Budget& left, Event event);

  /// The state after the member in `slot` has become `member`, whose claims are noted.
  void Replace(ClusterState& state, std::size_t slot, MemberState member);

  /// Invariants over all members, on a state reached by a change of `slot`.
  void Check(const ClusterState& state, std::size_t slot);

  /// A name for the state; the same for all its renamings with `symmetry`. `orbit` is how many
  /// different ones these are.
  static Fingerprint Name(const ClusterState& state, bool symmetry, std::uint64_t& orbit);

  void Fail(const std::string& what);

  const std::optional<std::string>& violation() const { return violation_; }

  void Forgive() { violation_.reset(); }

 private:
  bool Match(const Summary& one, const Summary& other) const;

  Catalogue& catalogue_;
  std::optional<std::string> violation_;
};

}  // namespace conclave::raft::explore
