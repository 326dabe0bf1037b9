#include "consensus/configuration.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace conclave::raft {
namespace {

constexpr char kFormat = 2;
constexpr char kFormatWithoutAddresses = 1;
constexpr std::size_t kMemberBytes = 17;  // of format 1; format 2 adds the address

void PutFixed(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(value >> (8 * i))));
  }
}

/// Takes `bytes` bytes off the front of `in`. REQUIRES: they are there.
std::uint64_t TakeFixed(std::string_view& in, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(in[i])) << (8 * i);
  }
  in.remove_prefix(bytes);
  return value;
}

}  // namespace

const char* ToString(MemberKind kind) {
  switch (kind) {
    case MemberKind::kVoter:
      return "voter";
    case MemberKind::kLearner:
      return "learner";
    case MemberKind::kObserver:
      return "observer";
  }
  return "unknown";
}

Member* Configuration::Find(MemberId id) {
  return const_cast<Member*>(std::as_const(*this).Find(id));
}

const Member* Configuration::Find(MemberId id) const {
  const auto found =
      std::lower_bound(members.begin(), members.end(), id,
                       [](const Member& member, MemberId wanted) { return member.id < wanted; });
  return found != members.end() && found->id == id ? &*found : nullptr;
}

bool Configuration::Names(MemberId id, Incarnation incarnation) const {
  const Member* member = Find(id);
  return member != nullptr && incarnation != 0 && member->incarnation == incarnation;
}

bool Configuration::IsVoter(MemberId id) const {
  const Member* member = Find(id);
  return member != nullptr && member->kind == MemberKind::kVoter;
}

std::size_t Configuration::voter_count() const {
  return static_cast<std::size_t>(
      std::count_if(members.begin(), members.end(),
                    [](const Member& member) { return member.kind == MemberKind::kVoter; }));
}

std::string Configuration::Encode() const {
  CHECK_LE(members.size(), kMembersMax);
  std::string out;
  out.reserve(1 + clusterId.size() + 4 + members.size() * (kMemberBytes + 32));
  out.push_back(kFormat);
  out.append(reinterpret_cast<const char*>(clusterId.data()), clusterId.size());
  PutFixed(out, members.size(), 4);
  for (const Member& member : members) {
    CHECK_LE(member.peer_address.size(), kAddressBytesMax);
    PutFixed(out, member.id, 8);
    PutFixed(out, member.incarnation, 8);
    PutFixed(out, static_cast<std::uint64_t>(member.kind), 1);
    PutFixed(out, member.peer_address.size(), 1);
    out += member.peer_address;
  }
  return out;
}

std::optional<Configuration> Configuration::Decode(std::string_view bytes) {
  Configuration result;
  if (bytes.size() < 1 + result.clusterId.size() + 4 ||
      (bytes.front() != kFormat && bytes.front() != kFormatWithoutAddresses)) {
    return std::nullopt;
  }
  const bool has_addresses = bytes.front() == kFormat;
  bytes.remove_prefix(1);
  for (std::uint8_t& byte : result.clusterId) {
    byte = static_cast<std::uint8_t>(TakeFixed(bytes, 1));
  }
  const std::uint64_t count = TakeFixed(bytes, 4);
  if (count > kMembersMax) {
    return std::nullopt;
  }
  const std::size_t fixed = kMemberBytes + (has_addresses ? 1 : 0);
  MemberId previous = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (bytes.size() < fixed) {
      return std::nullopt;
    }
    Member member;
    member.id = TakeFixed(bytes, 8);
    member.incarnation = TakeFixed(bytes, 8);
    const std::uint64_t kind = TakeFixed(bytes, 1);
    const std::size_t address = has_addresses ? TakeFixed(bytes, 1) : 0;
    if (member.id <= previous || kind < 1 || kind > 3 || bytes.size() < address) {
      return std::nullopt;
    }
    member.kind = static_cast<MemberKind>(kind);
    member.peer_address = bytes.substr(0, address);
    bytes.remove_prefix(address);
    previous = member.id;
    result.members.push_back(std::move(member));
  }
  if (!bytes.empty() || result.voter_count() == 0) {
    return std::nullopt;
  }
  return result;
}

}  // namespace conclave::raft
