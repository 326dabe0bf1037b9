// How much room there is for what grows, at a member and in the cluster.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coord/server/options.h"
#include "coord/tree/command.h"

namespace conclave::server {

// Worse is greater.
enum class Room : std::uint8_t {
  kPlenty = 0,
  // Below --free_space_min_bytes, or the log has reached --log_bytes_max: what grows is refused;
  // deletes, sessions and reads go on, for they are how room is made one day.
  kShort = 1,
  // Below --free_space_reserve_bytes, or the log has used up --log_reserve_bytes: all writes are
  // refused; reads go on.
  kFull = 2,
};

struct RoomOfMember {
  Room room = Room::kPlenty;
  std::string reason;  // one sentence that names the flag and what is refused; empty with kPlenty
};

// What the bounds in `options` say of a disk with so much left and a log that holds so much. Pure.
[[nodiscard]] RoomOfMember JudgeRoom(const Options& options, std::uint64_t free_bytes,
                                     std::uint64_t log_bytes);

// Frees more than it takes, or lets somebody come who may free it: goes on while room is short.
[[nodiscard]] bool PassesWhenShort(const tree::Command& command);

// A follower stores no entries with less than this on its disk: half of the reserve is kept for its
// vote, its term and whatever else is small. The cluster goes on while a majority has room.
[[nodiscard]] std::uint64_t StarvingBytes(const Options& options);

// The room that a majority of the voters has at least: what a cluster can store. REQUIRES: not
// empty.
[[nodiscard]] Room RoomOfMajority(std::vector<Room> voters);

}  // namespace conclave::server
