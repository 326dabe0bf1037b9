// Whose data directory this is.
//
// The directory of a member, given by --data_dir:
//
//   LOCK       held while a server runs
//   IDENTITY   who this belongs to, for people and for the check before anything is opened
//   raft/      the LevelDB of log and hard state; holds the identity too, and that one counts
//
// The incarnation lives and dies with the log: a member that lost its log must not come back under
// an incarnation that once voted (rule 11). So a directory without raft/ but with IDENTITY is an
// error, and one with raft/ but without IDENTITY gets the file again from the database.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "consensus/types.h"
#include "persist/error.h"

namespace conclave::persist {

/// The newest layout that this version reads and writes. A directory with a higher number is
/// refused, never guessed at.
inline constexpr std::uint32_t kDataFormat = 1;

/// Written once, when the directory is made.
struct Identity {
  raft::MemberId member = 0;
  std::string cluster_name;
  raft::Incarnation incarnation = 0;

  friend bool operator==(const Identity&, const Identity&) = default;
};

/// The text of the file IDENTITY: one "name: value" a line, a checksum last. The same bytes are the
/// value of the key a/identity in the database.
std::string EncodeIdentity(const Identity& identity);

/// `where` is the path or key for messages. kUnknownFormat if written by a later version, kDamaged
/// if the bytes are not what EncodeIdentity wrote.
tl::expected<Identity, Error> DecodeIdentity(std::string_view text, const std::string& where);

/// kWrongIdentity with the flag and the remedy if `found` is not the member and cluster of the
/// flags.
tl::expected<void, Error> CheckIdentity(const Identity& found, raft::MemberId member,
                                        std::string_view cluster_name, const std::string& data_dir);

}  // namespace conclave::persist
