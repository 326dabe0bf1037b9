#include "consensus/configuration.h"

#include <algorithm>

namespace conclave::raft {
namespace {

constexpr char kFormat = 1;
constexpr std::size_t kMemberBytes = 17;

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
  std::string out;
  out.reserve(1 + clusterId.size() + 4 + members.size() * kMemberBytes);
  out.push_back(kFormat);
  out.append(reinterpret_cast<const char*>(clusterId.data()), clusterId.size());
  PutFixed(out, members.size(), 4);
  for (const Member& member : members) {
    PutFixed(out, member.id, 8);
    PutFixed(out, member.incarnation, 8);
    PutFixed(out, static_cast<std::uint64_t>(member.kind), 1);
  }
  return out;
}

std::optional<Configuration> Configuration::Decode(std::string_view bytes) {
  Configuration result;
  if (bytes.size() < 1 + result.clusterId.size() + 4 || bytes.front() != kFormat) {
    return std::nullopt;
  }
  bytes.remove_prefix(1);
  for (std::uint8_t& byte : result.clusterId) {
    byte = static_cast<std::uint8_t>(TakeFixed(bytes, 1));
  }
  const std::uint64_t count = TakeFixed(bytes, 4);
  if (bytes.size() != count * kMemberBytes) {
    return std::nullopt;
  }
  MemberId previous = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    Member member;
    member.id = TakeFixed(bytes, 8);
    member.incarnation = TakeFixed(bytes, 8);
    const std::uint64_t kind = TakeFixed(bytes, 1);
    if (member.id <= previous || kind < 1 || kind > 3) {
      return std::nullopt;
    }
    member.kind = static_cast<MemberKind>(kind);
    previous = member.id;
    result.members.push_back(member);
  }
  if (result.voter_count() == 0) {
    return std::nullopt;
  }
  return result;
}

}  // namespace conclave::raft
