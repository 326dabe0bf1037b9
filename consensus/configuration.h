#pragma once

// Who belongs to a cluster, as the log says it.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/types.h"

namespace conclave::raft {

/// What a member may do. The values are stored and sent; never renumber.
enum class MemberKind : std::uint8_t {
  kVoter = 1,     ///< Counts in quorums.
  kLearner = 2,   ///< Receives the log, on its way to voter; counts in no quorum.
  kObserver = 3,  ///< Receives the log and stays a non-voter.
};

/// "voter", "learner", "observer".
const char* ToString(MemberKind kind);

struct Member {
  MemberId id = 0;
  /// 0: a member that no leader has met since it was named (an initial one, one just added, one
  /// re-admitted). It counts in no quorum until a leader has registered the incarnation it met.
  Incarnation incarnation = 0;
  MemberKind kind = MemberKind::kVoter;
  /// Where it takes its peers, as the operator wrote it; opaque here. At most kAddressBytesMax.
  std::string peer_address;

  friend bool operator==(const Member&, const Member&) = default;
};

/// Bounds of a Configuration: what is stored and sent must not grow without limit.
inline constexpr std::size_t kMembersMax = 64;
inline constexpr std::size_t kAddressBytesMax = 255;

/// The members of a cluster and its id: the content of a kConfig entry.
struct Configuration {
  ClusterId clusterId{};
  /// Ascending by id, without duplicates; at most kMembersMax.
  std::vector<Member> members;

  /// Null if `id` is no member.
  const Member* Find(MemberId id) const;
  Member* Find(MemberId id);

  /// True if (id, incarnation) is exactly what the configuration says; an incarnation of 0 never
  /// is.
  bool Names(MemberId id, Incarnation incarnation) const;

  bool IsVoter(MemberId id) const;

  /// A voter of exactly this incarnation: its votes and acknowledgements count.
  bool Counts(MemberId id, Incarnation incarnation) const {
    return Names(id, incarnation) && IsVoter(id);
  }

  std::size_t voter_count() const;

  /// Votes needed. 0 voters have no quorum: the result is then 1, which nobody reaches.
  std::size_t quorum() const { return voter_count() / 2 + 1; }

  /// Bytes of a kConfig entry: format (1 byte, value 2), cluster id (16), number of members (4),
  /// then per member id (8), incarnation (8), kind (1), length of the address (1), address;
  /// integers little-endian. Format 1 is the same without addresses.
  /// REQUIRES: within the bounds above.
  std::string Encode() const;

  /// Nothing if `bytes` is not what Encode writes, or wrote in format 1: another format, cut short,
  /// trailing bytes, members out of order or too many, an unknown kind, no voter, an id of 0.
  static std::optional<Configuration> Decode(std::string_view bytes);

  friend bool operator==(const Configuration&, const Configuration&) = default;
};

/// A configuration and the index of the entry that holds it (0: given by the flags, in no entry).
struct IndexedConfiguration {
  Index index = 0;
  Configuration configuration;

  friend bool operator==(const IndexedConfiguration&, const IndexedConfiguration&) = default;
};

}  // namespace conclave::raft
