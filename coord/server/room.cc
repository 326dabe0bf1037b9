#include "coord/server/room.h"

#include <algorithm>

#include <fmt/format.h>
#include <glog/logging.h>

namespace conclave::server {

RoomOfMember JudgeRoom(const Options& options, std::uint64_t free_bytes, std::uint64_t log_bytes) {
  constexpr const char* kGrowing = "creates and sets are refused, deletes and sessions go on";
  if (free_bytes < options.free_space_reserve_bytes) {
    return {Room::kFull,
            fmt::format("the disk has {} bytes left, less than --free_space_reserve_bytes={}: all "
                        "writes are refused until there is room",
                        free_bytes, options.free_space_reserve_bytes)};
  }
  if (log_bytes >= options.log_bytes_max + options.log_reserve_bytes) {
    return {Room::kFull, fmt::format("the log holds {} bytes, --log_bytes_max={} and "
                                     "--log_reserve_bytes={}: all writes are refused",
                                     log_bytes, options.log_bytes_max, options.log_reserve_bytes)};
  }
  if (free_bytes < options.free_space_min_bytes) {
    return {Room::kShort,
            fmt::format("the disk has {} bytes left, less than --free_space_min_bytes={}: {}",
                        free_bytes, options.free_space_min_bytes, kGrowing)};
  }
  if (log_bytes >= options.log_bytes_max) {
    return {Room::kShort, fmt::format("the log holds {} bytes, --log_bytes_max={}: {}", log_bytes,
                                      options.log_bytes_max, kGrowing)};
  }
  return {};
}

bool PassesWhenShort(const tree::Command& command) {
  if (const auto* multi = std::get_if<tree::Multi>(&command)) {
    return std::all_of(multi->ops.begin(), multi->ops.end(), [](const tree::Op& op) {
      return std::holds_alternative<tree::Delete>(op) || std::holds_alternative<tree::Check>(op);
    });
  }
  return std::holds_alternative<tree::Delete>(command) ||
         std::holds_alternative<tree::OpenSession>(command) ||
         std::holds_alternative<tree::TakeOver>(command) ||
         std::holds_alternative<tree::CloseSession>(command);
}

std::uint64_t StarvingBytes(const Options& options) { return options.free_space_reserve_bytes / 2; }

Room RoomOfMajority(std::vector<Room> voters) {
  CHECK(!voters.empty());
  // The best so many members make a majority; the worst of them bounds what it can store.
  const auto last = voters.begin() + static_cast<std::ptrdiff_t>(voters.size() / 2);
  std::nth_element(voters.begin(), last, voters.end());
  return *last;
}

}  // namespace conclave::server
