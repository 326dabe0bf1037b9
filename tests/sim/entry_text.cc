#include "tests/sim/entry_text.h"

#include <type_traits>
#include <variant>

#include <fmt/format.h>

#include "coord/tree/command.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kDataShown = 60;

std::string DataText(const std::optional<std::string>& data) {
  return data ? "'" + data->substr(0, kDataShown) + "'" : "null";
}

std::string TextOf(const tree::Create& op) {
  return fmt::format("create{}{} {} {}", tree::IsEphemeral(op.mode) ? " ephemeral" : "",
                     tree::IsSequential(op.mode) ? " sequential" : "", op.path, DataText(op.data));
}

std::string TextOf(const tree::Delete& op) {
  return fmt::format("delete {} version {}", op.path, op.version);
}

std::string TextOf(const tree::SetData& op) {
  return fmt::format("set {} version {} {}", op.path, op.version, DataText(op.data));
}

std::string TextOf(const tree::Check& op) {
  return fmt::format("check {} version {}", op.path, op.version);
}

std::string TextOf(const tree::Multi& multi) {
  std::string text = "multi";
  for (const tree::Op& op : multi.ops) {
    text += (text.size() == 5 ? " " : "; ") +
            std::visit([](const auto& one) { return TextOf(one); }, op);
  }
  return text;
}

std::string TextOf(const tree::OpenSession& open) {
  return fmt::format("open, timeout {} ms", open.timeout_ms);
}

std::string TextOf(const tree::CloseSession& close) {
  return fmt::format("close session {}{}", close.session,
                     close.reason == tree::CloseReason::kExpired ? ", expired" : "");
}

std::string TextOf(const tree::TakeOver& /*command*/) { return "take the session over"; }

std::string TextOf(const tree::SetFeatureLevel& level) {
  return fmt::format("feature level {}", level.level);
}

std::string TextOf(const tree::PublishMember& member) {
  return fmt::format("member {} is at {}", member.id, member.client_address);
}

}  // namespace

std::string EntryText(const raft::Entry& entry) {
  if (entry.kind != raft::EntryKind::kCommand) {
    return fmt::format("entry {} of term {}: {}", entry.index, entry.term,
                       entry.kind == raft::EntryKind::kConfig ? "configuration" : "nothing");
  }
  const auto decoded = tree::DecodeEntry(*entry.data);
  if (!decoded) {
    return fmt::format("entry {} of term {}: unreadable", entry.index, entry.term);
  }
  return fmt::format("entry {} of term {}: session {} number {} (answers through {}): {}",
                     entry.index, entry.term, decoded->header.session, decoded->header.seq,
                     decoded->header.acked_through,
                     std::visit([](const auto& one) { return TextOf(one); }, decoded->command));
}

}  // namespace conclave::sim
