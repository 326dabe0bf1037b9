// What a disk or a log that fills up refuses, always before the log is touched.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/server/server_core.h"

namespace conclave::server {

// An entry of a peer, at the leader. It is only looked at when room is short.
bool Server::Core::HasRoom(const std::string& entry) const {
  if (!split_.empty()) {
    return false;
  }
  if (room_ == Room::kPlenty) {
    return true;
  }
  const auto decoded = tree::DecodeEntry(entry);
  return room_ == Room::kShort && decoded && PassesWhenShort(decoded->command);
}

// Refuses if the room is `at` or worse.
std::optional<Failure> Server::Core::RefuseForRoom(Room at) const {
  if (room_ < at) {
    return std::nullopt;
  }
  // Others may have room: they would take the write, and this member would not see it.
  const bool elsewhere = !driver_->raft().is_leader() && MajorityRoom() != Room::kFull;
  return MakeFailure(elsewhere ? tree::Code::kUnavailable : tree::Code::kNoSpace, no_room_reason_);
}

// Of the voters, by their last reports. One that has said nothing counts as having room: its own
// refusal to store would show.
Room Server::Core::MajorityRoom() const {
  std::vector<Room> voters;
  for (const raft::Member& member : driver_->raft().status().configuration.configuration.members) {
    if (member.kind != raft::MemberKind::kVoter) {
      continue;
    }
    if (member.id == options_.id) {
      voters.push_back(own_room_.room);
      continue;
    }
    const auto peer = peers_.find(member.id);
    const bool told = peer != peers_.end() && peer->second.report.has_value();
    voters.push_back(told ? peer->second.report->room : Room::kPlenty);
  }
  return voters.empty() ? own_room_.room : RoomOfMajority(std::move(voters));
}

bool Server::Core::Starving() const {
  return started_ && free_bytes_ < StarvingBytes(options_) && !driver_->raft().is_leader();
}

void Server::Core::CheckRoom(bool look_at_disk) {
  const bool starved = Starving();
  if (look_at_disk) {
    free_bytes_ = seams_.free_space();
    majority_room_ = driver_->raft().is_leader() ? MajorityRoom() : Room::kPlenty;
  }
  const Room own = own_room_.room;
  own_room_ = JudgeRoom(options_, free_bytes_, store_->log_bytes());
  if (own_room_.room != own) {
    next_report_ns_ = 0;
  }
  const Room before = room_;
  if (driver_->raft().is_leader()) {
    room_ = std::max(own_room_.room, majority_room_);
  } else {
    // Whether what grows may grow is for the leader to say, which gets it from here.
    room_ = own_room_.room == Room::kFull ? Room::kFull : Room::kPlenty;
  }
  no_room_reason_ = own_room_.reason;
  if (no_room_reason_.empty() && room_ != Room::kPlenty) {
    no_room_reason_ = fmt::format("a majority of the members has no room left: {} are refused",
                                  room_ == Room::kFull ? "all writes" : "creates and sets");
  }
  if (room_ > before) {
    LOG(ERROR) << "log.no_room member=" << options_.id << " reason=" << no_room_reason_;
  } else if (before != Room::kPlenty && room_ == Room::kPlenty) {
    LOG(INFO) << "log.room_again member=" << options_.id;
  }
  if (!starved && Starving()) {
    LOG(ERROR) << "log.starving member=" << options_.id << " reason=" << own_room_.reason;
    homes_->DropPolls(MakeFailure(tree::Code::kUnavailable, own_room_.reason));
  }
}

}  // namespace conclave::server
